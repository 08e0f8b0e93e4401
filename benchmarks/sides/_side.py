"""What the programs of this folder share: the loop that takes orders, CPU time, memory, and the microphone's clock.

Each program is one *side* of the comparison: the same work, done with one library, in a process and an environment of
its own. It reads orders from its standard input, a JSON object a line, and answers each with a line of JSON figures.
So sides stay warm between rounds, and rounds can take turns. This module imports the standard library and psutil only:
the environment of a side has its own library and nothing of ours.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

import psutil

CHUNK_BYTES = 960
"""20 ms of PCM16 at 24 kHz."""

CHUNK_S = 0.02
DELTA_S = 0.2
TICK_S = 0.01
"""How often the event loop is looked at for lag."""

_SILENCE = bytes(CHUNK_BYTES)


def serve(run: Callable[..., Any], works: Mapping[str, Callable[..., Awaitable[dict[str, Any]]]]) -> None:
    """Carry out the orders of standard input until it ends; `run` is `trio.run` or its like of asyncio."""
    for line in sys.stdin:
        order = json.loads(line)
        work = works.get(order.pop("work"))
        print(json.dumps(None if work is None else run(work, order)), flush=True)


def pinned_to(core: int | None) -> None:
    """Run on one core from here on, where the system can."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def resident_kb() -> float:
    return float(psutil.Process().memory_info().rss) / 1024


class CpuTime:
    """CPU seconds of this process in a block, all threads, in user and system mode."""

    seconds = 0.0

    def __enter__(self) -> Self:
        gc.collect()
        self._began = time.process_time()
        return self

    def __exit__(self, *reason: object) -> None:
        self.seconds = time.process_time() - self._began


class Calls:
    """What the paced calls of one process did: when the app learnt of each interrupt, by call, and the loop's lag."""

    def __init__(self) -> None:
        self.interrupts: dict[str, list[int]] = {}
        self.lags_ms: list[float] = []
        self.n_bytes = 0
        self._measured_from_s = math.inf

    def measure(self) -> None:
        """Measure what is due from now on, on the monotonic clock, and interrupts that are sent from now on. Call it in
        the block of a `CpuTime`: that begins with a collection of garbage, behind which everything that was due before
        comes late."""
        self._measured_from_s = time.monotonic()

    def note_lag(self, due_s: float) -> None:
        """The loop runs what was due then."""
        if due_s >= self._measured_from_s:
            self.lags_ms.append((time.monotonic() - due_s) * 1000)

    def chunk(self, due_s: float) -> bytes:
        """A chunk of microphone audio. One that is measured begins with the monotonic clock at which it is due, so
        that the server can tell how late it comes; the others are silence."""
        if due_s < self._measured_from_s:
            return _SILENCE
        return round(due_s * 1e9).to_bytes(8, "big") + bytes(CHUNK_BYTES - 8)

    def interrupted(self, call: str) -> None:
        """The app has learnt that the agent is interrupted."""
        self.interrupts.setdefault(call, []).append(time.monotonic_ns())

    def figures(self, cpu_s: float, calls: int, seconds: float, kb: float) -> dict[str, Any]:
        return {
            "cpu_ms": cpu_s * 1000 / (calls * seconds),
            "kb": kb / calls,
            "lags_ms": self.lags_ms,
            "interrupts": self.interrupts,
            "measured_from_s": self._measured_from_s,
        }
