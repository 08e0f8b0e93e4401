"""Sleeping and giving way, for the one task that takes from a send queue or a subscription."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trealtime._value import Shown

__all__ = ["Sleeper", "Turns"]

TURN_S: Final = 0.001
"""How long a task that has work to do goes on before it lets others run."""

TURN_STEPS: Final = 128
"""The number of its steps after which it does so in any case: under a mock clock no time passes."""


@attrs.define(eq=False, repr=False)
class Sleeper(Shown):
    """At most one sleeping task.

    A `trio.lowlevel.ParkingLot` for one task. Without a sleeper, as on most events of a busy session, `wake` costs one
    comparison.
    """

    task: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    """The task that sleeps here; one that has been woken does not, though it has not run yet."""

    async def sleep(self) -> None:
        """Sleep until `wake`. Raises `trio.BusyResourceError` if another task sleeps here."""
        if self.task is not None:
            raise trio.BusyResourceError("another task is already receiving here")
        self.task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        """Wake the sleeper, if there is one."""
        task = self.task
        if task is not None:
            self.task = None
            trio.lowlevel.reschedule(task)


@attrs.define(eq=False, repr=False)
class Turns(Shown):
    """Checkpoints of a task with many short steps to do, which cost less than the steps.

    A turn of the scheduler costs as much as decoding a frame. Here one turn holds for all steps within `TURN_S`.
    """

    _clock: Callable[[], float] = attrs.field(default=trio.current_time, init=False)
    """That of the run, once a turn has begun: `trio.current_time` comes to it by two more calls."""

    _ends_at: float = attrs.field(default=-math.inf, init=False)
    _left: int = attrs.field(default=0, init=False)

    async def checkpoint(self) -> None:
        """Raise a pending cancellation, and let other tasks run if this task's turn is over."""
        self._left -= 1
        if self._left >= 0 and self._clock() < self._ends_at:
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        await trio.lowlevel.checkpoint()
        self.begin()

    def begin(self) -> None:
        """Begin a turn: the task has just been woken, so that others have had theirs."""
        self._left = TURN_STEPS
        self._clock = trio.lowlevel.current_clock().current_time
        self._ends_at = self._clock() + TURN_S
