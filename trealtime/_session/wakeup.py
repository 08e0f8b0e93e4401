"""One task that sleeps until another wakes it: the wake-up of a send queue or a subscription."""

from __future__ import annotations

import attrs
import trio

__all__ = ["Sleeper"]


@attrs.define
class Sleeper:
    """At most one sleeping task.

    A `trio.lowlevel.ParkingLot` for one task. Without a sleeper, as on most events of a busy session, `wake` costs one
    comparison.
    """

    _task: trio.lowlevel.Task | None = attrs.field(default=None, init=False)

    async def sleep(self) -> None:
        """Sleep until `wake`. Raises `trio.BusyResourceError` if another task sleeps here."""
        if self._task is not None:
            raise trio.BusyResourceError("another task is already receiving here")
        self._task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        """Wake the sleeper, if there is one."""
        task = self._task
        if task is not None:
            self._task = None
            trio.lowlevel.reschedule(task)
