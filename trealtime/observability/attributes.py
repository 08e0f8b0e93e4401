"""Names of spans and attributes: those of the GenAI semantic conventions of OpenTelemetry, and ours.

The conventions are in development (opentelemetry.io, "Semantic conventions for generative AI systems"). They have no
names for turns and speech; such names are ours, and begin with ``trealtime.``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from trealtime.events import ServerErrorInfo
from trealtime.metrics import TurnMetrics

__all__ = ["AGENT", "CONVERSATION", "OPERATION", "PROVIDER", "error_type", "server_attributes", "turn_attributes"]

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
CONVERSATION: Final = "gen_ai.conversation.id"
AGENT: Final = "gen_ai.agent.name"


def error_type(error: object) -> str:
    """Return a short name for a failure: the server's code, or the type of the exception."""
    if isinstance(error, ServerErrorInfo):
        return error.code or error.type or "_OTHER"
    cause = getattr(error, "__cause__", None) or error
    return type(cause).__qualname__


def server_attributes(url: str | None) -> dict[str, Any]:
    """Return the host and port of an address, as far as they are known."""
    if url is None:
        return {}
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return {}
    if not host:
        return {}
    return {"server.address": host, "server.port": port or (443 if parts.scheme in ("wss", "https") else 80)}


def turn_attributes(turn: TurnMetrics) -> dict[str, Any]:
    """Return the figures of a turn, those that there are. Times are seconds."""
    usage, interruption = turn.usage, turn.interruption
    found: Mapping[str, Any] = {
        "trealtime.turn.id": turn.turn_id,
        "trealtime.turn.number": turn.number,
        "trealtime.turn.source": turn.source,
        "trealtime.turn.status": turn.status,
        "trealtime.turn.reason": turn.reason,
        "trealtime.turn.response_latency": turn.response_latency_s,
        "trealtime.turn.silence_latency": turn.silence_latency_s,
        "trealtime.turn.heard": turn.heard_s,
        "trealtime.turn.tool_calls": len(turn.tools),
        "trealtime.turn.retries": turn.retries,
        "trealtime.turn.interruption.cause": interruption.cause if interruption is not None else None,
        "trealtime.turn.interruption.reason": interruption.reason if interruption is not None else None,
        "trealtime.turn.cost": float(turn.cost.at_most) if turn.cost is not None else None,
        "gen_ai.usage.input_tokens": usage.input_tokens if usage is not None else None,
        "gen_ai.usage.output_tokens": usage.output_tokens if usage is not None else None,
    }
    return {name: value for name, value in found.items() if value is not None}
