"""Transcription of the user: the seams for speech recognition, and the default engines.

`Transcriber` is the seam; `trealtime.emulator.local` has engines that know words. The default writes down a
placeholder. A `StagedTranscriber` recognises a turn while the user speaks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trealtime.emulator.turn_detection import SILENCE_DB, levels_db

__all__ = ["PlaceholderTranscriber", "Recognition", "ScriptedTranscriber", "StagedTranscriber", "Transcriber"]


class Transcriber(Protocol):
    """Transcribes speech."""

    async def transcribe(
        self, samples: NDArray[np.int16], rate: int, *, language: str | None = None, prompt: str | None = None
    ) -> str:
        """The words in mono `samples` at `rate` per second, of one turn.

        `language` (ISO 639-1) and `prompt` are hints from the session settings. May take its time and be cancelled; an
        exception becomes an ``input_audio_transcription.failed`` event.
        """
        ...


class Recognition(Protocol):
    """The recognition of one stretch of speech, in stages."""

    async def recognise(self, samples: NDArray[np.int16], rate: int) -> str:
        """The words in mono `samples` at `rate` per second: the stretch from its beginning, longer each time.

        At the end a word may be cut, except where the user has paused there. Calls come one after another, the next
        maybe while a cancelled one is still ending; what was found until then may serve it.
        """
        ...


@runtime_checkable
class StagedTranscriber(Transcriber, Protocol):
    """A `Transcriber` that recognises a turn while the user speaks.

    A turn comes in stretches, which end at pauses; the words of the stretches joined are those of the turn.
    """

    def begin(self, *, language: str | None = None, prompt: str | None = None) -> Recognition:
        """Begin a stretch; hints as in `transcribe`."""
        ...


class PlaceholderTranscriber:
    """Understands nothing and says so: ``(speech, 1.8 s)``, or ``(silence, 1.8 s)`` under -60 dBFS."""

    async def transcribe(
        self, samples: NDArray[np.int16], rate: int, *, language: str | None = None, prompt: str | None = None
    ) -> str:
        """The kind and the length of `samples`, in place of words."""
        level_db = max(levels_db(samples.reshape(1, -1))) if len(samples) else SILENCE_DB
        return f"({'speech' if level_db > -60 else 'silence'}, {len(samples) / rate:.1f} s)"


class ScriptedTranscriber:
    """Hears the given lines in order, for any audio; then asks `then` (default: placeholders)."""

    def __init__(self, lines: Sequence[str], *, then: Transcriber | None = None) -> None:
        self._lines = deque(lines)
        self._then = then if then is not None else PlaceholderTranscriber()

    async def transcribe(
        self, samples: NDArray[np.int16], rate: int, *, language: str | None = None, prompt: str | None = None
    ) -> str:
        """The next line."""
        if self._lines:
            return self._lines.popleft()
        return await self._then.transcribe(samples, rate, language=language, prompt=prompt)
