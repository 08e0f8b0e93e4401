"""Tools: functions that the model may call.

`function_tool` makes one of a Python function. Build a `FunctionTool` yourself if you have a schema and a handler
already. `trealtime.tools.invocation` carries a call out.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import attrs
import trio

from trealtime._secrets import shown
from trealtime._value import Shown
from trealtime.errors import SettingsError, SettingsProblem, ToolArgumentsError, ToolTimedOut
from trealtime.terminal import print_short, text_of
from trealtime.tools.callables import answer_of, is_async, name_of
from trealtime.tools.context import RunContext, ToolContext
from trealtime.tools.declared import NAME_RULE, is_function_name
from trealtime.tools.docstrings import DocstringStyle, DocumentedFunction, parse_docstring
from trealtime.tools.guardrails import ToolInputGuardrail, ToolOutputGuardrail
from trealtime.tools.output import MAX_OUTPUT_BYTES
from trealtime.tools.schema import ToolSignature, read_signature

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent

__all__ = [
    "AfterTool",
    "FunctionTool",
    "NeedsApproval",
    "OnInterrupt",
    "ToolEnabled",
    "ToolErrorFunction",
    "default_tool_error",
    "function_tool",
    "to_wire",
]

ToolErrorFunction = Callable[[RunContext[Any], Exception], str | Awaitable[str]]
"""Makes the text that the model reads of a failure; it gets the `ToolContext` of the call and the exception."""

ToolEnabled = bool | Callable[[RunContext[Any], "RealtimeAgent[Any]"], bool | Awaitable[bool]]
"""Whether a tool is enabled: a bool, or a sync or async callable of the run context and the agent."""

NeedsApproval = bool | Callable[[RunContext[Any], dict[str, Any], str], bool | Awaitable[bool]]
"""Whether a call needs approval: a bool, or a sync or async callable of the run context, the arguments and the call id.
Only False lets the call run without asking."""

OnInterrupt = Literal["keep", "cancel", "shield"]
"""The effect of an interrupt on a running tool."""

AfterTool = Literal["auto", "always", "never"]
"""Whether an answer is requested once the model has the output of a tool."""


def default_tool_error(context: RunContext[Any], error: Exception) -> str:
    """Return the text that the model reads of a failure by default: the name of the tool, and the reason."""
    if isinstance(error, ToolArgumentsError):
        text = text_of(error)
        return f"{text[:1].upper()}{text[1:]}. Call it again with arguments that fit its schema."
    if isinstance(error, ToolTimedOut):
        return text_of(error)
    name = context.tool_name if isinstance(context, ToolContext) else "tool"
    reasons = "; ".join(f"{type(leaf).__name__}: {text_of(leaf)}" for leaf in _leaves(error))
    return f"An error occurred while running the tool {name}: {reasons}"


@attrs.frozen(eq=False, repr=False)
class FunctionTool(Shown):
    """A function that the model may call, by `name`, when `description` makes it seem useful.

    `params_json_schema` is a JSON Schema of type ``object``. ``await on_invoke_tool(context, arguments)`` gets the JSON
    text of an object, as the model wrote it, and returns the output for the model: a str, or a value that has a JSON
    form. An Exception that it raises becomes an output that says so, and the session goes on.

    Raises TypeError for a field of the wrong type and `SettingsError` for a wrong value.
    """

    name: str
    description: str
    params_json_schema: Mapping[str, Any] = attrs.field(kw_only=True)
    on_invoke_tool: Callable[[ToolContext[Any], str], Awaitable[object]] = attrs.field(kw_only=True)

    is_enabled: ToolEnabled = attrs.field(default=True, kw_only=True)
    """Asked before the tool is offered to the model, and again when the model calls it. A disabled tool is not offered,
    and a call of it counts as a call of an unknown tool."""

    timeout: float | None = attrs.field(default=None, kw_only=True)
    """Seconds that a call may run before it is cancelled. The wait for its turn does not count."""

    failure_error_function: ToolErrorFunction | None = attrs.field(default=default_tool_error, kw_only=True)
    """Makes the text that the model reads when the tool fails. None: the model reads that it failed, without the
    reason."""

    timeout_error_function: ToolErrorFunction | None = attrs.field(default=None, kw_only=True)
    """As `failure_error_function`, for a call that ran out of time (a `ToolTimedOut`)."""

    on_interrupt: OnInterrupt = attrs.field(default="keep", kw_only=True)
    """``"keep"``: an interrupt leaves a running call alone. ``"cancel"``: it cancels the call, and the model reads so.
    ``"shield"``: as keep, and when the session ends the call may finish, for up to half of ``close_timeout_s``."""

    max_concurrency: int | None = attrs.field(default=None, kw_only=True)
    """The number of calls of this tool that run at a time in one session; None: the session's own limit."""

    max_output_bytes: int | None = attrs.field(default=MAX_OUTPUT_BYTES, kw_only=True)
    """The longest output, in bytes of UTF-8. The rest is cut off, with a note to the model. None: no limit."""

    after_tool: AfterTool | None = attrs.field(default=None, kw_only=True)
    """Whether an answer follows a call of this tool; None: as the run config says."""

    needs_approval: NeedsApproval = attrs.field(default=False, kw_only=True)
    """Whether the app has to approve a call before it runs."""

    tool_input_guardrails: Sequence[ToolInputGuardrail] = attrs.field(default=(), kw_only=True)
    """Checks of a call before it runs, in this order."""

    tool_output_guardrails: Sequence[ToolOutputGuardrail] = attrs.field(default=(), kw_only=True)
    """Checks of the output before the model reads it, in this order."""

    namespace: str | None = attrs.field(default=None, kw_only=True)
    """The source of the tool, such as the name of an MCP server."""

    identity: object = attrs.field(default=None, kw_only=True, repr=False)
    """The identity of the tool, for approvals that were given for always: they hold for tools with the same name,
    namespace and identity. It must be hashable. A tool of an MCP server has the whole declaration of that server. None:
    the `on_invoke_tool` object, so two functions of one name, of two agents say, are two tools."""

    def __attrs_post_init__(self) -> None:
        for field, kind in (("name", str), ("description", str), ("params_json_schema", Mapping)):
            value = getattr(self, field)
            if not isinstance(value, kind):
                raise TypeError(f"FunctionTool.{field} must be a {kind.__name__}, got {value!r}")
        if not callable(self.on_invoke_tool):
            raise TypeError(f"FunctionTool.on_invoke_tool must be an async callable, got {self.on_invoke_tool!r}")
        for field in ("is_enabled", "needs_approval"):
            if not isinstance(getattr(self, field), bool) and not callable(getattr(self, field)):
                raise TypeError(f"FunctionTool.{field} must be a bool or a callable, got {getattr(self, field)!r}")
        if not isinstance(self.identity, Hashable):
            raise TypeError(f"FunctionTool.identity must be hashable, got {self.identity!r}")
        if self.namespace is not None and not isinstance(self.namespace, str):
            raise TypeError(f"FunctionTool.namespace must be a str or None, got {self.namespace!r}")
        for field, guardrail in (
            ("tool_input_guardrails", ToolInputGuardrail),
            ("tool_output_guardrails", ToolOutputGuardrail),
        ):
            given = getattr(self, field)
            wrong = (
                [each for each in given if not isinstance(each, guardrail)] if isinstance(given, Sequence) else [given]
            )
            if wrong:
                raise TypeError(f"FunctionTool.{field} must be a sequence of {guardrail.__name__}, got {wrong[0]!r}")
            object.__setattr__(self, field, tuple(given))
        for field in ("failure_error_function", "timeout_error_function"):
            if getattr(self, field) is not None and not callable(getattr(self, field)):
                raise TypeError(f"FunctionTool.{field} must be a callable or None, got {getattr(self, field)!r}")
        if not is_function_name(self.name):
            problem = SettingsProblem("name", self.name, NAME_RULE)
            raise SettingsError([problem], what="FunctionTool")
        problems = [SettingsProblem(field, value, allowed) for field, value, fits, allowed in self._rules() if not fits]
        if problems:
            raise SettingsError(problems, what=f"FunctionTool {self.name!r}")

    def _rules(self) -> Iterator[tuple[str, object, bool, str]]:
        """Yield (field, value, whether it fits, allowed values)."""
        kind = self.params_json_schema.get("type")
        yield "params_json_schema.type", kind, kind == "object", "'object'"
        timed = self.timeout is None or (_is_number(self.timeout) and 0 < self.timeout < math.inf)
        yield "timeout", self.timeout, timed, "a number of seconds above 0, or None"
        for field in ("max_concurrency", "max_output_bytes"):
            value = getattr(self, field)
            counted = value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)
            yield field, value, counted, "a whole number of at least 1, or None"
        policies = get_args(OnInterrupt)
        yield "on_interrupt", self.on_interrupt, self.on_interrupt in policies, ", ".join(map(repr, policies))
        policies = get_args(AfterTool)
        known = self.after_tool is None or self.after_tool in policies
        yield "after_tool", self.after_tool, known, f"{', '.join(map(repr, policies))}, or None"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def to_wire(tool: FunctionTool) -> dict[str, Any]:
    """Return `tool` as it stands in ``session.tools`` and ``response.tools``."""
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.params_json_schema),
    }


@overload
def function_tool(
    func: Callable[..., object],
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    docstring_style: DocstringStyle | None = None,
    use_docstring_info: bool = True,
    is_enabled: ToolEnabled = True,
    timeout: float | None = None,
    failure_error_function: ToolErrorFunction | None = default_tool_error,
    timeout_error_function: ToolErrorFunction | None = None,
    on_interrupt: OnInterrupt = "keep",
    max_concurrency: int | None = None,
    max_output_bytes: int | None = MAX_OUTPUT_BYTES,
    after_tool: AfterTool | None = None,
    needs_approval: NeedsApproval = False,
    tool_input_guardrails: Sequence[ToolInputGuardrail] | None = None,
    tool_output_guardrails: Sequence[ToolOutputGuardrail] | None = None,
) -> FunctionTool: ...
@overload
def function_tool(
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    docstring_style: DocstringStyle | None = None,
    use_docstring_info: bool = True,
    is_enabled: ToolEnabled = True,
    timeout: float | None = None,
    failure_error_function: ToolErrorFunction | None = default_tool_error,
    timeout_error_function: ToolErrorFunction | None = None,
    on_interrupt: OnInterrupt = "keep",
    max_concurrency: int | None = None,
    max_output_bytes: int | None = MAX_OUTPUT_BYTES,
    after_tool: AfterTool | None = None,
    needs_approval: NeedsApproval = False,
    tool_input_guardrails: Sequence[ToolInputGuardrail] | None = None,
    tool_output_guardrails: Sequence[ToolOutputGuardrail] | None = None,
) -> Callable[[Callable[..., object]], FunctionTool]: ...
def function_tool(
    func: Callable[..., object] | None = None,
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    docstring_style: DocstringStyle | None = None,
    use_docstring_info: bool = True,
    is_enabled: ToolEnabled = True,
    timeout: float | None = None,
    failure_error_function: ToolErrorFunction | None = default_tool_error,
    timeout_error_function: ToolErrorFunction | None = None,
    on_interrupt: OnInterrupt = "keep",
    max_concurrency: int | None = None,
    max_output_bytes: int | None = MAX_OUTPUT_BYTES,
    after_tool: AfterTool | None = None,
    needs_approval: NeedsApproval = False,
    tool_input_guardrails: Sequence[ToolInputGuardrail] | None = None,
    tool_output_guardrails: Sequence[ToolOutputGuardrail] | None = None,
) -> FunctionTool | Callable[[Callable[..., object]], FunctionTool]:
    """Make a `FunctionTool` of a function: ``@function_tool`` or ``@function_tool(...)``.

    Name, description and parameters come from the function's name, docstring (Google, NumPy or Sphinx style) and
    annotations. A first parameter annotated `RunContext` or `ToolContext` receives the context of the call. The
    arguments are checked strictly against the schema before the function runs. The other options are fields of
    `FunctionTool`.

    An async function runs in the session, and so does an async generator: each value that it yields becomes a
    ``tool_progress`` event, and the last one is the result. A synchronous function runs in a worker thread, so it may
    block. Cancelling its call waits until it returns, because a thread cannot be stopped; the function can look for it
    with ``trio.from_thread.check_cancelled()``. A result that is no str goes to the model as JSON.

    Raises TypeError for a function whose signature has no JSON Schema, and `SettingsError` for an option with a wrong
    value, such as a `timeout` for a synchronous function.
    """

    def decorate(function: Callable[..., object]) -> FunctionTool:
        if inspect.isclass(function) or not callable(function):
            raise TypeError(f"function_tool: got {shown(function)}, allowed: a function")
        name = name_override if name_override is not None else name_of(function)
        if inspect.isgeneratorfunction(function):
            raise TypeError(f"tool {name!r}: a generator must be async (`async def`) to report progress")
        if timeout is not None and not _is_async(function):
            allowed = "None for a synchronous function: a thread cannot be stopped, make it `async def`"
            raise SettingsError([SettingsProblem("timeout", timeout, allowed)], what=f"tool {name!r}")
        docstring = inspect.getdoc(function) if use_docstring_info else None
        documented: DocumentedFunction = parse_docstring(docstring, style=docstring_style)
        signature = read_signature(function, tool_name=name, descriptions=documented.parameters)
        return FunctionTool(
            name,
            documented.description if description_override is None else description_override,
            params_json_schema=signature.json_schema,
            on_invoke_tool=_FunctionCall(function, signature),
            is_enabled=is_enabled,
            timeout=timeout,
            failure_error_function=failure_error_function,
            timeout_error_function=timeout_error_function,
            on_interrupt=on_interrupt,
            max_concurrency=max_concurrency,
            max_output_bytes=max_output_bytes,
            after_tool=after_tool,
            needs_approval=needs_approval,
            tool_input_guardrails=tool_input_guardrails or (),
            tool_output_guardrails=tool_output_guardrails or (),
        )

    return decorate if func is None else decorate(func)


@attrs.frozen(eq=False, repr=False)
class _FunctionCall(Shown):
    """The ``on_invoke_tool`` of a decorated function."""

    function: Callable[..., object]
    signature: ToolSignature

    async def __call__(self, context: ToolContext[Any], arguments: str) -> object:
        positional, keyword = self.signature.parse(arguments)
        if self.signature.takes_context:
            positional.insert(0, context)
        call = functools.partial(self.function, *positional, **keyword)
        if _is_async_generator(self.function):
            return await _last_value(call, context)
        if _is_async(self.function):
            result = call()
        else:
            result = await trio.to_thread.run_sync(_made, call, limiter=context.thread_limiter)
        return await answer_of(result)


def _made(call: Callable[[], object]) -> object:
    result = call()
    if inspect.iscoroutine(result):  # Trio refuses it too, in words about its own function
        result.close()
        raise TypeError("the function is no `async def` and returned a coroutine: make it `async def` and await inside")
    return result


async def _last_value(call: Callable[[], Any], context: ToolContext[Any]) -> object:
    value: object = None
    async with aclosing(call()) as values:
        async for value in values:
            if context.on_progress is not None:
                context.on_progress(value)
    return value


def _is_async_generator(function: Callable[..., object]) -> bool:
    # The second test is for an object whose class has an async __call__.
    return inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(type(function).__call__)


def _is_async(function: Callable[..., object]) -> bool:
    return is_async(function) or _is_async_generator(function)


def _leaves(error: Exception) -> Iterator[Exception]:
    # A tool with a nursery of its own raises a group, whose text says nothing of the cause.
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


print_short(FunctionTool)
