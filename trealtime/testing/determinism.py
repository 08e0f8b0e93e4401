"""The same run twice: Trio's clock and the order of its tasks, both under a seed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
import trio._core._run as trio_run
import trio.testing

__all__ = ["run_deterministically"]

ResultT = TypeVar("ResultT")


def run_deterministically(main: Callable[[], Awaitable[ResultT]], *, seed: int = 0) -> ResultT:
    """``trio.run(main)`` under the mock clock, which jumps, with the order of tasks decided by `seed`.

    Trio shuffles the tasks that can run in one step. With this, `open_emulator` with a `seed` and a `unix_time_s`, and
    a runner with an `rng`, a conversation gives the same events with the same times and ids each time, byte for byte.
    Another seed is another order: a cheap way to look for races. What is decided outside Trio's clock stays as it is:
    threads, sockets, and code that reads the real time.

    Raises what `main` raises. Everything is as before afterwards.
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
