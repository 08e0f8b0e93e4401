"""A page that needs no browser: it opens the WebSocket of a server and behaves as pages with an AudioWorklet do.

Theory of operation
1. The user's side: their audio goes out in pieces of 20 ms, in real time.
2. The agent's side: the page queues audio and plays it in real time, in blocks of 20 ms, and reports each at its end. A
   flush throws away all but the current block, and begins an epoch; the page drops audio of earlier ones.

Time is Trio's: under the mock clock an hour takes as long as its messages.
"""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs
import msgspec
import trio

from trealtime.audio.formats import AudioFormat, pcm16
from trealtime.endpoints.browser.stream import PROTOCOL, RESERVED_TYPES
from trealtime.endpoints.sockets import BinaryWire, binary_wire
from trealtime.transport.background import background_nursery
from trealtime.transport.dial import open_websocket_wire
from trealtime.transport.wire import WireClosed

__all__ = ["FakePage", "open_fake_page"]

_BLOCK_MS: Final = 20
_EPOCH: Final = struct.Struct("<I")


@attrs.define(eq=False)
class FakePage:
    """One page; get it from `open_fake_page`."""

    _wire: BinaryWire = attrs.field(repr=False)
    audio_format: AudioFormat
    epoch: int = attrs.field(default=0, init=False)
    """The number of flushes so far."""

    played_samples: int = attrs.field(default=0, init=False)
    """Samples played of this epoch."""

    received: list[Mapping[str, Any]] = attrs.field(factory=list, init=False, repr=False)
    """The app's messages, in order, and the server's refusals."""

    closed: WireClosed | None = attrs.field(default=None, init=False)
    """The end of the connection, once it has ended."""

    _heard: bytearray = attrs.field(factory=bytearray, init=False, repr=False)
    _buffer: bytearray = attrs.field(factory=bytearray, init=False, repr=False)
    _to_say: bytearray = attrs.field(factory=bytearray, init=False, repr=False)
    _unsent: deque[str | bytes] = attrs.field(factory=deque, init=False, repr=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False, repr=False)
    _leaving: bool = attrs.field(default=False, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)

    # ---- the user speaks -------------------------------------------------------------------------------------------

    async def say(self, audio: bytes) -> None:
        """Say PCM16 `audio`, and wait until it has been said."""
        self._to_say += audio
        self._changed.unpark_all()
        while self._to_say and not self._ended.is_set():
            await self._changed.park()

    def post(self, message: Mapping[str, Any] | str | bytes) -> None:
        """Send a message: a mapping as JSON, anything else as it is."""
        self._unsent.append(msgspec.json.encode(message).decode() if isinstance(message, Mapping) else message)
        self._changed.unpark_all()

    async def leave(self) -> None:
        """Close the page, once its messages have been sent."""
        self._leaving = True
        self._changed.unpark_all()
        await self._ended.wait()

    # ---- the user listens ------------------------------------------------------------------------------------------

    def heard(self) -> bytes:
        """All audio heard so far, without the pauses."""
        return bytes(self._heard)

    @property
    def heard_ms(self) -> float:
        """The length of the heard audio, without the pauses."""
        return self.audio_format.duration_ms(len(self._heard))

    async def wait_heard(self, ms: float) -> None:
        """Wait until `ms` have been heard in all, or the connection has ended."""
        while self.heard_ms < ms and not self._ended.is_set():
            await self._changed.park()

    async def wait_received(self, type: str) -> Mapping[str, Any]:
        """Wait for the app's next message of that type, and return it; each message is returned once.

        Raises `WireClosed` when the connection ends without one.
        """
        while True:
            for index, message in enumerate(self.received):
                if message["type"] == type:
                    return self.received.pop(index)
            if self.closed is not None:
                raise self.closed
            await self._changed.park()

    async def wait_ended(self) -> None:
        """Wait until either side has ended the connection."""
        await self._ended.wait()

    # ---- tasks -----------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self._wire.receive())
                self._changed.unpark_all()
        except WireClosed as closed:
            self._end(closed)

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            (epoch,) = _EPOCH.unpack_from(message)
            assert epoch <= self.epoch, f"audio of epoch {epoch} before its flush"
            if epoch == self.epoch:
                self._buffer += message[_EPOCH.size :]
            return
        data: dict[str, Any] = msgspec.json.decode(message)
        if data["type"] == "flush":
            self.epoch = data["epoch"]
            self.played_samples = 0
            self._buffer.clear()
        else:
            assert data["type"] not in RESERVED_TYPES - {"refused"}, data
            self.received.append(data)

    async def _play(self) -> None:
        block_bytes = self.audio_format.bytes_for_ms(_BLOCK_MS)
        free_at = -math.inf
        while True:
            while not self._buffer:
                await self._changed.park()
            epoch, block = self.epoch, bytes(self._buffer[:block_bytes])
            del self._buffer[:block_bytes]
            free_at = max(free_at, trio.current_time()) + self.audio_format.duration_ms(len(block)) / 1000
            await trio.sleep_until(free_at)
            self._heard += block
            if epoch == self.epoch:
                self.played_samples += len(block) // self.audio_format.bytes_per_sample
                self.post({"type": "heard", "epoch": epoch, "samples": self.played_samples})
            self._changed.unpark_all()

    async def _speak(self) -> None:
        piece_bytes = self.audio_format.bytes_for_ms(_BLOCK_MS)
        while True:
            while not self._to_say:
                await self._changed.park()
            piece = bytes(self._to_say[:piece_bytes])
            await trio.sleep(self.audio_format.duration_ms(len(piece)) / 1000)
            self.post(piece)
            del self._to_say[: len(piece)]

    async def _write(self) -> None:
        try:
            while True:
                while self._unsent:
                    message = self._unsent.popleft()
                    if isinstance(message, bytes):
                        await self._wire.send_binary(message)
                    else:
                        await self._wire.send(message)
                if self._leaving:
                    await self._wire.aclose()
                    self._end(WireClosed(1000, closed_by="client"))
                    break
                await self._changed.park()
        except WireClosed as closed:
            self._end(closed)

    def _end(self, closed: WireClosed) -> None:
        self.closed = self.closed or closed
        self._buffer.clear()
        self._ended.set()
        self._changed.unpark_all()


@asynccontextmanager
async def open_fake_page(
    server: BinaryWire | str,
    *,
    rate: int = 48_000,
    hello: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[FakePage]:
    """Open a page on a server that does `accept_browser_stream`; leaving closes it.

    `server` is the client's end of a wire, such as the first of `memory_wire_pair`; or a ``ws://`` URL, which is
    connected to, with `headers` (``Origin``, perhaps). `rate` is that of the page's audio, `hello` holds further fields
    of its first message. Raises `ConnectFailed` when the server refuses the handshake.
    """
    audio_format = pcm16(rate)
    async with AsyncExitStack() as stack:
        if isinstance(server, str):
            server = binary_wire(await stack.enter_async_context(open_websocket_wire(server, headers=headers)))
        page = FakePage(server, audio_format)
        async with background_nursery() as nursery:
            page.post({"type": "hello", "protocol": PROTOCOL, "rate": rate, **(hello or {})})
            for task in (page._read, page._write, page._speak, page._play):
                nursery.start_soon(task)
            yield page
            with trio.move_on_after(5):
                await page.leave()
