"""A server's WebSocket wire on trio-websocket, over any Trio stream, and a wire for a connection that you have opened.

A client's wire stands on another library (`trealtime.transport.client`), so on every connection between the two the one
checks how the other reads RFC 6455.

How trio-websocket works inside, as far as this module depends on it:

1. One reader task per connection parses frames, answers pings and closes, and puts whole messages into a queue. While
   the queue is full it reads nothing: neither a ping nor a pong is seen. So the queue is long, and a missing pong
   counts only while the queue has room.
2. Everything that is sent (messages, pings, pongs, closes) is one ``send_all`` under one fair lock, so frames never
   interleave. A cancelled ``send_all`` leaves half a frame behind, and nothing there notices: we do, and drop the
   stream.
3. The reader can end without waking tasks that wait for a handshake or for the peer's close, and it can fail where a
   peer does something odd. `SafeConnection` runs it so that neither can hang or reach a user.
"""

from __future__ import annotations

import math
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs
import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, WebSocketRequest
from wsproto import ConnectionType, WSConnection
from wsproto.utilities import ProtocolError

from trealtime.transport.background import background_nursery, drop
from trealtime.transport.client import wrap_websocket_stream
from trealtime.transport.config import TransportConfig
from trealtime.transport.failures import NoHandshake, explained_failures
from trealtime.transport.trio_websocket_internals import (
    SafeConnection,
    closed_by_peer,
    host_of,
    queue_is_full,
    stream_of,
)
from trealtime.transport.wire import (
    NETWORK_LOSS,
    TORN_SEND,
    Side,
    Traffic,
    WireEnd,
    WireStatistics,
    close_frame,
    other_side,
)

__all__ = [
    "WebSocketUpgrade",
    "WebSocketWire",
    "accept_websocket_stream",
    "wire_from_connection",
    "wrap_websocket_stream",
]

# Measured on 12 KB messages: reads of 64 KiB take less than half the CPU of the library's default of 4 KiB.
RECEIVE_BUFFER_SIZE = 65536
MESSAGE_QUEUE_SIZE = 64


@asynccontextmanager
async def accept_websocket_stream(
    stream: trio.abc.Stream, *, config: TransportConfig | None = None
) -> AsyncIterator[WebSocketUpgrade]:
    """Read a client's request for a WebSocket on `stream`; answer it with `WebSocketUpgrade.accept` or ``reject``.

    Entering waits for the request, at most ``config.handshake_timeout``. It raises `ConnectFailed` if none comes, or if
    it is not a WebSocket handshake, which it has then answered with status 400 or 426. Leaving drops the connection;
    an exception of the body comes out as it is.
    """
    config = config or TransportConfig()
    connection = SafeConnection(
        stream,
        WSConnection(ConnectionType.SERVER),
        message_queue_size=MESSAGE_QUEUE_SIZE,
        max_message_size=config.max_size or sys.maxsize,
        receive_buffer_size=RECEIVE_BUFFER_SIZE,
    )
    async with _service_tasks(connection) as nursery:
        with (
            explained_failures("the client", timeout_s=config.handshake_timeout),
            trio.fail_after(config.handshake_timeout),
        ):
            try:
                request = await connection.opened(connection.wait_requested)
            except HandshakeError as exc:
                raise NoHandshake(str(exc)) from exc
        yield WebSocketUpgrade(request, connection, config, nursery)


def wire_from_connection(
    connection: WebSocketConnection, *, side: Side, config: TransportConfig | None = None
) -> WebSocketWire:
    """Return a wire over a trio-websocket connection that you have opened and keep running. It sends no pings.

    Open such a connection with large limits: the library's defaults stop at messages of 1 MiB. Where you hold the
    stream, `accept_websocket_stream` gives more.
    """
    return WebSocketWire(connection, side, (config or TransportConfig()).close_timeout)


@attrs.frozen(eq=False)
class WebSocketUpgrade:
    """A client's request for a WebSocket, not yet answered."""

    _request: WebSocketRequest = attrs.field(repr=False)
    _connection: SafeConnection = attrs.field(repr=False)
    _config: TransportConfig = attrs.field(repr=False)
    _nursery: trio.Nursery = attrs.field(repr=False)

    @property
    def resource(self) -> str:
        """Path and query, as they came."""
        return str(self._request.path)

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The subprotocols that the client offers, in its order."""
        return tuple(self._request.proposed_subprotocols)

    @property
    def headers(self) -> Mapping[str, str]:
        """Header values by lower-case name; repeated ones are joined with a comma."""
        joined: dict[str, str] = {"host": host_of(self._request)}
        for raw_name, raw_value in self._request.headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    async def accept(
        self, *, subprotocol: str | None = None, headers: Mapping[str, str] | None = None
    ) -> WebSocketWire:
        """Open the WebSocket and return the server's wire.

        `subprotocol` must be one that the client offered. Raises `WireClosed` if the client has gone. If cancelled, the
        connection is of no more use: leave the context.
        """
        try:
            await self._request.accept(subprotocol=subprotocol, extra_headers=_raw_headers(headers))
        except ConnectionClosed as exc:
            raise NETWORK_LOSS.error() from exc
        return _start_wire(self._connection, "server", self._config, self._nursery)

    async def reject(self, status: int, *, headers: Mapping[str, str] | None = None, body: str = "") -> None:
        """Answer with an HTTP status in place of a WebSocket. A client that has gone is no error."""
        try:
            await self._request.reject(status, extra_headers=_raw_headers(headers), body=body.encode())
        except ConnectionClosed:
            pass


@attrs.define(eq=False)
class WebSocketWire:
    """A `Wire` on a trio-websocket connection. Open one with the functions of this package."""

    _connection: WebSocketConnection = attrs.field(repr=False)
    side: Side
    _close_timeout_s: float = attrs.field(repr=False)
    _end: WireEnd | None = attrs.field(init=False, default=None)
    _closing: bool = attrs.field(init=False, default=False, repr=False)
    _traffic: Traffic = attrs.field(init=False, factory=Traffic, repr=False)

    async def send(self, message: str) -> None:
        """Send one text message; waits while the peer does not take it.

        Cancelled before anything was written, it has sent nothing and the wire is whole. Cancelled later, half a frame
        may be on the stream: the connection is dropped, and every later call raises `WireClosed`.
        """
        if not isinstance(message, str):
            raise TypeError(f"a wire sends str, got {type(message).__name__}")
        await self._send(message)

    async def send_binary(self, message: bytes) -> None:
        """Send one binary message, which Realtime peers do not take and pages do. Everything else as in `send`."""
        await self._send(message)

    async def receive(self) -> str | bytes:
        """Wait for the next message, bytes for a binary one; cancelled, it loses none.

        Raises `WireClosed` after the last message that came before the end. A side that ended the connection itself
        (`aclose`, a torn send, a message past the size limit) gets `WireClosed` at once: unread messages are dropped.
        """
        if self._end is not None and self._end.closed_by == self.side:
            await trio.lowlevel.checkpoint()
            raise self._end.error()
        try:
            message = await self._connection.get_message()
        except ConnectionClosed as exc:
            raise self._ending().error() from exc
        self._traffic.count_received(message)
        return message

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close: send a close frame, wait for the peer's up to the close timeout, drop the connection.

        Idempotent; if cancelled, the connection is dropped at once. To close politely while being cancelled, shield the
        call: it is bounded. Raises `ValueError` for a code that may not be sent.
        """
        code, reason = close_frame(code, reason)
        if self._closing:
            await trio.lowlevel.checkpoint()
            return
        self._closing = True
        try:
            if self._end is None and self._connection.closed is None:
                self._end = WireEnd(code, reason, self.side)
                with trio.move_on_after(self._close_timeout_s):
                    await self._connection.aclose(code, reason or None)
        finally:
            await drop(stream_of(self._connection))

    def statistics(self) -> WireStatistics:
        """Messages and payload bytes so far."""
        return self._traffic.snapshot()

    async def keep_alive(self, interval_s: float, timeout_s: float) -> None:
        """Ping the peer for as long as the connection lives; drop the connection when a pong does not come in time.

        Run as a task of the connection's own. A ping waits its turn behind a message being sent, so this finds out a
        peer that has stopped reading as well as one that has stopped answering.
        """
        async with trio.open_nursery() as nursery:
            while self._end is None and self._connection.closed is None:
                await trio.sleep(interval_s)
                answered = trio.Event()
                # The ping is never cancelled while the connection lives: it would tear a frame as a message does.
                nursery.start_soon(self._ping, answered)
                while not answered.is_set():
                    with trio.move_on_after(timeout_s):
                        await answered.wait()
                    if not answered.is_set() and not queue_is_full(self._connection):
                        reason = f"keepalive timeout: no pong within {timeout_s:g} s"
                        await self._give_up(WireEnd(1006, reason, "network"))
                        nursery.cancel_scope.cancel()

    async def _ping(self, answered: trio.Event) -> None:
        try:
            await self._connection.ping()
        except (ConnectionClosed, ProtocolError):
            pass  # the connection is ending, which the loop above sees for itself
        answered.set()

    async def _send(self, message: str | bytes) -> None:
        if self._end is not None:
            await trio.lowlevel.checkpoint()
            raise self._end.error()
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            await self._connection.send_message(message)
        except ConnectionClosed as exc:
            raise self._ending().error() from exc
        except BaseException:
            await self._give_up(WireEnd(1006, TORN_SEND, self.side))
            raise
        self._traffic.count_sent(message)

    async def _give_up(self, end: WireEnd) -> None:
        if self._end is None:
            self._end = end if self._connection.closed is None else self._ending()
        await drop(stream_of(self._connection))

    def _ending(self) -> WireEnd:
        if self._end is not None:
            return self._end
        reason = self._connection.closed
        failure = self._connection.failure if isinstance(self._connection, SafeConnection) else None
        if failure is not None:
            self._end = WireEnd(1006, f"the connection failed: {failure!r}", "network")
        elif reason is None or reason.code == NETWORK_LOSS.code:
            self._end = NETWORK_LOSS
        else:
            closed_by = other_side(self.side) if closed_by_peer(self._connection) else self.side
            self._end = WireEnd(reason.code, reason.reason or "", closed_by)
        return self._end


@asynccontextmanager
async def _service_tasks(connection: SafeConnection) -> AsyncIterator[trio.Nursery]:
    """Run the reader, and other tasks of the nursery, until the body has left; then drop the stream."""
    async with background_nursery() as nursery:
        nursery.start_soon(connection.read)
        try:
            yield nursery
        finally:
            await drop(stream_of(connection))


def _start_wire(
    connection: SafeConnection, side: Side, config: TransportConfig, nursery: trio.Nursery
) -> WebSocketWire:
    wire = WebSocketWire(connection, side, config.close_timeout)
    if config.ping_interval is not None:
        timeout_s = math.inf if config.ping_timeout is None else config.ping_timeout
        nursery.start_soon(wire.keep_alive, config.ping_interval, timeout_s)
    return wire


def _raw_headers(headers: Mapping[str, str] | None) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (headers or {}).items()]
