"""Calls of the app as inputs of the core: given when there is room, and settled with the answer of the server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import attrs
import trio

from trealtime._core.effects import Effect, Settle
from trealtime._core.ids import Recent
from trealtime._value import Shown

if TYPE_CHECKING:
    from trealtime._session.driver import Driver
    from trealtime._session.lifetime import Lifetime

__all__ = ["PendingReplies", "PendingReply", "Submitter"]

P = ParamSpec("P")


@attrs.define(eq=False, repr=False)
class PendingReply(Shown):
    """One request to the server; the core settles it exactly once, at the latest when the connection ends."""

    id: str
    then: Callable[[], None] | None = None
    """Called when the answer comes, unless that is an error; also when the caller has been cancelled."""

    on_begin_anew: Callable[[], None] | None = attrs.field(default=None, init=False)
    """Called when the responses so far count for nothing."""

    answer: Settle | None = attrs.field(default=None, init=False)
    _settled: trio.Event = attrs.field(factory=trio.Event, init=False)

    def settle(self, answer: Settle) -> None:
        """Take the answer and wake the caller."""
        self.answer = answer
        if self.then is not None and answer.error is None:
            self.then()
        self._settled.set()

    async def wait(self) -> Any:
        """Wait for the answer and return its value. Raises its error. If cancelled, the request stays open and may be
        waited for again."""
        await self._settled.wait()
        assert self.answer is not None
        if self.answer.error is not None:
            raise self.answer.error
        return self.answer.value

    async def settled(self) -> None:
        """Wait until there is an answer, or an error."""
        await self._settled.wait()


@attrs.define(eq=False, repr=False)
class PendingReplies(Shown):
    """The open requests of one session. `new_id` makes the id of a reply."""

    _new_id: Callable[[], str]
    _open: dict[str, PendingReply] = attrs.field(factory=dict, init=False)
    _failed: Recent[str, PendingReply] = attrs.field(factory=partial(Recent, 16), init=False)
    """Those that had an error for an answer, and something to do otherwise."""

    def __len__(self) -> int:
        return len(self._open)

    def open(self, then: Callable[[], None] | None = None) -> PendingReply:
        """Open a reply whose id goes to the core. `then` is called when its answer comes, unless that is an error."""
        reply = PendingReply(self._new_id(), then)
        self._open[reply.id] = reply
        return reply

    def begin_anew(self, reply_id: str) -> None:
        """Tell the caller that the responses so far count for nothing."""
        reply = self._open.get(reply_id)
        if reply is not None and reply.on_begin_anew is not None:
            reply.on_begin_anew()

    def settle(self, answer: Settle) -> None:
        """Pass an answer to the caller that waits for it."""
        reply = self._open.pop(answer.reply_id, None)
        if reply is not None:
            reply.settle(answer)
            if reply.then is not None and answer.error is not None:
                self._failed[reply.id] = reply

    def make_late(self, reply_id: str) -> None:
        """Do what follows from the success of a request that was settled with an error: it has succeeded after all."""
        reply = self._failed.pop(reply_id, None)
        if reply is not None and reply.then is not None:
            reply.then()


@attrs.frozen(eq=False, repr=False)
class Submitter(Shown):
    """Gives the core inputs for callers. Every method raises what `Lifetime.check_open` raises."""

    _driver: Driver
    _lifetime: Lifetime

    async def now(
        self, method: Callable[Concatenate[float, P], list[Effect]], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Give the core an input at once, however much is queued, and then checkpoint."""
        self._lifetime.check_open()
        self._driver.do(method, *args, **kwargs)
        await trio.lowlevel.checkpoint()

    async def room(self, *, audio: bool = False) -> None:
        """Wait for room in the send queue; on return nothing else runs until the caller waits again.

        A cancelled caller gets `Cancelled` in any case.
        """
        # A cancellation may have ended the session as well: then the caller gets `Cancelled`, not the session's end.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._lifetime.check_open()
        try:
            await self._driver.send_queue.wait_for_room(audio=audio)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            # The session is ending, and `check_open` raises how as soon as the reader has noted it: let it run.
            await trio.lowlevel.checkpoint()
        self._lifetime.check_open()

    async def send(
        self, method: Callable[Concatenate[float, P], list[Effect]], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Give the core an input when there is room for what it sends."""
        await self.room()
        self._driver.do(method, *args, **kwargs)

    async def request(self, give: Callable[[str], None]) -> Any:
        """Give the core an input that the server answers, with the id of its reply, and wait for the answer."""
        await self.room()
        reply = self._driver.replies.open()
        give(reply.id)
        return await self.answer(reply)

    async def answer(self, reply: PendingReply) -> Any:
        """Wait for the answer and return its value. Raises its error."""
        try:
            return await reply.wait()
        except Exception as error:  # noqa: BLE001  (the core may settle it with any error)
            raise self._lifetime.own(error) from None
