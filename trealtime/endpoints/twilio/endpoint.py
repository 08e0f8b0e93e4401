"""A telephone call over Twilio Media Streams, as an endpoint.

Theory of operation
1. `accept_twilio_stream` reads up to ``start``, so that the app knows who calls before it makes a session. From then on
   messages wait in the socket until the endpoint is attached, and no word of the caller is lost.
2. While attached, one task reads and one writes. `OutgoingAudio` decides what is sent and when, `TwilioStream` what a
   message means.
3. A bad message before ``start`` ends the connection: that was not Twilio. Later ones are counted and skipped, because
   one broken frame is no reason to hang up on a caller.
4. The end of the call (``stop``, or a socket that closes) is the end of `receive`. Leaving the attachment closes the
   socket; Twilio then goes on with the TwiML behind ``<Connect>``, or hangs up if there is none.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from trealtime._log import Log
from trealtime._secrets import without_quotes
from trealtime.audio.formats import G711_ULAW, AudioFormat
from trealtime.endpoints.endpoint import DTMF_KEYS, Endpoint, EndpointLink
from trealtime.endpoints.sockets import InputBuffer, ServerSocket, close_behind, close_with_reason, server_wire
from trealtime.endpoints.twilio.outgoing import ClearBuffer, OutgoingAudio, PlayFrame, SetMark, key_tone
from trealtime.endpoints.twilio.stream import (
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

logger = Log("trealtime.endpoints")

_QUEUE_MS: Final = 100
"""How much audio waits here beyond the lead, so that no frame is late for want of the next piece."""


@attrs.frozen(kw_only=True)
class TwilioStatistics:
    """Counts of one call."""

    frames_received: int = 0
    frames_dropped: int = 0
    """Frames of the caller that no task took in time."""

    frames_sent: int = 0
    marks_outstanding: int = 0
    """Frames that Twilio has and the caller has not heard yet."""

    queued_ms: float = 0.0
    """Audio that Twilio has not got yet."""

    messages_refused: int = 0


async def accept_twilio_stream(
    socket: ServerSocket, *, lead_ms: float = 200, start_timeout_s: float = 10.0
) -> TwilioEndpoint:
    """Wait for the ``start`` of the call on a WebSocket that Twilio has opened, and return the endpoint to attach.

    `socket` has been accepted: trio-websocket's ``WebSocketConnection``, Quart's ``websocket`` or a `Wire`. Any client
    may be at its other end: check the handshake with `check_twilio_signature` before.

    `lead_ms` is how much audio Twilio gets ahead of what it plays, from 20 to 10,000: the network, or this process, may
    stall for that long before the caller hears a gap. It costs memory at Twilio and nothing else, since an interrupt
    clears it. 200 ms are ten frames, more than the jitter of ordinary networks.

    Raises `TwilioStreamError` when the first messages are no stream, for another encoding than mu-law, and when no
    start comes within `start_timeout_s` seconds; it has then closed the socket with the reason. Raises `ValueError` for
    arguments out of range. If cancelled, the socket stays as it is.
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

    Audio is mu-law both ways, and passes as it is where the session's formats are ``g711_ulaw`` too. Keys that the
    caller presses are ``dtmf_received`` events.
    """

    input_format: AudioFormat | None = G711_ULAW
    output_format: AudioFormat | None = G711_ULAW

    call: TwilioCall
    """The ids of stream, call and account, and the custom parameters of the TwiML."""

    def __init__(self, wire: Wire, stream: TwilioStream, call: TwilioCall, *, lead_ms: float) -> None:
        self.call = call
        self._wire = wire
        self._stream = stream
        self._outgoing = OutgoingAudio(lead_ms)
        self._link: EndpointLink | None = None
        self._said = InputBuffer(G711_ULAW)
        self._ended = False
        self._written = trio.Event()
        self._writer = trio.lowlevel.ParkingLot()
        self._idle = False
        """The writer has nothing to send. While it waits for a frame to be due, only a flush changes what is next."""

        self._waiting = trio.lowlevel.ParkingLot()
        """Where `play` waits for room, and `send_dtmf` until its keys are heard."""

        self._flushes = 0
        self._frames_received = 0
        self._messages_refused = 0

    @asynccontextmanager
    async def open(self, link: EndpointLink) -> AsyncIterator[None]:
        """Read and write the socket. Leaving ends the stream and closes the socket, within two seconds.

        Raises `RuntimeError` the second time: an endpoint is one call.
        """
        if self._link is not None:
            raise RuntimeError("a TwilioEndpoint is one call, and is attached once")
        self._link = link
        async with background_nursery() as nursery:
            nursery.start_soon(self._read, link)
            nursery.start_soon(self._write, link)
            try:
                yield
            finally:
                self._end()
                await close_behind(self._wire, self._written)

    async def receive(self) -> bytes:
        """Wait for the next piece of what the caller says, usually 20 ms of mu-law. If cancelled, no audio is lost.

        Raises `trio.EndOfChannel` once the call has ended.
        """
        return await self._said.receive()

    async def play(self, audio: bytes, position_ms: float) -> None:
        """Take the next piece of the agent's speech; wait while 100 ms wait to be sent.

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
        """Discard the audio that the caller has not heard, here and at Twilio."""
        self._flushes += 1
        self._outgoing.flush()
        self._writer.unpark_all()
        self._waiting.unpark_all()

    async def send_dtmf(self, keys: str) -> None:
        """Press `keys`, and wait until the far end has heard them.

        Twilio takes no keys on a stream, so they go as tones in the audio, behind the agent's current speech: 100 ms
        each, with a pause of 100 ms. ``w`` waits half a second, as in TwiML. An interrupt of the agent does not touch
        them. If cancelled, keys that have not been sent yet are not pressed.

        Raises `ValueError` for other keys than ``0123456789*#ABCDw``, `TypeError` for no text, `RuntimeError` for an
        endpoint that is not attached yet, and `trio.BrokenResourceError` when the call ends before the keys were heard.
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
        """Return the counts so far."""
        return TwilioStatistics(
            frames_received=self._frames_received,
            frames_dropped=self._said.dropped_pieces,
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
                    what = without_quotes(error)
                    logger.log(level, "call %s: a message was skipped: %s", self.call.call_sid, what)
                else:
                    self._handle(event, link)
        except WireClosed as error:
            logger.debug("call %s: the socket has closed: %s", self.call.call_sid, error)
        self._end()

    def _handle(self, event: StreamEvent | None, link: EndpointLink) -> None:
        match event:
            case CallerAudio(audio):
                self._frames_received += 1
                self._said.put(audio)
            case MarkReturned(name):
                self._hear(self._outgoing.mark_returned(name), link)
                self._wake_idle_writer()
            case KeyPressed(digit):
                link.dtmf(digit)
            case StreamStopped():
                self._end()
            case StreamStarted() | None:
                pass  # the start has been read, and the stream accepts no second one

    def _hear(self, position_ms: float | None, link: EndpointLink) -> None:
        if position_ms is None:
            self._waiting.unpark_all()  # perhaps a key was heard
        else:
            link.heard(position_ms)

    async def _write(self, link: EndpointLink) -> None:
        try:
            while not self._ended:
                if self._outgoing.overdue_at <= trio.current_time():
                    self._hear(self._outgoing.expire(trio.current_time()), link)
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
                        with trio.CancelScope(deadline=min(due_at, self._outgoing.overdue_at)):
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
        self._said.end()
        self._writer.unpark_all()
        self._waiting.unpark_all()
