"""The answer where no function is asked for: commands, memory, sums, the clock, small talk, and at last an echo.

Each rule is a pattern and an answer. The first rule of the tables whose pattern is in the message, and whose answer is
not None, gives the words.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from trealtime.emulator.dialogue.language import listed, spoken_name, sum_in, with_digits
from trealtime.emulator.dialogue.memory import Memory
from trealtime.emulator.dialogue.turn import Turn

__all__ = ["Topic", "is_known", "small_talk", "stands_alone"]


@attrs.frozen(kw_only=True)
class Topic:
    """The material of the rules: the turn, what is remembered, the time, the functions on offer."""

    turn: Turn
    memory: Memory
    now: datetime | None
    functions: Sequence[Mapping[str, Any]]
    rng: random.Random

    @property
    def text(self) -> str:
        """The words that the rules search."""
        return self.turn.text

    def about(self, text: str) -> Topic:
        """The same for other words."""
        return attrs.evolve(self, turn=self.turn.asking(text))


_Answer = Callable[[re.Match[str], Topic], str | None]
_Rule = tuple[re.Pattern[str], _Answer]

_JOKES = (
    "Why did the packet cross the network? Because the socket was open.",
    "I told my microphone a joke. It got feedback.",
    "There are two hard things in telephony: hanging up, being misheard, and counting.",
)
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
_ONLY_RULES = (
    "I am no language model and no person. I am a table of rules that plays the service's part, so that voice agents "
    "can be tried without one."
)
_GREETINGS = (
    "Hello{}! How can I help you?",
    "Hello{}! It is good to hear from you.",
    "Hello{}! What can I do for you?",
)
_MOST_COUNTED = 1_000


def _noise(match: re.Match[str], topic: Topic) -> str:
    if match["kind"] == "silence":
        return f"I heard nothing for {match['length']} seconds. Are you still there?"
    return f"I heard you speak for {match['length']} seconds, but I cannot make out words."


def _count_words(match: re.Match[str], topic: Topic) -> str:
    quoted = re.search(r"[\"“](.+)[\"”]|:\s*(.+)", topic.text, re.DOTALL)
    words = len(((quoted[1] or quoted[2]) if quoted else topic.turn.whole).split())
    return f"That is {words} word{'s' if words != 1 else ''}."


def _count(match: re.Match[str], topic: Topic) -> str | None:
    target = re.search(r"\d+", with_digits(match["upto"]))
    if target is None:
        return None
    last = min(int(target[0]), _MOST_COUNTED)
    return ", ".join(str(n) for n in range(1, last + 1)) + "."


def _repeat(match: re.Match[str], topic: Topic) -> str | None:
    return match["words"].strip()


def _repeat_all(match: re.Match[str], topic: Topic) -> str | None:
    return topic.turn.whole[match.start("words") :].strip()


def _again(match: re.Match[str], topic: Topic) -> str | None:
    return topic.turn.last_answer or None


def _greet(match: re.Match[str], topic: Topic) -> str:
    return topic.rng.choice(_GREETINGS).format(f", {topic.memory.name}" if topic.memory.name else "")


def _introduce(match: re.Match[str], topic: Topic) -> str:
    return topic.turn.identity


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
    return sum_in(topic.text)


def _recall(match: re.Match[str], topic: Topic) -> str | None:
    return topic.memory.answer(topic.text)


def _picture(match: re.Match[str], topic: Topic) -> str | None:
    return "I cannot tell what is in it: I have rules, and no eyes." if topic.turn.images else None


def _same(words: str) -> _Answer:
    return lambda match, topic: words


def _rule(pattern: str, answer: _Answer) -> _Rule:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL), answer


_COMMANDS: Sequence[_Rule] = (
    _rule(r"^\((?P<kind>speech|silence), (?P<length>[\d.]+) s\)$", _noise),
    _rule(r"\bhow many words\b|\bcount the words\b", _count_words),
    _rule(r"\bcount (?:up )?(?:from \w+ )?(?:up )?to (?P<upto>[\w -]+)", _count),
    _rule(r"\b(?:say|repeat|read)\b[^\"“]*[\"“](?P<words>[^\"”]+)[\"”]", _repeat),
    _rule(r"\b(?:repeat after me|repeat|say exactly|say the words?)[:,]\s*(?P<words>.+)", _repeat_all),
    _rule(r"\brepeat (?:that|it|yourself|please)\b|\bsay (?:that|it) again\b", _again),
    _rule(r"\b(?:story|long (?:answer|text|speech))\b", _same(" ".join(_STORY))),
)
# These are answered while the arguments of a function are being asked for, too.
_ASIDES: Sequence[_Rule] = (
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
_CHAT: Sequence[_Rule] = (
    _rule(
        r"\b(?:in|on|see) (?:this|the|my|that) (?:image|picture|photo|screenshot)\b|\bwhat do you see\b|\bdescribe\b"
        r"|\bwhat(?:'s| is) this\b",
        _picture,
    ),
    _rule(r"\bwho are you\b|\byour name\b|\bwhat are you\b|\bintroduce yourself\b", _introduce),
    _rule(r"\bsay (?:hello|hi)\b|\bgreet\b", _greet),
    _rule(r"\bhow are you\b", _same("I am fine, thank you. How are you?")),
    _rule(
        r"^(?:oh,? )?(?:hello|hi|hey|good (?:morning|afternoon|evening|day))(?:,? (?!i\b|my\b)\w+){0,2}[.?!]*$", _greet
    ),
    _rule(r"\b(?:tell|know) (?:me )?(?:a|any|another) jokes?\b", _joke),
    _rule(r"\b(?:thanks|thank you)\b", _same("You are welcome.")),
    _rule(r"^\W*(?:yes|yeah|no|nope|ok(?:ay)?|all right|alright|fine|great|good|i see|sure)\W*$", _same("All right.")),
    _rule(r"\b(?:never ?mind|forget it)\b", _same("All right, never mind.")),
    _rule(r"\b(?:good ?bye|bye|see you)\b", _goodbye),
    _rule(
        r"\bhow(?:'s| is) the weather\b|\bwhat(?:'s| is) the weather\b",
        _same("I cannot look outside: I have no function for that."),
    ),
)


def stands_alone(topic: Topic) -> bool:
    """Return whether the message asks for something that has nothing to do with functions."""
    return _first(_ASIDES, topic) is not None


def is_known(topic: Topic) -> bool:
    """Return whether a rule places the message: it asks for something, and `small_talk` is no echo."""
    return _first((*_COMMANDS, *_ASIDES, *_CHAT), topic) is not None


def small_talk(topic: Topic) -> str:
    """Return the answer to the message; there always is one."""
    seen = ""
    images = topic.turn.images
    if images:
        seen = "I see your image." if images == 1 else f"I see your {images} images."
        if not topic.text:
            return seen
    words = _first((*_COMMANDS, *_ASIDES, *_CHAT), topic) or _unknown(topic)
    return f"{seen} {words}".strip()


def _first(rules: Sequence[_Rule], topic: Topic) -> str | None:
    for pattern, answer in rules:
        match = pattern.search(topic.text)
        if match and (words := answer(match, topic)) is not None:
            return words
    return None


def _unknown(topic: Topic) -> str:
    if not topic.text:
        return "I heard you, but I could not make out any words."
    if learned := Memory().learn(topic.text):
        return learned
    said = topic.turn.whole
    return f"You {'asked' if said.endswith('?') else 'said'}: {said}"
