"""The text messages of a page or a telephone: JSON objects, from a far side that anybody may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trealtime.terminal import shortened

__all__ = ["read_object", "short"]


def read_object(message: str, refused: Callable[[str], Exception]) -> Mapping[str, Any]:
    """Return the JSON object that `message` is. Raises what `refused` makes of the reason where it is none."""
    try:
        data = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as exc:
        raise refused(f"expected JSON, got {short(message)}: {exc}") from exc
    if not isinstance(data, dict):
        raise refused(f"expected a JSON object, got {short(data)}")
    return data


def short(value: object) -> str:
    """Return the `repr` of a part of a message, cut to what an error may quote."""
    return shortened(repr(value))
