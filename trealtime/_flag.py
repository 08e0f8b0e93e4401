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
    _waiting: trio.lowlevel.ParkingLot | None = attrs.field(default=None, init=False, repr=False)
    """There while a task waits."""

    def is_set(self) -> bool:
        """Whether it has been set."""
        return self._is_set

    def set(self) -> None:
        """Set it, for good, and wake all who wait."""
        self._is_set = True
        if self._waiting is not None:
            self._waiting.unpark_all()

    async def wait(self) -> None:
        """Wait until it is set; always a checkpoint."""
        if self._is_set:
            await trio.lowlevel.checkpoint()
            return
        if self._waiting is None:
            self._waiting = trio.lowlevel.ParkingLot()
        try:
            await self._waiting.park()
        finally:
            if not self._waiting:
                self._waiting = None
