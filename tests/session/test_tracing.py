"""Tracing is the server's, and a setting of the first update; nothing that the model or a tool says is ever logged."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import realtime_handoff
from trealtime.tools.function_tool import function_tool

ROOT = Path(__file__).resolve().parents[2]


@attrs.frozen
class Reason:
    """Why the conversation is handed over."""

    number: int


async def updates(service: Any, runner: RealtimeRunner[Any], **settings: Any) -> list[dict[str, Any]]:
    """The session objects that a session sends whose agent is changed once."""
    async with runner.session(model_config={"initial_model_settings": settings}) as session:
        await session.update_agent(RealtimeAgent(name="Second", instructions="Be long."))
    return [event["session"] for event in service.last.of("session.update")]


async def test_b251_without_a_setting_the_server_is_asked_to_trace_by_itself(autojump_clock, service, runner) -> None:
    assert (await updates(service, runner))[0]["tracing"] == "auto"


async def test_b252_names_and_metadata_of_a_trace_are_sent_as_they_are(autojump_clock, service, runner) -> None:
    tracing = {"workflow_name": "Support", "group_id": "call_7", "metadata": {"caller": {"tier": "gold"}}}
    assert (await updates(service, runner, tracing=tracing))[0]["tracing"] == tracing


@pytest.mark.parametrize("config, settings", [({}, {"tracing": None}), ({"tracing_disabled": True}, {})])
async def test_b253_tracing_that_is_off_is_never_asked_for(
    autojump_clock, service, make_runner, config, settings
) -> None:
    first, *later = await updates(service, make_runner(**config), **settings)
    assert first["tracing"] is None
    assert not [each for each in later if "tracing" in each]


async def test_b254_tracing_is_not_sent_again_when_the_agent_changes(autojump_clock, service, runner) -> None:
    _, *later = await updates(service, runner)
    assert later
    assert not [each for each in later if "tracing" in each]


def test_b255_a_session_makes_no_trace_of_its_own() -> None:
    program = """
import sys, trio
from trealtime import RealtimeAgent, RealtimeRunner, open_emulator
async def main():
    async with open_emulator(listen=False) as emulator:
        runner = RealtimeRunner(RealtimeAgent(name="a"), model=emulator.memory_model())
        async with runner.session() as session:
            assert (await session.ask("Say hello.")).text
trio.run(main)
assert "opentelemetry" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


async def test_b228_nothing_that_a_model_or_a_tool_says_is_logged(
    autojump_clock, nursery, service, caplog, capsys
) -> None:
    @function_tool
    async def look(key: int) -> str:
        """Look it up."""
        raise ValueError("secret-of-the-tool")

    other = RealtimeAgent(name="Other")
    handoff = realtime_handoff(other, on_handoff=lambda context, reason: None, input_type=Reason)
    runner = RealtimeRunner(RealtimeAgent(name="First", tools=[look], handoffs=[handoff]), model=service)

    async def calls() -> None:
        await service.last.begin(await service.last.expect("response.create"))
        await service.last.call("transfer_to_other", '{"number": "secret-1"}', call_id="c1")
        await service.last.call("look", '{"key": "secret-2"}', call_id="c2")
        await service.last.call("look", '{"key": 3}', call_id="c3")
        await service.last.call("nothing", '{"key": "secret-4"}', call_id="c4")
        await service.last.done()
        await service.last.begin(await service.last.expect("response.create", count=2), id="resp_2")
        await service.last.begin_item(id="resp_2")
        await service.last.transcript("secret-5", id="resp_2")
        await service.last.done(id="resp_2")

    with caplog.at_level(logging.DEBUG, "trealtime"):
        async with runner.session() as session:
            nursery.start_soon(calls)
            assert (await session.ask("Look it up")).text == "secret-5"
            outputs = [event["item"] for event in service.last.of("conversation.item.create")]
            assert len([item for item in outputs if item["type"] == "function_call_output"]) == 4
    assert "tool look failed: ValueError" in caplog.text
    assert "secret" not in caplog.text.replace('raise ValueError("secret-of-the-tool")', "")  # a line of the program
    assert capsys.readouterr() == ("", "")
