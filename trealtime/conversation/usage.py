"""Token counts: read from ``response.done``, summed over a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trealtime.conversation.effects import Usage

__all__ = ["add_usage", "parse_usage"]


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


def add_usage(left: Usage, right: Usage) -> Usage:
    """Both together; details are summed key by key."""
    return Usage(
        requests=left.requests + right.requests,
        input_tokens=left.input_tokens + right.input_tokens,
        output_tokens=left.output_tokens + right.output_tokens,
        total_tokens=left.total_tokens + right.total_tokens,
        input_token_details=_sum(left.input_token_details, right.input_token_details),
        output_token_details=_sum(left.output_token_details, right.output_token_details),
    )


def _sum(left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if left is None or right is None:
        return right if left is None else left
    both: dict[str, Any] = dict(left)
    for key, value in right.items():
        mine = both.get(key)
        if isinstance(value, Mapping):
            both[key] = _sum(mine if isinstance(mine, Mapping) else None, value)
        else:
            both[key] = _count(mine) + _count(value)
    return both


def _details(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
