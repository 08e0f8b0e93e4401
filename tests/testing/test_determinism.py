"""Runs that are the same twice."""

from __future__ import annotations

import pytest
import trio
import trio._core._run as trio_run

from trealtime.testing import run_deterministically


async def order() -> list[int]:
    """In which order ten tasks go first."""
    done: list[int] = []

    async def go(number: int) -> None:
        await trio.sleep(60)
        done.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(go, number)
    return done


def test_a_seed_decides_the_order_of_tasks_and_time_is_virtual() -> None:
    assert run_deterministically(order, seed=1) == run_deterministically(order, seed=1)
    assert len({tuple(run_deterministically(order, seed=seed)) for seed in range(5)}) > 1


def test_everything_is_as_before_afterwards_whatever_came_of_it() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    before = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate()
    with pytest.raises(ZeroDivisionError):
        run_deterministically(fail)
    assert before == (trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate())
