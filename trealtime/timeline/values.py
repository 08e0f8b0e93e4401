"""Values of a recording, which is from elsewhere: of a wrong type they count as absent, and they are bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import pybase64

__all__ = ["LONGEST_S", "LONGEST_TEXT", "MOST", "SHORT_TEXT", "audio_of", "detail_of", "number_of", "shown", "text_of"]

LONGEST_S: Final = 24 * 3600.0
"""The longest call that is read."""

MOST: Final = 20_000
"""How many of each kind are kept."""

LONGEST_TEXT: Final = 4_000
SHORT_TEXT: Final = 160


def text_of(value: object) -> str:
    """Return text, empty for anything else."""
    return value[:LONGEST_TEXT] if isinstance(value, str) else ""


def shown(value: object) -> str:
    """Return any value as text."""
    if isinstance(value, str):
        return text_of(value)
    try:
        return json.dumps(value, ensure_ascii=False, default=str)[:LONGEST_TEXT]
    except (ValueError, RecursionError):
        return ""


def number_of(value: object, most: float = LONGEST_S * 1000) -> float | None:
    """Return a number from 0 to `most`, None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most:
        return float(value)
    return None


def audio_of(data: str) -> bytes:
    """Return the bytes of base64, none for what is no base64."""
    try:
        return pybase64.b64decode(data, validate=True)
    except ValueError:
        return b""


def detail_of(value: Mapping[str, Any]) -> str:
    """Return what an event says beside its type, in short, without audio."""
    rest = {key: each for key, each in value.items() if key not in ("type", "event_id", "audio", "delta")}
    text = shown(rest)
    return text if len(text) <= SHORT_TEXT else f"{text[:SHORT_TEXT]}..."
