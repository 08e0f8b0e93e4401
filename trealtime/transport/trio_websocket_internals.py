"""The parts of trio-websocket beyond its public API that we need, in one place, checked when it is imported.

The library has no public way to learn who closed, to see that its queue is full, to read the ``Host`` of a handshake,
or to run its reader so that it can neither hang nor raise into other tasks.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

import trio
from trio_websocket import CloseReason, ConnectionRejected, HandshakeError, WebSocketConnection, WebSocketRequest
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Ping, Request

__all__ = ["SafeConnection", "closed_by_peer", "host_of", "queue_is_full", "stream_of"]

T = TypeVar("T")

_NEEDED: Final = (
    "_close_handshake",
    "_close_reason",
    "_close_web_socket",
    "_get_request",
    "_handle_close_connection_event",
    "_handle_ping_event",
    "_reader_running",
    "_reader_task",
    "_recv_channel",
    "_send",
    "_send_channel",
    "_stream",
    "_wsproto",
)


def check_internals(connection: object) -> None:
    """Raise ImportError with the version of trio-websocket if `connection` lacks a name that this module uses."""
    request = WebSocketRequest(cast("Any", connection), Request(host="", target="/"))
    missing = [name for name in _NEEDED if not hasattr(connection, name)]
    missing += [] if hasattr(request, "_event") else ["WebSocketRequest._event"]
    if missing:
        version = importlib.metadata.version("trio-websocket")
        raise ImportError(
            f"trio-websocket {version} has no {', '.join(missing)}, which trealtime {__name__} needs: "
            "install a version that has (0.12.2 does), and tell the authors of trealtime"
        )


check_internals(WebSocketConnection(cast("Any", object()), WSConnection(ConnectionType.SERVER)))


def host_of(request: WebSocketRequest) -> str:
    """Return the ``Host`` of a handshake, which is not among its headers."""
    event: Request = request._event
    return event.host


def stream_of(connection: WebSocketConnection) -> trio.abc.Stream:
    """Return the stream that the connection runs on."""
    return connection._stream


def closed_by_peer(connection: WebSocketConnection) -> bool:
    """Return whether the peer's close frame ended a connection that is closed."""
    # Only a close frame from the peer moves the protocol to these states. A close of the reader's own making (a message
    # past the limit, a frame that cannot be read) does not.
    return connection._wsproto.state in (ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED)


def queue_is_full(connection: WebSocketConnection) -> bool:
    """Return whether the reader waits for the app to receive, and so sees no pong."""
    statistics = connection._recv_channel.statistics()
    return statistics.current_buffer_used >= statistics.max_buffer_size


class _EagerSendChannel(trio.abc.SendChannel[str | bytes]):
    """The reader's end of the message queue: gives way only when the queue is full.

    A memory channel gives way for every message, which on a busy connection is a turn of the scheduler each. The reader
    gives way whenever it reads from the stream, so what it hands over in between is no more than one read.
    """

    def __init__(self, channel: trio.MemorySendChannel[str | bytes]) -> None:
        self._channel = channel

    async def send(self, value: str | bytes) -> None:
        try:
            self._channel.send_nowait(value)
        except trio.WouldBlock:
            await self._channel.send(value)

    async def aclose(self) -> None:
        await self._channel.aclose()


class SafeConnection(WebSocketConnection):
    """A server's connection whose reader can neither hang its users nor raise into their tasks."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.failure: Exception | None = None
        self._opening = trio.CancelScope()
        self._send_channel = _EagerSendChannel(self._send_channel)  # type: ignore[assignment]

    async def read(self) -> None:
        """Run the reader to the end of the connection. Raises nothing: `failure` keeps what went wrong."""
        try:
            await self._reader_task()
        except Exception as exc:  # noqa: BLE001  # any failure ends this connection and nothing else
            self.failure = exc
        finally:
            self._close_handshake.set()
            self._opening.cancel()

    async def opened(self, step: Callable[[], Awaitable[T]]) -> T:
        """Return the result of one step of the opening handshake, for which the reader must be alive."""
        with self._opening:
            return await step()
        if isinstance(self.failure, ConnectionRejected):
            raise self.failure
        raise HandshakeError("the connection was closed before the handshake was over") from self.failure

    async def wait_requested(self) -> WebSocketRequest:
        """Wait for the client's request."""
        return await self._get_request()

    async def _handle_ping_event(self, event: Ping) -> None:
        # Once a close frame has been sent nothing may follow it, and the library fails trying.
        if self._wsproto.state is ConnectionState.OPEN:
            await super()._handle_ping_event(event)

    async def _handle_close_connection_event(self, event: CloseConnection) -> None:
        if self._wsproto.state is not ConnectionState.OPEN:
            await super()._handle_close_connection_event(event)
            return
        # No close frame came: this is wsproto's word for a frame that it cannot read. RFC 6455 section 7.1.7 has the
        # peer told why.
        self._close_reason = CloseReason(event.code, event.reason or None)
        await self._send(event)
        await self._close_web_socket(event.code, event.reason or None)
        self._reader_running = False
