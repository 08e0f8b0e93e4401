"""Sample rate conversion for streams: a polyphase filter with a windowed-sinc kernel.

With L/M the ratio of the rates in lowest terms, output n lies at input position n * M / L. Each of the L possible
fractions of a sample has its own filter of whole numbers, scaled by 2**24. Sums of these are exact in float64, in any
order, which is why the sizes of the chunks cannot change a single sample of the result. Rates with so small a common
divisor that L is large (44,056 and 24,000) share a table of fractions, between which filters are interpolated and
rounded to whole numbers again.

The kernel reaches 32 samples of the lower rate to each side. It is flat up to 84 % of half the lower rate (3.4 kHz for
telephony) and 80 dB down from half the lower rate upwards. Output and input are aligned in time. The output is late by
the reach of the kernel: 4 ms when a rate is 8 kHz, 1.3 ms between 24 and 48 kHz.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from trealtime.audio.pcm import mono_int16
from trealtime.errors import AudioFormatError

__all__ = ["Resampler", "resample"]

_REACH = 32
_STOPBAND_DB = 80
_SCALE = 1 << 24
_MOST_PHASES = 1000
_MOST_RATIO = 256
_BLOCK = 512  # windows of a block that stay in a processor's cache are four times as fast


class Resampler:
    """Convert one mono int16 stream from `from_rate` to `to_rate` samples per second, any two whole numbers.

    Feed chunks of any size to `process`, then call `flush` once. The joined output has
    ``ceil(n * to_rate / from_rate)`` samples for n samples of input, the same ones for any cutting of the input.
    Another stream needs another `Resampler`.

    Raises `AudioFormatError` when a rate is no positive whole number, or more than 256 times the other.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        if not (_is_rate(from_rate) and _is_rate(to_rate)):
            raise AudioFormatError(f"sample rates must be positive whole numbers, got {from_rate!r} and {to_rate!r}")
        from_rate, to_rate = int(from_rate), int(to_rate)  # NumPy's own could overflow below
        if max(from_rate, to_rate) > _MOST_RATIO * min(from_rate, to_rate):
            raise AudioFormatError(
                f"cannot resample from {from_rate} to {to_rate}: one is more than {_MOST_RATIO} times the other"
            )
        divisor = math.gcd(from_rate, to_rate)
        self._up, self._down = to_rate // divisor, from_rate // divisor
        self._filters = _polyphase_filters(self._up, self._down)
        self._reach = self._filters.shape[1] // 2
        # The input still needed, from position `_begin` on. Silence stands in for what came before the stream.
        self._begin = 1 - self._reach
        self._input = np.zeros(self._reach - 1, dtype=np.int16)
        self._made = 0
        self._flushed = False

    def process(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take the next `samples`, of shape (n,). Return the output that they complete, which may be empty.

        Raises `AudioFormatError` for another shape or dtype, and `RuntimeError` after `flush`.
        """
        samples = mono_int16(samples)
        if self._flushed:
            raise RuntimeError("this Resampler has been flushed; make another one for another stream")
        if self._up == self._down:
            return samples.copy()
        blocks = [self._take(samples[start : start + _BLOCK]) for start in range(0, len(samples), _BLOCK)]
        return np.concatenate([np.zeros(0, dtype=np.int16), *blocks])

    def flush(self) -> NDArray[np.int16]:
        """End the stream. Return the rest of the output, which waited for more input."""
        rest = np.zeros(0 if self._flushed or self._up == self._down else self._reach, dtype=np.int16)
        self._flushed = True
        return self._take(rest)

    def _take(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        self._input = np.concatenate((self._input, samples))
        # Output n is complete when the input goes on for `_reach` samples after its position.
        complete = self._begin + len(self._input) - self._reach
        made = max(self._made, -(-complete * self._up // self._down))
        if made == self._made:
            return np.zeros(0, dtype=np.int16)
        positions, phases = np.divmod(np.arange(self._made, made) * self._down, self._up)
        self._made = made

        windows = np.lib.stride_tricks.sliding_window_view(self._input.astype(np.float64), 2 * self._reach)
        first = positions + (1 - self._reach - self._begin)
        sums = np.einsum("ij,ij->i", windows[first], self._filters_of(phases))

        begin = made * self._down // self._up + 1 - self._reach
        self._input = self._input[begin - self._begin :]
        self._begin = begin
        made_samples: NDArray[np.int16] = np.clip(np.floor(sums / _SCALE + 0.5), -32768, 32767).astype(np.int16)
        return made_samples

    def _filters_of(self, phases: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return one filter a row for outputs that lie these phases of `_up` after an input sample."""
        n_rows = len(self._filters)
        if n_rows == self._up:
            return self._filters[phases]
        rows, rest = np.divmod(phases * (n_rows - 1), self._up)
        share = (rest / self._up)[:, np.newaxis]
        filters: NDArray[np.float64] = np.rint(self._filters[rows] * (1 - share) + self._filters[rows + 1] * share)
        return filters


def _is_rate(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) > 0


def resample(samples: NDArray[np.int16], from_rate: int, to_rate: int) -> NDArray[np.int16]:
    """Return all of mono int16 `samples` at another rate, aligned in time. Raises as `Resampler` does."""
    resampler = Resampler(from_rate, to_rate)
    return np.concatenate((resampler.process(samples), resampler.flush()))


@functools.lru_cache(maxsize=16)
def _polyphase_filters(up: int, down: int) -> NDArray[np.float64]:
    """Row p: the filter for outputs that lie p / `up` after an input sample; whole numbers with the sum `_SCALE`.

    Past `_MOST_PHASES` the rows are evenly spread fractions from 0 to 1 in place of those of `up`. The filter of a much
    lower rate changes more slowly from one fraction to the next, and needs fewer of them.

    The window is designed by Kaiser's formulas: length and stopband give the width of the transition, which ends where
    aliases would begin (half the lower rate).
    """
    lower = min(1.0, up / down)  # the lower rate, in input samples
    reach = math.ceil(_REACH / lower)
    transition = (_STOPBAND_DB - 7.95) / (14.36 * 2 * _REACH)
    cutoff = lower * (1 - transition)
    beta = 0.1102 * (_STOPBAND_DB - 8.7)

    if up <= _MOST_PHASES:
        fractions = np.arange(up) / up
    else:
        fractions = np.linspace(0, 1, 1 + max(64, math.ceil(_MOST_PHASES * lower)))
    distance = fractions[:, np.newaxis] - np.arange(1 - reach, reach + 1)
    window = np.i0(beta * np.sqrt(np.maximum(1 - (distance / reach) ** 2, 0))) / np.i0(beta)
    kernel = np.sinc(cutoff * distance) * window
    filters: NDArray[np.float64] = np.rint(kernel / kernel.sum(axis=1, keepdims=True) * _SCALE)
    largest = filters.argmax(axis=1)
    filters[np.arange(len(filters)), largest] += _SCALE - filters.sum(axis=1)
    filters.setflags(write=False)
    return filters
