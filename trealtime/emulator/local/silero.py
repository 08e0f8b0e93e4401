"""Turn detection on speech: the Silero VAD, and for semantic turns the words that were recognised.

The model (Silero VAD 6, MIT, in this folder) says for each 32 ms of 16 kHz audio how likely it holds speech. Two such
frames over the threshold begin a turn; one that is more than 0.15 under it is silence. After 96 ms of silence the turn
pauses, so that recognition can begin; it is over after the silence that the settings ask for.

``semantic_vad`` waits for a thought to be over: the words before the pause tell whether the sentence is finished. Until
they are known, and when it is not, the wait is the longest that the API allows for that `eagerness`.

A frame costs some 0.1 ms here, less than a hop to a thread, so inference runs where the audio comes in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import onnxruntime  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray

from trealtime.audio.resample import Resampler
from trealtime.emulator.turn_detection import (
    PATIENCE_MS,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    TurnEvent,
)

__all__ = ["SileroTurns", "sounds_finished"]

_RATE = 16_000
_FRAME = 512
_FRAME_MS = 32
_CONTEXT = 64
_ONSET_FRAMES = 2
_PAUSE_MS = 3 * _FRAME_MS
_PAUSE_TAIL_MS = 64
_HYSTERESIS = 0.15
_MODEL = Path(__file__).parent / "silero_vad_16k.onnx"

# fmt: off
_OPEN_ENDED = frozenset((
    "a", "an", "the", "and", "but", "or", "so", "because", "if", "when", "while", "that", "which", "who", "with",
    "without", "to", "of", "in", "on", "at", "for", "from", "by", "as", "about", "into", "my", "your", "his", "her",
    "its", "our", "their", "this", "these", "those", "is", "are", "was", "were", "am", "be", "been", "will", "would",
    "can", "could", "should", "shall", "may", "might", "must", "do", "does", "did", "have", "has", "had", "not",
    "like", "than", "then", "um", "uh", "er", "well", "also", "please",
))
# fmt: on


def sounds_finished(words: str) -> bool:
    """Whether an English utterance reads as a whole: it neither trails off nor ends in a word that wants another."""
    text = words.strip()
    if not text or text.endswith(("...", "…", ",", "-", ":")):
        return False
    last = re.findall(r"[\w']+", text.lower())
    return bool(last) and last[-1] not in _OPEN_ENDED


class SileroTurns:
    """Makes a detector for a session's ``turn_detection``: a `TurnDetectorFactory`. The model is loaded once."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._model = onnxruntime.InferenceSession(str(_MODEL), options, providers=["CPUExecutionProvider"])

    def __call__(self, settings: Mapping[str, Any] | None, *, start_ms: float = 0) -> TurnDetector | None:
        """The detector for a wire-shaped ``turn_detection`` object; None when turns are the client's."""
        if settings is None:
            return None
        given = {key: value for key, value in settings.items() if value is not None}
        if given.get("type", "server_vad") == "semantic_vad":
            finished_ms, longest_ms = PATIENCE_MS[given.get("eagerness", "auto")]
            rules = _Rules(finished_ms=finished_ms, longest_ms=longest_ms)
        else:
            silence_ms = given.get("silence_duration_ms", 500)
            rules = _Rules(
                threshold=given.get("threshold", 0.5),
                prefix_padding_ms=given.get("prefix_padding_ms", 300),
                finished_ms=silence_ms,
                longest_ms=silence_ms,
            )
        return _SileroDetector(self._model, rules, start_ms)


@attrs.frozen(kw_only=True)
class _Rules:
    threshold: float = 0.5
    prefix_padding_ms: int = 300
    finished_ms: int
    longest_ms: int


@attrs.define
class _Turn:
    speech_ends_ms: float
    paused: bool = False
    words: str | None = None


class _SileroDetector:
    """One stream of audio; see `TurnDetector` for its methods."""

    def __init__(self, model: Any, rules: _Rules, start_ms: float) -> None:
        self._model = model
        self._rules = rules
        self._resampler: Resampler | None = None
        self._rate = 0
        self._waiting = np.zeros(0, dtype=np.float32)
        self._context = np.zeros(_CONTEXT, dtype=np.float32)
        self._state = np.zeros((2, 1, 128), dtype=np.float32)
        self._position_ms = start_ms  # of the end of the last whole frame
        self._not_before_ms = start_ms
        self._in_row = 0
        self._turn: _Turn | None = None

    @property
    def is_speaking(self) -> bool:
        """Whether a turn is under way."""
        return self._turn is not None

    def feed(self, samples: NDArray[np.int16], rate: int) -> list[TurnEvent]:
        """Take the next `samples`. Costs some 0.2 ms per 32 ms of audio."""
        if self._resampler is None or rate != self._rate:
            # The rest at the old rate is less than a frame.
            self._resampler, self._rate = Resampler(rate, _RATE), rate
        audio = self._resampler.process(samples).astype(np.float32) / np.float32(32768)
        self._waiting = np.concatenate((self._waiting, audio))
        events: list[TurnEvent] = []
        while len(self._waiting) >= _FRAME:
            frame, self._waiting = self._waiting[:_FRAME], self._waiting[_FRAME:]
            self._position_ms += _FRAME_MS
            events += self._hear(self._likelihood(frame))
        return events

    def understand(self, words: str) -> None:
        """The words up to the pause: they decide how long a semantic turn waits."""
        if self._turn is not None and self._turn.paused:
            self._turn.words = words

    def reset(self) -> None:
        """Forget the turn under way."""
        self._turn = None
        self._in_row = 0
        self._not_before_ms = self._position_ms + len(self._waiting) * 1000 / _RATE

    def _likelihood(self, frame: NDArray[np.float32]) -> float:
        window = np.concatenate((self._context, frame))
        self._context = frame[-_CONTEXT:]
        asked = {"input": window[None], "state": self._state, "sr": np.array(_RATE, dtype=np.int64)}
        output, self._state = self._model.run(None, asked)
        return float(output[0, 0])

    def _hear(self, likelihood: float) -> list[TurnEvent]:
        turn = self._turn
        if turn is None:
            self._in_row = self._in_row + 1 if likelihood >= self._rules.threshold else 0
            return [self._start()] if self._in_row == _ONSET_FRAMES else []
        if likelihood >= max(self._rules.threshold - _HYSTERESIS, 0.01):
            silence_ms = round(self._position_ms - _FRAME_MS - turn.speech_ends_ms)
            resumed: list[TurnEvent] = [SpeechResumed(silence_ms)] if turn.paused else []
            turn.speech_ends_ms, turn.paused, turn.words = self._position_ms, False, None
            return resumed
        return self._fall_silent(turn, self._position_ms - turn.speech_ends_ms)

    def _fall_silent(self, turn: _Turn, silence_ms: float) -> list[TurnEvent]:
        events: list[TurnEvent] = []
        if not turn.paused and silence_ms >= min(_PAUSE_MS, self._rules.longest_ms):
            turn.paused = True
            events.append(SpeechPaused(round(turn.speech_ends_ms + _PAUSE_TAIL_MS)))
        finished = turn.words is not None and sounds_finished(turn.words)
        if silence_ms >= (self._rules.finished_ms if finished else self._rules.longest_ms):
            self._turn = None
            self._not_before_ms = self._position_ms
            events.append(SpeechStopped(round(self._position_ms)))
        return events

    def _start(self) -> SpeechStarted:
        self._turn = _Turn(self._position_ms)
        self._in_row = 0
        first_ms = self._position_ms - _ONSET_FRAMES * _FRAME_MS - self._rules.prefix_padding_ms
        return SpeechStarted(round(max(first_ms, self._not_before_ms, 0)), round(self._position_ms))
