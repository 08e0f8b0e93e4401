"""The seam for brains: anything that can answer a conversation, at once (`Brain`) or bit by bit (`StreamingBrain`).

The default is `trealtime.emulator.DialogueBrain`, a set of rules and no language model.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol, runtime_checkable

import attrs

__all__ = [
    "Brain",
    "BrainReply",
    "BrainRequest",
    "CallFunction",
    "Part",
    "Say",
    "SayMore",
    "ScriptedBrain",
    "StreamingBrain",
    "parts_of",
]


@attrs.frozen
class Say:
    """Words for the user: one message item, spoken or written as the response's modality asks."""

    text: str


@attrs.frozen
class SayMore:
    """More words of the message that the last `Say` began; for brains that think while they speak."""

    text: str


@attrs.frozen
class CallFunction:
    """A call of a function of the client: `arguments` is JSON text, as on the wire."""

    name: str
    arguments: str = "{}"


Part = Say | SayMore | CallFunction


@attrs.frozen
class BrainReply:
    """The parts of a response in order, one output item each. No parts: an empty response."""

    parts: tuple[Part, ...] = ()


@attrs.frozen(kw_only=True)
class BrainRequest:
    """The context of a response, as a model would see it: the session's settings merged with those of
    ``response.create``, and the items.

    `items` are conversation items in their wire shape, oldest first, input audio with
    its `transcript` where there is one; `tools` and `tool_choice` are wire-shaped too.
    """

    instructions: str = ""
    items: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    parallel_tool_calls: bool = True
    output_modalities: Sequence[str] = ("audio",)
    metadata: Mapping[str, str] | None = None
    own_instructions: bool = False
    """The instructions of this response alone."""
    unix_time_s: float | None = None
    """The time by the emulator's clock; None if it is not known."""


class Brain(Protocol):
    """Answers conversations. One brain may serve several sessions: the conversation is all in the request."""

    async def reply(self, request: BrainRequest) -> BrainReply:
        """Return the answer to `request`.

        It may wait; it is cancelled when the response is. An exception becomes a response with status ``failed``.
        """
        ...


@runtime_checkable
class StreamingBrain(Protocol):
    """A `Brain` whose answer comes bit by bit: the emulator calls `stream` in place of `Brain.reply`."""

    def stream(self, request: BrainRequest) -> AsyncGenerator[Part]:
        """Yield the parts of the answer, each as soon as it is there; an async generator.

        Every piece of words is spoken as it comes, so a piece should be a phrase. As `Brain.reply` otherwise.
        """
        ...


async def parts_of(brain: Brain | StreamingBrain, request: BrainRequest) -> AsyncGenerator[Part]:
    """Yield the answer of `brain`, part by part."""
    if isinstance(brain, StreamingBrain):
        async with aclosing(brain.stream(request)) as parts:
            async for part in parts:
                yield part
    else:
        for part in (await brain.reply(request)).parts:
            yield part


class ScriptedBrain:
    """Gives the replies of a script in order, then those of `then` (None: empty replies)."""

    def __init__(self, replies: Sequence[str | Part | Sequence[Part]], *, then: Brain | None = None) -> None:
        self._replies = [_as_reply(reply) for reply in replies]
        self._next = 0
        self._then = then

    async def reply(self, request: BrainRequest) -> BrainReply:
        """Return the next reply of the script, for any `request`."""
        if self._next < len(self._replies):
            self._next += 1
            return self._replies[self._next - 1]
        return BrainReply() if self._then is None else await self._then.reply(request)


def _as_reply(reply: str | Part | Sequence[Part]) -> BrainReply:
    if isinstance(reply, str):
        return BrainReply((Say(reply),))
    if isinstance(reply, Part):
        return BrainReply((reply,))
    return BrainReply(tuple(reply))
