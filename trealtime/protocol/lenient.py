"""Fields of the wire that may be of any type, whatever the protocol says of them."""

from __future__ import annotations

__all__ = ["as_text"]


def as_text(value: object) -> str | None:
    """A field that should be text; None where it is something else, or not there."""
    return value if isinstance(value, str) else None
