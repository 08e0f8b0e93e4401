"""Cancel a piece of code at every point where it can be cancelled, one point per run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import attrs
import trio

__all__ = ["CancelHere", "cancel_at_each_checkpoint"]

CancelHere = Callable[[], AbstractContextManager[trio.CancelScope]]
"""Marks the block that is to be cancelled: ``with cancel_here() as scope: ...``."""


async def cancel_at_each_checkpoint(scenario: Callable[[CancelHere], Awaitable[object]], *, limit: int = 2000) -> int:
    """Run `scenario` again and again, its marked block cancelled one scheduler step later each time.

    The scenario sets up, does under ``with cancel_here():`` what is under test, and then checks what is left::

        async def scenario(cancel_here):
            client, server = memory_wire_pair()
            with cancel_here():
                await client.send("hello")
            ...  # whatever came of it: the pair must still work, or be cleanly closed

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
