"""The yardsticks: what the least program does that a Trio user would write without the library.

One task, no state, msgspec for JSON, pybase64 for audio. One yardstick stands on the Trio client of `websockets`, which
hands over bytes; the other on trio-websocket, with the settings that matter (`trealtime.transport.websocket` has the
same).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import attrs
import msgspec
import pybase64
from trio_websocket import WebSocketConnection, open_websocket_url
from websockets.trio.client import ClientConnection, connect

__all__ = ["BARE", "BareSocket", "append", "connected", "next_event", "send", "unbase64"]

MAX_MESSAGE = 32 * 2**20

_decode = msgspec.json.Decoder().decode


class BareSocket(Protocol):
    """One open connection."""

    async def send_text(self, text: str) -> None: ...
    async def receive(self) -> str | bytes: ...


@attrs.frozen
class _Websockets:
    connection: ClientConnection

    async def send_text(self, text: str) -> None:
        await self.connection.send(text)

    async def receive(self) -> str | bytes:
        return await self.connection.recv(decode=False)


@attrs.frozen
class _TrioWebsocket:
    connection: WebSocketConnection

    async def send_text(self, text: str) -> None:
        await self.connection.send_message(text)

    async def receive(self) -> str | bytes:
        message: str | bytes = await self.connection.get_message()
        return message


@asynccontextmanager
async def _websockets(url: str) -> AsyncIterator[BareSocket]:
    async with connect(url, compression=None, proxy=None, max_size=MAX_MESSAGE) as connection:
        yield _Websockets(connection)


@asynccontextmanager
async def _trio_websocket(url: str) -> AsyncIterator[BareSocket]:
    async with open_websocket_url(
        url, message_queue_size=64, max_message_size=MAX_MESSAGE, receive_buffer_size=65536
    ) as connection:
        yield _TrioWebsocket(connection)


BARE: Mapping[str, Callable[[str], AbstractAsyncContextManager[BareSocket]]] = {
    "websockets": _websockets,
    "trio-websocket": _trio_websocket,
}
"""The yardsticks by name: each opens a connection to an address."""


@asynccontextmanager
async def connected(which: str, url: str) -> AsyncIterator[BareSocket]:
    """A connection of this yardstick whose session is created and updated."""
    async with BARE[which](url) as socket:
        await send(socket, {"type": "session.update", "session": {"type": "realtime"}})
        while (await next_event(socket))["type"] != "session.updated":
            pass
        yield socket


async def send(socket: BareSocket, event: dict[str, Any]) -> None:
    await socket.send_text(msgspec.json.encode(event).decode())


async def next_event(socket: BareSocket) -> dict[str, Any]:
    event: dict[str, Any] = _decode(await socket.receive())
    return event


def unbase64(audio: str) -> bytes:
    return pybase64.b64decode(audio, validate=True)


def append(audio: bytes) -> str:
    return f'{{"type":"input_audio_buffer.append","audio":"{pybase64.b64encode_as_string(audio)}"}}'
