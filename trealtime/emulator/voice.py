"""The emulator's voice: text in, 24 kHz audio out, word by word.

`Voice` is the seam for speech engines. The default, `ToneVoice`, needs numpy alone and is **a signal, not speech**:
one vowel-like tone per syllable with the length, loudness and rhythm of talk, so that durations, truncation and the
position of each word can be relied on, and it cannot be mistaken for a person.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncGenerator, Iterator
from typing import Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["VOICE_RATE", "SpokenChunk", "ToneVoice", "Voice", "tones"]

VOICE_RATE = 24_000
"""Samples per second of every `Voice`."""


@attrs.frozen(eq=False)
class SpokenChunk:
    """A piece of speech, usually a word: `text` as it stands in the transcript, `samples` its mono audio at 24 kHz."""

    text: str
    samples: NDArray[np.int16]


class Voice(Protocol):
    """Says text aloud."""

    def speak(self, text: str, *, voice: str, speed: float) -> AsyncGenerator[SpokenChunk]:
        """The speech for `text`, in order, made as it is asked for; an async generator.

        The texts of the chunks joined are `text`; the samples joined are one gapless stream at `VOICE_RATE`. `voice` is
        the name from the session settings (any string), `speed` a factor (1.0 is normal, the API allows 0.25 to 1.5).
        It may wait between chunks and is cancelled when the response is; an exception makes the response fail.
        """
        ...


# First two resonances of a vowel, in Hz (after Peterson and Barney, 1952, male means, rounded).
_FORMANTS = {"a": (730, 1090), "e": (530, 1840), "i": (270, 2290), "o": (570, 840), "u": (300, 870), "y": (390, 1990)}
_PERIOD = 2048
_LEVEL = 10 ** (-18 / 20) * 32768  # RMS amid a syllable; its soft edges bring talk to about -20 dBFS
_SYLLABLE_S = 0.23
_RISE_S, _FALL_S = 0.015, 0.045
_GAP_S = 0.08
_PAUSES_S = {",": 0.15, ";": 0.2, ":": 0.2, ".": 0.3, "!": 0.3, "?": 0.3, "。": 0.3, "、": 0.15, "…": 0.3}

_LONGEST_WORD = 24  # characters: longer text comes in pieces, so that no step takes long
_ONE_SYLLABLE_EACH = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"  # kana, Han, Hangul: no spaces between words
_WORDS = re.compile(rf"\s*(?:[{_ONE_SYLLABLE_EACH}][^\w\s]*|[^\s{_ONE_SYLLABLE_EACH}]{{1,{_LONGEST_WORD}}})\s*|\s+")
_SYLLABLES = re.compile(rf"[aeiouy]+|\d|[{_ONE_SYLLABLE_EACH}]")


class ToneVoice:
    """A deterministic, syllable-like signal at about 2.6 words a second and -20 dBFS: not speech.

    The pitch (95 to 225 Hz) comes from the name of the voice, the colour of a syllable from its vowel; a sentence
    falls in pitch, a question rises. Each syllable starts and ends at zero, so a cut between chunks makes no click.
    """

    async def speak(self, text: str, *, voice: str, speed: float) -> AsyncGenerator[SpokenChunk]:
        """One chunk per word, the pause after the word included, without waiting. Same arguments, same samples.

        Raises `ValueError` when `speed` is not positive.
        """
        for chunk in tones(text, voice=voice, speed=speed):
            yield chunk


def tones(text: str, *, voice: str, speed: float) -> Iterator[SpokenChunk]:
    """Return the chunks of `ToneVoice`, one per word. Raises `ValueError` when `speed` is not positive."""
    if not speed > 0:
        raise ValueError(f"speed must be positive, got {speed!r}")
    base_hz = _pitch_of(voice)
    said = 0
    for match in _WORDS.finditer(text):
        word = match.group()
        colours = _syllables(word)
        last = word.rstrip()[-1:]
        pieces = []
        for index, colour in enumerate(colours):
            final = last == "?" and index == len(colours) - 1
            hz = base_hz * (1.06 - 0.015 * min(said, 10)) * (1.3 if final else 1.0)
            pieces.append(_syllable(hz, colour, speed=speed))
            said += 1
        pause_s = _GAP_S + _PAUSES_S.get(last, 0.0)
        pieces.append(np.zeros(round(pause_s / speed * VOICE_RATE), dtype=np.int16))
        yield SpokenChunk(word, np.concatenate(pieces))
        if last in ".!?":
            said = 0


def _pitch_of(voice: str) -> float:
    return 95.0 + zlib.crc32(voice.encode()) % 131


def _syllables(word: str) -> list[str]:
    """The vowel of each syllable; a word without one ("hm", "-") still takes one syllable, bare white space none."""
    if not word.strip():
        return []
    folded = word.lower()
    if folded.rstrip(" \n.,;:!?").endswith("e") and len(_SYLLABLES.findall(folded)) > 1:
        folded = folded.rstrip(" \n.,;:!?")[:-1]  # the English silent e
    found = [group[0] for group in _SYLLABLES.findall(folded)] or ["u"]
    return [letter if letter in _FORMANTS else "aeiou"[ord(letter) % 5] for letter in found]


def _syllable(hz: float, vowel: str, *, speed: float) -> NDArray[np.int16]:
    """A vowel-coloured tone with soft edges."""
    length = round(_SYLLABLE_S / speed * VOICE_RATE)
    harmonics = np.arange(1, int(4000 / hz) + 1)
    spectrum = np.zeros(_PERIOD // 2 + 1, dtype=np.complex128)
    weights = sum(1 / (1 + ((harmonics * hz - formant) / 120.0) ** 2) for formant in _FORMANTS[vowel])
    # Phases that grow with the square of the harmonic keep the crest factor low (Schroeder, 1970).
    spectrum[harmonics] = weights / np.sqrt(harmonics) * np.exp(1j * np.pi * harmonics**2 / len(harmonics))
    period = np.fft.irfft(spectrum, _PERIOD)
    period *= _LEVEL / np.sqrt(np.mean(period**2))
    glide = hz * np.linspace(1.03, 0.97, length)
    phase = np.cumsum(glide) / VOICE_RATE
    tone = period[(phase * _PERIOD).astype(np.int64) % _PERIOD]
    rise, fall = (min(length // 2, round(seconds / speed * VOICE_RATE)) for seconds in (_RISE_S, _FALL_S))
    tone[:rise] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / rise)
    tone[length - fall :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fall + 1) / fall)
    return np.clip(np.rint(tone), -32768, 32767).astype(np.int16)
