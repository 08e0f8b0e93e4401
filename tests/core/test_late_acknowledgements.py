"""Updates of settings that the server makes after their callers were told that it has not answered in time: it has
them, so they hold."""

from __future__ import annotations

import pytest

from trealtime._core import effects as fx
from trealtime._core.handoffs import AgentSwitch
from trealtime._core.tool_calls import ToolOffer
from trealtime.agents.agent import RealtimeAgent
from trealtime.tools.function_tool import function_tool

TIMEOUT_S = 11
VAD = {"create_response": True, "interrupt_response": True}
SESSION = {"type": "realtime", "instructions": "be kind", "tools": []}
TOOLS = {"tools": [{"type": "function", "name": "look"}]}


@function_tool
def look() -> str:
    """Look."""
    return "seen"


def show(talk, **changes):
    talk.server("session.updated", session={**SESSION, **changes})


def made_late(talk):
    return [each.reply_id for effects in talk.effects for each in effects if isinstance(each, fx.MakeLate)]


def late_tools(talk):
    talk.app.update_session(TOOLS, reply_id="late", offer=ToolOffer([look]))
    talk.wait(TIMEOUT_S)
    assert talk.settled["late"].error is not None


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_tools_that_the_server_has_taken_late_can_be_called(talk, again) -> None:
    show(talk)
    late_tools(talk)
    show(talk, **TOOLS)
    if again:
        show(talk, **TOOLS)
    talk.created("r1")
    talk.call("r1", "c1")
    assert [call.tool for call in talk.calls] == [look]
    assert made_late(talk) == ["late"]


@pytest.mark.parametrize("word", ["late", "never", "refused", "not taken"])
def test_an_agent_whose_settings_are_not_acknowledged_in_time_is_in_charge_nowhere(make_talk, word) -> None:
    """The server is told the settings of the agent before again, as they were sent: it may leave out what is secret."""
    talk = make_talk()
    secret = [{"type": "mcp", "server_label": "w", "authorization": "key"}]
    detection = {"type": "server_vad", "create_response": True, "interrupt_response": True}
    own = {**SESSION, "tools": secret, "audio": {"input": {"turn_detection": detection}, "output": {"voice": "ash"}}}
    echoed = {**own, "tools": [{"type": "mcp", "server_label": "w"}], "speed": 1.0}
    talk.app.open_session(own, reply_id="open")
    talk.server("session.created", session={"type": "realtime"})
    talk.server("session.updated", session=echoed)
    others = {
        "instructions": "bill",
        "tools": [],
        "speed": 1.5,
        "prompt": {"id": "p"},
        "audio": {"output": {"voice": "b"}},
    }
    talk.app.switch_agent(AgentSwitch(agent=RealtimeAgent(name="other")), others, reply_id="late")
    talk.forget()
    talk.wait(TIMEOUT_S)
    assert talk.settled["late"].error is not None
    (back,) = talk.sent_of("session.update")
    assert back["session"] == {
        "type": "realtime",
        "instructions": "be kind",
        "tools": secret,
        "speed": 1.0,
        "prompt": None,
    }
    if word == "late":
        talk.server("session.updated", session={**echoed, **others})
    elif word == "refused":
        talk.error("invalid_value", "evt_2")
    talk.server("session.updated", session=echoed)
    assert talk.core.agent is talk.agent
    assert talk.events_of("settings_mismatch") == []
    assert len(talk.state.updates) == 0
    talk.wait(60)
    assert len(talk.sent_of("session.update")) == 1


def test_the_acknowledgement_of_the_next_update_shows_what_was_made_before_it(talk) -> None:
    show(talk)
    late_tools(talk)
    talk.app.update_session({"instructions": "bill"}, reply_id="next")
    show(talk, instructions="bill", **TOOLS)
    assert made_late(talk) == ["late"]
    assert talk.settled["next"].error is None


def test_what_another_update_shows_not_to_be_made_is_not(talk) -> None:
    show(talk)
    late_tools(talk)
    talk.app.update_session({"instructions": "bill"}, reply_id="next")
    show(talk, instructions="bill")
    assert made_late(talk) == []
    assert talk.settled["next"].error is None
    show(talk, instructions="bill", **TOOLS)  # somebody else's: ours would have come before
    assert made_late(talk) == []


def test_a_late_refusal_makes_no_later_update(talk) -> None:
    show(talk)
    late_tools(talk)
    late = talk.sent_of("session.update")[-1]
    talk.app.update_session({"instructions": "bill"}, reply_id="next")
    talk.error("invalid_value", late["event_id"])
    assert "next" not in talk.settled
    assert [event.error.code for event in talk.events_of("error")] == ["invalid_value"]
    show(talk, instructions="bill")
    assert talk.settled["next"].error is None
    assert made_late(talk) == []


def detections(talk):
    return [each["session"]["audio"]["input"]["turn_detection"] for each in talk.sent_of("session.update")]


def test_turn_settings_of_the_app_that_are_taken_late_are_those_that_come_back(talk) -> None:
    """After an uninterruptible scope."""
    detection = {"type": "server_vad", "create_response": False}
    talk.app.update_session({"audio": {"input": {"turn_detection": detection}}}, reply_id="late")
    talk.wait(TIMEOUT_S)
    talk.server("session.updated", session={**SESSION, "audio": {"input": {"turn_detection": detection}}})
    talk.app.begin_uninterruptible()
    talk.app.end_uninterruptible()
    assert [each["create_response"] for each in detections(talk)] == [False] * 3


def test_turn_settings_of_which_no_word_has_come_are_sent_again(vad_talk) -> None:
    """The server may have made the change at the beginning of an uninterruptible scope, so its end is told."""
    vad_talk.app.begin_uninterruptible()
    vad_talk.wait(TIMEOUT_S)
    vad_talk.app.end_uninterruptible()
    assert [each["interrupt_response"] for each in detections(vad_talk)] == [False, True]


def test_a_turn_is_asked_for_where_the_server_may_have_been_told_not_to_answer(vad_talk) -> None:
    talk = vad_talk
    detection = {"type": "server_vad", "create_response": False}
    talk.app.update_session({"audio": {"input": {"turn_detection": detection}}}, reply_id="late")
    talk.wait(TIMEOUT_S)
    talk.turn("u")
    talk.wait(3)
    assert len(talk.creates) == 1
