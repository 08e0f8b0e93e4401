"""Assertions about a conversation: the words of user and agent, the calls of tools, the place of a cut.

Each helper returns the item of history that it found, and raises `AssertionError` with the whole conversation when
there is none.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from trealtime.items import (
    AssistantAudio,
    AssistantMessageItem,
    RealtimeItem,
    RealtimeToolCallItem,
    UserMessageItem,
)

__all__ = [
    "ABSENT",
    "Conversation",
    "Words",
    "absent",
    "anything",
    "at",
    "called",
    "describe",
    "differences",
    "heard",
    "interrupted_at",
    "not_called",
    "said",
    "shown",
]


class HasHistory(Protocol):
    """A session, open or closed."""

    @property
    def history(self) -> Sequence[RealtimeItem]:
        """The items of the conversation, in order."""
        ...


Conversation = HasHistory | Sequence[RealtimeItem]
"""A session, or its history."""

Words = str | re.Pattern[str] | Callable[[str], object]
"""A condition on words: contain a text, in any case; match a pattern somewhere; or satisfy a predicate."""

ItemT = TypeVar("ItemT", UserMessageItem, AssistantMessageItem)


def heard(conversation: Conversation, words: Words, *, after: RealtimeItem | None = None) -> UserMessageItem:
    """The agent heard the user say (or write) `words`, later than the item `after`."""
    return _message(conversation, UserMessageItem, words, after, "the user did not say")


def said(conversation: Conversation, words: Words, *, after: RealtimeItem | None = None) -> AssistantMessageItem:
    """The agent said (or wrote) `words`, later than the item `after`; of an answer that was cut, what was heard."""
    return _message(conversation, AssistantMessageItem, words, after, "the agent did not say")


def called(conversation: Conversation, tool: str, /, **arguments: object) -> RealtimeToolCallItem:
    """The agent called `tool`, with these `arguments` among others: values, predicates, or `anything`."""
    calls = [item for item in _history(conversation) if isinstance(item, RealtimeToolCallItem) and item.name == tool]
    problems = []
    for call in calls:
        found = differences(_arguments(call), arguments)
        if not found:
            return call
        problems += [f"{call}: {problem}" for problem in found]
    raise _failure(conversation, f"{tool} was not called{' like that' if calls else ''}", *problems)


def not_called(conversation: Conversation, tool: str) -> None:
    """The agent did not call `tool`."""
    for item in _history(conversation):
        if isinstance(item, RealtimeToolCallItem) and item.name == tool:
            raise _failure(conversation, f"{tool} was called")


def interrupted_at(conversation: Conversation, ms: float, *, within_ms: float = 100.0) -> AssistantMessageItem:
    """An answer of the agent was cut when `ms` of it had been heard, give or take `within_ms`."""
    cuts = []
    for item in _history(conversation):
        if isinstance(item, AssistantMessageItem):
            for part in item.content:
                if isinstance(part, AssistantAudio) and part.heard_ms is not None:
                    if abs(part.heard_ms - ms) <= within_ms:
                        return item
                    cuts.append(f"an answer was cut at {part.heard_ms} ms")
    raise _failure(conversation, f"no answer was cut at {ms:g} ms, give or take {within_ms:g}", *cuts)


def _message(
    conversation: Conversation, kind: type[ItemT], words: Words, after: RealtimeItem | None, problem: str
) -> ItemT:
    history = _history(conversation)
    if after is not None:
        ids = [item.item_id for item in history]
        if after.item_id not in ids:
            raise _failure(conversation, f"the item {after.item_id} is not part of the conversation")
        history = history[ids.index(after.item_id) + 1 :]
    for item in history:
        if isinstance(item, kind) and _fits(item.text, words):
            return item
    since = "" if after is None else f" after {str(after)!r}"
    raise _failure(conversation, f"{problem} {_shown(words)}{since}")


def _history(conversation: Conversation) -> Sequence[RealtimeItem]:
    return conversation if isinstance(conversation, Sequence) else conversation.history


def _fits(text: str, words: Words) -> bool:
    if isinstance(words, str):
        return " ".join(words.casefold().split()) in " ".join(text.casefold().split())
    return bool(words.search(text) if isinstance(words, re.Pattern) else words(text))


def _arguments(call: RealtimeToolCallItem) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _shown(words: Words) -> str:
    if isinstance(words, re.Pattern):
        return f"anything like {words.pattern!r}"
    return shown(words) if isinstance(words, str) else f"what {getattr(words, '__qualname__', words)} takes"


def _failure(conversation: Conversation, problem: str, *details: str) -> AssertionError:
    lines = [f"  {_line(item)}" for item in _history(conversation)] or ["  (nothing)"]
    return AssertionError("\n".join([problem, *(f"  {detail}" for detail in details), "", "the conversation:", *lines]))


def _line(item: RealtimeItem) -> str:
    cut = [part.heard_ms for part in getattr(item, "content", ()) if getattr(part, "heard_ms", None) is not None]
    return f"{item}{f' [cut at {cut[0]} ms]' if cut else ''}"


_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_LONGEST_SHOWN: Final = 600


class _Anything:
    """Matches every value that is there."""

    def __repr__(self) -> str:
        return "anything"


class _Absent:
    """Matches a field that is not there."""

    def __repr__(self) -> str:
        return "absent"


anything: Final = _Anything()
"""Matches any value of a field that is there; as a type, any event."""

absent: Final = _Absent()
"""Matches a field that is not there."""

ABSENT: Final = object()


def at(event: Mapping[str, Any], path: str) -> Any:
    """The value at a path such as ``item.content[0].text``; `ABSENT` where there is none."""
    value: Any = event
    for name, index in _STEP.findall(path):
        if name and isinstance(value, Mapping) and name in value:
            value = value[name]
        elif index and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        else:
            return ABSENT
    return value


def differences(event: Mapping[str, Any], fields: Mapping[str, object]) -> list[str]:
    """One line for each of `fields` (path -> value, predicate, `anything`) that `event` does not fit.

    A mapping fits an object that has at least its fields, a list fits one of the same length. Raises what a predicate
    raises.
    """
    found = []
    for path, wanted in fields.items():
        for where, problem in _unfit(at(event, path), wanted, path):
            near = _nearest(event, where) if problem == "is missing" else ""
            found.append(f"{where} {problem}{near}")
    return found


def _unfit(value: Any, wanted: object, path: str) -> Iterator[tuple[str, str]]:
    if wanted is absent:
        if value is not ABSENT:
            yield path, f"should not be there, is {shown(value)}"
    elif value is ABSENT:
        yield path, "is missing"
    elif wanted is anything:
        return
    elif callable(wanted):
        if not wanted(value):
            yield path, f"is {shown(value)}, which {describe(wanted)} does not take"
    elif isinstance(wanted, Mapping) and isinstance(value, Mapping):
        for key, inner in wanted.items():
            yield from _unfit(value.get(key, ABSENT), inner, f"{path}.{key}")
    elif isinstance(wanted, list) and isinstance(value, list) and len(wanted) == len(value):
        for index, inner in enumerate(wanted):
            yield from _unfit(value[index], inner, f"{path}[{index}]")
    elif value != wanted or isinstance(value, bool) != isinstance(wanted, bool):
        yield path, f"is {shown(value)}, expected {shown(wanted)}"


def _nearest(event: Mapping[str, Any], path: str) -> str:
    near = difflib.get_close_matches(path, list(_paths(event, "")), n=1)
    return f" (there is {near[0]} = {shown(at(event, near[0]))})" if near else ""


def _paths(value: Any, path: str) -> Iterator[str]:
    if path:
        yield path
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _paths(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _paths(inner, f"{path}[{index}]")


def describe(wanted: Callable[..., object]) -> str:
    """A predicate's name."""
    return str(getattr(wanted, "__qualname__", repr(wanted)).rpartition("<locals>.")[2])


def shown(value: object) -> str:
    """`value` as JSON where it is that, cut where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except TypeError:
        text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}... ({len(text)} characters)"
