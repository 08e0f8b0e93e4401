"""The session object that a call is accepted with. Peer behaviours B278, B279."""

from __future__ import annotations

from typing import Any

import pytest

from trealtime import OpenAIRealtimeSIPModel, RealtimeAgent, RealtimeRunner, SettingsError, function_tool, open_emulator

build = OpenAIRealtimeSIPModel.build_initial_session_payload


@function_tool
async def look_up(order_id: int) -> str:
    """Look up an order."""
    return str(order_id)


@function_tool(is_enabled=False)
async def refund(order_id: int) -> str:
    """Refund an order."""
    return str(order_id)


def names(payload: dict[str, Any]) -> list[str]:
    return [tool["name"] for tool in payload["tools"]]


async def test_it_is_the_session_that_the_agent_would_open(autojump_clock, schema) -> None:
    agent = RealtimeAgent(name="Desk", instructions="Be brief.", tools=[look_up, refund], voice="cedar")
    settings = {"turn_detection": {"type": "server_vad"}, "model_name": "gpt-realtime"}
    sent: list[Any] = []
    async with open_emulator(listen=False, on_event=lambda _session, entry: sent.append(entry.event)) as emulator:
        runner = RealtimeRunner(agent, model=emulator.memory_model(), config={"model_settings": settings})
        async with runner.session():
            pass
    (update,) = [event for event in sent if event.get("type") == "session.update"]
    payload = await build(agent, run_config={"model_settings": settings})
    assert payload == update["session"]
    assert names(payload) == ["look_up"]
    assert schema.validate_def("RealtimeSessionCreateRequestGA", payload) == []


async def test_b278_settings_merge_in_layers_and_overrides_go_over_all_of_them() -> None:
    payload = await build(
        RealtimeAgent(name="Desk", instructions="The agent's."),
        run_config={"model_settings": {"voice": "ash", "speed": 0.9, "tool_choice": "none"}},
        model_config={"initial_model_settings": {"voice": "coral", "speed": 1.1}},
        overrides={"voice": "cedar", "instructions": "Ours."},
    )
    output = payload["audio"]["output"]
    assert (output["voice"], output["speed"], payload["tool_choice"]) == ("cedar", 1.1, "none")
    assert payload["instructions"] == "Ours."


async def test_b278_tools_of_the_overrides_are_filtered_too() -> None:
    agent = RealtimeAgent(name="Desk", tools=[look_up])
    assert names(await build(agent, overrides={"voice": "ash"})) == ["look_up"]
    assert names(await build(agent, overrides={"tools": [refund]})) == []


async def test_b279_formats_have_their_defaults_with_a_call_id_too() -> None:
    pcm = {"type": "audio/pcm", "rate": 24_000}
    for model_config in ({}, {"call_id": "rtc_1"}):
        payload = await build(RealtimeAgent(name="Desk"), model_config=model_config)
        assert payload["audio"]["input"]["format"] == payload["audio"]["output"]["format"] == pcm
        assert payload["model"] == "gpt-realtime-2.1"
    telephone = await build(RealtimeAgent(name="Desk"), overrides={"input_audio_format": "g711_ulaw"})
    assert telephone["audio"]["input"]["format"] == {"type": "audio/pcmu"}


async def test_instructions_may_be_a_callable_of_the_context() -> None:
    agent = RealtimeAgent(name="Desk", instructions=lambda context, _agent: f"Greet {context.context['name']}.")
    assert (await build(agent, context={"name": "Ada"}))["instructions"] == "Greet Ada."


async def test_what_cannot_be_built_says_why() -> None:
    with pytest.raises(TypeError, match=r"agent: got .*, allowed: a RealtimeAgent"):
        await build("Desk")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="did you mean 'voice'"):
        await build(RealtimeAgent(name="Desk"), overrides={"voise": "ash"})
    with pytest.raises(SettingsError, match="a name that no other tool"):
        await build(RealtimeAgent(name="Desk", tools=[look_up, look_up]))
