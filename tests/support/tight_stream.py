"""A stream in memory that a wire can send on without waiting, with as much room in its buffer as a test gives it."""

from __future__ import annotations

import math

import attrs
import trio

__all__ = ["TightStream", "tight_stream_pair"]


def tight_stream_pair(room: float = math.inf) -> tuple[TightStream, TightStream]:
    """Two joined streams. The first has this many bytes of room, as a socket has whose peer reads nothing."""
    out, far_in = trio.open_memory_channel[bytes](math.inf)
    far_out, back = trio.open_memory_channel[bytes](math.inf)
    return TightStream(out, back, room), TightStream(far_out, far_in)


@attrs.define(eq=False)
class TightStream(trio.abc.Stream):
    """An `ImmediateStream`. `broken`: sending fails from now on, as after a reset by the peer."""

    _outgoing: trio.MemorySendChannel[bytes]
    _incoming: trio.MemoryReceiveChannel[bytes]
    room: float = math.inf
    broken: bool = False
    writes: list[bytes] = attrs.field(factory=list, init=False)
    """What each call was given to send, whole."""

    _roomy: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _rest: bytes = attrs.field(default=b"", init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def begin_send(self, data: bytes | bytearray | memoryview) -> bool:
        if data:
            self.writes.append(bytes(data))
        data = self._rest + bytes(data)
        self._rest = data[self._put(data) :]
        return not self._rest

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = self.begin_send(data)
        while not sent:
            await self._roomy.park()
            sent = self.begin_send(b"")

    def _put(self, data: bytes) -> int:
        if self._closed:
            raise trio.ClosedResourceError
        if self.broken:
            raise trio.BrokenResourceError
        taken = int(min(len(data), self.room))
        if taken:
            self._outgoing.send_nowait(data[:taken])
            self.room -= taken
        return taken

    def give_room(self, size: float = math.inf) -> None:
        """The peer has read."""
        self.room += size
        self._roomy.unpark_all()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            return await self._incoming.receive()
        except trio.EndOfChannel:
            return b""

    async def aclose(self) -> None:
        self._closed = True
        self._outgoing.close()
        self._incoming.close()
        self._roomy.unpark_all()
        await trio.lowlevel.checkpoint()
