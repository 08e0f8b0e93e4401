"""The turn log: the figures of the turns that are over, the newest of them one by one and all of them summed up."""

from __future__ import annotations

from typing import Final

import attrs

from trealtime._value import Shown
from trealtime.metrics import Histogram, TurnMetrics, TurnSource, TurnStatistics, TurnStatus

__all__ = ["KEPT_TURNS", "TurnLog"]

KEPT_TURNS: Final = 1000
"""The number of turns whose figures are kept one by one."""


@attrs.define(eq=False, repr=False)
class TurnLog(Shown):
    """See the module."""

    _ended: list[TurnMetrics] = attrs.field(factory=list, init=False)
    _by_status: dict[TurnStatus, int] = attrs.field(factory=dict, init=False)
    _by_source: dict[TurnSource, int] = attrs.field(factory=dict, init=False)
    _response_latency_s: Histogram = attrs.field(factory=Histogram, init=False)
    _request_latency_s: Histogram = attrs.field(factory=Histogram, init=False)
    _silence_latency_s: Histogram = attrs.field(factory=Histogram, init=False)
    _tool_s: Histogram = attrs.field(factory=Histogram, init=False)
    _heard_s: float = attrs.field(default=0.0, init=False)
    _tool_calls: int = attrs.field(default=0, init=False)
    _retries: int = attrs.field(default=0, init=False)

    @property
    def ended(self) -> tuple[TurnMetrics, ...]:
        """The newest, oldest first."""
        return tuple(self._ended)

    def add(self, turn: TurnMetrics) -> None:
        """Take in a turn that is over."""
        self._ended.append(turn)
        if len(self._ended) > KEPT_TURNS:
            del self._ended[0]
        self._by_status[turn.status] = self._by_status.get(turn.status, 0) + 1
        self._by_source[turn.source] = self._by_source.get(turn.source, 0) + 1
        if turn.response_latency_s is not None:
            spoken = turn.speech_ended_at is not None
            (self._response_latency_s if spoken else self._request_latency_s).add(turn.response_latency_s)
        interruption = turn.interruption
        if interruption is not None and interruption.cause == "speech" and interruption.silence_latency_s is not None:
            self._silence_latency_s.add(interruption.silence_latency_s)
        for tool in turn.tools:
            if tool.duration_s is not None:
                self._tool_s.add(tool.duration_s)
        self._heard_s += turn.heard_s or 0.0
        self._tool_calls += len(turn.tools)
        self._retries += turn.retries

    def statistics(self, *, still_open: int) -> TurnStatistics:
        """All turns summed up; `still_open` of them are not over."""
        return TurnStatistics(
            ended=sum(self._by_status.values()),
            open=still_open,
            by_status=dict(self._by_status),
            by_source=dict(self._by_source),
            response_latency_s=self._response_latency_s.copy(),
            request_latency_s=self._request_latency_s.copy(),
            silence_latency_s=self._silence_latency_s.copy(),
            tool_s=self._tool_s.copy(),
            heard_s=self._heard_s,
            tool_calls=self._tool_calls,
            retries=self._retries,
        )
