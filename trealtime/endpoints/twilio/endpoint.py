"""A telephone call over Twilio Media Streams, as an endpoint.

Theory of operation
1. `accept_twilio_stream` reads up to ``start``, so that the app knows who calls before it makes a session. From then on
   messages wait in the socket until the endpoint is attached: nothing that the caller says is lost.
2. Attached, one task reads and one writes. What is sent, and when, is `OutgoingAudio`'s to say; what a message means,
   `TwilioStream`'s.
3. A bad message before ``start`` ends the connection: that was not Twilio. Later ones are counted and skipped, because
   one broken frame is no reason to hang up on a caller.
4. The end of the call (``stop``, or a socket that closes) is the end of `receive`. Leaving the attachment closes the
   socket, upon which Twilio goes on with the TwiML behind ``<Connect>``, or hangs up if there is none.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from trealtime.audio.formats import G711_ULAW, AudioFormat
from trealtime.endpoints.endpoint import Endpoint, EndpointLink
from trealtime.endpoints.sockets import ServerSocket, close_behind, close_with_reason, server_wire
from trealtime.endpoints.twilio.outgoing import ClearBuffer, OutgoingAudio, PlayFrame, SetMark, key_tone
from trealtime.endpoints.twilio.stream import (
    DTMF_KEYS,
    CallerAudio,
    KeyPressed,
    MarkReturned,
    StreamEvent,
    StreamStarted,
    StreamStopped,
    TwilioCall,
    TwilioStream,
)
from trealtime.errors import TwilioStreamError
from trealtime.transport.background import background_nursery
from trealtime.transport.wire import Wire, WireClosed

__all__ = ["TwilioEndpoint", "TwilioStatistics", "accept_twilio_stream"]

logger = logging.getLogger(__name__)

_QUEUE_MS: Final = 100
"""How much waits on this side beyond the lead: the frames are never late for want of the next piece."""

_INPUT_FRAMES: Final = 500
"""Ten seconds of a caller whom nobody hears: more, and the oldest frames are dropped, counted."""


@attrs.frozen(kw_only=True)
class TwilioStatistics:
    """Counts of one call so far."""

    frames_received: int = 0
    frames_dropped: int = 0
    """Of the caller: nobody took them in time."""

    frames_sent: int = 0
    marks_outstanding: int = 0
    """Frames that are at Twilio's and have not been heard yet."""

    queued_ms: float = 0.0
    """What is not at Twilio's yet."""

    messages_refused: int = 0


async def accept_twilio_stream(
    socket: ServerSocket, *, lead_ms: float = 200, start_timeout_s: float = 10.0
) -> TwilioEndpoint:
    """The call on a WebSocket that Twilio has opened: waits for its ``start`` and gives the endpoint to attach.

    `socket` is accepted already: trio-websocket's ``WebSocketConnection``, Quart's ``websocket`` or a `Wire`. Who is at
    its other end is not known; `check_twilio_signature` on the handshake says whether it is Twilio.

    `lead_ms` is how much audio Twilio is sent ahead of what it plays: as long as the network, or this process, may
    stall before the caller hears a gap. It costs memory at Twilio's and nothing else, since what an interrupt finds
    there is cleared; 200 ms is ten frames, beyond the jitter of ordinary networks.

    Raises `TwilioStreamError` when something else than a stream comes, in another encoding than mu-law, or no start
    within `start_timeout_s`: the socket has then been closed with the reason. If cancelled, the socket stays as it is.
    """
    if not 20 <= lead_ms <= 10_000:
        raise ValueError(f"lead_ms: expected 20 to 10000 milliseconds, got {lead_ms!r}")
    if not start_timeout_s > 0:
        raise ValueError(f"start_timeout_s: expected more than 0 seconds, got {start_timeout_s!r}")
    wire = server_wire(socket)
    stream = TwilioStream()
    try:
        with trio.fail_after(start_timeout_s):
            call = await _wait_for_start(wire, stream)
    except trio.TooSlowError:
        error = TwilioStreamError(f"no start within {start_timeout_s:g} s")
    except TwilioStreamError as exc:
        error = exc
    else:
        return TwilioEndpoint(wire, stream, call, lead_ms=lead_ms)
    await close_with_reason(wire, str(error))
    raise error


async def _wait_for_start(wire: Wire, stream: TwilioStream) -> TwilioCall:
    while True:
        try:
            event = stream.receive(await wire.receive())
        except WireClosed as exc:
            raise TwilioStreamError(f"the connection ended before the stream had started: {exc}") from exc
        if isinstance(event, StreamStarted):
            return event.call


class TwilioEndpoint(Endpoint):
    """A telephone call; get it from `accept_twilio_stream`, attach it with ``async with session.attach(endpoint)``.

    Audio is mu-law both ways; where the session's formats are ``g711_ulaw`` too, it passes as it is. Keys that the
    caller presses come as ``dtmf_received`` events.
    """

    input_format: AudioFormat | None = G711_ULAW
    output_format: AudioFormat | None = G711_ULAW

    call: TwilioCall
    """Who calls: the ids of stream, call and account, and the custom parameters of the TwiML."""

    def __init__(self, wire: Wire, stream: TwilioStream, call: TwilioCall, *, lead_ms: float) -> None:
        self.call = call
        self._wire = wire
        self._stream = stream
        self._outgoing = OutgoingAudio(lead_ms)
        self._link: EndpointLink | None = None
        self._heard_send, self._heard_receive = trio.open_memory_channel[bytes](_INPUT_FRAMES)
        self._ended = False
        self._written = trio.Event()
        self._writer = trio.lowlevel.ParkingLot()
        self._idle = False
        """The writer has nothing to send. While it waits for a frame to be due, only a flush changes what is next."""

        self._waiting = trio.lowlevel.ParkingLot()
        """Where `play` waits for room, and `send_dtmf` for its keys to be heard."""

        self._flushes = 0
        self._frames_received = 0
        self._frames_dropped = 0
        self._messages_refused = 0

    @asynccontextmanager
    async def open(self, link: EndpointLink) -> AsyncIterator[None]:
        """Read and write the socket; leaving ends the stream and closes the socket."""
        if self._link is not None:
            raise RuntimeError("a TwilioEndpoint is one call, and is attached once")
        self._link = link
        async with background_nursery() as nursery:
            nursery.start_soon(self._read, link)
            nursery.start_soon(self._write)
            try:
                yield
            finally:
                self._end()
                await close_behind(self._wire, self._written)

    async def receive(self) -> bytes:
        """The next piece of what the caller says, usually 20 ms of mu-law. If cancelled, nothing is lost.

        Raises `trio.EndOfChannel` once the call has ended.
        """
        return await self._heard_receive.receive()

    async def play(self, audio: bytes, position_ms: float) -> None:
        """Take the next piece of the agent's speech; waits while 100 ms wait to be sent.

        If cancelled, the piece is taken whole or not at all. Raises `trio.BrokenResourceError` once the call has ended.
        """
        flushes = self._flushes
        await trio.lowlevel.checkpoint()
        while self._outgoing.queued_ms >= _QUEUE_MS and not self._ended and flushes == self._flushes:
            await self._waiting.park()
        if self._ended:
            raise trio.BrokenResourceError("the call has ended")
        if flushes == self._flushes:
            self._outgoing.speak(audio, position_ms)
            self._wake_idle_writer()

    def flush(self) -> None:
        """Throw away what the caller has not heard, here and at Twilio's."""
        self._flushes += 1
        self._outgoing.flush()
        self._writer.unpark_all()
        self._waiting.unpark_all()

    async def send_dtmf(self, keys: str) -> None:
        """Press `keys`, and wait until the far end has heard them.

        Twilio takes no keys on a stream, so they go as tones in the audio, behind what the agent is saying: 100 ms each
        with a pause of 100 ms. ``w`` waits half a second, as in TwiML. An interrupt of the agent does not touch them.
        If cancelled, keys that are not on their way yet are not pressed.

        Raises ValueError for anything but ``0123456789*#ABCDw``, RuntimeError for an endpoint that is not attached yet,
        and `trio.BrokenResourceError` when the call ends before they were heard.
        """
        if not isinstance(keys, str):
            raise TypeError(f"keys: expected a string, got {type(keys).__name__}")
        if not keys or not DTMF_KEYS.union("w").issuperset(keys):
            raise ValueError(f"keys: expected some of 0123456789*#ABCDw, got {keys!r}")
        if self._link is None:
            raise RuntimeError("keys can be pressed once the endpoint is attached")
        await trio.lowlevel.checkpoint()
        numbers = [self._outgoing.press(key_tone(key)) for key in keys]
        self._wake_idle_writer()
        try:
            while self._outgoing.keys_heard < numbers[-1]:
                if self._ended:
                    raise trio.BrokenResourceError(f"the call ended before the keys {keys!r} were heard")
                await self._waiting.park()
        finally:
            self._outgoing.withdraw_keys(numbers[0], numbers[-1])
            self._waiting.unpark_all()

    def statistics(self) -> TwilioStatistics:
        """Counts so far."""
        return TwilioStatistics(
            frames_received=self._frames_received,
            frames_dropped=self._frames_dropped,
            frames_sent=self._outgoing.frames_sent,
            marks_outstanding=self._outgoing.marks_outstanding,
            queued_ms=self._outgoing.queued_ms,
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
                    event = self._stream.receive(message)
                except TwilioStreamError as error:
                    self._messages_refused += 1
                    level = logging.WARNING if self._messages_refused == 1 else logging.DEBUG
                    logger.log(level, "call %s: a message was skipped: %s", self.call.call_sid, error)
                else:
                    self._handle(event, link)
        except WireClosed as error:
            logger.debug("call %s: the socket has closed: %s", self.call.call_sid, error)
        self._end()

    def _handle(self, event: StreamEvent | None, link: EndpointLink) -> None:
        match event:
            case CallerAudio(audio):
                self._take(audio)
            case MarkReturned(name):
                position_ms = self._outgoing.mark_returned(name)
                if position_ms is None:
                    self._waiting.unpark_all()
                else:
                    link.heard(position_ms)
                self._wake_idle_writer()
            case KeyPressed(digit):
                link.dtmf(digit)
            case StreamStopped():
                self._end()
            case StreamStarted() | None:
                pass  # the start has been read; the stream lets no second one through

    def _take(self, audio: bytes) -> None:
        self._frames_received += 1
        try:
            self._heard_send.send_nowait(audio)
        except trio.WouldBlock:
            self._heard_receive.receive_nowait()
            self._frames_dropped += 1
            self._heard_send.send_nowait(audio)

    async def _write(self) -> None:
        try:
            while not self._ended:
                match self._outgoing.next(trio.current_time()):
                    case ClearBuffer():
                        await self._wire.send(self._stream.clear())
                    case PlayFrame(audio):
                        self.late_frames = self._outgoing.frames_late
                        self._waiting.unpark_all()
                        await self._wire.send(self._stream.media(audio))
                    case SetMark(name):
                        await self._wire.send(self._stream.mark(name))
                    case due_at:
                        self._idle = due_at == math.inf
                        with trio.CancelScope(deadline=due_at):
                            await self._writer.park()
        except WireClosed as error:
            logger.debug("call %s: the socket has closed: %s", self.call.call_sid, error)
        finally:
            self._written.set()

    def _wake_idle_writer(self) -> None:
        if self._idle:
            self._idle = False
            self._writer.unpark_all()

    def _end(self) -> None:
        self._ended = True
        self._heard_send.close()
        self._writer.unpark_all()
        self._waiting.unpark_all()
