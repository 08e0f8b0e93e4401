"""What an expectation asks of an event, and what to say when it is something else."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

__all__ = ["ABSENT", "absent", "anything", "at", "describe", "differences", "shown"]

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

    A mapping is fitted by an object that has at least its fields, a list by one of the same length. What a predicate
    raises comes out.
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
