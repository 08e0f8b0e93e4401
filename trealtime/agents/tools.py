"""Tools: functions that the model may call.

`function_tool` makes one of a Python function. Whoever has a schema and a handler already builds a `FunctionTool`.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, overload

import attrs
import trio

from trealtime.agents.context import RunContext, ToolContext
from trealtime.agents.docstrings import parse_docstring
from trealtime.agents.tool_schema import ToolSignature, read_signature
from trealtime.errors import SettingsError, SettingsProblem, ToolArgumentsError

__all__ = ["FunctionTool", "ToolErrorFunction", "default_tool_error", "function_tool", "to_wire"]

ToolErrorFunction = Callable[[RunContext[Any], Exception], str | Awaitable[str]]
"""Makes of a tool's failure the text that the model reads; it gets the `ToolContext` of the call."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


@attrs.frozen(eq=False)
class FunctionTool:
    """A function that the model may call, by `name`, when `description` makes it seem useful.

    `params_json_schema` is a JSON Schema of type ``object``. ``await on_invoke_tool(context, arguments)`` gets the JSON
    text that the model wrote and returns what the model shall read (see `serialise_output` for what is not a str).

    Building one raises TypeError for a field of the wrong type and `SettingsError` for a name that the API refuses.
    """

    name: str
    description: str
    params_json_schema: Mapping[str, Any] = attrs.field(kw_only=True)
    on_invoke_tool: Callable[[ToolContext[Any], str], Awaitable[object]] = attrs.field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        for field, kind in (("name", str), ("description", str), ("params_json_schema", Mapping)):
            value = getattr(self, field)
            if not isinstance(value, kind):
                raise TypeError(f"FunctionTool.{field} must be a {kind.__name__}, got {value!r}")
        if not callable(self.on_invoke_tool):
            raise TypeError(f"FunctionTool.on_invoke_tool must be an async callable, got {self.on_invoke_tool!r}")
        if not _NAME.match(self.name):
            problem = SettingsProblem("name", self.name, "1 to 64 ASCII letters, digits, underscores, hyphens")
            raise SettingsError([problem], what="FunctionTool")
        if self.params_json_schema.get("type") != "object":
            problem = SettingsProblem("params_json_schema.type", self.params_json_schema.get("type"), "'object'")
            raise SettingsError([problem], what=f"FunctionTool {self.name!r}")


def to_wire(tool: FunctionTool) -> dict[str, Any]:
    """`tool` as it stands in ``session.tools`` and ``response.tools``."""
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.params_json_schema),
    }


def default_tool_error(context: RunContext[Any], error: Exception) -> str:
    """What the model reads when a tool fails and no ``failure_error_function`` was given: what failed, and why."""
    if isinstance(error, ToolArgumentsError):
        return f"{str(error)[:1].upper()}{str(error)[1:]}. Call it again with arguments that fit its schema."
    name = context.tool_name if isinstance(context, ToolContext) else "tool"
    reasons = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in _leaves(error))
    return f"An error occurred while running the tool {name}: {reasons}"


@overload
def function_tool(
    func: Callable[..., object],
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    failure_error_function: ToolErrorFunction | None = default_tool_error,
) -> FunctionTool: ...
@overload
def function_tool(
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    failure_error_function: ToolErrorFunction | None = default_tool_error,
) -> Callable[[Callable[..., object]], FunctionTool]: ...
def function_tool(
    func: Callable[..., object] | None = None,
    *,
    name_override: str | None = None,
    description_override: str | None = None,
    failure_error_function: ToolErrorFunction | None = default_tool_error,
) -> FunctionTool | Callable[[Callable[..., object]], FunctionTool]:
    """A `FunctionTool` made of a function; use it as ``@function_tool`` or ``@function_tool(...)``.

    Name, description and parameters come from the function's name, docstring (Google style) and annotations. A first
    parameter annotated `RunContext` or `ToolContext` receives the context of the call. What the model writes is checked
    strictly against the schema before the function runs.

    An async function runs in the session. A synchronous one runs in a worker thread, so it may block; cancelling the
    call waits until it returns, because a thread cannot be stopped. What the function returns goes to the model
    through `serialise_output`.

    When the arguments do not fit or the function raises an Exception, the text of `failure_error_function` is the
    output and the conversation goes on. With None the exception comes out of ``on_invoke_tool``.

    Raises TypeError at decoration for a function whose signature has no JSON Schema.
    """

    def decorate(function: Callable[..., object]) -> FunctionTool:
        name = name_override if name_override is not None else getattr(function, "__name__", type(function).__name__)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"tool {name!r}: a tool returns one value, generators are not supported")
        documented = parse_docstring(inspect.getdoc(function))
        signature = read_signature(function, tool_name=name, descriptions=documented.parameters)
        return FunctionTool(
            name,
            documented.description if description_override is None else description_override,
            params_json_schema=signature.json_schema,
            on_invoke_tool=_FunctionCall(function, signature, failure_error_function),
        )

    return decorate if func is None else decorate(func)


@attrs.frozen(eq=False)
class _FunctionCall:
    """``on_invoke_tool`` of a decorated function."""

    function: Callable[..., object]
    signature: ToolSignature
    failure_error_function: ToolErrorFunction | None

    async def __call__(self, context: ToolContext[Any], arguments: str) -> object:
        try:
            return await self._call(context, arguments)
        except Exception as error:
            if self.failure_error_function is None:
                raise
            text = self.failure_error_function(context, error)
            return await text if inspect.isawaitable(text) else text

    async def _call(self, context: ToolContext[Any], arguments: str) -> object:
        positional, keyword = self.signature.parse(arguments)
        if self.signature.takes_context:
            positional.insert(0, context)
        call = functools.partial(self.function, *positional, **keyword)
        if _is_async(self.function):
            result = call()
        else:
            result = await trio.to_thread.run_sync(call, limiter=context.thread_limiter)
        return await result if inspect.isawaitable(result) else result


def _is_async(function: Callable[..., object]) -> bool:
    # The second test is for an object whose class has an async __call__.
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _leaves(error: Exception) -> Iterator[Exception]:
    # A tool that runs a nursery of its own raises a group, whose own text says nothing of the cause.
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
