"""A page in a browser, as an endpoint.

Theory of operation
1. `accept_browser_stream` reads the page's hello, so that the app knows the rate, and who the page says it is, before
   it makes a session. From then on messages wait in the socket until the endpoint is attached.
2. While attached, one task reads and one writes. `BrowserStream` decides what a message means, `OutgoingMessages` what
   is sent and in which order.
3. A bad first message ends the connection: that was no page of ours. Later ones are counted and skipped, and the page
   gets the reason, because one wrong message is no reason to hang up on a user.
4. A socket that closes is the end of `receive`. Leaving the attachment sends the app's waiting messages and closes it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from trealtime._log import Log
from trealtime._secrets import without_quotes
from trealtime.audio.formats import AudioFormat
from trealtime.endpoints.browser.stream import (
    MOST_MESSAGE_BYTES,
    MOST_MESSAGES,
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
from trealtime.endpoints.sockets import (
    BinaryWire,
    InputBuffer,
    ServerSocket,
    binary_wire,
    close_behind,
    close_with_reason,
)
from trealtime.errors import BrowserStreamError
from trealtime.transport.background import background_nursery
from trealtime.transport.wire import WireClosed

__all__ = ["BrowserEndpoint", "BrowserStatistics", "accept_browser_stream"]

logger = Log("trealtime.endpoints")


@attrs.frozen(kw_only=True)
class BrowserStatistics:
    """Counts of one page."""

    input_dropped_ms: float = 0.0
    """Audio of the user that no task took in time."""

    unheard_ms: float = 0.0
    """Audio of the agent on its way to the user's ear."""

    flushes: int = 0
    messages_received: int = 0
    """Messages for the app."""

    messages_refused: int = 0


async def accept_browser_stream(
    socket: ServerSocket,
    *,
    lead_ms: float = 500,
    hello_timeout_s: float = 10.0,
    max_message_bytes: int = 2**20,
) -> BrowserEndpoint:
    """Wait for the hello of the page on a WebSocket that it has opened, and return the endpoint to attach.

    `socket` has been accepted: trio-websocket's ``WebSocketConnection``, Quart's ``websocket``, or a `Wire` that has
    ``send_binary`` too. Check the ``Origin`` of the handshake before: any page may open a WebSocket to your server.

    `lead_ms` is how much audio the page gets ahead of what it reports as heard, from 40 to 10,000: the network, there
    and back, may stall for that long before the user hears a gap. Messages of more than `max_message_bytes` are
    refused.

    Raises `BrowserStreamError` when the first message is no hello, and when none comes within `hello_timeout_s`
    seconds; it has then closed the socket with the reason. Raises `ValueError` for arguments out of range. If
    cancelled, the socket stays as it is.
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
    assert isinstance(event, PageHello)  # the stream accepts no other first message
    return event


class PageMessages(trio.abc.ReceiveChannel[Mapping[str, Any]]):
    """The messages of a page to the app, bounded in number and in bytes of JSON. Iterate it, or call `receive`."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[tuple[Mapping[str, Any], int]](MOST_MESSAGES)
        self._bytes = 0

    async def receive(self) -> Mapping[str, Any]:
        """Wait for the next message. If cancelled, none is lost. Raises `trio.EndOfChannel` once the page has left and
        all are read."""
        data, n_bytes = await self._receive.receive()
        self._bytes -= n_bytes
        return data

    def receive_nowait(self) -> Mapping[str, Any]:
        """Return the next message. Raises `trio.WouldBlock` where there is none now; else as `receive`."""
        data, n_bytes = self._receive.receive_nowait()
        self._bytes -= n_bytes
        return data

    async def aclose(self) -> None:
        """Read no more messages: the page gets a refusal for further ones."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Read no more messages, without a checkpoint."""
        self._receive.close()
        self._bytes = 0

    def put(self, data: Mapping[str, Any], n_bytes: int) -> None:
        """Add a message. Raises `BrowserStreamError` where there is no room. For the endpoint only."""
        # One message of any size may wait alone, or a page could never send a long one.
        if self._bytes and self._bytes + n_bytes > MOST_MESSAGE_BYTES:
            raise BrowserStreamError(f"{self._bytes} bytes of messages wait to be read: no more are taken now")
        try:
            self._send.send_nowait((data, n_bytes))
        except trio.WouldBlock:
            raise BrowserStreamError(f"{MOST_MESSAGES} messages wait to be read: no more are taken now") from None
        except trio.BrokenResourceError:
            raise BrowserStreamError("messages are not read here any more") from None
        self._bytes += n_bytes

    def end(self) -> None:
        """The page has left. For the endpoint only."""
        self._send.close()


class BrowserEndpoint(Endpoint):
    """A page; get it from `accept_browser_stream`, attach it with ``async with session.attach(endpoint)``.

    Audio is PCM16 both ways, at the rate of the page's AudioContext.
    """

    input_format: AudioFormat | None
    output_format: AudioFormat | None

    hello: Mapping[str, Any]
    """The page's first message: its rate, and fields of its own. Any client that reaches the socket can send it."""

    messages: PageMessages
    """The page's messages to the app, once attached; ends when the page has left. Iterate it in a task: at most 256
    messages, or 1 MiB of them, wait to be read, and the page gets a refusal for further ones."""

    def __init__(self, wire: BinaryWire, stream: BrowserStream, hello: PageHello, *, lead_ms: float) -> None:
        self.input_format = self.output_format = self._format = hello.audio_format
        self.hello = hello.details
        self.messages = PageMessages()
        self._wire = wire
        self._stream = stream
        self._outgoing = OutgoingMessages(hello.audio_format, lead_ms)
        self._link: EndpointLink | None = None
        self._said = InputBuffer(self._format)
        self._ended = False
        self._written = trio.Event()
        self._writer = trio.lowlevel.ParkingLot()
        self._waiting = trio.lowlevel.ParkingLot()
        """Where `play` and `send` wait for room."""

        self._flushes = 0
        self._messages_received = 0
        self._messages_refused = 0

    @asynccontextmanager
    async def open(self, link: EndpointLink) -> AsyncIterator[None]:
        """Read and write the socket. Leaving sends the app's waiting messages and closes it, within two seconds.

        Raises `RuntimeError` the second time: an endpoint is one page.
        """
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
        """Wait for audio of the user, and return all since the last call. If cancelled, no audio is lost.

        Raises `trio.EndOfChannel` once the page has left.
        """
        return await self._said.receive_all()

    async def play(self, audio: bytes, position_ms: float) -> None:
        """Take the next piece of the agent's speech; wait while the page has `lead_ms` that it has not played.

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
        """Discard the audio that the user has not heard, here and in the page."""
        self._flushes += 1
        self._outgoing.flush()
        self._writer.unpark_all()
        self._waiting.unpark_all()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send the page a mapping with a ``type`` of yours. Wait while 256 messages, or 1 MiB of them, wait to be sent.

        The message overtakes audio that waits. If cancelled, it is queued whole or not at all. Raises `ValueError`
        without a type, and for one of ``hello``, ``heard``, ``flush`` and ``refused``; `TypeError` for values that have
        no JSON form; `RuntimeError` for an endpoint that is not attached yet; `trio.BrokenResourceError` once the page
        has left.
        """
        kind = message.get("type")
        if not isinstance(kind, str) or not kind or kind in RESERVED_TYPES:
            raise ValueError(f"type: expected a string other than {', '.join(sorted(RESERVED_TYPES))}, got {kind!r}")
        if self._link is None:
            raise RuntimeError("messages can be sent once the endpoint is attached")
        text = text_message(message)
        await trio.lowlevel.checkpoint()
        while self._outgoing.texts_full and not self._ended:
            await self._waiting.park()
        if self._ended:
            raise trio.BrokenResourceError("the page has left")
        self._outgoing.say(text)
        self._writer.unpark_all()

    async def refuse(self, reason: str, *, code: int = 1011) -> None:
        """Close the socket of a page that is not attached, with a reason that it can show (123 bytes of it).

        Takes at most two seconds, and does nothing once the page has left. Raises `RuntimeError` for an endpoint that
        is attached: leave the attachment.
        """
        if self._link is not None and not self._ended:
            raise RuntimeError("the endpoint is attached: leave the attachment to close it")
        await close_with_reason(self._wire, reason, code=code)

    def statistics(self) -> BrowserStatistics:
        """Return the counts so far."""
        return BrowserStatistics(
            input_dropped_ms=self._format.duration_ms(self._said.dropped_bytes),
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
                self._said.put(audio)
            case HeardReport(epoch, samples):
                position_ms = self._outgoing.heard(epoch, samples)
                if position_ms is not None:
                    link.heard(position_ms)
                    self._waiting.unpark_all()
            case AppMessage(data, n_bytes):
                self.messages.put(data, n_bytes)
                self._messages_received += 1
            case PageHello():
                pass  # it has been read, and the stream accepts no second one

    def _refuse_message(self, error: BrowserStreamError) -> None:
        self._messages_refused += 1
        level = logging.WARNING if self._messages_refused == 1 else logging.DEBUG
        logger.log(level, "a message of a page was skipped: %s", without_quotes(error))
        if not self._outgoing.texts_full:
            self._outgoing.say(refused_message(str(error)))
            self._writer.unpark_all()

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
        self._said.end()
        self.messages.end()
        for waiting in (self._writer, self._waiting):
            waiting.unpark_all()
