"""What a session has used: read from what the server counts, summed, and priced where there are prices.

Responses and transcriptions are counted apart: other models make transcriptions, at other prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from trealtime._core.prices import Prices, find_prices, response_cost, transcription_cost
from trealtime.usage import Cost, TranscriptionUsage, Usage

__all__ = ["Meter", "add_usage", "parse_transcription_usage", "parse_usage"]

MAX_ENTRIES: Final = 1_000
"""Entries that a sum keeps, the newest: more than an hour of conversation has."""


def parse_usage(usage: object) -> Usage | None:
    """The ``usage`` object of a response; None when the server sent none.

    A missing count is 0, a missing total is input plus output (B256); details that are absent stay None.
    """
    if not isinstance(usage, Mapping):
        return None
    input_tokens, output_tokens = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    total = usage.get("total_tokens")
    return Usage(
        requests=1,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        total_tokens=_count(total) if total is not None else input_tokens + output_tokens,
        input_token_details=_details(usage.get("input_token_details")),
        output_token_details=_details(usage.get("output_token_details")),
    )


def parse_transcription_usage(usage: object) -> TranscriptionUsage | None:
    """The ``usage`` object of a transcription (tokens, or ``{"type": "duration", "seconds": ...}``); None: none."""
    tokens = parse_usage(usage)
    if tokens is None or not isinstance(usage, Mapping):
        return None
    seconds = usage.get("seconds")
    return TranscriptionUsage(
        requests=1,
        input_tokens=tokens.input_tokens,
        output_tokens=tokens.output_tokens,
        total_tokens=tokens.total_tokens,
        input_token_details=tokens.input_token_details,
        seconds=float(seconds) if isinstance(seconds, int | float) and 0 < seconds < float("inf") else 0.0,
    )


def add_usage(total: Usage, response: Usage) -> Usage:
    """The sum, with an entry for `response`; details are summed key by key."""
    return Usage(
        requests=total.requests + response.requests,
        input_tokens=total.input_tokens + response.input_tokens,
        output_tokens=total.output_tokens + response.output_tokens,
        total_tokens=total.total_tokens + response.total_tokens,
        input_token_details=_sum(total.input_token_details, response.input_token_details),
        output_token_details=_sum(total.output_token_details, response.output_token_details),
        cost=_sum_cost(total.cost, response.cost),
        request_usage_entries=(*total.request_usage_entries, response)[-MAX_ENTRIES:],
    )


@attrs.define
class Meter:
    """Counts one session. `prices` None: it prices nothing, and every cost is None."""

    prices: Prices | None = None
    usage: Usage = attrs.field(init=False)
    transcription: TranscriptionUsage = attrs.field(init=False)
    cost: Cost | None = attrs.field(init=False)
    """Of all responses and transcriptions."""

    def __attrs_post_init__(self) -> None:
        self.cost = None if self.prices is None else Cost()
        self.usage = Usage(cost=self.cost)
        self.transcription = TranscriptionUsage(cost=self.cost)

    def count_response(self, usage: Usage, model: str | None) -> Usage:
        """A response is done; its usage with its cost."""
        if self.prices is not None:
            usage = attrs.evolve(usage, cost=response_cost(usage, find_prices(self.prices, model)))
        self.usage = add_usage(self.usage, usage)
        self.cost = _sum_cost(self.cost, usage.cost)
        return usage

    def count_transcription(self, usage: TranscriptionUsage, model: str | None) -> None:
        """A turn of the user has been transcribed."""
        total = self.transcription
        cost = None
        if self.prices is not None:
            cost = transcription_cost(usage, find_prices(self.prices, model))
        self.transcription = TranscriptionUsage(
            requests=total.requests + usage.requests,
            input_tokens=total.input_tokens + usage.input_tokens,
            output_tokens=total.output_tokens + usage.output_tokens,
            total_tokens=total.total_tokens + usage.total_tokens,
            input_token_details=_sum(total.input_token_details, usage.input_token_details),
            seconds=total.seconds + usage.seconds,
            cost=_sum_cost(total.cost, cost),
        )
        self.cost = _sum_cost(self.cost, cost)


def _sum_cost(left: Cost | None, right: Cost | None) -> Cost | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def _sum(left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if left is None or right is None:
        return right if left is None else left
    both: dict[str, Any] = dict(left)
    for key, value in right.items():
        mine = both.get(key)
        if isinstance(value, Mapping):
            both[key] = _sum(mine if isinstance(mine, Mapping) else None, value)
        elif value is not None:
            both[key] = _count(mine) + _count(value)
        else:
            both.setdefault(key, None)
    return both


def _details(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
