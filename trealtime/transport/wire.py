"""The wire seam: what a session needs of a connection, and nothing more.

A wire carries whole text messages. It knows nothing of the Realtime protocol, so the same session runs on
trio-websocket, on an in-memory pair under the mock clock, or on a wire of the user's own.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import attrs

from trealtime.errors import TrealtimeError

__all__ = ["Wire", "WireClosed", "WireStatistics"]


class WireClosed(TrealtimeError):
    """The connection has ended: `code` and `reason` of the close frame, `closed_by` the side that ended it.

    1006 with ``closed_by="network"`` means that no close frame came (RFC 6455 section 7.1.5). Raised by every
    `Wire.receive` after the last message that arrived before the close, and by every `Wire.send` once closed.
    """

    def __init__(self, code: int, reason: str = "", *, closed_by: Literal["server", "client", "network"]) -> None:
        self.code = code
        self.reason = reason
        self.closed_by: Literal["server", "client", "network"] = closed_by
        super().__init__(f"connection closed by {closed_by}: {code}{f' {reason}' if reason else ''}")


@attrs.frozen
class WireStatistics:
    """Counters of one wire: messages and payload bytes each way."""

    messages_sent: int = 0
    bytes_sent: int = 0
    messages_received: int = 0
    bytes_received: int = 0


@runtime_checkable
class Wire(Protocol):
    """One open connection that carries text messages both ways.

    Exactly one task sends and exactly one task receives. Keep-alive pings are the wire's own business.
    """

    async def send(self, message: str) -> None:
        """Send one text message.

        If cancelled, half a frame may be on the wire (trio#889): the wire then counts as broken, closes itself without
        a close frame, and every later call raises `WireClosed`. Raises `WireClosed` when the connection has ended.
        """
        ...

    async def receive(self) -> str | bytes:
        """The next message: str for a text frame, bytes for a binary one.

        If cancelled, no message is lost. Raises `WireClosed` once the connection has ended and all that arrived before
        has been received.
        """
        ...

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close: send a close frame, wait for the peer's at most the close timeout, then drop the connection.

        Idempotent. If cancelled, the connection is dropped at once. Never raises on a connection that is already gone.
        """
        ...

    def statistics(self) -> WireStatistics:
        """Counters so far."""
        ...
