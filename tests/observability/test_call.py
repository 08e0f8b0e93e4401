"""A whole call as spans and metrics, against the emulator and under the mock clock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode

from trealtime import open_emulator
from trealtime._session.approval_handler import Approve
from trealtime._session.runner import RealtimeRunner
from trealtime._session.telemetry import Telemetry
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.guardrails import GuardrailFunctionOutput, output_guardrail
from trealtime.agents.handoffs import realtime_handoff
from trealtime.errors import ConnectFailed
from trealtime.testing import MemoryEndpoint
from trealtime.tools.function_tool import function_tool

WORDS = "order 4711 of Grandma"


@function_tool
async def look(order: int) -> str:
    """Look up an order."""
    with trace.get_tracer("of the app").start_as_current_span("select from orders"):
        await trio.sleep(0.25)
    return f"found {WORDS}"


@function_tool
async def lose(order: int) -> str:
    """Lose an order."""
    raise LookupError(WORDS)


@function_tool(needs_approval=True)
async def refund(order: int) -> str:
    """Give the money back."""
    return "done"


@output_guardrail(name="no stories")
async def no_stories(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
    await trio.sleep(0.25)
    return GuardrailFunctionOutput(None, tripwire_triggered="Once upon a time" in text)


async def look_up(context: Any) -> None:
    await trio.sleep(0.4)


BILLING = RealtimeAgent(name="Billing", instructions="You bill.")
TO_BILLING = realtime_handoff(BILLING, on_handoff=look_up)
AGENT = RealtimeAgent(
    name="Desk", instructions=f"You know of {WORDS}.", tools=[look, lose, refund], handoffs=[TO_BILLING]
)


async def approve(request: Any) -> Approve:
    await trio.sleep(2)
    return Approve()


@asynccontextmanager
async def talking(collected: Any, agent: Any = AGENT, **config: Any) -> AsyncIterator[Any]:
    telemetry = {**collected.settings, **config.pop("telemetry", {})}
    # The app's own spans go to the same place.
    async with open_emulator(listen=False) as emulator:
        runner = RealtimeRunner(agent, model=emulator.memory_model(), config={"telemetry": telemetry, **config})
        async with runner.session() as session:
            yield session


@pytest.fixture
def app_tracer(collected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`opentelemetry.trace.get_tracer`, as an app with a global provider has it."""
    monkeypatch.setattr(trace, "get_tracer", collected.tracers.get_tracer)


async def test_a_call_is_a_tree_of_spans(autojump_clock, app_tracer, collected) -> None:
    began = trio.current_time()
    async with talking(collected) as session, session.attach(MemoryEndpoint()):
        turn = await session.ask("Please call look for order 17.")
        assert turn.text
        await session.wait_for_playback()
        await trio.sleep(1)
        took = trio.current_time() - began
    span = collected.one("realtime_session")
    assert span.parent is None
    assert span.attributes["gen_ai.conversation.id"] == session.id
    assert span.attributes["gen_ai.agent.name"] == "Desk"
    assert span.attributes["gen_ai.provider.name"] == "openai"
    assert span.attributes["trealtime.close.code"] == 1000
    assert span.status.status_code is StatusCode.UNSET
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(took, abs=0.5)

    connect = collected.one("connect")
    assert collected.parent_of(connect) is span
    assert connect.kind is trace.SpanKind.CLIENT

    turn_span = collected.one("invoke_agent")
    assert collected.parent_of(turn_span) is span
    assert turn_span.name == "invoke_agent Desk"
    first, second = collected.named("chat")
    for response in (first, second):
        assert collected.parent_of(response) is turn_span
        assert response.attributes["gen_ai.operation.name"] == "chat"
        assert response.attributes["gen_ai.conversation.id"] == session.id
        assert response.attributes["gen_ai.request.model"] == session.settings["model"]
        assert response.attributes["gen_ai.response.finish_reasons"] == ("completed",)
    assert second.attributes["gen_ai.output.type"] == "speech"
    assert second.attributes["gen_ai.response.id"] == turn.response_id
    tokens = [each.attributes["gen_ai.usage.output_tokens"] for each in (first, second)]
    assert sum(tokens) == turn.usage.output_tokens

    tool = collected.one("execute_tool")
    assert collected.parent_of(tool) is turn_span
    assert tool.attributes["gen_ai.tool.name"] == "look"
    assert (tool.end_time - tool.start_time) / 1e9 == pytest.approx(0.25, abs=1e-3)
    inner = collected.one("select from orders")
    assert collected.parent_of(inner) is tool
    assert len({each.context.trace_id for each in collected.spans}) == 1


async def test_a_session_is_a_child_of_the_span_in_which_it_is_entered(autojump_clock, collected, caplog) -> None:
    with collected.tracers.get_tracer("of the app").start_as_current_span("request"):
        async with talking(collected) as session:
            await session.ask("Please call look for order 17.")
    assert collected.parent_of(collected.one("realtime_session")) is collected.one("request")
    assert [each for each in caplog.records if each.name.startswith("opentelemetry")] == []


async def test_the_figures_of_a_turn_are_those_of_the_session(autojump_clock, collected) -> None:
    async with talking(collected) as session, session.attach(MemoryEndpoint()):
        await session.ask("Please call look for order 17.")
        await session.wait_for_playback()
        await trio.sleep(1)
        (metrics,) = session.turns
        cause_of_end = session.statistics().turns
    span = collected.one("invoke_agent")
    assert span.attributes["trealtime.turn.number"] == metrics.number == 1
    assert span.attributes["trealtime.turn.status"] == metrics.status == "completed"
    assert span.attributes["trealtime.turn.response_latency"] == metrics.response_latency_s
    assert span.attributes["trealtime.turn.tool_calls"] == len(metrics.tools) == 1
    assert span.attributes["gen_ai.usage.input_tokens"] == metrics.usage.input_tokens
    moments = {event.name: event.timestamp for event in span.events}
    heard_s = (moments["heard_until"] - moments["first_heard"]) / 1e9
    assert heard_s == pytest.approx(metrics.heard_s, abs=1e-6)
    assert span.end_time == moments["heard_until"]
    assert span.start_time <= min(moments.values())

    (latency,) = collected.points("trealtime.turn.response_latency")
    assert (latency.count, latency.sum) == (1, pytest.approx(metrics.response_latency_s))
    (turns,) = collected.points("trealtime.turns")
    assert (turns.value, dict(turns.attributes)["trealtime.turn.status"]) == (cause_of_end.ended, "completed")
    (tools,) = collected.points("gen_ai.execute_tool.duration")
    assert tools.sum == pytest.approx(metrics.tools[0].duration_s)


async def test_an_interrupted_turn_says_how_long_the_agent_talked_on(autojump_clock, collected) -> None:
    async with talking(collected) as session, session.attach(MemoryEndpoint()):
        async with session.respond("Tell me a story.") as response:
            async for _ in response.text:
                break
            await trio.sleep(2)
            await session.interrupt()
        await trio.sleep(1)
        (metrics,) = session.turns
    span = collected.one("invoke_agent")
    assert metrics.interruption is not None
    assert span.attributes["trealtime.turn.status"] == metrics.status
    assert span.attributes["trealtime.turn.interruption.cause"] == metrics.interruption.cause == "app"
    assert "audio_interrupted" in {event.name for event in span.events}
    (points,) = collected.points("trealtime.turn.silence_latency") or (None,)
    assert (points is not None) is (metrics.silence_latency_s is not None)


def tone(ms: int, *, loud: bool) -> bytes:
    """PCM16 at 24 kHz that any detector takes for somebody speaking, or silence."""
    time_s = np.arange(24 * ms) / 24_000
    return (np.sin(2 * np.pi * 220 * time_s) * (8000 if loud else 0)).astype("<i2").tobytes()


async def speak(phone: MemoryEndpoint, speech_ms: int = 1500, quiet_ms: int = 1500) -> None:
    for position_ms in range(0, speech_ms + quiet_ms, 100):
        await phone.say(tone(100, loud=position_ms < speech_ms))
        await trio.sleep(0.1)


async def test_a_spoken_call_with_a_barge_in_has_the_same_figures_in_turns_spans_and_metrics(
    autojump_clock, collected
) -> None:
    phone = MemoryEndpoint()
    settings = {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 500}}}}
    async with talking(collected, model_settings=settings) as session, session.attach(phone):
        zero_s = trio.current_time()
        await speak(phone)
        await session.wait_for_playback()
        await session.send_message("Tell me a story.")
        await trio.sleep(5)
        await speak(phone)  # into the story
        await trio.sleep(60)
        turns = {turn.number: turn for turn in session.turns}
    spans = {span.attributes["trealtime.turn.number"]: span for span in collected.named("invoke_agent")}
    assert spans.keys() == turns.keys()
    assert len(turns) >= 3
    assert [turn.status for turn in turns.values()].count("interrupted") == 1
    offset_ns = collected.one("realtime_session").start_time - round(zero_s * 1e9)
    for number, turn in turns.items():
        span = spans[number]
        moments = {event.name: (event.timestamp - offset_ns) / 1e9 for event in span.events}
        for name in ("speech_started", "speech_ended", "first_audio", "first_heard", "heard_until", "done"):
            at = getattr(turn, f"{name}_at")
            assert moments.get(name) == (None if at is None else pytest.approx(at, abs=0.5))
            if at is not None and turn.first_heard_at is not None:  # exact, from moment to moment
                assert moments[name] - moments["first_heard"] == pytest.approx(at - turn.first_heard_at, abs=1e-6)
        assert span.attributes.get("trealtime.turn.response_latency") == turn.response_latency_s
        assert span.attributes.get("trealtime.turn.silence_latency") == turn.silence_latency_s
    latencies = [turn.response_latency_s for turn in turns.values() if turn.response_latency_s is not None]
    points = collected.points("trealtime.turn.response_latency")
    assert sum(point.sum for point in points) == pytest.approx(sum(latencies))
    silences = [turn.silence_latency_s for turn in turns.values() if turn.silence_latency_s is not None]
    (silence,) = collected.points("trealtime.turn.silence_latency")
    assert (silence.count, silence.sum) == (len(silences), pytest.approx(sum(silences)))
    assert dict(silence.attributes) == {"trealtime.turn.interruption.cause": "speech"}


async def test_a_tool_that_fails_an_approval_a_handoff_and_a_guardrail(autojump_clock, collected) -> None:
    async with talking(collected, approval_handler=approve, output_guardrails=[no_stories]) as session:
        await session.ask("Please call lose for order 17.")
        await session.ask("Please call refund for order 17.")
        await session.ask("Tell me a story.")
        await session.ask("transfer to billing")
        assert session.current_agent is BILLING
        await session.ask("Say hello.")
    lost, refunded, handed = collected.named("execute_tool")
    assert (lost.status.status_code, lost.attributes["error.type"]) == (StatusCode.ERROR, "failed")
    assert [event.name for event in lost.events] in (["error"], [])
    assert refunded.status.status_code is StatusCode.UNSET
    assert handed.attributes["gen_ai.tool.name"] == "transfer_to_billing"
    approval = collected.one("approval")
    assert approval.name == "approval refund"
    assert approval.attributes["trealtime.approval.decision"] == "approved"
    assert (approval.end_time - approval.start_time) / 1e9 == pytest.approx(2, abs=1e-3)
    guardrail = collected.named("guardrail")[0]
    assert guardrail.attributes["trealtime.guardrail.names"] == ("no stories",)
    assert (guardrail.end_time - guardrail.start_time) / 1e9 == pytest.approx(0.25, abs=1e-3)
    handoff = collected.one("handoff")
    # The new agent is in charge before the call has its output.
    assert handoff.start_time == handed.start_time
    assert (handoff.end_time - handoff.start_time) / 1e9 == pytest.approx(0.4, abs=1e-3)
    assert handoff.end_time <= handed.end_time
    assert (handoff.name, handoff.attributes["trealtime.handoff.from"]) == ("handoff Billing", "Desk")
    # The turn in which the agents changed began with the first of them.
    names = [(each.name, each.attributes["gen_ai.agent.name"]) for each in collected.named("invoke_agent")]
    assert set(names[:-1]) == {("invoke_agent Desk", "Desk")}
    assert names[-1] == ("invoke_agent Billing", "Billing")
    (errors,) = collected.points("trealtime.errors")
    assert errors.value == 1
    assert dict(errors.attributes) == {"error.type": "LookupError", "trealtime.error": "ToolFailed"}


@pytest.mark.parametrize("content", [False, True])
async def test_words_are_exported_only_if_asked_for(autojump_clock, collected, content) -> None:
    async with talking(collected, telemetry={"capture_content": content}) as session:
        turn = await session.ask("Please call look for order 17.")
        await session.ask("Please call lose for order 17.")
    text = collected.text()
    assert (WORDS in text) is content
    tool = collected.named("execute_tool")[0]
    arguments = tool.attributes.get("gen_ai.tool.call.arguments")
    assert (json.loads(arguments) if arguments else None) == ({"order": 17} if content else None)
    assert tool.attributes.get("gen_ai.tool.call.result") == (f"found {WORDS}" if content else None)
    answer = collected.named("chat")[1].attributes.get("gen_ai.output.messages")
    if content:
        assert json.loads(answer)[0]["parts"][0]["content"] == turn.text
    else:
        assert answer is None


async def test_written_answers_are_content_too(autojump_clock, collected) -> None:
    settings = {"output_modalities": ["text"]}
    telemetry = {"capture_content": True}
    async with talking(collected, telemetry=telemetry, model_settings=settings) as session:
        turn = await session.ask("Say hello.")
    span = collected.one("chat")
    assert json.loads(span.attributes["gen_ai.output.messages"])[0]["parts"][0]["content"] == turn.text != ""
    assert span.attributes["gen_ai.output.type"] == "text"


async def test_sessions_tokens_samples_and_durations_are_metrics(autojump_clock, collected) -> None:
    async with talking(collected) as session:
        (opened,) = collected.points("trealtime.sessions.open")
        assert opened.value == 1
        turn = await session.ask("Say hello.")
        await trio.sleep(6)
    (closed,) = collected.points("trealtime.sessions.open")
    assert closed.value == 0
    tokens = {
        dict(each.attributes)["gen_ai.token.type"]: each.sum for each in collected.points("gen_ai.client.token.usage")
    }
    assert tokens == {"input": turn.usage.input_tokens, "output": turn.usage.output_tokens}
    (duration,) = collected.points("gen_ai.client.operation.duration")
    assert duration.count == 1
    (lag,) = collected.points("trealtime.event_loop.lag")
    assert lag.count >= 3
    assert lag.sum == 0  # a virtual clock is never late
    queues = {dict(each.attributes)["trealtime.queue"] for each in collected.points("trealtime.queue.depth")}
    assert {"send.audio_s", "send.events", "subscriptions.audio_s", "subscriptions.events"} <= queues


# ---- what goes wrong ------------------------------------------------------------------------------------------------


class Broken(TracerProvider):
    """A provider whose spans fail."""

    def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
        class Tracer:
            def start_span(self, *args: Any, **kwargs: Any) -> Any:
                raise OSError("the collector is gone")

        return Tracer()


async def test_a_provider_that_fails_is_logged_once_and_ends_no_session(autojump_clock, caplog) -> None:
    telemetry = {"tracer_provider": Broken(), "meter_provider": MeterProvider()}
    async with open_emulator(listen=False) as emulator:
        runner = RealtimeRunner(AGENT, model=emulator.memory_model(), config={"telemetry": telemetry})
        async with runner.session() as session:
            assert (await session.ask("Say hello.")).text
    (record,) = [each for each in caplog.records if each.name == "trealtime.observability"]
    assert record.session_id == session.id
    assert record.exc_info is not None


async def test_a_sample_of_the_queues_that_fails_ends_no_session(
    autojump_clock, collected, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(Telemetry, "_depths", lambda telemetry: 1 / 0)
    async with talking(collected):
        await trio.sleep(10)
    (record,) = [each for each in caplog.records if each.name == "trealtime.observability"]
    assert record.exc_info is not None


async def test_a_failed_session_has_a_failed_span(autojump_clock, collected) -> None:
    with pytest.raises(LookupError):
        async with talking(collected):
            raise LookupError(WORDS)
    span = collected.one("realtime_session")
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "LookupError")
    assert WORDS not in collected.text()


async def test_what_is_open_at_the_end_is_ended(autojump_clock, collected) -> None:
    async with talking(collected) as session:
        await session.send_message("Tell me a story.")
        async for event in session:
            if event.type == "audio":
                break
    assert collected.one("chat").attributes.get("trealtime.cut_by_end") or collected.one("chat").end_time
    assert collected.one("realtime_session").end_time >= collected.one("chat").end_time


async def test_a_refused_handshake(autojump_clock, collected) -> None:
    class Refusing:
        def connect(self, target: Any) -> Any:
            raise ConnectFailed("no", status=401)

    with pytest.raises(ConnectFailed):
        async with RealtimeRunner(AGENT, model=Refusing(), config={"telemetry": collected.settings}).session():
            pass
    connect = collected.one("connect")
    assert (connect.status.status_code, connect.attributes["error.type"]) == (StatusCode.ERROR, "401")
    assert collected.one("realtime_session").status.status_code is StatusCode.ERROR
