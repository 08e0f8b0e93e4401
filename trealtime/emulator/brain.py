"""The emulator's brain: what it answers.

`Brain` is the seam for anything that can answer a conversation. The default, `RuleBrain`, is a table of rules and no
language model: it greets, counts, adds, repeats, and calls the functions that the user's words point at.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol, runtime_checkable

import attrs

from trealtime.emulator.brain_tools import Call, call_for, calls_for, functions_of
from trealtime.emulator.brain_words import NUMBER, plain_number, with_digits

__all__ = [
    "Brain",
    "BrainReply",
    "BrainRequest",
    "CallFunction",
    "Part",
    "RuleBrain",
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
    """What the response consists of, one output item per part, in order. No parts: an empty response."""

    parts: tuple[Part, ...] = ()


@attrs.frozen(kw_only=True)
class BrainRequest:
    """All that a model would see: the session's settings merged with those of ``response.create``, and the context.

    `items` are conversation items in their wire shape (protocol reference, section 5), oldest first, input audio with
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
    """`instructions` are those of this response alone."""
    unix_time_s: float | None = None
    """The time by the emulator's clock; None where nobody has told it."""


class Brain(Protocol):
    """Answers conversations. One brain may serve several sessions: the conversation is all in the request."""

    async def reply(self, request: BrainRequest) -> BrainReply:
        """The answer to `request`.

        May take its time; it is cancelled when the response is. An exception becomes a response with status ``failed``.
        """
        ...


@runtime_checkable
class StreamingBrain(Protocol):
    """A `Brain` whose answer comes bit by bit; `stream` is then asked in place of `Brain.reply`."""

    def stream(self, request: BrainRequest) -> AsyncGenerator[Part]:
        """The parts of the answer, each as soon as it is there; an async generator.

        Every piece of words is spoken as it comes, so a piece should be a phrase. As `Brain.reply` otherwise.
        """
        ...


async def parts_of(brain: Brain | StreamingBrain, request: BrainRequest) -> AsyncGenerator[Part]:
    """What `brain` answers, part by part."""
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
        """The next reply of the script, whatever `request` says."""
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


class RuleBrain:
    """Answers by rules. Not a language model, and it does not pretend to be one.

    First the words that the instructions of this response alone want said (``Say "One moment."``). Then the functions:
    those that `tool_choice` demands (with ``required``, the one that fits best) or that the last user message points
    at (see `brain_tools`). Once their outputs are there it says them, also under ``required``: else a session with
    that setting would never get to an answer. Then the first rule of the table that fits the words; `rng` varies the
    wording of greetings only.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng if rng is not None else random.Random(0)

    async def reply(self, request: BrainRequest) -> BrainReply:
        """The answer, without delay."""
        talk = Talk.of(request)
        if talk.outputs:
            return BrainReply((Say(" ".join(f"{name} says: {output}." for name, output in talk.outputs)),))
        demanded = words_demanded(request)
        if demanded is not None:
            return BrainReply((Say(demanded),))
        calls = calls_wanted(talk, request)
        if calls:
            return BrainReply(tuple(CallFunction(name, json.dumps(arguments)) for name, arguments in calls))
        return BrainReply((Say(self._words(talk)),))

    def _words(self, talk: Talk) -> str:
        if talk.unprompted:
            return opening_words(talk)
        seen = ""
        if talk.images:
            seen = "I see your image." if talk.images == 1 else f"I see your {talk.images} images."
            if not talk.text:
                return seen
        for pattern, answer in RULES:
            match = pattern.search(talk.text)
            words = answer(match, talk, self._rng) if match else None
            if words is not None:
                return f"{seen} {words}".strip()
        raise AssertionError("the last rule answers everything")


def calls_wanted(talk: Talk, request: BrainRequest) -> list[Call]:
    text = talk.text
    functions = functions_of(request.tools)
    choice = request.tool_choice
    if not functions or choice == "none":
        return []
    if isinstance(choice, Mapping) and choice.get("name") is None:
        # Some tool of an MCP server.
        functions = [function for function in functions if function.get("server_label") == choice.get("server_label")]
        return (calls_for(text, functions) or [call_for(text, function) for function in functions])[:1]
    if isinstance(choice, Mapping):
        return [call_for(text, function) for function in functions if function["name"] == choice["name"]]
    calls = calls_for(text, functions)
    if choice == "required" and not calls:
        calls = [call_for(text, functions[0])]
    return calls if request.parallel_tool_calls else calls[:1]


@attrs.frozen(kw_only=True)
class Talk:
    """What the rules look at."""

    instructions: str
    unprompted: bool
    """There is no user message: a response was asked for out of the blue."""
    text: str
    """The words of the last user message."""
    images: int
    last_answer: str
    outputs: tuple[tuple[str, str], ...]
    """Name and output of the functions that ran since the last user message."""

    @classmethod
    def of(cls, request: BrainRequest) -> Talk:
        items = request.items
        last_user = max((n for n, item in enumerate(items) if item.get("role") == "user"), default=-1)
        asked = items[last_user] if last_user >= 0 else {}
        answers = [text_of(item) for item in items if item.get("role") == "assistant"]
        return cls(
            instructions=request.instructions,
            unprompted=not asked,
            text=text_of(asked),
            images=sum(part.get("type") == "input_image" for part in content_of(asked)),
            last_answer=answers[-1] if answers else "",
            outputs=_untold_outputs(items, since=last_user + 1),
        )


def _untold_outputs(items: Sequence[Mapping[str, Any]], *, since: int) -> tuple[tuple[str, str], ...]:
    names = {item.get("call_id"): item.get("name") for item in items if item.get("type") == "function_call"}
    asked = {item.get("id"): item.get("name") for item in items if item.get("type") == "mcp_approval_request"}
    outputs: list[tuple[str, str]] = []
    for item in items[since:]:
        if item.get("type") == "mcp_call":
            error = (item.get("error") or {}).get("message", "")
            outputs.append((str(item.get("name")), str(item.get("output") or error).rstrip(".")))
        elif item.get("type") == "mcp_approval_response" and not item.get("approve"):
            outputs.append((asked.get(item.get("approval_request_id")) or "The tool", "I was not allowed to"))
        elif item.get("type") == "function_call_output":
            name = names.get(item.get("call_id")) or "The function"
            outputs.append((name, str(item.get("output", "")).rstrip(".")))
        elif item.get("role") == "assistant":
            outputs.clear()  # an answer behind an output has told it
    return tuple(outputs)


def content_of(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return item.get("content") or []


def text_of(item: Mapping[str, Any]) -> str:
    parts = (part.get("text") or part.get("transcript") or "" for part in content_of(item))
    return " ".join(part.strip() for part in parts if part.strip())


# ---- the table of rules ---------------------------------------------------------------------------------------------

Answer = Callable[[re.Match[str], Talk, random.Random], str | None]

_GREETINGS = ("Hello! How can I help you?", "Hello! It is good to hear from you.", "Hello! What can I do for you?")
_MOST_COUNTED = 1000
_STORY = (
    "Once upon a time there was a small lighthouse at the end of a long road.",
    "Every evening its keeper climbed the hundred and ten steps, lit the lamp, and wrote down the weather.",
    "One night a storm came up that was louder than all the storms in the book.",
    "The lamp went out, and far away a ship began to turn towards the rocks.",
    "The keeper had no more oil, but she had a mirror, a candle, and very steady hands.",
    "She held the candle to the mirror, and the little light went out over the water, once every ten seconds.",
    "On the ship, a boy who could not sleep was counting the seconds between the flashes.",
    "He woke the captain, the captain turned the wheel, and the rocks went by on the left, close and quiet.",
    "In the morning the sea was flat, and the ship sent over a barrel of oil and a basket of oranges.",
    "The keeper wrote in the book: wind from the west, some clouds, and a very good breakfast.",
    "And if the candle has not burnt down, she is still holding it today.",
)


_IDENTITY = re.compile(r"\b(?:you are|you're|your name is)\s+(?:called |named )?([^.,;:!?\n]+)", re.IGNORECASE)
TO_BE_SAID = re.compile(r"\bsay\b[^\"“]*[\"“]([^\"”]+)[\"”]", re.IGNORECASE)


def identity(talk: Talk) -> str:
    found = _IDENTITY.search(talk.instructions)
    return f"I am {found[1].strip()}." if found else "I am a small brain made of rules, and I have no name."


def words_demanded(request: BrainRequest) -> str | None:
    """What the instructions of this response alone want said, unless a function is demanded of it."""
    if not request.own_instructions or request.tool_choice not in ("auto", "none"):
        return None
    wanted = TO_BE_SAID.search(request.instructions)
    return wanted[1] if wanted else None


def opening_words(talk: Talk) -> str:
    wanted = TO_BE_SAID.search(talk.instructions)
    return wanted[1] if wanted else f"Hello! {identity(talk)}"


def _greet(match: re.Match[str], talk: Talk, rng: random.Random) -> str:
    return rng.choice(_GREETINGS)


def _introduce(match: re.Match[str], talk: Talk, rng: random.Random) -> str:
    return identity(talk)


def _count(match: re.Match[str], talk: Talk, rng: random.Random) -> str | None:
    target = re.search(r"\d+", with_digits(match["upto"]))
    if target is None:
        return None
    return ", ".join(str(n) for n in range(1, min(int(target[0]), _MOST_COUNTED) + 1)) + "."


_OPERATORS: Mapping[str, tuple[str, Callable[[float, float], float]]] = {
    "plus": ("plus", lambda a, b: a + b),
    "+": ("plus", lambda a, b: a + b),
    "minus": ("minus", lambda a, b: a - b),
    "-": ("minus", lambda a, b: a - b),
    "times": ("times", lambda a, b: a * b),
    "multiplied by": ("times", lambda a, b: a * b),
    "*": ("times", lambda a, b: a * b),
    "x": ("times", lambda a, b: a * b),
    "divided by": ("divided by", lambda a, b: a / b),
    "/": ("divided by", lambda a, b: a / b),
}
_SUM = re.compile(rf"(?<![\w.])({NUMBER})\s*({'|'.join(map(re.escape, _OPERATORS))})\s*({NUMBER})(?!\w)", re.IGNORECASE)


def _calculate(match: re.Match[str], talk: Talk, rng: random.Random) -> str | None:
    found = _SUM.search(with_digits(talk.text))
    if found is None:
        return None
    name, operation = _OPERATORS[found[2].lower()]
    left, right = float(found[1]), float(found[3])
    if name == "divided by" and right == 0:
        return "Nobody can divide by zero."
    return f"{plain_number(left)} {name} {plain_number(right)} is {plain_number(operation(left, right))}."


def _count_words(match: re.Match[str], talk: Talk, rng: random.Random) -> str:
    quoted = re.search(r"[\"“](.+)[\"”]|:\s*(.+)", talk.text)
    text = (quoted[1] or quoted[2]) if quoted else talk.text
    words = len(text.split())
    return f"That is {words} word{'s' if words != 1 else ''}."


def _repeat(match: re.Match[str], talk: Talk, rng: random.Random) -> str | None:
    return match["words"].strip()


def _again(match: re.Match[str], talk: Talk, rng: random.Random) -> str | None:
    return talk.last_answer or None


def _noise(match: re.Match[str], talk: Talk, rng: random.Random) -> str:
    if match["kind"] == "silence":
        return f"I heard nothing for {match['length']} seconds. Are you still there?"
    return f"I heard you speak for {match['length']} seconds, but I cannot make out words."


def echo(match: re.Match[str], talk: Talk, rng: random.Random) -> str:
    if not talk.text:
        return "I heard you, but I could not make out any words."
    verb = "asked" if talk.text.endswith("?") else "said"
    return f"You {verb}: {talk.text}"


def always(words: str) -> Answer:
    return lambda match, talk, rng: words


def rule(pattern: str, answer: Answer) -> tuple[re.Pattern[str], Answer]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL), answer


# The first rule whose pattern is in the text and whose answer is not None wins.
RULES: Sequence[tuple[re.Pattern[str], Answer]] = (
    rule(r"^\((?P<kind>speech|silence), (?P<length>[\d.]+) s\)$", _noise),
    rule(r"\bhow many words\b|\bcount the words\b", _count_words),
    rule(r"\bcount (?:up )?(?:from \w+ )?(?:up )?to (?P<upto>[\w -]+)", _count),
    rule(r"\b(?:say|repeat|read)\b[^\"“]*[\"“](?P<words>[^\"”]+)[\"”]", _repeat),
    rule(r"\b(?:repeat after me|repeat|say exactly|say the words?)[:,]\s*(?P<words>.+)", _repeat),
    rule(r"\brepeat (?:that|it|yourself|please)\b|\bsay (?:that|it) again\b", _again),
    rule(r"\b(?:story|long (?:answer|text|speech))\b", always(" ".join(_STORY))),
    rule(r"\bwhat(?:'s| is)\b|\bhow much\b|\b(?:calculate|compute|plus|minus|times|divided|multiplied)\b", _calculate),
    rule(r"^[\s\d.x+*/-]+=?[\s?]*$", _calculate),
    rule(r"\bwho are you\b|\byour name\b|\bwhat are you\b|\bintroduce yourself\b", _introduce),
    rule(r"\bsay (?:hello|hi)\b|\bgreet\b", _greet),
    rule(r"\bhow are you\b", always("I am fine, thank you. How are you?")),
    rule(r"^(?:oh,? )?(?:hello|hi|hey|good (?:morning|afternoon|evening|day))(?:,? \w+){0,2}[.?!]*$", _greet),
    rule(r"\b(?:thanks|thank you)\b", always("You are welcome.")),
    rule(r"\b(?:good ?bye|bye)\b", always("Goodbye!")),
    rule(r"", echo),
)
