"""Function tools, with the options and fields of the SDK."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, overload

from trealtime.compat.exceptions import ModelBehaviorError, ToolTimeoutError, UserError, user_errors
from trealtime.errors import ToolArgumentsError, ToolTimedOut
from trealtime.mcp.hosted import HostedMCPTool
from trealtime.tools.callables import answer_of
from trealtime.tools.context import RunContext, ToolContext
from trealtime.tools.docstrings import DocstringStyle
from trealtime.tools.function_tool import FunctionTool as NativeFunctionTool
from trealtime.tools.function_tool import NeedsApproval, ToolEnabled, ToolErrorFunction
from trealtime.tools.function_tool import default_tool_error as default_tool_error_function
from trealtime.tools.function_tool import function_tool as native_function_tool
from trealtime.tools.guardrails import ToolInputGuardrail, ToolOutputGuardrail

__all__ = [
    "FunctionTool",
    "HostedMCPTool",
    "Tool",
    "ToolErrorFunction",
    "ToolTimeoutBehavior",
    "default_tool_error_function",
    "function_tool",
]

ToolTimeoutBehavior: TypeAlias = Literal["error_as_result", "raise_exception"]
"""The consequence when a tool takes too long; ``"raise_exception"`` is refused, see `function_tool`."""

_RAISES = (
    'timeout_behavior="raise_exception" ends a session of the SDK; here the model is told, and the app gets an `error` '
    "event. Leave the option out, and end the session yourself where that is wanted: `await session.close()`"
)


class FunctionTool(NativeFunctionTool):
    """A function that the model may call; the fields are those of the SDK, the rest `trealtime.FunctionTool`'s.

    `strict_json_schema` and `timeout_behavior` are kept and have no effect: the Realtime API takes schemas as they are.
    Raises `UserError` for a wrong value and TypeError for a field of the wrong type.
    """

    strict_json_schema: bool
    timeout_behavior: ToolTimeoutBehavior

    def __init__(
        self,
        name: str,
        description: str,
        params_json_schema: Mapping[str, Any],
        on_invoke_tool: Callable[[ToolContext[Any], str], Awaitable[Any]],
        strict_json_schema: bool = True,  # noqa: FBT001, FBT002  (positional in the SDK)
        is_enabled: ToolEnabled = True,  # noqa: FBT002
        tool_input_guardrails: Sequence[ToolInputGuardrail] | None = None,
        tool_output_guardrails: Sequence[ToolOutputGuardrail] | None = None,
        needs_approval: NeedsApproval = False,  # noqa: FBT002
        timeout_seconds: float | None = None,
        timeout_behavior: ToolTimeoutBehavior = "error_as_result",
        timeout_error_function: ToolErrorFunction | None = None,
        defer_loading: bool = False,  # noqa: FBT001, FBT002
        *,
        failure_error_function: ToolErrorFunction | None = default_tool_error_function,
    ) -> None:
        if timeout_behavior == "raise_exception":
            raise UserError(_RAISES)
        if defer_loading:
            raise UserError("defer_loading belongs to the Responses API: a realtime session loads all tools")
        with user_errors():
            super().__init__(
                name,
                description,
                params_json_schema=params_json_schema,
                on_invoke_tool=on_invoke_tool,
                is_enabled=is_enabled,
                timeout=timeout_seconds,
                failure_error_function=_told_in_sdk_errors(failure_error_function),
                timeout_error_function=_told_in_sdk_errors(timeout_error_function),
                needs_approval=needs_approval,
                tool_input_guardrails=tool_input_guardrails or (),
                tool_output_guardrails=tool_output_guardrails or (),
            )
        object.__setattr__(self, "strict_json_schema", strict_json_schema)
        object.__setattr__(self, "timeout_behavior", timeout_behavior)

    @property
    def timeout_seconds(self) -> float | None:
        """Seconds that a call may run; None: as long as it takes."""
        return self.timeout


Tool: TypeAlias = NativeFunctionTool | HostedMCPTool
"""A tool of an agent; those that `trealtime.function_tool` makes fit as well."""


def _told_in_sdk_errors(function: ToolErrorFunction | None) -> ToolErrorFunction | None:
    """Let `function` be called with the exceptions that it knows from the SDK."""
    if function is None or function is default_tool_error_function:
        return function

    @functools.wraps(function)
    async def told(context: RunContext[Any], error: Exception) -> str:
        sdk_error = error
        if isinstance(error, ToolTimedOut):
            sdk_error = ToolTimeoutError(error.tool_name, error.timeout)
        elif isinstance(error, ToolArgumentsError):
            sdk_error = ModelBehaviorError(str(error))
        if sdk_error is not error:
            sdk_error.__cause__ = error
        text: str = await answer_of(function(context, sdk_error))
        return text

    return told


@overload
def function_tool(
    func: Callable[..., object],
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    docstring_style: DocstringStyle | None = None,
    use_docstring_info: bool = True,
    failure_error_function: ToolErrorFunction | None = default_tool_error_function,
    strict_mode: bool = True,
    is_enabled: ToolEnabled = True,
    needs_approval: NeedsApproval = False,
    tool_input_guardrails: Sequence[ToolInputGuardrail] | None = None,
    tool_output_guardrails: Sequence[ToolOutputGuardrail] | None = None,
    timeout: float | None = None,
    timeout_behavior: ToolTimeoutBehavior = "error_as_result",
    timeout_error_function: ToolErrorFunction | None = None,
) -> FunctionTool: ...
@overload
def function_tool(
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    docstring_style: DocstringStyle | None = None,
    use_docstring_info: bool = True,
    failure_error_function: ToolErrorFunction | None = default_tool_error_function,
    strict_mode: bool = True,
    is_enabled: ToolEnabled = True,
    needs_approval: NeedsApproval = False,
    tool_input_guardrails: Sequence[ToolInputGuardrail] | None = None,
    tool_output_guardrails: Sequence[ToolOutputGuardrail] | None = None,
    timeout: float | None = None,
    timeout_behavior: ToolTimeoutBehavior = "error_as_result",
    timeout_error_function: ToolErrorFunction | None = None,
) -> Callable[[Callable[..., object]], FunctionTool]: ...
def function_tool(
    func: Callable[..., object] | None = None,
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    docstring_style: DocstringStyle | None = None,
    use_docstring_info: bool = True,
    failure_error_function: ToolErrorFunction | None = default_tool_error_function,
    strict_mode: bool = True,
    is_enabled: ToolEnabled = True,
    needs_approval: NeedsApproval = False,
    tool_input_guardrails: Sequence[ToolInputGuardrail] | None = None,
    tool_output_guardrails: Sequence[ToolOutputGuardrail] | None = None,
    timeout: float | None = None,
    timeout_behavior: ToolTimeoutBehavior = "error_as_result",
    timeout_error_function: ToolErrorFunction | None = None,
) -> FunctionTool | Callable[[Callable[..., object]], FunctionTool]:
    """Make a `FunctionTool` of a function: ``@function_tool`` or ``@function_tool(...)``; also called ``tool``.

    An async function is awaited by Trio. A synchronous one runs in a thread. `strict_mode` is taken and changes
    nothing: the model's arguments are always checked against the schema. ``timeout_behavior="raise_exception"`` is
    refused with a `UserError` that says what to write. The options of the Responses API (`defer_loading`,
    `allowed_callers`, `output_type` and the like) do not exist here.
    """

    def decorate(function: Callable[..., object]) -> FunctionTool:
        with user_errors():
            made = native_function_tool(
                function,
                name_override=name_override,
                description_override=description_override,
                docstring_style=docstring_style,
                use_docstring_info=use_docstring_info,
                timeout=timeout,
            )
        return FunctionTool(
            made.name,
            made.description,
            made.params_json_schema,
            made.on_invoke_tool,
            strict_mode,
            is_enabled,
            tool_input_guardrails,
            tool_output_guardrails,
            needs_approval,
            timeout,
            timeout_behavior,
            timeout_error_function,
            failure_error_function=failure_error_function,
        )

    return decorate if func is None else decorate(func)
