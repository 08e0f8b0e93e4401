"""The loudness of audio, in dB relative to full scale (dBFS).

0 dBFS is the power of a full-scale square wave, so a full-scale sine measures -3.0. Silence and an empty array measure
minus infinity.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["peak_dbfs", "rms_dbfs"]

_FULL_SCALE = 32768


def rms_dbfs(samples: NDArray[np.int16]) -> float:
    """Return the mean power of int16 `samples`, in dBFS."""
    if samples.size == 0:
        return -math.inf
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return 10 * math.log10(power / _FULL_SCALE**2) if power > 0 else -math.inf


def peak_dbfs(samples: NDArray[np.int16]) -> float:
    """Return the largest magnitude in int16 `samples`, in dBFS."""
    if samples.size == 0:
        return -math.inf
    peak = max(int(samples.max()), -int(samples.min()))
    return 20 * math.log10(peak / _FULL_SCALE) if peak > 0 else -math.inf
