"""Audio from the server: CPU time for 1000 deltas of 9,600 bytes, from the socket to the app's loop."""

from __future__ import annotations

import trio

from . import bare
from .load import CpuTime, Load, session_to
from .report import Result
from .server import DELTA_BYTES, running_server

__all__ = ["run"]


def run(load: Load) -> list[Result]:
    with running_server() as server:
        url = f"{server}/flood?deltas={load.deltas}"
        for side in (_library, _bare):  # imports and caches are warm from here on
            trio.run(side, url, load.deltas)
        library, yardstick = [], []
        for _ in range(load.rounds):
            library.append(trio.run(_library, url, load.deltas))
            yardstick.append(trio.run(_bare, url, load.deltas))
    note = "aim: at most 1.4"
    return [Result.of_rounds("audio down, 1000 deltas of 9,600 B", "CPU ms", library, yardstick, note=note)]


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


async def _bare(url: str, deltas: int) -> float:
    n_bytes = 0
    async with bare.connected(url) as socket:
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
