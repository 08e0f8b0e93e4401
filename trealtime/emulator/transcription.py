"""Transcription of the user: the seam for speech recognition, the default engines, and recognition before a turn ends.

`Transcriber` is the seam; `trealtime.emulator.local` has engines that know words. The default writes down a
placeholder. Eager transcription begins at a pause, while the turn detector still waits to see whether the user goes
on. If they do, it is cancelled and begins again at the next pause; if the turn ends there, its words are those of the
turn. So the time that recognition takes hides in the silence that ends a turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import attrs
import numpy as np
import trio
from numpy.typing import NDArray

from trealtime.emulator.input_audio import Pause
from trealtime.emulator.items import Clip
from trealtime.emulator.turn_detection import SILENCE_DB, levels_db

__all__ = ["EagerTranscription", "PlaceholderTranscriber", "ScriptedTranscriber", "Transcriber"]


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


@attrs.define(eq=False)
class _Listening:
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    done: trio.Event = attrs.field(factory=trio.Event)
    words: str | None = None


@attrs.define(eq=False)
class EagerTranscription:
    """Recognition of turns that are not over, in one session.

    `recognise` gives the words of a clip, None where it failed; `understood` gets them while the turn goes on.
    """

    _recognise: Callable[[Clip], Awaitable[str | None]]
    _understood: Callable[[str, str], None]
    _listening: dict[str, _Listening] = attrs.field(factory=dict, init=False)

    def note(self, pause: Pause, nursery: trio.Nursery) -> None:
        """Begin recognition at a pause; stop it when the pause was none."""
        earlier = self._listening.pop(pause.item_id, None)
        if earlier is not None:
            earlier.scope.cancel()
        if pause.clip is not None:
            listening = self._listening[pause.item_id] = _Listening()
            nursery.start_soon(self._listen, pause.item_id, pause.clip, listening)

    async def words(self, item_id: str) -> str | None:
        """Return the words of the turn that is now the item `item_id`, once; None: there was no early recognition, or
        it failed."""
        listening = self._listening.pop(item_id, None)
        if listening is None:
            return None
        await listening.done.wait()
        return listening.words

    async def _listen(self, item_id: str, clip: Clip, listening: _Listening) -> None:
        try:
            with listening.scope:
                listening.words = await self._recognise(clip)
                if listening.words is not None:
                    self._understood(item_id, listening.words)
        finally:
            listening.done.set()
