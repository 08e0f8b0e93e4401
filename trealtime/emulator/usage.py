"""Token counts and rate limits: estimates, in proportion and in the right shape.

Audio is counted as the service does: a token for 100 ms of the user, one for 50 ms of the assistant. Text is taken at
four characters a token, an image at 85 tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from trealtime.emulator.items import Item
from trealtime.protocol.codec import encode

__all__ = ["InputTokens", "OutputTokens", "RateLimits", "input_tokens", "text_tokens", "usage_object"]

USER_MS_PER_TOKEN = 100
ASSISTANT_MS_PER_TOKEN = 50
_IMAGE_TOKENS = 85


def text_tokens(text: str) -> int:
    """Estimate the tokens of `text`."""
    return math.ceil(len(text) / 4)


@attrs.frozen
class InputTokens:
    """The input tokens of a response."""

    text: int = 0
    audio: int = 0
    image: int = 0


@attrs.define
class OutputTokens:
    """The output tokens of a response so far; fractions add up before they are rounded."""

    characters: int = 0
    audio_ms: float = 0.0

    @property
    def text(self) -> int:
        """Text, transcripts and arguments."""
        return math.ceil(self.characters / 4)

    @property
    def audio(self) -> int:
        """Speech."""
        return math.ceil(self.audio_ms / ASSISTANT_MS_PER_TOKEN)

    @property
    def total(self) -> int:
        """All of it, which ``max_output_tokens`` limits."""
        return self.text + self.audio


def input_tokens(instructions: str, tools: Iterable[Mapping[str, Any]], items: Iterable[Item]) -> InputTokens:
    """Count the tokens that a model would read before it answers."""
    text = text_tokens(instructions) + sum(text_tokens(encode(tool)) for tool in tools)
    audio = image = 0
    for item in items:
        text += sum(text_tokens(item.body.get(key) or "") for key in ("name", "arguments", "output"))
        for part in item.body.get("content", ()):
            text += text_tokens(part.get("text", ""))
            image += _IMAGE_TOKENS if part["type"] == "input_image" else 0
        ms_per_token = USER_MS_PER_TOKEN if item.body.get("role") == "user" else ASSISTANT_MS_PER_TOKEN
        audio += sum(math.ceil(clip.duration_ms / ms_per_token) for clip in item.clips.values())
    return InputTokens(text, audio, image)


def usage_object(read: InputTokens, made: OutputTokens, *, before: InputTokens) -> dict[str, Any]:
    """Return the ``usage`` of a response. Input of the response `before` counts as cached, in blocks of 64."""
    cached_text = min(read.text, before.text) // 64 * 64
    cached_audio = min(read.audio, before.audio) // 64 * 64
    total_read = read.text + read.audio + read.image
    return {
        "total_tokens": total_read + made.total,
        "input_tokens": total_read,
        "output_tokens": made.total,
        "input_token_details": {
            "text_tokens": read.text,
            "audio_tokens": read.audio,
            "image_tokens": read.image,
            "cached_tokens": cached_text + cached_audio,
            "cached_tokens_details": {"text_tokens": cached_text, "audio_tokens": cached_audio, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": made.text, "audio_tokens": made.audio},
    }


class RateLimits:
    """A minute's allowance of requests and tokens that fills up evenly. Reported, never enforced."""

    _LIMITS: Mapping[str, int] = {"requests": 1_000, "tokens": 250_000}
    _PERIOD_S = 60

    def __init__(self) -> None:
        self._spent = dict.fromkeys(self._LIMITS, 0.0)
        self._at: float | None = None

    def spend(self, now: float, *, tokens: int) -> list[dict[str, Any]]:
        """Count one response; return the ``rate_limits`` to report."""
        elapsed_s = 0.0 if self._at is None else now - self._at
        self._at = now
        told = []
        for name, limit in self._LIMITS.items():
            refilled = limit * elapsed_s / self._PERIOD_S
            spent = min(limit, max(0.0, self._spent[name] - refilled) + (tokens if name == "tokens" else 1))
            self._spent[name] = spent
            told.append(
                {
                    "name": name,
                    "limit": limit,
                    "remaining": math.floor(limit - spent),
                    "reset_seconds": round(spent / limit * self._PERIOD_S, 3),
                }
            )
        return told
