"""Read JSON of which any part may be missing or of another type than the protocol says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["as_text", "json_kind", "within"]


def as_text(value: object) -> str | None:
    """Return `value` if it is text, else None."""
    return value if isinstance(value, str) else None


def within(value: object, *path: str) -> Any:
    """Return the value at `path` inside nested objects; None where a step is missing or is no object."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def json_kind(value: object) -> str:
    """Return the JSON name of a value's type, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
