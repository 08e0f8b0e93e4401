"""The metrics: their names, what they take from a turn, and the dashboard that shows them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import trealtime
import trealtime.compat.realtime as compat
from trealtime._session.config import run_config, with_telemetry
from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import MissingDependency, SettingsError
from trealtime.metrics import ToolSpan, TurnInterruption, TurnMetrics
from trealtime.observability.instruments import Instruments
from trealtime.observability.settings import TelemetrySettings, default_telemetry
from trealtime.testing import open_manual_server
from trealtime.transport.models import AzureRealtimeModel, ConnectionTarget, OpenAIRealtimeModel
from trealtime.usage import Usage

ROOT = Path(__file__).resolve().parents[2]
TURN = TurnMetrics(
    turn_id="turn_1",
    number=1,
    source="speech",
    agent="Desk",
    status="interrupted",
    speech_ended_at=10.0,
    requested_at=10.1,
    first_audio_at=10.5,
    first_heard_at=10.6,
    tools=(ToolSpan(call_id="c", name="look", agent="Desk", started_at=1.0, ended_at=1.5, status="failed"),),
    interruption=TurnInterruption(cause="speech", onset_at=12.0, told_at=12.3, silent_at=12.4),
)


def test_a_turn_gives_its_figures(collected: Any) -> None:
    instruments = Instruments.of(collected.meters)
    instruments.turn_ended(TURN)
    sums = {
        name: [(point.sum, dict(point.attributes)) for point in collected.points(name)]
        for name in (
            "trealtime.turn.response_latency",
            "trealtime.turn.time_to_first_audio",
            "trealtime.turn.silence_latency",
            "gen_ai.execute_tool.duration",
        )
    }
    source = {"trealtime.turn.source": "speech", "gen_ai.agent.name": "Desk"}
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look", "gen_ai.agent.name": "Desk"}
    assert sums == {
        "trealtime.turn.response_latency": [(pytest.approx(0.6), source)],
        "trealtime.turn.time_to_first_audio": [(pytest.approx(0.5), source)],
        "trealtime.turn.silence_latency": [(pytest.approx(0.4), {"trealtime.turn.interruption.cause": "speech"})],
        "gen_ai.execute_tool.duration": [(pytest.approx(0.5), {**tool, "error.type": "failed"})],
    }


def test_a_turn_without_figures_is_only_counted(collected: Any) -> None:
    instruments = Instruments.of(collected.meters)
    instruments.turn_ended(TurnMetrics(turn_id="t", number=2, source="text", agent="Desk", status="unanswered"))
    (turns,) = collected.points("trealtime.turns")
    assert turns.value == 1
    assert collected.points("trealtime.turn.response_latency") == []


def test_a_response_without_usage_is_only_timed(collected: Any) -> None:
    instruments = Instruments.of(collected.meters)
    instruments.response_ended(1.5, None, provider="openai", model=None, failure="overloaded")
    (duration,) = collected.points("gen_ai.client.operation.duration")
    assert dict(duration.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "error.type": "overloaded",
    }
    assert collected.points("gen_ai.client.token.usage") == []
    instruments.response_ended(1.5, Usage(input_tokens=3), provider="openai", model="m", failure=None)
    assert sum(point.sum for point in collected.points("gen_ai.client.token.usage")) == 3


def test_all_sessions_of_a_provider_share_one_set_of_instruments(collected: Any, caplog: Any) -> None:
    assert Instruments.of(collected.meters) is Instruments.of(collected.meters)
    assert caplog.records == []


def test_the_dashboard_shows_metrics_that_there_are() -> None:
    pytest.importorskip("opentelemetry.exporter.prometheus")
    source = (ROOT / "trealtime" / "observability" / "instruments.py").read_text(encoding="utf-8")
    names = {name.replace(".", "_") for name in re.findall(r'"((?:trealtime|gen_ai)\.[a-z_.]+)"', source)}
    text = (ROOT / "examples" / "observed-dashboard.json").read_text(encoding="utf-8")
    board = json.loads(text)
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    shown = {
        re.sub(r"(_seconds)?(_total|_bucket|_sum|_count)?$", "", found)
        for expression in expressions
        for found in re.findall(r"\b((?:trealtime|gen_ai)_[a-z_]+)(?=[\[{)])", expression)
    }
    assert shown - names == set()
    assert len(shown) > 10


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_default() -> Any:
    yield
    trealtime.instrument(enabled=False)


def test_instrument_sets_the_default_of_runners_made_later(no_default: None, collected: Any) -> None:
    assert default_telemetry() is None
    assert with_telemetry(run_config(None)).telemetry == TelemetrySettings(enabled=False)
    trealtime.instrument(**collected.settings, capture_content=True)
    made = with_telemetry(run_config(None)).telemetry
    assert made == TelemetrySettings(**collected.settings, capture_content=True)
    own = with_telemetry(run_config({"telemetry": {"propagate": False}})).telemetry
    assert own == TelemetrySettings(propagate=False)
    off = with_telemetry(run_config({"telemetry": {"enabled": False}})).telemetry
    assert off is not None
    assert not off.enabled
    trealtime.instrument(enabled=False)
    assert default_telemetry() is None


@pytest.mark.parametrize(
    "settings, path",
    [({"tracer_provider": 5}, "telemetry.tracer_provider"), ({"tracer": None}, "telemetry.tracer")],
)
def test_a_wrong_setting_is_named(settings: Any, path: str) -> None:
    with pytest.raises(SettingsError) as caught:
        run_config({"telemetry": settings})
    assert [problem.path for problem in caught.value.problems] == [path]
    with pytest.raises(SettingsError, match="get_meter"):
        trealtime.instrument(meter_provider=5)


async def test_a_runner_keeps_what_was_the_default_when_it_was_made(
    autojump_clock: Any, no_default: None, collected: Any
) -> None:
    async with open_manual_server() as service:
        agent = RealtimeAgent(name="Desk")
        before = RealtimeRunner(agent, model=service)
        trealtime.instrument(**collected.settings)
        after = RealtimeRunner(agent, model=service)
        trealtime.instrument(enabled=False)
        for runner, spans in ((before, 0), (after, 1)):
            async with runner.session():
                pass
            assert len(collected.named("realtime_session")) == spans


async def test_programs_for_the_sdk_are_observed_too(autojump_clock: Any, no_default: None, collected: Any) -> None:
    trealtime.instrument(**collected.settings)
    async with open_manual_server() as service:
        session = await compat.RealtimeRunner(compat.RealtimeAgent(name="Desk"), model=service).run()
        async with session:
            pass
    assert collected.one("realtime_session").attributes["gen_ai.agent.name"] == "Desk"


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"trealtime\[otel\]"):
        trealtime.instrument()
    with pytest.raises(MissingDependency, match=r"trealtime\[otel\]"):
        with_telemetry(run_config({"telemetry": {}}))
    assert with_telemetry(run_config({"telemetry": {"enabled": False}})).telemetry is not None


# ---- the handshake --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [OpenAIRealtimeModel(), AzureRealtimeModel(deployment="d", endpoint="https://a.b")])
async def test_the_trace_context_goes_with_the_headers_of_the_model_and_not_with_those_of_the_app(model: Any) -> None:
    context = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    target = ConnectionTarget(model_name="m", api_key="key", trace_headers=context)
    assert (await model.handshake(target)).headers["traceparent"] == context["traceparent"]
    own = ConnectionTarget(url="wss://a.b/c", headers={"X-Mine": "1"}, trace_headers=context)
    assert "traceparent" not in (await model.handshake(own)).headers


@pytest.mark.parametrize("propagate", [True, False])
async def test_the_context_is_that_of_the_connect_span(autojump_clock: Any, collected: Any, propagate: bool) -> None:
    targets = []

    class Noting:
        def connect(self, target: ConnectionTarget) -> Any:
            targets.append(target)
            return service.connect(target)

    async with open_manual_server() as service:
        config: Any = {"telemetry": {**collected.settings, "propagate": propagate}}
        async with RealtimeRunner(RealtimeAgent(name="Desk"), model=Noting(), config=config).session():
            pass
    (target,) = targets
    span = collected.one("connect")
    header = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"
    assert target.trace_headers == ({"traceparent": header} if propagate else {})


async def test_a_connection_that_replaces_a_lost_one_is_a_span_and_counts(autojump_clock: Any, collected: Any) -> None:
    async with open_manual_server() as service:
        config: Any = {"telemetry": collected.settings, "reconnect": {}}
        runner = RealtimeRunner(RealtimeAgent(name="Desk"), model=service, config=config)
        async with runner.session() as session, session.subscribe("reconnected") as events:
            await service.last.wire.aclose(1011)
            await events.receive()
    first, second = collected.one("connect"), collected.one("reconnect")
    assert collected.parent_of(second) is collected.one("realtime_session")
    assert second.attributes["trealtime.connection.number"] == 2
    assert second.start_time > first.end_time
    (reconnects,) = collected.points("trealtime.reconnects")
    assert (reconnects.value, dict(reconnects.attributes)) == (1, {"trealtime.reconnect.kind": "reconnected"})
    marks = [event.name for event in collected.one("realtime_session").events]
    assert marks == ["session_ready", "connection_lost", "reconnecting", "reconnected"]
