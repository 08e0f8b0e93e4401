"""`TalkingBrain`: rules that hold a conversation.

Theory of operation: an answer is the first of these that there is. Everything comes from the request, so one brain
serves any number of sessions and forgets nothing that the server remembers.

1. What functions have returned is told; who has taken over from another agent greets, and takes up what was asked for.
2. What the instructions of this response alone want said, is said; a response that nobody's message asked for opens.
3. Functions that ``tool_choice`` demands are called.
4. Functions that the user's words point at are called, or what is missing is asked for (`slots`).
5. A handoff is called that the words are about.
6. Small talk (`small_talk`).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

import attrs

from trealtime.emulator.brain import (
    TO_BE_SAID,
    BrainReply,
    BrainRequest,
    CallFunction,
    Part,
    Say,
    Talk,
    calls_wanted,
    identity,
    opening_words,
    text_of,
    words_demanded,
)
from trealtime.emulator.brain_tools import call_for, functions_of
from trealtime.emulator.brain_words import content_words
from trealtime.emulator.talking.memory import Memory
from trealtime.emulator.talking.slots import Desk, arguments_of
from trealtime.emulator.talking.small_talk import Topic, small_talk, stands_alone
from trealtime.emulator.talking.verbalizer import tell_output

__all__ = ["TalkingBrain"]

_HANDOFF = re.compile(r"^transfer_to_", re.IGNORECASE)
_TALK_TO = re.compile(
    r"\b(?:speak|talk|connect|transfer|put me through|hand (?:me )?over|switch|pass me|forward|get me)\b|\bi want\b",
    re.IGNORECASE,
)
_NO_TOPIC = frozenset("transfer agent desk team department service specialist handle request".split())  # noqa: SIM905


class TalkingBrain:
    """Answers by rules, and remembers the conversation. Not a language model, and it does not pretend to be one.

    It remembers what the user has said of themselves, calculates, tells the time by the emulator's clock (in
    `timezone`, by default that of the machine), makes small talk, asks for what a function needs and the user has not
    said, takes corrections, asks for a yes where the instructions or the function's description say "confirm", tells
    what functions have returned in sentences, and hands over. `rng` varies its wording only.
    """

    def __init__(self, rng: random.Random | None = None, *, timezone: tzinfo | None = None) -> None:
        self._rng = rng if rng is not None else random.Random(0)
        self._timezone = timezone

    async def reply(self, request: BrainRequest) -> BrainReply:
        """The answer, without delay."""
        talk = Talk.of(request)
        if talk.outputs:
            return BrainReply(self._tell(talk, request))
        demanded = words_demanded(request)
        if demanded is not None:
            return BrainReply((Say(demanded),))
        if talk.unprompted:
            return BrainReply((Say(opening_words(talk)),))
        if request.tool_choice not in ("auto", "none") and (calls := calls_wanted(talk, request)):
            return BrainReply(tuple(_call(name, arguments) for name, arguments in calls))
        return BrainReply(self._answer(talk, request, handoffs=request.tool_choice != "none"))

    def _tell(self, talk: Talk, request: BrainRequest) -> tuple[Part, ...]:
        told = [(name, output) for name, output in talk.outputs if not _HANDOFF.search(name)]
        parts: list[Part] = [Say(" ".join(tell_output(name, output) for name, output in told))] if told else []
        taken_over = [output for name, output in talk.outputs if _HANDOFF.search(name)]
        if taken_over and (name := _assistant_in(taken_over[-1])):
            parts.append(Say(_greeting(name, talk)))
            # What made the other agent hand over may be something that this one can do.
            parts += [part for part in self._answer(talk, request, handoffs=False, chats=False) if part not in parts]
        elif taken_over:
            parts.append(Say(tell_output("handoff", taken_over[-1])))
        return tuple(parts)

    def _answer(self, talk: Talk, request: BrainRequest, *, handoffs: bool, chats: bool = True) -> tuple[Part, ...]:
        offered = [] if request.tool_choice == "none" else functions_of(request.tools)
        functions = [function for function in offered if not _HANDOFF.search(function["name"])]
        texts = [text_of(item) for item in request.items if item.get("role") == "user"]
        memory = Memory.of(texts)
        topic = Topic(talk=talk, memory=memory, now=self._now(request), functions=offered, rng=self._rng)
        desk = Desk(
            functions=functions,
            instructions=request.instructions,
            is_aside=lambda text: stands_alone(_about(topic, text)),
        )
        handoff = _handoff_meant(talk.text, offered) if handoffs else None
        if handoff is not None and _TALK_TO.search(talk.text):
            return (_call(*call_for(talk.text, handoff)),)
        asked, called = desk.read(request.items)
        if asked and not called:
            first = asked[0]
            if first.what == "call":
                calls = tuple(_call(each.form.function["name"], arguments_of(each.form)) for each in asked)
                return calls if request.parallel_tool_calls else calls[:1]
            if first.what == "aside":
                return (Say(f"{small_talk(topic)} {desk.words_for(first)}"),)
            return (Say(desk.words_for(first)),)
        if handoff is not None:
            return (_call(*call_for(talk.text, handoff)),)
        return (Say(small_talk(topic)),) if chats else ()

    def _now(self, request: BrainRequest) -> datetime | None:
        if request.unix_time_s is None:
            return None
        return datetime.fromtimestamp(request.unix_time_s, self._timezone).astimezone(self._timezone)


def _about(topic: Topic, text: str) -> Topic:
    return attrs.evolve(topic, talk=attrs.evolve(topic.talk, text=text))


def _call(name: str, arguments: Mapping[str, object]) -> CallFunction:
    return CallFunction(name, json.dumps(arguments))


def _handoff_meant(text: str, functions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The handoff to the agent, or about the topic, that `text` shares most words with."""
    said = set(content_words(text))

    def shared(handoff: Mapping[str, Any]) -> tuple[int, int]:
        names = set(content_words(_HANDOFF.sub("", handoff["name"]))) - _NO_TOPIC
        topics = set(content_words(handoff.get("description") or "")) - _NO_TOPIC
        return len(said & names), len(said & topics)

    handoffs = [function for function in functions if _HANDOFF.search(function["name"])]
    best = max(handoffs, key=shared, default=None)
    return best if best is not None and any(shared(best)) else None


def _assistant_in(output: str) -> str | None:
    """The agent that an output of a handoff names: ``{"assistant": "Billing"}``."""
    try:
        value = json.loads(output)
    except ValueError:
        return None
    name = value.get("assistant") if isinstance(value, dict) else None
    return name if isinstance(name, str) and name else None


def _greeting(name: str, talk: Talk) -> str:
    wanted = TO_BE_SAID.search(talk.instructions)
    if wanted:
        return wanted[1]
    who = identity(talk)
    return f"Hello! {who if who.startswith('I am') and 'rules' not in who else f'This is {name}.'} How can I help?"
