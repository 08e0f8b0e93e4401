"""Iterating a session: whose events are whose."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable

import trio

from trealtime.events import RealtimeSessionEvent
from trealtime._session.subscription import Feed

__all__ = ["Listening", "SessionIterator"]


class SessionIterator(AsyncIterator[RealtimeSessionEvent]):
    """One ``async for event in session``."""

    def __init__(self, feed: Feed, *, owns_feed: bool) -> None:
        self._feed = feed
        if owns_feed:
            # The loop that this feed was made for has gone: nothing else can ever read it.
            weakref.finalize(self, feed.close)

    async def __anext__(self) -> RealtimeSessionEvent:
        """The next event. If cancelled, no event is lost and iteration may go on."""
        try:
            return await self._feed.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StopAsyncIteration from None


class Listening:
    """Gives each loop over a session its feed.

    The first loop has the session's own feed, which holds everything since entry. Loops of the same task, one after
    another or nested, share it. A loop that another task begins meanwhile gets a feed of its own, from then on, so that
    the two do not steal from each other; once the first has ended, the next loop takes over where it left off.
    """

    def __init__(self, own: Feed, new_feed: Callable[[], Feed]) -> None:
        self._own = own
        self._new_feed = new_feed
        self._holder: weakref.ref[SessionIterator] | None = None
        self._task: trio.lowlevel.Task | None = None

    def begin(self) -> SessionIterator:
        """A loop begins."""
        task = trio.lowlevel.current_task()
        held = self._holder() if self._holder is not None else None
        if held is not None and self._task is not task:
            return SessionIterator(self._new_feed(), owns_feed=True)
        self._own.begin()
        iterator = SessionIterator(self._own, owns_feed=False)
        if held is None:
            self._holder, self._task = weakref.ref(iterator), task
        return iterator
