"""The spans of a session, event by event."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
from opentelemetry.trace import StatusCode

from trealtime.agents.agent import RealtimeAgent
from trealtime.events import (
    EventInfo,
    RealtimeAgentEndEvent,
    RealtimeAgentStartEvent,
    RealtimeAudioEnd,
    RealtimeToolApprovalDropped,
    RealtimeToolApprovalRequired,
    RealtimeToolEnd,
    RealtimeToolStart,
    RealtimeTurnEnded,
    ServerErrorInfo,
)
from trealtime.mcp.hosted import HostedTool
from trealtime.metrics import ToolSpan, TurnInterruption, TurnMetrics
from trealtime.observability.attributes import error_type, server_attributes
from trealtime.observability.spans import _MOST_OPEN, SessionSpans, TurnPlace
from trealtime.tools.function_tool import function_tool
from trealtime.usage import Cost, Usage

INFO = EventInfo(None)
AGENT = RealtimeAgent(name="Desk")


@function_tool
async def look() -> str:
    """Look."""
    return ""


@pytest.fixture
async def spans(collected: Any) -> SessionSpans:
    made = SessionSpans(
        collected.tracers.get_tracer("test"),
        "session_1",
        "Desk",
        "openai",
        False,
        lambda: "gpt-realtime",
        lambda response_id, call_id: TurnPlace(1, 0.5) if "_1" in (response_id or call_id or "") else None,
        lambda call_id: trio.current_time() < 2.5,
    )
    await trio.sleep(1)
    made.begin()
    return made


def began(response_id: str = "resp_1") -> RealtimeAgentStartEvent:
    return RealtimeAgentStartEvent(agent=AGENT, info=INFO, response_id=response_id)


def ended(response_id: str = "resp_1", **fields: Any) -> RealtimeAgentEndEvent:
    return RealtimeAgentEndEvent(agent=AGENT, info=INFO, response_id=response_id, **fields)


def turn(**fields: Any) -> RealtimeTurnEnded:
    given = {"turn_id": "turn_1", "number": 1, "source": "speech", "agent": "Desk", "status": "completed", **fields}
    return RealtimeTurnEnded(metrics=TurnMetrics(**given), info=INFO)


def seconds(collected: Any, span: Any) -> tuple[float, float]:
    """The beginning and the end of a span, since the session's began at 1 s."""
    zero = collected.one("realtime_session").start_time - 1e9
    return round((span.start_time - zero) / 1e9, 6), round((span.end_time - zero) / 1e9, 6)


async def test_a_turn_has_its_moments_its_figures_and_the_calls_that_told_of_themselves_by_nothing(
    autojump_clock, spans, collected
) -> None:
    spans.note(began())
    await trio.sleep(4)
    spans.note(ended(usage=Usage(input_tokens=7, output_tokens=9)))
    spans.note(
        turn(
            status="interrupted",
            speech_started_at=0.6,
            speech_ended_at=1.0,
            first_heard_at=1.4,
            heard_until_at=3.0,
            done_at=2.0,
            cost=Cost(at_most=1),
            usage=Usage(input_tokens=7),
            tools=(
                ToolSpan(call_id="c", name="transfer", agent="Desk", started_at=1.1, ended_at=1.2, status="failed"),
            ),
            interruption=TurnInterruption(cause="speech", reason="words", onset_at=2.6, told_at=2.9, silent_at=3.0),
        )
    )
    spans.end(SimpleNamespace(closed_by="client", code=1000, clean=True), None)
    span = collected.one("invoke_agent")
    assert seconds(collected, span) == (0.5, 3.0)
    zero = collected.one("realtime_session").start_time - 1e9
    moments = {event.name: round((event.timestamp - zero) / 1e9, 6) for event in span.events}
    assert moments == {
        "speech_started": 0.6,
        "speech_ended": 1.0,
        "first_heard": 1.4,
        "done": 2.0,
        "heard_until": 3.0,
        "interruption.onset": 2.6,
        "interruption.told": 2.9,
        "interruption.silent": 3.0,
    }
    assert span.attributes["trealtime.turn.response_latency"] == pytest.approx(0.4)
    assert span.attributes["trealtime.turn.silence_latency"] == pytest.approx(0.4)
    assert span.attributes["trealtime.turn.interruption.reason"] == "words"
    assert span.attributes["trealtime.turn.cost"] == 1.0
    tool = collected.one("execute_tool")
    assert collected.parent_of(tool) is not None
    assert seconds(collected, tool) == (1.1, 1.2)
    assert tool.attributes["error.type"] == "failed"


async def test_a_turn_without_a_response_is_a_span_too(autojump_clock, spans, collected) -> None:
    spans.note(turn(status="unanswered", reason="dismissed", speech_started_at=2.0, speech_ended_at=2.5))
    spans.end(None, None)
    span = collected.one("invoke_agent")
    assert seconds(collected, span) == (2.0, 2.5)
    assert span.attributes["trealtime.turn.reason"] == "dismissed"


async def test_a_response_that_is_never_told_over_ends_with_its_turn(autojump_clock, spans, collected) -> None:
    spans.note(began())
    await trio.sleep(3)
    spans.note(turn(response_ids=("resp_1", "resp_2"), created_at=1.0, done_at=4.0))
    spans.note(ended())  # too late
    spans.end(None, None)
    span = collected.one("chat")
    assert span.attributes["trealtime.response.status"] == "dropped"
    assert seconds(collected, span) == (1.0, 4.0)


async def test_a_failed_turn_and_response_are_errors(autojump_clock, spans, collected) -> None:
    spans.note(began())
    spans.note(RealtimeAudioEnd(item_id="i", content_index=0, info=INFO, response_id="resp_1"))
    spans.note(ended(status="failed", reason="overloaded"))
    spans.note(turn(status="failed", reason="overloaded"))
    spans.end(None, None)
    for name in ("chat", "invoke_agent"):
        span = collected.one(name)
        assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "overloaded")
    assert collected.one("chat").attributes["gen_ai.output.type"] == "speech"
    assert collected.one("chat").name == "chat gpt-realtime"


@pytest.mark.parametrize("end", ["approved", "rejected", "timeout", "never"])
async def test_an_approval_lasts_until_its_decision(autojump_clock, spans, collected, end) -> None:
    spans.note(RealtimeToolApprovalRequired(agent=AGENT, tool=look, call_id="call_1", arguments="{}", info=INFO))
    await trio.sleep(2)
    if end == "approved":
        spans.note(RealtimeToolStart(agent=AGENT, tool=look, arguments="{}", info=INFO, call_id="call_1"))
        spans.note(RealtimeToolEnd(agent=AGENT, tool=look, arguments="{}", output="", info=INFO, call_id="call_1"))
    elif end == "rejected":
        failure = {"failure": "approval_rejected", "call_id": "call_1"}
        spans.note(RealtimeToolEnd(agent=AGENT, tool=look, arguments="{}", output="", info=INFO, **failure))
    elif end == "timeout":
        dropped = {"reason": "timeout", "call_id": "call_1"}
        spans.note(RealtimeToolApprovalDropped(agent=AGENT, tool=look, arguments="{}", info=INFO, **dropped))
    spans.end(None, None)
    span = collected.one("approval")
    assert seconds(collected, span) == (1.0, 3.0)
    assert span.attributes.get("trealtime.approval.decision") == (None if end == "never" else end)
    assert collected.parent_of(span) is collected.one("invoke_agent")
    if end == "rejected":
        tool = collected.one("execute_tool")
        assert tool.attributes["error.type"] == "approval_rejected"


async def test_the_approval_of_a_call_that_the_server_makes_ends_when_it_waits_no_more(
    autojump_clock, spans, collected
) -> None:
    tool = HostedTool(name="search", server_label="web")
    spans.note(RealtimeToolApprovalRequired(agent=AGENT, tool=tool, call_id="call_1", arguments="{}", info=INFO))
    for _ in range(4):
        await trio.sleep(1)
        spans.note(began())
    spans.end(None, None)
    span = collected.one("approval")
    assert seconds(collected, span) == (1.0, 3.0)
    assert span.attributes["trealtime.approval.decision"] == "decided"


async def test_what_belongs_to_no_turn_is_a_child_of_the_session(autojump_clock, spans, collected) -> None:
    spans.note(began("resp_2"))
    spans.note(ended("resp_2"))
    spans.end(None, None)
    assert collected.parent_of(collected.one("chat")) is collected.one("realtime_session")


async def test_spans_that_nothing_ends_are_bounded(autojump_clock, spans, collected) -> None:
    for number in range(_MOST_OPEN + 5):
        spans.note(began(f"other_{number}x"))
    assert len(collected.named("chat")) == 5
    spans.end(None, None)
    assert len(collected.named("chat")) == _MOST_OPEN + 5


@pytest.mark.parametrize(
    "url, found",
    [
        (None, {}),
        ("wss://api.openai.com/v1/realtime?model=m", {"server.address": "api.openai.com", "server.port": 443}),
        ("ws://127.0.0.1:8765/", {"server.address": "127.0.0.1", "server.port": 8765}),
        ("ws://[::1", {}),
        ("nonsense", {}),
    ],
)
def test_of_an_address_spans_have_host_and_port_alone(url, found) -> None:
    assert server_attributes(url) == found


@pytest.mark.parametrize(
    "error, name",
    [
        (ServerErrorInfo(message="x", code="overloaded"), "overloaded"),
        (ServerErrorInfo(message="x", type="server_error"), "server_error"),
        (ServerErrorInfo(message="x"), "_OTHER"),
        (LookupError("x"), "LookupError"),
    ],
)
def test_a_failure_has_a_short_name(error, name) -> None:
    assert error_type(error) == name
