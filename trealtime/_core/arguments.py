"""Arguments of a call, as the model wrote them."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["parsed_arguments"]


def parsed_arguments(text: str) -> dict[str, Any] | None:
    """What the JSON text says; None where it is not a JSON object. NaN and Infinity are no JSON."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
