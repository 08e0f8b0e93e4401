"""Audio from the server: CPU time for 1000 deltas of 9,600 bytes, from the socket to the app's loop."""

from __future__ import annotations

from functools import partial

from . import bare
from .load import CpuTime, Load, alternating, session_to
from .report import Result
from .server import DELTA_BYTES, running_server

__all__ = ["run"]


def run(load: Load) -> list[Result]:
    with running_server() as server:
        url = f"{server}/flood?deltas={load.deltas}"
        sides = {"library": _library, **{name: partial(_bare, name) for name in bare.BARE}}
        rounds = alternating(sides, url, load.deltas, rounds=load.rounds)
    note = "aim: at most 1.3 of websockets"
    return [Result.of_rounds("audio down, 1000 deltas of 9,600 B", "CPU ms", rounds, note=note)]


async def _library(url: str, deltas: int) -> float:
    n_bytes = 0
    async with session_to(url) as session:
        with CpuTime() as cpu:
            await session.create_response()
            async for event in session:
                if event.type == "audio":
                    n_bytes += len(event.audio.data)
                elif event.type == "agent_end":
                    break
    assert n_bytes == deltas * DELTA_BYTES
    return cpu.seconds * 1e6 / deltas


async def _bare(which: str, url: str, deltas: int) -> float:
    n_bytes = 0
    async with bare.connected(which, url) as socket:
        with CpuTime() as cpu:
            await bare.send(socket, {"type": "response.create"})
            while True:
                event = await bare.next_event(socket)
                if event["type"] == "response.output_audio.delta":
                    n_bytes += len(bare.unbase64(event["delta"]))
                elif event["type"] == "response.done":
                    break
    assert n_bytes == deltas * DELTA_BYTES
    return cpu.seconds * 1e6 / deltas
