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
    """The queue of messages for one client: filled without waiting, emptied by one writer.

    Each caller of `add` waits for room before it produces anything (`wait_for_room`), with a bound of its own: the
    generator of responses stops early, the reader of messages late. So a client that does not read cannot stop its own
    ``response.cancel`` from being obeyed, and cannot make the emulator hold more than both bounds together.
    """

    def __init__(self) -> None:
        self._messages: deque[str] = deque()
        self._bytes = 0
        self._sending = False
        self._given_up = False
        self._changed = trio.lowlevel.ParkingLot()

    def add(self, messages: Iterable[str]) -> None:
        """Queue `messages`; after `give_up`, drop them."""
        if not self._given_up:
            for message in messages:
                self._messages.append(message)
                self._bytes += len(message)
        self._changed.unpark_all()

    async def next(self) -> str:
        """Wait for a message and take the oldest. The call also confirms that the message before has been sent."""
        self._sending = False
        self._changed.unpark_all()
        while not self._messages:
            await self._changed.park()
        self._sending = True
        message = self._messages.popleft()
        self._bytes -= len(message)
        self._changed.unpark_all()
        return message

    async def wait_for_room(self, messages: int, n_bytes: int) -> None:
        """Wait until fewer than `messages` and fewer than `n_bytes` are queued."""
        await trio.lowlevel.checkpoint()
        while len(self._messages) >= messages or self._bytes >= n_bytes:
            await self._changed.park()

    def give_up(self) -> None:
        """Drop the queue: nothing can be sent any more."""
        self._given_up = True
        self._messages.clear()
        self._bytes = 0
        self._changed.unpark_all()

    async def drained(self) -> None:
        """Wait until everything has been sent, or nothing can be."""
        await trio.lowlevel.checkpoint()
        while (self._messages or self._sending) and not self._given_up:
            await self._changed.park()
