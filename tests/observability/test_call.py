"""A whole call as spans and metrics, against the emulator and under the mock clock."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode

from trealtime import open_emulator
from trealtime._session.approval_handler import Approve
from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.guardrails import GuardrailFunctionOutput, output_guardrail
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
    return GuardrailFunctionOutput(None, tripwire_triggered="Once upon a time" in text)


BILLING = RealtimeAgent(name="Billing", instructions="You bill.")
AGENT = RealtimeAgent(name="Desk", instructions=f"You know of {WORDS}.", tools=[look, lose, refund], handoffs=[BILLING])


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


async def test_sessions_tokens_samples_and_durations_are_metrics(autojump_clock, collected) -> None:
    async with talking(collected) as session:
        (opened,) = collected.points("trealtime.sessions.open")
        assert opened.value == 1
        turn = await session.ask("Say hello.")
        await trio.sleep(3)
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
