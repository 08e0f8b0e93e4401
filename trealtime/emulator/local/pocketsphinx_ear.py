"""Recognition where Moonshine's weights have no wheel: PocketSphinx (BSD-2, English), with the model in its wheel.

It hears one word in four wrong, of people at least; numbers are spelt out. It is the second choice, and a plug-in for
programs that prefer it: ``open_emulator(transcriber=PocketSphinx())``.
"""

from __future__ import annotations

import numpy as np
import trio
from numpy.typing import NDArray
from pocketsphinx import Decoder  # pyright: ignore[reportMissingImports]

from trealtime.audio.resample import resample

__all__ = ["PocketSphinx"]

_RATE = 16_000
_STEP = _RATE  # between two checks for cancellation


class PocketSphinx:
    """A `Transcriber` of English. All sessions share it, one recognition at a time, in a thread."""

    def __init__(self) -> None:
        self._decoder = Decoder(samprate=_RATE, loglevel="FATAL")
        self._limiter = trio.CapacityLimiter(1)

    async def transcribe(
        self, samples: NDArray[np.int16], rate: int, *, language: str | None = None, prompt: str | None = None
    ) -> str:
        """The words in `samples`, in small letters and without stops; `language` and `prompt` change nothing.

        If cancelled, stops within a second of audio.
        """
        return await trio.to_thread.run_sync(self._write_down, samples, rate, limiter=self._limiter)

    def _write_down(self, samples: NDArray[np.int16], rate: int) -> str:
        audio = resample(samples, rate, _RATE) if rate != _RATE else samples
        self._decoder.start_utt()
        try:
            for start in range(0, len(audio), _STEP):
                trio.from_thread.check_cancelled()
                self._decoder.process_raw(audio[start : start + _STEP].tobytes(), no_search=False, full_utt=False)
        finally:
            self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return "" if hypothesis is None else str(hypothesis.hypstr)
