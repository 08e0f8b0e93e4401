"""A spoken turn and its answer: what `RealtimeSession.listen` gives, as a value or as it comes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import attrs

from trealtime._session.driver import Driver
from trealtime._session.lifetime import Lifetime
from trealtime._session.pending_reply import PendingReply
from trealtime._session.response import SessionResponse, Turn, collect
from trealtime._session.subscription import Subscriptions
from trealtime.items import RealtimeItem, UserMessageItem
from trealtime.terminal import one_line

__all__ = ["Listening", "SpokenTurn"]

_Items = Callable[[Collection[str]], tuple[RealtimeItem, ...]]


@attrs.frozen(kw_only=True, repr=False, eq=False)
class SpokenTurn(Turn):
    """What the user has said, and the whole answer to it, calls of tools and handoffs included."""

    said: str
    """The user's words, as far as they were transcribed when the answer was complete."""

    said_item_ids: tuple[str, ...] = ()
    """The items of the user that were answered; their transcripts may come later."""

    def __repr__(self) -> str:
        return f"SpokenTurn(said={one_line(self.said)}, {super().__repr__().partition('(')[2]}"


class Listening(AbstractAsyncContextManager[SessionResponse]):
    """The next spoken turn; see `RealtimeSession.listen`. Use it once: await it, or enter it."""

    def __init__(self, driver: Driver, lifetime: Lifetime, subscriptions: Subscriptions, items: _Items) -> None:
        self._driver = driver
        self._lifetime = lifetime
        self._subscriptions = subscriptions
        self._items = items
        self._used = False
        self._reply: PendingReply | None = None
        self._response: SessionResponse | None = None

    def __await__(self) -> Generator[Any, Any, SpokenTurn]:
        """Wait for the user's turn and the whole answer."""
        return self._turn().__await__()

    async def __aenter__(self) -> SessionResponse:
        """Listen from now on. This waits for nothing, and is no checkpoint."""
        return self._begin()[0]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop listening, and interrupt the answer unless it has come to its end."""
        assert self._response is not None
        self._response.leave(failed=kind is not None)

    async def _turn(self) -> SpokenTurn:
        response, reply = self._begin()
        try:
            turn = await collect(response, self._items)
        except BaseException:
            response.leave(failed=True)
            raise
        response.leave(failed=False)
        assert reply.answer is not None
        said_items: tuple[str, ...] = reply.answer.value.said_items
        said = [item.text for item in self._items(said_items) if isinstance(item, UserMessageItem) and item.text]
        fields = {name: getattr(turn, name) for name in attrs.fields_dict(Turn)}
        return SpokenTurn(**fields, said=" ".join(said), said_item_ids=said_items)

    def _begin(self) -> tuple[SessionResponse, PendingReply]:
        if self._used:
            raise RuntimeError("this turn has been listened to: call session.listen() for the next")
        self._lifetime.check_open()
        self._used = True
        reply = self._driver.replies.open()
        subscription = self._subscriptions.new("a spoken turn", responses=[], playback=False)
        self._driver.followers[reply.id] = subscription
        self._response = response = SessionResponse(self._driver, self._lifetime, reply, subscription)
        self._driver.do(self._driver.core.listen, reply.id)
        return response, reply
