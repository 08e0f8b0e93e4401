"""The TCP stream under a client's wire: sending takes no turn of the scheduler unless the socket is full.

`trio.SocketStream` lets other tasks run after each send, and looks for tasks that collide. A wire has one task that
sends and one that receives, and a paced call of 50 chunks a second spends as much on that turn as on the frame
(benchmark ``duplex``). A task that sends in a loop must give way by itself; the writer of a session sends no more in
one go than its bounded queue holds.

`ImmediateStream` is what a wire needs of a stream to send in the step of its caller.
"""

from __future__ import annotations

import socket
from typing import Protocol, runtime_checkable

import trio

__all__ = ["READ_BYTES", "ImmediateStream", "SocketStream", "open_stream"]

READ_BYTES = 65536
"""How much a read takes at most."""


@runtime_checkable
class ImmediateStream(Protocol):
    """A stream that can send without waiting."""

    def begin_send(self, data: bytes | memoryview) -> bool:
        """Send as much of `data` as the stream takes now, and keep the rest. True: all of it has left.

        After False the next ``send_all`` waits until the rest has left (``b""`` will do); `data` must not change until
        then. Raises as `trio.abc.SendStream.send_all` does. Not to be called while a ``send_all`` is under way.
        """
        ...


@trio.lowlevel.enable_ki_protection  # a Ctrl-C between two of these lines would leave the socket open
async def open_stream(host: str, port: int) -> SocketStream:
    """Connect as `trio.open_tcp_stream` does, with its races, options and errors."""
    opened = (await trio.open_tcp_stream(host, port)).socket
    family, kind, protocol = opened.family, opened.type, opened.proto
    return SocketStream(socket.socket(family, kind, protocol, fileno=opened.detach()))


class SocketStream(trio.abc.Stream):
    """A connected TCP socket as a stream, for one task that sends and one that receives."""

    def __init__(self, connected: socket.socket) -> None:
        connected.settimeout(0)
        self._socket = connected
        self._rest: bytes | memoryview = b""
        """What the socket has not taken yet."""
        self._drained = False
        """The last read took all that there was, so another one at once would find nothing."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it. Everything as in `trio.abc.SendStream.send_all`, but that other tasks run only where the
        socket is full."""
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = self.begin_send(data if isinstance(data, bytes) else memoryview(data))
        while not sent:
            await trio.lowlevel.wait_writable(self._open())
            sent = self.begin_send(b"")

    def begin_send(self, data: bytes | memoryview) -> bool:
        """Send what the socket takes at once. See `ImmediateStream`."""
        if self._rest:
            data = b"".join((self._rest, data)) if data else self._rest
        elif not data:
            self._open()
            return True
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise self._failure(error) from error
        if sent == len(data):
            self._rest = b""
            return True
        self._rest = memoryview(data)[sent:]
        return False

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        await trio.lowlevel.wait_writable(self._open())

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes; empty at the end of the stream. See `trio.abc.ReceiveStream`."""
        if max_bytes is None:
            max_bytes = READ_BYTES
        if not self._drained:
            await trio.lowlevel.checkpoint_if_cancelled()
            if (data := self._receive(max_bytes)) is not None:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return data
        while True:
            await trio.lowlevel.wait_readable(self._open())
            if (data := self._receive(max_bytes)) is not None:
                return data

    def _receive(self, max_bytes: int) -> bytes | None:
        try:
            data = self._socket.recv(max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._failure(error) from error
        self._drained = len(data) < max_bytes
        return data

    async def aclose(self) -> None:
        """Close the socket, at once; tasks that wait for it raise `trio.ClosedResourceError`."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
        await trio.lowlevel.checkpoint()

    def _open(self) -> socket.socket:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("this stream is closed")
        return self._socket

    def _failure(self, error: OSError) -> Exception:
        if self._socket.fileno() < 0:
            return trio.ClosedResourceError("this stream is closed")
        return trio.BrokenResourceError(f"the connection is broken: {error}")
