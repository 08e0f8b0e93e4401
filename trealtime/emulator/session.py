"""One session on one wire: the tasks that carry out the decisions and deadlines of `SessionCore`.

A reader feeds the client's messages to the core, a writer sends its events, a timekeeper calls it at its deadlines, a
listener transcribes user audio, and each response is made by a task of its own. None of them holds a rule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, TypedDict

import attrs
import trio

from trealtime._log import Log
from trealtime._recordings.recorder import Recorder, header_of
from trealtime._recordings.writing import LineEncoder, open_file
from trealtime.audio.pcm import to_int16
from trealtime.emulator.brain import Brain, StreamingBrain
from trealtime.emulator.core import SessionCore
from trealtime.emulator.early_transcription import EarlyTranscription, StretchRecognizer
from trealtime.emulator.event_buffer import OutgoingQueue
from trealtime.emulator.faulty_wire import cut_off
from trealtime.emulator.items import Clip, Item
from trealtime.emulator.options import EmulatorOptions
from trealtime.emulator.received_audio import ReceivedAudio
from trealtime.emulator.response import Response
from trealtime.emulator.response_generator import ResponseGenerator
from trealtime.emulator.transcription import StagedTranscriber, Transcriber
from trealtime.emulator.turn_figures import ServedTurn, TurnFigures
from trealtime.emulator.voice import Voice
from trealtime.protocol.codec import encode
from trealtime.terminal import text_of
from trealtime.transport.memory import MemoryWire
from trealtime.transport.wire import NETWORK_LOSS, Wire, WireClosed, close_frame

__all__ = ["Direction", "EmulatedSession", "Engines", "LoggedEvent"]

logger = Log("trealtime.emulator")

Direction = Literal["client", "server"]


@attrs.frozen
class LoggedEvent:
    """An event that passed: its sender, its time on Trio's clock, and its content ({} for a message that is not
    JSON)."""

    direction: Direction
    event: Mapping[str, Any]
    at: float = attrs.field(kw_only=True)


class _Hints(TypedDict):
    """What the settings of a session say about the words to expect."""

    language: str | None
    prompt: str | None


@attrs.frozen(kw_only=True)
class Engines:
    """Ears, brain and voice."""

    brain: Brain | StreamingBrain
    voice: Voice
    transcriber: Transcriber


class EmulatedSession:
    """A session of the emulator, from the server's side.

    `log` has its latest events, both ways and in order. Made by the emulator only.
    """

    def __init__(
        self,
        core: SessionCore,
        wire: Wire,
        engines: Engines,
        options: EmulatorOptions,
        *,
        unix_now: Callable[[], float],
        on_event: Callable[[EmulatedSession, LoggedEvent], None] | None,
    ) -> None:
        self.log: deque[LoggedEvent] = deque()
        self._figures = TurnFigures()
        self._log_sizes: deque[int] = deque()
        self._log_bytes = 0
        self._core = core
        self._wire = wire  # or a recorder around it
        self._connection = wire
        self._engines = engines
        self._options = options
        self._on_event = on_event
        self._outgoing = OutgoingQueue()
        self._hearing = trio.Lock()
        self._early = EarlyTranscription(
            self._stretch_recognizer,
            core.input.understood,
            in_stages=isinstance(engines.transcriber, StagedTranscriber),
        )
        self._committed, self._unheard = trio.open_memory_channel[Item](options.limits.unheard_items)
        self._serving = trio.CancelScope()
        self._timer = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._ending: tuple[int, str] | None = None
        self._dropped = False
        self.ended: WireClosed | None = None
        """How the connection ended, once it has; None while it is open."""

        self._generator = ResponseGenerator(
            brain=engines.brain,
            voice=engines.voice,
            options=options,
            responses=core.responses,
            hosted=core.hosted,
            hear=self._hear,
            let_out=self._let_out,
            unix_now=unix_now,
        )

    def __repr__(self) -> str:
        state = "open" if self.ended is None else f"ended with {self.ended.code}"
        return f"<EmulatedSession {self.id}, {state}>"

    @property
    def id(self) -> str:
        """The session's id, as the client knows it."""
        return self._core.id

    @property
    def turns(self) -> tuple[ServedTurn, ...]:
        """Figures of the newest thousand turns that were answered, oldest first; each prints as a line."""
        return tuple(self._figures.turns)

    @property
    def input_audio(self) -> ReceivedAudio:
        """The audio that the client has sent. Raises `RuntimeError` where ``keep_input_audio_s`` does not keep it."""
        if self._core.input_audio is None:
            raise RuntimeError("this emulator keeps no input audio: open_emulator(keep_input_audio_s=...)")
        return self._core.input_audio

    def drop(self) -> None:
        """Tear the connection without a close frame: the client sees 1006. What has not been sent is lost. Does not
        wait."""
        self._dropped = True
        if isinstance(self._connection, MemoryWire):
            self._connection.drop()
        self._outgoing.give_up()
        self._serving.cancel()

    def close(self, code: int = 1001, reason: str = "") -> None:
        """End the session with that close frame, after the queue has been sent. Does not wait. Raises `ValueError` for
        a code that may not be sent; `drop` tears the connection."""
        code, reason = close_frame(code, reason)
        if self._ending is None:
            self._ending = (code, reason)
        self._serving.cancel()

    @asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """Record the session for as long as the context is open, where the options say so.

        A file that cannot be opened is logged as an error, and the session goes on without a recording.
        """
        folder = self._options.record
        if folder is None:
            yield
            return
        try:
            sink = open_file(folder / f"{self.id}.jsonl.gz")
        except OSError as error:
            logger.error("session %s is not recorded: %s", self.id, error)
            yield
            return
        header = header_of(audio=True, session_id=self.id, recorded_by="server")
        recorder = Recorder(sink, LineEncoder(), header)
        self._wire = recorder.serving(self._wire)
        async with recorder.hold(self._options.close_timeout_s):
            yield

    async def run(self) -> None:
        """Serve the client until it leaves, the session expires, or `close`.

        It closes the wire in every case, which takes at most twice the close timeout. If cancelled, it does not send
        the queue.
        """
        try:
            async with trio.open_nursery() as carrying:
                carrying.start_soon(self._write)
                with self._serving:
                    async with trio.open_nursery() as self._nursery:
                        self._nursery.start_soon(self._keep_time)
                        self._nursery.start_soon(self._listen)
                        self._core.open()
                        self._flush()
                        await self._read()
                        self._nursery.cancel_scope.cancel()
                if self._ending is not None and not self._dropped:
                    with trio.move_on_after(self._options.close_timeout_s):
                        await self._outgoing.drained()
                carrying.cancel_scope.cancel()
        finally:
            code, reason = self._ending or (1001, "The emulator is shutting down.")
            if self.ended is None:
                self.ended = NETWORK_LOSS.error() if self._dropped else WireClosed(code, reason, closed_by="server")
            with trio.move_on_after(self._options.close_timeout_s, shield=True):
                await (cut_off(self._connection) if self._dropped else self._wire.aclose(code, reason))

    def note(self, event: Mapping[str, Any]) -> None:
        """Log an event that the server sends without the core: those of the audio that a call's line plays."""
        self._note("server", event, n_bytes=len(encode(event)))

    # ---- tasks -------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        limits = self._options.limits
        while True:
            await self._outgoing.wait_for_room(limits.queued_events, limits.queued_bytes)
            try:
                message = await self._wire.receive()
            except WireClosed as end:
                self.ended = end
                return
            self._note("client", self._core.receive(message) or {}, n_bytes=len(message))
            self._flush()

    async def _write(self) -> None:
        while True:
            message = await self._outgoing.next()
            try:
                await self._wire.send(message)
            except WireClosed:
                # The reader ends the session, once it has heard the last that the client said before it left.
                self._outgoing.give_up()
                return

    async def _keep_time(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._core.deadline) as self._timer:
                await trio.sleep_forever()
            self._core.tick()
            self._flush()

    async def _listen(self) -> None:
        async for item in self._unheard:
            await self._hear(item)

    async def _generate(self, response: Response) -> None:
        with trio.CancelScope() as scope:
            response.on_over = scope.cancel
            if response.over:
                return
            try:
                await self._generator.generate(response)
            except Exception as error:  # an engine is a plug-in: its failure is that of one response
                logger.exception("making response %s failed: %r", response.id, error)
                failure = {"type": "server_error", "code": "engine_failed"}
                self._core.responses.end(response, "failed", error=failure)
        self._flush()

    # ---- steps -------------------------------------------------------------------------------------------------

    async def _hear(self, item: Item) -> None:
        """Make sure that the user audio in `item` has words. The first caller that needs them does the work.

        If cancelled, nothing is lost: the next caller goes on.
        """
        if item.body.get("role") != "user" or item.clips.keys() <= item.heard.keys():
            return
        async with self._hearing:
            for index in sorted(item.clips.keys() - item.heard.keys()):
                early = await self._early.words(item.id, item.clips[index])
                try:
                    words = await self._recognise(item.clips[index]) if early is None else early
                except Exception as error:  # as in _generate
                    logger.exception("transcribing item %s failed: %r", item.id, error)
                    self._core.transcription_failed(
                        item, index, f"The audio could not be transcribed: {text_of(error)}"
                    )
                else:
                    self._core.transcribed(item, index, words)
                self._flush()

    async def _recognise(self, clip: Clip) -> str:
        samples = to_int16(clip.data, clip.format)
        return await self._engines.transcriber.transcribe(samples, clip.format.rate, **self._hints())

    def _hints(self) -> _Hints:
        transcription = self._core.settings.transcription or {}
        language = transcription.get("language") or next(iter(transcription.get("languages", ())), None)
        return {"language": language, "prompt": transcription.get("prompt")}

    def _stretch_recognizer(self) -> StretchRecognizer:
        transcriber = self._engines.transcriber
        recognition = transcriber.begin(**self._hints()) if isinstance(transcriber, StagedTranscriber) else None

        async def recognise(clip: Clip) -> str | None:
            try:
                if recognition is None:
                    return await self._recognise(clip)
                return await recognition.recognise(to_int16(clip.data, clip.format), clip.format.rate)
            except Exception as error:  # as in _generate; the turn itself is tried again, and tells
                logger.exception("recognising a turn early failed: %r", error)
                return None

        return recognise

    async def _let_out(self) -> None:
        self._flush()
        limits = self._options.limits
        await self._outgoing.wait_for_room(limits.queued_deltas, limits.queued_bytes)

    def _flush(self) -> None:
        """Carry out the core's decisions. Synchronous, so their order stays."""
        core = self._core
        assert self._nursery is not None  # every step runs inside it
        while core.input.stretches:
            self._early.note(core.input.stretches.popleft(), self._nursery)
        while core.input.committed:
            item = core.input.committed.popleft()
            try:
                self._committed.send_nowait(item)
            except trio.WouldBlock:
                self._early.forget(item.id)
                core.transcription_failed(item, 0, "Too many turns are waiting to be transcribed.")
        messages = []
        for event in core.event_buffer.take():
            messages.append(encode(event))
            self._note("server", event, n_bytes=len(messages[-1]))
        self._outgoing.add(messages)
        self._timer.deadline = core.deadline
        while core.responses.started:
            self._nursery.start_soon(self._generate, core.responses.started.popleft())
        if core.ending is not None:
            self.close(*core.ending)

    def _note(self, direction: Direction, event: Mapping[str, Any], *, n_bytes: int) -> None:
        limits = self._options.limits
        entry = LoggedEvent(direction, event, at=trio.current_time())
        if direction == "client":
            self._figures.note_client(event, entry.at)
        else:
            self._figures.note_server(event, entry.at)
        self.log.append(entry)
        self._log_sizes.append(n_bytes)
        self._log_bytes += n_bytes
        while len(self.log) > limits.log_events or (self._log_bytes > limits.log_bytes and len(self.log) > 1):
            self.log.popleft()
            self._log_bytes -= self._log_sizes.popleft()
        if self._on_event is not None:
            self._on_event(self, entry)
