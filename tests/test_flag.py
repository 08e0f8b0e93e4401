"""`trealtime._flag.Flag` does what `trio.Event` does, and keeps no event for nobody."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trealtime._flag import Flag


async def test_all_who_wait_are_woken_and_later_ones_do_not_wait() -> None:
    flag, woken = Flag(), 0

    async def wait() -> None:
        nonlocal woken
        await flag.wait()
        woken += 1

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert woken == 0
        assert not flag.is_set()
        flag.set()
        flag.set()
    assert woken == 3
    assert flag.is_set()
    with trio.testing.assert_checkpoints():
        await flag.wait()


async def test_an_event_is_there_only_while_a_task_waits() -> None:
    flag = Flag()
    assert flag._event is None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flag.wait)
        await trio.testing.wait_all_tasks_blocked()
        assert flag._event is not None
        nursery.cancel_scope.cancel()
    assert flag._event is None


@pytest.mark.parametrize("cancelled", [1, 2, 3])
async def test_waiting_outlives_the_cancellation_of_others(autojump_clock, cancelled: int) -> None:
    """Tasks that are cancelled together leave one by one; between two of them another begins to wait."""
    for _ in range(20):  # the order of tasks is random
        flag, woken = Flag(), []

        async def wait_twice(flag: Flag = flag, woken: list[int] = woken) -> None:
            with trio.move_on_after(1):
                await flag.wait()
            await flag.wait()
            woken.append(1)

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(cancelled):
                    nursery.start_soon(wait_twice)
                await trio.sleep(2)
                flag.set()
        assert len(woken) == cancelled
