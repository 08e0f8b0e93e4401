"""The queue of events for one client: filled without waiting, emptied by one writer, bounded by those who fill it.

Whoever adds has waited for room before it produced anything (`wait_for_room`), each with a bound of its own: the
making of responses stops early, the reading of messages late. So a client that does not read cannot stop its own
``response.cancel`` from being obeyed, and cannot make the emulator hold more than both bounds together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import trio

__all__ = ["Outgoing"]


class Outgoing:
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
