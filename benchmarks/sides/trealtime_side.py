"""trealtime, as an app uses it: the session's iterator, `send_audio`, default settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from _on_trio import Phone, main
from _side import CHUNK_BYTES, CpuTime

from trealtime import RealtimeAgent, RealtimeRunner, RealtimeSession


@asynccontextmanager
async def session_to(url: str) -> AsyncIterator[RealtimeSession[Any]]:
    runner = RealtimeRunner(RealtimeAgent(name="Measured"))
    async with runner.session(model_config={"url": url, "api_key": "none"}) as session:
        yield session


async def downstream(url: str, deltas: int) -> float:
    n_bytes = 0
    async with session_to(url) as session:
        with CpuTime() as cpu:
            await session.create_response()
            async for event in session:
                if event.type == "audio":
                    n_bytes += len(event.audio.data)
                elif event.type == "agent_end":
                    break
    assert n_bytes == deltas * 9600
    return cpu.seconds


async def upstream(url: str, chunks: int) -> float:
    chunk = bytes(CHUNK_BYTES)
    async with session_to(url) as session, session.subscribe("raw_model_event") as subscription:
        with CpuTime() as cpu:
            for _ in range(chunks):
                await session.send_audio(chunk)
            await session.commit_audio()
            async for event in subscription:
                if event.type != "raw_model_event" or event.data.type != "raw_server_event":
                    continue
                if event.data.data["type"] == "input_audio_buffer.committed":
                    break
    return cpu.seconds


async def call(url: str, phone: Phone) -> None:
    async with session_to(url) as session, trio.open_nursery() as nursery:
        await session.create_response()
        phone.started()
        nursery.start_soon(phone.microphone, session.send_audio)
        async for event in session:
            if event.type == "audio":
                phone.calls.n_bytes += len(event.audio.data)
            elif event.type == "audio_interrupted":
                phone.interrupted()


async def idle(url: str, phone: Phone) -> None:
    async with session_to(url) as session:
        phone.started()
        async for _ in session:
            pass


if __name__ == "__main__":
    main(downstream=downstream, upstream=upstream, call=call, idle=idle)
