"""Microphone audio to the server: CPU time for 1000 chunks of 20 ms, from the app's call to the socket."""

from __future__ import annotations

from functools import partial

from trealtime import RealtimeSessionEvent

from . import bare
from .load import CpuTime, Load, alternating, session_to
from .report import Result
from .server import running_server

__all__ = ["CHUNK", "run"]

CHUNK = bytes(960)
"""20 ms of PCM16 at 24 kHz."""


def run(load: Load) -> list[Result]:
    with running_server() as server:
        sides = {"library": _library, **{name: partial(_bare, name) for name in bare.BARE}}
        rounds = alternating(sides, f"{server}/sink", load.chunks, rounds=load.rounds)
    return [Result.of_rounds("audio up, 1000 chunks of 960 B", "CPU ms", rounds)]


async def _library(url: str, chunks: int) -> float:
    async with session_to(url) as session, session.subscribe("raw_model_event") as subscription:
        with CpuTime() as cpu:
            for _ in range(chunks):
                await session.send_audio(CHUNK)
            await session.commit_audio()
            async for event in subscription:
                if _is_commit(event):
                    break
    return cpu.seconds * 1e6 / chunks


async def _bare(which: str, url: str, chunks: int) -> float:
    async with bare.connected(which, url) as socket:
        with CpuTime() as cpu:
            for _ in range(chunks):
                await socket.send_text(bare.append(CHUNK))
            await bare.send(socket, {"type": "input_audio_buffer.commit"})
            while (await bare.next_event(socket))["type"] != "input_audio_buffer.committed":
                pass
    return cpu.seconds * 1e6 / chunks


def _is_commit(event: RealtimeSessionEvent) -> bool:
    """Whether the server has got to the end of the audio."""
    return (
        event.type == "raw_model_event"
        and event.data.type == "raw_server_event"
        and event.data.data["type"] == "input_audio_buffer.committed"
    )
