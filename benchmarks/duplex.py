"""Many calls at once, in real time: CPU time and memory of each, and frames that leave late.

Each call sends 50 frames of 20 ms a second and receives 5 deltas of audio and 5 of transcript. The calls are spread
over the period, as real ones are. Each side runs in a process of its own, so that neither inherits the other's memory.
``python -m benchmarks.duplex SIDE URL SESSIONS SECONDS`` is one such process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import psutil
import trio

from . import bare
from .load import CpuTime, Load, session_to
from .report import Result
from .server import DELTA_S, ROOT, running_server
from .upstream import CHUNK

__all__ = ["run"]

CHUNK_S = 0.02
SETTLE_S = 1.0
"""The first second of the calls is not measured."""


def run(load: Load) -> list[Result]:
    rounds: dict[str, list[dict[str, float]]] = {"library": [], **{name: [] for name in bare.BARE}}
    with running_server() as server:
        for _ in range(load.call_rounds):
            for side, figures in rounds.items():
                figures.append(_in_own_process(side, f"{server}/duplex", load))

    def of(name: str) -> dict[str, list[float]]:
        return {side: [each[name] for each in figures] for side, figures in rounds.items()}

    what = f"{load.sessions} paced calls"
    late, frames, latest_ms = of("late"), of("frames"), of("latest_ms")
    return [
        Result.of_rounds(f"{what}: one second of one", "CPU ms", of("cpu_ms")),
        Result.of_rounds(f"{what}: memory of one", "KB RSS", of("kb")),
        Result(
            measure=f"{what}: frames more than {CHUNK_S * 1000:g} ms late",
            unit="of all",
            figures={side: sum(late[side]) / sum(frames[side]) for side in rounds},
            note="the latest " + ", ".join(f"{side} {max(latest_ms[side]):.1f} ms" for side in rounds),
        ),
    ]


def _in_own_process(side: str, url: str, load: Load) -> dict[str, float]:
    command = [sys.executable, "-m", f"{__package__}.duplex", side, url, str(load.sessions), str(load.seconds)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


# ---- in that process ------------------------------------------------------------------------------------------------


@attrs.define
class _Frames:
    """What has been sent."""

    sent: int = 0
    late: int = 0
    latest_s: float = 0.0

    async def send_in_time(self, send: Callable[[bytes], Awaitable[None]], shift_s: float) -> None:
        """A microphone: a chunk whenever one is due, until cancelled."""
        due = trio.current_time() + shift_s
        while True:
            await trio.sleep_until(due)
            await send(CHUNK)
            lateness_s = trio.current_time() - due
            self.sent += 1
            self.late += lateness_s > CHUNK_S
            self.latest_s = max(self.latest_s, lateness_s)
            due += CHUNK_S


_Call = Callable[..., Awaitable[None]]


async def _library(url: str, shift_s: float, frames: _Frames, *, task_status: trio.TaskStatus[None]) -> None:
    async with session_to(url) as session, trio.open_nursery() as nursery:
        await session.create_response()
        task_status.started()
        nursery.start_soon(frames.send_in_time, session.send_audio, shift_s)
        n_bytes = 0
        async for event in session:
            if event.type == "audio":
                n_bytes += len(event.audio.data)


async def _bare(which: str, url: str, shift_s: float, frames: _Frames, *, task_status: trio.TaskStatus[None]) -> None:
    async with bare.connected(which, url) as socket, trio.open_nursery() as nursery:
        await bare.send(socket, {"type": "response.create"})
        task_status.started()

        async def send(chunk: bytes) -> None:
            await socket.send_text(bare.append(chunk))

        nursery.start_soon(frames.send_in_time, send, shift_s)
        n_bytes = 0
        while True:
            event = await bare.next_event(socket)
            if event["type"] == "response.output_audio.delta":
                n_bytes += len(bare.unbase64(event["delta"]))


async def _measure(call: _Call, url: str, sessions: int, seconds: float) -> dict[str, float]:
    process = psutil.Process()
    async with trio.open_nursery() as nursery:  # what the first call needs, all others share
        await nursery.start(call, f"{url}?shift=0", 0.0, _Frames())
        await trio.sleep(DELTA_S)
        nursery.cancel_scope.cancel()
    frames = _Frames()
    before = process.memory_info().rss
    async with trio.open_nursery() as nursery:
        for index in range(sessions):
            part = index / sessions
            await nursery.start(call, f"{url}?shift={part * DELTA_S}", part * CHUNK_S, frames)
        await trio.sleep(SETTLE_S)
        frames.sent = frames.late = 0
        frames.latest_s = 0.0
        with CpuTime() as cpu:
            await trio.sleep(seconds)
        after = process.memory_info().rss
        nursery.cancel_scope.cancel()
    return {
        "cpu_ms": cpu.seconds * 1000 / (sessions * seconds),
        "kb": (after - before) / 1024 / sessions,
        "frames": frames.sent,
        "late": frames.late,
        "latest_ms": frames.latest_s * 1000,
    }


if __name__ == "__main__":
    _side, _url, _sessions, _seconds = sys.argv[1:]
    _call: _Call = _library if _side == "library" else partial(_bare, _side)
    print(json.dumps(trio.run(_measure, _call, _url, int(_sessions), float(_seconds))))
