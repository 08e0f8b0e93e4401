"""A stereo recording of a conversation: left what the user said, right what the user heard, on one time line."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Final, Self

import numpy as np

from trealtime.audio.wav import WavWriter
from trealtime.endpoints.speaker import FADE_MS

__all__ = ["StereoRecording"]

KEPT_S: Final = 2.0
"""How far back audio may still be placed: what is older goes to the file."""

GAP_MS: Final = 1.0
"""A pause shorter than this is none."""


class StereoRecording:
    """Writes a 16-bit stereo WAV file of `rate` samples per second; a context manager, or `close` it.

    Times are seconds from the beginning of the recording. What leaves a gap is preceded by silence, what would overlap
    follows at once. What was heard fades in and out where there is silence before or after it, within its own 5 ms:
    an interrupt cuts in the middle of a wave, and would be heard as a click. Until it is closed, the last two seconds
    are not in the file; the rest can be read even if the process dies.
    """

    def __init__(self, path: str | os.PathLike[str], rate: int) -> None:
        self._rate = rate
        self._writer = WavWriter(path, rate, channels=2)
        self._written = 0
        self._said = bytearray()
        self._heard = bytearray()
        fade = round(rate * FADE_MS / 1000)
        self._rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(1, fade + 1) / fade)
        self._risen = 0

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
        self._place(self._said, self._gap(self._said, at_s), audio)

    def add_heard(self, at_s: float, audio: bytes) -> None:
        """The user has heard this PCM16, beginning at `at_s`."""
        gap = self._gap(self._heard, at_s)
        if gap:
            self._fall()
            self._risen = 0
        samples = np.frombuffer(audio, "<i2")
        gain = self._rise[self._risen : self._risen + len(samples)]
        self._risen += len(gain)
        rising = np.rint(samples[: len(gain)] * gain).astype("<i2").tobytes()
        self._place(self._heard, gap, rising + audio[len(rising) :])

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

    def _gap(self, channel: bytearray, at_s: float) -> int:
        """Bytes of silence before what begins at `at_s`."""
        gap = round(at_s * self._rate) * 2 - self._written - len(channel)
        return gap if gap >= self._rate * 2 * GAP_MS / 1000 else 0

    def _fall(self) -> None:
        """Let what was heard last fade out."""
        n = min(len(self._rise), self._risen, len(self._heard) // 2)
        if n:
            samples = np.frombuffer(bytes(self._heard[-2 * n :]), "<i2")
            self._heard[-2 * n :] = np.rint(samples * self._rise[:n][::-1]).astype("<i2").tobytes()
            self._risen = 0

    def _place(self, channel: bytearray, gap: int, audio: bytes) -> None:
        channel += bytes(gap)
        channel += audio
        kept = int(KEPT_S * self._rate) * 2
        final = max(len(self._said), len(self._heard)) - kept
        if final >= kept:  # not at every piece
            self._write(final)

    def _write(self, n_bytes: int) -> None:
        if len(self._heard) < n_bytes + 2 * len(self._rise):  # nothing will follow it any more
            self._fall()
        for channel in (self._said, self._heard):
            channel += bytes(max(0, n_bytes - len(channel)))
        if n_bytes:
            pair = [np.frombuffer(bytes(channel[:n_bytes]), dtype="<i2") for channel in (self._said, self._heard)]
            self._writer.write(np.stack(pair, axis=1))
            del self._said[:n_bytes], self._heard[:n_bytes]
            self._written += n_bytes
