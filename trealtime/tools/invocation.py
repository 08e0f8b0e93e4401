"""One call of a tool: from the text that the model wrote to the text that it reads. A failure is an outcome too.

The text of a failure comes from the tool's own error function where it has one, else from the run's
``tool_error_formatter``, else from here.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import attrs
import trio

from trealtime._value import Value
from trealtime.errors import ToolArgumentsError, ToolTimedOut
from trealtime.terminal import repr_of
from trealtime.tools.callables import answer_of
from trealtime.tools.context import RunContext, ToolContext
from trealtime.tools.function_tool import FunctionTool, ToolErrorFunction, default_tool_error
from trealtime.tools.output import cap_output, serialise_output
from trealtime.tools.schema import check_json_object

__all__ = [
    "ToolErrorFormatter",
    "ToolErrorFormatterArgs",
    "ToolErrorKind",
    "ToolOutcome",
    "format_error",
    "invoke_tool",
]

ToolErrorKind = Literal[
    "unknown_tool",
    "invalid_arguments",
    "failed",
    "timed_out",
    "cancelled",
    "approval_rejected",
    "guardrail_rejected",
]
"""The reason why a call has no result: there is no such tool, or it is disabled; the arguments do not fit; the tool
raised; it took too long; an interrupt cancelled it; the app rejected it; a guardrail of the tool stopped it."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolErrorFormatterArgs(Value):
    """A failed call, for a ``tool_error_formatter``. `default_message` is the text that the model reads otherwise."""

    kind: ToolErrorKind
    tool_name: str
    call_id: str
    default_message: str
    run_context: RunContext[Any]
    tool_type: Literal["function"] = "function"


ToolErrorFormatter = Callable[[ToolErrorFormatterArgs], str | Awaitable[str | None] | None]
"""Makes the text that the model reads of a failed call; None keeps the default message."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolOutcome(Value):
    """The outcome of a call: `output` is the text for the model, `value` the result of the tool (the text, where it
    failed). `errors` are exceptions for the app: of the tool, and of the functions that made the text."""

    output: str
    value: object
    failure: ToolErrorKind | None = None
    errors: tuple[Exception, ...] = ()


async def invoke_tool(
    tool: FunctionTool,
    context: ToolContext[Any],
    arguments: str,
    *,
    formatter: ToolErrorFormatter | None = None,
) -> ToolOutcome:
    """Call `tool` with the JSON text `arguments`; an empty text counts as ``{}``.

    Waits for the tool, at most for its `timeout`. If cancelled, it cancels the tool. Raises no Exception for any
    arguments and any failure of the tool.
    """
    text = arguments if arguments.strip() else "{}"
    try:
        check_json_object(tool.name, text, tool.params_json_schema)
        value = await _within_time(tool, context, text)
    except Exception as error:  # noqa: BLE001  (a tool's failure is an answer to the model)
        return await _failed(tool, context, error, formatter)
    return ToolOutcome(output=cap_output(serialise_output(value), max_bytes=tool.max_output_bytes), value=value)


async def _within_time(tool: FunctionTool, context: ToolContext[Any], arguments: str) -> object:
    seconds = math.inf if tool.timeout is None else tool.timeout
    with trio.move_on_after(seconds):
        return await answer_of(tool.on_invoke_tool(context, arguments))
    raise ToolTimedOut(tool_name=tool.name, timeout=seconds)


async def _failed(
    tool: FunctionTool, context: ToolContext[Any], error: Exception, formatter: ToolErrorFormatter | None
) -> ToolOutcome:
    kind: ToolErrorKind = "failed"
    function = tool.failure_error_function
    if isinstance(error, ToolArgumentsError):
        kind = "invalid_arguments"
    elif isinstance(error, ToolTimedOut):
        kind, function = "timed_out", tool.timeout_error_function or function
    # The app needs no error for a mistake of the model, which the model reads of.
    errors = () if kind == "invalid_arguments" else (error,)
    if function is not None and function is not default_tool_error:
        text, trouble = await _own_text(function, context, error)
    else:
        reasons = function is not None or kind != "failed"
        default = default_tool_error(context, error) if reasons else f"The tool {tool.name} failed."
        text, trouble = await format_error(kind, default, context, formatter)
    output = cap_output(serialise_output(text), max_bytes=tool.max_output_bytes)
    return ToolOutcome(output=output, value=output, failure=kind, errors=(*errors, *trouble))


async def _own_text(
    function: ToolErrorFunction, context: ToolContext[Any], error: Exception
) -> tuple[str, tuple[Exception, ...]]:
    default = default_tool_error(context, error)
    try:
        text = await answer_of(function(context, error))
    except Exception as trouble:  # noqa: BLE001  (the default text does instead)
        return default, (trouble,)
    if isinstance(text, str):
        return text, ()
    return default, (
        TypeError(f"an error function of the tool {context.tool_name} must return a str, got {repr_of(text)}"),
    )


async def format_error(
    kind: ToolErrorKind,
    default_message: str,
    context: ToolContext[Any],
    formatter: ToolErrorFormatter | None,
) -> tuple[str, tuple[Exception, ...]]:
    """Return (the text for the model, exceptions of the formatter; where there are some, the text is
    `default_message`)."""
    if formatter is None:
        return default_message, ()
    args = ToolErrorFormatterArgs(
        kind=kind,
        tool_name=context.tool_name,
        call_id=context.tool_call_id,
        default_message=default_message,
        run_context=context,
    )
    try:
        text = await answer_of(formatter(args))
    except Exception as trouble:  # noqa: BLE001  (the default text does instead)
        return default_message, (trouble,)
    if text is None or isinstance(text, str):
        return default_message if text is None else text, ()
    return default_message, (TypeError(f"tool_error_formatter must return a str or None, got {repr_of(text)}"),)
