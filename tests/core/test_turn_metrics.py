"""The figures of a turn, from its first sound to the last that is heard."""

from __future__ import annotations

from typing import Any

import pytest

from trealtime._core.interruption import BargeIn
from trealtime.errors import ConnectionLost
from trealtime.metrics import TurnMetrics


def only(talk: Any) -> TurnMetrics:
    """The figures of the only turn that is over."""
    (turn,) = talk.turns
    return turn


def message(talk: Any, item_id: str = "m", *, asks: bool = True, reply_id: str | None = None) -> None:
    item = {"id": item_id, "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
    talk.app.create_item(item, said=True)
    if asks:
        talk.app.create_response(automatic=reply_id is None, reply_id=reply_id)


def sends_audio(talk: Any, ms: int) -> None:
    """The microphone has heard this much, and it is sent."""
    talk.now += ms / 1000
    talk.core.audio_sent(talk.now, bytes(48 * ms))


# ---- a spoken turn --------------------------------------------------------------------------------------------------


def test_a_spoken_turn_has_all_its_times(vad_talk) -> None:
    talk = vad_talk
    sends_audio(talk, 1000)  # from 100 s to 101 s
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=100)
    sends_audio(talk, 1500)
    talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=2400)
    talk.server("input_audio_buffer.committed", item_id="u", previous_item_id=None)
    talk.now += 0.25
    talk.created("r1")
    talk.output_item("r1", "a")
    talk.now += 0.25
    talk.transcript("r1", "a", "Well")
    talk.now += 0.25
    talk.audio("r1", "a", 2000)
    transcript = "conversation.item.input_audio_transcription.completed"
    talk.server(transcript, item_id="u", content_index=0, transcript="Hello")
    talk.now += 0.25
    talk.hand_out("a", 0, 2000)
    talk.now += 0.5
    talk.done("r1", usage={"total_tokens": 7})
    assert talk.turns == []
    talk.wait(1.5)
    turn = only(talk)
    assert (turn.source, turn.status, turn.reason, turn.agent, turn.number) == ("speech", "completed", None, "agent", 1)
    assert (turn.item_ids, turn.response_ids) == (("u", "a"), ("r1",))
    # The positions of the server include 300 ms of padding and 500 ms of silence, its defaults.
    assert turn.speech_started_at == pytest.approx(100.4)
    assert turn.speech_ended_at == pytest.approx(101.9)
    assert turn.committed_at == 102.5
    assert turn.requested_at is None
    assert turn.created_at == 102.75
    assert turn.first_text_at == 103.0
    assert turn.first_audio_at == turn.transcribed_at == 103.25
    assert turn.first_heard_at == 103.5
    assert turn.done_at == 104.0
    assert turn.heard_until_at == 105.5
    assert turn.response_latency_s == pytest.approx(1.6)
    assert turn.usage is not None
    assert turn.usage.total_tokens == 7
    assert turn.queue_peaks["audio_s"] == pytest.approx(1.5)
    assert talk.core.ended_turns == (turn,)


@pytest.mark.parametrize("padding_ms, silence_ms", [(0, 200), (300, 500), (1000, 700)])
def test_positions_are_read_with_the_margins_that_the_server_has_acknowledged(
    make_talk, padding_ms, silence_ms
) -> None:
    talk = make_talk()
    talk.open(create_response=True, prefix_padding_ms=padding_ms, silence_duration_ms=silence_ms)
    sends_audio(talk, 4000)
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=1000)
    talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=3000)
    talk.server("input_audio_buffer.committed", item_id="u")
    talk.created("r1")
    talk.done("r1")
    assert only(talk).speech_started_at == pytest.approx(101.0 + padding_ms / 1000)
    assert only(talk).speech_ended_at == pytest.approx(103.0 - silence_ms / 1000)


def test_on_a_call_whose_audio_passes_elsewhere_speech_is_when_the_server_tells(vad_talk) -> None:
    talk = vad_talk
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=700)
    talk.now += 2
    talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=2000)
    talk.server("input_audio_buffer.committed", item_id="u")
    talk.created("r1")
    talk.server("output_audio_buffer.started", response_id="r1")
    talk.now += 1
    talk.done("r1")
    assert talk.turns == []
    talk.now += 2
    talk.server("output_audio_buffer.stopped", response_id="r1")
    turn = only(talk)
    assert (turn.speech_started_at, turn.speech_ended_at) == (100.0, 102.0)
    assert (turn.first_heard_at, turn.heard_until_at, turn.done_at) == (102.0, 105.0, 103.0)


def test_a_turn_of_a_push_to_talk_app_ends_with_its_commit(talk) -> None:
    talk.app.clear_audio()
    talk.server("input_audio_buffer.cleared")
    sends_audio(talk, 1000)
    talk.now += 0.5
    talk.app.commit_audio()
    talk.server("input_audio_buffer.committed", item_id="u")
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.done("r1")
    turn = only(talk)
    assert (turn.source, turn.item_ids) == ("speech", ("u",))
    assert (turn.speech_started_at, turn.speech_ended_at) == (101.0, 101.5)
    assert turn.requested_at == 101.5


# ---- other beginnings -----------------------------------------------------------------------------------------------


def test_a_message_is_a_turn_from_its_request_on(talk) -> None:
    message(talk)
    talk.now += 1
    talk.created("r1", talk.creates[0])
    talk.speak("r1", "a", 500)
    talk.done("r1")
    talk.wait(0.5)
    turn = only(talk)
    assert (turn.source, turn.item_ids, turn.requested_at) == ("text", ("m", "a"), 100.0)
    assert turn.response_latency_s == 1.0


def test_messages_and_speech_that_one_response_answers_are_one_turn(talk) -> None:
    talk.created("busy")
    for item_id in ("m1", "m2"):
        message(talk, item_id)
    talk.app.commit_audio()
    talk.server("input_audio_buffer.committed", item_id="u")
    talk.done("busy")
    talk.created("r1", talk.creates[0])
    talk.done("r1")
    before, turn = talk.turns
    assert (before.source, before.response_ids) == ("automatic", ("busy",))
    assert (turn.item_ids, turn.response_ids, turn.source) == (("m1", "m2", "u"), ("r1",), "speech")


def test_two_callers_with_words_of_their_own_have_a_turn_each(talk) -> None:
    for number in ("1", "2"):
        message(talk, f"m{number}", reply_id=f"t{number}")
    for number in range(2):
        talk.created(f"r{number}", talk.creates[number])
        talk.done(f"r{number}")
    assert [(turn.item_ids, turn.response_ids) for turn in talk.turns] == [(("m1",), ("r0",)), (("m2",), ("r1",))]


@pytest.mark.parametrize("automatic, source", [(True, "automatic"), (False, "request")])
def test_a_request_without_the_user_is_a_turn_too(talk, automatic, source) -> None:
    talk.app.create_response(automatic=automatic)
    talk.now += 1
    talk.created("r1", talk.creates[0])
    talk.done("r1")
    assert (only(talk).source, only(talk).requested_at, only(talk).created_at) == (source, 100.0, 101.0)


def test_the_users_silence_is_a_turn(vad_talk) -> None:
    vad_talk.silence("u")
    vad_talk.created("r1")
    vad_talk.done("r1")
    assert (only(vad_talk).source, only(vad_talk).item_ids) == ("idle", ("u",))


# ---- tools ----------------------------------------------------------------------------------------------------------


def test_the_answer_to_a_tools_output_is_part_of_the_turn(talk) -> None:
    message(talk)
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.done("r1", usage={"total_tokens": 3})
    talk.now += 2
    talk.app.send_tool_output("c1", "42", outcome="timed_out")
    assert talk.turns == []
    talk.created("r2", talk.creates[1])
    talk.speak("r2", "a", 100)
    talk.done("r2", usage={"total_tokens": 4})
    talk.wait(0.1)
    turn = only(talk)
    (tool,) = turn.tools
    assert (tool.call_id, tool.name, tool.agent, tool.status) == ("c1", "look", "agent", "timed_out")
    assert (tool.started_at, tool.ended_at, tool.duration_s) == (100.0, 102.0, 2.0)
    assert turn.response_ids == ("r1", "r2")
    assert turn.usage is not None
    assert (turn.usage.requests, turn.usage.total_tokens) == (2, 7)
    assert talk.core.turn_statistics().tool_s.p50 == pytest.approx(2, rel=0.01)


def test_an_output_of_the_apps_own_ends_the_call(talk) -> None:
    message(talk)
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.done("r1")
    talk.now += 1
    talk.app.create_item({"type": "function_call_output", "call_id": "c1", "output": "mine"})
    (tool,) = only(talk).tools
    assert (tool.status, tool.duration_s) == ("completed", 1.0)


def test_a_call_without_an_output_is_dropped_with_the_session(talk) -> None:
    message(talk)
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.done("r1")
    talk.app.disconnect(ConnectionLost("gone"))
    assert [(tool.status, tool.ended_at) for tool in only(talk).tools] == [("dropped", None)]
    assert (only(talk).status, only(talk).reason) == ("failed", "session_over")


def test_a_turn_whose_last_answer_is_cut_off_by_the_end_of_the_session_is_never_done(talk) -> None:
    """That an earlier answer of it was done says nothing."""
    message(talk)
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.done("r1")
    talk.app.send_tool_output("c1", "42")
    talk.now += 1
    talk.created("r2", talk.creates[1])
    talk.now += 1
    talk.transcript("r2", "a2", "It is ")
    talk.app.disconnect(ConnectionLost("gone"))
    assert only(talk).response_ids == ("r1", "r2")
    assert (only(talk).first_text_at, only(talk).done_at) == (102.0, None)


@pytest.mark.parametrize("params", [None, {"conversation": "none"}], ids=["in the conversation", "out of band"])
def test_an_answer_begins_with_its_own_response_and_not_with_one_that_was_taken_for_it(talk, params) -> None:
    talk.app.create_response(params, reply_id="t")
    talk.created("server's own")
    talk.now += 1
    if params is None:
        talk.error("conversation_already_has_active_response", talk.creates[0]["event_id"])
        talk.done("server's own")
    talk.now += 1
    talk.created("r", talk.creates[-1])
    talk.done("r")
    talk.done("server's own")
    (turn,) = [each for each in talk.turns if each.response_ids == ("r",)]
    assert (turn.requested_at, turn.created_at) == (100.0, 102.0)


def test_an_answer_that_shows_only_at_its_end_which_request_it_answers_began_when_it_began(talk) -> None:
    talk.app.create_response(reply_id="t")
    talk.created("r0", talk.creates[0])
    talk.done("r0")
    talk.app.create_response(reply_id="a")
    talk.app.create_response({"conversation": "none"}, reply_id="b")
    talk.now += 1
    talk.transcript("r1", "x", "Hello.")
    talk.now += 1
    talk.done("r1", metadata=talk.creates[1]["response"]["metadata"])
    turn = talk.turns[-1]
    assert (turn.response_ids, turn.requested_at, turn.created_at, turn.first_text_at) == (("r1",), 100.0, 101.0, 101.0)


# ---- interrupts -----------------------------------------------------------------------------------------------------


def test_speech_over_the_answer_is_told_from_its_onset_to_silence(vad_talk) -> None:
    talk = vad_talk
    message(talk)
    talk.created("r1", talk.creates[0])
    talk.speak("r1", "a", 5000)
    sends_audio(talk, 2000)
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=1400)
    talk.done("r1", "cancelled")
    turn = only(talk)
    assert (turn.status, turn.reason) == ("interrupted", "speech")
    told = turn.interruption
    assert told is not None
    assert (told.cause, told.reason, told.told_at, told.silent_at) == ("speech", None, 102.0, 102.0)
    assert told.onset_at == pytest.approx(101.7)
    assert turn.silence_latency_s == pytest.approx(0.3)
    assert turn.heard_until_at == 102.0
    assert talk.core.turn_statistics().silence_latency_s.p50 == pytest.approx(0.3, rel=0.011)


@pytest.mark.parametrize("end", ["comes", "is lost too"])
def test_a_response_whose_beginning_is_lost_began_with_the_first_of_it(talk, end) -> None:
    talk.app.create_response()
    (create,) = talk.creates
    talk.now += 1
    began_at = talk.now
    talk.output_item("r", "a")
    talk.audio("r", "a", 1000)
    talk.hand_out("a", 0, 1000)
    talk.now += 1
    if end == "comes":
        talk.done("r", metadata=create["response"]["metadata"])
    talk.wait(60)
    answered = [turn for turn in talk.turns if turn.response_ids == ("r",)]
    assert [(turn.created_at, turn.first_audio_at) for turn in answered] == [(began_at, began_at)]


def test_an_agent_that_was_silent_already_has_no_moment_of_silence(vad_talk) -> None:
    talk = vad_talk
    talk.created("r1")
    talk.speak("r1", "a", 1000)
    sends_audio(talk, 3000)  # the answer goes on, and the app has got no more of it
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=2000)
    talk.done("r1", "cancelled")
    turn = only(talk)
    assert turn.status == "interrupted"
    assert turn.interruption is not None
    assert turn.interruption.silent_at is None
    assert turn.heard_until_at == 101.0


def test_an_interrupt_before_the_first_sound_has_cancelled_the_answer(talk) -> None:
    message(talk)
    talk.created("r1", talk.creates[0])
    talk.now += 1
    talk.app.interrupt()
    talk.done("r1", "cancelled")
    turn = only(talk)
    assert (turn.status, turn.reason, turn.first_heard_at) == ("cancelled", "app", None)
    assert turn.interruption is not None
    assert (turn.interruption.onset_at, turn.interruption.silent_at) == (101.0, None)


def test_who_leaves_is_named(talk) -> None:
    message(talk, reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.speak("r1", "a", 5000)
    talk.now += 1
    talk.app.interrupt(reply_id="t")
    talk.done("r1", "cancelled")
    turn = only(talk)
    assert turn.interruption is not None
    assert (turn.status, turn.interruption.cause, turn.interruption.silent_at) == ("interrupted", "leave", 101.0)


LASTS = [(lambda talk: talk.wait(0.7), "long")]
WORDS = [(lambda talk: stops(talk, "Stop it!"), "words")]
SILENT = [(lambda talk: stops(talk, None), "no transcript")]
LATE = [(lambda talk: (stops(talk, ...), talk.wait(2.0)), "no transcript")]


def stops(talk: Any, words: Any) -> None:
    talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=400)
    talk.server("input_audio_buffer.committed", item_id="u")
    kind = "failed" if words is None else "completed"
    rest = {"error": {"message": "no"}} if words is None else {"transcript": words}
    if words is not ...:
        talk.server(f"conversation.item.input_audio_transcription.{kind}", item_id="u", content_index=0, **rest)


@pytest.mark.parametrize("happens, reason", LASTS + WORDS + SILENT + LATE)
def test_a_confirmed_barge_in_says_why(make_talk, happens, reason) -> None:
    talk = make_talk(barge_in=BargeIn(min_speech_ms=200, dismiss="fillers"))
    talk.open(create_response=False, interrupt_response=False)
    talk.created("r1")
    talk.speak("r1", "a", 9000)
    talk.now += 1
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    happens(talk)
    talk.done("r1", "cancelled")
    (turn,) = [each for each in talk.turns if "r1" in each.response_ids]
    assert turn.interruption is not None
    assert (turn.interruption.cause, turn.interruption.reason) == ("speech", reason)


# ---- why not --------------------------------------------------------------------------------------------------------


def refused(talk: Any) -> None:
    message(talk)
    talk.error("invalid_value", talk.creates[0]["event_id"])


def unanswered(talk: Any) -> None:
    message(talk)
    talk.wait(30)


def owed_and_not_paid(talk: Any) -> None:
    talk.turn("u")
    talk.wait(30)


def thrown_away(talk: Any) -> None:
    talk.app.clear_audio()
    talk.server("input_audio_buffer.cleared")
    talk.core.audio_sent(talk.now)
    talk.app.clear_audio()


def not_taken(talk: Any) -> None:
    talk.app.commit_audio()
    talk.error("input_audio_buffer_commit_empty", talk.sent[-1]["event_id"])


def given_up(talk: Any) -> None:
    talk.created("busy")
    message(talk, reply_id="t")
    talk.app.interrupt(reply_id="t")
    talk.done("busy")


def lost(talk: Any) -> None:
    message(talk)
    talk.app.disconnect(ConnectionLost("gone"))


ENDS = {
    "refused": (refused, False, "failed", "refused"),
    "no answer in time": (unanswered, False, "unanswered", "no_answer"),
    "the server owes it": (owed_and_not_paid, True, "unanswered", "no_answer"),
    "thrown away": (thrown_away, False, "unanswered", "thrown_away"),
    "not taken": (not_taken, False, "unanswered", "not_taken"),
    "given up": (given_up, False, "cancelled", "cancelled"),
    "the session is over": (lost, False, "unanswered", "session_over"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_turn_that_nothing_answers_says_why(make_talk, end) -> None:
    happens, answers, status, reason = ENDS[end]
    talk = make_talk()
    talk.open(**({"create_response": True} if answers else {}))
    happens(talk)
    turn = next(each for each in talk.turns if not each.response_ids)
    assert (turn.status, turn.reason) == (status, reason)
    assert len(talk.state.turns.records) == 0


def test_speech_that_was_no_interruption_is_a_turn_without_an_answer(make_talk) -> None:
    talk = make_talk(barge_in=BargeIn(min_speech_ms=500))
    talk.open(create_response=False, interrupt_response=False)
    talk.created("r1")
    talk.speak("r1", "a", 9000)
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=900)
    assert talk.turns == []
    talk.server("input_audio_buffer.committed", item_id="u")
    assert (only(talk).item_ids, only(talk).status, only(talk).reason) == (("u",), "unanswered", "dismissed")


@pytest.mark.parametrize(
    "status, details, expected",
    [
        ("failed", {"error": {"code": "invalid_prompt"}}, ("failed", "invalid_prompt")),
        ("incomplete", {"reason": "max_output_tokens"}, ("failed", "max_output_tokens")),
        ("cancelled", {"reason": "client_cancelled"}, ("cancelled", "client_cancelled")),
        ("completed", None, ("completed", None)),
    ],
)
def test_the_end_of_the_response_is_that_of_the_turn(talk, status, details, expected) -> None:
    message(talk)
    talk.created("r1", talk.creates[0])
    talk.done("r1", status, status_details=details)
    assert (only(talk).status, only(talk).reason) == expected


def test_taking_audio_brings_the_deadline_nearer_only_where_nothing_is_due_before(talk) -> None:
    """At it the turn ends: it has been heard."""
    talk.created("r")
    talk.output_item("r", "a")
    talk.audio("r", "a", 1000)
    talk.done("r")
    talk.app.delete_item("x", reply_id="away")
    assert talk.core.next_deadline == 110.0
    assert talk.core.hand_out(talk.now, "a", 0, 0, 1000)
    assert talk.core.next_deadline == 101.0
    assert not talk.core.hand_out(talk.now, "a", 0, 0, 1000), "it was taken already"
    talk.created("s")
    talk.output_item("s", "b")
    talk.audio("s", "b", 1000)
    talk.done("s")
    assert not talk.core.hand_out(talk.now, "b", 0, 0, 1000), "the other turn ends before"
    assert talk.core.next_deadline == 101.0
