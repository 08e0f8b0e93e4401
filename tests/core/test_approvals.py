"""Approvals in the core: asked for, decided once, for always, given up, dropped."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from trealtime._core.approvals import SavedDecision, Standing
from trealtime._core.handoffs import AgentSwitch
from trealtime.agents.agent import RealtimeAgent
from trealtime.mcp.hosted import HostedMCPTool, HostedTool
from trealtime.tools.function_tool import FunctionTool


def make_tool(name: str = "look", **options: Any) -> FunctionTool:
    async def handler(context: Any, arguments: str) -> str:
        raise AssertionError("the core runs nothing")

    options = {"needs_approval": True, **options}
    return FunctionTool(name, "", params_json_schema={"type": "object"}, on_invoke_tool=handler, **options)


def park(talk: Any, call_id: str = "c1", tool: FunctionTool | None = None, **fields: Any) -> FunctionTool:
    """A call that waits for approval."""
    tool = tool or make_tool()
    talk.app.use_tools([tool])
    talk.created(f"r_{call_id}")
    talk.call(f"r_{call_id}", call_id, name=tool.name, **fields)
    talk.app.request_approval(call_id)
    talk.done(f"r_{call_id}")
    return tool


def pending(talk: Any) -> list[str]:
    return [request.call_id for request in talk.core.pending_approvals]


def asked(talk: Any) -> list[str]:
    return [request.call_id for fx in talk.effects for request in fx.asks]


def withdrawn(talk: Any) -> list[str]:
    return [call_id for fx in talk.effects for call_id in fx.withdrawn]


def dropped(talk: Any) -> list[tuple[str, str]]:
    return [(event.call_id, event.reason) for event in talk.events_of("tool_approval_dropped")]


def approve(call_id: str = "c1", **more: Any) -> Any:
    return lambda app: app.decide_approval(call_id, approve=True, **more)


def reject(call_id: str = "c1", **more: Any) -> Any:
    return lambda app: app.decide_approval(call_id, approve=False, **more)


# ---- asked ----------------------------------------------------------------------------------------------------------


def test_b201_a_call_that_needs_approval_is_parked_and_the_app_is_asked(talk) -> None:
    tool = park(talk, arguments='{"a": 1}')
    (event,) = talk.events_of("tool_approval_required")
    assert (event.tool, event.agent, event.call_id) == (tool, talk.agent, "c1")
    assert (event.arguments, event.expires_at) == ('{"a": 1}', None)
    (request,) = talk.core.pending_approvals
    assert (request.tool, request.agent, request.call_id) == (tool, talk.agent, "c1")
    assert request.parsed_arguments == {"a": 1}
    assert request.context is talk.info.context
    assert asked(talk) == ["c1"]
    assert not any(call.cleared for call in talk.calls)
    assert talk.creates == []


def test_a_call_that_needs_none_may_run_at_once(talk) -> None:
    talk.app.use_tools([make_tool()])
    talk.created("r1")
    talk.call("r1", "c1")
    assert [call.call_id for call in talk.calls] == ["c1"]
    assert asked(talk) == pending(talk) == []


@pytest.mark.parametrize(
    "text", ["", "no json", "[1]", '{"a": NaN}', '{"a": Infinity}', '{"a": 1e999}', '{"a": "\ud800"}']
)
def test_arguments_that_are_no_object_are_none_when_parsed(talk, text) -> None:
    park(talk, arguments=text)
    assert talk.core.pending_approvals[0].parsed_arguments is None


def test_b193_b199_the_same_call_again_while_it_is_pending_is_ignored(talk) -> None:
    park(talk)
    talk.created("r2")
    talk.call("r2", "c1")
    talk.app.request_approval("c1")
    assert asked(talk) == ["c1"]
    assert len(talk.events_of("tool_approval_required")) == 1
    assert talk.events_of("error") == []


def test_a_call_that_the_app_has_answered_meanwhile_is_not_asked_for(talk) -> None:
    talk.app.use_tools([make_tool()])
    talk.created("r1")
    talk.call("r1", "c1")
    talk.app.create_item({"type": "function_call_output", "call_id": "c1", "output": "42"})
    talk.app.request_approval("c1")
    assert asked(talk) == pending(talk) == []


def test_an_answer_to_other_calls_of_the_response_waits_for_the_decision(talk) -> None:
    talk.app.use_tools([make_tool(), make_tool("other", needs_approval=False)])
    talk.created("r1")
    talk.call("r1", "c1")
    talk.call("r1", "c2", name="other")
    talk.app.request_approval("c1")
    talk.app.send_tool_output("c2", "42")
    talk.done("r1")
    assert talk.creates == []
    talk.do(approve())
    talk.app.send_tool_output("c1", "43")
    assert len(talk.creates) == 1


# ---- decided --------------------------------------------------------------------------------------------------------


def test_b204_an_approved_call_runs_with_the_tool_and_the_agent_of_its_moment(talk) -> None:
    tool = park(talk)
    talk.app.switch_agent(AgentSwitch(agent=RealtimeAgent(name="next"), tools=()), None)
    talk.forget()
    talk.do(approve())
    (call,) = talk.calls
    assert (call.tool, call.agent, call.cleared, call.refusal) == (tool, talk.agent, True, None)
    assert withdrawn(talk) == ["c1"]
    assert pending(talk) == []


@pytest.mark.parametrize(
    "message, text, final", [(None, "Tool execution was not approved.", False), ("No.", "No.", True)]
)
def test_b206_a_rejected_call_is_refused_with_the_message_or_a_default_to_be_worded(talk, message, text, final) -> None:
    park(talk)
    talk.forget()
    talk.do(reject(message=message))
    (call,) = talk.calls
    assert (call.refusal.kind, call.refusal.message, call.refusal.final) == ("approval_rejected", text, final)
    assert not call.cleared
    talk.app.send_tool_output("c1", text)
    assert len(talk.creates) == 1


@pytest.mark.parametrize("first", [approve(), reject()])
@pytest.mark.parametrize("then", [approve(), reject(), approve("nobody")])
def test_b211_b212_what_is_not_pending_cannot_be_decided(talk, first, then) -> None:
    park(talk)
    talk.do(first)
    talk.forget()
    talk.do(then)
    assert talk.quiet


@pytest.mark.parametrize("approved", [True, False])
def test_b205_b207_b208_a_decision_for_always_holds_for_calls_that_are_being_looked_into(talk, approved) -> None:
    park(talk)
    talk.created("r2")
    talk.call("r2", "c2")
    talk.app.decide_approval("c1", approve=approved, always=True, message=None if approved else "Never.")
    talk.forget()
    talk.app.request_approval("c2")
    (call,) = talk.calls
    assert call.cleared is approved
    assert asked(talk) == []
    if not approved:
        assert (call.refusal.message, call.refusal.final) == ("Never.", True)


def test_what_is_pending_already_wants_a_decision_of_its_own(talk) -> None:
    park(talk, "c1")
    park(talk, "c2")
    talk.do(approve("c1", always=True))
    assert pending(talk) == ["c2"]


HOSTED = HostedTool(name="look", server_label="s")
TOOL = make_tool(identity="program a")
OTHERS = {
    "name": make_tool("other", identity="program a"),
    "namespace": make_tool(namespace="shop", identity="program a"),
    "needs none": make_tool(needs_approval=False, identity="program a"),
    "hosted": HOSTED,
    "identity": make_tool(identity="program b"),
    "another function": make_tool(),
}


@pytest.mark.parametrize("other", OTHERS)
def test_b205_a_decision_for_always_is_about_tools_of_one_kind_namespace_name_and_identity(talk, other) -> None:
    park(talk, tool=TOOL)
    talk.do(approve(always=True))
    assert talk.core.standing_decision(make_tool(identity="program a")).approve
    assert talk.core.standing_decision(OTHERS[other]) is None


def test_functions_of_one_name_are_two_tools_and_a_shared_tool_is_one(talk) -> None:
    tool = park(talk, tool=make_tool())
    talk.do(approve(always=True))
    assert talk.core.standing_decision(attrs.evolve(tool, description="The same function.")).approve
    assert talk.core.standing_decision(make_tool()) is None


OF_PROGRAM_A = HostedTool(name=HOSTED.name, server_label=HOSTED.server_label, identity="program a")
MOVED = {
    "identity": (make_tool(identity="program a"), make_tool(identity="program a"), make_tool(identity="program b")),
    "a server's": (
        make_tool(namespace="python", identity=("digest a", "pay")),
        make_tool(namespace="python", identity=("digest a", "pay")),
        make_tool(namespace="python", identity=("digest b", "pay")),
    ),
    "hosted": (OF_PROGRAM_A, attrs.evolve(OF_PROGRAM_A), attrs.evolve(OF_PROGRAM_A, identity="program b")),
    "function": (make_tool(), make_tool(), attrs.evolve(make_tool(), description="Another function.")),
    "namespace": (make_tool(namespace="a"), make_tool(namespace="a"), make_tool(namespace="b")),
}


@pytest.mark.parametrize("which", MOVED)
def test_a_decision_for_always_that_moves_holds_for_what_is_declared_alike(talk, make_talk, which) -> None:
    """A server's name alone is no identity: `python a.py` and `python b.py` are both called python."""
    tool, alike, other = MOVED[which]
    talk.core._state.approvals.stand(tool, Standing(approve=True))
    (decision,) = talk.core.decisions()
    there = make_talk()
    there.do(lambda app: app.begin_with([], decisions=[decision]))
    assert there.core.standing_decision(alike).approve
    assert there.core.standing_decision(other) is None
    assert there.core.decisions() == [decision]


def test_a_decision_for_always_about_an_object_of_this_process_does_not_move(talk) -> None:
    park(talk, tool=make_tool(identity=("a server of one's own", frozenset())))
    talk.do(approve(always=True))
    assert talk.core.decisions() == []


def test_a_decision_that_says_no_declaration_is_asked_for_again(make_talk) -> None:
    talk = make_talk()
    old = SavedDecision(kind="function", namespace=None, name="pay", approve=True)
    talk.do(lambda app: app.begin_with([], decisions=[old]))
    assert talk.core.standing_decision(make_tool()) is None


def test_a_later_decision_for_always_replaces_an_earlier_one(talk) -> None:
    tool = park(talk, "c1")
    park(talk, "c2", tool=tool)
    talk.do(approve("c1", always=True))
    talk.do(reject("c2", always=True, message="Not any more."))
    assert talk.core.standing_decision(tool).message == "Not any more."


# ---- given up -------------------------------------------------------------------------------------------------------


def test_what_nobody_decides_in_time_is_rejected_and_the_app_is_told(make_talk) -> None:
    talk = make_talk(approval_timeout_s=20)
    talk.open()
    park(talk)
    assert talk.events_of("tool_approval_required")[0].expires_at == talk.now + 20
    assert talk.core.next_deadline == talk.now + 20
    talk.wait(19)
    assert pending(talk) == ["c1"]
    talk.forget()
    talk.wait(1)
    assert dropped(talk) == [("c1", "timeout")]
    assert withdrawn(talk) == ["c1"]
    (call,) = talk.calls
    assert (call.refusal.kind, call.refusal.final) == ("approval_rejected", False)
    assert "Nobody approved the call within 20 s" in call.refusal.message
    assert talk.core.next_deadline is None
    assert talk.core.standing_decision(make_tool()) is None


# ---- dropped --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_interrupt, stays", [("keep", True), ("shield", True), ("cancel", False)])
def test_an_interrupt_drops_the_calls_that_it_cancels(talk, on_interrupt, stays) -> None:
    park(talk, tool=make_tool(on_interrupt=on_interrupt))
    talk.forget()
    talk.app.interrupt()
    assert pending(talk) == ["c1"] * stays
    assert dropped(talk) == [("c1", "interrupted")] * (not stays)
    assert [call.refusal.kind for call in talk.calls] == ["cancelled"] * (not stays)
    if not stays:
        talk.app.send_tool_output("c1", "cancelled")
        assert talk.creates == []  # the user has the floor


def test_a_call_that_was_interrupted_while_it_was_looked_into_is_not_asked_for(talk) -> None:
    talk.app.use_tools([make_tool(on_interrupt="cancel")])
    talk.created("r1")
    talk.call("r1", "c1")
    talk.app.interrupt()
    talk.forget()
    talk.app.request_approval("c1")
    assert [call.refusal.kind for call in talk.calls] == ["cancelled"]
    assert asked(talk) == pending(talk) == []


def test_a_call_that_the_app_answers_by_itself_is_dropped(talk) -> None:
    park(talk)
    talk.app.create_item({"type": "function_call_output", "call_id": "c1", "output": "42"})
    assert dropped(talk) == [("c1", "answered")]
    assert withdrawn(talk) == ["c1"]
    assert pending(talk) == []


def test_b214_at_the_end_what_is_pending_is_dropped(talk) -> None:
    for number in range(3):
        park(talk, f"c{number}")
    talk.app.disconnect(RuntimeError("over"))
    assert dropped(talk) == [(f"c{number}", "closed") for number in range(3)]
    assert pending(talk) == []
    talk.forget()
    talk.do(approve("c0"))
    assert talk.quiet


# ---- what the server runs -------------------------------------------------------------------------------------------


def ask_hosted(talk: Any, request_id: str = "mcpr_1", response_id: str = "r1", **fields: Any) -> None:
    if response_id not in talk.state.responses:
        talk.created(response_id)
    item = {"type": "mcp_approval_request", "role": None, "name": "look", "server_label": "s", "arguments": '{"a":1}'}
    talk.output_item(response_id, request_id, done=True, **{**item, **fields})


def answers(talk: Any) -> list[dict[str, Any]]:
    items = [event["item"] for event in talk.sent_of("conversation.item.create")]
    return [{key: value for key, value in item.items() if key != "id"} for item in items]


@pytest.mark.parametrize(
    "decision, fields",
    [
        (approve("mcpr_1"), {"approve": True}),
        (reject("mcpr_1"), {"approve": False, "reason": "Tool execution was not approved."}),
        (reject("mcpr_1", message="No."), {"approve": False, "reason": "No."}),
    ],
)
def test_a_tool_that_the_server_runs_is_asked_for_and_answered_with_an_item(talk, decision, fields) -> None:
    ask_hosted(talk)
    (event,) = talk.events_of("tool_approval_required")
    assert (event.tool, event.call_id, event.arguments) == (HOSTED, "mcpr_1", '{"a":1}')
    assert asked(talk) == ["mcpr_1"]
    talk.do(decision)
    assert answers(talk) == [{"type": "mcp_approval_response", "approval_request_id": "mcpr_1", **fields}]
    assert talk.calls == []
    ask_hosted(talk)
    assert asked(talk) == ["mcpr_1"]


def test_what_was_decided_for_always_about_a_tool_of_the_servers_is_answered_without_asking(talk) -> None:
    ask_hosted(talk)
    talk.do(reject("mcpr_1", always=True, message="Never."))
    talk.forget()
    ask_hosted(talk, "mcpr_2")
    ask_hosted(talk, "mcpr_3", server_label="other")
    assert [answer["approval_request_id"] for answer in answers(talk)] == ["mcpr_2"]
    assert answers(talk)[0]["reason"] == "Never."
    assert pending(talk) == ["mcpr_3"]


def test_one_label_of_two_agents_may_be_two_servers_of_which_each_is_asked_about(talk) -> None:
    here, there = (HostedMCPTool({"server_label": "s", "server_url": f"https://{host}/mcp"}) for host in "ab")
    talk.core._state.agent = RealtimeAgent("Desk", tools=[here])
    ask_hosted(talk)
    talk.do(approve("mcpr_1", always=True))
    ask_hosted(talk, "mcpr_2")
    assert [answer["approval_request_id"] for answer in answers(talk)] == ["mcpr_1", "mcpr_2"]
    talk.core._state.agent = RealtimeAgent("Shop", tools=[there])
    ask_hosted(talk, "mcpr_3", "r2")
    assert pending(talk) == ["mcpr_3"]


def test_a_request_is_about_the_server_of_the_agent_that_began_the_response(talk) -> None:
    """It may come when the next agent, whose server of that label is another, is in charge."""
    here, there = (HostedMCPTool({"server_label": "s", "server_url": f"https://{host}/mcp"}) for host in "ab")
    desk, shop = RealtimeAgent("Desk", tools=[here]), RealtimeAgent("Shop", tools=[there])
    talk.state.agent = desk
    talk.created("r_late")
    talk.state.agent = shop
    ask_hosted(talk, response_id="r_late")
    (event,) = talk.events_of("tool_approval_required")
    assert event.tool.identity == here.identity()
    assert event.agent is desk


def test_two_agents_whose_servers_are_not_listed_are_asked_for_separately(talk) -> None:
    talk.core._state.agent = RealtimeAgent("Desk", prompt={"id": "pmpt_1"})
    ask_hosted(talk)
    talk.do(approve("mcpr_1", always=True))
    talk.core._state.agent = RealtimeAgent("Shop", prompt={"id": "pmpt_2"})
    ask_hosted(talk, "mcpr_2", "r2")
    assert pending(talk) == ["mcpr_2"]


def test_a_decision_for_always_is_about_the_server_that_has_the_label(talk) -> None:
    asked_about, other = (
        HostedMCPTool({"server_label": label, "server_url": f"https://{label}/mcp"}) for label in ("s", "a")
    )
    talk.core._state.agent = RealtimeAgent("Desk", tools=[other, asked_about])
    ask_hosted(talk)
    talk.do(approve("mcpr_1", always=True))
    talk.core._state.agent = RealtimeAgent("Shop", tools=[asked_about])
    ask_hosted(talk, "mcpr_2", "r2")
    assert [answer["approval_request_id"] for answer in answers(talk)] == ["mcpr_1", "mcpr_2"]


def test_a_tool_of_the_servers_that_nobody_approves_in_time_is_refused(make_talk) -> None:
    talk = make_talk(approval_timeout_s=5)
    talk.open()
    ask_hosted(talk)
    talk.wait(5)
    assert dropped(talk) == [("mcpr_1", "timeout")]
    (answer,) = answers(talk)
    assert answer["approve"] is False
    assert "Nobody approved" in answer["reason"]


def test_a_request_of_the_servers_that_the_app_answers_by_itself_is_dropped(talk) -> None:
    ask_hosted(talk)
    item = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    talk.app.create_item(item)
    assert dropped(talk) == [("mcpr_1", "answered")]
    ask_hosted(talk)
    assert pending(talk) == []


def test_what_waits_for_approval_is_bounded_also_where_the_server_runs_it(make_talk) -> None:
    talk = make_talk(max_open_calls=1)
    talk.open()
    ask_hosted(talk)
    ask_hosted(talk, "mcpr_2")
    assert pending(talk) == ["mcpr_1"]
    (answer,) = answers(talk)
    assert (answer["approval_request_id"], answer["approve"]) == ("mcpr_2", False)
    assert "too many calls have no result yet" in answer["reason"]
    (event,) = talk.events_of("error")
    assert (event.error.tool_name, event.error.call_id) == ("look", "mcpr_2")
    talk.do(approve("mcpr_1"))
    ask_hosted(talk, "mcpr_3")
    assert pending(talk) == ["mcpr_3"]
    assert talk.core.counters().calls_refused == 1


@pytest.mark.parametrize("request_id", ["", None, 7])
def test_a_request_of_the_servers_without_an_id_cannot_be_answered(talk, request_id) -> None:
    ask_hosted(talk, request_id)
    assert pending(talk) == []
