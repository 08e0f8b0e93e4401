"""Loudness of audio on its way to an endpoint: changes take one piece, so that they make no click."""

from __future__ import annotations

import attrs

from trealtime.audio.formats import AudioFormat
from trealtime.audio.pcm import from_int16, to_int16

__all__ = ["Gain"]


@attrs.define
class Gain:
    """Multiplies the pieces of one stream. `factor` may be changed at any time: the next piece leads over to it."""

    factor: float = 1.0
    _reached: float = attrs.field(default=1.0, init=False)

    def apply(self, audio: bytes, audio_format: AudioFormat) -> bytes:
        """The next piece, in whole samples, at the gain that holds now."""
        if self.factor == self._reached == 1.0:
            return audio
        import numpy as np

        samples = to_int16(audio, audio_format)
        factors = np.linspace(self._reached, self.factor, len(samples), dtype=np.float32)
        self._reached = self.factor
        return from_int16(np.clip(np.rint(samples * factors), -32768, 32767).astype(np.int16), audio_format)
