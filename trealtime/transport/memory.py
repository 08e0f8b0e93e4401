"""Two wires joined in memory: the contract of a real connection, no socket, virtual time.

It can fail as a real connection does: close with a code, vanish without a close frame
(`MemoryWire.drop`), or stop reading until the other side's `MemoryWire.send` blocks (simply do not receive).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import trio

from trealtime._value import Shown
from trealtime.transport.wire import NETWORK_LOSS, TORN_SEND, Side, Traffic, WireEnd, WireStatistics, close_frame

__all__ = ["MemoryWire", "memory_wire_pair"]


def memory_wire_pair(*, capacity: int = 64) -> tuple[MemoryWire, MemoryWire]:
    """Return two joined wires, the client's and the server's.

    `capacity` is the number of messages that wait unread in each direction before `MemoryWire.send` blocks, as the
    socket buffers of a peer that does not read do. Raises `ValueError` for less than 1.
    """
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1 message, got {capacity!r}")
    to_server, from_client = trio.open_memory_channel[str | bytes](capacity)
    to_client, from_server = trio.open_memory_channel[str | bytes](capacity)
    client = MemoryWire("client", to_server, from_server)
    server = MemoryWire("server", to_client, from_client)
    client._peer, server._peer = server, client
    return client, server


@attrs.define(eq=False, repr=False)
class MemoryWire(Shown):
    """One end of `memory_wire_pair`: a `Wire`, with `drop` and `send_binary` on top."""

    side: Side
    _outgoing: trio.MemorySendChannel[str | bytes] = attrs.field(repr=False)
    _incoming: trio.MemoryReceiveChannel[str | bytes] = attrs.field(repr=False)
    response_headers: Mapping[str, str] = attrs.field(factory=dict, init=False, repr=False)
    """The headers of the answer to the handshake, by lower-case name; a server in memory may set them."""

    _peer: MemoryWire = attrs.field(init=False, repr=False)
    _end: WireEnd | None = attrs.field(init=False, default=None)
    _traffic: Traffic = attrs.field(init=False, factory=Traffic, repr=False)

    async def send(self, message: str) -> None:
        """Send one text message; blocks while `capacity` messages wait unread at the other end.

        Cancelled while blocked, it breaks the wire as a torn frame breaks a real one: the peer sees 1006. Cancelled
        before that, it has sent nothing and the wire is whole. Raises `WireClosed` when the connection has ended, and
        `TypeError` for bytes.
        """
        if not isinstance(message, str):
            raise TypeError(f"a wire sends str, got {type(message).__name__}")
        await self._send(message)

    async def send_binary(self, message: bytes) -> None:
        """Send one binary message, which Realtime peers do not take and pages do. Everything else as in `send`."""
        await self._send(message)

    async def receive(self) -> str | bytes:
        """Wait for the next message; cancelled, it loses none. Raises `WireClosed` after the last one."""
        try:
            message = await self._incoming.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError) as exc:
            raise self._ending().error() from exc
        self._traffic.count_received(message)
        return message

    async def receive_many(self) -> list[str | bytes]:
        """Wait for messages and return all that have arrived, at least one; cancelled, it loses none."""
        messages = [await self.receive()]
        while True:
            try:
                message = self._incoming.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                return messages
            self._traffic.count_received(message)
            messages.append(message)

    async def send_many(self, messages: Sequence[str | bytes]) -> None:
        """Send text messages one after another; bytes are UTF-8 text. Everything else as in `send`."""
        for message in messages:
            await self._send(message if isinstance(message, str) else message.decode())

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close with `code` and `reason`. The peer answers by itself, so there is nothing to wait for. Idempotent.

        Raises `ValueError` for a code that may not be sent, as `Wire.aclose` does.
        """
        code, reason = close_frame(code, reason)
        self._finish(WireEnd(code, reason, self.side), WireEnd(code, reason, self.side))
        await trio.lowlevel.checkpoint()

    def drop(self) -> None:
        """Lose the connection without a close frame, as a cut cable does: 1006 at both ends."""
        self._finish(NETWORK_LOSS, NETWORK_LOSS)

    def statistics(self) -> WireStatistics:
        """Messages and payload bytes so far."""
        return self._traffic.snapshot()

    async def _send(self, message: str | bytes) -> None:
        # After this line only a send that has to wait can be cancelled, and that one may have begun its frame.
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            await self._outgoing.send(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise self._ending().error() from exc
        except trio.Cancelled:
            self._finish(WireEnd(1006, TORN_SEND, self.side), NETWORK_LOSS)
            raise
        self._traffic.count_sent(message)

    def _finish(self, own: WireEnd, seen_by_peer: WireEnd) -> None:
        if self._end is not None:
            return
        self._end = own
        if self._peer._end is None:
            self._peer._end = seen_by_peer
        self._outgoing.close()
        self._peer._outgoing.close()
        # The side that ends a connection drops what it has not read; the peer still reads what was sent before.
        # A lost network takes nothing that had arrived, at either end.
        if own is not NETWORK_LOSS:
            self._incoming.close()

    def _ending(self) -> WireEnd:
        # A channel of ours ends only through _finish, at one end or the other, which leaves a record at both.
        assert self._end is not None
        return self._end
