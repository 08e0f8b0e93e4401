"""The yardstick: what the least program does that a Trio user would write without the library.

trio-websocket with the settings that matter (`trealtime.transport.websocket` has the same), msgspec for JSON, pybase64
for audio, one task, no state.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pybase64
from trio_websocket import WebSocketConnection, open_websocket_url

__all__ = ["append", "connected", "next_event", "send", "unbase64"]

_decode = msgspec.json.Decoder().decode


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[WebSocketConnection]:
    """A connection whose session is created and updated."""
    async with open_websocket_url(
        url, message_queue_size=64, max_message_size=32 * 2**20, receive_buffer_size=65536
    ) as socket:
        await send(socket, {"type": "session.update", "session": {"type": "realtime"}})
        while (await next_event(socket))["type"] != "session.updated":
            pass
        yield socket


async def send(socket: WebSocketConnection, event: dict[str, Any]) -> None:
    await socket.send_message(msgspec.json.encode(event).decode())


async def next_event(socket: WebSocketConnection) -> dict[str, Any]:
    event: dict[str, Any] = _decode(await socket.get_message())
    return event


def unbase64(audio: str) -> bytes:
    return pybase64.b64decode(audio, validate=True)


def append(audio: bytes) -> str:
    return f'{{"type":"input_audio_buffer.append","audio":"{pybase64.b64encode_as_string(audio)}"}}'
