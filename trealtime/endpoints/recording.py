"""A stereo recording of a conversation: left what the user said, right what the user heard, on one time line."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Final, Self

import numpy as np

from trealtime.audio.wav import WavWriter

__all__ = ["StereoRecording"]

KEPT_S: Final = 2.0
"""How far back audio may still be placed: what is older goes to the file."""


class StereoRecording:
    """Writes a 16-bit stereo WAV file of `rate` samples per second; a context manager, or `close` it.

    Times are seconds from the beginning of the recording. What leaves a gap is preceded by silence, what would overlap
    follows at once. Until it is closed, the last two seconds are not in the file; the rest can be read even if the
    process dies.
    """

    def __init__(self, path: str | os.PathLike[str], rate: int) -> None:
        self._rate = rate
        self._writer = WavWriter(path, rate, channels=2)
        self._written = 0
        self._said = bytearray()
        self._heard = bytearray()

    @property
    def said_s(self) -> float:
        """Where the left channel ends."""
        return self._end_s(self._said)

    @property
    def heard_s(self) -> float:
        """Where the right channel ends."""
        return self._end_s(self._heard)

    def add_said(self, at_s: float, audio: bytes) -> None:
        """The user has said this PCM16, beginning at `at_s`."""
        self._place(self._said, at_s, audio)

    def add_heard(self, at_s: float, audio: bytes) -> None:
        """The user has heard this PCM16, beginning at `at_s`."""
        self._place(self._heard, at_s, audio)

    def close(self) -> None:
        """Write the rest and close the file. Closing twice does nothing."""
        self._write(max(len(self._said), len(self._heard)))
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _end_s(self, channel: bytearray) -> float:
        return (self._written + len(channel)) / 2 / self._rate

    def _place(self, channel: bytearray, at_s: float, audio: bytes) -> None:
        gap = round(at_s * self._rate) * 2 - self._written - len(channel)
        channel += bytes(max(gap, 0))
        channel += audio
        kept = int(KEPT_S * self._rate) * 2
        final = max(len(self._said), len(self._heard)) - kept
        if final >= kept:  # not at every piece
            self._write(final)

    def _write(self, n_bytes: int) -> None:
        for channel in (self._said, self._heard):
            channel += bytes(max(0, n_bytes - len(channel)))
        if n_bytes:
            pair = [np.frombuffer(bytes(channel[:n_bytes]), dtype="<i2") for channel in (self._said, self._heard)]
            self._writer.write(np.stack(pair, axis=1))
            del self._said[:n_bytes], self._heard[:n_bytes]
            self._written += n_bytes
