"""The input audio buffer and the user's turns in it.

Positions are milliseconds of audio written in the session; commits and clears do not change them.

A turn under way is offered for recognition in stretches, numbered from 0. The stretch under way grows, and is offered
whole each time: at every pause, and, to transcribers that work in stages, after each further 0.6 s of speech. Where the
user goes on after a pause of 250 ms or more, and the stretch has a second of audio, it is closed there and the next one
begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from trealtime.audio.formats import AudioFormat, parse_audio_format
from trealtime.audio.pcm import from_int16, to_int16
from trealtime.audio.resample import resample
from trealtime.emulator.conversation import Conversation
from trealtime.emulator.event_buffer import EventBuffer, Ids
from trealtime.emulator.items import Clip, Item, decode_audio, new_message
from trealtime.emulator.received_audio import ReceivedAudio
from trealtime.emulator.settings import SessionSettings
from trealtime.emulator.turn_detection import (
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    TurnDetectorFactory,
    make_turn_detector,
)
from trealtime.emulator.validation import Refusal, nullable, record, text

__all__ = ["InputAudio", "Stretch", "StretchNote", "TurnDropped", "TurnListener", "TurnResumed"]

_MIN_COMMIT_MS = 100
_KEPT_MS = 600_000
_KEPT_IN_SILENCE_MS = 30_000
_CLOSING_PAUSE_MS = 250
_SHORTEST_STRETCH_MS = 1_000
_OFFERED_EVERY_MS = 600

_PLAIN = record({"type": text(), "event_id": nullable(text())})
_APPEND = record(
    {"type": text(), "event_id": nullable(text()), "audio": lambda value, path: value}, required=("audio",)
)


class TurnListener(Protocol):
    """Gets the turns that the detector finds."""

    def user_began(self) -> None:
        """The user speaks; ``speech_started`` is out."""
        ...

    def user_ended(self) -> None:
        """The user's turn is an item of the conversation."""
        ...


@attrs.frozen
class Stretch:
    """The audio so far of one stretch of the turn that will be `item_id`."""

    item_id: str
    number: int
    clip: Clip = attrs.field(repr=False)
    begin_ms: float
    """Where it begins, counted from the beginning of the turn."""

    paused: bool
    """Whether the user has paused after it; else a word may be cut at its end."""


@attrs.frozen
class TurnResumed:
    """The user goes on after a pause: stretch `number` is `closed`, or grows on."""

    item_id: str
    number: int
    closed: bool


@attrs.frozen
class TurnDropped:
    """The turn comes to nothing."""

    item_id: str


StretchNote = Stretch | TurnResumed | TurnDropped


@attrs.define
class _Turn:
    """The turn under way."""

    item_id: str
    start_ms: float
    offered_ms: float
    stretch: int = 0
    stretch_begin_ms: float = attrs.field(init=False)
    paused_at_ms: float | None = None

    def __attrs_post_init__(self) -> None:
        self.stretch_begin_ms = self.start_ms


class InputAudio:
    """The audio that the client has appended and not yet committed.

    Bounded: it keeps the last ten minutes, at most `max_bytes`, and the last 30 seconds while a detector hears no
    speech. `committed` holds the items that wait for transcription, `stretches` what turns under way offer to a
    transcription that begins early.
    """

    def __init__(
        self,
        event_buffer: EventBuffer,
        ids: Ids,
        conversation: Conversation,
        listener: TurnListener,
        settings: SessionSettings,
        *,
        make_detector: TurnDetectorFactory = make_turn_detector,
        max_bytes: int = 32 * 2**20,
        received: ReceivedAudio | None = None,
        in_stages: bool = False,
    ) -> None:
        self.committed: deque[Item] = deque()
        self.stretches: deque[StretchNote] = deque()
        self._event_buffer = event_buffer
        self._ids = ids
        self._conversation = conversation
        self._listener = listener
        self._format: AudioFormat = parse_audio_format(settings.input_format)
        self._data = bytearray()
        self._max_bytes = max_bytes
        self._received = received
        self._begin_ms = 0.0
        self._detection: Mapping[str, Any] | None = settings.turn_detection
        self._make_detector = make_detector
        self._detector: TurnDetector | None = make_detector(settings.turn_detection)
        self._in_stages = in_stages
        self._turn: _Turn | None = None

    @property
    def position_ms(self) -> float:
        """The amount of audio written in this session."""
        return self._begin_ms + self._format.duration_ms(len(self._data))

    @property
    def user_speaks(self) -> bool:
        """Whether a turn is under way."""
        return self._turn is not None

    def configure(self, settings: SessionSettings) -> None:
        """Follow a change of the session's settings; audio in the buffer stays."""
        fmt = parse_audio_format(settings.input_format)
        if fmt != self._format:
            samples = to_int16(self._data, self._format)
            if fmt.rate != self._format.rate:
                samples = resample(samples, self._format.rate, fmt.rate)
            self._data, self._format = bytearray(from_int16(samples, fmt)), fmt
        if settings.turn_detection != self._detection:
            self._detection = settings.turn_detection
            self._detector = self._make_detector(settings.turn_detection, start_ms=self.position_ms)
            self._drop_turn()

    # ---- client events -----------------------------------------------------------------------------------------

    def append(self, event: dict[str, Any]) -> None:
        """``input_audio_buffer.append``; commits the turns that it completes and tells the listener."""
        audio = decode_audio(_APPEND(event, "")["audio"], "audio", self._format)
        self._data += audio
        if self._received is not None:
            self._received.add(to_int16(audio, self._format), self._format.rate)
        if self._detector is not None:
            # One append may hold several turns; the listener may not touch the detector.
            for heard in self._detector.feed(to_int16(audio, self._format), self._format.rate):
                match heard:
                    case SpeechStarted():
                        self._begin_turn(heard.audio_start_ms, heard.at_ms)
                    case SpeechPaused():
                        self._pause(heard.audio_end_ms)
                    case SpeechResumed():
                        self._resume(heard.silence_ms)
                    case SpeechStopped():
                        self._end_turn(heard.audio_end_ms)
            self._offer()
        silent = self._detector is not None and self._turn is None
        self._drop_before(self.position_ms - (_KEPT_IN_SILENCE_MS if silent else _KEPT_MS))
        if len(self._data) > self._max_bytes:
            self._drop_before(self.position_ms - self._format.duration_ms(self._max_bytes))

    def commit(self, event: dict[str, Any]) -> None:
        """``input_audio_buffer.commit``: all that is in the buffer, whether or not a turn is under way."""
        _PLAIN(event, "")
        buffered_ms = self._format.duration_ms(len(self._data))
        if buffered_ms < _MIN_COMMIT_MS:
            raise Refusal(
                f"Error committing input audio buffer: it is too small. It has {buffered_ms:.2f}ms of audio, at least "
                f"{_MIN_COMMIT_MS}ms are needed.",
                code="input_audio_buffer_commit_empty",
            )
        item_id = self._ids.new("item") if self._turn is None else self._turn.item_id
        self._commit(item_id, self._begin_ms, self.position_ms)
        self._resume(0)  # what follows the pause is in the turn
        self._turn = None
        self._reset_detector()

    def clear(self, event: dict[str, Any]) -> None:
        """``input_audio_buffer.clear``; an announced turn comes to nothing."""
        _PLAIN(event, "")
        self._drop_before(self.position_ms)
        if self._received is not None:
            self._received.note_clear(self.position_ms)
        self._drop_turn()
        self._reset_detector()
        self._event_buffer.emit("input_audio_buffer.cleared", {})

    def understood(self, item_id: str, words: str) -> None:
        """The words before the last pause of the turn that will be `item_id` have been recognised."""
        turn = self._turn
        if (
            turn is not None
            and turn.item_id == item_id
            and turn.paused_at_ms is not None
            and self._detector is not None
        ):
            self._detector.understand(words)

    def time_out(self, *, since_ms: float) -> None:
        """The user has been silent since `since_ms`: commit that silence."""
        item_id, start_ms, end_ms = self._ids.new("item"), max(since_ms, self._begin_ms), self.position_ms
        self._event_buffer.emit(
            "input_audio_buffer.timeout_triggered",
            {"audio_start_ms": round(start_ms), "audio_end_ms": round(end_ms), "item_id": item_id},
        )
        self._commit(item_id, start_ms, end_ms)

    # ---- inside ------------------------------------------------------------------------------------------------

    def _begin_turn(self, start_ms: int, at_ms: int) -> None:
        item_id = self._ids.new("item")
        self._turn = _Turn(item_id, start_ms, offered_ms=at_ms)
        self._event_buffer.emit("input_audio_buffer.speech_started", {"audio_start_ms": start_ms, "item_id": item_id})
        self._listener.user_began()

    def _pause(self, end_ms: int) -> None:
        assert self._turn is not None  # as in _end_turn
        self._turn.paused_at_ms = end_ms
        self._note_stretch(self._turn, end_ms, paused=True)

    def _resume(self, silence_ms: int) -> None:
        turn = self._turn
        if turn is None or turn.paused_at_ms is None:
            return
        long_enough = turn.paused_at_ms - turn.stretch_begin_ms >= _SHORTEST_STRETCH_MS
        closed = self._in_stages and silence_ms >= _CLOSING_PAUSE_MS and long_enough
        self.stretches.append(TurnResumed(turn.item_id, turn.stretch, closed))
        if closed:
            turn.stretch += 1
            turn.stretch_begin_ms = turn.paused_at_ms
        turn.paused_at_ms = None

    def _offer(self) -> None:
        """Offer the stretch under way, where it has grown."""
        turn = self._turn
        if turn is None or turn.paused_at_ms is not None or not self._in_stages:
            return
        # Each time costs as much as there is: so the longer it is, the rarer.
        every_ms = max(_OFFERED_EVERY_MS, (self.position_ms - turn.stretch_begin_ms) / 5)
        if self.position_ms - turn.offered_ms >= every_ms:
            self._note_stretch(turn, self.position_ms, paused=False)

    def _note_stretch(self, turn: _Turn, end_ms: float, *, paused: bool) -> None:
        begin = self._format.bytes_for_ms(max(turn.stretch_begin_ms - self._begin_ms, 0))
        end = self._format.bytes_for_ms(end_ms - self._begin_ms)
        turn.offered_ms = end_ms
        clip = Clip(self._format, self._data[begin:end])
        begin_ms = turn.stretch_begin_ms - turn.start_ms
        self.stretches.append(Stretch(turn.item_id, turn.stretch, clip, begin_ms, paused))

    def _end_turn(self, end_ms: int) -> None:
        turn = self._turn
        assert turn is not None  # the detector is reset whenever the turn is forgotten
        self._turn = None
        self._event_buffer.emit("input_audio_buffer.speech_stopped", {"audio_end_ms": end_ms, "item_id": turn.item_id})
        self._commit(turn.item_id, turn.start_ms, end_ms)
        self._listener.user_ended()

    def _drop_turn(self) -> None:
        if self._turn is not None:
            self.stretches.append(TurnDropped(self._turn.item_id))
        self._turn = None

    def _reset_detector(self) -> None:
        if self._detector is not None:
            self._detector.reset()

    def _commit(self, item_id: str, start_ms: float, end_ms: float) -> None:
        self._drop_before(start_ms)
        n_bytes = min(self._format.bytes_for_ms(end_ms - self._begin_ms), len(self._data))
        audio = self._data[:n_bytes]
        if self._received is not None:
            self._received.note_commit(item_id, self._begin_ms, self._begin_ms + self._format.duration_ms(n_bytes))
        self._drop(n_bytes)
        self._event_buffer.emit(
            "input_audio_buffer.committed",
            {"previous_item_id": self._conversation.last_item_id, "item_id": item_id},
        )
        content = [{"type": "input_audio", "transcript": None}]
        body = new_message(item_id, "user", status="completed", content=content)
        item = Item(body, clips={0: Clip(self._format, audio)}, from_buffer=True)
        self._conversation.add(item)
        self._conversation.finish(item)
        self.committed.append(item)

    def _drop_before(self, position_ms: float) -> None:
        if position_ms > self._begin_ms:
            self._drop(min(self._format.bytes_for_ms(position_ms - self._begin_ms), len(self._data)))

    def _drop(self, n_bytes: int) -> None:
        self._begin_ms += self._format.duration_ms(n_bytes)
        del self._data[:n_bytes]
