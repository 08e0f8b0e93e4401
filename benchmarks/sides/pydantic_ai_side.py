"""pydantic-ai's realtime session, as an app uses it: the session's iterator, `send_audio`, default settings."""

from __future__ import annotations

import asyncio
from typing import Any

from _on_asyncio import Phone, main
from _side import CHUNK_BYTES, CpuTime
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.realtime.openai import OpenAIRealtimeModel


def session_to(url: str) -> Any:
    provider = OpenAIProvider(openai_client=AsyncOpenAI(api_key="none", base_url=url))
    return Agent().realtime(OpenAIRealtimeModel("gpt-realtime", provider=provider)).session()


def audio_of(event: Any) -> bytes:
    """The audio that an event brings: the first delta comes as the start of a part."""
    part = getattr(event, "delta", None) or getattr(event, "part", None)
    content = getattr(part, "audio_chunk", None) or getattr(part, "content", None) or getattr(part, "audio", None)
    data = getattr(content, "data", content)
    return data if isinstance(data, bytes) else b""


async def downstream(url: str, deltas: int) -> float:
    n_bytes = 0
    async with session_to(url) as session:
        with CpuTime() as cpu:
            await session.create_response()
            async for event in session:
                n_bytes += len(audio_of(event))
                if type(event).__name__ == "RealtimeTurnCompleteEvent":
                    break
    assert n_bytes == deltas * 9600, n_bytes
    return cpu.seconds


async def upstream(url: str, chunks: int) -> float:
    chunk = bytes(CHUNK_BYTES)
    async with session_to(url) as session:
        with CpuTime() as cpu:
            for _ in range(chunks):
                await session.send_audio(chunk)
            # A response of one delta is the sign that the server has got that far: there is no event for a commit.
            await session.create_response()
            async for event in session:
                if type(event).__name__ == "RealtimeTurnCompleteEvent":
                    break
    return cpu.seconds


async def call(url: str, phone: Phone) -> None:
    async with session_to(url) as session:
        await session.create_response()
        phone.started()
        microphone = asyncio.create_task(phone.microphone(session.send_audio))
        try:
            async for event in session:
                if type(event).__name__ == "RealtimeInputSpeechStartEvent":
                    phone.interrupted()
                else:
                    phone.calls.n_bytes += len(audio_of(event))
        finally:
            microphone.cancel()


async def idle(url: str, phone: Phone) -> None:
    async with session_to(url) as session:
        phone.started()
        async for _ in session:
            pass


if __name__ == "__main__":
    main(downstream=downstream, upstream=upstream, call=call, idle=idle)
