"""Turn detection: find the user's turns in audio.

`TurnDetector` is the seam for engines; `trealtime.emulator.local` has one that knows speech. The defaults need numpy
alone and know **energy, not speech**: any sound that is loud enough, for long enough, above the noise around it, counts
as speech.

How the detectors decide. Audio is cut into frames of 20 ms. A frame's level is its power without its mean, in dBFS (0
is a full-scale square wave). A frame is *loud* when its level is over a fixed minimum and over the noise floor by a
margin, both set by `threshold`; a turn under way needs 3 dB less, so that it does not flicker. Three loud frames in a
row begin a turn; enough quiet time after the last loud frame ends it. The noise floor is the 10th percentile of the
last two seconds; during speech it rises by no more than 10 dB a second, so a vowel of three seconds does not
become noise, but a fan that was switched on does, after one false turn of some seconds. Decisions depend on frames
alone, so the sizes of the chunks that audio comes in change nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PATIENCE_MS",
    "SILENCE_DB",
    "SemanticVad",
    "ServerVad",
    "SpeechPaused",
    "SpeechResumed",
    "SpeechStarted",
    "SpeechStopped",
    "TurnDetector",
    "TurnDetectorFactory",
    "TurnEvent",
    "levels_db",
    "make_turn_detector",
]


@attrs.frozen
class SpeechStarted:
    """The user began to speak.

    `audio_start_ms` is where the turn's audio begins, prefix padding included, `at_ms` how much audio had been written
    when it was noticed; both in ms of the audio written in the session.
    """

    audio_start_ms: int
    at_ms: int


@attrs.frozen
class SpeechPaused:
    """The turn may be over, or it may be a breath: a transcription may begin. `audio_end_ms` is where the speech so far
    ends."""

    audio_end_ms: int


@attrs.frozen
class SpeechResumed:
    """The pause was a breath: the turn goes on. `silence_ms` is how long it lasted, 0 where that is not known."""

    silence_ms: int = 0


@attrs.frozen
class SpeechStopped:
    """The turn is over. `audio_end_ms` is where its audio ends, the silence that ended it included."""

    audio_end_ms: int


TurnEvent = SpeechStarted | SpeechPaused | SpeechResumed | SpeechStopped


class TurnDetector(Protocol):
    """Finds the user's turns in a stream of audio."""

    @property
    def is_speaking(self) -> bool:
        """Whether a turn is under way."""
        ...

    def feed(self, samples: NDArray[np.int16], rate: int) -> list[TurnEvent]:
        """Take the next mono `samples` at `rate` per second; return the events in them, in order.

        `SpeechStarted` and `SpeechStopped` alternate; between them a detector may tell of a `SpeechPaused`, and then of
        the `SpeechResumed` where one follows. The result does not depend on how the audio is cut into calls.
        """
        ...

    def understand(self, words: str) -> None:
        """Take the words of the turn under way up to its last pause: a detector may judge by them whether a thought is
        finished. They come when they have been recognised, or never."""
        ...

    def reset(self) -> None:
        """Forget the turn under way (the buffer was committed by hand, or cleared). Positions and noise floor stay.

        No `SpeechStopped` will come for it, and the next turn begins no earlier than here.
        """
        ...


_FRAME_MS = 20
_ONSET_FRAMES = 3
_FLOOR_FRAMES = 100
SILENCE_DB = -90.0
_LOWEST_FLOOR_DB = -65.0
_FLOOR_RISE_DB = 10.0 * _FRAME_MS / 1000
_HYSTERESIS_DB = 3.0


class _EnergyDetector:
    """The common part of both detectors; a subclass says how much silence ends the turn under way."""

    def __init__(self, *, threshold: float, prefix_padding_ms: int, start_ms: float) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be from 0 to 1, got {threshold!r}")
        if prefix_padding_ms < 0:
            raise ValueError(f"prefix_padding_ms must not be negative, got {prefix_padding_ms!r}")
        self._minimum_db = -60 + 26 * threshold
        self._margin_db = 3 + 10 * threshold
        self._prefix_padding_ms = prefix_padding_ms
        self._rate: int | None = None
        self._partial = np.zeros(0, dtype=np.int16)
        self._position_ms = start_ms  # of the end of the last whole frame
        self._not_before_ms = start_ms
        self._floor = _NoiseFloor()
        self._loud_in_row = 0
        self._turn: _Turn | None = None

    @property
    def is_speaking(self) -> bool:
        """Whether a turn is under way."""
        return self._turn is not None

    def feed(self, samples: NDArray[np.int16], rate: int) -> list[TurnEvent]:
        """Take the next `samples`; see `TurnDetector.feed`. Costs some 10 us per 20 ms of audio."""
        if rate != self._rate:
            self._change_rate(rate)
        audio = np.concatenate((self._partial, samples))
        size = rate * _FRAME_MS // 1000
        count = len(audio) // size
        self._partial = audio[count * size :].copy()
        events: list[TurnEvent] = []
        for level_db in levels_db(audio[: count * size].reshape(count, size)):
            self._position_ms += _FRAME_MS
            event = self._hear(level_db)
            if event is not None:
                events.append(event)
        return events

    def understand(self, words: str) -> None:
        """Do nothing: this detector goes by the sound."""

    def reset(self) -> None:
        """Forget the turn under way; see `TurnDetector.reset`."""
        self._turn = None
        self._loud_in_row = 0
        self._not_before_ms = self._position_ms + self._partial_ms

    def _change_rate(self, rate: int) -> None:
        if rate <= 0 or rate * _FRAME_MS % 1000:
            raise ValueError(f"rate must be a multiple of {1000 // _FRAME_MS} samples per second, got {rate!r}")
        self._position_ms += self._partial_ms
        self._partial = self._partial[:0]
        self._rate = rate

    @property
    def _partial_ms(self) -> float:
        return len(self._partial) * 1000 / self._rate if self._rate else 0.0

    def _hear(self, level_db: float) -> TurnEvent | None:
        self._floor.add(level_db, speaking=self.is_speaking)
        needed_db = max(self._minimum_db, self._floor.level_db + self._margin_db)
        if self._turn is None:
            self._loud_in_row = self._loud_in_row + 1 if level_db > needed_db else 0
            return self._start() if self._loud_in_row == _ONSET_FRAMES else None
        self._turn.add(level_db, loud=level_db > needed_db - _HYSTERESIS_DB)
        silence_ms = self._turn.silence_ms
        return self._stop() if silence_ms and silence_ms >= self._patience_ms(self._turn) else None

    def _start(self) -> SpeechStarted:
        self._turn = _Turn(speech_ms=_ONSET_FRAMES * _FRAME_MS)
        self._loud_in_row = 0
        first_ms = self._position_ms - _ONSET_FRAMES * _FRAME_MS - self._prefix_padding_ms
        return SpeechStarted(round(max(first_ms, self._not_before_ms, 0)), round(self._position_ms))

    def _stop(self) -> SpeechStopped:
        self._turn = None
        self._not_before_ms = self._position_ms
        return SpeechStopped(round(self._position_ms))

    def _patience_ms(self, turn: _Turn) -> float:
        raise NotImplementedError


@attrs.define
class _Turn:
    """The sound of a turn so far."""

    speech_ms: int
    silence_ms: int = 0
    levels_db: deque[float] = attrs.field(factory=lambda: deque(maxlen=_FLOOR_FRAMES))

    def add(self, level_db: float, *, loud: bool) -> None:
        if loud:
            self.speech_ms += _FRAME_MS
            self.silence_ms = 0
            self.levels_db.append(level_db)
        else:
            self.silence_ms += _FRAME_MS

    @property
    def fall_db(self) -> float:
        """How far the last 100 ms of speech lie under the loudest tenth of its last two seconds."""
        if not self.levels_db:
            return 0.0
        levels = list(self.levels_db)
        tail = levels[-5:]
        return sorted(levels)[-1 - len(levels) // 10] - sum(tail) / len(tail)


class _NoiseFloor:
    """The level of the background, without speech."""

    def __init__(self) -> None:
        self.level_db = _LOWEST_FLOOR_DB
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, level_db: float, *, speaking: bool) -> None:
        if len(self._recent) == _FLOOR_FRAMES:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]
        self._recent.append(level_db)
        insort(self._sorted, level_db)
        observed_db = self._sorted[len(self._sorted) // 10]
        # Until the window is full, a sound that was there from the beginning may be speech.
        if speaking or len(self._recent) < _FLOOR_FRAMES:
            observed_db = min(observed_db, self.level_db + _FLOOR_RISE_DB)
        self.level_db = max(observed_db, _LOWEST_FLOOR_DB)


class ServerVad(_EnergyDetector):
    """``server_vad`` on energy: a turn ends after a fixed silence.

    `threshold` goes from 0 (speech is what is over -60 dBFS and 3 dB over the noise) over 0.5 (-47 dBFS, 8 dB) to 1
    (-34 dBFS, 13 dB). `start_ms` is how much audio the session had been written before this detector.
    Raises `ValueError` for settings out of range.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        prefix_padding_ms: int = 300,
        silence_duration_ms: int = 500,
        start_ms: float = 0,
    ) -> None:
        super().__init__(threshold=threshold, prefix_padding_ms=prefix_padding_ms, start_ms=start_ms)
        if silence_duration_ms < 0:
            raise ValueError(f"silence_duration_ms must not be negative, got {silence_duration_ms!r}")
        self._silence_ms = silence_duration_ms

    def _patience_ms(self, turn: _Turn) -> float:
        return self._silence_ms


Eagerness = Literal["low", "medium", "high", "auto"]

PATIENCE_MS: Mapping[str, tuple[int, int]] = {
    "low": (1600, 8000),
    "medium": (800, 4000),
    "auto": (800, 4000),
    "high": (400, 2000),
}
"""By `eagerness`: silence after an utterance that sounds finished, and after one that does not, which is the longest
that the API waits."""


class SemanticVad(_EnergyDetector):
    """``semantic_vad`` by sound alone: it understands no words, and guesses from the sound whether a thought is over.

    An utterance of 1.2 s or more, or one whose last 100 ms fell by 6 dB or more, counts as finished and ends after a
    short silence (`eagerness` high 0.4 s, medium and auto 0.8 s, low 1.6 s); the shorter and the more abrupt it was,
    the longer the wait, up to the API's maximum of 2, 4 and 8 s. Expect wrong guesses: a long pause in the middle of a
    sentence ends the turn. `start_ms` is how much audio the session had been written before this detector.
    """

    def __init__(self, *, eagerness: Eagerness = "auto", start_ms: float = 0) -> None:
        super().__init__(threshold=0.5, prefix_padding_ms=300, start_ms=start_ms)
        if eagerness not in PATIENCE_MS:
            raise ValueError(f"eagerness must be one of {', '.join(PATIENCE_MS)}, got {eagerness!r}")
        self._finished_ms, self._longest_ms = PATIENCE_MS[eagerness]

    def _patience_ms(self, turn: _Turn) -> float:
        length = min(turn.speech_ms / 1200, 1.0)
        fall = min(max(turn.fall_db / 6, 0.0), 1.0)
        return self._finished_ms + (self._longest_ms - self._finished_ms) * (1 - length) * (1 - fall)


class TurnDetectorFactory(Protocol):
    """Makes the detector of a session, anew at each change of its ``turn_detection``."""

    def __call__(self, settings: Mapping[str, Any] | None, *, start_ms: float = 0) -> TurnDetector | None:
        """As `make_turn_detector`, which is the default."""
        ...


def make_turn_detector(settings: Mapping[str, Any] | None, *, start_ms: float = 0) -> TurnDetector | None:
    """The detector for a wire-shaped ``turn_detection`` object; None when it is null (turns are the client's).

    Fields that are absent or null take the API's defaults. Raises `ValueError` for an unknown type or a value out of
    range.
    """
    if settings is None:
        return None
    given = {key: value for key, value in settings.items() if value is not None}
    kind = given.get("type", "server_vad")
    if kind == "semantic_vad":
        return SemanticVad(eagerness=given.get("eagerness", "auto"), start_ms=start_ms)
    if kind == "server_vad":
        return ServerVad(
            threshold=given.get("threshold", 0.5),
            prefix_padding_ms=given.get("prefix_padding_ms", 300),
            silence_duration_ms=given.get("silence_duration_ms", 500),
            start_ms=start_ms,
        )
    raise ValueError(f"turn_detection.type must be server_vad or semantic_vad, got {kind!r}")


def levels_db(frames: NDArray[np.int16]) -> list[float]:
    """The level of each row. The sums are of integers, so a row's level is the same in every batch."""
    size = frames.shape[1]
    sums = np.sum(frames, axis=1, dtype=np.int64)
    squares = np.einsum("ij,ij->i", frames, frames, dtype=np.int64)
    # This is the variance times size^2: the mean goes without a division.
    variances: list[int] = (size * squares - sums**2).tolist()
    full_scale = (size * 32768) ** 2
    return [max(10 * math.log10(v / full_scale), SILENCE_DB) if v > 0 else SILENCE_DB for v in variances]
