"""The least that one would write with trio-websocket: reads of 64 KiB, msgspec, pybase64, one task, no state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pybase64
import trio
from _on_trio import Phone, main
from _side import CHUNK_BYTES, CpuTime
from trio_websocket import WebSocketConnection, open_websocket_url

_decode = msgspec.json.Decoder().decode


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[WebSocketConnection]:
    """A connection whose session is created and updated."""
    async with open_websocket_url(
        url, message_queue_size=64, max_message_size=32 * 2**20, receive_buffer_size=65536
    ) as socket:
        await socket.send_message('{"type":"session.update","session":{"type":"realtime"}}')
        while (await next_event(socket))["type"] != "session.updated":
            pass
        yield socket


async def next_event(socket: WebSocketConnection) -> dict[str, Any]:
    event: dict[str, Any] = _decode(await socket.get_message())
    return event


def append(audio: bytes) -> str:
    return f'{{"type":"input_audio_buffer.append","audio":"{pybase64.b64encode_as_string(audio)}"}}'


async def downstream(url: str, deltas: int) -> float:
    n_bytes = 0
    async with connected(url) as socket:
        with CpuTime() as cpu:
            await socket.send_message('{"type":"response.create"}')
            while True:
                event = await next_event(socket)
                if event["type"] == "response.output_audio.delta":
                    n_bytes += len(pybase64.b64decode(event["delta"], validate=True))
                elif event["type"] == "response.done":
                    break
    assert n_bytes == deltas * 9600
    return cpu.seconds


async def upstream(url: str, chunks: int) -> float:
    chunk = bytes(CHUNK_BYTES)
    async with connected(url) as socket:
        with CpuTime() as cpu:
            for _ in range(chunks):
                await socket.send_message(append(chunk))
            await socket.send_message('{"type":"input_audio_buffer.commit"}')
            while (await next_event(socket))["type"] != "input_audio_buffer.committed":
                pass
    return cpu.seconds


async def call(url: str, phone: Phone) -> None:
    async with connected(url) as socket, trio.open_nursery() as nursery:
        await socket.send_message('{"type":"response.create"}')
        phone.started()

        async def send(chunk: bytes) -> None:
            await socket.send_message(append(chunk))

        nursery.start_soon(phone.microphone, send)
        while True:
            event = await next_event(socket)
            if event["type"] == "response.output_audio.delta":
                phone.calls.n_bytes += len(pybase64.b64decode(event["delta"], validate=True))
            elif event["type"] == "input_audio_buffer.speech_started":
                phone.interrupted()


async def idle(url: str, phone: Phone) -> None:
    async with connected(url) as socket:
        phone.started()
        while True:
            await next_event(socket)


if __name__ == "__main__":
    main(downstream=downstream, upstream=upstream, call=call, idle=idle)
