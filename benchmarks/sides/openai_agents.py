"""The realtime layer of openai-agents, as an app uses it: the session's iterator, `send_audio`, default settings."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from _on_asyncio import Phone, main
from _side import CHUNK_BYTES, CpuTime

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"

from agents.realtime import RealtimeAgent, RealtimeRunner
from agents.realtime.model_inputs import RealtimeModelSendRawMessage


async def session_to(url: str) -> Any:
    runner = RealtimeRunner(RealtimeAgent(name="Measured"))
    return await runner.run(model_config={"url": url, "api_key": "none"})


async def respond(session: Any) -> None:
    await session.model.send_event(RealtimeModelSendRawMessage(message={"type": "response.create"}))


async def downstream(url: str, deltas: int) -> float:
    n_bytes = 0
    async with await session_to(url) as session:
        with CpuTime() as cpu:
            await respond(session)
            async for event in session:
                if event.type == "audio":
                    n_bytes += len(event.audio.data)
                elif event.type == "agent_end":
                    break
    assert n_bytes == deltas * 9600, n_bytes
    return cpu.seconds


async def upstream(url: str, chunks: int) -> float:
    chunk = bytes(CHUNK_BYTES)
    async with await session_to(url) as session:
        with CpuTime() as cpu:
            for _ in range(chunks):
                await session.send_audio(chunk)
            await session.model.send_event(RealtimeModelSendRawMessage(message={"type": "input_audio_buffer.commit"}))
            async for event in session:
                if event.type != "raw_model_event" or event.data.type != "raw_server_event":
                    continue
                if event.data.data["type"] == "input_audio_buffer.committed":
                    break
    return cpu.seconds


async def call(url: str, phone: Phone) -> None:
    async with await session_to(url) as session:
        await respond(session)
        phone.started()
        microphone = asyncio.create_task(phone.microphone(session.send_audio))
        try:
            async for event in session:
                if event.type == "audio":
                    phone.calls.n_bytes += len(event.audio.data)
                elif event.type == "audio_interrupted":
                    phone.interrupted()
        finally:
            microphone.cancel()


async def idle(url: str, phone: Phone) -> None:
    async with await session_to(url) as session:
        phone.started()
        async for _ in session:
            pass


if __name__ == "__main__":
    main(downstream=downstream, upstream=upstream, call=call, idle=idle)
