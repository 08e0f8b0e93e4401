"""Tool guardrails: checks of a call before its tool runs, and of its output before the model reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, overload

import attrs
import trio

from trealtime._value import Shown, Value
from trealtime.errors import TrealtimeError
from trealtime.tools.callables import call_anywhere, name_of
from trealtime.tools.context import ToolContext

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent

__all__ = [
    "ToolGuardrailFunctionOutput",
    "ToolInputGuardrail",
    "ToolInputGuardrailData",
    "ToolInputGuardrailFunction",
    "ToolInputGuardrailTripwireTriggered",
    "ToolOutputGuardrail",
    "ToolOutputGuardrailData",
    "ToolOutputGuardrailFunction",
    "ToolOutputGuardrailTripwireTriggered",
    "tool_input_guardrail",
    "tool_output_guardrail",
]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolGuardrailFunctionOutput(Value):
    """A verdict; make one with `allow`, `reject_content` or `raise_exception`. `output_info` is any object that
    explains it. The model reads `message` in place of a rejected output."""

    behavior: Literal["allow", "reject_content", "raise_exception"]
    message: str = ""
    output_info: object = None

    @classmethod
    def allow(cls, output_info: object = None) -> ToolGuardrailFunctionOutput:
        """Let the call, or its output, pass."""
        return cls(behavior="allow", output_info=output_info)

    @classmethod
    def reject_content(cls, message: str, output_info: object = None) -> ToolGuardrailFunctionOutput:
        """Stop the call, or withhold its output: the model reads `message` in its place. Raises `TypeError` for a
        message that is no text."""
        if not isinstance(message, str):
            raise TypeError(f"message must be a str, got {message!r}")
        return cls(behavior="reject_content", message=message, output_info=output_info)

    @classmethod
    def raise_exception(cls, output_info: object = None) -> ToolGuardrailFunctionOutput:
        """End the session, which raises `ToolInputGuardrailTripwireTriggered` or
        `ToolOutputGuardrailTripwireTriggered`."""
        return cls(behavior="raise_exception", output_info=output_info)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolInputGuardrailData(Value):
    """A call to check: `context` has the tool's name, the call id and the raw arguments."""

    context: ToolContext[Any]
    agent: RealtimeAgent[Any]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolOutputGuardrailData(ToolInputGuardrailData):
    """A call and its `output`: the value that the tool returned, or the text that says how it failed."""

    output: object


ToolInputGuardrailFunction = Callable[
    [ToolInputGuardrailData], ToolGuardrailFunctionOutput | Awaitable[ToolGuardrailFunctionOutput]
]
"""``function(data)``, sync or async."""

ToolOutputGuardrailFunction = Callable[
    [ToolOutputGuardrailData], ToolGuardrailFunctionOutput | Awaitable[ToolGuardrailFunctionOutput]
]
"""``function(data)``, sync or async."""


@attrs.frozen(eq=False, repr=False)
class ToolInputGuardrail(Shown):
    """A check of a call before its tool runs; made by `tool_input_guardrail`.

    An async function runs in the session, a sync one in a worker thread, so it may block. `name` appears in errors; by
    default it is the function's own.
    """

    guardrail_function: ToolInputGuardrailFunction
    name: str | None = None

    def get_name(self) -> str:
        """Return the name; for a callable that has none, the name of its type."""
        return self.name if self.name is not None else name_of(self.guardrail_function)

    async def run(
        self, data: ToolInputGuardrailData, *, thread_limiter: trio.CapacityLimiter | None = None
    ) -> ToolGuardrailFunctionOutput:
        """Return the verdict.

        Passes the function's exceptions on, and raises TypeError when it returns anything but a
        `ToolGuardrailFunctionOutput`. A sync function takes a thread of `thread_limiter` (None: Trio's own). If
        cancelled while that runs, it waits until the function returns.
        """
        output = await call_anywhere(self.guardrail_function, data, thread_limiter=thread_limiter)
        return _verdict(self.get_name(), output)


@attrs.frozen(eq=False, repr=False)
class ToolOutputGuardrail(Shown):
    """A check of the output of a call before the model reads it; made by `tool_output_guardrail`. All else is as with
    `ToolInputGuardrail`."""

    guardrail_function: ToolOutputGuardrailFunction
    name: str | None = None

    def get_name(self) -> str:
        """Return the name; for a callable that has none, the name of its type."""
        return self.name if self.name is not None else name_of(self.guardrail_function)

    async def run(
        self, data: ToolOutputGuardrailData, *, thread_limiter: trio.CapacityLimiter | None = None
    ) -> ToolGuardrailFunctionOutput:
        """Return the verdict; as `ToolInputGuardrail.run`."""
        output = await call_anywhere(self.guardrail_function, data, thread_limiter=thread_limiter)
        return _verdict(self.get_name(), output)


def _verdict(name: str, output: object) -> ToolGuardrailFunctionOutput:
    if not isinstance(output, ToolGuardrailFunctionOutput):
        raise TypeError(f"tool guardrail {name!r} returned {output!r}, allowed: a ToolGuardrailFunctionOutput")
    return output


class ToolInputGuardrailTripwireTriggered(TrealtimeError):
    """A tool guardrail ended the session because of a call, which did not run.

    `output` is the verdict of `guardrail`; `tool_name` and `call_id` name the call.
    """

    def __init__(
        self, guardrail: ToolInputGuardrail, output: ToolGuardrailFunctionOutput, *, tool_name: str, call_id: str
    ) -> None:
        self.guardrail = guardrail
        self.output = output
        self.tool_name = tool_name
        self.call_id = call_id
        super().__init__(f"a call of the tool {tool_name} was stopped by the guardrail {guardrail.get_name()}")


class ToolOutputGuardrailTripwireTriggered(TrealtimeError):
    """A tool guardrail ended the session because of the output of a call.

    The attributes are those of `ToolInputGuardrailTripwireTriggered`.
    """

    def __init__(
        self, guardrail: ToolOutputGuardrail, output: ToolGuardrailFunctionOutput, *, tool_name: str, call_id: str
    ) -> None:
        self.guardrail = guardrail
        self.output = output
        self.tool_name = tool_name
        self.call_id = call_id
        super().__init__(f"the output of the tool {tool_name} was stopped by the guardrail {guardrail.get_name()}")


@overload
def tool_input_guardrail(func: ToolInputGuardrailFunction, *, name: str | None = None) -> ToolInputGuardrail: ...
@overload
def tool_input_guardrail(*, name: str | None = None) -> Callable[[ToolInputGuardrailFunction], ToolInputGuardrail]: ...
def tool_input_guardrail(
    func: ToolInputGuardrailFunction | None = None, *, name: str | None = None
) -> ToolInputGuardrail | Callable[[ToolInputGuardrailFunction], ToolInputGuardrail]:
    """Make a `ToolInputGuardrail` of a function ``(data) -> ToolGuardrailFunctionOutput``, sync or async.

    Use it as ``@tool_input_guardrail`` or ``@tool_input_guardrail(name=...)``.
    """

    def decorate(function: ToolInputGuardrailFunction) -> ToolInputGuardrail:
        return ToolInputGuardrail(function, name)

    return decorate if func is None else decorate(func)


@overload
def tool_output_guardrail(func: ToolOutputGuardrailFunction, *, name: str | None = None) -> ToolOutputGuardrail: ...
@overload
def tool_output_guardrail(
    *, name: str | None = None
) -> Callable[[ToolOutputGuardrailFunction], ToolOutputGuardrail]: ...
def tool_output_guardrail(
    func: ToolOutputGuardrailFunction | None = None, *, name: str | None = None
) -> ToolOutputGuardrail | Callable[[ToolOutputGuardrailFunction], ToolOutputGuardrail]:
    """Make a `ToolOutputGuardrail` of a function ``(data) -> ToolGuardrailFunctionOutput``, sync or async.

    Use it as ``@tool_output_guardrail`` or ``@tool_output_guardrail(name=...)``.
    """

    def decorate(function: ToolOutputGuardrailFunction) -> ToolOutputGuardrail:
        return ToolOutputGuardrail(function, name)

    return decorate if func is None else decorate(func)
