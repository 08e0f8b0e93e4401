"""Cancel a piece of code at every point where it can be cancelled, one point per run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import attrs
import trio
import trio._core._run as trio_run
import trio.testing

__all__ = ["CancelHere", "cancel_at_each_checkpoint", "run_deterministically"]

CancelHere = Callable[[], AbstractContextManager[trio.CancelScope]]
"""Marks the block that is to be cancelled: ``with cancel_here() as scope: ...``."""


async def cancel_at_each_checkpoint(scenario: Callable[[CancelHere], Awaitable[object]], *, limit: int = 2000) -> int:
    """Run `scenario` again and again, its marked block cancelled one scheduler step later each time.

    The scenario sets up, runs the code under test under ``with cancel_here():``, and then checks the outcome::

        async def scenario(cancel_here):
            client, server = memory_wire_pair()
            with cancel_here():
                await client.send("hello")
            ...  # in every case the pair must still work, or be cleanly closed

        await cancel_at_each_checkpoint(scenario)

    The first run is cancelled on entry to the block, the next after one step of any task, and so on up to the run whose
    block ends first. Steps of all tasks count, so the block is cancelled at each of its own checkpoints and, while it
    waits, at each stage of the work that it waits for. (Which of two runnable tasks goes first is up to Trio, so with
    several tasks at work two runs of one test may meet different interleavings.) Under the mock clock a run takes no
    time.

    Returns the number of runs that were cancelled. Raises what a scenario raises, with a note that says which run it
    was, and `RuntimeError` when the block has still not ended by itself after `limit` runs.
    """
    for steps in range(limit):
        countdown = _Countdown(steps)
        try:
            await scenario(countdown.block)
        except Exception as exc:
            exc.add_note(f"in the run cancelled {steps} scheduler steps into the block")
            raise
        if not countdown.entered:
            raise RuntimeError("the scenario never entered `with cancel_here():`")
        if not countdown.fired:
            return steps
    raise RuntimeError(f"the block had not ended by itself after {limit} scheduler steps")


@attrs.define(eq=False)
class _Countdown(trio.abc.Instrument):
    steps: int
    scope: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    entered: bool = attrs.field(init=False, default=False)
    fired: bool = attrs.field(init=False, default=False)

    @contextmanager
    def block(self) -> Iterator[trio.CancelScope]:
        self.entered = True
        with self.scope:
            if self.steps == 0:
                self._fire()
            trio.lowlevel.add_instrument(self)
            try:
                yield self.scope
            finally:
                trio.lowlevel.remove_instrument(self)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps -= 1
        if self.steps == 0:
            self._fire()

    def _fire(self) -> None:
        self.fired = True
        self.scope.cancel(reason="cancel_at_each_checkpoint")


ResultT = TypeVar("ResultT")


def run_deterministically(main: Callable[[], Awaitable[ResultT]], *, seed: int = 0) -> ResultT:
    """``trio.run(main)`` under the mock clock, which jumps, with the order of tasks decided by `seed`.

    Trio shuffles the tasks that can run in one step. With this, `open_emulator` with a `seed` and a `unix_time_s`, and
    a runner with an `rng`, a conversation gives the same events with the same times and ids each time, byte for byte.
    Another seed is another order: a cheap way to look for races. It cannot order threads, sockets, and code that reads
    the real time.

    Raises what `main` raises. Restores everything afterwards.
    """
    # Trio has these for exactly this purpose, for hypothesis-trio, and documents neither.
    before, state = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate()
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    trio_run._r.seed(seed)
    try:
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]
        trio_run._r.setstate(state)
