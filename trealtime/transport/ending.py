"""What every wire keeps: how it ended, and what it has carried."""

from __future__ import annotations

from typing import Literal

import attrs

from trealtime.transport.wire import WireClosed, WireStatistics

__all__ = ["NETWORK_LOSS", "TORN_SEND", "Side", "Traffic", "WireEnd", "other_side"]

Side = Literal["client", "server"]

TORN_SEND = "a send was cancelled midway"
"""The reason a wire gives once half a frame may be on the stream."""


@attrs.frozen
class WireEnd:
    """How a wire ended. Each call that fails because of it raises an error of its own (`error`)."""

    code: int
    reason: str
    closed_by: Literal["server", "client", "network"]

    def error(self) -> WireClosed:
        return WireClosed(self.code, self.reason, closed_by=self.closed_by)


NETWORK_LOSS = WireEnd(1006, "", "network")
"""No close frame came: RFC 6455 section 7.1.5."""


@attrs.define
class Traffic:
    """The counters behind `Wire.statistics`."""

    messages_sent: int = 0
    bytes_sent: int = 0
    messages_received: int = 0
    bytes_received: int = 0

    def count_sent(self, message: str | bytes) -> None:
        self.messages_sent += 1
        self.bytes_sent += _payload_size(message)

    def count_received(self, message: str | bytes) -> None:
        self.messages_received += 1
        self.bytes_received += _payload_size(message)

    def snapshot(self) -> WireStatistics:
        return WireStatistics(self.messages_sent, self.bytes_sent, self.messages_received, self.bytes_received)


def other_side(side: Side) -> Side:
    return "server" if side == "client" else "client"


def _payload_size(message: str | bytes) -> int:
    # Nearly every message is ASCII JSON, for which CPython knows the answer without looking at the text.
    if isinstance(message, bytes) or message.isascii():
        return len(message)
    return len(message.encode())
