"""One request as the rules see it: the question, the outputs of functions, the demands of the instructions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from trealtime.emulator.brain import BrainRequest, Part, Say
from trealtime.emulator.dialogue.language import LONGEST_READ

__all__ = ["Turn", "begun_answer", "content_of", "recent", "rest_of", "text_of"]

_MOST_ITEMS = 200
_MOST_CHARACTERS = 6_000
_IDENTITY = re.compile(r"\b(?:you are|you're|your name is)\s+(?:called |named )?([^.,;:!?\n]+)", re.IGNORECASE)
_TO_BE_SAID = re.compile(r"\bsay\b[^\"“]*[\"“]([^\"”]+)[\"”]", re.IGNORECASE)


def content_of(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The content parts of an item in wire form."""
    return item.get("content") or []


def text_of(item: Mapping[str, Any]) -> str:
    """The words of a message, typed or heard."""
    parts = (part.get("text") or part.get("transcript") or "" for part in content_of(item))
    return " ".join(part.strip() for part in parts if part.strip())


def recent(items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return the newest of `items`, as many as the rules read: an answer must not take longer as the call goes on."""
    begin, characters = len(items), 0
    while begin > max(0, len(items) - _MOST_ITEMS):
        item = items[begin - 1]
        if item.get("role") == "user":
            characters += min(len(text_of(item)), LONGEST_READ)
            if characters > _MOST_CHARACTERS:
                break
        begin -= 1
    return items[begin:]


def begun_answer(items: Sequence[Mapping[str, Any]]) -> tuple[str, Sequence[Mapping[str, Any]]]:
    """Return the words of the assistant's messages that `items` end with, and the items before these messages."""
    end = len(items)
    while end and items[end - 1].get("role") == "assistant":
        end -= 1
    return " ".join(filter(None, map(text_of, items[end:]))), items[:end]


def rest_of(parts: Sequence[Part], begun: str) -> str:
    """Return what is left of an answer of which `begun` has been said; empty where it does not begin so, or has been
    said whole. The last word of `begun` may be cut: it is said again."""
    if len(parts) != 1 or not isinstance(parts[0], Say):
        return ""
    whole, said = parts[0].text.split(), [_bare(word) for word in begun.split()]
    if not said or len(said) > len(whole) or [_bare(word) for word in whole[: len(said) - 1]] != said[:-1]:
        return ""
    last = _bare(whole[len(said) - 1])
    if last == said[-1]:
        return " ".join(whole[len(said) :])
    return " ".join(whole[len(said) - 1 :]) if last.startswith(said[-1]) else ""


def _bare(word: str) -> str:
    return word.rstrip(".,;:!?…").lower()


@attrs.frozen(kw_only=True)
class Turn:
    """The input that a response answers."""

    whole: str
    """All words of the message that is asked."""

    images: int
    unprompted: bool
    """Whether the response has no user message to answer."""

    request_of_app: str = ""
    """The words of a system message that came after the last user message."""

    last_answer: str
    outputs: tuple[tuple[str, str], ...]
    """Names and outputs of the functions that ran since, in order, those in no answer yet."""

    instructions: str
    own_instructions: bool = False

    @classmethod
    def of(cls, request: BrainRequest) -> Turn:
        """Read the newest items of `request`."""
        items = recent(request.items)
        last_user = max((n for n, item in enumerate(items) if item.get("role") == "user"), default=-1)
        asked = items[last_user] if last_user >= 0 else {}
        answers = [text_of(item) for item in items if item.get("role") == "assistant"]
        messages = [item for item in items[last_user + 1 :] if item.get("type", "message") == "message"]
        newest = messages[-1] if messages else {}
        return cls(
            whole=text_of(asked),
            images=sum(part.get("type") == "input_image" for part in content_of(asked)),
            unprompted=not asked,
            request_of_app=text_of(newest) if newest.get("role") == "system" else "",
            last_answer=answers[-1] if answers else "",
            outputs=_untold_outputs(items, since=last_user + 1),
            instructions=request.instructions[:LONGEST_READ],
            own_instructions=request.own_instructions,
        )

    @property
    def text(self) -> str:
        """The part that the rules search: the beginning of the message."""
        return self.whole[:LONGEST_READ]

    def asking(self, text: str) -> Turn:
        """This turn with other words."""
        return attrs.evolve(self, whole=text)

    # ---- instructions -------------------------------------------------------------------------------------------

    @property
    def to_be_said(self) -> str | None:
        """Words that the instructions want said: ``Say "One moment."``."""
        wanted = _TO_BE_SAID.search(self.instructions)
        return wanted[1] if wanted else None

    @property
    def name(self) -> str | None:
        """The name or role that the instructions give the agent."""
        found = _IDENTITY.search(self.instructions)
        return found[1].strip() if found else None

    @property
    def identity(self) -> str:
        """The agent, introducing itself."""
        return f"I am {self.name}." if self.name else "I am a small brain made of rules, and I have no name."


def _untold_outputs(items: Sequence[Mapping[str, Any]], *, since: int) -> tuple[tuple[str, str], ...]:
    names = {item.get("call_id"): item.get("name") for item in items if item.get("type") == "function_call"}
    asked = {item.get("id"): item.get("name") for item in items if item.get("type") == "mcp_approval_request"}
    outputs: list[tuple[str, str]] = []
    for item in items[since:]:
        if item.get("type") == "mcp_call":
            error = (item.get("error") or {}).get("message", "")
            outputs.append((str(item.get("name")), str(item.get("output") or error)))
        elif item.get("type") == "mcp_approval_response" and not item.get("approve"):
            name = asked.get(item.get("approval_request_id")) or "the tool"
            outputs.append((name, f"I was not allowed to use {name}."))
        elif item.get("type") == "function_call_output":
            outputs.append((names.get(item.get("call_id")) or "function", str(item.get("output", ""))))
        elif item.get("role") == "assistant":
            outputs.clear()  # an answer behind an output has reported it
    return tuple(outputs)
