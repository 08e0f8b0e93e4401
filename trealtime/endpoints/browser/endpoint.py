"""A page in a browser, as an endpoint.

Theory of operation
1. `accept_browser_stream` reads the page's hello, so that the rate is known, and who it says it is, before the app
   makes a session. From then on messages wait in the socket until the endpoint is attached.
2. Attached, one task reads and one writes. What a message means is `BrowserStream`'s to say; what is sent, and in which
   order, `OutgoingMessages`'.
3. A bad first message ends the connection: that was no page of ours. Later ones are counted and skipped, and the page
   is told why, because one wrong message is no reason to hang up on a user.
4. A socket that closes is the end of `receive`. Leaving the attachment sends what the app has said and closes it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

from trealtime.audio.formats import AudioFormat
from trealtime.endpoints.browser.stream import (
    RESERVED_TYPES,
    AppMessage,
    BrowserStream,
    HeardReport,
    OutgoingMessages,
    PageEvent,
    PageHello,
    UserAudio,
    refused_message,
    text_message,
)
from trealtime.endpoints.endpoint import Endpoint, EndpointLink
from trealtime.endpoints.sockets import BinaryWire, ServerSocket, binary_wire, close_behind, close_with_reason
from trealtime.errors import BrowserStreamError
from trealtime.transport.background import background_nursery
from trealtime.transport.wire import WireClosed

__all__ = ["BrowserEndpoint", "BrowserStatistics", "accept_browser_stream"]

logger = logging.getLogger(__name__)

_INPUT_MS: Final = 10_000
"""Of a user whom nobody hears: more, and the oldest is dropped, counted."""

_MESSAGES: Final = 256
"""The app's, in each direction: more have to wait on the way out, and are refused on the way in."""


@attrs.frozen(kw_only=True)
class BrowserStatistics:
    """Counts of one page so far."""

    input_dropped_ms: float = 0.0
    """Of the user's audio: nobody took it in time."""

    unheard_ms: float = 0.0
    """The agent's audio on its way to the user's ear."""

    flushes: int = 0
    messages_received: int = 0
    """The app's."""

    messages_refused: int = 0


async def accept_browser_stream(
    socket: ServerSocket,
    *,
    lead_ms: float = 500,
    hello_timeout_s: float = 10.0,
    max_message_bytes: int = 2**20,
) -> BrowserEndpoint:
    """The page on a WebSocket that it has opened: waits for its hello and gives the endpoint to attach.

    `socket` is accepted already: trio-websocket's ``WebSocketConnection``, Quart's ``websocket``, or a `Wire` that has
    ``send_binary`` too. Check the ``Origin`` of the handshake before: any page may open a WebSocket to your server.

    `lead_ms` is how much audio the page is sent ahead of what it says was heard: as long as the network, the way there
    and back included, may stall before the user hears a gap. Messages longer than `max_message_bytes` are refused.

    Raises `BrowserStreamError` when something else than a hello comes, or none within `hello_timeout_s`: the socket has
    then been closed with the reason. If cancelled, the socket stays as it is.
    """
    if not 40 <= lead_ms <= 10_000:
        raise ValueError(f"lead_ms: expected 40 to 10000 milliseconds, got {lead_ms!r}")
    if not hello_timeout_s > 0:
        raise ValueError(f"hello_timeout_s: expected more than 0 seconds, got {hello_timeout_s!r}")
    if not max_message_bytes >= 1024:
        raise ValueError(f"max_message_bytes: expected 1024 or more, got {max_message_bytes!r}")
    wire = binary_wire(socket)
    stream = BrowserStream(max_message_bytes)
    try:
        with trio.fail_after(hello_timeout_s):
            hello = await _wait_for_hello(wire, stream)
    except trio.TooSlowError:
        error = BrowserStreamError(f"no hello within {hello_timeout_s:g} s")
    except BrowserStreamError as exc:
        error = exc
    else:
        return BrowserEndpoint(wire, stream, hello, lead_ms=lead_ms)
    await close_with_reason(wire, str(error))
    raise error


async def _wait_for_hello(wire: BinaryWire, stream: BrowserStream) -> PageHello:
    try:
        event = stream.receive(await wire.receive())
    except WireClosed as exc:
        raise BrowserStreamError(f"the connection ended before the page had said hello: {exc}") from exc
    assert isinstance(event, PageHello)  # the stream lets nothing else come first
    return event


class BrowserEndpoint(Endpoint):
    """A page; get it from `accept_browser_stream`, attach it with ``async with session.attach(endpoint)``.

    Audio is PCM16 both ways, at the rate of the page's AudioContext.
    """

    input_format: AudioFormat | None
    output_format: AudioFormat | None

    hello: Mapping[str, Any]
    """The page's first message, with whatever it says besides its rate. Whoever can reach the socket can say it."""

    messages: trio.MemoryReceiveChannel[Mapping[str, Any]]
    """What the page says to the app, once attached; ends when the page has left. Iterate it in a task: a page that has
    said 256 things that nobody has read is refused more."""

    def __init__(self, wire: BinaryWire, stream: BrowserStream, hello: PageHello, *, lead_ms: float) -> None:
        self.input_format = self.output_format = self._format = hello.audio_format
        self.hello = hello.details
        self._messages_send, self.messages = trio.open_memory_channel[Mapping[str, Any]](_MESSAGES)
        self._wire = wire
        self._stream = stream
        self._outgoing = OutgoingMessages(hello.audio_format, lead_ms)
        self._link: EndpointLink | None = None
        self._said: deque[bytes] = deque()
        self._said_bytes = 0
        self._ended = False
        self._written = trio.Event()
        self._reader = trio.lowlevel.ParkingLot()
        """Where `receive` waits for the user."""

        self._writer = trio.lowlevel.ParkingLot()
        self._waiting = trio.lowlevel.ParkingLot()
        """Where `play` and `send` wait for room."""

        self._flushes = 0
        self._input_dropped = 0
        self._messages_received = 0
        self._messages_refused = 0

    @asynccontextmanager
    async def open(self, link: EndpointLink) -> AsyncIterator[None]:
        """Read and write the socket; leaving sends what the app has said and closes it."""
        if self._link is not None:
            raise RuntimeError("a BrowserEndpoint is one page, and is attached once")
        self._link = link
        async with background_nursery() as nursery:
            nursery.start_soon(self._read, link)
            nursery.start_soon(self._write)
            try:
                yield
            finally:
                self._outgoing.flush()
                self._end()
                await close_behind(self._wire, self._written)

    async def receive(self) -> bytes:
        """What the user has said since the last call. If cancelled, nothing is lost.

        Raises `trio.EndOfChannel` once the page has left.
        """
        await trio.lowlevel.checkpoint()
        while not self._said:
            if self._ended:
                raise trio.EndOfChannel
            await self._reader.park()
        audio = b"".join(self._said)
        self._said.clear()
        self._said_bytes = 0
        return audio

    async def play(self, audio: bytes, position_ms: float) -> None:
        """Take the next piece of the agent's speech; waits while the page has `lead_ms` that it has not played.

        If cancelled, the piece is taken whole or not at all. Raises `trio.BrokenResourceError` once the page has left.
        """
        flushes = self._flushes
        await trio.lowlevel.checkpoint()
        while self._outgoing.full and not self._ended and flushes == self._flushes:
            await self._waiting.park()
        if self._ended:
            raise trio.BrokenResourceError("the page has left")
        if flushes == self._flushes:
            self._outgoing.speak(audio, position_ms)
            self._writer.unpark_all()

    def flush(self) -> None:
        """Throw away what the user has not heard, here and in the page."""
        self._flushes += 1
        self._outgoing.flush()
        self._writer.unpark_all()
        self._waiting.unpark_all()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Say something to the page, a mapping with a ``type`` of yours. Waits while 256 messages wait to be sent.

        It overtakes audio that waits. If cancelled, it is queued or not. Raises ValueError without a type, or for one
        of ``hello``, ``heard``, ``flush`` and ``refused``, TypeError for what has no JSON form, RuntimeError for an
        endpoint that is not attached yet, and `trio.BrokenResourceError` once the page has left.
        """
        kind = message.get("type")
        if not isinstance(kind, str) or not kind or kind in RESERVED_TYPES:
            raise ValueError(f"type: expected a string other than {', '.join(sorted(RESERVED_TYPES))}, got {kind!r}")
        if self._link is None:
            raise RuntimeError("messages can be sent once the endpoint is attached")
        text = text_message(message)
        await trio.lowlevel.checkpoint()
        while len(self._outgoing.texts) >= _MESSAGES and not self._ended:
            await self._waiting.park()
        if self._ended:
            raise trio.BrokenResourceError("the page has left")
        self._outgoing.texts.append(text)
        self._writer.unpark_all()

    async def refuse(self, reason: str, *, code: int = 1011) -> None:
        """Close the socket of a page that is not attached, with a reason that it can show (123 bytes of it).

        Takes at most two seconds; once the page has left, nothing. Raises RuntimeError for an endpoint that is
        attached: leave the attachment.
        """
        if self._link is not None and not self._ended:
            raise RuntimeError("the endpoint is attached: leave the attachment to close it")
        await close_with_reason(self._wire, reason, code=code)

    def statistics(self) -> BrowserStatistics:
        """Counts so far."""
        return BrowserStatistics(
            input_dropped_ms=self._format.duration_ms(self._input_dropped),
            unheard_ms=self._outgoing.unheard_ms,
            flushes=self._outgoing.epoch,
            messages_received=self._messages_received,
            messages_refused=self._messages_refused,
        )

    # ---- tasks -----------------------------------------------------------------------------------------------------

    async def _read(self, link: EndpointLink) -> None:
        try:
            while True:
                message = await self._wire.receive()
                if self._ended:
                    break
                try:
                    self._handle(self._stream.receive(message), link)
                except BrowserStreamError as error:
                    self._refuse_message(error)
        except WireClosed as error:
            logger.debug("a page has left: %s", error)
        self._end()

    def _handle(self, event: PageEvent, link: EndpointLink) -> None:
        match event:
            case UserAudio(audio):
                self._take(audio)
            case HeardReport(epoch, samples):
                position_ms = self._outgoing.heard(epoch, samples)
                if position_ms is not None:
                    link.heard(position_ms)
                    self._waiting.unpark_all()
            case AppMessage(data):
                try:
                    self._messages_send.send_nowait(data)
                except trio.WouldBlock:
                    raise BrowserStreamError(f"{_MESSAGES} messages wait to be read: no more are taken now") from None
                except trio.BrokenResourceError:
                    raise BrowserStreamError("nobody reads messages here") from None
                self._messages_received += 1
            case PageHello():
                pass  # it has been read; the stream lets no second one through

    def _refuse_message(self, error: BrowserStreamError) -> None:
        self._messages_refused += 1
        level = logging.WARNING if self._messages_refused == 1 else logging.DEBUG
        logger.log(level, "a message of a page was skipped: %s", error)
        if len(self._outgoing.texts) < _MESSAGES:
            self._outgoing.texts.append(refused_message(str(error)))
            self._writer.unpark_all()

    def _take(self, audio: bytes) -> None:
        self._said.append(audio)
        self._said_bytes += len(audio)
        while self._said_bytes > self._format.bytes_for_ms(_INPUT_MS):
            dropped = len(self._said.popleft())
            self._said_bytes -= dropped
            self._input_dropped += dropped
        self._reader.unpark_all()

    async def _write(self) -> None:
        try:
            while True:
                message = self._outgoing.next()
                if isinstance(message, bytes):
                    await self._wire.send_binary(message)
                elif message is not None:
                    await self._wire.send(message)
                    self._waiting.unpark_all()
                elif self._ended:
                    break
                else:
                    await self._writer.park()
        except WireClosed as error:
            logger.debug("a page has left: %s", error)
        finally:
            self._written.set()

    def _end(self) -> None:
        self._ended = True
        self._messages_send.close()
        for waiting in (self._reader, self._writer, self._waiting):
            waiting.unpark_all()
