"""What functions have returned, told in sentences: JSON is read out as people say it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from trealtime.emulator.brain_words import plain_number

__all__ = ["LONGEST_READ", "listed", "sentence", "spoken_name", "tell_output"]

LONGEST_READ = 2_000
"""Characters of a message that are searched: nobody says more in a turn, and patterns take their time."""

_MOST_TOLD = 5
_DEEPEST = 3

# The last word of a key that is a unit, and how it is said behind the number.
_UNITS = {
    "c": "degrees Celsius",
    "celsius": "degrees Celsius",
    "f": "degrees Fahrenheit",
    "fahrenheit": "degrees Fahrenheit",
    "percent": "percent",
    "pct": "percent",
    "eur": "euros",
    "usd": "dollars",
    "gbp": "pounds",
    "chf": "francs",
    "km": "kilometres",
    "m": "metres",
    "kg": "kilograms",
    "kmh": "kilometres per hour",
    "ms": "milliseconds",
    "s": "seconds",
    "min": "minutes",
    "minutes": "minutes",
    "hours": "hours",
    "days": "days",
}
# A function that does something: its output says that it is done, not what something is.
# ruff: noqa: SIM905 - as lists of literals these would be unreadable
_DOING = frozenset(
    """
    add arrange book buy cancel change close create delete make move open pay play put refund register remove
    reserve save schedule send set start stop submit switch turn update write
    """.split()
)
_LOOKING = frozenset("check fetch find get look lookup read retrieve search show tell what".split())


def tell_output(name: str, output: str) -> str:
    """What the function `name` has returned, as one or a few sentences."""
    text = output.strip()
    value: Any = text
    if text[:1] in '{["' or text in ("true", "false", "null"):
        try:
            value = json.loads(text)
        except ValueError:
            pass
    words = spoken_name(name).split()
    doing = bool(words) and words[0].lower() in _DOING
    if value is None or value == "":
        return "Done." if doing else "I found nothing."
    if isinstance(value, bool):
        return "Yes." if value else "No."
    if isinstance(value, Mapping):
        return sentence(_told(value, depth=0)) if value else "I found nothing."
    if isinstance(value, list):
        return sentence(_told_list(value)) if value else "I found nothing."
    told = str(value)
    if len(told.split()) > 2:
        return sentence(told)
    if doing:
        return sentence(f"Done: {told}")
    subject = " ".join(words[1:] if words and words[0].lower() in _LOOKING else words)
    return sentence(f"the {subject} is {told}" if subject else told)


def spoken_name(name: str) -> str:
    """An identifier as words: ``orderStatus`` and ``order_status`` are "order status"."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return " ".join(re.findall(r"[^\W_]+", spaced)).lower()


def sentence(words: str) -> str:
    """`words` with a capital and a full stop."""
    words = words.strip()
    return words[:1].upper() + words[1:] + ("" if words[-1:] in ".!?…" else ".")


def listed(words: list[str], *, last: str = "and") -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _told(value: Any, *, depth: int) -> str:
    match value:
        case None:
            return "unknown"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return plain_number(value)
        case list() if value and depth < _DEEPEST:
            return listed([_told(each, depth=depth + 1) for each in value[:_MOST_TOLD]])
        case Mapping() if value and depth < _DEEPEST:
            return listed(_clauses(value, (), depth=depth))
        case list() | Mapping():
            return "nothing" if not value else f"{len(value)} more"
        case _:
            return str(value).strip().rstrip(".")


def _clauses(value: Mapping[str, Any], path: tuple[str, ...], *, depth: int) -> list[str]:
    """A clause for each value; what lies deeper is called by the names on the way to it."""
    clauses: list[str] = []
    for key, each in value.items():
        words = (*path, *(spoken_name(str(key)).split() or ["value"]))
        if isinstance(each, Mapping) and each and depth + 1 < _DEEPEST:
            clauses += _clauses(each, words, depth=depth + 1)
        else:
            clauses.append(_clause(words, each, depth=depth))
    return clauses


def _clause(words: tuple[str, ...], value: Any, *, depth: int) -> str:
    unit = _UNITS.get(words[-1], "") if isinstance(value, int | float) and not isinstance(value, bool) else ""
    subject = " ".join(words[:-1] if unit and len(words) > 1 else words)
    verb = "are" if isinstance(value, list) and len(value) > 1 else "is"
    return f"the {subject} {verb} {_told(value, depth=depth + 1)}{f' {unit}' if unit else ''}"


def _told_list(values: list[Any]) -> str:
    told = [_told(value, depth=1) for value in values[:_MOST_TOLD]]
    if len(values) > _MOST_TOLD:
        told.append(f"{len(values) - _MOST_TOLD} more")
    if any(isinstance(value, Mapping) for value in values):
        return f"there {'is' if len(values) == 1 else 'are'} {len(values)}: {'; '.join(told)}"
    return listed(told)
