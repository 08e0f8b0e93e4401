"""Tokens and their cost: the values that `session.usage`, `Turn.usage` and events carry."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import attrs

from trealtime._value import Value

__all__ = ["Cost", "InputTokensDetails", "OutputTokensDetails", "TranscriptionUsage", "Usage"]

_NOTHING: Final = Decimal(0)


@attrs.frozen(eq=False, repr=False)
class Cost(Value):
    """A cost in the unit of the prices, between `at_least` and `at_most`. They differ where the server did not say how
    many tokens there were of each kind. `unpriced`: some of the usage has no price and is in neither."""

    at_least: Decimal = _NOTHING
    at_most: Decimal = _NOTHING
    unpriced: bool = False

    @property
    def exact(self) -> bool:
        """Whether this is the whole cost and no range."""
        return self.at_least == self.at_most and not self.unpriced

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.at_least + other.at_least, self.at_most + other.at_most, unpriced=self.unpriced or other.unpriced
        )

    def __str__(self) -> str:
        amount = " to ".join(f"{each.normalize():f}" for each in dict.fromkeys((self.at_least, self.at_most)))
        return f"{amount} and what has no price" if self.unpriced else amount


@attrs.frozen(eq=False, repr=False)
class InputTokensDetails(Value):
    """How many input tokens came from the cache; 0 where the server does not say."""

    cached_tokens: int = 0


@attrs.frozen(eq=False, repr=False)
class OutputTokensDetails(Value):
    """How many output tokens went into reasoning; 0 where the server does not say."""

    reasoning_tokens: int = 0


@attrs.frozen(eq=False, repr=False)
class Usage(Value):
    """Tokens of one response, or of all responses of a session.

    The details say how many were text, audio, images and cached, under the names of the wire; they are absent where
    the server has sent none: None is not 0. `cost` is None where the run config has no `prices`.

    A sum has `request_usage_entries`, one for each response, oldest first; of more than 1000 the newest.
    """

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_token_details: Mapping[str, Any] | None = None
    output_token_details: Mapping[str, Any] | None = None
    cost: Cost | None = attrs.field(default=None, kw_only=True)
    request_usage_entries: tuple[Usage, ...] = attrs.field(default=(), kw_only=True, repr=False)
    replayed_tokens: int = attrs.field(default=0, kw_only=True)
    """The part of `input_tokens` that a new connection had been told of the conversation before it (a reconnect, a
    rollover, a history to begin with), counted once for each connection: an estimate, and no more than the service has
    read anew, without its cache."""

    @property
    def input_tokens_details(self) -> InputTokensDetails:
        """The cached tokens of `input_token_details`, as programs for the OpenAI Agents SDK read them."""
        return InputTokensDetails(_count(self.input_token_details, "cached_tokens"))

    @property
    def output_tokens_details(self) -> OutputTokensDetails:
        """The reasoning tokens of `output_token_details`, as programs for the OpenAI Agents SDK read them."""
        return OutputTokensDetails(_count(self.output_token_details, "reasoning_tokens"))


def _count(details: Mapping[str, Any] | None, name: str) -> int:
    count = (details or {}).get(name)
    return count if isinstance(count, int) else 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TranscriptionUsage(Value):
    """The usage of transcribing the user: tokens, or `seconds` of audio where the model counts those."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_token_details: Mapping[str, Any] | None = None
    seconds: float = 0.0
    cost: Cost | None = None
