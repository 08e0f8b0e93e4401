"""The tones of telephone keys (ITU-T Q.23), as mu-law."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trealtime.audio.formats import G711_ULAW
from trealtime.audio.g711 import encode_ulaw

__all__ = ["key_tone"]

_LOW_HZ: Final = (697, 770, 852, 941)
_HIGH_HZ: Final = (1209, 1336, 1477, 1633)
_ROWS: Final = ("123A", "456B", "789C", "*0#D")

# Receivers must take tones and pauses of 40 ms (Q.24, table A.1); twice and more of it survives a mobile's codec.
_TONE_MS: Final = 100
_PAUSE_MS: Final = 100
_WAIT_MS: Final = 500
_RAMP_MS: Final = 5
_LEVEL: Final = 0.25
"""The amplitude of each of the two tones, of full scale: about -9 dBm0 together."""


@cache
def key_tone(key: str) -> bytes:
    """The tone of one of ``0123456789*#ABCD`` and the pause behind it; ``w`` is a wait of half a second."""
    if key == "w":
        return encode_ulaw(_silence(_WAIT_MS))
    row = next(index for index, keys in enumerate(_ROWS) if key in keys)
    column = _ROWS[row].index(key)
    seconds = np.arange(_TONE_MS * G711_ULAW.rate // 1000) / G711_ULAW.rate
    tone = np.sin(2 * np.pi * _LOW_HZ[row] * seconds) + np.sin(2 * np.pi * _HIGH_HZ[column] * seconds)
    ramp = np.minimum(1, np.minimum(seconds, seconds[::-1]) * 1000 / _RAMP_MS)  # no click at either end
    samples = (tone * ramp * _LEVEL * 32767).astype(np.int16)
    return encode_ulaw(np.concatenate([samples, _silence(_PAUSE_MS)]))


def _silence(ms: int) -> NDArray[np.int16]:
    return np.zeros(ms * G711_ULAW.rate // 1000, dtype=np.int16)
