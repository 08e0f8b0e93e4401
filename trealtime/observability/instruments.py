"""The metrics: one set of instruments for each meter provider, which all sessions share."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.metrics import Meter, MeterProvider, get_meter_provider

from trealtime._version import __version__
from trealtime.metrics import TurnMetrics
from trealtime.observability.attributes import AGENT, OPERATION, PROVIDER
from trealtime.usage import Usage

__all__ = ["Instruments"]

_LATENCY_S: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 3.0, 5.0, 10.0)
"""Bounds of the buckets for what a person waits for: fine where they begin to mind."""

_SILENCE_S: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 2.0, 5.0)
_LAG_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_DEPTH: Final = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 1000.0)
# The two that follow are those of the GenAI semantic conventions.
_DURATION_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = tuple(4**power for power in range(14))

_made: weakref.WeakKeyDictionary[MeterProvider, Instruments] = weakref.WeakKeyDictionary()
"""A second instrument of the same name is a mistake to an SDK, which warns of it."""


class Instruments:
    """The instruments; the table in the documentation describes them."""

    @classmethod
    def of(cls, provider: object | None) -> Instruments:
        """Return the instruments of a meter provider; None is the global one."""
        source: Any = get_meter_provider() if provider is None else provider
        found = _made.get(source)
        if found is None:
            found = _made[source] = cls(source.get_meter("trealtime", __version__))
        return found

    def __init__(self, meter: Meter) -> None:
        self.sessions_open = meter.create_up_down_counter(
            "trealtime.sessions.open", "{session}", "Sessions that are open."
        )
        self.turns = meter.create_counter("trealtime.turns", "{turn}", "Turns that are over.")
        self.response_latency = meter.create_histogram(
            "trealtime.turn.response_latency",
            "s",
            "From the end of the user's speech, or the request, to the first audio that the user heard.",
            explicit_bucket_boundaries_advisory=_LATENCY_S,
        )
        self.first_audio = meter.create_histogram(
            "trealtime.turn.time_to_first_audio",
            "s",
            "From the end of the user's speech, or the request, to the first audio that came from the service.",
            explicit_bucket_boundaries_advisory=_LATENCY_S,
        )
        self.silence_latency = meter.create_histogram(
            "trealtime.turn.silence_latency",
            "s",
            "From the onset of the user's speech, or the call of interrupt(), to silence.",
            explicit_bucket_boundaries_advisory=_SILENCE_S,
        )
        self.tool_duration = meter.create_histogram(
            "gen_ai.execute_tool.duration",
            "s",
            "From the call of a tool to its output.",
            explicit_bucket_boundaries_advisory=_DURATION_S,
        )
        self.response_duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "From the beginning of a response to its end.",
            explicit_bucket_boundaries_advisory=_DURATION_S,
        )
        self.tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens of a response.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self.cost = meter.create_counter("trealtime.cost", "{cost}", "Cost of responses, in the unit of the prices.")
        self.errors = meter.create_counter("trealtime.errors", "{error}", "Failures, each with an error event.")
        self.reconnects = meter.create_counter("trealtime.reconnects", "{connection}", "Connections that replaced one.")
        self.audio_dropped = meter.create_counter(
            "trealtime.audio.dropped", "s", "Audio that a consumer was too slow for."
        )
        self.loop_lag = meter.create_histogram(
            "trealtime.event_loop.lag",
            "s",
            "How late Trio wakes a task.",
            explicit_bucket_boundaries_advisory=_LAG_S,
        )
        self.queue_depth = meter.create_histogram(
            "trealtime.queue.depth",
            "",
            "What waits in a queue of a session: seconds of audio, or events.",
            explicit_bucket_boundaries_advisory=_DEPTH,
        )

    def turn_ended(self, turn: TurnMetrics) -> None:
        """Count a turn and its figures."""
        source = {"trealtime.turn.source": turn.source, AGENT: turn.agent}
        self.turns.add(1, {**source, "trealtime.turn.status": turn.status})
        if turn.response_latency_s is not None:
            self.response_latency.record(turn.response_latency_s, source)
        begun = turn.speech_ended_at if turn.speech_ended_at is not None else turn.requested_at
        if begun is not None and turn.first_audio_at is not None:
            self.first_audio.record(max(0.0, turn.first_audio_at - begun), source)
        if turn.silence_latency_s is not None and turn.interruption is not None:
            cause = {"trealtime.turn.interruption.cause": turn.interruption.cause}
            self.silence_latency.record(turn.silence_latency_s, cause)
        for tool in turn.tools:
            if tool.duration_s is not None:
                failed = {} if tool.status == "completed" else {"error.type": tool.status}
                self.tool_duration.record(
                    tool.duration_s,
                    {OPERATION: "execute_tool", "gen_ai.tool.name": tool.name, AGENT: tool.agent, **failed},
                )

    def response_ended(
        self, duration_s: float, usage: Usage | None, *, provider: str, model: str | None, failure: str | None
    ) -> None:
        """Count a response."""
        base = {OPERATION: "chat", PROVIDER: provider, **({"gen_ai.request.model": model} if model else {})}
        self.response_duration.record(duration_s, base if failure is None else {**base, "error.type": failure})
        if usage is None:
            return
        for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            self.tokens.record(count, {**base, "gen_ai.token.type": kind})
        if usage.cost is not None:
            self.cost.add(float(usage.cost.at_most), {key: base[key] for key in base if key != OPERATION})

    def queues(self, depths: Mapping[str, float]) -> None:
        """Take a sample of what waits in the queues of one session."""
        for name, depth in depths.items():
            self.queue_depth.record(depth, {"trealtime.queue": name})
