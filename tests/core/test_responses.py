"""The life of a response: asked for, created, done, and what its function calls lead to."""

from __future__ import annotations

import pytest

from trealtime._core.ids import IdSource
from trealtime._core.response_queue import METADATA_KEY
from trealtime._core.usage import add_usage, parse_usage
from trealtime.errors import RequestTimedOut, ServerRefused

# ---- asked for ------------------------------------------------------------------------------------------------------


def test_a_request_carries_its_key_next_to_the_callers_metadata(talk):
    talk.app.create_response({"instructions": "short", "metadata": {"topic": "x"}}, event_id="mine", reply_id="t")
    (create,) = talk.creates
    assert create["event_id"] == "mine"
    assert create["response"]["instructions"] == "short"
    assert create["response"]["metadata"]["topic"] == "x"
    talk.created("r1", create)
    talk.done("r1", metadata=create["response"]["metadata"])
    assert talk.settled["t"].value.metadata == {"topic": "x"}


def test_keys_of_two_sessions_do_not_meet(make_talk):
    keys = set()
    for talk in (make_talk(ids=IdSource()), make_talk(ids=IdSource())):
        talk.app.create_response()
        keys.add(talk.creates[0]["response"]["metadata"][METADATA_KEY])
    assert len(keys) == 2


def test_a_retried_request_goes_under_a_new_event_id(talk):
    talk.app.create_response(event_id="mine")
    talk.error("conversation_already_has_active_response", "mine")
    talk.wait(0.2)
    first, second = talk.creates
    assert second["event_id"] != first["event_id"]
    assert second["response"] == first["response"]
    assert talk.core.counters().collisions_retried == 1


def test_a_refused_request_is_the_result_of_who_asked_or_an_event_for_all(talk):
    talk.app.create_response(reply_id="t")
    talk.error("invalid_value", talk.creates[0]["event_id"], param="response.voice")
    result = talk.settled["t"].value
    assert (result.status, result.response_id, result.reason) == ("failed", None, "invalid_value")
    assert isinstance(result.error, ServerRefused)
    assert talk.events == []
    talk.app.create_response()
    talk.error("invalid_value", talk.creates[1]["event_id"])
    assert isinstance(talk.events_of("error")[0].error, ServerRefused)


def test_a_request_that_nothing_answers_is_given_up_and_the_next_goes(talk):
    talk.app.create_response(reply_id="t")
    talk.app.create_response(reply_id="u")
    assert talk.core.next_deadline == talk.now + 30
    talk.wait(30)
    assert talk.settled["t"].value.error.code == "no_answer"
    assert len(talk.creates) == 2
    assert talk.core.counters().unanswered_requests == 1


def test_a_response_that_comes_after_its_request_was_given_up_is_cancelled(talk):
    talk.app.create_response(reply_id="t")
    talk.wait(30)
    talk.created("r1", talk.creates[0])
    talk.audio("r1", "a")
    assert talk.sent_of("response.cancel")[0]["response_id"] == "r1"
    assert talk.events_of("audio") == []
    talk.done("r1", "cancelled")
    assert list(talk.settled) == ["t"]


# ---- from created to done -------------------------------------------------------------------------------------------


def test_a_response_begins_ends_and_answers_who_asked(talk):
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    assert talk.started == [("t", "r1")]
    assert talk.core.response_active
    talk.output_item("r1", "a")
    talk.output_item("r1", "a", done=True, status="completed", content=[{"type": "output_text", "text": "hi"}])
    talk.done("r1", output=[{"id": "a", "type": "message"}])
    assert not talk.core.response_active
    assert [kind for kind in talk.types if kind.startswith("agent")] == ["agent_start", "agent_end"]
    result = talk.settled["t"].value
    assert (result.response_id, result.status, result.output) == ("r1", "completed", ({"id": "a", "type": "message"},))


@pytest.mark.parametrize(
    "done, status, reason",
    [
        ({"status": "completed"}, "completed", None),
        ({"status": "cancelled", "status_details": {"reason": "turn_detected"}}, "cancelled", "turn_detected"),
        (
            {"status": "incomplete", "status_details": {"reason": "max_output_tokens"}},
            "incomplete",
            "max_output_tokens",
        ),
        (
            {"status": "failed", "status_details": {"error": {"code": "rate_limit_exceeded"}}},
            "failed",
            "rate_limit_exceeded",
        ),
        ({"status": "failed", "status_details": {"error": {"type": "server_error"}}}, "failed", "server_error"),
        ({"status": "failed", "status_details": {"error": None}}, "failed", None),
        ({"status": "failed"}, "failed", None),
        ({"status": "of_tomorrow", "status_details": "?"}, "incomplete", None),
        ({"status_details": {"reason": 5}}, "completed", None),
    ],
)
def test_the_end_says_how_and_why(talk, done, status, reason):
    talk.created("r1")
    talk.output_item("r1", "a")
    talk.server("response.done", response={"id": "r1", **done})
    (end,) = talk.events_of("agent_end")
    assert (end.response_id, end.status, end.reason) == ("r1", status, reason)
    assert len(talk.events_of("error")) == (status == "failed")
    assert talk.core.history()[0].status == ("completed" if status == "completed" else "incomplete")


def test_output_before_created_begins_the_response_once(talk):
    talk.app.create_response(reply_id="t")
    talk.audio("r1", "a")
    talk.created("r1", talk.creates[0])
    talk.done("r1")
    assert talk.types == ["agent_start", "audio", "agent_end"]
    assert talk.settled["t"].value.response_id == "r1"


def test_a_response_said_twice_is_one(talk):
    talk.app.create_response({"conversation": "none"}, reply_id="t")
    talk.app.create_response({"conversation": "none"}, reply_id="u")
    for _ in range(2):
        talk.created("r1")
    assert talk.started == [("t", "r1")]
    for _ in range(2):
        talk.done("r1")
    talk.created("r1")
    talk.audio("r1", "a")
    assert talk.types == ["agent_start", "agent_end"]


def test_an_end_without_a_beginning_is_a_response_all_the_same(talk):
    talk.app.create_response(reply_id="t")
    talk.done("r1", metadata=talk.creates[0]["response"]["metadata"])
    assert talk.types == ["agent_start", "agent_end"]
    assert talk.settled["t"].value.response_id == "r1"
    assert talk.started == [("t", "r1")]


def test_a_guess_that_a_late_refusal_proves_wrong_is_taken_back(talk):
    talk.app.create_response(reply_id="t")
    talk.created("server's own")
    talk.error("conversation_already_has_active_response", talk.creates[0]["event_id"])
    talk.done("server's own")
    assert talk.settled == {}
    assert len(talk.creates) == 2
    talk.created("r2", talk.creates[1])
    talk.done("r2")
    assert talk.settled["t"].value.response_id == "r2"
    assert talk.events_of("error") == []


def test_a_refusal_after_the_wrong_response_is_over_still_gets_the_answer(talk):
    talk.app.create_response(reply_id="t")
    talk.created("server's own")
    talk.done("server's own")
    talk.error("conversation_already_has_active_response", talk.creates[0]["event_id"])
    talk.wait(0.2)
    talk.created("r2", talk.creates[1])
    talk.done("r2")
    assert list(talk.settled) == ["t"]


@pytest.mark.parametrize("over", [False, True], ids=["while it lives", "after its end"])
def test_the_key_of_an_out_of_band_request_takes_a_wrong_guess_back(talk, over):
    """The server begins a response of its own before it has read a setting that forbids that."""
    talk.app.create_response({"conversation": "none"}, reply_id="t")
    talk.created("server's own")
    talk.audio("server's own", "x")
    if over:
        talk.done("server's own")
    talk.created("ro", talk.creates[0])
    talk.output_item("ro", "y")
    talk.app.create_response()
    assert len(talk.creates) == 1 + over, "the conversation has one response at a time"
    talk.done("ro", metadata=talk.creates[0]["response"]["metadata"])
    assert talk.order() == [], "of the response outside"
    assert talk.settled["t"].value.response_id == ("server's own" if over else "ro")
    if not over:
        talk.output_item("server's own", "x", done=True)
        assert talk.order() == ["x"]
        talk.app.interrupt()
        assert talk.truncations == [("x", 0, 0)], "the server's conversation has it"


@pytest.mark.parametrize("params", [None, {"conversation": "none"}], ids=["in the conversation", "out of band"])
def test_a_caller_who_leaves_takes_nothing_along_that_was_taken_for_its_answer_by_mistake(talk, params):
    talk.app.create_response(params, reply_id="t")
    talk.created("server's own")
    talk.audio("server's own", "x")
    if params is None:
        talk.error("conversation_already_has_active_response", talk.creates[0]["event_id"])
        talk.done("server's own")
    talk.created("r", talk.creates[-1])
    talk.audio("r", "y")
    talk.app.interrupt(reply_id="t")
    assert talk.purged == ["r"]
    assert [event["response_id"] for event in talk.sent_of("response.cancel")] == ["r"]


def test_a_key_that_comes_only_with_the_end_shows_that_the_guess_was_right(talk):
    talk.app.create_response({"conversation": "none"}, reply_id="t")
    talk.created("ro")
    talk.done("ro", metadata=talk.creates[0]["response"]["metadata"])
    assert talk.settled["t"].value.response_id == "ro"
    assert talk.started == [("t", "ro")]


def test_out_of_band_output_stays_out_of_history(talk):
    talk.app.create_response({"conversation": "none"}, reply_id="t")
    talk.created("ro", talk.creates[0])
    talk.output_item("ro", "x")
    talk.audio("ro", "x")
    talk.call("ro", "c1")
    talk.output_item("ro", "x", done=True)
    talk.done("ro", output=[{"id": "x"}])
    assert talk.core.history() == []
    assert talk.calls == []
    assert talk.settled["t"].value.output == ({"id": "x"},)


def test_a_null_conversation_counts_only_where_the_server_names_conversations(make_talk):
    for names in (False, True):
        talk = make_talk()
        talk.open()
        if names:
            talk.created("r0", conversation_id="conv")
            talk.done("r0")
        talk.created("r1", conversation_id=None)
        assert talk.core.response_active is not names


def test_nothing_is_kept_of_a_response_that_is_over(talk):
    for index in range(1100):
        talk.app.create_response(reply_id=f"t{index}")
        talk.speak(f"r{index}", f"item_{index}", 100)
        talk.call(f"r{index}", f"c{index}")
        talk.done(f"r{index}")
        talk.app.send_tool_output(f"c{index}", "42", respond=False)
        talk.now += 1
    state = talk.state
    assert not state.responses
    assert not state.calls
    assert (len(state.finished), len(state.finished_calls)) == (64, 1024)
    assert len(state.ledger) <= 1
    assert talk.core.playback_remaining(talk.now) == 0
    assert len(talk.settled) == 1100


# ---- usage ----------------------------------------------------------------------------------------------------------


def test_usage_adds_up_over_all_outcomes(talk):
    for index, status in enumerate(("completed", "cancelled", "failed", "incomplete")):
        talk.created(f"r{index}")
        talk.done(
            f"r{index}",
            status,
            usage={"input_tokens": 10, "output_tokens": 5, "input_token_details": {"cached_tokens": 2}},
        )
    talk.created("none")
    talk.done("none", usage=None)
    usage = talk.core.usage
    assert (usage.requests, usage.input_tokens, usage.output_tokens, usage.total_tokens) == (4, 40, 20, 60)
    assert usage.input_token_details == {"cached_tokens": 8}
    assert usage.output_token_details is None
    assert talk.info.context.usage is usage


@pytest.mark.parametrize(
    "usage, counts",
    [
        ({}, (0, 0, 0)),
        ({"input_tokens": 3}, (3, 0, 3)),
        ({"input_tokens": 3, "output_tokens": 4, "total_tokens": 99}, (3, 4, 99)),
        ({"input_tokens": "3", "output_tokens": -4, "total_tokens": None}, (0, 0, 0)),
    ],
)
def test_missing_counts_are_nothing_and_a_missing_total_is_the_sum(usage, counts):
    parsed = parse_usage(usage)
    assert parsed is not None
    assert (parsed.input_tokens, parsed.output_tokens, parsed.total_tokens) == counts


def test_details_add_up_key_by_key_and_level_by_level():
    left = parse_usage({"input_token_details": {"text_tokens": 1, "cached": {"audio": 2}}})
    right = parse_usage({"input_token_details": {"audio_tokens": 5, "cached": {"audio": 3, "text": 4}}})
    assert left is not None
    assert right is not None
    total = add_usage(left, right)
    assert total.input_token_details == {"text_tokens": 1, "audio_tokens": 5, "cached": {"audio": 5, "text": 4}}
    assert parse_usage(None) is None
    assert parse_usage([1]) is None


# ---- function calls -------------------------------------------------------------------------------------------------


def test_a_call_is_told_once_and_shown_in_history(talk):
    talk.created("r1")
    for _ in range(2):
        talk.call("r1", "c1", arguments='{"a": 1}')
    (call,) = talk.calls
    assert (call.call_id, call.name, call.arguments, call.item_id, call.response_id) == (
        "c1",
        "look",
        '{"a": 1}',
        "item_c1",
        "r1",
    )
    assert talk.core.history()[0].status == "in_progress"


@pytest.mark.parametrize("fields", [{"status": "incomplete"}, {"status": "in_progress"}, {"name": 5}])
def test_a_call_that_is_not_whole_is_not_made(talk, fields):
    talk.created("r1")
    talk.call("r1", "c1", **fields)
    talk.call("r1", None)
    assert talk.calls == []


def test_all_outputs_come_before_the_one_create_and_that_after_the_response(talk):
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    for call_id in ("c1", "c2", "c3"):
        talk.call("r1", call_id)
    talk.app.send_tool_output("c2", "two")
    talk.done("r1")
    talk.app.send_tool_output("c1", "one")
    assert len(talk.creates) == 1
    talk.app.send_tool_output("c3", "three")
    outputs = [
        (event["item"]["call_id"], event["item"]["output"]) for event in talk.sent_of("conversation.item.create")
    ]
    assert outputs == [("c2", "two"), ("c1", "one"), ("c3", "three")]
    assert len(talk.creates) == 2
    assert talk.sent[-1]["type"] == "response.create"
    assert talk.settled == {}


def test_outputs_that_are_there_before_the_response_is_done_wait_for_it(talk):
    talk.created("r1")
    talk.call("r1", "c1")
    talk.app.send_tool_output("c1", "42")
    assert talk.creates == []
    talk.done("r1")
    assert len(talk.creates) == 1


def test_whoever_asked_goes_on_to_wait_for_the_answer_to_the_outputs(talk):
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.done("r1")
    talk.app.send_tool_output("c1", "42")
    talk.created("r2", talk.creates[1])
    talk.done("r2")
    assert talk.started == [("t", "r1"), ("t", "r2")]
    assert talk.settled["t"].value.response_id == "r2"


@pytest.mark.parametrize("responds, creates", [((False, False), 0), ((True, False), 1), ((False, True), 1)])
def test_one_output_that_asks_for_an_answer_is_enough(talk, responds, creates):
    talk.created("r1")
    for number, respond in enumerate(responds):
        talk.call("r1", f"c{number}")
        talk.app.send_tool_output(f"c{number}", "42", respond=respond)
    talk.done("r1")
    assert len(talk.creates) == creates


def test_a_call_that_comes_again_after_its_output_is_not_made_again(talk):
    talk.created("r1")
    talk.call("r1", "c1")
    talk.app.send_tool_output("c1", "42")
    talk.call("r1", "c1")
    assert len(talk.calls) == 1


def test_an_app_that_answers_a_call_itself_decides_itself_what_follows(talk):
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.done("r1")
    talk.app.create_item({"type": "function_call_output", "call_id": "c1", "output": "42"})
    assert len(talk.creates) == 1
    assert talk.settled["t"].value.response_id == "r1"


def test_an_output_for_a_call_that_nobody_knows_or_that_has_one_is_dropped(talk):
    talk.app.send_tool_output("c9", "42")
    talk.created("r1")
    talk.call("r1", "c1")
    talk.app.send_tool_output("c1", "42")
    talk.app.send_tool_output("c1", "43")
    assert [event["item"]["output"] for event in talk.sent_of("conversation.item.create")] == ["42"]


def test_an_interrupted_response_keeps_its_call_and_the_answer_to_it(talk):
    talk.created("r1")
    talk.call("r1", "c1")
    talk.app.interrupt()
    talk.done("r1", "cancelled")
    talk.app.send_tool_output("c1", "42")
    assert len(talk.creates) == 1


# ---- what is left to be said ----------------------------------------------------------------------------------------


def test_playback_remains_until_all_is_said_and_heard(talk):
    assert talk.core.playback_remaining(talk.now) == 0
    talk.app.create_response()
    assert talk.core.playback_remaining(talk.now) == float("inf")
    talk.speak("r1", "a", 1000)
    assert talk.core.playback_remaining(talk.now) == float("inf")
    talk.done("r1")
    assert talk.core.playback_remaining(talk.now + 0.4) == pytest.approx(0.6)
    assert talk.core.playback_remaining(talk.now + 1) == 0


@pytest.mark.parametrize("first", [False, True])
def test_items_that_we_put_first_are_first(talk, first):
    talk.item("a")
    talk.app.create_item({"id": "b", "type": "message", "role": "user"}, previous_item_id="root" if first else None)
    talk.item("b", None if first else "a")
    assert talk.order() == (["b", "a"] if first else ["a", "b"])


@pytest.mark.parametrize("late", ["transcript", "output"])
def test_what_still_comes_of_a_deleted_item_does_not_bring_it_back(talk, late):
    talk.created("r1")
    talk.output_item("r1", "a")
    talk.item("u", content=[{"type": "input_audio"}])
    for item_id in ("a", "u"):
        talk.server("conversation.item.deleted", item_id=item_id)
    talk.server("conversation.item.input_audio_transcription.completed", item_id="u", content_index=0, transcript="x")
    talk.output_item("r1", "a", done=True)
    assert talk.order() == []
    talk.item("u")
    assert talk.order() == ["u"]


# ---- the life of a response ------------------------------------------------------------------------------------------


def test_b166_a_response_begins_and_ends_with_its_agent(talk):
    """The end carries the agent that the response began with, also when another has taken over since."""
    talk.created("r1")
    talk.state.agent = type(talk.agent)(name="other")
    talk.done("r1")
    start, end = talk.events
    assert (start.type, start.agent) == ("agent_start", talk.agent)
    assert (end.type, end.agent) == ("agent_end", talk.agent)


def test_b167_a_response_without_usage_ends_like_any_other(talk):
    talk.created("r1")
    talk.done("r1")
    assert talk.types[-1] == "agent_end"
    assert talk.core.usage.requests == 0


def test_b168_a_late_end_of_an_older_response_is_not_the_end_of_this_one(talk):
    """An end that was told already is told once."""
    talk.created("r1")
    talk.done("r1")
    talk.created("r2")
    talk.forget()
    talk.done("r1")
    assert talk.quiet
    assert talk.core.response_active


def test_b169_output_before_created_begins_the_response_once(talk):
    talk.audio("r1", "a")
    talk.created("r1")
    assert talk.types == ["agent_start", "audio"]


@pytest.mark.parametrize("status", ["cancelled", "failed", "incomplete"])
def test_b170_every_outcome_ends_and_counts_and_says_what_it_was(talk, status):
    """The event says how it ended, and why."""
    talk.created("r1")
    talk.done("r1", status, usage={"total_tokens": 5}, status_details={"reason": "x"})
    end = talk.events_of("agent_end")[0]
    assert (end.status, end.reason) == (status, "x")
    assert talk.core.usage.total_tokens == 5


def test_ws05_nothing_grows_but_history(talk):
    def sizes():
        state = talk.state
        return [
            len(each) for each in (state.responses, state.calls, state.ledger, state.sent_content, state.requests._open)
        ] + [state.response_queue.waiting, len(state.history._early_transcripts), len(state.history._waiting)]

    before = sizes()
    for index in range(300):
        talk.app.create_item(
            {"id": f"u{index}", "type": "message", "role": "user"}, previous_item_id=None, reply_id=f"item_{index}"
        )
        talk.item(f"u{index}")
        talk.speak(f"r{index}", f"a{index}", 20)
        talk.call(f"r{index}", f"c{index}")
        talk.app.send_tool_output(f"c{index}", "42", respond=False)
        talk.now += 1
        talk.done(f"r{index}")
    talk.wait(10)  # what the server never answers is given up
    assert sizes() == before
    assert len(talk.state.requests._sent) <= 512


def test_ws34_the_end_of_a_response_says_how_it_ended(talk):
    talk.created("r1")
    talk.done("r1", "incomplete", status_details={"reason": "content_filter"})
    end = talk.events_of("agent_end")[0]
    assert (end.status, end.reason) == ("incomplete", "content_filter")


def test_the_end_of_audio_is_told_while_the_response_is_wanted(talk):
    about = {"response_id": "r1", "item_id": "a", "output_index": 0, "content_index": 0}
    talk.speak("r1", "a")
    talk.server("response.output_audio.done", **about)
    (end,) = talk.events_of("audio_end")
    assert (end.item_id, end.content_index, end.response_id) == ("a", 0, "r1")
    talk.done("r1")
    talk.server("response.output_audio.done", **about)
    assert len(talk.events_of("audio_end")) == 1


def test_audio_carries_its_place_in_the_part(talk):
    talk.created("r1")
    talk.audio("r1", "a", 20)
    talk.audio("r1", "a", 30)
    chunks = [event.audio for event in talk.events_of("audio")]
    assert [(chunk.start_ms, len(chunk.data)) for chunk in chunks] == [(0, 960), (20, 1440)]


def test_the_agent_that_speaks_is_known(talk):
    assert talk.core.agent is talk.agent


# ---- an end that is lost --------------------------------------------------------------------------------------------


def test_a_response_of_which_nothing_comes_any_more_ends(talk):
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.audio("r1", "a", 20)
    talk.wait(29.9)
    assert "t" not in talk.settled
    talk.wait(0.1)
    assert (talk.settled["t"].value.status, talk.settled["t"].value.reason) == ("incomplete", "timed_out")
    assert talk.sent_of("response.cancel")[0]["response_id"] == "r1"
    (error,) = talk.events_of("error")
    assert isinstance(error.error, RequestTimedOut)
    talk.app.create_response(reply_id="next")
    assert len(talk.creates) == 2


@pytest.mark.parametrize("sign", ["audio", "text", "arguments"])
def test_a_response_that_is_still_made_is_waited_for(talk, sign):
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    for _ in range(10):
        talk.wait(20)
        match sign:
            case "audio":
                talk.audio("r1", "a", 20)
            case "text":
                talk.transcript("r1", "a", "word ")
            case _:
                about = {"response_id": "r1", "item_id": "f", "output_index": 0, "call_id": "c", "delta": "{"}
                talk.server("response.function_call_arguments.delta", **about)
    assert "t" not in talk.settled
    talk.done("r1")
    assert talk.settled["t"].value.status == "completed"


def test_the_time_of_a_tool_that_the_server_runs_is_the_servers(talk):
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    call = {"type": "mcp_call", "server_label": "s", "name": "n", "arguments": "{}"}
    talk.output_item("r1", "m", **call)
    talk.wait(600)
    assert "t" not in talk.settled
    talk.output_item("r1", "m", done=True, **call)
    talk.wait(30)
    assert talk.settled["t"].value.reason == "timed_out"


def test_a_late_refusal_gives_nobody_a_second_answer(make_talk) -> None:
    """The server shows no keys. One response took the place of a request, and another is there when the refusal comes:
    the caller has got the first, and the second is not for that caller."""
    talk = make_talk()
    talk.open(create_response=True, interrupt_response=False)
    talk.turn("u1")
    talk.app.create_item({"id": "m", "type": "message", "role": "system", "content": []})
    talk.app.create_response(automatic=True, reply_id="t")
    talk.wait(2.0)
    talk.item("m")
    (request,) = talk.creates
    talk.created("r1")
    talk.done("r1")
    assert talk.settled["t"].value.response_id == "r1"
    talk.turn("u2")
    talk.created("r2")
    talk.forget()
    talk.error("conversation_already_has_active_response", request["event_id"])
    assert talk.started == []
    talk.done("r2")
    assert talk.settled == {}
