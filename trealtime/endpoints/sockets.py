"""The common parts of endpoints on a caller's WebSocket: the `Wire` on the web server's socket, its end, a bounded
input.

No web framework is imported here: a socket is recognized by its methods.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast, runtime_checkable

import attrs
import trio

from trealtime.audio.formats import AudioFormat
from trealtime.transport.wire import (
    NETWORK_LOSS,
    TORN_SEND,
    Traffic,
    Wire,
    WireClosed,
    WireEnd,
    WireStatistics,
    close_frame,
)

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection

__all__ = [
    "BinaryWire",
    "InputBuffer",
    "QuartWebsocket",
    "ServerSocket",
    "binary_wire",
    "close_behind",
    "close_with_reason",
    "server_wire",
]

_TIMEOUT_S: Final = 2.0
_INPUT_MS: Final = 10_000


@runtime_checkable
class BinaryWire(Wire, Protocol):
    """A `Wire` that sends binary messages, too. `server_wire` makes such wires."""

    async def send_binary(self, message: bytes) -> None:
        """Send one binary message; see `Wire.send`."""
        ...


@runtime_checkable
class QuartWebsocket(Protocol):
    """Quart's ``websocket``, under Quart-Trio."""

    async def accept(self) -> None:
        """Answer the handshake."""

    async def receive(self) -> str | bytes:
        """Wait for the next message."""
        ...

    async def send(self, data: str) -> None:
        """Send a text message; a binary one, if `data` is bytes."""

    async def close(self, code: int, reason: str = "") -> None:
        """Send a close frame."""


ServerSocket: TypeAlias = "Wire | WebSocketConnection | QuartWebsocket"
"""An accepted WebSocket: trio-websocket's ``WebSocketConnection``, Quart's ``websocket``, or any `Wire`."""


def server_wire(socket: ServerSocket) -> Wire:
    """Return the wire on the server's end of `socket`. Raises `TypeError` for an object of another kind.

    Call it in the handler, where Quart's ``websocket`` is valid; the wire can then be used in other tasks.
    """
    if isinstance(socket, Wire):
        return socket
    if isinstance(socket, QuartWebsocket):
        # Outside the handler the name `websocket` stands for nothing, while bound methods keep their socket.
        send = cast("Callable[[str | bytes], Awaitable[None]]", socket.send)
        nursery = trio.lowlevel.current_task().parent_nursery
        return QuartWire(socket.accept, socket.receive, send, socket.close, nursery)
    if hasattr(socket, "get_message"):
        # trio-websocket is slow to import; an app with such a connection has imported it.
        from trealtime.transport.websocket import wire_from_connection

        return wire_from_connection(socket, side="server")
    raise TypeError(
        "socket: expected a trio_websocket.WebSocketConnection, Quart's websocket, or a trealtime Wire, "
        f"got {type(socket).__name__}"
    )


def binary_wire(socket: ServerSocket) -> BinaryWire:
    """Return the wire as `server_wire` does. Raises `TypeError` also for one without binary messages."""
    wire = server_wire(socket)
    if not isinstance(wire, BinaryWire):
        raise TypeError(f"socket: expected a wire with send_binary, got {type(wire).__name__}")
    return wire


@attrs.define(eq=False)
class QuartWire:
    """A `Wire` on Quart's ``websocket``.

    Quart up to 0.22 cancels the nursery of the handler when the peer leaves, so that this wire, unlike others, sees no
    end made by the peer. Later versions report it without a code, which is 1005 here.
    """

    _accept: Callable[[], Awaitable[None]] = attrs.field(repr=False)
    _receive: Callable[[], Awaitable[str | bytes]] = attrs.field(repr=False)
    _send_message: Callable[[str | bytes], Awaitable[None]] = attrs.field(repr=False)
    _close: Callable[[int, str], Awaitable[None]] = attrs.field(repr=False)
    _handler: trio.Nursery | None = attrs.field(repr=False)
    """The nursery in which Quart runs the handler."""

    _end: WireEnd | None = attrs.field(init=False, default=None)
    _traffic: Traffic = attrs.field(init=False, factory=Traffic, repr=False)

    async def send(self, message: str) -> None:
        """Send one text message. If cancelled, half of it may have been sent: every later call raises `WireClosed`."""
        await self._send(message)

    async def send_binary(self, message: bytes) -> None:
        """Send one binary message; see `send`."""
        await self._send(message)

    async def _send(self, message: str | bytes) -> None:
        await self._check()
        try:
            await self._send_message(message)
        except trio.Cancelled:
            self._end = self._end or WireEnd(1006, TORN_SEND, "server")
            raise
        except Exception as exc:
            raise self._ending(exc) from exc
        self._traffic.count_sent(message)

    async def receive(self) -> str | bytes:
        """Wait for the next message; if cancelled, none is lost. Raises `WireClosed` once this side has ended the
        connection."""
        await self._check()
        try:
            message = await self._receive()
        except Exception as exc:
            raise self._ending(exc) from exc
        self._traffic.count_received(message)
        return message

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame, once. `wait_for_peer` waits for the answer. Raises `ValueError` for a code that may not
        be sent."""
        code, reason = close_frame(code, reason)
        if self._end is not None:
            await trio.lowlevel.checkpoint()
            return
        self._end = WireEnd(code, reason, "server")
        try:
            await self._accept()  # an app may close a socket that it has not accepted yet
            await self._close(code, reason)
        except Exception as exc:  # noqa: BLE001  (any other is raised again)
            self._ending(exc)  # it was gone already

    async def wait_for_peer(self) -> None:
        """Discard messages until the peer has answered the close frame.

        A handler that returned sooner would have the web server close the connection under messages that the peer is
        still sending. TCP then resets the connection, and the peer sees a loss in place of the close frame. Bound this
        with a deadline.
        """
        waiting, watching = trio.CancelScope(), trio.CancelScope()

        async def watch() -> None:
            with watching:
                try:
                    await trio.sleep_forever()
                finally:
                    waiting.cancel()

        if self._handler is not None:
            try:
                # Quart tells of the end by cancelling the handler. The session waits in a task of its own, which Quart
                # does not cancel: a task beside the handler brings it the news.
                self._handler.start_soon(watch)
            except RuntimeError:  # the handler has ended, and the connection with it
                await trio.lowlevel.checkpoint()
                return
        try:
            with waiting:
                while True:
                    await self._receive()
        except Exception as exc:  # noqa: BLE001  (any other is raised again)
            self._ending(exc)
        finally:
            watching.cancel()

    def _ending(self, exc: Exception) -> WireClosed:
        """Return the end that `exc` reports; raise `exc` where it reports none."""
        # By its name, because Quart need not be installed.
        if type(exc).__name__ == "ClientDisconnectedError":
            self._end = self._end or WireEnd(1005, "", "client")
        elif isinstance(exc, trio.EndOfChannel | trio.BrokenResourceError | trio.ClosedResourceError):
            self._end = self._end or NETWORK_LOSS
        else:
            raise exc
        return self._end.error()

    def statistics(self) -> WireStatistics:
        """Return counts of messages and payload bytes so far."""
        return self._traffic.snapshot()

    async def _check(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._end is not None:
            raise self._end.error()


async def close_with_reason(wire: Wire, reason: str, *, code: int = 1008) -> None:
    """Close the socket with as much of `reason` as a close frame holds, within two seconds."""
    with trio.move_on_after(_TIMEOUT_S):
        await wire.aclose(*close_frame(code, reason))
        if isinstance(wire, QuartWire):
            await wire.wait_for_peer()


async def close_behind(wire: Wire, written: trio.Event) -> None:
    """Close the socket when its writer has ended, within two seconds.

    A message that is cut in the middle would spoil the close frame behind it. A caller that is cancelled has no time
    left for that, and drops the connection.
    """
    until = min(trio.current_effective_deadline(), trio.current_time() + _TIMEOUT_S)
    with trio.CancelScope(shield=True, deadline=until) as scope:
        try:
            await written.wait()
        finally:
            await wire.aclose()
            scope.shield = False
            if isinstance(wire, QuartWire):
                await wire.wait_for_peer()


class InputBuffer:
    """Audio of the user that waits for `receive`: at most ten seconds, beyond which the oldest piece is dropped."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self._max_bytes = audio_format.bytes_for_ms(_INPUT_MS)
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._ended = False
        self._waiting = trio.lowlevel.ParkingLot()
        self.dropped_pieces = 0
        self.dropped_bytes = 0

    def put(self, audio: bytes) -> None:
        """Add a piece. Empty pieces count for nothing."""
        if not audio:
            return
        self._pieces.append(audio)
        self._bytes += len(audio)
        while self._bytes > self._max_bytes:
            dropped = len(self._pieces.popleft())
            self._bytes -= dropped
            self.dropped_pieces += 1
            self.dropped_bytes += dropped
        self._waiting.unpark_all()

    async def receive(self) -> bytes:
        """Wait for the next piece. If cancelled, none is lost. Raises `trio.EndOfChannel` once the far side has left
        and all pieces are taken."""
        await self._wait()
        piece = self._pieces.popleft()
        self._bytes -= len(piece)
        return piece

    async def receive_all(self) -> bytes:
        """Wait for a piece, and return all that are there in one; else as `receive`."""
        await self._wait()
        audio = b"".join(self._pieces)
        self._pieces.clear()
        self._bytes = 0
        return audio

    def end(self) -> None:
        """The far side has left."""
        self._ended = True
        self._waiting.unpark_all()

    async def _wait(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._pieces:
            if self._ended:
                raise trio.EndOfChannel
            await self._waiting.park()
