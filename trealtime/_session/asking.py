"""How a call of the app becomes an input of the core: when there is room, and with the answer where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

import attrs
import trio

from trealtime._core.effects import Effect
from trealtime._session.driver import Driver
from trealtime._session.lifetime import Lifetime
from trealtime._session.pending_reply import PendingReply

__all__ = ["Asking"]

P = ParamSpec("P")


@attrs.frozen(eq=False)
class Asking:
    """Every method raises what `Lifetime.check_open` raises."""

    _driver: Driver
    _lifetime: Lifetime

    async def now(
        self, method: Callable[Concatenate[float, P], list[Effect]], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Give the core an input at once, however much is queued; then one checkpoint."""
        self._lifetime.check_open()
        self._driver.do(method, *args, **kwargs)
        await trio.lowlevel.checkpoint()

    async def room(self, *, audio: bool = False) -> None:
        """Wait for room in the send_queue; on return nothing else runs until the caller waits again."""
        # Whoever cancelled the caller may have ended the session by the same stroke: then it is cancelled, not in
        # error.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._lifetime.check_open()
        try:
            await self._driver.send_queue.wait_for_room(audio=audio)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            pass  # the session is ending: what to raise is the lifetime's to say
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
        """What the reply was settled with. Raises its error."""
        try:
            return await reply.wait()
        except Exception as error:  # noqa: BLE001  (whatever the core settled it with)
            raise self._lifetime.own(error) from None
