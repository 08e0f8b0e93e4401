"""Handoffs as values, and the fields of an agent that come with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import pytest

from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import Handoff, as_handoff, handoff_to_wire, realtime_handoff
from trealtime.agents.hooks import RealtimeAgentHooks
from trealtime.errors import SettingsError, ToolArgumentsError
from trealtime.tools.context import RunContext


@pytest.mark.parametrize(
    "name, tool",
    [
        ("Billing", "transfer_to_billing"),
        ("Billing & Refunds", "transfer_to_billing___refunds"),
        ("Ärger", "transfer_to__rger"),
        ("x" * 100, "transfer_to_" + "x" * 52),
    ],
)
def test_the_name_of_the_tool_is_made_of_the_agents_name(name: str, tool: str) -> None:
    assert realtime_handoff(RealtimeAgent(name)).tool_name == tool


@dataclass
class Why:
    """Why the conversation is handed over."""

    reason: str
    after: list[Why] | None = None


class Typed(TypedDict):
    reason: str


@pytest.mark.parametrize("input_type", [Why, Typed])
async def test_any_class_with_fields_can_be_the_input(input_type: type[Any]) -> None:
    got: list[Any] = []
    agent = RealtimeAgent("A")
    handoff = realtime_handoff(agent, on_handoff=lambda context, why: got.append(why), input_type=input_type)
    schema = handoff_to_wire(handoff)["parameters"]
    assert (schema["type"], schema["required"]) == ("object", ["reason"])
    assert ("$defs" in schema) == (input_type is Why)
    assert await handoff.on_invoke_handoff(RunContext(None), '{"reason": "r"}') is agent
    with pytest.raises(ToolArgumentsError, match=r"transfer_to_a: .*reason"):
        await handoff.on_invoke_handoff(RunContext(None), "{}")
    assert got == [input_type(reason="r")]


@dataclass
class Urgency:
    level: int


async def test_a_number_without_a_fraction_is_an_integer() -> None:
    got: list[Any] = []
    handoff = realtime_handoff(
        RealtimeAgent("A"), on_handoff=lambda context, urgency: got.append(urgency), input_type=Urgency
    )
    await handoff.on_invoke_handoff(RunContext(None), '{"level": 2.0}')
    assert got == [Urgency(2)]
    with pytest.raises(ToolArgumentsError, match=r"Expected `int`, got `float`"):
        await handoff.on_invoke_handoff(RunContext(None), '{"level": 2.5}')


async def test_without_an_input_type_arguments_are_not_read() -> None:
    agent = RealtimeAgent("A")
    assert await as_handoff(agent).on_invoke_handoff(RunContext(None), "nonsense") is agent


async def test_an_agent_that_does_not_exist_yet_is_named_by_a_function() -> None:
    handoff = realtime_handoff(lambda: later, tool_name_override="back")
    later = RealtimeAgent("Later")
    assert await handoff.on_invoke_handoff(RunContext(None), "") is later
    assert handoff.tool_description == "Hand the conversation over to another agent."


def test_a_handoff_is_checked_when_it_is_built() -> None:
    async def invoke(context: RunContext[Any], arguments: str) -> RealtimeAgent[Any]:
        return RealtimeAgent("A")

    good: dict[str, Any] = {
        "tool_name": "go",
        "tool_description": "Go.",
        "input_json_schema": {"type": "object"},
        "on_invoke_handoff": invoke,
        "agent_name": "A",
    }
    assert Handoff(**good).is_enabled is True
    for field, value, error in (
        ("tool_name", "to go", SettingsError),
        ("tool_name", 5, TypeError),
        ("input_json_schema", {"type": "string"}, SettingsError),
        ("input_json_schema", [], TypeError),
        ("on_invoke_handoff", None, TypeError),
    ):
        with pytest.raises(error, match=field):
            Handoff(**{**good, field: value})


def test_an_agent_says_which_of_its_fields_are_wrong() -> None:
    with pytest.raises(TypeError, match=r"handoffs\[0\]: got 'B'"):
        RealtimeAgent("A", handoffs=["B"])
    with pytest.raises(
        SettingsError, match=r"RealtimeAgent 'A'.*\n.*model_settings: unknown key 'spead'; did you mean 'speed'"
    ):
        RealtimeAgent("A", model_settings={"spead": 1})
    with pytest.raises(SettingsError, match="voice: got ''"):
        RealtimeAgent("A", voice="")
    with pytest.raises(TypeError, match="hooks: got"):
        RealtimeAgent("A", hooks=RealtimeAgentHooks)


@pytest.mark.parametrize(
    "settings",
    [
        {"model_name": "gpt-realtime"},
        {"instructions": "x"},
        {"tools": []},
        {"tracing": None},
        {"input_audio_format": "pcm16"},
        {"audio": {"output": {"format": "pcm16"}}},
    ],
)
def test_what_a_session_keeps_or_the_agent_has_a_field_for_is_no_setting_of_an_agent(settings: Any) -> None:
    with pytest.raises(SettingsError, match=f"model_settings.{next(iter(settings))}.*nothing here"):
        RealtimeAgent("A", model_settings=settings)


def test_a_clone_shares_what_is_not_named() -> None:
    agent = RealtimeAgent("A", handoffs=[RealtimeAgent("B")], voice="ash", model_settings={"speed": 1.1})
    other = agent.clone(name="C", voice="verse")
    assert (other.name, other.voice, other.handoffs) == ("C", "verse", agent.handoffs)
    assert other.model_settings is agent.model_settings
