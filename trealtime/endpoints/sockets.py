"""A caller's WebSocket, as the web server of the app has it, as a `Wire`.

Nothing here imports a web framework: what an object can do says what it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, cast, runtime_checkable

import attrs
import trio

from trealtime.transport.ending import NETWORK_LOSS, TORN_SEND, Traffic, WireEnd
from trealtime.transport.wire import Wire, WireClosed, WireStatistics

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection

__all__ = [
    "BinaryWire",
    "QuartWebsocket",
    "ServerSocket",
    "binary_wire",
    "close_behind",
    "close_with_reason",
    "server_wire",
]


_TIMEOUT_S: Final = 2.0

_REASON_BYTES: Final = 123
"""RFC 6455 section 5.5.1."""


@runtime_checkable
class BinaryWire(Wire, Protocol):
    """A `Wire` that sends binary messages too, as those of `server_wire` do."""

    async def send_binary(self, message: bytes) -> None:
        """Send one binary message. Everything else as in `Wire.send`."""
        ...


@runtime_checkable
class QuartWebsocket(Protocol):
    """What Quart's ``websocket`` offers, under Quart-Trio."""

    async def accept(self) -> None:
        """Answer the handshake."""

    async def receive(self) -> str | bytes:
        """The next message."""
        ...

    async def send(self, data: str) -> None:
        """Send a text message; a binary one, if `data` is bytes."""

    async def close(self, code: int, reason: str = "") -> None:
        """Send a close frame."""


ServerSocket: TypeAlias = "Wire | WebSocketConnection | QuartWebsocket"
"""An accepted WebSocket: trio-websocket's ``WebSocketConnection``, Quart's ``websocket``, or any `Wire`."""


def server_wire(socket: ServerSocket) -> Wire:
    """The wire on the server's end of `socket`. Raises `TypeError` for anything that is not one of its kinds.

    Call it where Quart's ``websocket`` is valid, in the handler; the wire can then be used in other tasks.
    """
    if isinstance(socket, Wire):
        return socket
    if isinstance(socket, QuartWebsocket):
        # Outside the handler the name `websocket` stands for nothing; methods that are bound do.
        send = cast("Callable[[str | bytes], Awaitable[None]]", socket.send)
        return QuartWire(socket.accept, socket.receive, send, socket.close)
    if hasattr(socket, "get_message"):
        # trio-websocket is slow to import, and whoever brings such a connection has done so.
        from trealtime.transport.websocket import wire_from_connection

        return wire_from_connection(socket, side="server")
    raise TypeError(
        "socket: expected a trio_websocket.WebSocketConnection, Quart's websocket, or a trealtime Wire, "
        f"got {type(socket).__name__}"
    )


def binary_wire(socket: ServerSocket) -> BinaryWire:
    """As `server_wire`, for what is not all text. Raises `TypeError` for a wire that sends nothing else, too."""
    wire = server_wire(socket)
    if not isinstance(wire, BinaryWire):
        raise TypeError(f"socket: expected a wire with send_binary, got {type(wire).__name__}")
    return wire


@attrs.define(eq=False)
class QuartWire:
    """A `Wire` on Quart's ``websocket``.

    When the peer leaves, Quart up to 0.22 cancels the handler: this wire then, unlike others, sees no end that the peer
    makes. Later ones tell it without a code, which is 1005 here.
    """

    _accept: Callable[[], Awaitable[None]] = attrs.field(repr=False)
    _receive: Callable[[], Awaitable[str | bytes]] = attrs.field(repr=False)
    _send_message: Callable[[str | bytes], Awaitable[None]] = attrs.field(repr=False)
    _close: Callable[[int, str], Awaitable[None]] = attrs.field(repr=False)
    _end: WireEnd | None = attrs.field(init=False, default=None)
    _traffic: Traffic = attrs.field(init=False, factory=Traffic, repr=False)

    async def send(self, message: str) -> None:
        """Send one text message. If cancelled, half of it may be on its way: every later call raises `WireClosed`."""
        await self._send(message)

    async def send_binary(self, message: bytes) -> None:
        """Send one binary message. Everything else as in `send`."""
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
        """The next message; cancelled, it loses none. Raises `WireClosed` once this side has ended the connection."""
        await self._check()
        try:
            message = await self._receive()
        except Exception as exc:
            raise self._ending(exc) from exc
        self._traffic.count_received(message)
        return message

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame, once. The peer's answer is the web server's business."""
        if self._end is not None:
            await trio.lowlevel.checkpoint()
            return
        self._end = WireEnd(code, reason, "server")
        try:
            await self._accept()  # an app may close what it has not answered yet
            await self._close(code, reason)
        except Exception as exc:  # noqa: BLE001  (what is no end is raised again)
            self._ending(exc)  # it was gone already

    def _ending(self, exc: Exception) -> WireClosed:
        """The end that `exc` tells of; raises `exc` where it tells of none."""
        # By its name: what serves the socket need not be installed for this to be imported.
        if type(exc).__name__ == "ClientDisconnectedError":
            self._end = self._end or WireEnd(1005, "", "client")
        elif isinstance(exc, trio.EndOfChannel | trio.BrokenResourceError | trio.ClosedResourceError):
            self._end = self._end or NETWORK_LOSS
        else:
            raise exc
        return self._end.error()

    def statistics(self) -> WireStatistics:
        """Messages and payload bytes so far."""
        return self._traffic.snapshot()

    async def _check(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._end is not None:
            raise self._end.error()


async def close_with_reason(wire: Wire, reason: str, *, code: int = 1008) -> None:
    """Close the socket and say why, in as much of `reason` as a close frame holds; takes two seconds at most."""
    with trio.move_on_after(_TIMEOUT_S):
        await wire.aclose(code, reason.encode()[:_REASON_BYTES].decode(errors="ignore"))


async def close_behind(wire: Wire, written: trio.Event) -> None:
    """Close the socket when its writer has ended, within two seconds.

    A message that is cut in the middle would spoil the close frame behind it. Whoever has no time left for that,
    because they are cancelled, drops the connection.
    """
    until = min(trio.current_effective_deadline(), trio.current_time() + _TIMEOUT_S)
    with trio.CancelScope(shield=True, deadline=until):
        try:
            await written.wait()
        finally:
            await wire.aclose()
