"""G.711: mu-law and A-law, one byte for a sample (ITU-T Recommendation G.711, 11/1988).

Both codecs cut the magnitude of a sample into 8 chords, each twice as coarse as the one below, of 16 even steps: 128
codes for each sign. Decoding gives the middle of a step. Where two steps meet, negative samples fall as in the ITU's
own software (Recommendation G.191): the magnitude of x is then -x - 1. The tables are made from these definitions at
import.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trealtime.audio.pcm import mono_int16

__all__ = ["decode_alaw", "decode_ulaw", "encode_alaw", "encode_ulaw"]

_Buffer = bytes | bytearray | memoryview


def decode_ulaw(data: _Buffer) -> NDArray[np.int16]:
    """Return the int16 samples of mu-law `data`, of shape (n,), on a 16-bit scale (the largest is 32124)."""
    return _ULAW_DECODED[np.frombuffer(data, dtype=np.uint8)]


def decode_alaw(data: _Buffer) -> NDArray[np.int16]:
    """Return the int16 samples of A-law `data`, of shape (n,), on a 16-bit scale (the largest is 32256)."""
    return _ALAW_DECODED[np.frombuffer(data, dtype=np.uint8)]


def encode_ulaw(samples: NDArray[np.int16]) -> bytes:
    """Return one mu-law byte for each of int16 `samples`; silence is 0xFF. Raises `AudioFormatError` for another shape
    or dtype."""
    return _ULAW_ENCODED[_as_index(samples)].tobytes()


def encode_alaw(samples: NDArray[np.int16]) -> bytes:
    """Return one A-law byte for each of int16 `samples`; silence is 0xD5. Raises as `encode_ulaw` does."""
    return _ALAW_ENCODED[_as_index(samples)].tobytes()


def _as_index(samples: NDArray[np.int16]) -> NDArray[np.uint16]:
    return mono_int16(samples).astype(np.int16).view(np.uint16)


_CODES = np.arange(128, dtype=np.int64)
_CHORD, _STEP = _CODES >> 4, _CODES & 15

# Where each code of one sign begins, and what it decodes to, on a 16-bit scale (G.711 tables 2a and 1a).
# 33 is the bias of mu-law, which makes each chord begin where the one below ends.
_ULAW_BEGINS = (((16 + _STEP) << (_CHORD + 1)) - 33) * 4
_ULAW_MIDDLES = (((33 + 2 * _STEP) << _CHORD) - 33) * 4
# The lowest chord of A-law has no leading one, so that its steps are as fine as those of the chord above.
_ALAW_MANTISSA = _STEP + 16 * np.minimum(_CHORD, 1)
_ALAW_EXPONENT = np.maximum(_CHORD - 1, 0)
_ALAW_BEGINS = (_ALAW_MANTISSA << _ALAW_EXPONENT) * 16
_ALAW_MIDDLES = ((2 * _ALAW_MANTISSA + 1) << _ALAW_EXPONENT) * 8

_SIGN = 0x80  # set for positive samples in both codecs, once the inversions below are undone
_ULAW_INVERTED = 0x7F  # mu-law sends the magnitude inverted, so that silence has many ones
_ALAW_INVERTED = 0x55  # A-law inverts the even bits


def _decoded(middles: NDArray[np.int64], inverted: int) -> NDArray[np.int16]:
    codes = np.arange(256) ^ inverted
    values = middles[codes & 0x7F]
    decoded: NDArray[np.int16] = np.where(codes & _SIGN, values, -values).astype(np.int16)
    return decoded


def _encoded(begins: NDArray[np.int64], inverted: int) -> NDArray[np.uint8]:
    samples = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int64)
    codes = np.searchsorted(begins, np.where(samples < 0, ~samples, samples), side="right") - 1
    return ((codes | np.where(samples < 0, 0, _SIGN)) ^ inverted).astype(np.uint8)


_ULAW_DECODED = _decoded(_ULAW_MIDDLES, _ULAW_INVERTED)
_ALAW_DECODED = _decoded(_ALAW_MIDDLES, _ALAW_INVERTED)
_ULAW_ENCODED = _encoded(_ULAW_BEGINS, _ULAW_INVERTED)
_ALAW_ENCODED = _encoded(_ALAW_BEGINS, _ALAW_INVERTED)
