"""Figures about turns: what `session.turns`, the event ``turn_ended`` and `session.statistics` carry.

A *turn* begins when the user speaks, writes or is silent for the idle timeout, or when the app or a rule of the session
asks for an answer without that. It has all responses of its answer, those to the outputs of tools included, and ends
when the last of their audio has been heard, cut or dropped. Speech that one answer answers together is one turn.

Times are seconds of `trio.current_time`, None where the thing did not happen or cannot be known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import attrs

from trealtime._value import Value
from trealtime.usage import Cost, Usage

__all__ = [
    "ConnectionCounters",
    "FailureCounters",
    "Histogram",
    "InterruptionCause",
    "RecordingStatistics",
    "ToolSpan",
    "ToolSpanStatus",
    "TurnInterruption",
    "TurnMetrics",
    "TurnSource",
    "TurnStatistics",
    "TurnStatus",
]

TurnSource = Literal["speech", "text", "request", "automatic", "idle"]
TurnStatus = Literal["completed", "interrupted", "failed", "unanswered", "cancelled"]
InterruptionCause = Literal["speech", "app", "guardrail", "leave"]
ToolSpanStatus = Literal["completed", "failed", "cancelled", "rejected", "timed_out", "refused", "dropped"]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolSpan(Value):
    """One call of a tool in a turn, from the moment when the model had written it to its output.

    `agent` is the name of the agent that made it. `status`: ``"completed"``; ``"failed"`` (the tool raised, or there is
    none of that name); ``"timed_out"``; ``"cancelled"`` by an interrupt; ``"rejected"`` by an approval or a guardrail;
    ``"refused"`` (not made: too many calls or rounds); ``"dropped"`` (no output until the session ended).
    """

    call_id: str
    name: str
    agent: str
    started_at: float
    ended_at: float | None = None
    status: ToolSpanStatus = "completed"

    @property
    def duration_s(self) -> float | None:
        """From the call to its output, approval included."""
        return None if self.ended_at is None else self.ended_at - self.started_at

    def __repr__(self) -> str:
        return f"ToolSpan({self.name!r} {self.status}{_for(self.duration_s)})"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TurnInterruption(Value):
    """The interrupt that ended a turn's answer.

    `cause`: ``"speech"`` of the user, ``"app"`` (`session.interrupt`, `cancel_response`), ``"guardrail"``, or
    ``"leave"`` (a `respond` or `ask` was left). `reason` says why a pending barge-in was confirmed: ``"long"`` speech,
    its ``"words"``, ``"no transcript"`` in time, or ``"answer over"``, where the agent came to its end meanwhile.
    """

    cause: InterruptionCause
    reason: str | None = None
    onset_at: float | None = None
    """The user's speech began, by the server's position in the audio that was sent; or the call of `interrupt`."""

    told_at: float
    """The session stopped the audio, and emitted ``audio_interrupted``."""

    silent_at: float | None = None
    """The last sample was played, by the report of the endpoint, if it played after the onset."""

    @property
    def silence_latency_s(self) -> float | None:
        """From the onset to silence: how long the agent talked on."""
        if self.onset_at is None or self.silent_at is None:
            return None
        return self.silent_at - self.onset_at


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TurnMetrics(Value):
    """The figures of one turn, when it is over.

    `source`: ``"speech"``, ``"text"`` (a message), ``"idle"`` (the user's silence), ``"request"`` (the app asked for a
    response), or ``"automatic"`` (the session did, for the output of a tool or after a guardrail).

    `status`: ``"completed"``; ``"interrupted"`` while it was heard; ``"cancelled"`` before any of it was heard;
    ``"failed"``; ``"unanswered"``. `reason` says why; it is None for ``"completed"``.
    """

    turn_id: str
    """Ours, and unique in the session."""

    number: int
    """From 1, in the order in which turns began."""

    source: TurnSource
    agent: str
    """The name of the agent in charge when the turn began."""

    status: TurnStatus
    reason: str | None = None
    item_ids: tuple[str, ...] = ()
    """The items of the user and of the agent, in order."""

    response_ids: tuple[str, ...] = ()

    speech_started_at: float | None = None
    """The user began to speak: the server's position in the audio that was sent, as the time when that was sent."""

    speech_ended_at: float | None = None
    """The user fell silent, likewise: before the pause by which the server knows that."""

    committed_at: float | None = None
    """The server made an item of the user's audio; of a message: it was sent."""

    transcribed_at: float | None = None
    requested_at: float | None = None
    """The app or the session asked for an answer; None where the server answers by itself."""

    created_at: float | None = None
    """The first response began."""

    first_text_at: float | None = None
    """The first word of text or of a transcript came."""

    first_audio_at: float | None = None
    """The first audio came from the server."""

    first_heard_at: float | None = None
    """The user heard the first of it."""

    done_at: float | None = None
    """The last response was done."""

    heard_until_at: float | None = None
    """The user heard the last of it."""

    tools: tuple[ToolSpan, ...] = ()
    interruption: TurnInterruption | None = None
    usage: Usage | None = None
    """The tokens of its responses; None where the server does not say."""

    cost: Cost | None = None
    retries: int = 0
    """How often a request for its answer met another response and was sent again."""

    queue_peaks: Mapping[str, float] = attrs.field(factory=dict)
    """The most that waited during the turn: ``"requests"`` for a response that could not be sent yet, and
    ``"audio_s"``, seconds of audio that had come and was not heard when a response was done."""

    @property
    def response_latency_s(self) -> float | None:
        """From the end of the user's speech to the first audio heard; where the user did not speak, from the request
        for an answer. None where nothing was heard."""
        begun = self.speech_ended_at if self.speech_ended_at is not None else self.requested_at
        return None if begun is None or self.first_heard_at is None else self.first_heard_at - begun

    @property
    def silence_latency_s(self) -> float | None:
        """From the onset of the user's speech, or the call of `interrupt`, to silence; see `TurnInterruption`."""
        return None if self.interruption is None else self.interruption.silence_latency_s

    @property
    def heard_s(self) -> float | None:
        """From the first audio heard to the last, pauses included."""
        if self.first_heard_at is None or self.heard_until_at is None:
            return None
        return self.heard_until_at - self.first_heard_at

    def __repr__(self) -> str:
        parts = [f"TurnMetrics({self.number} {self.source} {self.status}"]
        if self.response_latency_s is not None:
            parts.append(f"answer heard{_for(self.response_latency_s, 'after')}")
        if self.silence_latency_s is not None:
            parts.append(f"silent{_for(self.silence_latency_s, 'after')}")
        if self.tools:
            parts.append(f"{len(self.tools)} tool call{'s'[: len(self.tools) > 1]}")
        if self.cost is not None:
            parts.append(f"cost {self.cost}")
        return ", ".join(parts) + ")"


def _for(seconds: float | None, word: str = "in") -> str:
    return "" if seconds is None else f" {word} {seconds * 1000:.0f} ms"


_GROWTH: Final = 1.02
_LOG_GROWTH: Final = math.log(_GROWTH)
_LEAST: Final = 1e-4
_BUCKETS: Final = 900


@attrs.define
class Histogram:
    """A distribution of seconds, in bounded memory: percentiles are exact to one per cent.

    Values are counted in at most 900 classes, each two per cent wider than the one before, from 0.1 ms to 90
    minutes; shorter ones are one class, and longer ones another. The least and the greatest value are kept as they are.
    """

    count: int = attrs.field(default=0, init=False)
    total: float = attrs.field(default=0.0, init=False)
    """The sum of the values."""

    least: float | None = attrs.field(default=None, init=False)
    greatest: float | None = attrs.field(default=None, init=False)
    _counts: dict[int, int] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, values: Iterable[float]) -> Histogram:
        """Return the histogram of these values."""
        histogram = cls()
        for value in values:
            histogram.add(value)
        return histogram

    def add(self, value: float) -> None:
        """Count a value in seconds. Raises ValueError for one that is not finite; a negative one counts as 0."""
        if not math.isfinite(value):
            raise ValueError(f"a histogram counts finite numbers, got {value!r}")
        value = max(value, 0.0)
        index = 0 if value < _LEAST else min(_BUCKETS - 1, 1 + int(math.log(value / _LEAST) / _LOG_GROWTH))
        self._counts[index] = self._counts.get(index, 0) + 1
        self.count += 1
        self.total += value
        self.least = value if self.least is None else min(self.least, value)
        self.greatest = value if self.greatest is None else max(self.greatest, value)

    def __add__(self, other: Histogram) -> Histogram:
        """Return the histogram of the values of both, for example of several sessions."""
        both = self.copy()
        for index, count in other._counts.items():
            both._counts[index] = both._counts.get(index, 0) + count
        both.count += other.count
        both.total += other.total
        both.least = min((each for each in (self.least, other.least) if each is not None), default=None)
        both.greatest = max((each for each in (self.greatest, other.greatest) if each is not None), default=None)
        return both

    def copy(self) -> Histogram:
        """Return another one with the same values."""
        copied = Histogram()
        copied.count, copied.total, copied.least, copied.greatest = self.count, self.total, self.least, self.greatest
        copied._counts = dict(self._counts)
        return copied

    def percentile(self, share: float) -> float | None:
        """Return the value that `share` per cent of the values do not exceed; None of no values.

        `share` is from 0 to 100, else ValueError.
        """
        if not 0 <= share <= 100:
            raise ValueError(f"share is a percentage from 0 to 100, got {share!r}")
        if self.least is None or self.greatest is None:
            return None
        rank = max(1, math.ceil(self.count * share / 100))
        below = 0
        for index in sorted(self._counts):
            below += self._counts[index]
            if below >= rank:
                if index == _BUCKETS - 1:
                    break
                middle = 0.0 if index == 0 else _LEAST * _GROWTH ** (index - 0.5)
                return min(max(middle, self.least), self.greatest)
        return self.greatest

    @property
    def p50(self) -> float | None:
        """The median."""
        return self.percentile(50)

    @property
    def p90(self) -> float | None:
        """The value that nine of ten values do not exceed."""
        return self.percentile(90)

    @property
    def p99(self) -> float | None:
        """The value that 99 of 100 values do not exceed."""
        return self.percentile(99)

    @property
    def mean(self) -> float | None:
        """The mean; None of no values."""
        return self.total / self.count if self.count else None

    def __repr__(self) -> str:
        if not self.count:
            return "Histogram(empty)"
        shown = ", ".join(f"p{share}={(self.percentile(share) or 0) * 1000:.0f} ms" for share in (50, 90, 99))
        return f"Histogram({self.count} values, {shown})"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TurnStatistics(Value):
    """All turns of a session that are over, summed up: `SessionStatistics.turns`. The histograms are copies."""

    ended: int
    open: int
    """Turns that have begun and are not over."""

    by_status: Mapping[TurnStatus, int]
    by_source: Mapping[TurnSource, int]
    response_latency_s: Histogram
    """Of turns that were spoken: from the end of speech to the first audio heard."""

    request_latency_s: Histogram
    """Of the others: from the request for an answer to the first audio heard."""

    silence_latency_s: Histogram
    """Of turns that the user's speech interrupted: from its onset to silence."""

    tool_s: Histogram
    """Of calls of tools: from the call to its output."""

    heard_s: float
    """The time in which the agent was heard."""

    tool_calls: int
    retries: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FailureCounters(Value):
    """How often something of a session has failed so far; each has been logged, and told in an ``error`` event."""

    tools: int = 0
    """Calls of tools: they raised, took too long, do not exist, or one of their functions failed."""

    handoffs: int = 0
    approval_handlers: int = 0
    """The approval handler raised, or gave no decision."""

    guardrails: int = 0
    """Guardrails of words and of tools: they raised, gave no verdict, or took too long."""

    hooks: int = 0
    endpoints: int = 0
    playback_trackers: int = 0
    """Questions to the playback tracker. Only the first failure of a kind is logged and told."""

    mcp_servers: int = 0
    recordings: int = 0
    """Recordings that ended before their time."""

    responses: int = 0
    """Responses that failed, and requests for one that brought none."""

    server: int = 0
    """Other errors of the server: refused requests, messages that cannot be read."""

    connections: int = 0
    """Callables of the app's that a reconnect needs: those for credentials, and for summaries."""

    deadlines: int = 0
    """Waits of the library's own that did not end at their deadline: faults of trealtime (`StuckDeadline`)."""

    @property
    def total(self) -> int:
        """All of them."""
        return sum(attrs.astuple(self))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConnectionCounters(Value):
    """Counts of a session's connections, for `session.statistics()`."""

    losses: int = 0
    attempts: int = 0
    """Connections that were dialled after losses, and after a first one that a busy server refused."""

    reconnects: int = 0
    rollovers: int = 0
    outage_s: float = 0.0
    """The time without a connection, all losses together; the one under way does not count yet."""

    items_replayed: int = 0
    items_refused: int = 0
    """Replayed items that a server did not take."""

    audio_resent_s: float = 0.0
    audio_dropped_s: float = 0.0
    """The user's audio that was no longer kept when a connection would have needed it."""

    replayed_tokens: int = 0
    """An estimate of the input that replayed items make, all connections together."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RecordingStatistics(Value):
    """Numbers about the recording of a session."""

    name: str
    """The file, or ``"in memory"``."""

    lines: int
    """Lines written so far."""

    bytes: int
    """Their length, before compression."""

    waiting_bytes: int
    """What waits to be written."""

    lost: int
    """Lines for which there was no room, because the disk was too slow."""

    failure: str | None
    """The reason why the recording has ended before its time."""
