"""`DialogueBrain`: rules that hold a conversation.

Theory of operation: the answer is the first of these that applies. Everything comes from the request, so one brain
serves any number of sessions and keeps nothing between them.

1. Tell what functions have returned. An agent that has just taken over greets, and takes up what was asked for.
2. Say the words that the instructions of this response alone want said.
3. Do what a system message at the end of the conversation asks, if a rule knows it; else it is context.
4. Open the conversation, if there is no user message yet.
5. Call the functions that ``tool_choice`` demands.
6. Call the functions that the user's words point at, or ask for what is missing (`slots`).
7. Hand over to the agent that the words are about.
8. Small talk (`small_talk`), which ends with an echo.

Before all that: where the conversation ends with the beginning of an answer, as after a connection that was lost, only
the rest of that answer is said.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

import attrs

from trealtime.emulator.brain import BrainReply, BrainRequest, CallFunction, Part, Say
from trealtime.emulator.dialogue.functions import Call, call_for, calls_for, functions_of
from trealtime.emulator.dialogue.language import content_words, tell_output
from trealtime.emulator.dialogue.memory import Memory
from trealtime.emulator.dialogue.slots import SlotFiller, arguments_of
from trealtime.emulator.dialogue.small_talk import Topic, is_known, small_talk, stands_alone
from trealtime.emulator.dialogue.turn import Turn, begun_answer, recent, rest_of, text_of

__all__ = ["DialogueBrain"]

_HANDOFF = re.compile(r"^transfer_to_", re.IGNORECASE)
_TALK_TO = re.compile(
    r"\b(?:speak|talk|connect|transfer|put me through|hand (?:me )?over|switch|pass me|forward|get me)\b|\bi want\b",
    re.IGNORECASE,
)
_NO_TOPIC = frozenset("transfer agent desk team department service specialist handle request".split())  # noqa: SIM905


class DialogueBrain:
    """A `Brain` that answers by rules and remembers the conversation. It is no language model and does not pretend.

    It calculates, tells the time by the emulator's clock (in `timezone`, by default that of the machine), remembers
    what users say of themselves, counts, repeats, makes small talk, asks for the arguments of a function that the user
    has not given, takes corrections, asks for a yes where the instructions or the function's description say
    "confirm", tells the outputs of functions in sentences, hands over, and echoes what it cannot place. `rng` varies
    its wording only. It reads the newest 200 items, of the user's messages the newest 6,000
    characters, and of each message the first 600.
    """

    def __init__(self, rng: random.Random | None = None, *, timezone: tzinfo | None = None) -> None:
        self._rng = rng if rng is not None else random.Random(0)
        self._timezone = timezone

    async def reply(self, request: BrainRequest) -> BrainReply:
        """Return the answer, or the rest of one that has been begun. Waits for nothing."""
        begun, before = begun_answer(request.items)
        if begun:
            whole = self._reply(attrs.evolve(request, items=before))
            rest = rest_of(whole.parts, begun)
            if rest:
                return BrainReply((Say(rest),))
        return self._reply(request)

    def _reply(self, request: BrainRequest) -> BrainReply:
        turn = Turn.of(request)
        free = request.tool_choice in ("auto", "none")
        if turn.outputs:
            return BrainReply(self._tell(turn, request))
        if turn.own_instructions and free and turn.to_be_said is not None:
            return BrainReply((Say(turn.to_be_said),))
        if turn.request_of_app:
            asked = turn.asking(turn.request_of_app)
            if answer := self._obey(asked, request):
                return BrainReply(answer)
        if turn.unprompted:
            return BrainReply((Say(turn.to_be_said or f"Hello! {turn.identity}"),))
        if not free and (calls := _calls_demanded(turn.text, request)):
            return BrainReply(tuple(_call(name, arguments) for name, arguments in calls))
        return BrainReply(self._answer(turn, request, handoffs=request.tool_choice != "none"))

    def _tell(self, turn: Turn, request: BrainRequest) -> tuple[Part, ...]:
        told = [(name, output) for name, output in turn.outputs if not _HANDOFF.search(name)]
        parts: list[Part] = [Say(" ".join(tell_output(name, output) for name, output in told))] if told else []
        taken_over = [output for name, output in turn.outputs if _HANDOFF.search(name)]
        if taken_over and (name := _assistant_in(taken_over[-1])):
            parts.append(Say(_greeting(name, turn)))
            # This agent may be able to do what made the other one hand over.
            parts += [part for part in self._answer(turn, request, handoffs=False, chats=False) if part not in parts]
        elif taken_over:
            parts.append(Say(tell_output("handoff", taken_over[-1])))
        return tuple(parts)

    def _obey(self, turn: Turn, request: BrainRequest) -> tuple[Part, ...]:
        """Do what the app asks in a system message; empty where no rule knows it."""
        topic = self._topic(turn, request)
        functions = [] if request.tool_choice == "none" else topic.functions
        if functions and (calls := calls_for(turn.text, functions)):
            calls = calls if request.parallel_tool_calls else calls[:1]
            return tuple(_call(name, arguments) for name, arguments in calls)
        return (Say(small_talk(topic)),) if is_known(topic) else ()

    def _answer(self, turn: Turn, request: BrainRequest, *, handoffs: bool, chats: bool = True) -> tuple[Part, ...]:
        topic = self._topic(turn, request)
        offered = [] if request.tool_choice == "none" else topic.functions
        filler = SlotFiller(
            functions=[function for function in offered if not _HANDOFF.search(function["name"])],
            instructions=turn.instructions,
            is_aside=lambda text: stands_alone(topic.about(text)),
        )
        handoff = _handoff_meant(turn.text, offered) if handoffs else None
        if handoff is not None and _TALK_TO.search(turn.text):
            return (_call(*call_for(turn.text, handoff)),)
        steps, called = filler.read(recent(request.items))
        if steps and not called:
            first = steps[0]
            if first.what == "call":
                calls = tuple(_call(each.form.function["name"], arguments_of(each.form)) for each in steps)
                return calls if request.parallel_tool_calls else calls[:1]
            if first.what == "aside":
                return (Say(f"{small_talk(topic)} {filler.words_for(first)}"),)
            return (Say(filler.words_for(first)),)
        if handoff is not None:
            return (_call(*call_for(turn.text, handoff)),)
        return (Say(small_talk(topic)),) if chats else ()

    def _topic(self, turn: Turn, request: BrainRequest) -> Topic:
        texts = [text_of(item) for item in recent(request.items) if item.get("role") == "user"]
        functions = [] if request.tool_choice == "none" else functions_of(request.tools)
        return Topic(turn=turn, memory=Memory.of(texts), now=self._now(request), functions=functions, rng=self._rng)

    def _now(self, request: BrainRequest) -> datetime | None:
        if request.unix_time_s is None:
            return None
        return datetime.fromtimestamp(request.unix_time_s, self._timezone).astimezone(self._timezone)


def _call(name: str, arguments: Mapping[str, object]) -> CallFunction:
    return CallFunction(name, json.dumps(arguments))


def _calls_demanded(text: str, request: BrainRequest) -> list[Call]:
    """The calls that ``tool_choice`` asks for: a tool by name, one of an MCP server's, or with ``required`` the best
    that there is."""
    functions = functions_of(request.tools)
    choice = request.tool_choice
    if isinstance(choice, Mapping):
        if choice.get("name") is not None:
            return [call_for(text, function) for function in functions if function["name"] == choice["name"]]
        of_server = [each for each in functions if each.get("server_label") == choice.get("server_label")]
        return (calls_for(text, of_server) or [call_for(text, function) for function in of_server])[:1]
    if not functions:
        return []
    calls = calls_for(text, functions) or [call_for(text, functions[0])]
    return calls if request.parallel_tool_calls else calls[:1]


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
    except (ValueError, RecursionError):
        return None
    name = value.get("assistant") if isinstance(value, dict) else None
    return name if isinstance(name, str) and name else None


def _greeting(name: str, turn: Turn) -> str:
    return turn.to_be_said or f"Hello! {turn.identity if turn.name else f'This is {name}.'} How can I help?"
