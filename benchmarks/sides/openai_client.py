"""The realtime client of the `openai` package: typed events and no more (no history, no interrupts)."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from _on_asyncio import Phone, main
from _side import CHUNK_BYTES, CpuTime
from openai import AsyncOpenAI


def connected(url: str) -> Any:
    return AsyncOpenAI(api_key="none", websocket_base_url=url).realtime.connect(model="gpt-realtime")


async def append(connection: Any, audio: bytes) -> None:
    await connection.input_audio_buffer.append(audio=base64.b64encode(audio).decode())


async def downstream(url: str, deltas: int) -> float:
    n_bytes = 0
    async with connected(url) as connection:
        with CpuTime() as cpu:
            await connection.response.create()
            async for event in connection:
                if event.type == "response.output_audio.delta":
                    n_bytes += len(base64.b64decode(event.delta))
                elif event.type == "response.done":
                    break
    assert n_bytes == deltas * 9600
    return cpu.seconds


async def upstream(url: str, chunks: int) -> float:
    chunk = bytes(CHUNK_BYTES)
    async with connected(url) as connection:
        with CpuTime() as cpu:
            for _ in range(chunks):
                await append(connection, chunk)
            await connection.input_audio_buffer.commit()
            async for event in connection:
                if event.type == "input_audio_buffer.committed":
                    break
    return cpu.seconds


async def call(url: str, phone: Phone) -> None:
    async with connected(url) as connection:
        await connection.response.create()
        phone.started()

        async def send(chunk: bytes) -> None:
            await append(connection, chunk)

        microphone = asyncio.create_task(phone.microphone(send))
        try:
            async for event in connection:
                if event.type == "response.output_audio.delta":
                    phone.calls.n_bytes += len(base64.b64decode(event.delta))
                elif event.type == "input_audio_buffer.speech_started":
                    phone.interrupted()
        finally:
            microphone.cancel()


async def idle(url: str, phone: Phone) -> None:
    async with connected(url) as connection:
        phone.started()
        async for _ in connection:
            pass


if __name__ == "__main__":
    main(downstream=downstream, upstream=upstream, call=call, idle=idle)
