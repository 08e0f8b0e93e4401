"""An event that takes little space until a task waits for it."""

from __future__ import annotations

import attrs
import trio

from trealtime._value import Shown

__all__ = ["Flag"]


@attrs.define(eq=False, repr=False)
class Flag(Shown):
    """A `trio.Event` that takes 56 bytes in place of 290 while no task waits: a session has several of that kind."""

    _is_set: bool = attrs.field(default=False, init=False)
    _event: trio.Event | None = attrs.field(default=None, init=False, repr=False)
    """There while a task waits."""

    def is_set(self) -> bool:
        """Whether it has been set."""
        return self._is_set

    def set(self) -> None:
        """Set it, for good, and wake all who wait."""
        self._is_set = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Wait until it is set; always a checkpoint."""
        if self._is_set:
            await trio.lowlevel.checkpoint()
            return
        if self._event is None:
            self._event = trio.Event()
        event = self._event
        try:
            await event.wait()
        finally:
            # Of tasks that are woken together a later one may find that another event has been made meanwhile.
            if self._event is event and not event.statistics().tasks_waiting:
                self._event = None
