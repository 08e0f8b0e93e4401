"""A session whose beginning and end are two calls, which any tasks make: ``session.enter()``, ``session.close()``.

Trio has such things belong to a nursery. Here one of Trio's own tasks holds the block of the session open, which ends
with `trio.run` at the latest. An exception must not leave such a task: what the block raises while it opens goes to the
caller, and what it raises later into the log.
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio

from trealtime._log import Log

__all__ = ["HostedSession"]

_LOGGER: Final = Log("trealtime.session")


_END_S: Final = 10.0
"""How long a block that was cancelled while it opened may take to end."""


class HostedSession:
    """The block of one session, held open by a task of Trio's own."""

    def __init__(self, block: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._block = block
        self._scope = trio.CancelScope()
        self._opened = trio.Event()
        self._leave = trio.Event()
        self._over = trio.Event()
        self._failure: Exception | None = None

    async def begin(self) -> None:
        """Open the session. Raises what that raises. If cancelled, nothing is left."""
        trio.lowlevel.spawn_system_task(self._hold, context=contextvars.copy_context())
        try:
            await self._opened.wait()
        except trio.Cancelled:
            self._scope.cancel()
            with trio.move_on_after(_END_S, shield=True):
                await self._over.wait()
            raise
        if self._failure is not None:
            raise self._failure

    async def end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Close the session and wait until its block has ended; may be called again."""
        await close()
        self._leave.set()
        await self._over.wait()

    async def _hold(self) -> None:
        try:
            with self._scope:
                async with self._block():
                    self._opened.set()
                    await self._leave.wait()
        except Exception as error:  # Trio ends the program where a task of its own raises
            if self._opened.is_set():
                _LOGGER.error("a session that enter() began has failed", exc_info=error)
            else:
                self._failure = error
        finally:
            self._over.set()
            self._opened.set()
