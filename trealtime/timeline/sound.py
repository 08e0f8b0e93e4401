"""Sound, small: levels for waveforms, and mu-law at 8 kHz to listen to."""

from __future__ import annotations

from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray

from trealtime.audio.formats import G711_ULAW, PCM16_24K, AudioFormat
from trealtime.audio.pcm import from_int16, to_int16
from trealtime.timeline.model import SLOT_S

__all__ = ["RATE", "Clip", "Shrinker", "SoundBudget"]

RATE: Final = 8_000
_FLOOR_DB: Final = -54.0


@attrs.define
class Shrinker:
    """Takes the audio of one stream, piece by piece, and returns it smaller."""

    _slot_rest: NDArray[np.int16] = attrs.field(factory=lambda: np.zeros(0, np.int16), init=False)
    _rest: NDArray[np.int16] = attrs.field(factory=lambda: np.zeros(0, np.int16), init=False)

    def levels(self, audio: bytes, audio_format: AudioFormat) -> bytes:
        """Return the levels of whole slots, from 0 (silence) to 255 (full scale), by the decibel."""
        samples = np.concatenate([self._slot_rest, _samples(audio, audio_format)])
        size = round(audio_format.rate * SLOT_S)
        whole = len(samples) // size * size
        self._slot_rest = samples[whole:]
        return _levels(samples[:whole].reshape(-1, size))

    def last_level(self) -> bytes:
        """Return the level of the slot that has begun; nothing if none has."""
        rest, self._slot_rest = self._slot_rest, self._slot_rest[:0]
        return _levels(rest.reshape(1, -1)) if len(rest) else b""

    def small(self, audio: bytes, audio_format: AudioFormat) -> bytes:
        """Return the audio as mu-law at `RATE`."""
        if audio_format == G711_ULAW:
            return audio
        samples = _samples(audio, audio_format)
        step = audio_format.rate // RATE
        if step > 1:
            samples = np.concatenate([self._rest, samples])
            whole = len(samples) // step * step
            self._rest = samples[whole:]
            samples = samples[:whole].reshape(-1, step).mean(axis=1).astype(np.int16)
        return from_int16(samples, G711_ULAW)


def _samples(audio: bytes, audio_format: AudioFormat) -> NDArray[np.int16]:
    if audio_format == PCM16_24K:
        return np.frombuffer(audio[: len(audio) & ~1], "<i2")
    return to_int16(audio, audio_format)


def _levels(slots: NDArray[np.int16]) -> bytes:
    if not slots.size:
        return b""
    power = np.sqrt(np.mean(slots.astype(np.float64) ** 2, axis=1)) / 32768
    decibel = 20 * np.log10(np.maximum(power, 1e-9))
    return bytes(np.clip((decibel - _FLOOR_DB) / -_FLOOR_DB * 255, 0, 255).astype(np.uint8))


@attrs.define
class Clip:
    """A stretch of sound as it comes: of the user from `start_s` on, or of the agent's content part `key`. `size` bytes
    have come, of which `data` has been kept."""

    start_s: float = 0.0
    key: tuple[str, int] | None = None
    data: bytearray = attrs.field(factory=bytearray)
    size: int = 0


@attrs.define
class SoundBudget:
    """Bounds the sound that is kept to listen to: `left` bytes. `missing` says that some was not."""

    left: int
    missing: bool = False

    def keep(self, clip: Clip, sound: bytes) -> None:
        """Add `sound` to what is kept, if there is room."""
        clip.size += len(sound)
        if len(sound) > self.left:
            self.missing = True
            return
        self.left -= len(sound)
        clip.data += sound
