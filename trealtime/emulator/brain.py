"""The emulator's brain: what it answers.

`Brain` is the seam for anything that can answer a conversation. The default, `RuleBrain`, is a table of rules and no
language model: it greets, counts, adds, repeats, and calls the functions that the user's words point at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

__all__ = ["Brain", "BrainReply", "BrainRequest", "CallFunction", "Say", "ScriptedBrain"]


@attrs.frozen
class Say:
    """Words for the user: one message item, spoken or written as the response's modality asks."""

    text: str


@attrs.frozen
class CallFunction:
    """A call of a function of the client: `arguments` is JSON text, as on the wire."""

    name: str
    arguments: str = "{}"


Part = Say | CallFunction


@attrs.frozen
class BrainReply:
    """What the response consists of, one output item per part, in order. No parts: an empty response."""

    parts: tuple[Part, ...] = ()


@attrs.frozen(kw_only=True)
class BrainRequest:
    """All that a model would see: the session's settings merged with those of ``response.create``, and the context.

    `items` are conversation items in their wire shape (protocol reference, section 5), oldest first, input audio with
    its `transcript` where there is one; `tools` and `tool_choice` are wire-shaped too. There is no clock in it: the
    same request gets the same reply.
    """

    instructions: str = ""
    items: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    parallel_tool_calls: bool = True
    output_modalities: Sequence[str] = ("audio",)
    metadata: Mapping[str, str] | None = None


class Brain(Protocol):
    """Answers conversations. One brain may serve several sessions at a time: it keeps no state of a conversation."""

    async def reply(self, request: BrainRequest) -> BrainReply:
        """The answer to `request`.

        May take its time; it is cancelled when the response is. An exception becomes a response with status ``failed``.
        """
        ...


class ScriptedBrain:
    """Gives the replies of a script in order, then those of `then` (None: empty replies)."""

    def __init__(self, replies: Sequence[str | Part | Sequence[Part]], *, then: Brain | None = None) -> None:
        self._replies = [_as_reply(reply) for reply in replies]
        self._next = 0
        self._then = then

    async def reply(self, request: BrainRequest) -> BrainReply:
        """The next reply of the script, whatever `request` says."""
        if self._next < len(self._replies):
            self._next += 1
            return self._replies[self._next - 1]
        return BrainReply() if self._then is None else await self._then.reply(request)


def _as_reply(reply: str | Part | Sequence[Part]) -> BrainReply:
    if isinstance(reply, str):
        return BrainReply((Say(reply),))
    if isinstance(reply, Say | CallFunction):
        return BrainReply((reply,))
    return BrainReply(tuple(reply))
