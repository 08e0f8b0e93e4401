"""Small checks that compose into the rules for one client event.

A check takes a value and its path (``session.audio.output.voice``) and returns the value to keep, or raises `Refusal`
naming the path, the value and what is allowed. The rules themselves stand in `settings.py`, `items.py` and `core.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trealtime.protocol.lenient import json_kind

__all__ = [
    "Check",
    "Refusal",
    "array",
    "boolean",
    "choice",
    "integer",
    "invalid_type",
    "invalid_value",
    "join",
    "mapping",
    "missing",
    "nullable",
    "number",
    "one_of_types",
    "record",
    "text",
    "unknown_parameter",
]

Check = Callable[[Any, str], Any]


def join(path: str, name: str) -> str:
    """The path of a field inside the object at `path`."""
    return f"{path}.{name}" if path else name


def text(*, max_length: int | None = None, non_empty: bool = False, pattern: str | None = None) -> Check:
    """A string."""

    def check(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise invalid_type(path, value, "a string")
        if non_empty and not value:
            raise invalid_value(path, value, "a string that is not empty")
        if max_length is not None and len(value) > max_length:
            raise invalid_value(path, value, f"at most {max_length} characters, got {len(value)}")
        if pattern is not None and re.fullmatch(pattern, value) is None:
            raise invalid_value(path, value, f"a string that matches {pattern}")
        return value

    return check


def boolean(value: Any, path: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise invalid_type(path, value, "a boolean")
    return value


def integer(low: int | None = None, high: int | None = None) -> Check:
    """A whole number; ``3.0`` counts as one, as in JSON Schema."""

    def check(value: Any, path: str) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid_type(path, value, "an integer")
        _within(value, path, low, high)
        return value

    return check


def number(low: float | None = None, high: float | None = None) -> Check:
    """A finite number."""

    def check(value: Any, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
            raise invalid_type(path, value, "a number")
        _within(value, path, low, high)
        return value

    return check


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # JSON bounds no integer, and a float does not hold this one
        return False


def _within(value: float, path: str, low: float | None, high: float | None) -> None:
    if (low is not None and value < low) or (high is not None and value > high):
        if high is None:
            allowed = f"{low} or more"
        elif low is None:
            allowed = f"{high} or less"
        else:
            allowed = f"{low} to {high}"
        raise invalid_value(path, value, allowed)


def choice(*options: str) -> Check:
    """One of a few strings."""
    allowed = ", ".join(f"'{option}'" for option in options)

    def check(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise invalid_type(path, value, f"one of {allowed}")
        if value not in options:
            raise invalid_value(path, value, allowed)
        return value

    return check


class _Nullable:
    """A check for which null is a value, and not the same as a field that is left out."""

    def __init__(self, inner: Check, default: object) -> None:
        self._inner = inner
        self._default = default

    def __call__(self, value: Any, path: str) -> Any:
        return self._default if value is None else self._inner(value, path)


def nullable(inner: Check, *, default: object = None) -> Check:
    """`inner`, or null, which stands for `default`."""
    return _Nullable(inner, default)


def array(inner: Check, *, at_least: int = 0, at_most: int | None = None) -> Check:
    """An array whose every element passes `inner`."""

    def check(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise invalid_type(path, value, "an array")
        if len(value) < at_least:
            raise invalid_value(path, value, f"at least {at_least} element(s)")
        if at_most is not None and len(value) > at_most:
            raise invalid_value(path, value, f"at most {at_most} elements, got {len(value)}")
        return [inner(element, f"{path}[{index}]") for index, element in enumerate(value)]

    return check


def mapping(inner: Check | None = None, *, at_most: int | None = None, max_key: int | None = None) -> Check:
    """An object with free keys."""

    def check(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise invalid_type(path, value, "an object")
        if at_most is not None and len(value) > at_most:
            raise invalid_value(path, value, f"at most {at_most} keys, got {len(value)}")
        for key in value:
            if max_key is not None and len(key) > max_key:
                raise invalid_value(path, key, f"keys of at most {max_key} characters")
        return {key: inner(element, join(path, key)) if inner else element for key, element in value.items()}

    return check


def record(
    fields: Mapping[str, Check],
    *,
    required: tuple[str, ...] = (),
    defaults: Mapping[str, object] | None = None,
) -> Check:
    """An object with known keys; `defaults` fill what is absent.

    An optional field that is null is the same as one that is left out, unless its check is `nullable`: clients whose
    objects have all fields send it so.
    """

    def check(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise invalid_type(path, value, "an object")
        given: dict[str, Any] = {}
        for key, element in value.items():
            if key not in fields:
                raise unknown_parameter(join(path, key), fields)
            if element is not None or key in required or isinstance(fields[key], _Nullable):
                given[key] = element
        for key in required:
            if key not in given:
                raise missing(join(path, key))
        return dict(defaults or {}) | {key: fields[key](element, join(path, key)) for key, element in given.items()}

    return check


def one_of_types(variants: Mapping[str, Check]) -> Check:
    """An object whose ``type`` chooses the check."""
    kind = choice(*variants)

    def check(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise invalid_type(path, value, "an object")
        if "type" not in value:
            raise missing(join(path, "type"))
        return variants[kind(value["type"], join(path, "type"))](value, path)

    return check


class Refusal(Exception):
    """A client event that cannot be obeyed. Raised before anything has changed; never leaves the emulator."""

    def __init__(
        self, message: str, *, code: str, param: str | None = None, type: str = "invalid_request_error"
    ) -> None:
        self.message = message
        self.code = code
        self.param = param
        self.type = type  # named after the wire field
        super().__init__(message)

    def as_error(self, event_id: str | None) -> dict[str, Any]:
        """The `error` object of the event; `event_id` is that of the client's event."""
        return {
            "type": self.type,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": event_id,
        }


def missing(path: str) -> Refusal:
    """A required field is absent."""
    return Refusal(f"Missing required parameter: '{path}'.", code="missing_required_parameter", param=path)


def unknown_parameter(path: str, allowed: Iterable[str]) -> Refusal:
    """A field that does not exist here."""
    names = ", ".join(f"'{name}'" for name in sorted(allowed)) or "none"
    return Refusal(f"Unknown parameter: '{path}'. Allowed here: {names}.", code="unknown_parameter", param=path)


def invalid_type(path: str, value: object, expected: str) -> Refusal:
    """A value of the wrong JSON type."""
    return Refusal(
        f"Invalid type for '{path}': expected {expected}, but got {json_kind(value)}.",
        code="invalid_type",
        param=path,
    )


def invalid_value(path: str, value: object, allowed: str) -> Refusal:
    """A value of the right type that may not stand there."""
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return Refusal(f"Invalid value for '{path}': {shown}. Allowed: {allowed}.", code="invalid_value", param=path)
