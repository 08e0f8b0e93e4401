"""The works of a side that runs on Trio; `_on_asyncio` has the same."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from _side import CHUNK_S, DELTA_S, TICK_S, Calls, CpuTime, pinned_to, resident_kb, serve

Send = Callable[[bytes], Awaitable[object]]


class Phone:
    """One call of many, as its side sees it: `started` when it stands, `microphone` beside its loop of events."""

    def __init__(self, calls: Calls, name: str, shift_s: float, task_status: Any) -> None:
        self.calls = calls
        self.name = name
        self._shift_s = shift_s
        self._task_status = task_status

    def started(self) -> None:
        self._task_status.started()

    def interrupted(self) -> None:
        self.calls.interrupted(self.name)

    async def microphone(self, send: Send) -> None:
        """Send a chunk whenever one is due, until cancelled."""
        due = trio.current_time() + self._shift_s
        offset = time.monotonic() - trio.current_time()
        while True:
            await trio.sleep_until(due)
            await send(self.calls.chunk(due + offset))
            due += CHUNK_S


def main(
    *,
    downstream: Callable[[str, int], Awaitable[float]],
    upstream: Callable[[str, int], Awaitable[float]],
    call: Callable[[str, Phone], Awaitable[None]],
    idle: Callable[[str, Phone], Awaitable[None]],
) -> None:
    """Take orders: each of the four is what the side does with its library."""

    async def down(order: dict[str, Any]) -> dict[str, Any]:
        return {"cpu_ms": await downstream(order["url"], order["deltas"]) * 1e6 / order["deltas"]}

    async def up(order: dict[str, Any]) -> dict[str, Any]:
        return {"cpu_ms": await upstream(order["url"], order["chunks"]) * 1e6 / order["chunks"]}

    async def paced(order: dict[str, Any]) -> dict[str, Any]:
        return await _many(call, order)

    async def idling(order: dict[str, Any]) -> dict[str, Any]:
        return await _many(idle, order)

    serve(trio.run, {"downstream": down, "upstream": up, "calls": paced, "idle": idling})


async def _many(one: Callable[[str, Phone], Awaitable[None]], order: dict[str, Any]) -> dict[str, Any]:
    url, count, seconds = order["url"], order["calls"], order["seconds"]
    pinned_to(order.get("core"))

    async def start(name: str, part: float, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        phone = Phone(calls, name, part * CHUNK_S, task_status)
        await one(f"{url}/call={name}/shift={part * DELTA_S:.4f}", phone)

    calls = Calls()
    async with trio.open_nursery() as nursery:  # what the first call needs, all others share
        await nursery.start(start, "warm", 0.0)
        await trio.sleep(DELTA_S)
        nursery.cancel_scope.cancel()
    calls = Calls()
    before = resident_kb()
    async with trio.open_nursery() as nursery:
        for index in range(count):
            await nursery.start(start, str(index), index / count)
        nursery.start_soon(_watch, calls)
        await trio.sleep(order["settle_s"])
        with CpuTime() as cpu:
            calls.measure()
            await trio.sleep(seconds)
        figures = calls.figures(cpu.seconds, count, seconds, resident_kb() - before)
        nursery.cancel_scope.cancel()
    return figures


async def _watch(calls: Calls) -> None:
    while True:
        due = time.monotonic() + TICK_S
        await trio.sleep(TICK_S)
        calls.note_lag(due)
