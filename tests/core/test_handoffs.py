"""Who is in charge, by the core alone."""

from __future__ import annotations

import pytest

from trealtime._core.handoffs import AgentSwitch
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import SessionClosed
from trealtime.events import SettingsDifference
from trealtime.tools.function_tool import function_tool

OTHER = RealtimeAgent("other")


@function_tool
async def pay() -> str:
    """Pay."""
    return "paid"


def switch(**fields) -> AgentSwitch:
    return AgentSwitch(agent=OTHER, **fields)


def test_the_agent_changes_with_the_acknowledgement_of_its_own_update(talk) -> None:
    talk.open()
    talk.app.update_session({"type": "realtime", "speed": 1}, reply_id="first")
    talk.app.switch_agent(switch(), {"type": "realtime", "instructions": "x"}, reply_id="second")
    talk.server("session.updated", session={"type": "realtime"})
    assert talk.core.agent is talk.agent
    fx = talk.server("session.updated", session={"type": "realtime"})
    assert talk.core.agent is OTHER
    assert [each.agent for each in fx.switched] == [OTHER]
    assert [each.reply_id for each in fx.settled] == ["second"]
    assert fx.emit == []


def test_with_nothing_to_send_the_agent_changes_at_once(talk) -> None:
    talk.open()
    fx = talk.app.switch_agent(switch(), None, reply_id="t")
    assert (talk.core.agent, fx.send, [each.reply_id for each in fx.settled]) == (OTHER, [], ["t"])


def test_a_refused_switch_changes_nothing(talk) -> None:
    talk.open()
    (sent,) = talk.app.switch_agent(switch(), {"type": "realtime"}, reply_id="t").send
    fx = talk.error("invalid_value", sent.event["event_id"])
    assert talk.core.agent is talk.agent
    assert [each.error.request for each in fx.settled] == ["session.update"]
    assert not fx.switched


def test_a_switch_that_meets_the_end_of_the_connection_is_settled(talk) -> None:
    talk.open()
    talk.app.switch_agent(switch(), {"type": "realtime"}, reply_id="t")
    fx = talk.app.disconnect(SessionClosed("over"))
    assert [each.reply_id for each in fx.settled] == ["t"]


def test_all_that_belongs_to_a_handoff_happens_in_one_step(talk) -> None:
    talk.open()
    talk.app.use_tools([])
    talk.created("r1")
    talk.call("r1", "c1", name="transfer")
    called_at = talk.now
    talk.now += 3
    talk.done("r1")
    withheld = (SettingsDifference("audio.output.voice", "verse", "ash"),)
    made = switch(tools=[pay], call_id="c1", output="done", params={"instructions": "Greet."}, withheld=withheld)
    fx = talk.app.switch_agent(made, None, reply_id="t")
    handoff, mismatch = fx.emit
    assert (handoff.type, handoff.from_agent, handoff.to_agent) == ("handoff", talk.agent, OTHER)
    assert handoff.called_at == called_at
    assert (mismatch.type, mismatch.differences) == ("settings_mismatch", withheld)
    item, create = [each.event for each in fx.send]
    assert item["item"]["output"] == "done"
    assert create["response"]["instructions"] == "Greet."
    talk.created("r2", create)
    (call,) = talk.call("r2", "c2", name="pay").calls
    assert (call.tool, call.agent) == (pay, OTHER)


def test_a_call_that_the_app_has_answered_gets_no_second_output(talk) -> None:
    talk.open()
    fx = talk.app.switch_agent(switch(call_id="c1", output="done"), None, reply_id="t")
    assert [each.type for each in fx.emit] == ["handoff"]
    assert fx.send == []


def test_the_voice_is_open_until_something_may_have_been_said(talk) -> None:
    talk.open()
    assert talk.core.voice_lock == "open"
    talk.created("r1")
    assert talk.core.voice_lock == "unsure"
    talk.done("r1")
    assert talk.core.voice_lock == "open"
    talk.created("r2")
    talk.audio("r2", "item")
    assert talk.core.voice_lock == "locked"
    talk.done("r2")
    assert talk.core.voice_lock == "locked"


def two_calls(talk, *names) -> list:
    """A response that calls these functions, of which two hand over."""
    talk.open()
    talk.app.use_tools([pay], ["to_a", "to_b"])
    talk.created("r1")
    for number, name in enumerate(names):
        talk.call("r1", f"c{number}", name=name)
    return [call.name for call in talk.calls]


@pytest.mark.parametrize(
    "names, made, told",
    [
        (("to_a", "to_b"), ["to_a"], {"c1": "to_a"}),
        (("to_b", "to_a", "to_b"), ["to_b"], {"c1": "to_b", "c2": "to_b"}),
        (("to_a", "pay"), ["to_a", "pay"], {}),
        (("pay", "to_b"), ["pay", "to_b"], {}),
    ],
)
def test_of_several_handoffs_the_first_is_made_and_the_model_reads_that_the_others_are_not(
    talk, names, made, told
) -> None:
    assert two_calls(talk, *names) == made
    outputs = {event["item"]["call_id"]: event["item"]["output"] for event in talk.sent_of("conversation.item.create")}
    assert outputs == {
        call_id: f"Not made: another handoff ({winner}) is being made, only one can be."
        for call_id, winner in told.items()
    }


def test_when_a_handoff_has_failed_the_next_is_made(talk) -> None:
    two_calls(talk, "to_a")
    talk.app.send_tool_output("c0", "It was not made.")
    talk.call("r1", "c9", name="to_b")
    assert [call.name for call in talk.calls] == ["to_a", "to_b"]


@pytest.mark.parametrize("answered", [False, True])
def test_a_handoff_that_finds_another_agent_in_charge_is_too_late(talk, answered) -> None:
    two_calls(talk, "to_a")
    talk.app.switch_agent(switch(), None, reply_id="update")
    if answered:
        talk.app.send_tool_output("c0", "by the app")
    talk.forget()
    late = AgentSwitch(agent=RealtimeAgent("A"), source=talk.agent, call_id="c0", output="done")
    talk.app.switch_agent(late, {"type": "realtime", "instructions": "x"}, reply_id="late")
    assert talk.core.agent is OTHER
    assert "late" in talk.settled
    assert talk.sent_of("session.update") == []
    outputs = [event["item"]["output"] for event in talk.sent_of("conversation.item.create")]
    assert outputs == ([] if answered else ["Not made: other has taken over meanwhile."])


@pytest.mark.parametrize("slow_first", [True, False])
def test_the_new_agent_speaks_while_another_call_of_the_response_still_runs(talk, slow_first) -> None:
    talk.app.use_tools([pay], ["to_other"])
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    for call_id, name in (("slow", "pay"), ("over", "to_other"))[:: 1 if slow_first else -1]:
        talk.call("r1", call_id, name=name)
    talk.done("r1", metadata=talk.creates[0]["response"]["metadata"])
    talk.app.switch_agent(switch(call_id="over", output="done", params={"instructions": "Greet."}), None)
    opening = talk.creates[1]
    assert opening["response"]["instructions"] == "Greet."
    talk.created("r2", opening)
    talk.done("r2", metadata=opening["response"]["metadata"])
    assert talk.settled["t"].value.response_id == "r2"
    talk.app.send_tool_output("slow", "paid", respond=True)
    assert len(talk.creates) == 3  # what the slow call has found is told as well


@pytest.mark.parametrize("params", [None, {"conversation": "none"}])
def test_the_voice_is_unsure_from_the_request_on_inside_the_conversation_and_outside(talk, params) -> None:
    talk.app.create_response(params)
    assert talk.core.voice_lock == "unsure"
    talk.created("r", talk.creates[0])
    assert talk.core.voice_lock == "unsure"
    talk.done("r")
    assert talk.core.voice_lock == "open"
