"""How the emulator says no: a `Refusal` becomes one ``error`` event, and the session lives on.

The codes are those of protocol reference 7.9, and some that clients of the service are seen to handle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["Refusal", "invalid_type", "invalid_value", "missing", "unknown_parameter"]


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


def json_kind(value: object) -> str:
    """The JSON name of a value's type, with its article."""
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
