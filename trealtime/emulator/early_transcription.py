"""Recognition of a turn while it goes on, so that little is left to do when it ends.

Theory of operation. `trealtime.emulator.input_audio` offers a turn in stretches. A pause begins recognition of the
stretch before it, while the turn detector still waits to see whether the user goes on:

1. If the turn ends there, these are its words. The time that recognition takes hides in the silence that ends a turn.
2. If the user goes on and the stretch is closed, its words are kept: recognition runs to its end, and the next stretch
   is recognised by itself.
3. If the user goes on and the stretch grows, a plain transcriber begins again at the next pause. A `StagedTranscriber`
   goes on from what it has, and is given the stretch while the user speaks, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from trealtime.emulator.input_audio import Stretch, StretchNote, TurnDropped, TurnResumed
from trealtime.emulator.items import Clip

__all__ = ["EarlyTranscription", "StretchRecognizer"]

StretchRecognizer = Callable[[Clip], Awaitable[str | None]]
"""Gives the words of a stretch, None where that failed; called with more of the same stretch each time."""


@attrs.define(eq=False)
class _Stretch:
    """One stretch of a turn, and the newest recognition of it."""

    recognise: StretchRecognizer
    begin_ms: float
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    done: trio.Event = attrs.field(factory=trio.Event)
    words: str | None = None
    whole: bool = False
    """Whether the newest recognition is of all of it."""

    running: bool = False

    def begin(self, *, whole: bool) -> None:
        """A new recognition takes the place of the one before."""
        self.scope.cancel()
        self.scope, self.done = trio.CancelScope(), trio.Event()
        self.words, self.whole, self.running = None, whole, True


@attrs.define(eq=False)
class EarlyTranscription:
    """Recognition of turns that are not over, in one session.

    `make_recognizer` begins the recognition of a stretch; `understood` gets the words of a turn up to a pause, while
    the turn goes on. With `in_stages` a recognizer is asked during speech too.
    """

    _make_recognizer: Callable[[], StretchRecognizer]
    _understood: Callable[[str, str], None]
    _in_stages: bool = attrs.field(default=False, alias="in_stages")
    _turns: dict[str, list[_Stretch]] = attrs.field(factory=dict, init=False)

    def note(self, note: StretchNote, nursery: trio.Nursery) -> None:
        """Follow a turn under way."""
        match note:
            case Stretch():
                self._offered(note, nursery)
            case TurnResumed():
                stretches = self._turns.get(note.item_id, [])
                if note.number < len(stretches) and not note.closed:
                    self._reopen(stretches[note.number])
            case TurnDropped():
                self.forget(note.item_id)

    async def words(self, item_id: str, clip: Clip) -> str | None:
        """Return the words of the turn that is now the item `item_id` with the audio `clip`; None: it was not
        recognised early, or that failed.

        If cancelled, the next call goes on.
        """
        stretches = self._turns.get(item_id)
        if not stretches:
            return None
        words = [await self._words_of(stretch, clip) for stretch in stretches]
        self._turns.pop(item_id, None)
        return None if None in words else " ".join(filter(None, words))

    def forget(self, item_id: str) -> None:
        """Stop recognising a turn that will be no item."""
        for stretch in self._turns.pop(item_id, ()):
            stretch.scope.cancel()

    # ---- inside ------------------------------------------------------------------------------------------------

    def _offered(self, note: Stretch, nursery: trio.Nursery) -> None:
        stretches = self._turns.setdefault(note.item_id, [])
        while len(stretches) <= note.number:
            stretches.append(_Stretch(self._make_recognizer(), note.begin_ms))
        stretch = stretches[note.number]
        if not note.paused and stretch.running:
            return  # it is not behind by more than one offer
        stretch.begin(whole=note.paused)
        nursery.start_soon(self._recognise, note, stretch, stretch.scope, stretch.done)

    def _reopen(self, stretch: _Stretch) -> None:
        stretch.whole = False
        if not self._in_stages:
            stretch.scope.cancel()

    async def _recognise(self, note: Stretch, stretch: _Stretch, scope: trio.CancelScope, done: trio.Event) -> None:
        words = None
        try:
            with scope:
                words = await stretch.recognise(note.clip)
        finally:
            if stretch.scope is scope:  # else another has taken its place
                stretch.words, stretch.running = words, False
            done.set()
        if words is not None and stretch.scope is scope and stretch.whole:
            self._tell(note.item_id)

    def _tell(self, item_id: str) -> None:
        words = [stretch.words for stretch in self._turns.get(item_id, ())]
        if None not in words:
            self._understood(item_id, " ".join(filter(None, words)))

    async def _words_of(self, stretch: _Stretch, clip: Clip) -> str | None:
        if not stretch.whole:
            # The turn ended without a pause: what follows its beginning is the rest.
            if not self._in_stages:
                return None
            stretch.scope.cancel()
            rest = Clip(clip.format, clip.data[clip.format.bytes_for_ms(stretch.begin_ms) :])
            return await stretch.recognise(rest)
        await stretch.done.wait()
        return stretch.words
