"""An attached endpoint: the tasks between it and the session.

Theory of operation
1. One service task holds the endpoint's path open, in the session's nursery; two pumps run in it. What the user says:
   receive, convert, coalesce, queue for the writer. What the agent says: a feed of its own, convert, cut into pieces,
   play. It is shielded, because its end is in order: playback is stopped first, then the path is closed, within a
   deadline that begins when somebody leaves.
2. At an interrupt the session calls `Attachment.purge` before anything else happens. It drops the responses' audio
   here, has the endpoint flush, and cancels a `play` that is waiting; one that was already past its wait is flushed
   away as soon as it returns. What was flushed and belongs to a response that goes on is played again from where it was
   heard.
3. What was played is the endpoint's to say (`EndpointLink.heard`); `Playout` makes item positions of it, and the core's
   ledger believes them.
4. A piece of microphone audio that finds the outbox full is dropped and counted where the source is live, since a
   microphone cannot wait; other sources wait.
5. An exception of the endpoint cancels the body of the attach block and comes out of it, one and bare.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

import attrs
import trio

from trealtime.audio.formats import AudioFormat
from trealtime.conversation.commands import Interrupt, ReportDtmf, ReportHeard, UseReports
from trealtime.conversation.events import RealtimeSessionEvent
from trealtime.conversation.playback import PlaybackChange
from trealtime.endpoints.coalescing import Coalescer
from trealtime.endpoints.converting import StreamConverter, silence
from trealtime.endpoints.endpoint import Endpoint
from trealtime.endpoints.gain import Gain
from trealtime.endpoints.playout import Piece, Place, Playout
from trealtime.errors import EndpointFailed, SlowConsumer
from trealtime.session.carrier import Carrier
from trealtime.session.lifetime import Lifetime
from trealtime.session.mailbox import Feed
from trealtime.session.outbox import MicrophoneAudio

__all__ = ["EVENTS", "Attachment", "AttachmentStatistics"]

EVENTS = frozenset({"audio", "audio_end", "agent_end"})
"""What the feed of an attachment is made of."""

PIECE_MS = 20
"""How finely audio is given to an endpoint: one telephone frame, so that one that reports what it has finished is never
further off than that."""

PROMPT_MS = 100
"""A new gain may be heard as late as this: what an endpoint holds beyond is taken back and given again."""

DTMF_DIGITS = frozenset("0123456789*#ABCD")


@attrs.frozen(kw_only=True)
class AttachmentStatistics:
    """What went through one attachment. The formats are the endpoint's, None where there is none."""

    endpoint: str
    """The name of the endpoint's class."""
    input_format: AudioFormat | None
    output_format: AudioFormat | None
    bytes_received: int
    """Microphone audio, in the endpoint's format."""
    bytes_played: int
    """The agent's audio given to the endpoint, in its format."""
    input_dropped_s: float
    """Microphone audio for which there was no room in the outbox."""
    queue_s: float
    """The agent's audio that was given to the endpoint and is still to be heard."""
    underruns: int
    """How often everything given had been heard while more of the same item was to come."""
    late_frames: int
    """`Endpoint.late_frames`."""


@attrs.define
class _Stream:
    """The conversion of one content part on its way out."""

    converter: StreamConverter
    response_id: str
    item_id: str
    content_index: int
    start_ms: float
    """Where in the part the conversion began."""
    taken: int = 0
    made: int = 0

    def goes_on(self, item_id: str, content_index: int, start_ms: float, audio_format: AudioFormat) -> bool:
        """Whether audio that begins at `start_ms` of a part is the next of this stream."""
        source = self.converter.source
        same = (self.item_id, self.content_index, source) == (item_id, content_index, audio_format)
        return same and abs(self.start_ms + source.duration_ms(self.taken) - start_ms) < 1e-3

    def convert(self, data: bytes) -> list[Piece]:
        self.taken += len(data)
        return self._cut(self.converter.convert(data))

    def finish(self) -> list[Piece]:
        return self._cut(self.converter.finish())

    def _cut(self, audio: bytes) -> list[Piece]:
        target = self.converter.target
        step = target.bytes_for_ms(PIECE_MS)
        pieces = []
        for begin in range(0, len(audio), step):
            piece = audio[begin : begin + step]
            start_ms = self.start_ms + target.duration_ms(self.made)
            pieces.append(Piece(piece, self.response_id, self.item_id, self.content_index, start_ms))
            self.made += len(piece)
        return pieces


@attrs.frozen
class _Link:
    """What the endpoint holds of its attachment."""

    _attachment: Attachment

    def heard(self, position_ms: float) -> None:
        self._attachment._heard(position_ms)

    def dtmf(self, digit: str) -> None:
        self._attachment._dtmf(digit)


class Attachment:
    """An endpoint in use: what ``async with session.attach(endpoint) as attachment`` gives."""

    def __init__(
        self,
        carrier: Carrier,
        lifetime: Lifetime,
        endpoint: Endpoint,
        new_feed: Callable[[], Feed],
        *,
        on_open: Callable[[Attachment], None],
        on_end: Callable[[Attachment], None],
        coalesce_s: float,
        close_timeout_s: float,
    ) -> None:
        self.endpoint = endpoint
        self.muted = False
        """True: the session hears silence in place of the user."""

        self._carrier = carrier
        self._lifetime = lifetime
        self._new_feed = new_feed
        self._on_open = on_open
        self._on_end = on_end
        self._close_timeout_s = close_timeout_s
        self._coalescer = Coalescer(coalesce_s)
        self._input_format: AudioFormat | None = None
        self._output_format: AudioFormat | None = None
        self._body = trio.CancelScope()
        self._path = trio.CancelScope(shield=True)
        self._began = self._open = False
        self._opened = trio.Event()
        self._leaving = trio.Event()
        self._ended = trio.Event()
        self._failure: BaseException | None = None
        # What the agent says
        self._feed: Feed | None = None
        self._formats: dict[str, AudioFormat] = {}
        self._stream: _Stream | None = None
        self._playout: Playout | None = None
        self._waiting: deque[Piece] = deque()
        self._flushes = 0
        self._listening = trio.CancelScope()
        self._playing = trio.CancelScope()
        self._gain = Gain()
        self._held = False
        self._resumed = trio.Event()
        # Figures
        self._received = 0
        self._played = 0
        self._dropped_s = 0.0
        self._underruns = 0

    # ---- for the app ---------------------------------------------------------------------------------------------

    async def wait_closed(self) -> None:
        """Wait until the path is closed: the far side has left, the session has ended, or the endpoint has failed.

        The attach block goes on; an endpoint's failure comes out of it. If cancelled, nothing has changed.
        """
        await self._ended.wait()

    def duck(self, gain_db: float = -12.0) -> None:
        """Play on, by so many decibels louder or (below 0) softer, until `resume`. What was held plays on too."""
        self._change_playback(PlaybackChange("duck", 10 ** (gain_db / 20)))

    def hold(self) -> None:
        """Stop playback at once and keep what was not heard, until `resume`. The agent goes on making its answer, and
        may be interrupted."""
        self._change_playback(PlaybackChange("hold"))

    def resume(self) -> None:
        """Play as usual: on from where `hold` stopped, as loud as it comes."""
        self._change_playback(PlaybackChange("play"))

    def statistics(self) -> AttachmentStatistics:
        """Numbers about this attachment; at any time."""
        playout = self._playout
        return AttachmentStatistics(
            endpoint=type(self.endpoint).__name__,
            input_format=self._input_format,
            output_format=self._output_format,
            bytes_received=self._received,
            bytes_played=self._played,
            input_dropped_s=self._dropped_s,
            queue_s=playout.waiting_ms(trio.current_time()) / 1000 if playout is not None else 0.0,
            underruns=self._underruns,
            late_frames=self.endpoint.late_frames,
        )

    # ---- lifetime ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Attachment]:
        """Attach, hold and detach around a body."""
        self._lifetime.check_open()
        self._lifetime.start_tool(self._service)
        error: BaseException | None = None
        try:
            with self._body:
                await self._opened.wait()
                if self._failure is None:
                    if not self._began:
                        self._lifetime.check_open()
                    yield self
        except BaseException as raised:  # noqa: BLE001  (raised again below, once the path is closed)
            error = raised
        self._leave()
        # Bounded: leaving has given the path a deadline.
        with trio.CancelScope(shield=True):
            await self._ended.wait()
        failure = self._failure
        try:
            if failure is not None and (error is None or isinstance(error, trio.Cancelled)):
                raise failure
            if error is not None:
                if failure is not None:
                    error.add_note(f"Meanwhile the endpoint had failed: {failure}")
                raise error
        finally:
            del error, failure

    def _leave(self) -> None:
        """Begin to close the path. Idempotent."""
        if not self._leaving.is_set():
            self._path.deadline = trio.current_time() + (self._close_timeout_s if self._began else 0.0)
            self._leaving.set()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._body.cancel()
        self._leave()

    async def _service(self) -> None:
        """Hold the path open; ends in order also when the session ends."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hold_open)
                try:
                    await self._ended.wait()
                finally:
                    self._leave()
        finally:
            self._opened.set()

    async def _hold_open(self) -> None:
        try:
            with self._path:
                async with self.endpoint.open(_Link(self)):
                    self._begin()
                    async with trio.open_nursery() as pumps:
                        if self._input_format is not None:
                            pumps.start_soon(self._guard, self._speak)
                        if self._output_format is not None:
                            pumps.start_soon(self._guard, self._listen)
                        await self._leaving.wait()
                        pumps.cancel_scope.cancel()
                    self._stop_playing()
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001  (comes out of the attach block)
            self._fail(self._as_failure(error) if self._began else _only(error))
        finally:
            self._open = False
            self._stop_playing()
            self._on_end(self)
            self._opened.set()
            self._ended.set()

    def _begin(self) -> None:
        """The path is open."""
        self._on_open(self)
        self._input_format, self._output_format = self.endpoint.input_format, self.endpoint.output_format
        if self._output_format is not None:
            self._playout = Playout(self._output_format)
            self._feed = self._new_feed()
            self._feed.on_put = self._note_format
            self._carrier.on_purge, self._carrier.on_playback = self.purge, self._change_playback
            self._carrier.command(UseReports(reporting=True))
        self._began = self._open = True
        self._opened.set()

    def _stop_playing(self) -> None:
        """Nothing more is played: what was not heard is interrupted. Idempotent."""
        feed, self._feed = self._feed, None
        if feed is None:
            return
        unheard = {piece.response_id for piece in self._waiting} | feed.speaking
        if self._playout is not None:
            unheard |= self._playout.response_ids
        if self._lifetime.state == "open":
            for response_id in unheard:
                self._carrier.command(Interrupt("app", response_id=response_id))
        self._flush(drop=unheard)
        feed.close()
        self._carrier.on_purge, self._carrier.on_playback = lambda _: None, lambda _: None
        self._carrier.command(UseReports(reporting=False))

    async def _guard(self, pump: Callable[[], Awaitable[None]]) -> None:
        try:
            await pump()
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001  (comes out of the attach block)
            self._fail(self._as_failure(error))

    def _as_failure(self, error: BaseException) -> BaseException:
        """What comes out of the attach block for an exception of a task."""
        error = _only(error)
        if not isinstance(error, Exception) or isinstance(error, SlowConsumer):
            return error
        failure = EndpointFailed(f"{type(self.endpoint).__name__}: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure

    # ---- what the user says --------------------------------------------------------------------------------------

    async def _speak(self) -> None:
        """The pump from the endpoint to the outbox."""
        source = self._input_format
        assert source is not None
        converter = StreamConverter(source, self._carrier.core.input_format)
        try:
            while True:
                with trio.move_on_at(self._coalescer.due_at) as due:
                    data = await self.endpoint.receive()
                if due.cancelled_caught:
                    audio = self._coalescer.release(trio.current_time())
                else:
                    self._received += len(data)
                    heard = silence(len(data), source) if self.muted else data
                    audio = self._coalescer.add(heard, trio.current_time())
                if converter.target != self._carrier.core.input_format:
                    converter = StreamConverter(source, self._carrier.core.input_format)
                await self._say(converter.convert(audio))
        except trio.EndOfChannel:
            await self._say(converter.convert(self._coalescer.release(trio.current_time())) + converter.finish())
            self._leave()

    async def _say(self, audio: bytes) -> None:
        """Queue audio in the session's input format."""
        if not audio:
            return
        outbox = self._carrier.outbox
        if not self.endpoint.live:
            await outbox.wait_for_room(audio=True)
        if outbox.has_room(audio=True):
            outbox.put(MicrophoneAudio(audio))
        else:
            outbox.refuse_audio()
            self._dropped_s += outbox.audio_format.duration_ms(len(audio)) / 1000

    # ---- what the agent says -------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """The pump from the feed to the endpoint."""
        try:
            while True:
                await self._play(await self._next_piece())
        except (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError):
            self._leave()  # the session has ended, or the far side has left

    async def _next_piece(self) -> Piece:
        feed = self._feed
        assert feed is not None
        while True:
            if self._held:
                await self._resumed.wait()
            elif self._waiting:
                return self._waiting.popleft()
            else:
                with trio.CancelScope() as self._listening:
                    self._take(await feed.receive())

    async def _play(self, piece: Piece) -> None:
        assert self._playout is not None
        position_ms = self._playout.give(piece)
        audio = self._gain.apply(piece.audio, self._playout.audio_format)
        self._played += len(piece.audio)
        flushes = self._flushes
        with trio.CancelScope() as self._playing:
            try:
                await self.endpoint.play(audio, position_ms)
            finally:
                # It may have been past its wait when the flush came, and have taken the piece after it.
                if flushes != self._flushes:
                    self.endpoint.flush()

    def _note_format(self, event: RealtimeSessionEvent) -> None:
        """A response keeps the format that was acknowledged when it began to speak."""
        if event.type == "audio":
            self._formats.setdefault(event.response_id, self._carrier.core.output_format)

    def _take(self, event: RealtimeSessionEvent) -> None:
        """Make pieces of an event of the feed."""
        if event.type == "audio":
            chunk = event.audio
            source = self._formats[chunk.response_id]
            if self._stream is None or not self._stream.goes_on(
                chunk.item_id, chunk.content_index, chunk.start_ms, source
            ):
                self._finish_stream()
                assert self._output_format is not None
                converter = StreamConverter(source, self._output_format)
                self._stream = _Stream(converter, chunk.response_id, chunk.item_id, chunk.content_index, chunk.start_ms)
            self._waiting += self._stream.convert(chunk.data)
        elif event.type == "audio_end":
            if self._stream is not None and self._stream.item_id == event.item_id:
                self._finish_stream()
        elif event.type == "agent_end":
            if self._stream is not None and self._stream.response_id == event.response_id:
                self._finish_stream()
            if event.response_id is not None:
                self._formats.pop(event.response_id, None)

    def _finish_stream(self) -> None:
        if self._stream is not None:
            self._waiting += self._stream.finish()
            self._stream = None

    # ---- the interrupt -------------------------------------------------------------------------------------------

    def purge(self, response_ids: Collection[str]) -> None:
        """Nothing of these responses is heard from now on. Called by the session in the step that interrupts them."""
        dropped = set(response_ids)
        if self._stream is not None and self._stream.response_id in dropped:
            self._stream = None
        self._waiting = deque(piece for piece in self._waiting if piece.response_id not in dropped)
        if self._playout is not None and self._playout.holds(dropped):
            self._flush(drop=dropped)

    def _flush(self, *, drop: Collection[str] = ()) -> None:
        """Have the endpoint throw away what it has; what is not of `drop` will be played again."""
        if self._playout is None:
            return
        place, unheard = self._playout.flush(trio.current_time())
        if not unheard:
            return
        self._flushes += 1
        self._waiting.extendleft(piece for piece in reversed(unheard) if piece.response_id not in drop)
        self._playing.cancel()
        self._listening.cancel()
        if self._open:
            try:
                self.endpoint.flush()
            except Exception as error:  # noqa: BLE001  (not the session's: it comes out of the attach block)
                self._fail(self._as_failure(error))
        if place is not None:
            self._report(attrs.evolve(place, given_ms=place.heard_ms))

    # ---- barge-in ------------------------------------------------------------------------------------------------

    def _change_playback(self, change: PlaybackChange) -> None:
        if self._playout is None:
            return
        held, self._held = self._held, change.how == "hold"
        louder = change.gain / self._gain.factor
        self._gain.factor = change.gain
        if self._held:
            if not held:
                self._resumed = trio.Event()
                self._flush()
            return
        self._resumed.set()
        if louder != 1 and self._playout.waiting_ms(trio.current_time()) > PROMPT_MS:
            self._flush()  # taken back, to be given again at the new gain

    # ---- what the endpoint says ----------------------------------------------------------------------------------

    def _heard(self, position_ms: float) -> None:
        if self._playout is None or self._feed is None:
            return
        now = trio.current_time()
        place = self._playout.report(position_ms, now)
        if place is None:
            return
        if self._stream is not None and not self._waiting and self._playout.waiting_ms(now) == 0:
            self._underruns += 1
        self._report(place)

    def _report(self, place: Place) -> None:
        self._carrier.command(ReportHeard(place.item_id, place.content_index, place.heard_ms, place.given_ms))

    def _dtmf(self, digit: str) -> None:
        if digit not in DTMF_DIGITS:
            raise ValueError(f"digit must be one of 0123456789*#ABCD, got {digit!r}")
        self._carrier.command(ReportDtmf(digit))


def _only(error: BaseException) -> BaseException:
    """The one exception of a group of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
