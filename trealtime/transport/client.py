"""A client's WebSocket wire: the sans-IO protocol of `websockets` under a reader and a writer of our own.

Theory of operation

1. The task that calls `ClientWire.receive` or ``receive_many`` reads the stream itself, so that a message reaches the
   app without a task in between. When none has received for `_ABSENT_S`, a reader in the background stands in: it
   answers pings and sees the end. It keeps at most `QUEUE_SIZE` messages, then it stops reading, and the peer is slowed
   down. `_reading` is true while a task reads; others park in `_parked`. The background reader gives it up, and ends,
   when a task comes to receive. It is begun anew when that has received: a wire on which a task waits for an event has
   no timer. A task that takes all that has come (``receive_many``) is a loop which comes back at once: it needs no
   stand-in before it is cancelled.
2. `_writing` is true while a task writes to the stream; others park too. A message is put into the protocol and written
   in one go, so frames never interleave. Pongs and the answer to a close frame, which the reader finds, wait in
   `_replies`: the task that writes takes them along, and where none does, one is started for them.
3. `ClientWire.send_nowait` writes in the step of its caller, where `_writing` is false and the stream can do that. It
   makes its frames by `masked_frames`. Where that is missing, or the connection is compressed, the protocol makes them.
   Nothing awaits in between, so it needs no claim on the stream. If the socket takes only a part, `_writing` becomes
   true in that same step, and a task of the wire sees to it that the rest leaves. So at most one batch waits.
4. A cancelled write may leave half a frame on the stream. The wire then drops the stream: nothing may follow that.
5. Whole texts are cut from each read by `server_frames`, unless the connection is compressed; the protocol reads all
   other frames.
6. `_end` says how the wire ended, once that is known. `_over` is set when nothing more will be read.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import h11
import trio
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.protocol import Side as ProtocolSide
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from trealtime._flag import Flag
from trealtime.transport.background import background_nursery, drop
from trealtime.transport.config import TransportConfig
from trealtime.transport.failures import NoHandshake, explained_failures, read_refusal
from trealtime.transport.masked_frames import MASKED_FRAMES
from trealtime.transport.request import Address, check_headers
from trealtime.transport.server_frames import ServerFrames
from trealtime.transport.socket_stream import ImmediateStream
from trealtime.transport.wire import NETWORK_LOSS, TORN_SEND, Side, Traffic, WireEnd, WireStatistics, close_frame

__all__ = ["ClientWire", "wrap_websocket_stream"]

QUEUE_SIZE: Final = 64
_READ_BYTES: Final = 65536
_ABSENT_S: Final = 1.0
"""How long no task receives before the background reader takes over."""


@asynccontextmanager
@trio.lowlevel.enable_ki_protection  # a Ctrl-C comes out where it waits, and the stream is closed
async def wrap_websocket_stream(
    stream: trio.abc.Stream,
    url: str = "ws://localhost/",
    *,
    headers: Mapping[str, str] | None = None,
    config: TransportConfig | None = None,
    deadline: float = math.inf,
) -> AsyncIterator[ClientWire]:
    """Open a client's wire over an open stream, which becomes the wire's own and is closed with it.

    Entering performs the WebSocket handshake for `url` with `headers` added; the stream may lead anywhere. It takes at
    most ``config.handshake_timeout`` and never goes past `deadline` (on Trio's clock); it raises `ConnectFailed`. If
    cancelled, the stream is closed. Leaving drops what is left of the connection; an exception of the body comes out as
    it is.
    """
    config = config or TransportConfig()
    check_headers(headers or {})
    protocol = _protocol(Address.of(url), headers or {}, config)
    try:
        with (
            explained_failures(url, headers=headers, timeout_s=config.handshake_timeout),
            trio.fail_at(min(deadline, trio.current_time() + config.handshake_timeout)),
        ):
            opened, answered, after = await _shake_hands(stream, protocol, Address.of(url), headers or {})
        del protocol  # it holds the request and the answer, and this frame lives as long as the wire
        async with background_nursery() as nursery:
            wire = ClientWire(stream, opened, nursery, config.close_timeout, answered)
            await wire.take(after)
            wire.call_stand_in(after_s=0.0)
            if config.ping_interval is not None:
                timeout_s = math.inf if config.ping_timeout is None else config.ping_timeout
                nursery.start_soon(wire.keep_alive, config.ping_interval, timeout_s)
            try:
                yield wire
            finally:
                wire.leave()
    finally:
        await drop(stream)


def _protocol(address: Address, headers: Mapping[str, str], config: TransportConfig) -> ClientProtocol:
    path, _, query = address.resource.partition("?")
    offered = next((value for name, value in headers.items() if name.lower() == "sec-websocket-protocol"), "")
    return ClientProtocol(
        WebSocketURI(address.tls, address.host, address.port, path, query),
        extensions=[ClientPerMessageDeflateFactory()] if config.compression == "deflate" else None,
        subprotocols=[Subprotocol(each.strip()) for each in offered.split(",")] if offered else None,
        max_size=config.max_size,
    )


async def _shake_hands(
    stream: trio.abc.Stream, protocol: ClientProtocol, address: Address, headers: Mapping[str, str]
) -> tuple[Protocol, dict[str, str], bytes]:
    """Send the request and read the answer; return the protocol of the open connection, the headers of the answer
    (names in lower case), and the bytes that came behind it."""
    request = protocol.connect()
    request.path = address.resource  # byte for byte, as the user wrote it
    del request.headers["Host"]
    request.headers["Host"] = address.host_header
    for name, value in headers.items():
        if name.lower() != "sec-websocket-protocol":
            request.headers[name] = value
    # Not by `protocol.send_request`, which writes the headers into the debug log, the key among them.
    await stream.send_all(request.serialize())

    # h11 tells an upgrade from a refusal, and reads as much of a refusal's body as we care for. The protocol would wait
    # for all of it.
    http = h11.Connection(h11.CLIENT)
    upgrade = [("Host", address.host_header), ("Connection", "Upgrade"), ("Upgrade", "websocket")]
    http.send(h11.Request(method="GET", target="/", headers=upgrade))
    http.send(h11.EndOfMessage())
    answer = bytearray()
    while (event := http.next_event()) is h11.NEED_DATA:
        data = await stream.receive_some(_READ_BYTES)
        if not data:
            raise trio.BrokenResourceError("the stream ended inside the opening handshake")
        answer += data
        http.receive_data(bytes(data))
    if isinstance(event, h11.Response):
        raise await read_refusal(http, stream, event)
    if not isinstance(event, h11.InformationalResponse) or event.status_code != 101:
        raise NoHandshake("its answer is not that of a WebSocket server")
    after, _ = http.trailing_data
    protocol.receive_data(bytes(answer[: len(answer) - len(after)]))
    if protocol.handshake_exc is not None:
        raise protocol.handshake_exc
    # The protocol of the handshake keeps the request and the answer for as long as it lives: 3 KB.
    opened = Protocol(ProtocolSide.CLIENT, max_size=(protocol.max_message_size, protocol.max_fragment_size))
    opened.extensions = protocol.extensions
    answered = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in event.headers}
    return opened, answered, bytes(after)


class _Binary(bytes):
    """The payload of a binary message, among the UTF-8 bytes of text messages."""

    __slots__ = ()


@attrs.define(eq=False)
class ClientWire:
    """A `BatchWire` and `ImmediateWire` of a client.

    Open one with `wrap_websocket_stream` or `trealtime.transport.dial`.
    """

    _stream: trio.abc.Stream = attrs.field(repr=False)
    _protocol: Protocol = attrs.field(repr=False)
    _nursery: trio.Nursery = attrs.field(repr=False)
    _close_timeout_s: float = attrs.field(repr=False)
    response_headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The headers of the server's answer to the handshake, names in lower case."""

    side: Side = attrs.field(init=False, default="client")
    _end: WireEnd | None = attrs.field(init=False, default=None)
    _over: Flag = attrs.field(init=False, factory=Flag, repr=False)
    _closing: bool = attrs.field(init=False, default=False, repr=False)
    _traffic: Traffic = attrs.field(init=False, factory=Traffic, repr=False)

    _messages: list[bytes] = attrs.field(init=False, factory=list, repr=False)
    _fragments: list[bytes] | None = attrs.field(init=False, default=None, repr=False)
    _fragments_are_text: bool = attrs.field(init=False, default=False, repr=False)
    _frames: ServerFrames | None = attrs.field(init=False, default=None, repr=False)
    """Takes the texts; None where the protocol takes all, because the connection is compressed."""

    _refused: bool = attrs.field(init=False, default=False, repr=False)
    """The peer has closed, or broken a rule: messages after that do not count."""

    _reading: bool = attrs.field(init=False, default=False, repr=False)
    _receiving: bool = attrs.field(init=False, default=False, repr=False)
    _background: trio.CancelScope | None = attrs.field(init=False, default=None, repr=False)
    _standing_in: bool = attrs.field(init=False, default=False, repr=False)
    _unattended: Flag = attrs.field(init=False, factory=Flag, repr=False)

    _replies: list[bytes] = attrs.field(init=False, factory=list, repr=False)
    _writing: bool = attrs.field(init=False, default=False, repr=False)
    _parked: trio.lowlevel.ParkingLot | None = attrs.field(init=False, default=None, repr=False)
    """The tasks that wait for their turn to read or to write, if one has to."""

    _begin_send: Callable[[bytes], bool] | None = attrs.field(init=False, default=None, repr=False)
    """Sends what the stream takes at once, where it can."""

    _pings: int = attrs.field(init=False, default=0, repr=False)
    _ponged: bool = attrs.field(init=False, default=True, repr=False)
    """Whether the last ping has its pong."""

    def leave(self) -> None:
        """The tasks of the wire are about to end: start no more of them for what is sent."""
        self._begin_send = None

    def __attrs_post_init__(self) -> None:
        if isinstance(self._stream, ImmediateStream):
            self._begin_send = self._stream.begin_send
        if not self._protocol.extensions:
            max_size = self._protocol.max_message_size
            self._frames = ServerFrames(math.inf if max_size is None else max_size)

    # ---- sending -------------------------------------------------------------------------------------------------

    async def send(self, message: str) -> None:
        """Send one text message; wait while the peer does not take it.

        Cancelled before anything was written, it has sent nothing and the wire is whole. Cancelled later, half a frame
        may be on the stream: the connection is dropped, and every later call raises `WireClosed`.
        """
        if not isinstance(message, str):
            raise TypeError(f"a wire sends str, got {type(message).__name__}")
        await self._write(self._protocol.send_text, (message.encode(),))
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def send_binary(self, message: bytes) -> None:
        """Send one binary message, which Realtime peers do not take and pages do. Everything else as in `send`."""
        await self._write(self._protocol.send_binary, (message,))
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def send_many(self, messages: Sequence[str | bytes]) -> None:
        """Send text messages in one write; bytes are UTF-8 text. Everything else as in `send`, but that other tasks
        run only where the peer does not take it at once."""
        payloads = [each.encode() if isinstance(each, str) else each for each in messages]
        await self._write(self._protocol.send_text, payloads)

    def send_nowait(self, messages: Sequence[str | bytes]) -> bool:
        """Send text messages in one write, in the step of the caller; bytes are UTF-8 text. False: nothing was sent.

        That is so while another task writes, once the connection has ended, and over a stream of one's own that cannot
        do it. See `ImmediateWire`.
        """
        # Hot: one call for each 20 ms of a microphone.
        begin_send = self._begin_send
        if begin_send is None or self._writing or self._end is not None:
            return False
        try:
            sent = begin_send(self._framed(messages))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False  # nothing of it is on the stream, and nothing ever will: the next task that writes says how
        if sent:
            for message in messages:
                self._traffic.count_sent(message)
        else:
            self._writing = True
            self._nursery.start_soon(self._write_rest, messages)
        return True

    async def _write_rest(self, messages: Sequence[str | bytes]) -> None:
        """Wait until the socket has taken these messages, which the stream holds, and replies; `_writing` is true."""
        try:
            await self._stream.send_all(b"")
            while replies := self._waiting():
                await self._stream.send_all(replies)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the reader sees the end for itself
        except BaseException:
            await self._give_up(WireEnd(1006, TORN_SEND, self.side))
            raise
        finally:
            self._release_writing()
        for message in messages:
            self._traffic.count_sent(message)

    async def _write(self, put: Callable[[bytes], None], payloads: Sequence[bytes]) -> None:
        # Hot: one call for each 20 ms of a microphone. Every await here but `send_all` costs nothing unless it waits.
        if self._end is not None:
            await trio.lowlevel.checkpoint()
            raise self._end.error()
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._writing:
            await self._park()
        if self._end is not None:
            raise self._end.error()
        self._writing = True
        try:
            for payload in payloads:
                put(payload)  # the protocol is open: what closes it sets `_end` in the same step
            while data := self._waiting():
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise self._lose().error() from exc
        except BaseException:
            await self._give_up(WireEnd(1006, TORN_SEND, self.side))
            raise
        finally:
            self._release_writing()
        for payload in payloads:
            self._traffic.count_sent(payload)

    def _framed(self, messages: Sequence[str | bytes]) -> bytes:
        """The frames of these texts, after replies of the reader that wait."""
        if self._frames is None or MASKED_FRAMES is None:
            for message in messages:
                self._protocol.send_text(message.encode() if isinstance(message, str) else message)
            return self._waiting()
        frames, self._replies = self._replies, []
        for message in messages:
            frames.append(MASKED_FRAMES.text(message.encode() if isinstance(message, str) else message))
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def _waiting(self) -> bytes:
        """Take the bytes that wait to be written: replies of the reader first."""
        data = self._protocol.data_to_send()
        if self._replies:
            data = [*self._replies, *data]
            self._replies.clear()
        return data[0] if len(data) == 1 else b"".join(data)

    async def _write_replies(self) -> None:
        await self._acquire_writing()
        try:
            if self._replies:
                data = b"".join(self._replies)
                self._replies.clear()
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the reader sees the end for itself
        finally:
            self._release_writing()

    async def _acquire_writing(self) -> None:
        while self._writing:
            await self._park()
        self._writing = True

    def _release_writing(self) -> None:
        self._writing = False
        self._unpark()

    def _release_reading(self) -> None:
        self._reading = False
        self._unpark()

    async def _park(self) -> None:
        if self._parked is None:
            self._parked = trio.lowlevel.ParkingLot()
        await self._parked.park()

    def _unpark(self) -> None:
        if self._parked is not None:
            parked, self._parked = self._parked, None
            parked.unpark_all()

    # ---- receiving -----------------------------------------------------------------------------------------------

    async def receive(self) -> str | bytes:
        """Wait for the next message: str for a text frame, bytes for a binary one; cancelled, it loses none.

        Raises `WireClosed` after the last message that came before the end. A side that ended the connection itself
        (`aclose`, a torn send) gets `WireClosed` at once: unread messages are dropped.
        """
        try:
            await self._have_messages()
        finally:
            self.call_stand_in()
        message = self._messages.pop(0)
        self._traffic.count_received(message)
        return bytes(message) if type(message) is _Binary else message.decode()

    async def receive_many(self) -> list[str | bytes]:
        """Wait for messages and return all that have arrived, at least one, as bytes: text in UTF-8, checked.

        Cancelled, it loses none. Raises as `receive` does. To be called again soon: until then pings wait for their
        answers, which they do not after `receive`.
        """
        try:
            await self._have_messages()
        except BaseException:
            self.call_stand_in()
            raise
        messages: list[str | bytes] = [*self._messages]
        self._messages.clear()
        for message in messages:
            self._traffic.count_received(message)
        return messages

    async def _have_messages(self) -> None:
        if self._messages:
            await trio.lowlevel.checkpoint_if_cancelled()
            return
        end = self._end
        if end is not None and (self._over.is_set() or end.closed_by == self.side):
            await trio.lowlevel.checkpoint()
            raise end.error()
        self._receiving = True
        try:
            while not self._messages and not self._over.is_set():
                if self._background is not None:
                    self._background.cancel()
                while self._reading:
                    await self._park()
                self._reading = True
                try:
                    while not self._messages and not self._over.is_set():
                        await self._read()
                finally:
                    self._release_reading()
        finally:
            self._receiving = False
            if self._closing:
                self._unattended.set()
        if not self._messages:
            assert self._end is not None
            raise self._end.error()

    def call_stand_in(self, *, after_s: float = _ABSENT_S) -> None:
        """Read in the background if no task receives within `after_s` seconds."""
        if not self._standing_in and not self._over.is_set():
            self._standing_in = True
            self._nursery.start_soon(self._stand_in, after_s)

    async def _stand_in(self, after_s: float) -> None:
        # A task that only handles what it has received comes back soon: then this one ends, until it is called again.
        if after_s and not self._closing:
            with trio.move_on_after(after_s):
                await self._unattended.wait()
        if not self._receiving:
            with trio.CancelScope() as self._background:
                while self._reading:
                    await self._park()
                self._reading = True
                try:
                    while not self._over.is_set() and (len(self._messages) < QUEUE_SIZE or self._closing):
                        await self._read()
                finally:
                    self._release_reading()
            self._background = None
        self._standing_in = False

    async def _read(self) -> None:
        """Read once from the stream; the caller holds `_reading`."""
        try:
            data = await self._stream.receive_some(_READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._lose()
            return
        if not data:
            self._protocol.receive_eof()
            self._lose()
            return
        await self.take(bytes(data))

    async def take(self, data: bytes) -> None:
        """Take what has come from the peer; the caller holds `_reading`, or is alone."""
        if self._frames is None:
            self._take_by_protocol(data)
        else:
            for is_text, piece in self._frames.cut(data):
                if is_text:
                    self._take_message(piece, is_text=True)
                else:
                    self._take_by_protocol(piece)
        replies = self._protocol.data_to_send()
        state = self._protocol.state
        if replies and not self._closing:
            self._replies += replies
            if state is State.OPEN and not self._writing:
                self._nursery.start_soon(self._write_replies)
        if state is not State.OPEN and not (self._closing and self._protocol.close_rcvd is None):
            # The peer's close frame, or a frame that cannot be read: its answer goes out before the end is reported.
            self._end = self._end or self._ended_by_protocol()
            try:
                with trio.move_on_after(self._close_timeout_s):
                    await self._write_replies()
            finally:
                self._over.set()

    def _take_by_protocol(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take_frame(event)
        if self._protocol.state is not State.OPEN:
            self._refused = True

    def _take_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if frame.fin:
                self._take_message(frame.data, is_text=opcode is Opcode.TEXT)
            else:
                self._fragments = [bytes(frame.data)]
                self._fragments_are_text = opcode is Opcode.TEXT
        elif opcode is Opcode.CONT:
            assert self._fragments is not None  # the protocol refuses a continuation of nothing
            if frame.data:
                self._fragments.append(bytes(frame.data))
            if frame.fin:
                whole = b"".join(self._fragments)
                self._fragments = None
                self._take_message(whole, is_text=self._fragments_are_text)
        elif opcode is Opcode.PONG and bytes(frame.data) == self._ping_payload():
            self._ponged = True

    def _take_message(self, data: bytes | bytearray | memoryview, *, is_text: bool) -> None:
        if self._closing or self._refused:
            return
        if not is_text:
            self._messages.append(_Binary(data))
            return
        text = bytes(data)
        if not text.isascii():
            try:
                text.decode()
            except UnicodeDecodeError as error:
                self._protocol.fail(1007, f"{error.reason} at position {error.start}")
                self._refused = True
                return
        self._messages.append(text)

    # ---- the end -------------------------------------------------------------------------------------------------

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close: send a close frame, wait for the peer's up to the close timeout, drop the connection.

        Idempotent; if cancelled, the connection is dropped at once. To close politely while being cancelled, shield the
        call: it is bounded. Raises `ValueError` for a code that may not be sent; a reason is cut to what the frame
        holds.
        """
        code, reason = close_frame(code, reason)
        if self._closing:
            await trio.lowlevel.checkpoint()
            return
        self._closing = True
        try:
            if self._end is None:
                self._end = WireEnd(code, reason, self.side)
                self._messages.clear()
                with trio.move_on_after(self._close_timeout_s):
                    await self._say_close(code, reason)
                    self._unattended.set()
                    self.call_stand_in()
                    await self._over.wait()
            else:
                await trio.lowlevel.checkpoint()
        finally:
            self._messages.clear()
            self._over.set()
            await drop(self._stream)

    async def _say_close(self, code: int, reason: str) -> None:
        await self._acquire_writing()
        try:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(code, reason)
            await self._stream.send_all(self._waiting())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._over.set()
        finally:
            self._release_writing()

    async def _give_up(self, end: WireEnd) -> None:
        """End the wire as `end`, at once."""
        if self._end is None:
            self._end = end
            if end.closed_by == self.side:
                self._messages.clear()
        self._over.set()
        await drop(self._stream)

    def _lose(self) -> WireEnd:
        """Note that the stream is gone, and return how, by what is known until now."""
        end = self._end = self._end or self._ended_by_protocol()
        self._over.set()
        return end

    def _ended_by_protocol(self) -> WireEnd:
        received, sent = self._protocol.close_rcvd, self._protocol.close_sent
        if received is not None and (sent is None or self._protocol.close_rcvd_then_sent):
            return WireEnd(received.code, received.reason, "server")
        if sent is not None:
            return WireEnd(sent.code, sent.reason, self.side)
        return NETWORK_LOSS

    def statistics(self) -> WireStatistics:
        """Messages and payload bytes so far."""
        return self._traffic.snapshot()

    # ---- keep-alive ----------------------------------------------------------------------------------------------

    async def keep_alive(self, interval_s: float, timeout_s: float) -> None:
        """Ping the peer for as long as the connection lives; drop the connection when a pong does not come in time.

        Run as a task of the connection's own. A ping waits its turn behind a message being sent, so this finds out a
        peer that has stopped reading as well as one that has stopped answering.
        """
        # A pong wakes nobody: this task looks for it when it wakes anyway, for the next ping at the latest. A process
        # with a thousand idle sessions does nothing but this (benchmark ``idle``).
        due, overdue = trio.current_time() + interval_s, math.inf
        read_before = False
        while not self._over.is_set():
            with trio.move_on_at(min(due, overdue)):  # `trio.sleep_until` has two more frames, which each session keeps
                await trio.sleep_forever()
            if self._end is not None:
                return
            now = trio.current_time()
            if self._ponged and now < due:
                overdue = math.inf
            elif self._ponged:
                self._ping()
                read_before = self._reading
                due, overdue = now + interval_s, now + timeout_s
            elif now < overdue:
                due = now + interval_s
            elif read_before and self._reading:
                await self._give_up(WireEnd(1006, f"keepalive timeout: no pong within {timeout_s:g} s", "network"))
                return
            else:  # the pong may be waiting behind messages that our own side has not received
                read_before = self._reading
                overdue = now + timeout_s

    def _ping(self) -> None:
        """Send a ping: in this step where the stream can, else by the task that writes or one that is started."""
        self._pings += 1
        self._ponged = False
        self._protocol.send_ping(self._ping_payload())
        self._replies += self._protocol.data_to_send()
        if not self.send_nowait(()) and not self._writing:
            self._nursery.start_soon(self._write_replies)

    def _ping_payload(self) -> bytes:
        return str(self._pings).encode()
