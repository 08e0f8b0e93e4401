"""Function calls in the core: run once each, answered once each, followed by an answer where one is wanted."""

from __future__ import annotations

from typing import Any

import pytest

from trealtime._core.handoffs import AgentSwitch
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import ToolRoundsExceeded
from trealtime.tools.function_tool import FunctionTool


def make_tool(name: str = "look", **options: Any) -> FunctionTool:
    async def handler(context: Any, arguments: str) -> str:
        raise AssertionError("the core runs nothing")

    return FunctionTool(name, "", params_json_schema={"type": "object"}, on_invoke_tool=handler, **options)


def outputs(talk: Any) -> list[tuple[str, str]]:
    return [(event["item"]["call_id"], event["item"]["output"]) for event in talk.sent_of("conversation.item.create")]


def cancelled(talk: Any) -> list[str]:
    return [call_id for fx in talk.effects for call_id in fx.cancel_calls]


# ---- which are run --------------------------------------------------------------------------------------------------


def test_calls_without_an_output_are_bounded_and_those_beyond_it_are_answered_at_once(make_talk) -> None:
    talk = make_talk(max_open_calls=2)
    talk.open()
    talk.app.use_tools([make_tool(), {"type": "function", "name": "mine"}])
    talk.created("r1")
    talk.call("r1", "own", name="mine")  # the app's to run, and to count
    for number in range(3):
        talk.call("r1", f"c{number}")
    assert [call.call_id for call in talk.calls] == ["c0", "c1"]
    (refused,) = outputs(talk)
    assert refused == (
        "c2",
        "The call of look was not made, because too many calls have no result yet. Wait for those.",
    )
    (event,) = talk.events_of("error")
    assert str(event.error) == "the call of look was not made: 2 calls have no output yet (max_open_calls)"
    talk.app.send_tool_output("c0", "found")
    talk.call("r1", "c3")
    assert [call.call_id for call in talk.calls] == ["c0", "c1", "c3"]
    assert talk.core.counters().calls_refused == 1


def test_a_call_is_known_by_its_id_for_long_after_its_output(talk) -> None:
    talk.app.use_tools([make_tool()])
    talk.created("r1")
    for number in range(1000):
        talk.call("r1", f"c{number}")
        talk.app.send_tool_output(f"c{number}", "found")
    talk.call("r1", "c0")
    assert len(talk.calls) == 1000


def test_b173_a_call_carries_the_agent_and_the_tool_of_its_response(talk) -> None:
    """The model has called what it had been told of when the response began, whatever it is told later."""
    first, second = make_tool(), make_tool()
    talk.app.use_tools([first, make_tool("other")])
    talk.created("r1")
    talk.call("r1", "c1")
    talk.app.use_tools([second])
    talk.call("r1", "c2")
    talk.call("r1", "c3", name="missing")
    talk.done("r1")
    talk.created("r2")
    talk.call("r2", "c4")
    assert [(call.tool, call.known) for call in talk.calls] == [
        (first, ("look", "other")),
        (first, ("look", "other")),
        (None, ("look", "other")),
        (second, ("look",)),
    ]
    assert all(call.agent is talk.agent for call in talk.calls)


def test_a_response_has_the_tools_that_it_was_asked_for_with(talk) -> None:
    own, shared = make_tool(), make_tool("shared")
    talk.app.use_tools([make_tool(), shared])
    talk.app.create_response({"tools": []}, tools=[own])
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.call("r1", "c2", name="shared")
    assert [call.tool for call in talk.calls] == [own, shared]


def test_a_tool_declared_by_a_mapping_is_for_the_app_to_run_and_to_answer(talk) -> None:
    talk.app.use_tools([{"type": "function", "name": "look"}, {"type": "mcp", "server_label": "look2"}])
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.done("r1")
    assert talk.calls == []
    assert talk.settled == {}
    talk.app.create_item({"type": "function_call_output", "call_id": "c1", "output": "42"})
    assert talk.settled["t"].value.response_id == "r1"
    assert len(talk.creates) == 1  # whether it wants an answer, the app says


def test_a_call_that_is_told_late_or_never_is_in_the_response_that_is_over(talk) -> None:
    talk.app.use_tools([make_tool()])
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    call = {"type": "function_call", "status": "completed", "name": "look", "call_id": "c1", "arguments": "{}"}
    talk.done("r1", output=[call, {"type": "function_call", "name": "look"}])
    talk.call("r1", "c1")  # its own event, behind the response's
    assert [each.call_id for each in talk.calls] == ["c1"]
    assert talk.settled == {}  # the turn goes on with the answer to it
    talk.app.send_tool_output("c1", "42")
    assert len(talk.creates) == 2


SAME = [
    ('{"a": 1, "b": [2]}', '{"b":[2],"a":1}'),
    ("", "{}"),
    ("no json", "no json"),
    ('{"a": "\ud800"}', '{"a": "\ud800"}'),
]


@pytest.mark.parametrize("first, again", SAME)
@pytest.mark.parametrize("answered", [False, True])
def test_b193_the_same_call_again_is_ignored(talk, first, again, answered) -> None:
    talk.created("r1")
    talk.call("r1", "c1", arguments=first)
    if answered:
        talk.app.send_tool_output("c1", "42")
    talk.call("r1", "c1", arguments=again)
    talk.done("r1")
    talk.created("r2")
    talk.call("r2", "c1", arguments=again)
    assert len(talk.calls) == 1
    assert talk.events_of("error") == []


@pytest.mark.parametrize("change", [{"arguments": '{"a": 2}'}, {"name": "other"}, {"arguments": "no json"}])
@pytest.mark.parametrize("answered", [False, True])
def test_b194_another_call_under_a_used_id_is_not_run_and_the_app_is_told(talk, change, answered) -> None:
    talk.created("r1")
    talk.call("r1", "c1", arguments='{"a": 1}')
    if answered:
        talk.app.send_tool_output("c1", "42")
    talk.call("r1", "c1", **{"arguments": '{"a": 1}', **change})
    assert len(talk.calls) == 1
    (event,) = talk.events_of("error")
    assert event.error.call_id == "c1"
    assert "the id of another call" in str(event.error)


@pytest.mark.parametrize("call_id", ["", None, 7])
def test_b195_a_call_without_an_id_is_not_run_and_the_app_is_told(talk, call_id) -> None:
    talk.created("r1")
    talk.call("r1", call_id)
    talk.done("r1")
    assert talk.calls == []
    (event,) = talk.events_of("error")
    assert "without an id" in str(event.error)


def test_b196_a_refused_output_is_an_error_event_and_the_call_does_not_run_again(talk) -> None:
    talk.created("r1")
    talk.call("r1", "c1")
    talk.app.send_tool_output("c1", "42")
    talk.error("invalid_value", talk.sent_of("conversation.item.create")[0]["event_id"])
    talk.call("r1", "c1")
    assert len(talk.calls) == 1
    assert talk.events_of("error")[0].error.request == "conversation.item.create"


def test_a_call_is_answered_once(talk) -> None:
    talk.created("r1")
    talk.call("r1", "c1")
    talk.app.create_item({"type": "function_call_output", "call_id": "c1", "output": "the app's"})
    assert cancelled(talk) == ["c1"]
    talk.app.send_tool_output("c1", "the tool's")
    assert outputs(talk) == [("c1", "the app's")]


def made(talk: Any, session: Any = None) -> None:
    switch = AgentSwitch(agent=RealtimeAgent("other"), call_id="c1", output="done")
    talk.app.switch_agent(switch, session, reply_id="switch")


ENDS = {
    "it returns": lambda talk: talk.app.send_tool_output("c1", "42", respond=True),
    "it returns twice": lambda talk: [talk.app.send_tool_output("c1", text) for text in ("42", "43")],
    "the app answers": lambda talk: talk.app.create_item(
        {"type": "function_call_output", "call_id": "c1", "output": "mine"}
    ),
    "the app answers raw": lambda talk: talk.app.send_raw(
        {
            "type": "conversation.item.create",
            "item": {"type": "function_call_output", "call_id": "c1", "output": "mine"},
        }
    ),
    "it is interrupted": lambda talk: talk.app.interrupt(),
    "it is rejected": lambda talk: (talk.app.request_approval("c1"), talk.app.decide_approval("c1", approve=False)),
    "nobody decides": lambda talk: (talk.app.request_approval("c1"), talk.wait(3)),
    "it is interrupted while it waits": lambda talk: (talk.app.request_approval("c1"), talk.app.interrupt()),
    "the handoff is made": made,
    "the handoff is acknowledged": lambda talk: (
        made(talk, {"instructions": "x"}),
        talk.server("session.updated", session={"instructions": "x"}),
    ),
    "the handoff is refused": lambda talk: (
        made(talk, {"instructions": "x"}),
        talk.error("invalid_value", talk.sent_of("session.update")[0]["event_id"]),
    ),
    "the handoff is never answered": lambda talk: (made(talk, {"instructions": "x"}), talk.wait(10)),
    "it comes again": lambda talk: (talk.app.send_tool_output("c1", "42"), talk.call("r1", "c1")),
}


@pytest.mark.parametrize("done_first", [True, False])
@pytest.mark.parametrize("how", ENDS)
def test_invariant_every_call_gets_exactly_one_output(make_talk: Any, how: str, done_first: bool) -> None:
    talk = make_talk(approval_timeout_s=3.0)
    talk.open()
    name = "over" if "handoff" in how else "look"
    talk.app.use_tools([make_tool(needs_approval=True, on_interrupt="cancel")], ["over"])
    talk.created("r1")
    talk.call("r1", "c1", name=name)
    if done_first:
        talk.done("r1")
    ENDS[how](talk)
    if not done_first:
        talk.done("r1")
    talk.app.send_tool_output("c1", "what the worker tells at last")  # nothing, where there is an output
    talk.app.send_tool_output("c1", "once more")
    talk.wait(60)
    assert [call_id for call_id, _ in outputs(talk)] == ["c1"]


@pytest.mark.parametrize("options, last", [({"max_open_calls": 1}, "c2"), ({"max_tool_rounds": 0}, "c1")])
def test_invariant_a_call_that_is_not_made_gets_exactly_one_output(make_talk: Any, options: Any, last: str) -> None:
    talk = make_talk(**options)
    talk.open()
    talk.app.use_tools([make_tool()])
    talk.created("r1")
    for call_id in ("c1", "c2"):
        talk.call("r1", call_id)
    assert outputs(talk)[0][0] == last
    for call_id in ("c1", "c2"):
        talk.app.send_tool_output(call_id, "late")
    talk.done("r1")
    assert sorted(call_id for call_id, _ in outputs(talk)) == ["c1", "c2"]


def test_invariant_of_two_handoffs_at_a_time_each_gets_exactly_one_output(talk: Any) -> None:
    talk.app.use_tools([], ["over"])
    talk.created("r1")
    talk.call("r1", "c1", name="over")
    talk.call("r1", "c2", name="over")
    assert [call_id for call_id, _ in outputs(talk)] == ["c2"]
    made(talk)
    talk.done("r1")
    assert [call_id for call_id, _ in outputs(talk)] == ["c2", "c1"]


# ---- whether an answer follows --------------------------------------------------------------------------------------


def respond(talk: Any, *, says: str = "", tools: Any = (), empty: Any = (), **output: Any) -> int:
    """One response with a call of each of `tools`; how many answers were asked for."""
    talk.app.use_tools(tools)
    talk.created("r1")
    for index, tool in enumerate(tools):
        talk.call("r1", f"c{index}", name=tool.name)
    message = {"id": "m", "type": "message", "content": [{"type": "output_audio", "transcript": says}]}
    talk.done("r1", output=[message] if says else [])
    for index in range(len(tools)):
        talk.app.send_tool_output(f"c{index}", "42", nothing_to_tell=index in empty, **output)
    return len(talk.creates)


def test_what_a_tool_has_found_is_told_also_by_a_response_that_said_let_me_check(talk) -> None:
    assert respond(talk, says="Let me check.", tools=[make_tool()]) == 1


def test_a_response_that_has_spoken_is_not_followed_by_one_with_nothing_new(talk) -> None:
    assert respond(talk, says="I wrote it down.", tools=[make_tool()], empty={0}) == 0


def test_a_silent_response_leaves_nobody_waiting(talk) -> None:
    assert respond(talk, tools=[make_tool()], empty={0}) == 1


def test_one_tool_with_something_to_tell_is_enough(talk) -> None:
    assert respond(talk, says="So.", tools=[make_tool("a"), make_tool("b")], empty={0}) == 1


def test_audio_and_text_count_as_speech_also_where_the_server_sums_nothing_up(make_talk) -> None:
    spoken, written = make_talk(), make_talk()
    for talk in (spoken, written):
        talk.open()
        talk.app.use_tools([make_tool()])
        talk.created("r1")
        talk.call("r1", "c1")
    spoken.audio("r1", "a")
    spoken.done("r1")
    part = {"type": "output_text", "text": "Noted."}
    written.done("r1", output=[{"id": "m", "type": "message", "content": [part]}])
    for talk in (spoken, written):
        talk.app.send_tool_output("c1", "null", nothing_to_tell=True)
        assert talk.creates == []


@pytest.mark.parametrize("policy, creates", [("auto", 0), ("always", 1), ("never", 0)])
def test_the_policy_of_the_run_config(make_talk, policy, creates) -> None:
    talk = make_talk(after_tool=policy)
    talk.open()
    assert respond(talk, says="Done.", tools=[make_tool()], empty={0}) == creates


@pytest.mark.parametrize("empty", [(), (0,)])
def test_never_means_never_also_after_silence_and_with_something_to_tell(make_talk, empty) -> None:
    talk = make_talk(after_tool="never")
    talk.open()
    assert respond(talk, tools=[make_tool()], empty=empty) == 0


@pytest.mark.parametrize("policy, creates", [("always", 1), ("never", 0), ("auto", 0), (None, 1)])
def test_a_tool_goes_before_the_run_config(make_talk, policy, creates) -> None:
    talk = make_talk(after_tool="always")
    talk.open()
    assert respond(talk, says="Done.", tools=[make_tool(after_tool=policy)], empty={0}) == creates


def test_whoever_asked_gets_the_result_when_no_answer_follows(talk) -> None:
    talk.app.use_tools([make_tool(after_tool="never")])
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.done("r1")
    talk.app.send_tool_output("c1", "42")
    assert talk.settled["t"].value.response_id == "r1"


# ---- interrupts -----------------------------------------------------------------------------------------------------


def with_tools(talk: Any) -> None:
    talk.app.use_tools([make_tool(policy, on_interrupt=policy) for policy in ("keep", "cancel", "shield")])
    talk.created("r1")
    for policy in ("keep", "cancel", "shield"):
        talk.call("r1", f"c_{policy}", name=policy)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("cause", ["speech", "app"])
def test_an_interrupt_cancels_the_calls_of_tools_that_asked_for_it(vad_talk, done, cause) -> None:
    with_tools(vad_talk)
    if done:
        vad_talk.done("r1")
    if cause == "speech":
        vad_talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    else:
        vad_talk.app.interrupt()
    assert cancelled(vad_talk) == ["c_cancel"]
    vad_talk.app.interrupt()
    assert cancelled(vad_talk) == ["c_cancel"]


def test_without_barge_in_speech_cancels_nothing(make_talk) -> None:
    talk = make_talk(barge_in="off")
    talk.open(create_response=True, interrupt_response=False)
    with_tools(talk)
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    assert cancelled(talk) == []


def test_a_cancelled_call_gets_its_output_and_no_answer_of_its_own(talk) -> None:
    talk.app.use_tools([make_tool(on_interrupt="cancel")])
    talk.created("r1")
    talk.call("r1", "c1")
    talk.done("r1")
    talk.app.interrupt()
    talk.app.send_tool_output("c1", "cancelled")
    assert outputs(talk) == [("c1", "cancelled")]
    assert talk.creates == []


def test_a_kept_call_beside_a_cancelled_one_is_still_answered(talk) -> None:
    with_tools(talk)
    talk.done("r1")
    talk.app.interrupt()
    for policy in ("cancel", "keep", "shield"):
        talk.app.send_tool_output(f"c_{policy}", "42")
    assert len(talk.creates) == 1


def test_a_call_that_comes_after_the_interrupt_of_its_response_is_cancelled_too(talk) -> None:
    talk.app.use_tools([make_tool(on_interrupt="cancel")])
    talk.created("r1")
    talk.app.interrupt()
    talk.call("r1", "c1")
    assert [call.call_id for call in talk.calls] == cancelled(talk) == ["c1"]


def test_cancelling_one_response_leaves_the_calls_of_others_alone(talk) -> None:
    talk.app.use_tools([make_tool(on_interrupt="cancel")])
    for number in (1, 2):
        talk.created(f"r{number}")
        talk.call(f"r{number}", f"c{number}")
        talk.done(f"r{number}")
    talk.app.cancel_response("r1")
    assert cancelled(talk) == ["c1"]


def test_whoever_leaves_cancels_the_calls_of_what_it_asked_for(talk) -> None:
    talk.app.use_tools([make_tool(on_interrupt="cancel")])
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.done("r1")
    talk.app.interrupt(reply_id="t")
    assert cancelled(talk) == ["c1"]
    talk.app.send_tool_output("c1", "cancelled")
    assert talk.settled["t"].value.response_id == "r1"


# ---- the answer to the outputs --------------------------------------------------------------------------------------


OPTIONS = {
    "output_modalities": ["text"],
    "instructions": "In French.",
    "max_output_tokens": 50,
    "tools": [{"name": "x"}],
    "audio": {"output": {"voice": "ash", "format": {"type": "audio/pcmu"}}},
    "parallel_tool_calls": False,
    "prompt": {"id": "p"},
    "reasoning": {"effort": "low"},
    "newer": 1,
}


def round_of(talk: Any, number: int, *, call_id: str | None = None) -> None:
    """The newest request is answered by a response that calls a function, which gets its output."""
    talk.created(f"r{number}", talk.creates[-1])
    talk.call(f"r{number}", call_id or f"c{number}")
    talk.done(f"r{number}")
    talk.app.send_tool_output(call_id or f"c{number}", "found")


def test_the_options_of_a_turn_hold_for_the_answers_to_its_calls(talk) -> None:
    own = make_tool()
    options = {**OPTIONS, "metadata": {"ours": "1"}, "tool_choice": "required", "input": []}
    talk.app.create_response(options, reply_id="t", tools=[own])
    for number in (1, 2):
        round_of(talk, number)
        params = dict(talk.creates[-1]["response"])
        assert params.pop("metadata")["ours"] == "1"
        assert params == OPTIONS, "and not tool_choice: the tool has been called"
    assert [call.tool for call in talk.calls] == [own, own]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "look"}])
def test_a_tool_that_the_session_forces_is_not_forced_in_the_answer_to_its_output(talk, choice) -> None:
    talk.app.use_tools([make_tool()])
    talk.server("session.updated", session={"tool_choice": choice})
    talk.app.create_response(reply_id="t")
    assert "tool_choice" not in talk.creates[-1]["response"]
    round_of(talk, 1)
    assert talk.creates[-1]["response"]["tool_choice"] == "auto"


@pytest.mark.parametrize("choice", ["auto", "none", None])
def test_a_choice_that_forces_nothing_is_left_alone(talk, choice) -> None:
    talk.app.use_tools([make_tool()])
    talk.server("session.updated", session={"tool_choice": choice})
    talk.app.create_response(reply_id="t")
    round_of(talk, 1)
    assert talk.creates[-1]["response"].keys() == {"metadata"}


def test_a_turn_whose_rounds_of_calls_are_over_ends_with_an_error_for_who_waits(make_talk) -> None:
    talk = make_talk(max_tool_rounds=2)
    talk.app.use_tools([make_tool()])
    talk.app.create_response(reply_id="t")
    for number in (1, 2, 3):
        round_of(talk, number)
    assert [call.call_id for call in talk.calls] == ["c1", "c2"]
    assert outputs(talk)[2][0] == "c3"
    assert "2 rounds" in outputs(talk)[2][1]
    assert isinstance(talk.settled["t"].error, ToolRoundsExceeded)
    assert talk.settled["t"].error.max_tool_rounds == 2
    assert len(talk.creates) == 3
    assert talk.events_of("error") == []


def test_where_nobody_waits_the_app_is_told_and_the_model_has_to_speak(make_talk) -> None:
    talk = make_talk(max_tool_rounds=1)
    talk.app.use_tools([make_tool()])
    talk.app.create_response(automatic=True)
    round_of(talk, 1)
    round_of(talk, 2)
    (event,) = talk.events_of("error")
    assert isinstance(event.error, ToolRoundsExceeded)
    assert talk.creates[2]["response"]["tool_choice"] == "none"
    round_of(talk, 3)  # it calls all the same
    assert len(talk.creates) == 3
    assert [call_id for call_id, _ in outputs(talk)] == ["c1", "c2", "c3"]


def test_a_new_turn_has_its_rounds_from_the_start(make_talk) -> None:
    talk = make_talk(max_tool_rounds=1)
    talk.app.use_tools([make_tool()])
    for number in (1, 3, 5):
        talk.app.create_response(automatic=True)
        round_of(talk, number)
        talk.created(f"r{number + 1}", talk.creates[-1])
        talk.done(f"r{number + 1}")
    assert len(talk.calls) == 3
    assert talk.events_of("error") == []


# ---- calls that the app answers -------------------------------------------------------------------------------------


def test_an_output_that_is_sent_raw_is_the_output_of_its_call(talk) -> None:
    talk.app.use_tools([{"type": "function", "name": "look"}, make_tool("ours")])
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.call("r1", "c2", name="ours")
    talk.done("r1")
    for call_id in ("c1", "c2", "unknown", None, ["c1"]):
        item = {"type": "function_call_output", "call_id": call_id, "output": "42"}
        talk.app.send_raw({"type": "conversation.item.create", "item": item})
    assert talk.settled["t"].value.response_id == "r1"
    assert "c2" in cancelled(talk)
    talk.app.send_tool_output("c2", "late")
    assert [call_id for call_id, _ in outputs(talk)] == ["c1", "c2", "unknown", None, ["c1"]]
