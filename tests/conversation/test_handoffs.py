"""Who is in charge, by the core alone."""

from __future__ import annotations

from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.tools import function_tool
from trealtime.conversation.commands import Disconnect, SwitchAgent, UpdateSession, UseTools
from trealtime.conversation.events import SettingsDifference
from trealtime.conversation.handoffs import AgentSwitch
from trealtime.errors import SessionClosed

OTHER = RealtimeAgent("other")


@function_tool
async def pay() -> str:
    """Pay."""
    return "paid"


def switch(**fields) -> AgentSwitch:
    return AgentSwitch(agent=OTHER, **fields)


def test_the_agent_changes_with_the_acknowledgement_of_its_own_update(talk) -> None:
    talk.open()
    talk.do(UpdateSession({"type": "realtime", "speed": 1}, "first"))
    talk.do(SwitchAgent(switch(), {"type": "realtime", "instructions": "x"}, "second"))
    talk.server("session.updated", session={"type": "realtime"})
    assert talk.core.agent is talk.agent
    fx = talk.server("session.updated", session={"type": "realtime"})
    assert talk.core.agent is OTHER
    assert [each.agent for each in fx.switched] == [OTHER]
    assert [each.ticket for each in fx.settled] == ["second"]
    assert fx.emit == []


def test_with_nothing_to_send_the_agent_changes_at_once(talk) -> None:
    talk.open()
    fx = talk.do(SwitchAgent(switch(), None, "t"))
    assert (talk.core.agent, fx.send, [each.ticket for each in fx.settled]) == (OTHER, [], ["t"])


def test_a_refused_switch_changes_nothing(talk) -> None:
    talk.open()
    (sent,) = talk.do(SwitchAgent(switch(), {"type": "realtime"}, "t")).send
    fx = talk.error("invalid_value", sent.event["event_id"])
    assert talk.core.agent is talk.agent
    assert [each.error.request for each in fx.settled] == ["session.update"]
    assert not fx.switched


def test_a_switch_that_meets_the_end_of_the_connection_is_settled(talk) -> None:
    talk.open()
    talk.do(SwitchAgent(switch(), {"type": "realtime"}, "t"))
    fx = talk.do(Disconnect(SessionClosed("over")))
    assert [each.ticket for each in fx.settled] == ["t"]


def test_all_that_belongs_to_a_handoff_happens_in_one_step(talk) -> None:
    talk.open()
    talk.do(UseTools([]))
    talk.created("r1")
    talk.call("r1", "c1", name="transfer")
    talk.done("r1")
    withheld = (SettingsDifference("audio.output.voice", "verse", "ash"),)
    made = switch(tools=[pay], call_id="c1", output="done", params={"instructions": "Greet."}, withheld=withheld)
    fx = talk.do(SwitchAgent(made, None, "t"))
    handoff, mismatch = fx.emit
    assert (handoff.type, handoff.from_agent, handoff.to_agent) == ("handoff", talk.agent, OTHER)
    assert (mismatch.type, mismatch.differences) == ("settings_mismatch", withheld)
    item, create = [each.event for each in fx.send]
    assert item["item"]["output"] == "done"
    assert create["response"]["instructions"] == "Greet."
    talk.created("r2", create)
    (call,) = talk.call("r2", "c2", name="pay").calls
    assert (call.tool, call.agent) == (pay, OTHER)


def test_a_call_that_the_app_has_answered_gets_no_second_output(talk) -> None:
    talk.open()
    fx = talk.do(SwitchAgent(switch(call_id="c1", output="done"), None, "t"))
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
