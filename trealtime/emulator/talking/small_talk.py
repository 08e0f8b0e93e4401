"""What the talking brain says when no function is asked for: memory, sums, the clock, small talk. Rules in a table."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from trealtime.emulator.brain import RULES, Talk, echo
from trealtime.emulator.talking.memory import Memory
from trealtime.emulator.talking.sums import sum_in
from trealtime.emulator.talking.verbalizer import listed, sentence, spoken_name

__all__ = ["Topic", "small_talk", "stands_alone"]


@attrs.frozen(kw_only=True)
class Topic:
    """What the rules look at: the last message (`talk`), what is remembered, the time, the functions on offer."""

    talk: Talk
    memory: Memory
    now: datetime | None
    functions: Sequence[Mapping[str, Any]]
    rng: random.Random


_Answer = Callable[[re.Match[str], Topic], str | None]
_JOKES = (
    "Why did the packet cross the network? Because the socket was open.",
    "I told my microphone a joke. It got feedback.",
    "There are two hard things in telephony: hanging up, being misheard, and counting.",
)
_ONLY_RULES = (
    "I am no language model and no person. I am a table of rules that plays the service's part, so that voice agents "
    "can be tried without one."
)


def _hello(match: re.Match[str], topic: Topic) -> str:
    name = f", {topic.memory.name}" if topic.memory.name else ""
    return topic.rng.choice((f"Hello{name}! How can I help you?", f"Hello{name}! What can I do for you?"))


def _time(match: re.Match[str], topic: Topic) -> str:
    return f"It is {topic.now:%H:%M}." if topic.now else "I have no clock here."


def _date(match: re.Match[str], topic: Topic) -> str:
    return f"Today is {topic.now:%A}, {topic.now.day} {topic.now:%B %Y}." if topic.now else "I have no calendar here."


def _year(match: re.Match[str], topic: Topic) -> str:
    return f"It is {topic.now.year}." if topic.now else "I have no calendar here."


def _goodbye(match: re.Match[str], topic: Topic) -> str:
    return f"Goodbye, {topic.memory.name}!" if topic.memory.name else "Goodbye!"


def _joke(match: re.Match[str], topic: Topic) -> str:
    return topic.rng.choice(_JOKES)


def _abilities(match: re.Match[str], topic: Topic) -> str:
    own = "I can calculate, tell the time, and remember what you tell me in this conversation."
    names = [spoken_name(function["name"]) for function in topic.functions]
    return f"{own} I have functions for this: {listed(names)}." if names else own


def _sum(match: re.Match[str], topic: Topic) -> str | None:
    return sum_in(topic.talk.text)


def _recall(match: re.Match[str], topic: Topic) -> str | None:
    return topic.memory.answer(topic.talk.text)


def _learn(match: re.Match[str], topic: Topic) -> str | None:
    return Memory().learn(topic.talk.text)


def _picture(match: re.Match[str], topic: Topic) -> str | None:
    return "I cannot tell what is in it: I have rules, and no eyes." if topic.talk.images else None


def _same(words: str) -> _Answer:
    return lambda match, topic: words


def _rule(pattern: str, answer: _Answer) -> tuple[re.Pattern[str], _Answer]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL), answer


# What has an answer of its own, also while a function's arguments are being asked for.
_ASIDES: Sequence[tuple[re.Pattern[str], _Answer]] = (
    _rule(r"", _recall),
    _rule(r"\bwhat(?:'s| is)? (?:the )?time\b|\bwhat time is it\b|\btell me the time\b", _time),
    _rule(
        r"\bwhat(?:'s| is)? (?:the date|day|today)\b|\bwhat day is (?:it|today)\b|\btoday's date\b|\bwhich day is it\b",
        _date,
    ),
    _rule(r"\b(?:what|which) year\b", _year),
    _rule(
        r"\bare you (?:an? )?(?:real |actually )?(?:ai|a\.i\.|human|person|robot|bot|machine|(?:large )?language model"
        r"|llm|chat ?gpt|gpt\S*|openai)\b",
        _same(_ONLY_RULES),
    ),
    _rule(r"\b(?:which|what) (?:language )?model are you\b", _same(_ONLY_RULES)),
    _rule(r"\bwhat can you do\b|\bhow can you help\b|^\W*help\W*$|\bwhat are you able\b", _abilities),
    _rule(r"", _sum),
)
_CHAT: Sequence[tuple[re.Pattern[str], _Answer]] = (
    _rule(
        r"\b(?:in|on|see) (?:this|the|my|that) (?:image|picture|photo|screenshot)\b|\bwhat do you see\b|\bdescribe\b"
        r"|\bwhat(?:'s| is) this\b",
        _picture,
    ),
    _rule(
        r"^(?:oh,? )?(?:hello|hi|hey|good (?:morning|afternoon|evening|day))(?:,? (?!i\b|my\b)\w+){0,2}[.?!]*$", _hello
    ),
    _rule(r"\b(?:tell|know) (?:me )?(?:a|any|another) jokes?\b", _joke),
    _rule(r"^\W*(?:yes|yeah|no|nope|ok(?:ay)?|all right|alright|fine|great|good|i see|sure)\W*$", _same("All right.")),
    _rule(r"\b(?:never ?mind|forget it)\b", _same("All right, never mind.")),
    _rule(r"\b(?:good ?bye|bye|see you)\b", _goodbye),
    _rule(
        r"\bhow(?:'s| is) the weather\b|\bwhat(?:'s| is) the weather\b",
        _same("I cannot look outside: nobody gave me a function for that."),
    ),
)
_LEARNING = _rule(r"", _learn)


def stands_alone(topic: Topic) -> bool:
    """Whether the message asks for something that has nothing to do with functions."""
    return _first(_ASIDES, topic) is not None


def small_talk(topic: Topic) -> str:
    """The answer to the message; there always is one."""
    seen = ""
    talk = topic.talk
    if talk.images:
        seen = "I see your image." if talk.images == 1 else f"I see your {talk.images} images."
        if not talk.text:
            return seen
    words = _first((*_ASIDES, *_CHAT), topic) or _by_older_rules(topic) or _unknown(topic)
    return f"{seen} {words}".strip()


def _first(rules: Sequence[tuple[re.Pattern[str], _Answer]], topic: Topic) -> str | None:
    for pattern, answer in rules:
        match = pattern.search(topic.talk.text)
        if match and (words := answer(match, topic)) is not None:
            return words
    return None


def _by_older_rules(topic: Topic) -> str | None:
    """By the rules of `RuleBrain`, but for the echo."""
    for pattern, answer in RULES:
        match = pattern.search(topic.talk.text)
        if match and answer is not echo and (words := answer(match, topic.talk, topic.rng)) is not None:
            return words
    return None


def _unknown(topic: Topic) -> str:
    text = topic.talk.text
    if not text:
        return "I heard you, but I could not make out any words."
    if learned := _first((_LEARNING,), topic):
        return learned
    if text.rstrip().endswith("?"):
        return f"My rules have no answer to that. You asked: {text}"
    return f"You said: {sentence(text)}"
