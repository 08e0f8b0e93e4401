"""The voice: hibari (Apache-2.0, English, one voice in its wheel, 24 kHz).

It makes a phrase at a time, in a thread, so the first sound comes after the first phrase. The model puts a quarter of a
second of silence before and after each; that is cut off, and the pause that the stop asks for put in its place. It does
not say where a word lies in a phrase: words take shares of it by their length, which is right to about a syllable.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

import numpy as np
import trio
from hibari import Hibari  # pyright: ignore[reportMissingImports]
from numpy.typing import NDArray

from trealtime.emulator.voice import VOICE_RATE, SpokenChunk

__all__ = ["HibariVoice"]

_CLOSING = "\"')\u201d\u2019"
_PHRASES = re.compile(rf".+?(?:[.!?…:;]+[{_CLOSING}]*(?:\s+|$)|(?<=\w{{3}}),\s+|\n+|$)", re.DOTALL)
_WORDS = re.compile(r"\s*\S+\s*|\s+")
_SHORTEST_PHRASE = 12
_SPEEDS = (0.5, 2.0)
_SILENCE = 150
_EDGE = VOICE_RATE // 50
_PAUSES_S = {",": 0.12, ";": 0.18, ":": 0.18, ".": 0.28, "!": 0.28, "?": 0.28, "…": 0.28}


class HibariVoice:
    """A `Voice` that speaks English. All sessions share it; it sounds the same for every voice that they ask for."""

    def __init__(self, *, concurrency: int = 1) -> None:
        self._model = Hibari()
        self._limiter = trio.CapacityLimiter(concurrency)
        # The first call of a session of onnxruntime allocates: do that now, and not in a conversation.
        self._model("Hello.", seed=0)

    async def speak(self, text: str, *, voice: str, speed: float) -> AsyncGenerator[SpokenChunk]:
        """One chunk per word, in phrases. The same text gives the same samples. `speed` is held within 0.5 and 2.

        If cancelled, waits for the phrase being made (some 20 ms). Raises `ValueError` when `speed` is not positive.
        """
        if not speed > 0:
            raise ValueError(f"speed must be positive, got {speed!r}")
        pace = min(max(speed, _SPEEDS[0]), _SPEEDS[1])
        for phrase in phrases(text):
            samples = await trio.to_thread.run_sync(self._say, phrase, pace, limiter=self._limiter)
            for chunk in _by_words(phrase, samples):
                yield chunk

    def _say(self, phrase: str, speed: float) -> NDArray[np.int16]:
        audio = self._model(phrase, speed=speed, seed=0)
        samples = np.clip(np.rint(audio * 32767), -32768, 32767).astype(np.int16)
        pause_s = _PAUSES_S.get(phrase.rstrip(_CLOSING + " \n")[-1:], 0.05)
        return np.concatenate((_without_edges(samples), np.zeros(round(pause_s / speed * VOICE_RATE), np.int16)))


def phrases(text: str) -> list[str]:
    """`text` cut where a speaker takes breath; the pieces joined are the whole, and none is a mere syllable."""
    found: list[str] = []
    for piece in _PHRASES.findall(text):
        if found and min(len(found[-1]), len(piece)) < _SHORTEST_PHRASE:
            found[-1] += piece
        else:
            found.append(piece)
    return found


def _without_edges(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """`samples` from 20 ms before the first sound to 20 ms after the last."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > _SILENCE)
    return samples[max(loud[0] - _EDGE, 0) : loud[-1] + _EDGE] if len(loud) else samples[:0]


def _by_words(phrase: str, samples: NDArray[np.int16]) -> list[SpokenChunk]:
    words = _WORDS.findall(phrase)
    weights = [len(word.strip()) + 1 for word in words]
    ends = np.rint(np.cumsum(weights) / sum(weights) * len(samples)).astype(int)
    starts = [0, *ends[:-1]]
    return [SpokenChunk(word, samples[start:end]) for word, start, end in zip(words, starts, ends, strict=True)]
