"""The spans of one session: session, connections, turns, responses, tools, approvals, handoffs, guardrails.

Theory of operation
1. The events of a session and the figures of its turns are all that this sees. A span begins with the event that begins
   the thing, so that spans of the app's own code inside a tool find it as their parent. Handoffs and guardrails that
   trip are told at their end alone, with the time at which they began.
2. Times are those of Trio's clock, carried to the wall clock at the moment when the session was entered: a virtual
   clock gives virtual spans, and the figures of a turn are the same in `session.turns` and in its span.
3. A turn's span begins when its first response does, at the time when the turn began, and ends with ``turn_ended``,
   whose figures become its attributes, and whose moments its span events. A turn without a response gets its span then.
4. Spans that are open when the session ends are ended there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final

import attrs
import trio
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from trealtime.events import (
    RealtimeAgentEndEvent,
    RealtimeAgentStartEvent,
    RealtimeAudioInterrupted,
    RealtimeError,
    RealtimeGuardrailTripped,
    RealtimeHandoffEvent,
    RealtimeSessionEvent,
    RealtimeTextDelta,
    RealtimeToolApprovalDropped,
    RealtimeToolApprovalRequired,
    RealtimeToolEnd,
    RealtimeToolStart,
    RealtimeTranscriptDelta,
    RealtimeTurnEnded,
)
from trealtime.metrics import ToolSpan, TurnMetrics
from trealtime.observability.attributes import (
    AGENT,
    CONVERSATION,
    OPERATION,
    PROVIDER,
    error_type,
    server_attributes,
    turn_attributes,
)
from trealtime.terminal import text_of
from trealtime.tools.function_tool import FunctionTool

__all__ = ["SessionSpans", "TurnPlace"]

_MOMENTS: Final = (
    "speech_started_at",
    "speech_ended_at",
    "committed_at",
    "transcribed_at",
    "requested_at",
    "created_at",
    "first_text_at",
    "first_audio_at",
    "first_heard_at",
    "done_at",
    "heard_until_at",
)
_MOST_OPEN: Final = 1024
"""Spans of one kind that may be open; an older one is ended first."""


@attrs.frozen
class TurnPlace:
    """The turn that something belongs to: its number in the session, and when it began."""

    number: int
    began_at: float


@attrs.frozen
class _Open:
    """A span that has begun. `token` is there while it is the current one of its task."""

    span: Span
    token: Any = None
    began_at: float = 0.0
    hosted: bool = False
    """The server runs this tool: no event tells of the decision about the call."""


@attrs.define(eq=False)
class SessionSpans:
    """The spans of one session. `turn_of` finds the turn of a response or of a call; None where it has none."""

    _tracer: Tracer
    _session_id: str
    _agent: str
    """The name of the agent in charge."""

    _provider: str
    _capture_content: bool
    _model: Callable[[], str | None]
    _turn_of: Callable[[str | None, str | None], TurnPlace | None]
    _waits: Callable[[str], bool]
    """Whether a call still waits for its decision."""

    _offset_ns: int = attrs.field(init=False)
    """What Trio's clock, in nanoseconds, lacks to the wall clock."""

    _session: Span = attrs.field(init=False)
    _connections: int = attrs.field(default=0, init=False)
    _turns: dict[int, _Open] = attrs.field(factory=dict, init=False)
    _responses: dict[str, _Open] = attrs.field(factory=dict, init=False)
    _tools: dict[str, _Open] = attrs.field(factory=dict, init=False)
    _approvals: dict[str, _Open] = attrs.field(factory=dict, init=False)
    _seen_calls: set[str] = attrs.field(factory=set, init=False)
    """Calls of open turns that have a span."""

    _numbers: dict[str, int] = attrs.field(factory=dict, init=False)
    """The turns of responses of open turns."""

    _said: dict[str, list[str]] = attrs.field(factory=dict, init=False)
    """With `capture_content`, what each response has said."""

    _spoken: set[str] = attrs.field(factory=set, init=False)
    """Open responses that have audio."""

    # ---- the session ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin the span of the session, as a child of the current span."""
        self._offset_ns = time.time_ns() - round(trio.current_time() * 1e9)
        attributes = {CONVERSATION: self._session_id, PROVIDER: self._provider, AGENT: self._agent}
        self._session = self._tracer.start_span(
            "realtime_session", kind=SpanKind.INTERNAL, attributes=attributes, start_time=self._now_ns
        )

    def opened(self) -> None:
        """Note that the session is ready."""
        model = self._model()
        if model is not None:
            self._session.set_attribute("gen_ai.request.model", model)
        self._session.add_event("session_ready", timestamp=self._now_ns)

    def end(self, outcome: Any, error: BaseException | None) -> None:
        """End all that is open, the session last. `outcome` is its `CloseOutcome`, if it had a connection."""
        for kind in (self._approvals, self._tools, self._responses, self._turns):
            for entry in kind.values():
                entry.span.set_attribute("trealtime.cut_by_end", value=True)
                entry.span.end(self._now_ns)
            kind.clear()
        span = self._session
        if outcome is not None:
            span.set_attributes({"trealtime.close.by": outcome.closed_by, "trealtime.close.code": outcome.code})
            if not outcome.clean:
                span.set_status(Status(StatusCode.ERROR))
                span.set_attribute("error.type", f"close_{outcome.code}")
        if isinstance(error, Exception):
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", type(error).__qualname__)
        span.end(self._now_ns)

    # ---- connections ---------------------------------------------------------------------------------------------

    def connection_begins(self, url: str | None) -> Span:
        """Begin the span of a connection; the first is ``connect``, further ones ``reconnect``."""
        self._connections += 1
        attributes = {
            CONVERSATION: self._session_id,
            PROVIDER: self._provider,
            "trealtime.connection.number": self._connections,
            **server_attributes(url),
        }
        name = "connect" if self._connections == 1 else "reconnect"
        return self._start(name, self._session, SpanKind.CLIENT, attributes)

    def connection_ends(self, span: Span, error: BaseException | None) -> None:
        """End the span of a connection that is open now, or did not come to be because of `error`."""
        if error is not None:
            span.set_status(Status(StatusCode.ERROR))
            status = getattr(error, "status", None)
            span.set_attribute("error.type", str(status) if status else type(error).__qualname__)
        span.end(self._now_ns)

    # ---- what happens --------------------------------------------------------------------------------------------

    def note(self, event: RealtimeSessionEvent) -> None:
        """Take in an event."""
        for call_id in [each for each, entry in self._approvals.items() if entry.hosted and not self._waits(each)]:
            self._approval_ended(call_id, "decided")
        match event:
            case RealtimeAgentStartEvent():
                self._response_began(event)
            case RealtimeAgentEndEvent():
                self._response_ended(event)
            case RealtimeToolStart():
                self._tool_began(event)
            case RealtimeToolEnd():
                self._tool_ended(event)
            case RealtimeTurnEnded():
                self._turn_ended(event.metrics)
            case RealtimeAudioInterrupted():
                self._interrupted(event)
            case RealtimeToolApprovalRequired():
                self._approval_began(event)
            case RealtimeToolApprovalDropped():
                self._approval_ended(event.call_id, event.reason)
            case RealtimeHandoffEvent():
                self._handed_over(event)
            case RealtimeGuardrailTripped():
                self._tripped(event)
            case RealtimeError():
                self._failed(event)
            case RealtimeTranscriptDelta() | RealtimeTextDelta() if (
                self._capture_content and event.response_id is not None
            ):
                self._said.setdefault(event.response_id, []).append(event.delta)
            case _ if event.type == "audio_end" and event.response_id in self._responses:
                self._spoken.add(event.response_id)
            case _ if event.type in _SESSION_MARKS:
                self._session.add_event(event.type, timestamp=self._now_ns)

    def _response_began(self, event: RealtimeAgentStartEvent) -> None:
        if event.response_id is None:
            return
        model = self._model()
        attributes: dict[str, Any] = {
            OPERATION: "chat",
            PROVIDER: self._provider,
            CONVERSATION: self._session_id,
            AGENT: event.agent.name,
            "gen_ai.response.id": event.response_id,
            **({"gen_ai.request.model": model} if model is not None else {}),
        }
        if self._capture_content and isinstance(event.agent.instructions, str):
            attributes["gen_ai.system_instructions"] = _parts(event.agent.instructions)
        parent = self._turn_span(event.response_id, None)
        span = self._start(f"chat {model}" if model else "chat", parent, SpanKind.CLIENT, attributes)
        self._keep(self._responses, event.response_id, _Open(span, began_at=trio.current_time()))

    def _response_ended(self, event: RealtimeAgentEndEvent) -> None:
        entry = self._responses.pop(event.response_id or "", None)
        if entry is None:
            return
        span = entry.span
        words = "".join(self._said.pop(event.response_id or "", ()))
        spoken = event.response_id in self._spoken
        self._spoken.discard(event.response_id or "")
        span.set_attribute("gen_ai.response.finish_reasons", [event.reason or event.status])
        span.set_attribute("gen_ai.output.type", "speech" if spoken else "text")
        span.set_attribute("trealtime.response.status", event.status)
        if event.usage is not None:
            span.set_attribute("gen_ai.usage.input_tokens", event.usage.input_tokens)
            span.set_attribute("gen_ai.usage.output_tokens", event.usage.output_tokens)
        if words:
            message = {
                "role": "assistant",
                "parts": [{"type": "text", "content": words}],
                "finish_reason": event.status,
            }
            span.set_attribute("gen_ai.output.messages", json.dumps([message], ensure_ascii=False))
        if event.status == "failed":
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", event.reason or "failed")
        span.end(self._now_ns)

    def _tool_began(self, event: RealtimeToolStart) -> None:
        self._approval_ended(event.call_id, "approved")
        span = self._tool_span(event.tool.name, event.call_id, event.agent.name, event.arguments)
        # This is the task that runs the tool: what the tool traces by itself becomes a child of this span.
        token = otel_context.attach(trace.set_span_in_context(span))
        self._keep(self._tools, event.call_id, _Open(span, token))

    def _tool_ended(self, event: RealtimeToolEnd) -> None:
        if event.failure == "approval_rejected":
            self._approval_ended(event.call_id, "rejected")
        entry = self._tools.pop(event.call_id, None)
        if entry is None:
            entry = _Open(self._tool_span(event.tool.name, event.call_id, event.agent.name, event.arguments))
        elif entry.token is not None:
            otel_context.detach(entry.token)
        if self._capture_content:
            entry.span.set_attribute("gen_ai.tool.call.result", text_of(event.output))
        if event.failure is not None:
            entry.span.set_status(Status(StatusCode.ERROR))
            entry.span.set_attribute("error.type", event.failure)
        entry.span.end(self._now_ns)

    def _tool_span(self, name: str, call_id: str, agent: str, arguments: str) -> Span:
        attributes: dict[str, Any] = {
            OPERATION: "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.id": call_id,
            "gen_ai.tool.type": "function",
            CONVERSATION: self._session_id,
            AGENT: agent,
        }
        if self._capture_content:
            attributes["gen_ai.tool.call.arguments"] = arguments
        self._seen_calls.add(call_id)
        parent = self._turn_span(None, call_id)
        return self._start(f"execute_tool {name}", parent, SpanKind.INTERNAL, attributes)

    def _approval_began(self, event: RealtimeToolApprovalRequired) -> None:
        attributes = {"gen_ai.tool.name": event.tool.name, "gen_ai.tool.call.id": event.call_id}
        span = self._start(
            f"approval {event.tool.name}",
            self._turn_span(None, event.call_id),
            SpanKind.INTERNAL,
            {**attributes, CONVERSATION: self._session_id},
        )
        self._keep(self._approvals, event.call_id, _Open(span, hosted=not isinstance(event.tool, FunctionTool)))

    def _approval_ended(self, call_id: str, decision: str) -> None:
        entry = self._approvals.pop(call_id, None)
        if entry is not None:
            entry.span.set_attribute("trealtime.approval.decision", decision)
            entry.span.end(self._now_ns)

    def _handed_over(self, event: RealtimeHandoffEvent) -> None:
        self._agent = event.to_agent.name
        attributes = {
            AGENT: event.to_agent.name,
            "trealtime.handoff.from": event.from_agent.name,
            CONVERSATION: self._session_id,
        }
        self._ended(f"handoff {event.to_agent.name}", self._newest_turn(), attributes, event.called_at)

    def _tripped(self, event: RealtimeGuardrailTripped) -> None:
        names = [result.guardrail.get_name() for result in event.guardrail_results]
        attributes = {
            "trealtime.guardrail.names": names,
            "trealtime.guardrail.which": event.which,
            AGENT: event.agent.name,
        }
        parent = self._turn_span(event.response_id, None) if event.response_id else self._newest_turn()
        self._ended(f"guardrail {names[0] if names else ''}".strip(), parent, attributes, event.began_at)

    def _interrupted(self, event: RealtimeAudioInterrupted) -> None:
        attributes = {"trealtime.heard_ms": event.heard_ms, "trealtime.turn.interruption.cause": event.cause}
        for entry in (self._responses.get(event.response_id or ""), self._turn_of_response(event.response_id)):
            if entry is not None:
                entry.span.add_event("audio_interrupted", attributes, self._now_ns)

    def _failed(self, event: RealtimeError) -> None:
        call = self._tools.get(getattr(event.error, "call_id", ""))
        entry = call or self._responses.get(event.response_id or "") or self._turn_of_response(event.response_id)
        span = entry.span if entry is not None else self._session
        attributes = {"error.type": error_type(event.error), "trealtime.error": type(event.error).__name__}
        if self._capture_content:
            attributes["exception.message"] = text_of(getattr(event.error, "message", event.error))
        span.add_event("error", attributes, self._now_ns)

    # ---- turns ---------------------------------------------------------------------------------------------------

    def _turn_ended(self, turn: TurnMetrics) -> None:
        entry = self._turns.pop(turn.number, None)
        for response_id in turn.response_ids:
            self._numbers.pop(response_id, None)
            self._forget(response_id)
        moments = {name: at for name in _MOMENTS if (at := getattr(turn, name)) is not None}
        if entry is None:
            entry = self._begin_turn(turn.agent, min(moments.values(), default=trio.current_time()))
        span = entry.span
        # A turn that began before a handoff may have had its first response after it.
        span.update_name(f"invoke_agent {turn.agent}")
        span.set_attributes({**turn_attributes(turn), AGENT: turn.agent})
        for name, at in moments.items():
            span.add_event(name.removesuffix("_at"), timestamp=self._ns(at))
        interruption = turn.interruption
        if interruption is not None:
            for name in ("onset_at", "told_at", "silent_at"):
                if (at := getattr(interruption, name)) is not None:
                    span.add_event(f"interruption.{name.removesuffix('_at')}", timestamp=self._ns(at))
        for tool in turn.tools:
            self._late_tool(tool, span)
        if turn.status == "failed":
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", turn.reason or "failed")
        span.end(self._ns(max(moments.values(), default=trio.current_time())))

    def _forget(self, response_id: str) -> None:
        """End a response that nothing has told the end of: its connection was lost, and another one has answered."""
        entry = self._responses.pop(response_id, None)
        self._said.pop(response_id, None)
        self._spoken.discard(response_id)
        if entry is not None:
            entry.span.set_attribute("trealtime.response.status", "dropped")
            entry.span.end(self._now_ns)

    def _late_tool(self, tool: ToolSpan, turn: Span) -> None:
        """Make the span of a call that told of itself by no event, such as a handoff."""
        if tool.call_id in self._seen_calls:
            self._seen_calls.discard(tool.call_id)
            return
        attributes = {
            OPERATION: "execute_tool",
            "gen_ai.tool.name": tool.name,
            "gen_ai.tool.call.id": tool.call_id,
            CONVERSATION: self._session_id,
            AGENT: tool.agent,
        }
        span = self._start(f"execute_tool {tool.name}", turn, SpanKind.INTERNAL, attributes, tool.started_at)
        if tool.status != "completed":
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", tool.status)
        span.end(self._ns(tool.ended_at) if tool.ended_at is not None else self._now_ns)

    def _turn_span(self, response_id: str | None, call_id: str | None) -> Span:
        """Return the span of the turn of a response or call, which begins now at the latest; the session's if there is
        no turn."""
        place = self._turn_of(response_id, call_id)
        if place is None:
            return self._session
        if response_id is not None:
            self._numbers[response_id] = place.number
        entry = self._turns.get(place.number)
        if entry is None:
            entry = self._begin_turn(self._agent, place.began_at)
            self._keep(self._turns, place.number, entry)
        return entry.span

    def _turn_of_response(self, response_id: str | None) -> _Open | None:
        return self._turns.get(self._numbers.get(response_id or "", 0))

    def _newest_turn(self) -> Span:
        return next(reversed(self._turns.values())).span if self._turns else self._session

    def _begin_turn(self, agent: str, began_at: float) -> _Open:
        attributes = {
            OPERATION: "invoke_agent",
            PROVIDER: self._provider,
            CONVERSATION: self._session_id,
            AGENT: agent,
        }
        return _Open(self._start(f"invoke_agent {agent}", self._session, SpanKind.INTERNAL, attributes, began_at))

    # ---- inside --------------------------------------------------------------------------------------------------

    def _start(
        self, name: str, parent: Span, kind: SpanKind, attributes: dict[str, Any], began_at: float | None = None
    ) -> Span:
        start = self._now_ns if began_at is None else self._ns(began_at)
        context: Context = trace.set_span_in_context(parent, Context())
        return self._tracer.start_span(name, context, kind, attributes, start_time=start)

    def _ended(self, name: str, parent: Span, attributes: dict[str, Any], began_at: float | None) -> None:
        """Make the span of something that ends now."""
        self._start(name, parent, SpanKind.INTERNAL, attributes, began_at).end(self._now_ns)

    def _keep(self, kind: dict[Any, _Open], key: Any, entry: _Open) -> None:
        kind[key] = entry
        while len(kind) > _MOST_OPEN:
            kind.pop(next(iter(kind))).span.end(self._now_ns)

    def _ns(self, at: float) -> int:
        return self._offset_ns + round(at * 1e9)

    @property
    def _now_ns(self) -> int:
        return self._ns(trio.current_time())


_SESSION_MARKS: Final = frozenset(
    {
        "connection_lost",
        "reconnecting",
        "reconnected",
        "rollover_started",
        "rolled_over",
        "limit_approached",
        "limit_reached",
        "settings_mismatch",
        "audio_dropped",
    }
)
"""Events that the span of the session shows."""


def _parts(text: str) -> str:
    return json.dumps([{"type": "text", "content": text}], ensure_ascii=False)
