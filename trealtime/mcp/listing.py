"""Lists of tools as MCP servers send them, mended before the client of the `mcp` package reads them.

That client takes a list whole or not at all, and so does a server of the Realtime protocol: one tool whose schema is
none would keep an agent from every tool, or a session from opening. So a tool that no model can be offered is taken out
of the list, and what only clutters one is taken out of the tool. Names are looked at later, after the filter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

import jsonschema
import mcp_types
from mcp.shared.message import SessionMessage

from trealtime.terminal import one_line, text_of

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["MendedStream", "mended"]

_SCHEMAS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords with schemas by name."""

_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_ONE: Final = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_VALUES: Final = ("const", "default")
"""Keywords of which null is a value."""


class MendedStream:
    """A stream of incoming messages in which lists of tools are mended; `tell` gets a line for each tool taken out."""

    def __init__(self, stream: Any, tell: Callable[[list[str]], None]) -> None:
        self._stream = stream
        self._tell = tell

    @property
    def last_context(self) -> Any:
        """The sender's context, where the stream has one."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        """Wait for a message and return it."""
        return self._mended(await self._stream.receive())

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return self._mended(await self._stream.__anext__())

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        left: bool | None = await self._stream.__aexit__(kind, error, traceback)
        return left

    def _mended(self, item: Any) -> Any:
        result = getattr(item.message, "result", None) if isinstance(item, SessionMessage) else None
        if isinstance(result, dict) and isinstance(result.get("tools"), list):
            result["tools"], problems = mended(result["tools"])
            self._tell(problems)
        return item


def mended(tools: list[Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return (the tools that a model can be offered, a line about each other one)."""
    kept, problems = [], []
    for index, tool in enumerate(tools):
        try:
            kept.append(_tool(tool))
        except _Unusable as problem:
            name = tool.get("name") if isinstance(tool, Mapping) else None
            problems.append(f"{one_line(name) if isinstance(name, str) else f'tool {index}'}: {problem}")
    return kept, problems


class _Unusable(Exception):
    """A tool cannot be offered; the text says why."""


def _tool(tool: Any) -> dict[str, Any]:
    if not isinstance(tool, Mapping):
        raise _Unusable(f"it is {one_line(tool)}, no object")
    whole = {**tool, "inputSchema": _schema(tool.get("inputSchema"))}
    if whole.get("outputSchema") is not None:
        try:
            whole["outputSchema"] = _schema(whole["outputSchema"])
        except _Unusable:  # it would only check results, and an output that cannot be checked is no worse
            del whole["outputSchema"]
    try:
        mcp_types.Tool.model_validate(whole, by_name=False)
    except ValueError:
        kept = {key: whole[key] for key in ("name", "title", "description") if isinstance(whole.get(key), str)}
        whole = {"name": "", **kept, "inputSchema": whole["inputSchema"]}
    return whole


def _schema(schema: Any) -> dict[str, Any]:
    """Return a schema of a tool's arguments as every reader takes it."""
    if schema is None:
        return {"type": "object"}
    if not isinstance(schema, Mapping):
        raise _Unusable(f"its schema is {one_line(schema)}, no object")
    try:
        whole = _without_nulls(schema)
        kind = whole.setdefault("type", "object")
        if kind == ["object"]:
            whole["type"] = kind = "object"
        if kind != "object":
            raise _Unusable(f"its schema has the type {one_line(kind)}, not 'object'")
        jsonschema.Draft202012Validator.check_schema(whole)
    except jsonschema.SchemaError as error:
        place = ".".join(map(str, error.absolute_path)) or "its schema"
        raise _Unusable(f"its schema is none: {place} is {one_line(error.instance)}") from None
    except RecursionError:
        raise _Unusable("its schema is nested too deeply") from None
    except _Unusable:
        raise
    except Exception as error:  # noqa: BLE001  (a reference or a pattern may fail in its own way)
        raise _Unusable(f"its schema is none: {text_of(error)}") from None
    # An older client of the protocol takes no `true` for a property.
    properties = {name: {} if each is True else each for name, each in whole.get("properties", {}).items()}
    if any(each is False for each in properties.values()):
        raise _Unusable("its schema has a property that may have no value")
    return {**whole, **({"properties": properties} if "properties" in whole else {})}


def _without_nulls(schema: Any) -> Any:
    """Return `schema` without keywords that are null: lists and objects without elements, as some languages write."""
    if not isinstance(schema, Mapping):
        return schema
    whole: dict[Any, Any] = {key: value for key, value in schema.items() if value is not None or key in _VALUES}
    for key in _SCHEMAS:
        if isinstance(whole.get(key), Mapping):
            whole[key] = {name: _without_nulls(each) for name, each in whole[key].items()}
    for key in _LISTS:
        if isinstance(whole.get(key), list):
            whole[key] = [_without_nulls(each) for each in whole[key]]
    for key in _ONE:
        if key in whole:
            whole[key] = _without_nulls(whole[key])
    return whole
