"""Guardrails of tool calls, with the SDK's way to make a verdict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Literal, TypeAlias, cast, overload

from trealtime.tools.context import ContextT
from trealtime.tools.guardrails import ToolGuardrailFunctionOutput as NativeOutput
from trealtime.tools.guardrails import ToolInputGuardrail as NativeInputGuardrail
from trealtime.tools.guardrails import ToolInputGuardrailData, ToolOutputGuardrailData
from trealtime.tools.guardrails import ToolOutputGuardrail as NativeOutputGuardrail

__all__ = [
    "ToolGuardrailFunctionOutput",
    "ToolInputGuardrail",
    "ToolInputGuardrailData",
    "ToolOutputGuardrail",
    "ToolOutputGuardrailData",
    "tool_input_guardrail",
    "tool_output_guardrail",
]

_Behavior: TypeAlias = Literal["allow", "reject_content", "raise_exception"]


class ToolGuardrailFunctionOutput(NativeOutput):
    """A verdict. ``ToolGuardrailFunctionOutput(output_info=...)`` alone lets the call pass.

    `behavior` may be given as the SDK's mapping, such as ``{"type": "reject_content", "message": ...}``. Read, it is
    the type alone, and the text is in `message`.
    """

    def __init__(
        self, output_info: object = None, behavior: Mapping[str, Any] | _Behavior = "allow", message: str = ""
    ) -> None:
        if isinstance(behavior, Mapping):
            message = str(behavior.get("message", message))
            behavior = cast("_Behavior", behavior.get("type"))
        if behavior not in ("allow", "reject_content", "raise_exception"):
            raise TypeError(
                f"behavior: got {behavior!r}, allowed: a type of 'allow', 'reject_content' or 'raise_exception'"
            )
        super().__init__(behavior=behavior, message=message, output_info=output_info)

    @classmethod
    def allow(cls, output_info: object = None) -> ToolGuardrailFunctionOutput:
        """Go on."""
        return cls(output_info)

    @classmethod
    def reject_content(cls, message: str, output_info: object = None) -> ToolGuardrailFunctionOutput:
        """Do not make the call, or withhold its output: the model reads `message`."""
        return cls(output_info, "reject_content", message)

    @classmethod
    def raise_exception(cls, output_info: object = None) -> ToolGuardrailFunctionOutput:
        """End the session with a tripwire error."""
        return cls(output_info, "raise_exception")


class ToolInputGuardrail(NativeInputGuardrail, Generic[ContextT]):
    """A check of a call before its tool runs; made by `tool_input_guardrail`."""


class ToolOutputGuardrail(NativeOutputGuardrail, Generic[ContextT]):
    """A check of a tool's output before the model reads it; made by `tool_output_guardrail`."""


_InputFunction: TypeAlias = Callable[[ToolInputGuardrailData], NativeOutput | Awaitable[NativeOutput]]
_OutputFunction: TypeAlias = Callable[[ToolOutputGuardrailData], NativeOutput | Awaitable[NativeOutput]]


@overload
def tool_input_guardrail(func: _InputFunction) -> ToolInputGuardrail[Any]: ...
@overload
def tool_input_guardrail(*, name: str | None = None) -> Callable[[_InputFunction], ToolInputGuardrail[Any]]: ...
def tool_input_guardrail(
    func: _InputFunction | None = None, *, name: str | None = None
) -> ToolInputGuardrail[Any] | Callable[[_InputFunction], ToolInputGuardrail[Any]]:
    """Make a `ToolInputGuardrail` of a function of a `ToolInputGuardrailData`, sync or async."""

    def decorate(function: _InputFunction) -> ToolInputGuardrail[Any]:
        return ToolInputGuardrail(function, name)

    return decorate if func is None else decorate(func)


@overload
def tool_output_guardrail(func: _OutputFunction) -> ToolOutputGuardrail[Any]: ...
@overload
def tool_output_guardrail(*, name: str | None = None) -> Callable[[_OutputFunction], ToolOutputGuardrail[Any]]: ...
def tool_output_guardrail(
    func: _OutputFunction | None = None, *, name: str | None = None
) -> ToolOutputGuardrail[Any] | Callable[[_OutputFunction], ToolOutputGuardrail[Any]]:
    """Make a `ToolOutputGuardrail` of a function of a `ToolOutputGuardrailData`, sync or async."""

    def decorate(function: _OutputFunction) -> ToolOutputGuardrail[Any]:
        return ToolOutputGuardrail(function, name)

    return decorate if func is None else decorate(func)
