"""Turn taking: what waits while the user speaks, what the server's own answer answers, and that all waits end."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.interruption import BargeIn
from trealtime._core.turn_records import TurnRecord
from trealtime._core.turns import PATIENCE_S, SentItems

TIMEOUT_S = 30.0
REQUEST_S = 10.0


def begins(talk, item_id="u"):
    return talk.server("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=0)


def stops(talk, item_id="u"):
    return talk.server("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=900)


def commits(talk, item_id="u"):
    return talk.server("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)


def says(talk, item_id="m", reply_id=None):
    """The app sends a message and asks for an answer."""
    talk.app.create_item({"id": item_id, "type": "message", "role": "user", "content": []}, said=True)
    talk.app.create_response(automatic=True, reply_id=reply_id)


def open_talk(make_talk, answers=True):
    talk = make_talk(response_timeout_s=TIMEOUT_S)
    talk.open(create_response=answers, interrupt_response=True)
    return talk


# ---- who waits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [True, False])
def test_a_tools_output_is_not_answered_into_the_users_speech(make_talk, answers):
    talk = open_talk(make_talk, answers)
    talk.created("r0")
    talk.call("r0", "c1")
    talk.done("r0")
    begins(talk)
    talk.app.send_tool_output("c1", "42")
    assert talk.sent_of("conversation.item.create")  # the model has it as soon as it is there
    assert not talk.creates
    stops(talk)
    assert not talk.creates
    commits(talk)
    assert len(talk.creates) == (0 if answers else 1)


def test_a_typed_message_waits_for_the_end_of_the_turn(make_talk):
    talk = open_talk(make_talk, answers=False)
    begins(talk)
    says(talk)
    assert not talk.creates
    stops(talk)
    commits(talk)
    assert len(talk.creates) == 1


@pytest.mark.parametrize(
    "command",
    [
        lambda app: app.create_response(reply_id="t"),
        lambda app: app.send_raw({"type": "response.create"}),
        lambda app: app.create_response({"conversation": "none"}),
    ],
    ids=["by hand", "raw", "out of band"],
)
def test_who_asks_by_hand_does_not_wait_and_passes_those_who_do(make_talk, command):
    talk = open_talk(make_talk)
    begins(talk)
    says(talk)
    talk.do(command)
    assert len(talk.creates) == 1
    talk.created("r1", talk.creates[0])
    talk.done("r1")
    assert len(talk.creates) == 1
    stops(talk)
    talk.wait(PATIENCE_S)
    assert len(talk.creates) == 2


def test_without_voice_detection_nobody_has_the_floor(talk):
    talk.app.commit_audio()
    says(talk)
    commits(talk)
    assert len(talk.creates) == 1


# ---- until when -----------------------------------------------------------------------------------------------------


def detection_off(talk):
    talk.server("session.updated", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})


ENDS = {
    "committed": (lambda talk: commits(talk), 0.0, False),
    "committed, the server answers": (lambda talk: commits(talk), PATIENCE_S, True),
    "stopped, and no commit": (lambda talk: stops(talk), PATIENCE_S, True),
    "cleared": (lambda talk: talk.server("input_audio_buffer.cleared"), 0.0, True),
    "cleared by the app, and the server does not say so": (lambda talk: talk.app.clear_audio(), REQUEST_S, True),
    "voice detection is switched off": (detection_off, 0.0, True),
    "a microphone that went away": (lambda talk: None, TIMEOUT_S, True),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_wait_ends_whatever_becomes_of_the_speech(make_talk, end):
    happens, after_s, answers = ENDS[end]
    talk = open_talk(make_talk, answers)
    begins(talk)
    says(talk)
    if end.startswith("committed"):
        stops(talk)
    happens(talk)
    if after_s:
        assert not talk.creates
        assert talk.core.next_deadline == pytest.approx(talk.now + after_s)
        talk.wait(after_s)
    assert len(talk.creates) == 1
    talk.created("r1", talk.creates[0])
    talk.done("r1")
    assert talk.core.next_deadline is None


def test_speech_that_begins_again_keeps_the_floor(make_talk):
    talk = open_talk(make_talk, answers=False)
    begins(talk, "u1")
    says(talk)
    stops(talk, "u1")
    begins(talk, "u2")
    talk.wait(PATIENCE_S)
    assert not talk.creates
    stops(talk, "u2")
    commits(talk, "u2")
    assert len(talk.creates) == 1


# ---- one answer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("echo", ["added", "done", "created"])
def test_the_servers_answer_to_the_turn_answers_what_it_has_seen(make_talk, echo):
    talk = open_talk(make_talk)
    begins(talk)
    says(talk, reply_id="t")
    talk.item("m", kind=echo)
    stops(talk)
    commits(talk)
    talk.created("r1")
    assert talk.started == [("t", "r1")]
    talk.done("r1")
    talk.wait(TIMEOUT_S)
    assert not talk.creates
    assert talk.settled["t"].value.response_id == "r1"


def test_an_item_that_came_too_late_for_the_servers_answer_is_answered_after_it(make_talk):
    talk = open_talk(make_talk)
    begins(talk)
    says(talk, "m1", "t1")
    says(talk, "m2", "t2")
    talk.item("m1")
    stops(talk)
    commits(talk)
    talk.created("r1")
    talk.item("m2", "m1")
    talk.done("r1")
    assert set(talk.settled) == {"t1"}
    talk.created("r2", talk.creates[0])
    talk.done("r2")
    assert talk.settled["t2"].value.response_id == "r2"


def test_a_caller_who_leaves_does_not_take_the_servers_answer_to_the_user_along(make_talk):
    talk = open_talk(make_talk)
    begins(talk)
    says(talk, reply_id="t")
    talk.item("m")
    stops(talk)
    commits(talk)
    talk.created("r1")
    talk.app.interrupt(reply_id="t", response_id="r1")
    assert talk.sent_of("response.cancel") == []
    assert (talk.settled["t"].value.status, talk.settled["t"].value.reason) == ("cancelled", "client_cancelled")
    talk.done("r1")
    assert list(talk.settled) == ["t"]


@pytest.mark.parametrize("begun", [True, False])
def test_a_caller_who_leaves_does_not_take_the_answer_to_a_message_along(talk, begun):
    talk.created("r0")
    says(talk, "m1")
    says(talk, "m2", "t")
    talk.done("r0")
    (create,) = talk.creates  # one request for both
    if begun:
        talk.created("r1", create)
    talk.app.interrupt(reply_id="t")
    if not begun:
        talk.created("r1", create)
    assert talk.sent_of("response.cancel") == []
    assert talk.settled["t"].value.reason == "client_cancelled"


# ---- every turn has one answer --------------------------------------------------------------------------------------


@pytest.fixture(params=["uninterruptible", "off"])
def deaf(make_talk, request):
    """A talk in which speech interrupts nothing, and the agent speaks."""
    talk = make_talk(barge_in="off" if request.param == "off" else "immediate")
    talk.open(create_response=True, interrupt_response=False)
    if request.param == "uninterruptible":
        talk.app.begin_uninterruptible()
    talk.speak("r0", "a")
    talk.forget()
    return talk


def test_a_turn_that_is_committed_while_a_response_runs_is_answered_after_it(deaf):
    deaf.turn("u")
    deaf.item("u")
    deaf.wait(PATIENCE_S + 1)
    assert deaf.creates == []
    deaf.done("r0")
    assert len(deaf.creates) == 1


def test_it_is_answered_once_where_the_server_answers_it_after_all(deaf):
    deaf.turn("u")
    deaf.created("r1")
    deaf.done("r0")
    deaf.done("r1")
    deaf.wait(60)
    assert deaf.creates == []


def test_it_is_answered_once_where_our_request_meets_the_servers_answer(deaf):
    deaf.turn("u")
    deaf.wait(PATIENCE_S)
    deaf.done("r0")
    (create,) = deaf.creates
    deaf.created("r1")
    deaf.error("conversation_already_has_active_response", create["event_id"])
    deaf.done("r1")
    deaf.wait(60)
    assert len(deaf.creates) == 1


def test_a_turn_after_a_response_that_began_by_hand_as_the_user_spoke_is_answered(make_talk):
    talk = open_talk(make_talk)
    begins(talk)
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    stops(talk)
    commits(talk)
    talk.wait(PATIENCE_S)
    talk.done("r1")
    assert len(talk.creates) == 2


def test_a_turn_whose_end_of_speech_is_lost_is_answered(make_talk):
    talk = make_talk(barge_in=BargeIn())
    talk.open(create_response=False, interrupt_response=False)
    begins(talk)
    commits(talk)
    assert len(talk.creates) == 1


@pytest.mark.parametrize("options", [{"barge_in": BargeIn()}, {"guardrails": GuardrailPolicy(gates_turns=True)}, {}])
def test_silence_that_the_server_answers_by_itself_is_asked_about_no_second_time(make_talk, options):
    talk = make_talk(**options)
    talk.open(create_response=not options, interrupt_response=not options)
    talk.silence("u")
    talk.created("r1")
    talk.done("r1")
    talk.wait(60)
    assert talk.creates == []


@pytest.mark.parametrize("seen", [True, False])
def test_a_request_that_met_the_servers_answer_goes_again_only_if_that_had_not_seen_the_item(vad_talk, seen):
    talk = vad_talk
    says(talk, reply_id="t")
    (create,) = talk.creates
    talk.silence("u")
    if seen:
        talk.item("m")
    talk.created("r1")
    talk.error("conversation_already_has_active_response", create["event_id"])
    talk.done("r1")
    talk.wait(1)
    assert len(talk.creates) == (1 if seen else 2)
    assert ("t" in talk.settled) == seen
    assert talk.core.counters().collisions_retried == (not seen)


def test_a_request_that_was_taken_for_answered_by_the_servers_answer_stays_answered_if_that_had_seen_the_item(talk):
    says(talk, reply_id="t")
    (create,) = talk.creates
    talk.item("m")
    talk.created("r1")  # no keys shown: it may be ours
    talk.error("conversation_already_has_active_response", create["event_id"])
    talk.done("r1")
    talk.wait(1)
    assert len(talk.creates) == 1
    assert talk.settled["t"].value.response_id == "r1"


def test_an_answer_that_was_interrupted_answers_no_request_that_met_it(vad_talk):
    talk = vad_talk
    says(talk, reply_id="t")
    (create,) = talk.creates
    talk.item("m")
    talk.silence("u")
    talk.created("r1")
    talk.app.interrupt(response_id="r1")
    talk.error("conversation_already_has_active_response", create["event_id"])
    talk.done("r1", "cancelled")
    assert len(talk.creates) == 2


def test_items_are_seen_in_the_order_in_which_they_were_sent_and_strangers_change_nothing():
    items = SentItems()
    for name in ("a", "b", "c"):
        items.send(name)
    for name, confirmed in (("theirs", 0), ("b", 2), ("a", 2), ("b", 2), ("c", 3)):
        items.confirm(name)
        assert items.confirmed == confirmed
    for number in range(1000):
        items.send(f"n{number}")
    assert len(items._open) <= 256


# ---- what the server hears -------------------------------------------------------------------------------------------


def test_a_silence_that_the_server_answers_is_told_and_its_turn_is_due(vad_talk):
    span = {"item_id": "u", "audio_start_ms": 10, "audio_end_ms": 900}
    vad_talk.server("input_audio_buffer.timeout_triggered", **span)
    (event,) = vad_talk.events
    assert (event.type, event.item_id, event.audio_start_ms, event.audio_end_ms) == (
        "input_audio_timeout_triggered",
        "u",
        10,
        900,
    )
    vad_talk.app.commit_audio()
    vad_talk.server("input_audio_buffer.committed", item_id="u")
    vad_talk.app.create_response(reply_id="t")
    vad_talk.created("server's own")
    assert vad_talk.started == []


def test_a_turn_that_the_app_commits_itself_is_not_due_an_answer_of_the_servers(vad_talk):
    vad_talk.app.commit_audio()
    vad_talk.server("input_audio_buffer.committed", item_id="u")
    vad_talk.app.create_response(reply_id="t")
    vad_talk.created("r1")
    assert vad_talk.started == [("t", "r1")]


def test_speech_is_told_with_its_times(talk):
    talk.turn("u")
    assert [(event.type, event.item_id) for event in talk.events] == [("speech_started", "u"), ("speech_stopped", "u")]
    assert talk.events[1].audio_end_ms == 900


def test_a_key_that_the_service_hears_on_a_call_is_told(talk):
    talk.server("input_audio_buffer.dtmf_event_received", event="9", received_at=1_763_605_109)
    (event,) = talk.events
    assert (event.type, event.digit, event.source) == ("dtmf_received", "9", "call")
    assert event.received_at_unix_s == 1_763_605_109


# ---- an answer that the server may not give -------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [True, False])
def test_a_turn_that_is_committed_while_a_cancelled_response_ends_is_asked_for_if_no_answer_comes(make_talk, answers):
    """The server may have read the commit while it still made the response: then it gives no answer."""
    talk = make_talk()
    talk.open(create_response=True, interrupt_response=False)
    talk.created("r1")
    talk.app.interrupt()
    talk.turn("u")
    talk.done("r1", "cancelled")
    if answers:
        talk.created("r2")
        talk.done("r2")
    talk.wait(PATIENCE_S - 0.1)
    assert talk.creates == []
    talk.wait(0.1)
    assert len(talk.creates) == (0 if answers else 1)


def test_speech_after_a_clear_that_is_not_answered_keeps_the_floor(make_talk):
    talk = open_talk(make_talk)
    begins(talk, "u1")
    talk.app.clear_audio()
    talk.now += 5
    begins(talk, "u2")
    says(talk)
    talk.wait(REQUEST_S)
    assert not talk.creates
    talk.wait(TIMEOUT_S)
    assert len(talk.creates) == 1


@pytest.mark.parametrize("start_ms, waits_s", [(400, REQUEST_S), (1_200, TIMEOUT_S + 5)], ids=["before", "after"])
def test_speech_in_audio_from_before_a_clear_has_the_floor_until_that_is_answered(make_talk, start_ms, waits_s):
    """The server told of it before it read the clear; only its place shows that."""
    talk = open_talk(make_talk)
    talk.core.audio_sent(talk.now, bytes(48 * 1_000))
    talk.app.clear_audio()
    talk.now += 5
    talk.core.audio_sent(talk.now, bytes(48 * 1_000))
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=start_ms)
    says(talk)
    while talk.now < 100 + waits_s:
        assert not talk.creates
        talk.core.audio_sent(talk.now, bytes(48 * 500))  # the microphone goes on
        talk.wait(0.5)
    assert len(talk.creates) == 1


def test_the_time_of_a_turn_is_over_only_where_that_ends_it() -> None:
    """Else its deadline stays in the past, and the session ticks without a pause."""
    fields: dict[str, list[Any]] = {
        "ended_at": [None, 1.0],
        "committed_at": [None, 2.0],
        "commit_id": [None, "evt_1"],
        "doubt_until": [None, 3.0],
        "unchecked_since": [None, 2.0],
        "owed_by": [None, "server", "us"],
        "why_not": [None, "dismissed", "no_answer"],
        "announced": [False, True],
        "asked": [False, True],
    }
    overdue = 0
    for values in itertools.product(*fields.values()):
        turn = TurnRecord(1, "speech", "agent", 0.0)
        for name, value in zip(fields, values, strict=True):
            setattr(turn, name, value)
        at = turn.deadline(10.0)
        if at is not None:
            overdue += 1
            turn.end("no_answer")
            assert turn.deadline(10.0) is None or not turn.in_the_air(at, 10.0)
    assert overdue > 20
