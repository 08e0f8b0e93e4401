"""The order of effects: what one input returns is carried out in that order, so the order is a promise."""

from __future__ import annotations

from typing import get_args

import attrs
import pytest

from trealtime._core import effects as fx
from trealtime._core.handoffs import AgentSwitch
from trealtime.agents.agent import RealtimeAgent


def kinds(effects):
    """The names of effects, events by their type."""
    return [effect.event.type if isinstance(effect, fx.Emit) else type(effect).__name__ for effect in effects]


def test_effects_are_a_closed_set_of_frozen_values() -> None:
    carried = {fx.ApprovalRequest, fx.FunctionCall, fx.GuardrailCheck, fx.Refusal, fx.ResponseResult}
    declared = {each for each in vars(fx).values() if attrs.has(each) and each.__module__ == fx.__name__}
    assert declared <= carried
    assert set(get_args(fx.Effect)) == set(fx._Effect.__subclasses__())
    for kind in carried:
        assert hasattr(kind, "__slots__")
        assert kind.__setattr__ is not object.__setattr__  # frozen
    for kind in get_args(fx.Effect):
        assert kind.__struct_config__.frozen
        assert not kind.__subclasses__()


@pytest.mark.parametrize("cause", ["app", "guardrail", "speech"])
def test_audio_is_purged_before_the_interrupt_is_told_and_nothing_of_it_follows(talk, cause) -> None:
    talk.speak("r1", "a")
    told = kinds(talk.app.interrupt(cause=cause))
    assert told.index("PurgeAudio") < told.index("audio_interrupted")
    assert told.count("PurgeAudio") == 1
    assert "audio" not in kinds(talk.audio("r1", "a"))


def test_a_caller_follows_a_response_before_its_first_event(talk) -> None:
    talk.app.create_response(reply_id="t")
    told = kinds(talk.created("r1", talk.creates[0]))
    assert told.index("FollowResponse") < told.index("agent_start")


def test_a_caller_follows_the_servers_own_answer_before_its_first_event(vad_talk) -> None:
    talk = vad_talk
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    talk.app.create_item({"id": "m", "type": "message", "role": "user", "content": []})
    talk.app.create_response(automatic=True, reply_id="t")
    talk.item("m")
    told = kinds(talk.created("r1"))
    assert told.index("FollowResponse") < told.index("agent_start")


def test_a_caller_follows_a_response_that_is_known_at_its_end_only(talk) -> None:
    talk.app.create_response(reply_id="t")
    told = kinds(talk.done("r1", metadata=talk.creates[0]["response"]["metadata"]))
    assert told.index("FollowResponse") < told.index("agent_start") < told.index("agent_end") < told.index("Settle")


def test_a_reply_is_settled_after_the_events_that_belong_to_it(talk) -> None:
    talk.app.create_response(reply_id="t")
    talk.speak("r1", "a")
    assert kinds(talk.done("r1"))[-2:] == ["agent_end", "Settle"]


def test_a_caller_who_leaves_is_settled_after_its_interrupt_is_told(talk) -> None:
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.speak("r1", "a")
    talk.call("r1", "c1")
    talk.done("r1", metadata=talk.creates[0]["response"]["metadata"])
    talk.created("r2")  # the answer to the output has to wait
    talk.app.send_tool_output("c1", "42", respond=True)
    told = kinds(talk.app.interrupt(reply_id="t", response_id="r1"))
    assert told.index("audio_interrupted") < told.index("Settle")


def test_the_agent_has_changed_before_the_events_that_say_so(talk) -> None:
    talk.app.use_tools([], ["to_other"])
    talk.created("r1")
    talk.call("r1", "c1", name="to_other")
    talk.done("r1")
    switch = AgentSwitch(agent=RealtimeAgent("other"), call_id="c1", output="done")
    told = kinds(talk.app.switch_agent(switch, None, reply_id="t"))
    assert told.index("SwitchAgent") < told.index("handoff") < told.index("Settle")
