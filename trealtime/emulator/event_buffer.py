"""Server events on their way out: their ids, the buffer that the core fills, the queue that the writer empties."""

from __future__ import annotations

import random
import string
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import trio

__all__ = ["Ids", "OutgoingQueue", "EventBuffer"]


class EventBuffer:
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


_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 21


class Ids:
    """Makes ids for one session. The same seed gives the same ids in the same order."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def new(self, prefix: str) -> str:
        """A fresh id: ``new("resp")`` might be ``resp_C9G8p7IH2WxLbkgPNouYL``."""
        return f"{prefix}_{''.join(self._source.choices(_ALPHABET, k=_LENGTH))}"


class OutgoingQueue:
    """Server events on their way."""

    def __init__(self) -> None:
        self._events: deque[dict[str, Any]] = deque()
        self._sending = False
        self._given_up = False
        self._changed = trio.lowlevel.ParkingLot()

    def add(self, events: Iterable[dict[str, Any]]) -> None:
        """Queue `events`; after `give_up`, forget them."""
        if not self._given_up:
            self._events.extend(events)
        self._changed.unpark_all()

    async def next(self) -> dict[str, Any]:
        """Take the oldest event; waits for one. Asking for the next one says that the last has been sent."""
        self._sending = False
        self._changed.unpark_all()
        while not self._events:
            await self._changed.park()
        self._sending = True
        event = self._events.popleft()
        self._changed.unpark_all()
        return event

    async def wait_for_room(self, bound: int) -> None:
        """Wait until fewer than `bound` events are queued."""
        await trio.lowlevel.checkpoint()
        while len(self._events) >= bound:
            await self._changed.park()

    def give_up(self) -> None:
        """Nothing can be sent any more: what is queued is forgotten."""
        self._given_up = True
        self._events.clear()
        self._changed.unpark_all()

    async def drained(self) -> None:
        """Wait until everything has been sent, or nothing can be."""
        await trio.lowlevel.checkpoint()
        while (self._events or self._sending) and not self._given_up:
            await self._changed.park()
