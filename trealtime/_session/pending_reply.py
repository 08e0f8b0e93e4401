"""Callers who wait for the server's answer to something they asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import trio

from trealtime._core.effects import Settle

__all__ = ["PendingReply", "PendingReplies"]


@attrs.define(eq=False)
class PendingReply:
    """One open question; the core settles it exactly once, at the latest when the connection ends."""

    id: str
    _then: Callable[[], None] | None = None
    """Called when the answer is good news, whether or not anybody waits for it still."""

    answer: Settle | None = attrs.field(default=None, init=False)
    _settled: trio.Event = attrs.field(factory=trio.Event, init=False)

    def settle(self, answer: Settle) -> None:
        self.answer = answer
        if self._then is not None and answer.error is None:
            self._then()
        self._settled.set()

    async def wait(self) -> Any:
        """The value of the answer. Raises its error. If cancelled, the question stays open and may be waited for
        again."""
        await self._settled.wait()
        assert self.answer is not None
        if self.answer.error is not None:
            raise self.answer.error
        return self.answer.value

    async def settled(self) -> None:
        """Wait until there is an answer, whatever it is."""
        await self._settled.wait()


@attrs.define
class PendingReplies:
    """The open questions of one session. `new_id` makes the id of a reply."""

    _new_id: Callable[[], str]
    _open: dict[str, PendingReply] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._open)

    def open(self, then: Callable[[], None] | None = None) -> PendingReply:
        """A new reply, to be put into a command. `then` is called when its answer comes, unless that is an error."""
        reply = PendingReply(self._new_id(), then)
        self._open[reply.id] = reply
        return reply

    def settle(self, answer: Settle) -> None:
        """Pass an answer to whoever waits for it."""
        reply = self._open.pop(answer.reply_id, None)
        if reply is not None:
            reply.settle(answer)
