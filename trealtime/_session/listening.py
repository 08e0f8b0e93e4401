"""Iterating a session: whose events are whose."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable

import trio

from trealtime._session.subscription import Subscription
from trealtime.events import RealtimeSessionEvent

__all__ = ["Listening", "SessionIterator"]


class SessionIterator(AsyncIterator[RealtimeSessionEvent]):
    """One ``async for event in session``."""

    def __init__(self, subscription: Subscription, *, owns_subscription: bool) -> None:
        self._subscription = subscription
        if owns_subscription:
            # The loop that this subscription was made for has gone: nothing else can ever read it.
            weakref.finalize(self, subscription.close)

    async def __anext__(self) -> RealtimeSessionEvent:
        """The next event. If cancelled, no event is lost and iteration may go on."""
        try:
            return await self._subscription.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StopAsyncIteration from None


class Listening:
    """Gives each loop over a session its subscription.

    The first loop has the session's own subscription, which holds everything since entry. Loops of the same task, one after
    another or nested, share it. A loop that another task begins meanwhile gets a subscription of its own, from then on, so that
    the two do not steal from each other; once the first has ended, the next loop takes over where it left off.
    """

    def __init__(self, own: Subscription, new_subscription: Callable[[], Subscription]) -> None:
        self._own = own
        self._new_subscription = new_subscription
        self._holder: weakref.ref[SessionIterator] | None = None
        self._task: trio.lowlevel.Task | None = None

    def begin(self) -> SessionIterator:
        """A loop begins."""
        task = trio.lowlevel.current_task()
        held = self._holder() if self._holder is not None else None
        if held is not None and self._task is not task:
            return SessionIterator(self._new_subscription(), owns_subscription=True)
        self._own.begin()
        iterator = SessionIterator(self._own, owns_subscription=False)
        if held is None:
            self._holder, self._task = weakref.ref(iterator), task
        return iterator
