"""Where the engine's events come out: numbered, in order, to be taken by whoever carries them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trealtime.emulator.ids import Ids

__all__ = ["Outlet"]


class Outlet:
    """Collects the server events of one session until `take`."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._events: list[dict[str, Any]] = []

    def emit(self, kind: str, fields: dict[str, Any]) -> None:
        """Add one event; it gets its ``event_id`` here. `fields` must not be changed afterwards."""
        self._events.append({"type": kind, "event_id": self._ids.new("event"), **fields})

    def put(self, event: dict[str, Any]) -> None:
        """Add one event as it is."""
        self._events.append(event)

    @property
    def waiting(self) -> Sequence[Mapping[str, Any]]:
        """The events since `take` was last called, oldest first."""
        return self._events

    def take(self) -> list[dict[str, Any]]:
        """The events since the last call, oldest first."""
        events, self._events = self._events, []
        return events
