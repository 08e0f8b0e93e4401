"""Facts that the user has stated in this conversation, and answers to questions about them.

Nothing is kept between answers: the conversation that comes with each request is read again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from trealtime.emulator.dialogue.language import LONGEST_READ, listed

__all__ = ["Memory"]

_END = r"(?=[.,;!?]|\s+(?:and|but)\b|$)"
_NAME = r"(?P<name>(?-i:[A-Z])[\w'-]*(?: (?-i:[A-Z])[\w'-]*)*)"

_VERBS = r"live in|come from|work (?:for|at|as|in)|like|love|hate"

# Patterns of facts; `about` is the subject, `value` the fact.
_NOTE = re.compile(r"\bremember (?:that )?(?P<note>[^.;!?]{1,300})", re.IGNORECASE)
_TOLD: Sequence[re.Pattern[str]] = (
    *(
        re.compile(pattern, re.IGNORECASE)
        for pattern in (
            r"\b(?:my name(?:'s| is)|call me) (?P<said_name>[\w'-]+(?: (?-i:[A-Z])[\w'-]*)*)",
            rf"\b(?:i am called|i'm called|this is|i am|i'm) {_NAME}",
            rf"\bmy (?P<about>[\w' -]{{1,40}}?)(?:'s| is| are) (?P<value>[^.,;!?]{{1,100}}?){_END}",
            rf"\bi (?P<verb>{_VERBS}) (?P<value>[^.,;!?]{{1,100}}?){_END}",
        )
    ),
    _NOTE,
)
_NO_NAMES = frozenset({"I", "Not", "Sorry", "Fine", "Ok", "Okay", "The", "A", "My"})

_ASKED_NAME = re.compile(
    r"\b(?:what(?:'s| is| was)|(?:remember|know|tell me|say)(?: \w+)?) my name\b|\bwho am i\b", re.I
)
_ASKED_ALL = re.compile(
    r"\bwhat do you (?:know|remember)(?: about me)?[?.]*$|\bwhat (?:did|have) i (?:tell|told|say|said)\b(?! again)",
    re.I,
)
_ASKED_VERB = re.compile(r"\b(?:where|what|who|for whom) do i (?P<verb>live|come from|work|like|love|hate)\b", re.I)
_ASKED_ABOUT = re.compile(
    r"\b(?:what(?:'s| is| was| are| were)|(?:who|when|where)(?:'s| is)|tell me"
    r"|do you (?:remember|know)(?: what| who| when| where)?) "
    r"my (?P<about>[\w' -]{1,60}?)(?: is| was| are)?[?.!]*$",
    re.I,
)
_ELSEWHERE = re.compile(r"who|when|where", re.I)


@attrs.define
class Memory:
    """Facts about one user: their `name`, what they said of "my ..." (`facts`) and of "I ..." (`verbs`), `notes`."""

    name: str | None = None
    facts: dict[str, str] = attrs.field(factory=dict)
    verbs: dict[str, str] = attrs.field(factory=dict)
    notes: list[str] = attrs.field(factory=list)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Memory:
        """Collect the facts in `texts`, oldest first. A later fact replaces an earlier one."""
        memory = cls()
        for text in texts:
            memory.learn(text)
        return memory

    def learn(self, text: str) -> str | None:
        """Take in the facts in `text`; return the reply to them, or None when it has none."""
        text = text[:LONGEST_READ]
        if text.rstrip().endswith("?"):
            return None
        replies: list[str] = []
        for pattern in _TOLD:
            if pattern is _NOTE and replies:
                break  # it has been understood already
            told = (self._keep(match.groupdict()) for match in pattern.finditer(text))
            replies += [reply for reply in told if reply is not None]
        return replies[0] if replies else None

    def answer(self, text: str) -> str | None:
        """Return the answer to a question about the facts; None when `text` is no such question."""
        text = text[:LONGEST_READ]
        if _ASKED_NAME.search(text):
            return f"Your name is {self.name}." if self.name else "You have not told me your name yet."
        if verb := _ASKED_VERB.search(text):
            told = next((known for known in self.verbs if known.startswith(verb["verb"].lower())), None)
            return f"You {told} {self.verbs[told]}." if told else "You have not told me that yet."
        if about := _ASKED_ABOUT.search(text):
            subject = about["about"].lower().strip()
            known = self.facts.get(subject)
            if known is None and _ELSEWHERE.match(about[0]):
                return None  # "where is my order?" is a question for a function
            return f"Your {subject} is {known}." if known else f"You have not told me about your {subject} yet."
        if _ASKED_ALL.search(text):
            return self._all()
        return None

    def _keep(self, told: dict[str, str | None]) -> str | None:
        if name := told.get("said_name") or told.get("name"):
            name = name[:1].upper() + name[1:]
            if name in _NO_NAMES:
                return None
            self.name = name
            return f"Nice to meet you, {name}."
        if note := told.get("note"):
            self.notes.append(_to_you(note))
            return "I will remember that."
        value = _to_you((told.get("value") or "").strip())
        if not value:
            return None
        if verb := told.get("verb"):
            self.verbs[verb.lower()] = value
            return f"You {verb.lower()} {value}. I will remember that."
        about = (told.get("about") or "").lower().strip()
        if about == "name":
            return None  # not spelled as a name
        self.facts[about] = value
        return f"Your {about} is {value}. I will remember that."

    def _all(self) -> str:
        told = [f"your name is {self.name}"] if self.name else []
        told += [f"your {about} is {value}" for about, value in self.facts.items()]
        told += [f"you {verb} {value}" for verb, value in self.verbs.items()]
        told += self.notes
        return f"You told me that {listed(told)}." if told else "You have told me nothing about yourself yet."


def _to_you(words: str) -> str:
    """Words of the user, as they are said back."""
    swapped = {"i": "you", "my": "your", "me": "you", "am": "are", "mine": "yours"}
    return " ".join(swapped.get(word.lower(), word) for word in words.split())
