"""Session events as the values of JSON: their fields, without audio and without objects of the program."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from trealtime.events import RealtimeSessionEvent

__all__ = ["event_data", "plain"]

_LONGEST_TEXT: Final = 20_000
_DEPTH: Final = 8
_LEFT_OUT: Final = frozenset({"info", "context"})
_NAMED: Final = frozenset({"RealtimeAgent", "FunctionTool", "HostedTool", "HostedMCPTool"})


def event_data(event: RealtimeSessionEvent) -> dict[str, Any] | None:
    """Return the event for a recording; None for a raw event, whose message is a line of its own."""
    if event.type == "raw_model_event":
        return None
    if event.type == "audio":
        chunk = event.audio
        return {
            "type": "audio",
            "response_id": chunk.response_id,
            "item_id": chunk.item_id,
            "content_index": chunk.content_index,
            "start_ms": chunk.start_ms,
            "bytes": len(chunk.data),
        }
    if event.type == "history_updated":
        # The whole history at each change would make the file grow with the square of the call.
        return {"type": "history_updated", "items": len(event.history)}
    return {"type": event.type, **_fields(event, 0)}


def plain(value: Any, depth: int = 0) -> Any:
    """Return `value` as JSON has it. Agents, tools and callables are named, other objects are told by their `repr`."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]}..."
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    name = type(value).__name__
    if name in _NAMED:
        return str(getattr(value, "name", name))
    if depth >= _DEPTH:
        return f"<{name}>"
    if isinstance(value, Mapping):
        return {str(key): plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (Sequence, set, frozenset)):
        return [plain(each, depth + 1) for each in value]
    if attrs.has(type(value)):
        return _fields(value, depth + 1)
    if callable(value):
        get_name = getattr(value, "get_name", None)
        return str(get_name()) if callable(get_name) else str(getattr(value, "__qualname__", name))
    return _shown(value)


def _fields(value: Any, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in attrs.fields(type(value)):
        if field.name in _LEFT_OUT or field.name.startswith("_"):
            continue
        each = getattr(value, field.name)
        if field.name == "guardrail":
            get_name = getattr(each, "get_name", None)
            found["guardrail"] = str(get_name()) if callable(get_name) else _shown(each)
        elif type(each).__name__ != "NotSet":
            found[field.name] = plain(each, depth)
    return found


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  # an object of the program's own
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= 300 else f"{text[:300]}..."
