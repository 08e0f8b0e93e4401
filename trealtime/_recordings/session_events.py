"""Session events as the values of JSON: their fields, without audio and without objects of the program."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from trealtime.terminal import repr_of, text_of

if TYPE_CHECKING:
    from trealtime.events import RealtimeSessionEvent

__all__ = ["event_data", "plain"]

T = TypeVar("T")

_LONGEST_TEXT: Final = 20_000
_DEPTH: Final = 8
_MOST_VALUES: Final = 20_000
"""Of one event: a value that contains itself, or makes its parts as they are asked for, has no end."""

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
    return {"type": event.type, **_Reader().fields(event, 0)}


def plain(value: Any) -> Any:
    """Return `value` as JSON has it. Agents, tools and callables become their names, other objects their `repr`.

    Raises nothing for a value of any class: tools return what they like.
    """
    return _Reader().read(value)


@attrs.define(eq=False)
class _Reader:
    """Reads the values of one event, up to `_MOST_VALUES` of them."""

    _left: int = _MOST_VALUES

    def read(self, value: Any, depth: int = 0) -> Any:
        try:
            return self._read(value, depth)
        except Exception as error:  # noqa: BLE001  (methods of a class that is not ours)
            return f"<{type(value).__name__}, whose methods raise {type(error).__name__}>"

    def _read(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if -(2**63) <= value < 2**63 else text_of(value)
        if isinstance(value, str):
            text = str.__str__(value)  # a subclass may override what others call
            return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None
        if isinstance(value, Decimal):
            return str(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"<{len(value)} bytes>"
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {text_of(value)}"
        name = type(value).__name__
        if name in _NAMED:
            return str(getattr(value, "name", name))
        if depth >= _DEPTH or self._left <= 0:
            return f"<{name}>"
        if isinstance(value, Mapping):
            return {text_of(key): self.read(each, depth + 1) for key, each in self._some(value.items())}
        if isinstance(value, (Sequence, set, frozenset)):
            return [self.read(each, depth + 1) for each in self._some(value)]
        if attrs.has(type(value)):
            return self.fields(value, depth + 1)
        if callable(value):
            return _name(value) or text_of(getattr(value, "__qualname__", name))
        return _shown(value)

    def _some(self, values: Iterable[T]) -> Iterator[T]:
        for each in values:
            if self._left <= 0:
                return
            yield each

    def fields(self, value: Any, depth: int) -> dict[str, Any]:
        """Return the fields of an attrs object that are for others."""
        found: dict[str, Any] = {}
        for field in attrs.fields(type(value)):
            if field.name in _LEFT_OUT or field.name.startswith("_"):
                continue
            each = getattr(value, field.name)
            if field.name == "guardrail":
                found["guardrail"] = _name(each) or _shown(each)
            elif type(each).__name__ != "NotSet":
                found[field.name] = self.read(each, depth)
        return found


def _name(value: object) -> str:
    get_name = getattr(value, "get_name", None)
    return text_of(get_name()) if callable(get_name) else ""


def _shown(value: object) -> str:
    text = repr_of(value)
    return text if len(text) <= 300 else f"{text[:300]}..."
