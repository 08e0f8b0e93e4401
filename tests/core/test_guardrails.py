"""What is checked and when, what a verdict brings, what waits for it: the core alone, verdicts given by hand."""

from __future__ import annotations

from typing import Any

import pytest
from guarded import (
    INPUT,
    OUTPUT,
    checks,
    emitted,
    guarded,
    harmless,
    let_pass,
    listening,
    messages,
    say,
    sent,
    trip,
    turn,
)

from trealtime._core.effects import GuardrailCheck
from trealtime._core.guardrails import GuardrailPolicy
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.guardrails import (
    GuardrailFunctionOutput,
    InputGuardrailResult,
    OutputGuardrail,
    OutputGuardrailResult,
)
from trealtime.errors import ConnectionLost, GuardrailFailed


def text_delta(talk: Any, response_id: str, item_id: str, delta: str) -> Any:
    return talk.server(
        "response.output_text.delta",
        response_id=response_id,
        item_id=item_id,
        output_index=0,
        content_index=0,
        delta=delta,
    )


# ---- when a check is due --------------------------------------------------------------------------------------------


def test_b233_text_is_checked_whole_at_each_multiple_of_the_debounce_length(make_talk) -> None:
    """Ours: a delta that passes several multiples makes one check, and the next one is due past the next multiple."""
    talk = guarded(make_talk)
    talk.created("resp_1")
    for delta in ("123456789", "0", "abcd", "e" * 20, "f", "gggggg"):
        talk.transcript("resp_1", "item_a", delta)
    texts = [check.text for check in checks(talk)]
    assert [len(text) for text in texts] == [10, 34, 41]
    assert texts[1] == "1234567890abcd" + "e" * 20


def test_b234_short_answers_and_tails_are_checked_at_the_end_of_their_item(make_talk) -> None:
    """Ours: the peer never checks them (weak spot 44)."""
    talk = guarded(make_talk)
    talk.created("resp_1")
    talk.transcript("resp_1", "item_a", "short")
    assert checks(talk) == []
    talk.output_item("resp_1", "item_a", done=True)
    assert [check.text for check in checks(talk)] == ["short"]
    talk.transcript("resp_1", "item_b", "0123456789 and a tail")
    talk.transcript("resp_1", "item_b", "!")
    talk.done("resp_1")
    assert [check.text for check in checks(talk)][1:] == ["0123456789 and a tail", "0123456789 and a tail!"]


def test_text_that_was_checked_whole_is_not_checked_again_at_its_end(make_talk) -> None:
    talk = guarded(make_talk)
    talk.created("resp_1")
    talk.transcript("resp_1", "item_a", "0123456789")
    talk.output_item("resp_1", "item_a", done=True)
    talk.done("resp_1")
    assert len(checks(talk)) == 1


def test_text_that_came_without_deltas_is_checked(make_talk) -> None:
    talk = guarded(make_talk)
    talk.created("resp_1")
    talk.output_item("resp_1", "item_a", done=True, content=[{"type": "output_text", "text": "all at once"}])
    assert [check.text for check in checks(talk)] == ["all at once"]


def test_b235_a_guardrail_in_both_lists_runs_once_and_those_of_the_run_come_last(make_talk) -> None:
    own, shared = OutputGuardrail(harmless, "own"), OutputGuardrail(harmless, "shared")
    talk = make_talk(guardrails=GuardrailPolicy(output=(OUTPUT, shared), debounce_text_length=1))
    talk.open()
    talk.state.agent = RealtimeAgent(name="agent", output_guardrails=[own, shared])
    talk.created("resp_1")
    talk.transcript("resp_1", "item_a", "hello")
    assert [each.name for each in checks(talk)[0].guardrails] == ["own", "shared", "polite"]


def test_b236_items_are_counted_separately(make_talk) -> None:
    talk = guarded(make_talk)
    talk.created("resp_1")
    talk.transcript("resp_1", "item_a", "123456")
    talk.transcript("resp_1", "item_b", "123456")
    assert checks(talk) == []


def test_b232_a_running_response_keeps_the_guardrails_of_the_agent_that_began_it(make_talk) -> None:
    talk = make_talk(guardrails=GuardrailPolicy(debounce_text_length=1))
    talk.open()
    first = talk.state.agent = RealtimeAgent(name="first", output_guardrails=[OUTPUT])
    talk.created("resp_1")
    talk.state.agent = RealtimeAgent(name="second")
    talk.transcript("resp_1", "item_a", "hello")
    (check,) = checks(talk)
    assert check.agent is first


def test_without_guardrails_nothing_is_kept(make_talk) -> None:
    talk = make_talk()
    talk.open()
    talk.created("resp_1")
    talk.transcript("resp_1", "item_a", "x" * 500)
    assert checks(talk) == []
    assert not talk.state.guardrails.watches


# ---- trips ----------------------------------------------------------------------------------------------------------


def speaking(make_talk: Any, **options: Any) -> Any:
    talk = guarded(make_talk, **options)
    talk.created("resp_1")
    talk.output_item("resp_1", "item_a")
    talk.transcript("resp_1", "item_a", "you silly person")
    talk.audio("resp_1", "item_a", 1000)
    talk.core.hand_out(talk.now, "item_a", 0, 0, 1000)
    talk.now += 0.25
    return talk


def test_b240_a_trip_while_the_response_is_made(make_talk) -> None:
    """Ours: the message to the model is a system item (weak spot 45)."""
    talk = speaking(make_talk)
    fx = trip(talk, checks(talk)[0])
    kinds = [event.type for event in fx.emit]
    assert kinds[:2] == ["guardrail_tripped", "audio_interrupted"]
    event = fx.emit[0]
    assert event.message == "you silly person"
    assert [result.guardrail.get_name() for result in event.guardrail_results] == ["polite"]
    assert (event.which, event.response_id, event.item_id) == ("output", "resp_1", "item_a")
    assert (fx.emit[1].heard_ms, fx.emit[1].cause) == (250, "guardrail")
    assert fx.purge[0] == "resp_1"
    assert sent(fx, "response.cancel")[0]["response_id"] == "resp_1"  # forced, whatever the server does by itself
    assert sent(fx, "conversation.item.truncate")[0]["audio_end_ms"] == 250
    assert not sent(fx, "response.create")
    fx = talk.done("resp_1", "cancelled")
    assert emitted(fx, "agent_end")[0].reason == "guardrail"
    ((role, text),) = messages(fx)
    assert role == "system"
    assert "polite" in text
    assert [each.event["type"] for each in fx.send] == ["conversation.item.create", "response.create"]


@pytest.mark.parametrize("status", ["cancelled", "completed"])
def test_a_stopped_answer_ends_as_one_also_when_the_server_was_done_before_the_cancel(make_talk, status: str) -> None:
    talk = speaking(make_talk, recovery=None)
    trip(talk, checks(talk)[0])
    (end,) = emitted(talk.done("resp_1", status), "agent_end")
    assert (end.status, end.reason) == ("cancelled", "guardrail")


def test_b240_the_message_of_the_peer_is_a_setting(make_talk) -> None:
    talk = speaking(make_talk, recovery="user")
    trip(talk, checks(talk)[0])
    assert messages(talk.done("resp_1", "cancelled")) == [("user", "guardrail triggered: polite")]


def test_a_better_answer_has_the_options_of_the_one_that_was_stopped(make_talk) -> None:
    """A question that was to be answered in text is not answered aloud."""
    talk = guarded(make_talk)
    options = {"output_modalities": ["text"], "max_output_tokens": 50, "tool_choice": "required"}
    talk.app.create_response(options, reply_id="t")
    talk.created("resp_1", talk.creates[-1])
    talk.output_item("resp_1", "item_a")
    talk.transcript("resp_1", "item_a", "you silly person")
    trip(talk, checks(talk)[0])
    params = dict(sent(talk.done("resp_1", "cancelled"), "response.create")[0]["response"])
    del params["metadata"]
    assert params == {"output_modalities": ["text"], "max_output_tokens": 50}


def test_a_better_answer_calls_no_tool_either_where_the_one_that_was_stopped_was_to_call_none(make_talk) -> None:
    talk = guarded(make_talk)
    talk.app.create_response({"tool_choice": "none"}, reply_id="t")
    talk.created("resp_1", talk.creates[-1])
    talk.output_item("resp_1", "item_a")
    talk.transcript("resp_1", "item_a", "you silly person")
    trip(talk, checks(talk)[0])
    (request,) = sent(talk.done("resp_1", "cancelled"), "response.create")
    assert request["response"]["tool_choice"] == "none"


def test_no_message_and_no_request_when_recovery_is_off(make_talk) -> None:
    talk = speaking(make_talk, recovery=None)
    trip(talk, checks(talk)[0])
    assert talk.done("resp_1", "cancelled").send == []


def test_b241_a_trip_on_text_cancels_and_says_nothing_of_audio(make_talk) -> None:
    talk = guarded(make_talk)
    talk.created("resp_1")
    text_delta(talk, "resp_1", "item_a", "you silly person")
    fx = trip(talk, checks(talk)[0])
    assert [event.type for event in fx.emit] == ["guardrail_tripped"]
    assert [each.event["type"] for each in fx.send] == ["response.cancel"]
    assert messages(talk.done("resp_1", "cancelled"))[0][0] == "system"


def test_b242_several_trips_of_one_response_are_one(make_talk) -> None:
    talk = speaking(make_talk)
    talk.transcript("resp_1", "item_a", " and more of that")
    first, second = checks(talk)
    fx = trip(talk, second)
    assert fx.cancel_checks == ["resp_1"]
    late = trip(talk, first)
    assert not late
    assert len(messages(talk.done("resp_1", "cancelled"))) == 1
    assert talk.core.guardrail_counters().trips == 1


def test_nothing_of_a_tripped_response_is_checked_again(make_talk) -> None:
    talk = speaking(make_talk)
    trip(talk, checks(talk)[0])
    talk.transcript("resp_1", "item_a", "still coming from the wire")
    talk.output_item("resp_1", "item_a", done=True)
    talk.done("resp_1", "cancelled")
    assert len(checks(talk)) == 1
    assert not talk.state.guardrails.watches


def test_b243_a_verdict_after_the_end_stops_what_still_plays(make_talk) -> None:
    talk = speaking(make_talk)
    talk.done("resp_1")
    fx = trip(talk, checks(talk)[0])
    assert [event.type for event in fx.emit][:2] == ["guardrail_tripped", "audio_interrupted"]
    assert not sent(fx, "response.cancel")
    assert sent(fx, "conversation.item.truncate")[0]["audio_end_ms"] == 250
    assert messages(fx)[0][0] == "system"
    assert sent(fx, "response.create")


def test_b243_a_verdict_on_text_after_the_end_brings_the_message_only(make_talk) -> None:
    talk = guarded(make_talk)
    talk.created("resp_1")
    text_delta(talk, "resp_1", "item_a", "you silly person")
    talk.done("resp_1")
    fx = trip(talk, checks(talk)[0])
    assert [event.type for event in fx.emit] == ["guardrail_tripped"]
    assert [each.event["type"] for each in fx.send] == ["conversation.item.create", "response.create"]


def test_b244_a_verdict_after_a_newer_response_began_stops_only_its_own_audio(make_talk) -> None:
    talk = speaking(make_talk)
    talk.done("resp_1")
    talk.created("resp_2")
    fx = trip(talk, checks(talk)[0])
    assert [event.type for event in fx.emit][:2] == ["guardrail_tripped", "audio_interrupted"]
    assert fx.emit[1].item_id == "item_a"
    assert [each.event["type"] for each in fx.send] == ["conversation.item.truncate"]
    assert talk.state.responses["resp_2"].interrupted is None
    assert talk.done("resp_2").send == []


def test_b244_a_newer_turn_that_is_asked_for_counts_too(make_talk) -> None:
    talk = speaking(make_talk)
    talk.done("resp_1")
    talk.app.create_response(automatic=True)
    assert messages(trip(talk, checks(talk)[0])) == []


@pytest.mark.parametrize("caller", ["follow-up", "message"])
def test_a_request_that_was_to_go_with_the_message_outlives_it(make_talk, caller: str) -> None:
    """The answer to outputs of tools, or to a message of the user, and the callers who wait for it."""
    talk = guarded(make_talk)
    talk.app.use_tools([], [])
    talk.app.create_response(reply_id="mine")
    talk.created("resp_1", answers=talk.creates[-1])
    if caller == "follow-up":
        talk.call("resp_1", "call_1")
    talk.transcript("resp_1", "item_a", "0123456789")
    if caller == "follow-up":
        talk.app.send_tool_output("call_1", "42")
    trip(talk, checks(talk)[0])
    if caller == "message":
        talk.app.create_response(automatic=True)
    talk.done("resp_1", status="cancelled")
    (message,) = talk.sent_of("conversation.item.create")[-1:]
    assert message["item"]["role"] == "system"
    talk.error("conversation_already_has_active_response", talk.creates[-1]["event_id"])
    before = len(talk.creates)
    talk.created("resp_2")
    talk.done("resp_2")
    assert len(talk.creates) == before + 1
    talk.created("resp_3", answers=talk.creates[-1])
    talk.done("resp_3")
    assert "mine" in talk.settled


def test_b245_the_message_is_withheld_when_a_newer_turn_begins_first(make_talk) -> None:
    talk = speaking(make_talk)
    trip(talk, checks(talk)[0])
    talk.created("resp_2")
    assert talk.done("resp_1", "cancelled").send == []
    assert talk.done("resp_2").send == []


def test_b246_the_message_leaves_with_its_request_or_not_at_all(make_talk) -> None:
    """Ours: there is no transport that cannot send conditionally, because the gate decides before anything is sent."""
    talk = speaking(make_talk)
    fx = trip(talk, checks(talk)[0])
    assert messages(fx) == []
    assert messages(talk.done("resp_1", "cancelled"))


def test_b247_a_response_is_forgotten_when_it_is_over_and_all_its_checks_have_reported(make_talk) -> None:
    talk = speaking(make_talk)
    talk.done("resp_1")
    assert list(talk.state.guardrails.watches) == ["resp_1"]
    let_pass(talk, checks(talk)[0])
    state = talk.state.guardrails
    assert [state.watches, state.checking, list(state.held), state.delays] == [{}, {}, [], {}]


def test_b248_suppression_of_a_response_ends_with_it(make_talk) -> None:
    """Ours: nothing can fail there; what comes of a dead response is dropped by id until its response.done."""
    talk = speaking(make_talk)
    trip(talk, checks(talk)[0])
    assert not emitted(talk.audio("resp_1", "item_a"), "audio")
    talk.done("resp_1", "cancelled")
    assert not talk.state.responses
    talk.created("resp_2")
    assert emitted(talk.audio("resp_2", "item_b"), "audio")


def test_b249_a_verdict_after_the_connection_has_gone_does_nothing(make_talk) -> None:
    """Ours: the peer may still tell the app to stop; here the subscriptions have ended."""
    talk = speaking(make_talk)
    talk.app.disconnect(ConnectionLost("gone"))
    assert not trip(talk, checks(talk)[0])


def test_a_verdict_on_an_answer_that_the_user_has_interrupted_is_told_and_nothing_more(make_talk) -> None:
    talk = speaking(make_talk)
    talk.server("input_audio_buffer.speech_started", item_id="user_1", audio_start_ms=0)
    fx = trip(talk, checks(talk)[0])
    assert [event.type for event in fx.emit] == ["guardrail_tripped"]
    assert fx.send == []
    assert talk.done("resp_1", "cancelled").send == []


def test_out_of_band_responses_are_stopped_and_nobody_is_told_but_the_app(make_talk) -> None:
    talk = guarded(make_talk)
    request = sent(talk.app.create_response({"conversation": "none"}), "response.create")[0]
    talk.created("resp_1", answers=request)
    talk.transcript("resp_1", "item_a", "you silly person")
    fx = trip(talk, checks(talk)[0])
    assert [each.event["type"] for each in fx.send] == ["response.cancel"]
    assert talk.done("resp_1", "cancelled").send == []


def test_recoveries_that_trip_again_come_to_an_end(make_talk) -> None:
    talk = speaking(make_talk)
    trip(talk, checks(talk)[0])
    fx, asked = talk.done("resp_1", "cancelled"), 0
    for number in range(2, 9):
        requests = sent(fx, "response.create")
        if not requests:
            break
        asked += 1
        talk.created(f"resp_{number}", answers=requests[0])
        talk.transcript(f"resp_{number}", f"item_{number}", "you silly person")
        trip(talk, checks(talk)[-1])
        fx = talk.done(f"resp_{number}", "cancelled")
    assert asked == 3


# ---- guardrails that fail, and those that never answer --------------------------------------------------------------


def failed(check: GuardrailCheck) -> tuple[Any, ...]:
    verdict = GuardrailFunctionOutput(GuardrailFailed("no", guardrail_name="polite"), tripwire_triggered=True)
    if check.which == "input":
        return (InputGuardrailResult(guardrail=INPUT, user_input=check.text, agent=check.agent, output=verdict),)
    return (OutputGuardrailResult(guardrail=OUTPUT, agent_output=check.text, agent=check.agent, output=verdict),)


@pytest.mark.parametrize(
    "options, stops",
    [
        ({}, False),
        ({"on_failure": "skip"}, False),
        ({"on_failure": "stop"}, True),
        ({"on_failure": "block"}, False),
        ({"hold_back": True, "on_failure": "block"}, True),
        ({"hold_back": True}, True),
        ({"hold_back": True, "on_failure": "skip"}, False),
    ],
)
@pytest.mark.parametrize("overdue", [True, False])
def test_an_answer_whose_guardrail_fails_goes_on_or_is_stopped(make_talk, options, stops, overdue) -> None:
    talk = speaking(make_talk, **options)
    (check,) = checks(talk)
    fx = talk.app.report_check(check.serial, failed=failed(check), overdue=overdue)
    assert bool(emitted(fx, "guardrail_tripped")) == stops
    assert bool(sent(fx, "response.cancel")) == stops


@pytest.mark.parametrize("on_failure, answered", [(None, True), ("skip", True), ("stop", False), ("block", False)])
@pytest.mark.parametrize("overdue", [True, False])
def test_words_of_the_user_whose_guardrail_fails_are_answered_or_not(make_talk, on_failure, answered, overdue) -> None:
    talk = listening(make_talk, on_failure=on_failure, hold_back=True)
    say(talk, "hello")
    (check,) = checks(talk)
    fx = talk.app.report_check(check.serial, failed=failed(check), overdue=overdue)
    assert bool(sent(fx, "response.create")) == answered
    assert not talk.app.report_check(check.serial, failed=failed(check)).emit  # nothing is decided twice


@pytest.mark.parametrize("late", ["passes", "trips", "never comes"])
def test_a_guardrail_that_hangs_in_a_thread_holds_nothing_back_and_its_trip_still_counts(make_talk, late) -> None:
    talk = guarded(make_talk, hold_back=True, on_failure="skip")
    talk.created("resp_1")
    talk.output_item("resp_1", "item_a")
    talk.transcript("resp_1", "item_a", "you silly person")
    talk.audio("resp_1", "item_a", 1000)
    (check,) = checks(talk)
    fx = talk.app.report_check(check.serial, failed=failed(check), overdue=True)
    assert emitted(fx, "audio")
    if late != "never comes":
        fx = trip(talk, check) if late == "trips" else let_pass(talk, check)
        assert bool(sent(fx, "response.cancel")) == (late == "trips")
        assert talk.core.guardrail_counters().checks_open == 0
    talk.done("resp_1")
    assert talk.events_of("agent_end")


def test_an_answer_of_which_too_much_is_held_back_is_stopped(make_talk) -> None:
    talk = guarded(make_talk, hold_back=True, hold_back_s=2)
    talk.created("resp_1")
    talk.output_item("resp_1", "item_a")
    talk.transcript("resp_1", "item_a", "you silly person")
    for _ in range(2):
        assert not talk.audio("resp_1", "item_a", 1000)
    talk.transcript("resp_1", "item_a", "how are you")
    fx = talk.audio("resp_1", "item_a", 10)
    assert [event.type for event in fx.emit] == ["error", "audio_interrupted", "history_updated"]
    assert "2 s of audio" in str(fx.emit[0].error)
    assert fx.cancel_checks == ["resp_1"]
    assert sent(fx, "response.cancel")
    assert sent(fx, "conversation.item.truncate")[0]["audio_end_ms"] == 0
    assert talk.core.guardrail_counters().audio_held == 0
    talk.done("resp_1", "cancelled")
    assert [event.reason for event in talk.events_of("agent_end")] == ["guardrail"]


def test_audio_that_was_released_does_not_count_as_held_back(make_talk) -> None:
    talk = guarded(make_talk, hold_back=True, hold_back_s=2)
    talk.created("resp_1")
    for number in range(5):
        talk.transcript("resp_1", "item_a", "0123456789")
        assert not talk.audio("resp_1", "item_a", 1500)
        assert emitted(let_pass(talk, checks(talk)[number]), "audio")


def test_the_word_about_a_withheld_turn_comes_also_where_another_answer_begins_first(make_talk) -> None:
    talk = listening(make_talk, input_recovery="system")
    say(talk, "Look.", reply_id="first")
    let_pass(talk, checks(talk)[0])
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.done("r1")
    turn(talk, "item_u", "bad words")
    talk.app.send_tool_output("c1", "42", respond=True)  # its answer waits for the verdict
    trip(talk, checks(talk)[1])
    talk.created("r2", talk.creates[1])
    fx = talk.done("r2")
    ((role, text),) = messages(fx)
    assert (role, "withheld" in text) == ("system", True)
    assert len(talk.creates) == 3


def test_what_the_server_owes_for_a_turn_under_check_is_the_answer_of_no_caller(make_talk):
    """The server has ended the turn before it has read that it must not answer by itself, and has shown no key yet."""
    talk = make_talk(guardrails=GuardrailPolicy(input=(INPUT,), gates_turns=True))
    talk.open(create_response=True, interrupt_response=True)
    talk.app.create_response({"conversation": "none"}, reply_id="t")
    talk.turn("u")
    talk.created("server's own")
    assert talk.started == []
    talk.app.interrupt(reply_id="t")
    assert talk.purged == []
    assert talk.sent_of("response.cancel") == []
    talk.done("server's own")
    talk.server(
        "conversation.item.input_audio_transcription.completed", item_id="u", content_index=0, transcript="words"
    )
    let_pass(talk, checks(talk)[0])
    assert [(turn.item_ids, turn.response_ids, turn.status) for turn in talk.turns] == [
        (("u",), ("server's own",), "completed")
    ]
    assert len(talk.creates) == 1, "it is answered"
