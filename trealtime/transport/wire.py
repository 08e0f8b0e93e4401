"""The wire seam: the parts of a connection that a session needs, and nothing more.

A wire carries whole messages. It knows nothing of the Realtime protocol, so the same session runs on a WebSocket, on an
in-memory pair under the mock clock, or on a wire of the user's own: any class with the four methods of `Wire`.

Wires that can do more than one message at a time say so with the two methods of `BatchWire`, and those that can send
without waiting with that of `ImmediateWire`. `receiver`, `sender` and `immediate_sender` give these to everyone, built
on `Wire.receive` and `Wire.send` where a wire has no more than these.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, Protocol, runtime_checkable

import attrs

from trealtime._value import Shown, Value
from trealtime.errors import TrealtimeError

__all__ = [
    "NETWORK_LOSS",
    "TORN_SEND",
    "BatchWire",
    "ImmediateWire",
    "Side",
    "Traffic",
    "Wire",
    "WireClosed",
    "WireEnd",
    "WireStatistics",
    "immediate_sender",
    "other_side",
    "receiver",
    "sender",
]

Side = Literal["client", "server"]


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


@attrs.frozen(eq=False, repr=False)
class WireStatistics(Value):
    """Counters of one wire: messages and payload bytes each way."""

    messages_sent: int = 0
    bytes_sent: int = 0
    messages_received: int = 0
    bytes_received: int = 0


@runtime_checkable
class Wire(Protocol):
    """One open connection that carries text messages both ways.

    Exactly one task sends and exactly one task receives. The wire itself sends and answers keep-alive pings.
    """

    async def send(self, message: str) -> None:
        """Send one text message; wait while the peer does not take it.

        If cancelled, half a frame may be on the wire (https://github.com/python-trio/trio/issues/889): the wire then
        counts as broken, closes itself without a close frame, and every later call raises `WireClosed`. Raises
        `WireClosed` when the connection has ended.
        """
        ...

    async def receive(self) -> str | bytes:
        """Wait for the next message: str for a text frame, bytes for a binary one.

        If cancelled, no message is lost. Raises `WireClosed` once the connection has ended and every message that
        arrived before has been received.
        """
        ...

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close: send a close frame, wait for the peer's at most the close timeout, then drop the connection.

        `reason` is cut to the 123 bytes of UTF-8 that a close frame holds. Idempotent. If cancelled, the connection is
        dropped at once. Never raises on a connection that is already gone. Raises `ValueError` for a code that may not
        be sent (RFC 6455 section 7.4): the codes are 1000 to 1014 but 1004 to 1006, and 3000 to 4999.
        """
        ...

    def statistics(self) -> WireStatistics:
        """Return the counters so far."""
        ...


@runtime_checkable
class BatchWire(Wire, Protocol):
    """A wire that hands over, and takes, several messages at once."""

    async def receive_many(self) -> Sequence[str | bytes]:
        """Wait for messages and return all that have arrived, at least one, in order.

        A text message may be str or its UTF-8 bytes, as the wire has it: use this where JSON is read, to which both are
        the same. Everything else as in `Wire.receive`. Call it in a loop: a wire may leave pings unanswered from one
        call to the next.
        """
        ...

    async def send_many(self, messages: Sequence[str | bytes]) -> None:
        """Send text messages, in order, in as few writes as the wire can; bytes are UTF-8 text.

        Everything else as in `Wire.send`: cancelled midway, some of them may have arrived, and the wire is broken.
        Other tasks need not run before it returns: a caller with much to send gives way by itself.
        """
        ...


@runtime_checkable
class ImmediateWire(Wire, Protocol):
    """A wire that can send in the step of the caller, where nobody is sending."""

    def send_nowait(self, messages: Sequence[str | bytes]) -> bool:
        """Send text messages, in order, without waiting; bytes are UTF-8 text.

        True: all of them are on their way, whole. What the peer does not take at once is sent by the wire itself, and
        until then a `Wire.send` waits, as behind any other. False: nothing has been sent, because somebody is sending,
        the connection has ended, or this wire cannot say without waiting; `Wire.send` says which. Never raises
        `WireClosed`. To be called by the task that sends, or by another while that one sends nothing.
        """
        ...


def receiver(wire: Wire) -> Callable[[], Awaitable[Sequence[str | bytes]]]:
    """Return `BatchWire.receive_many` of `wire`, built on `Wire.receive` where it has none."""
    if isinstance(wire, BatchWire):
        return wire.receive_many

    async def receive_one() -> Sequence[str | bytes]:
        return (await wire.receive(),)

    return receive_one


def sender(wire: Wire) -> Callable[[Sequence[str | bytes]], Awaitable[None]]:
    """Return `BatchWire.send_many` of `wire`, built on `Wire.send` where it has none."""
    if isinstance(wire, BatchWire):
        return wire.send_many

    async def send_each(messages: Sequence[str | bytes]) -> None:
        for message in messages:
            await wire.send(message if isinstance(message, str) else message.decode())

    return send_each


def immediate_sender(wire: Wire) -> Callable[[Sequence[str | bytes]], bool]:
    """Return `ImmediateWire.send_nowait` of `wire`, or a function that sends nothing where it has none."""
    return wire.send_nowait if isinstance(wire, ImmediateWire) else _send_nothing


def _send_nothing(messages: Sequence[str | bytes]) -> bool:
    return False


# ---- what every wire of ours keeps ----------------------------------------------------------------------------------

TORN_SEND = "a send was cancelled midway"
"""The reason that a wire gives once half a frame may be on the stream."""


@attrs.frozen(eq=False, repr=False)
class WireEnd(Value):
    """How a wire ended. Each call that fails because of it raises an error of its own (`error`)."""

    code: int
    reason: str
    closed_by: Literal["server", "client", "network"]

    def error(self) -> WireClosed:
        """Return a new error that tells of this end."""
        return WireClosed(self.code, self.reason, closed_by=self.closed_by)


NETWORK_LOSS = WireEnd(1006, "", "network")
"""No close frame came: RFC 6455 section 7.1.5."""


SENDABLE_CODES: Final = "close codes that may be sent: 1000 to 1014 but 1004 to 1006, 3000 to 4999"

_REASON_BYTES: Final = 123
"""RFC 6455 section 5.5.1."""


def is_sendable(code: object) -> bool:
    """Return whether a close frame may have this code: RFC 6455 section 7.4, and the registry that it opened."""
    if not isinstance(code, int) or isinstance(code, bool):
        return False
    return (1000 <= code <= 1014 or 3000 <= code <= 4999) and not 1004 <= code <= 1006


def close_frame(code: int, reason: str) -> tuple[int, str]:
    """Return what a close frame may say: `code`, and as much of `reason` as it holds.

    Raises `ValueError` for a code that may not be sent.
    """
    if not is_sendable(code):
        raise ValueError(f"code: expected one of the {SENDABLE_CODES}; got {code!r}")
    encoded = reason.encode(errors="replace")
    return code, reason if len(encoded) <= _REASON_BYTES else encoded[:_REASON_BYTES].decode(errors="ignore")


@attrs.define(eq=False, repr=False)
class Traffic(Shown):
    """The counters behind `Wire.statistics`."""

    messages_sent: int = 0
    bytes_sent: int = 0
    messages_received: int = 0
    bytes_received: int = 0

    def count_sent(self, message: str | bytes) -> None:
        """Count one message that the peer was given."""
        self.messages_sent += 1
        self.bytes_sent += len(message) if type(message) is bytes else _payload_size(message)

    def count_received(self, message: str | bytes) -> None:
        """Count one message that the app has taken."""
        self.messages_received += 1
        self.bytes_received += len(message) if type(message) is bytes else _payload_size(message)

    def snapshot(self) -> WireStatistics:
        """Return the counters as they are now."""
        return WireStatistics(self.messages_sent, self.bytes_sent, self.messages_received, self.bytes_received)


def other_side(side: Side) -> Side:
    """Return the peer of `side`."""
    return "server" if side == "client" else "client"


def _payload_size(message: str | bytes) -> int:
    # Nearly every message is ASCII JSON, for which CPython knows the answer without looking at the text.
    if isinstance(message, bytes) or message.isascii():
        return len(message)
    return len(message.encode())
