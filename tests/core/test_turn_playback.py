"""Figures of a turn: what was heard of it, and what the log of turns keeps."""

from __future__ import annotations

import gc
import weakref

import pytest

from trealtime._core.interruption import BargeIn
from trealtime._core.reconnection import Link, ReconnectPolicy
from trealtime._core.response_queue import Request
from trealtime._core.turn_answers import MOST_PLAYING
from trealtime._core.turn_records import MOST_OPEN, PATIENCE_S, TurnRecords

from .test_turn_metrics import message, only

# ---- playback -------------------------------------------------------------------------------------------------------


def test_audio_that_nobody_takes_and_that_is_shed_ends_the_turn(talk) -> None:
    message(talk)
    talk.created("r1", talk.creates[0])
    talk.speak("r1", "a", 1000, hand_out=False)
    talk.done("r1")
    assert talk.turns == []
    assert talk.core.next_deadline is None
    talk.app.shed("a", 0, 1000)
    assert (only(talk).status, only(talk).first_heard_at) == ("completed", None)


def test_audio_that_is_taken_late_is_heard_late(talk) -> None:
    message(talk)
    talk.created("r1", talk.creates[0])
    talk.speak("r1", "a", 1000, hand_out=False)
    talk.done("r1")
    talk.now += 5
    assert not talk.core.hand_out(talk.now, "a", 0, 0, 400)
    assert talk.core.hand_out(talk.now, "a", 0, 400, 1000)
    assert talk.core.next_deadline == 106.0
    talk.wait(1)
    assert (only(talk).first_heard_at, only(talk).heard_until_at) == (105.0, 106.0)


def test_an_endpoints_reports_say_when_it_was_heard(talk) -> None:
    talk.app.use_reports(reporting=True)
    message(talk)
    talk.created("r1", talk.creates[0])
    talk.speak("r1", "a", 1000, hand_out=False)
    talk.done("r1")
    talk.now += 0.75
    talk.app.report_heard("a", 0, 250, playing_to_ms=600)
    talk.now += 0.5
    talk.app.report_heard("a", 0, 1000)
    assert (only(talk).first_heard_at, only(talk).heard_until_at) == (100.5, 101.25)


def test_a_report_that_plays_to_the_end_needs_no_other(talk) -> None:
    talk.app.use_reports(reporting=True)
    message(talk)
    talk.created("r1", talk.creates[0])
    talk.speak("r1", "a", 1000, hand_out=False)
    talk.done("r1")
    talk.now += 0.25
    talk.app.report_heard("a", 0, 250, playing_to_ms=1000)
    assert talk.core.next_deadline == pytest.approx(101.05)
    talk.wait(0.8)
    assert only(talk).heard_until_at == 101.0


def test_while_playback_is_held_the_turn_goes_on(make_talk) -> None:
    talk = make_talk(barge_in=BargeIn(min_speech_ms=500, while_unsure="hold"))
    talk.open(create_response=False, interrupt_response=False)
    talk.created("r1")
    talk.speak("r1", "a", 1000)
    talk.done("r1")
    talk.now += 0.5
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    talk.wait(0.3)
    talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=900)
    assert talk.turns == []
    talk.wait(0.5)
    assert only(talk).response_ids == ("r1",)
    assert only(talk).heard_until_at == pytest.approx(101.3)


def test_audio_that_more_is_to_come_of_is_no_deadline(make_talk) -> None:
    """Another server begins a response under the same id, while the user hears the first."""
    talk = make_talk(link=Link(ReconnectPolicy()))
    talk.open()
    message(talk)
    talk.created("r1", talk.creates[0])
    talk.speak("r1", "a", 100, hand_out=False)
    talk.done("r1")
    talk.app.connection_lost(code=1006, reason="")
    talk.app.connected()
    talk.server("session.created", session={"type": "realtime"})
    talk.server("session.updated", session={"type": "realtime"})
    talk.created("r1")
    talk.audio("r1", "b", 100)
    talk.hand_out("a", 0, 100)
    talk.hand_out("b", 0, 100)
    talk.wait(0.2)
    assert talk.turns == []
    talk.done("r1")
    talk.wait(1)
    assert [turn.response_ids for turn in talk.turns if turn.response_ids] == [("r1",), ("r1",)]


# ---- bounds ---------------------------------------------------------------------------------------------------------


def test_open_turns_are_bounded(talk) -> None:
    talk.created("busy")
    for number in range(MOST_OPEN + 20):
        message(talk, f"m{number}", asks=False)
    assert len(talk.state.turns.records) == MOST_OPEN
    assert talk.core.turn_statistics().open == MOST_OPEN


def test_the_time_of_a_collision_is_counted(talk) -> None:
    message(talk)
    talk.created("other")
    talk.error("conversation_already_has_active_response", talk.creates[0]["event_id"])
    talk.done("other")
    talk.created("r1", talk.creates[1])
    talk.done("r1")
    (turn,) = [each for each in talk.turns if "r1" in each.response_ids]
    assert (turn.retries, turn.source) == (1, "text")


def test_turns_whose_audio_nobody_takes_are_bounded(talk) -> None:
    for number in range(MOST_PLAYING + 3):
        message(talk, f"m{number}")
        talk.created(f"r{number}", talk.creates[number])
        talk.speak(f"r{number}", f"a{number}", 1000, hand_out=False)
        talk.done(f"r{number}")
    assert [turn.item_ids for turn in talk.turns] == [(f"m{number}", f"a{number}") for number in range(3)]
    assert {(turn.status, turn.first_heard_at) for turn in talk.turns} == {("completed", None)}


def test_a_turn_that_is_over_is_let_go(talk) -> None:
    message(talk)
    talk.created("r1", talk.creates[0])
    response = weakref.ref(talk.state.responses["r1"])
    talk.call("r1", "c1")
    talk.done("r1")
    gc.disable()  # it has to go without its help
    try:
        talk.app.send_tool_output("c1", "42", respond=False)
        talk.forget()
        assert len(talk.turns) == 1
        assert response() is None
    finally:
        gc.enable()


def test_a_response_that_nobody_wants_any_more_answers_no_turn(talk) -> None:
    """An error that named nothing was taken for the refusal of a request, whose response comes after all."""
    message(talk)
    (request,) = talk.creates
    talk.item("m")
    talk.error("invalid_value")
    assert only(talk).reason == "refused"
    talk.app.commit_audio()
    talk.server("input_audio_buffer.committed", item_id="u")
    talk.created("r1", request)
    assert talk.sent_of("response.cancel")
    talk.done("r1", "cancelled")
    talk.app.create_response()
    talk.created("r2", talk.creates[1])
    talk.done("r2")
    assert [turn.response_ids for turn in talk.turns if "u" in turn.item_ids] == [("r2",)]


def test_a_turn_whose_answer_gave_way_to_one_that_nobody_wants_is_asked_for(vad_talk) -> None:
    vad_talk.app.create_response()
    (request,) = vad_talk.creates
    vad_talk.app.interrupt()
    vad_talk.turn("u")
    vad_talk.created("r1", request)  # the server read the request before the end of the turn
    vad_talk.done("r1", "cancelled")
    vad_talk.wait(PATIENCE_S)
    vad_talk.created("r2", vad_talk.creates[1])
    vad_talk.done("r2")
    assert [turn.response_ids for turn in vad_talk.turns if "u" in turn.item_ids] == [("r2",)]


def test_a_commit_in_mid_speech_that_makes_another_item_leaves_the_speech_to_its_own(vad_talk) -> None:
    vad_talk.server("input_audio_buffer.speech_started", item_id="u1", audio_start_ms=0)
    vad_talk.app.commit_audio()
    vad_talk.server("input_audio_buffer.committed", item_id="u2")
    vad_talk.app.create_response()
    vad_talk.created("r1", vad_talk.creates[0])
    vad_talk.done("r1")
    vad_talk.server("input_audio_buffer.speech_stopped", item_id="u1", audio_end_ms=900)
    vad_talk.server("input_audio_buffer.committed", item_id="u1")
    vad_talk.created("r2")
    vad_talk.done("r2")
    assert [(turn.item_ids, turn.response_ids) for turn in vad_talk.turns] == [(("u2",), ("r1",)), (("u1",), ("r2",))]


def test_the_end_of_the_last_response_is_that_of_a_turn_with_calls(talk) -> None:
    talk.app.create_response()
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c")
    talk.done("r1")
    talk.app.send_tool_output("c", "42")
    talk.created("r2", talk.creates[1])
    talk.done("r2", "cancelled", status_details={"type": "cancelled", "reason": "turn_detected"})
    turn = only(talk)
    assert (turn.response_ids, turn.status, turn.reason) == (("r1", "r2"), "cancelled", "turn_detected")


def test_the_turn_of_a_response_and_of_a_call_is_told_while_they_live(talk) -> None:
    talk.app.create_response()
    began_at = talk.now
    talk.now += 1
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c")
    number, at = talk.core.turn_of(response_id="r1")
    assert at == began_at
    assert talk.core.turn_of(call_id="c") == (number, at)
    talk.done("r1")
    assert talk.core.turn_of(call_id="c") == (number, at)
    assert talk.core.turn_of(response_id="r1") is None
    assert talk.core.turn_of() is None


def test_a_turn_that_is_over_is_part_of_no_other() -> None:
    records = TurnRecords()
    first, second = (records.open("text", "agent", 100.0, item_id) for item_id in ("one", "two"))
    first.close()
    second.take_in(first)
    assert (second.item_ids, first.current) == (["two"], first)


@pytest.mark.parametrize("over, of_first", [(False, True), (True, False)])
def test_requests_that_go_as_one_are_of_a_turn_that_is_not_over(over, of_first) -> None:
    records = TurnRecords()
    first, second = (records.open("text", "agent", 100.0, item_id) for item_id in ("one", "two"))
    request = Request("a", automatic=True, record=first)
    if over:
        first.close()
    request.take_in(Request("b", automatic=True, record=second))
    assert request.record is not None
    assert request.record.current is (first if of_first else second)
    assert ("one" in request.record.current.item_ids) is of_first
