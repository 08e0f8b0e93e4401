"""Listening before the turn is over: recognition that runs while the ears still wait whether the user goes on.

A pause starts it. If the user goes on, it is dropped, and begun again at the next pause; if the turn ends there, its
words are those of the turn. So the time that recognition takes hides in the silence that ends a turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from trealtime.emulator.input_audio import Pause
from trealtime.emulator.items import Clip

__all__ = ["EagerTranscription"]


@attrs.define(eq=False)
class _Listening:
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    done: trio.Event = attrs.field(factory=trio.Event)
    words: str | None = None


@attrs.define(eq=False)
class EagerTranscription:
    """What is being recognised of turns that are not over, in one session.

    `recognise` gives the words of a clip, None where it failed; `understood` is told of them while the turn goes on.
    """

    _recognise: Callable[[Clip], Awaitable[str | None]]
    _understood: Callable[[str, str], None]
    _listening: dict[str, _Listening] = attrs.field(factory=dict, init=False)

    def note(self, pause: Pause, nursery: trio.Nursery) -> None:
        """A pause, or that it was none."""
        earlier = self._listening.pop(pause.item_id, None)
        if earlier is not None:
            earlier.scope.cancel()
        if pause.clip is not None:
            listening = self._listening[pause.item_id] = _Listening()
            nursery.start_soon(self._listen, pause.item_id, pause.clip, listening)

    async def words(self, item_id: str) -> str | None:
        """The words of the turn that is now the item `item_id`, once; None: nobody has listened early, or in vain."""
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
