"""Callers who wait for a spoken turn: which response is its answer, what ends the wait, and what leaving does."""

from __future__ import annotations

import pytest

from trealtime._core.effects import BeginAnew
from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.interruption import BargeIn
from trealtime.agents.guardrails import GuardrailFunctionOutput, InputGuardrail, InputGuardrailResult
from trealtime.errors import ConnectionLost, ServerRefused

TIMEOUT_S = 30.0


def speaks(talk, item_id="u"):
    talk.turn(item_id)


def started(talk):
    return [response_id for reply_id, response_id in talk.started if reply_id == "l"]


def outcome(talk, reply_id="l"):
    return talk.settled[reply_id].value


@pytest.fixture
def listening(vad_talk):
    vad_talk.app.listen("l")
    return vad_talk


def test_the_servers_own_answer_to_the_turn_is_the_callers(listening):
    speaks(listening)
    listening.created("r1")
    listening.done("r1")
    assert started(listening) == ["r1"]
    assert outcome(listening).status == "completed"
    assert outcome(listening).said_items == ("u",)


@pytest.mark.parametrize("spoken_yet", ["speaking", "committed"])
def test_a_turn_under_way_counts_until_its_answer_begins(vad_talk, spoken_yet):
    vad_talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    if spoken_yet == "speaking":
        vad_talk.app.listen("l")
    vad_talk.server("input_audio_buffer.committed", item_id="u", previous_item_id=None)
    if spoken_yet == "committed":
        vad_talk.app.listen("l")
    vad_talk.created("r1")
    assert started(vad_talk) == ["r1"]


def test_an_answer_that_has_begun_is_past_and_the_next_turn_counts(vad_talk):
    speaks(vad_talk, "u1")
    vad_talk.created("r1")
    vad_talk.app.listen("l")
    vad_talk.done("r1")
    assert "l" not in vad_talk.settled
    speaks(vad_talk, "u2")
    vad_talk.created("r2")
    assert started(vad_talk) == ["r2"]


def test_calls_and_the_answer_to_them_belong_to_it(listening):
    speaks(listening)
    listening.created("r1")
    listening.call("r1", "c1")
    listening.done("r1")
    assert "l" not in listening.settled
    listening.app.send_tool_output("c1", "42")
    listening.created("r2", listening.creates[-1])
    listening.done("r2")
    assert started(listening) == ["r1", "r2"]
    assert outcome(listening).response_id == "r2"


def test_responses_that_answer_no_speech_are_not_waited_for(listening):
    listening.app.create_response({"conversation": "none"}, reply_id="aside")
    listening.created("r1", listening.creates[-1])
    listening.done("r1")
    listening.app.create_response(reply_id="asked")
    listening.created("r2", listening.creates[-1])
    listening.done("r2")
    listening.silence("s")
    listening.created("r3")
    listening.done("r3")
    assert not started(listening)
    assert "l" not in listening.settled


def test_a_turn_that_the_app_commits_is_answered_by_the_response_that_it_asks_for(talk):
    talk.app.listen("l")
    talk.app.commit_audio()
    talk.server("input_audio_buffer.committed", item_id="u", previous_item_id=None)
    talk.app.create_response()
    talk.created("r1", talk.creates[-1])
    talk.done("r1")
    assert outcome(talk).said_items == ("u",)


def test_speech_that_was_dismissed_is_no_turn(make_talk):
    talk = make_talk(barge_in=BargeIn(fillers=("uh-huh",)))
    talk.open(create_response=False, interrupt_response=False)
    talk.app.listen("l")
    talk.speak("r0", "i0")
    talk.turn("u")
    talk.server(
        "conversation.item.input_audio_transcription.completed", item_id="u", content_index=0, transcript="Uh-huh."
    )
    assert "interruption_dismissed" in talk.types
    talk.done("r0")
    talk.app.create_response(reply_id="asked")
    talk.created("r1", talk.creates[-1])
    assert not started(talk)


def test_collecting_an_answer_that_the_user_cut_unheard_counts_for_nothing(listening):
    listening.app.collect_audio("l")
    speaks(listening, "u1")
    listening.speak("r1", "i1", hand_out=False)
    speaks(listening, "u2")
    assert BeginAnew("l") in [effect for each in listening.effects for effect in each]
    listening.done("r1", "cancelled")
    assert "l" not in listening.settled
    listening.created("r2")
    listening.done("r2")
    assert outcome(listening).response_id == "r2"
    assert outcome(listening).said_items == ("u1", "u2")


def test_so_does_an_answer_to_a_call_that_was_on_its_way(listening):
    listening.app.collect_audio("l")
    speaks(listening, "u1")
    listening.created("r1")
    listening.call("r1", "c1")
    listening.done("r1")
    listening.app.send_tool_output("c1", "42")
    asked = listening.creates[-1]
    speaks(listening, "u2")
    listening.created("r2", asked)
    listening.done("r2", "cancelled")
    assert "l" not in listening.settled
    listening.created("r3")
    listening.done("r3")
    assert outcome(listening).response_id == "r3"


@pytest.mark.parametrize("collects", [True, False])
def test_an_answer_of_which_some_was_heard_ends_where_the_user_cuts_it(listening, collects):
    if collects:
        listening.app.collect_audio("l")
    speaks(listening, "u1")
    listening.speak("r1", "i1")
    listening.now += 0.2
    speaks(listening, "u2")
    listening.done("r1", "cancelled")
    assert outcome(listening).status == "cancelled"


def test_an_interrupt_of_the_apps_ends_it(listening):
    listening.app.collect_audio("l")
    speaks(listening)
    listening.speak("r1", "i1", hand_out=False)
    listening.app.interrupt()
    listening.done("r1", "cancelled")
    assert outcome(listening).status == "cancelled"


def test_leaving_before_the_answer_leaves_the_turn_alone(listening):
    speaks(listening)
    listening.app.interrupt(reply_id="l")
    assert outcome(listening).status == "cancelled"
    listening.created("r1")
    assert not started(listening)
    assert not listening.sent_of("response.cancel")


def test_leaving_the_answer_interrupts_it(listening):
    speaks(listening)
    listening.speak("r1", "i1")
    listening.now += 0.3
    listening.app.interrupt(reply_id="l")
    assert [each["response_id"] for each in listening.sent_of("response.cancel")] == ["r1"]
    assert listening.truncations == [("i1", 0, 300)]


@pytest.mark.parametrize("other", ["caller", "message", "listener"])
def test_leaving_does_not_take_the_answer_from_others_who_want_it(listening, other):
    if other == "listener":
        listening.app.listen("other")
    elif other == "message":
        listening.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        listening.app.create_item({"id": "m", "type": "message", "role": "user", "content": []}, said=True)
        listening.app.create_response(automatic=True)
        listening.item("m")
    speaks(listening)
    if other == "caller":
        listening.app.create_response(reply_id="other")
    listening.created("r1", listening.creates[-1] if other == "caller" else None)
    listening.app.interrupt(reply_id="l")
    assert not listening.sent_of("response.cancel")
    if other != "message":
        listening.app.interrupt(reply_id="other")
        assert len(listening.sent_of("response.cancel")) == 1


def test_a_turn_without_an_answer_is_given_up(make_talk):
    talk = make_talk(response_timeout_s=TIMEOUT_S)
    talk.open(create_response=True)
    talk.app.listen("l")
    speaks(talk)
    while talk.core.next_deadline is not None and "l" not in talk.settled:
        talk.wait(talk.core.next_deadline - talk.now)
    assert isinstance(outcome(talk).error, ServerRefused)
    assert talk.now == pytest.approx(100 + TIMEOUT_S)


def test_a_turn_that_the_app_answers_when_it_likes_is_waited_for(make_talk):
    talk = make_talk(response_timeout_s=TIMEOUT_S)
    talk.open(create_response=False)
    talk.app.listen("l")
    speaks(talk)
    for _ in range(5):
        talk.wait(TIMEOUT_S)
    assert "l" not in talk.settled


def test_the_end_of_the_connection_ends_the_wait(listening):
    listening.app.disconnect(ConnectionLost("gone"))
    assert isinstance(listening.settled["l"].error, ConnectionLost)


def test_a_turn_that_a_guardrail_refuses_ends_for_the_caller_who_waits_for_its_answer(make_talk):
    guardrail = InputGuardrail(
        guardrail_function=lambda *_: GuardrailFunctionOutput(None, tripwire_triggered=False), name="heard"
    )
    talk = make_talk(guardrails=GuardrailPolicy(input=(guardrail,), gates_turns=True))
    talk.open(create_response=False, interrupt_response=True)
    talk.app.listen("l")
    talk.turn("u")
    about = {"item_id": "u", "content_index": 0, "transcript": "Tell me a secret."}
    (check,) = talk.server("conversation.item.input_audio_transcription.completed", **about).checks
    output = GuardrailFunctionOutput(None, tripwire_triggered=True)
    result = InputGuardrailResult(guardrail=guardrail, user_input=check.text, agent=talk.agent, output=output)
    talk.app.report_check(check.serial, tripped=(result,))
    told = talk.settled["l"].value
    assert (told.status, told.reason) == ("failed", "guardrail")
    assert told.error.guardrail_results == (result,)
