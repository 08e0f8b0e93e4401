"""The interrupt: who causes it, what it stops, what it leaves alone, and what the server is told."""

from __future__ import annotations

import pytest
from steps import steps_of

from trealtime._core.playback_ledger import PlaybackPosition


def speech(talk):
    return talk.server("input_audio_buffer.speech_started", item_id="user_1", audio_start_ms=123456)


CAUSES = {
    "speech": speech,
    "app": lambda talk: talk.app.interrupt(),
    "guardrail": lambda talk: talk.app.interrupt(cause="guardrail"),
}


def speaking(talk, ms=1000, heard_ms=400):
    """A live response, an item of it half heard."""
    talk.speak("r1", "a", ms)
    talk.now += heard_ms / 1000
    talk.forget()


# ---- what happens ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_stops_the_response_the_same_way(talk, cause):
    speaking(talk)
    fx = CAUSES[cause](talk)
    (event,) = talk.events_of("audio_interrupted")
    assert (event.item_id, event.content_index, event.heard_ms, event.response_id) == ("a", 0, 400, "r1")
    assert event.cause == cause
    assert fx.purge == ["r1"]
    assert fx.playback_reset
    assert [(each.event["type"], each.urgent) for each in fx.send] == [
        ("response.cancel", True),
        ("conversation.item.truncate", True),
    ]
    assert fx.send[0].event["response_id"] == "r1"
    assert talk.truncations == [("a", 0, 400)]
    assert talk.core.counters().interrupts == 1
    assert talk.core.counters().last_heard_ms == 400


@pytest.mark.parametrize("cause, cancels", [("speech", False), ("app", True), ("guardrail", True)])
def test_a_server_that_cancels_by_itself_does_so_only_when_the_user_speaks(vad_talk, cause, cancels):
    speaking(vad_talk)
    CAUSES[cause](vad_talk)
    assert bool(vad_talk.sent_of("response.cancel")) is cancels
    assert vad_talk.truncations == [("a", 0, 400)]


def test_a_server_that_does_not_interrupt_is_told_to_cancel(make_talk):
    talk = make_talk()
    talk.open(interrupt_response=False)
    speaking(talk)
    speech(talk)
    assert len(talk.sent_of("response.cancel")) == 1


def test_an_app_that_keeps_barge_in_to_itself_is_only_told_that_the_user_speaks(make_talk):
    talk = make_talk(barge_in="off")
    talk.open(interrupt_response=True)
    speaking(talk)
    speech(talk)
    assert talk.types == ["speech_started"]
    assert talk.sent == []
    talk.app.interrupt()
    assert talk.truncations == [("a", 0, 400)]


@pytest.mark.parametrize("cause", CAUSES)
def test_with_nothing_to_interrupt_nothing_happens(talk, cause):
    CAUSES[cause](talk)
    assert [kind for kind in talk.types if kind != "speech_started"] == []
    assert talk.sent == []
    assert talk.core.counters().interrupts == 0


@pytest.mark.parametrize("cause", CAUSES)
def test_a_storm_of_interrupts_is_one(talk, cause):
    speaking(talk)
    for _ in range(20):
        CAUSES[cause](talk)
        talk.now += 0.01
    assert len(talk.events_of("audio_interrupted")) == 1
    assert len(talk.sent) == 2
    assert talk.core.counters().interrupts == 1


def test_audio_of_a_finished_response_that_still_plays_is_cut_without_a_cancel(talk):
    speaking(talk)
    talk.done("r1")
    talk.forget()
    speech(talk)
    assert talk.truncations == [("a", 0, 400)]
    assert talk.sent_of("response.cancel") == []
    assert talk.purged == ["r1"]


def test_what_was_heard_to_the_end_is_not_interrupted(talk):
    speaking(talk)
    talk.done("r1")
    talk.now += 1
    talk.forget()
    talk.app.interrupt()
    speech(talk)
    assert talk.types == ["speech_started"]
    assert talk.sent == []


def test_a_response_that_has_nothing_to_hear_is_only_cancelled(talk):
    talk.created("r1")
    talk.forget()
    talk.app.interrupt()
    assert [event["type"] for event in talk.sent] == ["response.cancel"]
    assert talk.events == []
    assert talk.purged == ["r1"]


def test_audio_that_nobody_has_taken_is_cut_at_the_start(talk):
    talk.speak("r1", "a", hand_out=False)
    talk.now += 50
    talk.app.interrupt()
    assert talk.truncations == [("a", 0, 0)]


def test_later_items_and_parts_are_cut_at_the_start(talk):
    talk.speak("r1", "a")
    talk.audio("r1", "a", 300, index=1)
    talk.hand_out("a", 0, 300, index=1)
    talk.speak("r1", "b")
    talk.now += 0.25
    talk.app.interrupt()
    assert talk.truncations == [("a", 0, 250), ("a", 1, 0), ("b", 0, 0)]
    assert [event.item_id for event in talk.events_of("audio_interrupted")] == ["a", "a", "b"]
    assert talk.purged == ["r1"]


def test_an_item_that_was_heard_is_left_alone_and_the_next_one_cut(talk):
    talk.speak("r1", "a", 1000)
    talk.server("response.output_audio.done", response_id="r1", item_id="a", output_index=0, content_index=0)
    talk.speak("r1", "b", 1000)
    talk.now += 1.3
    talk.app.interrupt()
    assert talk.truncations == [("b", 0, 300)]


def test_a_position_is_never_more_than_was_received(talk):
    speaking(talk, ms=1000.5, heard_ms=60_000)
    talk.app.interrupt()
    assert talk.truncations == [("a", 0, 1000)]


# ---- what comes afterwards ------------------------------------------------------------------------------------------


def test_late_deltas_reach_nobody_until_the_response_is_done_and_not_after_it_either(talk):
    speaking(talk)
    talk.app.interrupt()
    talk.forget()
    for _ in range(2):
        talk.audio("r1", "a")
        talk.transcript("r1", "a", "late ")
        talk.server(
            "response.output_text.delta", response_id="r1", item_id="a", output_index=0, content_index=0, delta="x"
        )
        talk.server("response.output_audio.done", response_id="r1", item_id="a", output_index=0, content_index=0)
        talk.done("r1", "cancelled")
    assert set(talk.types) <= {"agent_end", "history_updated"}
    assert talk.sent == []
    assert talk.core.counters().late_deltas_dropped == 6


def test_an_item_whose_first_audio_comes_after_the_interrupt_is_cut_at_the_start_once(talk):
    speaking(talk)
    talk.app.interrupt()
    talk.forget()
    talk.output_item("r1", "b")
    talk.transcript("r1", "b", "never heard")
    talk.audio("r1", "b")
    talk.audio("r1", "b")
    talk.output_item("r1", "b", done=True, content=[{"type": "output_audio", "transcript": "never heard"}])
    talk.item("b", kind="done", role="assistant", content=[{"type": "output_audio", "transcript": "never heard"}])
    assert talk.truncations == [("b", 0, 0)]
    assert talk.events_of("audio_interrupted") == []
    assert talk.texts()["b"] == [""]
    assert talk.core.history()[-1].content[0].heard_ms == 0


def test_text_of_an_interrupted_response_is_what_the_server_says_it_is(talk):
    talk.created("r1")
    talk.output_item("r1", "a")
    about = {"response_id": "r1", "item_id": "a", "output_index": 0, "content_index": 0}
    talk.server("response.output_text.delta", **about, delta="one ")
    talk.app.interrupt()
    talk.server("response.output_text.delta", **about, delta="two ")
    assert talk.texts() == {"a": ["one "]}
    talk.server("response.output_text.done", **about, text="one two")
    assert talk.texts() == {"a": ["one two"]}


def test_the_next_create_waits_for_the_end_of_the_interrupted_response(talk):
    speaking(talk)
    talk.app.interrupt()
    talk.app.create_response()
    assert talk.creates == []
    talk.done("r1", "cancelled", status_details={"reason": "client_cancelled"})
    assert len(talk.creates) == 1
    assert talk.events_of("agent_end")[0].reason == "client_cancelled"


def test_an_end_that_never_comes_is_waited_for_only_so_long(talk):
    speaking(talk)
    talk.app.interrupt()
    talk.app.create_response()
    assert talk.core.next_deadline == talk.now + 5
    talk.wait(4.99)
    assert talk.creates == []
    talk.wait(0.01 + 1e-9)
    assert len(talk.creates) == 1
    assert talk.events_of("agent_end")[0].status == "cancelled"
    talk.audio("r1", "a")
    assert talk.events_of("audio") == []


def test_the_transcript_is_trimmed_to_what_was_heard_and_stays_so(talk):
    talk.speak("r1", "a", 1000)
    talk.transcript("r1", "a", "one two three four")
    talk.now += 0.5
    talk.app.interrupt()
    assert talk.texts() == {"a": ["one two"]}
    about = {"response_id": "r1", "item_id": "a", "output_index": 0, "content_index": 0}
    talk.server("response.output_audio_transcript.done", **about, transcript="one two three four five")
    talk.server("response.content_part.done", **about, part={"type": "audio", "transcript": "one two three"})
    talk.server("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=500)
    assert talk.texts() == {"a": ["one two"]}
    assert talk.core.history()[0].status == "incomplete"


# ---- requests -------------------------------------------------------------------------------------------------------


def test_a_request_on_its_way_dies_and_its_response_is_cancelled_when_it_is_born(talk):
    talk.app.create_response(reply_id="t")
    create = talk.creates[0]
    talk.app.interrupt()
    talk.app.interrupt()
    assert talk.core.counters().interrupts == 1
    talk.created("r1", create)
    assert [event["response_id"] for event in talk.sent_of("response.cancel")] == ["r1"]
    talk.output_item("r1", "a")
    talk.audio("r1", "a")
    assert talk.events_of("audio") == []
    assert talk.settled == {}
    talk.done("r1", "cancelled")
    assert talk.settled["t"].value.status == "cancelled"


def test_a_request_that_was_interrupted_and_refused_is_cancelled(talk):
    talk.app.create_response(reply_id="t")
    talk.app.interrupt()
    talk.error("conversation_already_has_active_response", talk.creates[0]["event_id"])
    assert talk.settled["t"].value.status == "cancelled"
    assert len(talk.creates) == 1


def test_requests_that_queue_survive(talk):
    speaking(talk)
    talk.app.create_response(reply_id="t")
    talk.app.interrupt()
    talk.done("r1", "cancelled")
    talk.created("r2", talk.creates[0])
    talk.done("r2")
    assert talk.settled["t"].value.status == "completed"


def test_cancelling_what_is_asked_for_cancels_it_when_it_comes(talk):
    talk.app.create_response()
    talk.app.cancel_response()
    talk.created("r1", talk.creates[0])
    assert talk.sent[-1]["type"] == "response.cancel"


# ---- one response ---------------------------------------------------------------------------------------------------


@pytest.fixture
def two(talk):
    """r1 is done and plays, r2 lives and waits behind it."""
    talk.speak("r1", "a", 1000)
    talk.done("r1")
    talk.speak("r2", "b", 1000)
    talk.now += 0.3
    talk.forget()
    return talk


def test_interrupting_one_response_leaves_the_others_playing(two):
    fx = two.app.interrupt(response_id="r2")
    assert two.truncations == [("b", 0, 0)]
    assert [event["response_id"] for event in two.sent_of("response.cancel")] == ["r2"]
    assert fx.purge == ["r2"]
    two.now += 0.3
    two.app.interrupt()
    assert two.truncations == [("b", 0, 0), ("a", 0, 600)]


def test_interrupting_the_one_that_plays_leaves_the_live_one_alone(two):
    two.app.interrupt(response_id="r1")
    assert two.truncations == [("a", 0, 300)]
    assert two.sent_of("response.cancel") == []
    two.audio("r2", "b")
    assert len(two.events_of("audio")) == 1


@pytest.mark.parametrize(
    "command", [lambda app: app.interrupt(response_id="nobody"), lambda app: app.interrupt(reply_id="nobody")]
)
def test_interrupting_what_is_unknown_does_nothing(two, command):
    two.do(command)
    assert two.quiet


def test_cancel_takes_the_live_response_and_lets_the_finished_one_play(two):
    two.app.cancel_response()
    assert two.truncations == [("b", 0, 0)]
    two.app.cancel_response()
    assert len(two.sent) == 2


def test_cancelling_a_response_of_somebody_else_is_left_to_the_server(two):
    two.app.cancel_response("theirs")
    assert two.sent[0]["response_id"] == "theirs"
    assert two.purged == []


def test_cancelling_a_finished_response_by_name_stops_its_audio(two):
    two.app.cancel_response("r1")
    assert two.truncations == [("a", 0, 300)]


def test_a_tracker_is_reset_only_when_what_it_plays_was_stopped(make_talk):
    talk = make_talk(position=lambda: PlaybackPosition("a", 0, 300))
    talk.open()
    talk.speak("r1", "a")
    talk.done("r1")
    talk.speak("r2", "b")
    assert not talk.app.interrupt(response_id="r2").playback_reset
    assert talk.app.interrupt(response_id="r1").playback_reset
    assert talk.truncations == [("b", 0, 0), ("a", 0, 300)]


# ---- reply_ids -------------------------------------------------------------------------------------------------------


def test_leaving_before_the_request_was_sent_settles_it(talk):
    talk.created("r0")
    talk.app.create_response(reply_id="t")
    talk.app.interrupt(reply_id="t")
    assert talk.settled["t"].value.status == "cancelled"
    talk.done("r0")
    assert talk.creates == []


def test_leaving_while_the_request_is_on_its_way_cancels_its_response(talk):
    talk.app.create_response(reply_id="t")
    talk.app.interrupt(reply_id="t")
    assert talk.settled == {}
    talk.created("r1", talk.creates[0])
    talk.done("r1", "cancelled")
    assert talk.settled["t"].value.response_id == "r1"


def test_leaving_while_the_response_lives_cancels_it_by_its_ticket_alone(talk):
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.app.interrupt(reply_id="t")
    assert talk.sent_of("response.cancel")[0]["response_id"] == "r1"


def test_leaving_a_response_that_others_wait_for_lets_it_go_on(talk):
    talk.created("r0")
    talk.app.create_response(automatic=True, reply_id="t")
    talk.app.create_response(automatic=True, reply_id="u")
    talk.app.create_response(automatic=True, reply_id="v")
    talk.done("r0")
    talk.app.interrupt(reply_id="v")
    talk.created("r1", talk.creates[0])
    talk.app.interrupt(response_id="r1", reply_id="t")
    assert talk.sent_of("response.cancel") == []
    assert {reply_id: each.value.status for reply_id, each in talk.settled.items()} == {
        "v": "cancelled",
        "t": "cancelled",
    }
    talk.done("r1")
    assert talk.settled["u"].value.status == "completed"


def test_leaving_between_a_call_and_its_answer_asks_for_no_answer(talk):
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.call("r1", "c1")
    talk.done("r1")
    talk.app.interrupt(response_id="r1", reply_id="t")
    talk.app.send_tool_output("c1", "42")
    assert len(talk.creates) == 1
    assert talk.settled["t"].value.response_id == "r1"


# ---- out of band ----------------------------------------------------------------------------------------------------


@pytest.fixture
def aside(talk):
    """An out-of-band response, asked for and begun."""
    talk.app.create_response({"conversation": "none"}, reply_id="t")
    talk.created("ro", talk.creates[0])
    talk.forget()
    return talk


def test_an_out_of_band_response_that_cannot_be_heard_is_not_interrupted(aside):
    aside.app.interrupt()
    assert aside.quiet


def test_an_out_of_band_response_that_can_be_heard_is_cut_but_has_nothing_to_truncate(aside):
    aside.audio("ro", "x", 1000)
    aside.hand_out("x", 0, 1000)
    aside.now += 0.2
    aside.app.interrupt()
    assert aside.events_of("audio_interrupted")[0].heard_ms == 200
    assert [event["type"] for event in aside.sent] == ["response.cancel"]
    aside.audio("ro", "y", 1000)
    assert aside.truncations == []


def test_the_server_does_not_cancel_out_of_band_responses_when_the_user_speaks(vad_talk):
    vad_talk.app.create_response({"conversation": "none"})
    vad_talk.created("ro", vad_talk.creates[0])
    vad_talk.audio("ro", "x", 1000)
    speech(vad_talk)
    assert vad_talk.sent_of("response.cancel")[0]["response_id"] == "ro"


# ---- a phone call that the server carries ---------------------------------------------------------------------------


def calling(talk, *, done=True):
    """The server plays a response itself: no audio of it comes here."""
    talk.created("r1")
    talk.server("output_audio_buffer.started", response_id="r1")
    if done:
        talk.done("r1")
    talk.forget()


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("cause", ["app", "guardrail"])
def test_on_a_call_the_server_is_told_to_fall_silent_after_it_was_told_to_stop_making(talk, cause, done):
    calling(talk, done=done)
    fx = CAUSES[cause](talk)
    cancel = [] if done else ["response.cancel"]
    assert [each.event["type"] for each in fx.send] == [*cancel, "output_audio_buffer.clear"]
    assert all(each.urgent for each in fx.send)
    assert talk.truncations == []


def test_on_a_call_the_server_that_interrupts_by_itself_is_told_nothing(vad_talk):
    calling(vad_talk)
    speech(vad_talk)
    assert vad_talk.sent_of("output_audio_buffer.clear") == []


@pytest.mark.parametrize("end", ["stopped", "cleared"])
def test_what_a_server_has_played_is_not_interrupted(talk, end):
    calling(talk)
    talk.server(f"output_audio_buffer.{end}", response_id="r1")
    CAUSES["app"](talk)
    assert talk.sent_of("output_audio_buffer.clear") == []
    assert talk.core.counters().interrupts == 0


@pytest.mark.parametrize("end", ["stopped", "cleared"])
def test_playback_goes_on_until_the_server_has_played_it(talk, end):
    calling(talk)
    assert talk.core.playback_remaining(talk.now) == float("inf")
    assert talk.core.farewell_remaining(talk.now) == float("inf")
    talk.server(f"output_audio_buffer.{end}", response_id="r1")
    assert talk.core.playback_remaining(talk.now) == 0


def test_the_end_of_an_older_response_leaves_the_one_that_plays(talk):
    calling(talk)
    talk.server("output_audio_buffer.started", response_id="r2")
    talk.server("output_audio_buffer.stopped", response_id="r1")
    CAUSES["app"](talk)
    assert len(talk.sent_of("output_audio_buffer.clear")) == 1


# ---- a caller who leaves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer_has_begun", [True, False])
def test_a_caller_who_leaves_silences_all_parts_of_the_answer(talk, answer_has_begun):
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.output_item("r1", "a")
    talk.audio("r1", "a", 10_000)
    talk.hand_out("a", 0, 10_000)
    talk.call("r1", "c1")
    talk.done("r1", metadata=talk.creates[0]["response"]["metadata"])
    talk.app.send_tool_output("c1", "42", respond=True)
    if answer_has_begun:
        talk.created("r2", talk.creates[1])
        talk.output_item("r2", "b")
        talk.audio("r2", "b", 1000)
    talk.now += 2
    talk.app.interrupt(reply_id="t", response_id="r2" if answer_has_begun else "r1")
    assert talk.truncations[0] == ("a", 0, 2000)
    assert [item_id for item_id, _, _ in talk.truncations[1:]] == (["b"] if answer_has_begun else [])


@pytest.mark.parametrize("who, stopped", [("app", True), ("user", False)])
def test_a_request_that_follows_a_commit_is_stopped_by_the_app_and_not_by_speech_from_before_the_commit(
    vad_talk, who, stopped
) -> None:
    talk = vad_talk
    talk.app.commit_audio()
    talk.app.create_response(reply_id="t")
    if who == "app":
        talk.app.interrupt()
    else:
        talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
    talk.created("r", answers=talk.creates[0])
    assert [event["response_id"] for event in talk.sent_of("response.cancel")] == (["r"] if stopped else [])


def test_a_caller_who_leaves_is_the_cause_under_one_name_in_the_event_and_in_the_turn(talk) -> None:
    talk.app.create_response(reply_id="t")
    talk.created("r1", talk.creates[0])
    talk.speak("r1", "a", 2_000)
    talk.now += 1
    fx = talk.app.interrupt(reply_id="t")
    (event,) = [each for each in fx.emit if each.type == "audio_interrupted"]
    talk.done("r1", "cancelled")
    (turn,) = talk.turns
    assert event.cause == turn.interruption.cause == turn.reason == "leave"


# ---- what it costs --------------------------------------------------------------------------------------------------


def steps_of_an_interrupt(talk, items):
    """After so many items, of an answer whose beginning the app has been shown."""
    for number in range(items):
        talk.item(f"item_{number}", f"item_{number - 1}" if number else "root")
    speaking(talk)
    talk.transcript("r1", "a", "one two three")
    assert len(talk.core.history()) == items + 1
    steps = steps_of(lambda: speech(talk))
    assert [event.type for event in talk.events][-1:] == ["history_updated"]
    return steps


def test_an_interrupt_costs_the_same_however_long_the_history_is(make_talk):
    short, long = [steps_of_an_interrupt(make_talk(), items) for items in (5, 500)]
    assert long <= 1.1 * short
