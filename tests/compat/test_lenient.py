"""Programs of strangers: keys that the SDK never looked at, sessions that two calls begin and end, private names."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import pytest
import trio

from trealtime.compat import RunContextWrapper, UserError, input_guardrail, output_guardrail
from trealtime.compat.realtime import (
    OpenAIRealtimeSIPModel,
    RealtimeAgent,
    RealtimeModelSendSessionUpdate,
    RealtimeRunner,
)
from trealtime.compat.realtime.items import AssistantMessageItem, UserMessageItem
from trealtime.emulator import ScriptedBrain, open_emulator
from trealtime.errors import ConnectFailed
from trealtime.testing import open_manual_server

ASSISTANT = RealtimeAgent(name="Assistant", instructions="You are brief.")
OF_A_BETA: dict[str, Any] = {
    "model": "gpt-4o-realtime-preview",
    "modalities": ["text", "audio"],
    "audio": {"voice": "marin", "output": {"voice": "cedar"}},
    "temperature": 0.8,
    "max_response_output_tokens": 4096,
}


# ---- keys -----------------------------------------------------------------------------------------------------------


async def test_keys_that_the_sdk_never_looked_at_are_left_out_and_told_in_the_log(opened, turn, caplog):
    wrong_place = {"model": "gpt-realtime", "voice": "alloy", "turn_detection": {"type": "server_vad"}}
    async with opened(ASSISTANT, ["Hello."], settings=OF_A_BETA, model_config=wrong_place) as (session, emulator):
        await session.send_message("Hi")
        events = await turn(session)
        [update] = [each.event for each in emulator.sessions[0].log if each.event["type"] == "session.update"]
    assert any(each.type == "audio" for each in events)
    assert update["session"]["output_modalities"] == ["audio"]
    assert update["session"]["audio"]["output"]["voice"] == "cedar"
    told = caplog.text
    for key in ("'model'", "'voice'", "'turn_detection'", "'temperature'", "'max_response_output_tokens'"):
        assert f"unknown key {key}" in told
    assert "initial_model_settings.audio: unknown key 'voice'" in told
    assert "['text', 'audio']" in told


@pytest.mark.parametrize("config", [{"model_settings": {"model": "m"}}, {"model_settings": {}, "voice": "ash"}])
async def test_the_config_of_a_runner_is_read_as_leniently(config, caplog):
    await RealtimeRunner(ASSISTANT, config=config).run()
    assert "left out, as the SDK does" in caplog.text


async def test_the_program_keeps_its_own_dictionaries(opened):
    settings = {"audio": {"voice": "marin"}, "modalities": ["text", "audio"]}
    async with opened(ASSISTANT, [], settings=settings):
        pass
    assert settings == {"audio": {"voice": "marin"}, "modalities": ["text", "audio"]}


async def test_a_wrong_value_of_a_known_key_stays_an_error_beside_an_unknown_key(caplog):
    settings: Any = {"speed": "fast", "temperature": 1}
    with pytest.raises(UserError, match="speed") as raised:
        await RealtimeRunner(ASSISTANT).run(model_config={"initial_model_settings": settings})
    assert "temperature" not in str(raised.value)


async def test_settings_that_a_program_changes_and_sip_payloads_are_read_as_leniently(opened, caplog):
    lenient: Any = {"instructions": "Speak up.", "temperature": 0.8}
    async with opened(ASSISTANT, []) as (session, emulator):
        await session.model.send_event(RealtimeModelSendSessionUpdate(lenient))
        updates = [each.event for each in emulator.sessions[0].log if each.event["type"] == "session.update"]
    assert updates[-1]["session"]["instructions"] == "Speak up."
    payload = await OpenAIRealtimeSIPModel.build_initial_session_payload(
        ASSISTANT, model_config={"initial_model_settings": lenient}, run_config={"model_settings": lenient},
        overrides=lenient,
    )  # fmt: skip
    assert payload.instructions == "Speak up."
    assert caplog.text.count("'temperature'") == 4


async def test_settings_that_the_server_refuses_later_are_an_error_event(opened, turn, caplog):
    caplog.set_level(logging.CRITICAL)
    async with opened(ASSISTANT, ["Hello.", "Again."], settings={}) as (session, _emulator):
        await session.send_message("Hi")
        await turn(session)
        await session.model.send_event(RealtimeModelSendSessionUpdate({"voice": "marin"}))
        [*_, refused] = await turn(session, until="error")
        assert refused.error.code == "cannot_update_voice"
        assert refused.error.param == "session.audio.output.voice"
        await session.send_message("And?")
        await turn(session)


async def test_settings_that_the_server_never_answers_are_an_error_event(autojump_clock, turn, caplog):
    caplog.set_level(logging.CRITICAL)
    async with open_manual_server() as server, await RealtimeRunner(ASSISTANT, model=server).run() as session:
        server.last.answers = False
        await session.model.send_event(RealtimeModelSendSessionUpdate({"instructions": "Speak up."}))
        [*_, late] = await turn(session, until="error")
    assert "has not answered" in late.error["message"]


# ---- enter and close ------------------------------------------------------------------------------------------------


async def _run(emulator: Any) -> Any:
    return await RealtimeRunner(ASSISTANT, model=emulator.memory_model()).run()


async def test_enter_and_close_are_calls_that_different_tasks_may_make(autojump_clock, turn):
    async with open_emulator(listen=False, brain=ScriptedBrain(["Hello.", "Still here."])) as emulator:
        session = await _run(emulator)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.enter)
        await session.send_message("Hi")
        await turn(session)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.send_message, "Again")
            await turn(session)
            nursery.start_soon(session.close)
        assert "agent_start" not in [event.type async for event in session]
        assert session.native.outcome.closed_by == "client"
        await session.close()
        with pytest.raises(RuntimeError, match="entered before"):
            await session.enter()


async def test_enter_raises_what_opening_raises(autojump_clock, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    session = await RealtimeRunner(ASSISTANT).run()
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        await session.enter()
    async with open_emulator(listen=False) as emulator:
        late = await _run(emulator)
    with pytest.raises(ConnectFailed):
        await late.enter()
    await late.close()


async def test_an_enter_that_is_cancelled_leaves_nothing(autojump_clock):
    async with open_emulator(listen=False) as emulator:
        session = await _run(emulator)
        with trio.move_on_after(0) as scope:
            await session.enter()
        assert scope.cancelled_caught
        assert session.native.outcome is not None or not emulator.sessions
        await session.close()


async def test_the_failure_of_a_session_that_nobody_reads_is_in_the_log(autojump_clock, caplog):
    async with open_emulator(listen=False) as emulator:
        session = await _run(emulator)
        await session.enter()
        emulator.sessions[0].drop()
        await trio.sleep(1)
        await session.close()
    assert "enter() began has failed" in caplog.text


def test_a_session_that_is_never_closed_ends_with_the_program(mock_clock):
    mock_clock.autojump_threshold = 0

    async def main() -> Any:
        async with open_emulator(listen=False) as emulator:
            session = await _run(emulator)
            await session.enter()
            return session

    session = trio.run(main, clock=mock_clock)
    assert session.native.outcome is not None


async def test_leaving_by_hand_in_another_task_ends_the_session(autojump_clock):
    async with open_emulator(listen=False) as emulator:
        session = await _run(emulator)
        assert await session.__aenter__() is session
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.__aexit__, None, None, None)
        assert session._closed
        await session.__aexit__(None, None, None)


async def test_a_lost_connection_is_dialled_again_where_the_program_says_so(opened, turn):
    lasting: Any = {"reconnect": {}}
    async with opened(ASSISTANT, ["Hello."], config=lasting) as (session, emulator):
        emulator.sessions[0].drop()
        await session.send_message("Hi")
        await turn(session)
        assert session.native.statistics().connections.reconnects == 1


# ---- private names --------------------------------------------------------------------------------------------------


async def test_programs_may_read_what_the_sdk_has_under_private_names(opened, turn, caplog):
    async with opened(ASSISTANT, ["Hello."]) as (session, _emulator):
        assert not session._closed
        session._history = []
        await session.send_message("Hi")
        await turn(session)
        assert [type(item) for item in session._history] == [UserMessageItem, AssistantMessageItem]
        assert session._current_agent is ASSISTANT
        assert isinstance(session._context_wrapper, RunContextWrapper)
        assert session._model is session.model
    assert session._closed
    assert "setting it does nothing" in caplog.text


def test_paths_that_programs_import_from():
    from trealtime.compat.agent import MCPConfig
    from trealtime.compat.mcp.server import MCPServer, MCPServerStdio
    from trealtime.compat.run_context import TContext

    assert RealtimeAgent(name="Assistant", mcp_config=MCPConfig()).name == "Assistant"
    assert issubclass(MCPServerStdio, MCPServer)
    assert TContext is not None


@pytest.mark.parametrize("name", ["Runner", "WebSearchTool", "trace", "gen_trace_id"])
def test_names_that_are_not_here_say_what_to_do(name):
    with pytest.raises(ImportError, match="has the realtime layer of the SDK"):
        getattr(importlib.import_module("trealtime.compat"), name)


@pytest.mark.parametrize("make", [input_guardrail, output_guardrail])
def test_a_guardrail_made_by_a_decorator_has_the_name_of_its_function(make):
    def no_secrets(context, agent, text): ...

    assert make(no_secrets).name == "no_secrets"
    assert make(name="other")(no_secrets).name == "other"
