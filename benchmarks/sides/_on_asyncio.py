"""The works of a side that runs on asyncio; `_on_trio` has the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from _side import CHUNK_S, DELTA_S, TICK_S, Calls, CpuTime, pinned_to, resident_kb, serve

Send = Callable[[bytes], Awaitable[object]]


class Phone:
    """One call of many, as its side sees it: `started` when it stands, `microphone` beside its loop of events."""

    def __init__(self, calls: Calls, name: str, shift_s: float) -> None:
        self.calls = calls
        self.name = name
        self.stands = asyncio.Event()
        self._shift_s = shift_s

    def started(self) -> None:
        self.stands.set()

    def interrupted(self) -> None:
        self.calls.interrupted(self.name)

    async def microphone(self, send: Send) -> None:
        """Send a chunk whenever one is due, until cancelled."""
        due = time.monotonic() + self._shift_s
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await send(self.calls.chunk(due))
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

    def run(work: Callable[..., Awaitable[dict[str, Any]]], order: dict[str, Any]) -> dict[str, Any]:
        return asyncio.run(work(order))  # type: ignore[arg-type]

    serve(run, {"downstream": down, "upstream": up, "calls": paced, "idle": idling})


async def _many(one: Callable[[str, Phone], Awaitable[None]], order: dict[str, Any]) -> dict[str, Any]:
    url, count, seconds = order["url"], order["calls"], order["seconds"]
    pinned_to(order.get("core"))

    async def start(calls: Calls, name: str, part: float) -> asyncio.Task[None]:
        phone = Phone(calls, name, part * CHUNK_S)
        task = asyncio.create_task(_forever(one, f"{url}/call={name}/shift={part * DELTA_S:.4f}", phone))
        stands = asyncio.create_task(phone.stands.wait())
        await asyncio.wait({task, stands}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return task

    first = await start(Calls(), "warm", 0.0)  # what the first call needs, all others share
    await asyncio.sleep(DELTA_S)
    await _stop([first])
    calls = Calls()
    before = resident_kb()
    tasks = [await start(calls, str(index), index / count) for index in range(count)]
    tasks.append(asyncio.create_task(_watch(calls)))
    await asyncio.sleep(order["settle_s"])
    with CpuTime() as cpu:
        calls.measure()
        await asyncio.sleep(seconds)
    for task in tasks:
        if task.done():
            task.result()
    figures = calls.figures(cpu.seconds, count, seconds, resident_kb() - before)
    await _stop(tasks)
    return figures


async def _forever(one: Callable[[str, Phone], Awaitable[None]], url: str, phone: Phone) -> None:
    await one(url, phone)
    raise RuntimeError("a call has ended by itself")


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(calls: Calls) -> None:
    while True:
        due = time.monotonic() + TICK_S
        await asyncio.sleep(TICK_S)
        calls.note_lag(due)
