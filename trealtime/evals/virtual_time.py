"""Virtual time that waits for threads.

Trio's autojump clock takes a task that waits for a thread for an idle one, and jumps. Agents under test may have
synchronous tools, which run in threads; so time stands still here while any task waits for a thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import trio
import trio.testing

from trealtime.transport.background import background_nursery

__all__ = ["run_in_virtual_time"]

T = TypeVar("T")
_LOOK_AGAIN_S = 0.002


def run_in_virtual_time(main: Callable[[], Awaitable[T]]) -> T:
    """Return the result of ``await main()``, in a Trio run whose time jumps to the next deadline when all tasks wait.

    Real sockets and processes look idle to it: code that needs them needs real time.
    """
    clock = trio.testing.MockClock()

    async def conduct() -> T:
        async with background_nursery() as nursery:
            nursery.start_soon(_jump, clock, trio.lowlevel.current_task())
            return await main()

    return trio.run(conduct, clock=clock)


async def _jump(clock: trio.testing.MockClock, root: trio.lowlevel.Task) -> None:
    while True:
        await trio.testing.wait_all_tasks_blocked()
        left_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if math.isinf(left_s) or any(map(_is_in_a_thread, _tasks_below(root))):
            # Real time passes in a thread.
            await trio.to_thread.run_sync(time.sleep, _LOOK_AGAIN_S)
        else:
            clock.jump(max(left_s, 0.0))


def _tasks_below(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _tasks_below(child)


def _is_in_a_thread(task: trio.lowlevel.Task) -> bool:
    return any(frame.f_code is trio.to_thread.run_sync.__code__ for frame, _line in task.iter_await_frames())
