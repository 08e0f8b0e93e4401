"""What all scenarios share: how much to do, a session of the library, the CPU time of this process."""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import attrs
import trio

from trealtime import RealtimeAgent, RealtimeRunner, RealtimeSession

__all__ = ["CpuTime", "Load", "alternating", "session_to"]


@attrs.frozen(kw_only=True)
class Load:
    """How much each scenario does."""

    rounds: int = 40
    """Of each side, by turns: short ones, so that some fall into quiet moments of the machine."""

    deltas: int = 1000
    chunks: int = 1000
    sessions: int = 50
    seconds: float = 10.0
    call_rounds: int = 3
    interrupts: int = 300
    imports: int = 9


QUICK = Load(rounds=2, deltas=100, chunks=100, sessions=5, seconds=1.0, call_rounds=1, interrupts=10, imports=1)
"""Only shows that everything runs."""


def alternating(
    sides: Mapping[str, Callable[[str, int], Awaitable[float]]], url: str, count: int, *, rounds: int
) -> dict[str, list[float]]:
    """The figures of `rounds` rounds of each side, by turns, once imports and caches are warm."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        trio.run(side, url, count)
    for _ in range(rounds):
        for name, side in sides.items():
            figures[name].append(trio.run(side, url, count))
    return figures


@asynccontextmanager
async def session_to(url: str) -> AsyncIterator[RealtimeSession[Any]]:
    """A session with default settings."""
    runner = RealtimeRunner(RealtimeAgent(name="Measured"))
    async with runner.session(model_config={"url": url, "api_key": "none"}) as session:
        yield session


class CpuTime:
    """CPU seconds that this process spends in a block, all threads, in user and system mode."""

    seconds: float

    def __enter__(self) -> Self:
        gc.collect()
        self._began = time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds = time.process_time() - self._began
