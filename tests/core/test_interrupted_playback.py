"""What an interrupt does to what plays: where it is cut, as the clock or a tracker of the app knows it."""

from __future__ import annotations

import pytest

from trealtime._core.playback_ledger import PlaybackPosition


class Tracker:
    """What an app says that it plays."""

    def __init__(self) -> None:
        self.position: PlaybackPosition | None = None

    def __call__(self):
        return self.position

    def at(self, item_id, elapsed_ms, index=0):
        self.position = PlaybackPosition(item_id, index, elapsed_ms)


@pytest.fixture
def tracker():
    return Tracker()


@pytest.fixture
def tracked(make_talk, tracker):
    """A talk whose app tracks playback; a response lives, a second of its item `a` has come."""
    talk = make_talk(position=tracker)
    talk.open(create_response=True, interrupt_response=True)
    talk.speak("r1", "a", 1000, hand_out=False)
    talk.forget()
    return talk


def speech_of(talk, **fields):
    return talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0, **fields)


def cancels(talk):
    return talk.sent_of("response.cancel")


def test_b092_the_app_is_told_of_the_interrupt_together_with_the_truncation(tracked, tracker):
    """Both leave in one step, the event is queued before the frame."""
    tracker.at("a", 300)
    fx = tracked.app.interrupt()
    assert fx.emit[0].type == "audio_interrupted"
    assert fx.send[-1].event["audio_end_ms"] == 300


def test_b093_nothing_elapsed_truncates_at_zero(tracked, tracker):
    tracker.at("a", 0)
    tracked.app.interrupt()
    assert tracked.truncations == [("a", 0, 0)]


def test_b094_a_negative_position_is_the_start(tracked, tracker):
    tracker.at("a", -20)
    tracked.app.interrupt()
    assert tracked.truncations == [("a", 0, 0)]


def test_b095_what_was_played_to_the_end_is_neither_truncated_nor_interrupted(tracked, tracker):
    """No event for audio that is over either."""
    tracked.done("r1")
    tracker.at("a", 1000)
    tracked.forget()
    tracked.app.interrupt()
    assert tracked.quiet


def test_b096_a_position_beyond_what_was_received_is_clamped(tracked, tracker):
    tracker.at("a", 60_000)
    tracked.app.interrupt()
    assert tracked.truncations == [("a", 0, 1000)]


def test_b097_an_item_that_only_the_tracker_knows_is_truncated_where_it_stands(make_talk, tracker):
    talk = make_talk(position=tracker)
    talk.open()
    tracker.at("theirs", 500, index=1)
    talk.app.interrupt()
    assert talk.truncations == [("theirs", 1, 500)]


def test_b098_without_audio_only_the_response_is_cancelled(talk):
    talk.created("r1")
    talk.forget()
    talk.app.interrupt()
    assert [event["type"] for event in talk.sent] == ["response.cancel"]
    assert talk.events == []


def test_b099_an_interrupt_by_the_app_cancels_also_where_the_server_cancels_at_speech(tracked):
    """Nobody spoke, so the server would not cancel by itself."""
    tracked.app.interrupt()
    assert len(cancels(tracked)) == 1


def test_b100_the_cancel_goes_before_the_truncation(talk):
    """The generation stops first, so that no delta races the truncation."""
    talk.speak("r1", "a")
    talk.forget()
    talk.app.interrupt()
    assert [event["type"] for event in talk.sent] == ["response.cancel", "conversation.item.truncate"]


def test_b101_without_a_live_response_there_is_nothing_to_cancel(talk):
    talk.speak("r1", "a")
    talk.done("r1")
    talk.app.interrupt()
    assert cancels(talk) == []
    assert talk.truncations == [("a", 0, 0)]


def test_b102_a_second_interrupt_sends_no_second_cancel(talk):
    talk.speak("r1", "a")
    talk.app.interrupt()
    talk.app.interrupt()
    assert len(cancels(talk)) == 1


def test_b104_after_an_interrupt_playback_starts_afresh(tracked, tracker):
    tracker.at("a", 300)
    assert tracked.app.interrupt().playback_reset
    tracker.position = None
    tracked.forget()
    tracked.app.interrupt()
    assert tracked.quiet


def test_b108_every_unheard_item_of_the_response_is_told_and_truncated(tracked, tracker):
    """Also the items that had not begun to play are truncated, since nobody heard them."""
    tracked.speak("r1", "b", hand_out=False)
    tracker.at("a", 300)
    tracked.app.interrupt(cause="guardrail", response_id="r1")
    assert [event.item_id for event in tracked.events_of("audio_interrupted")] == ["a", "b"]
    assert tracked.truncations == [("a", 0, 300), ("b", 0, 0)]


def test_b109_what_plays_of_another_response_is_untouched(tracked, tracker):
    """The interrupted response's own audio is truncated at the start."""
    tracked.done("r1")
    tracked.speak("r2", "b", hand_out=False)
    tracker.at("a", 300)
    fx = tracked.app.interrupt(cause="guardrail", response_id="r2")
    assert tracked.truncations == [("b", 0, 0)]
    assert not fx.playback_reset


def test_b110_the_position_is_read_once_in_the_step_that_uses_it(tracked, tracker):
    """Nothing runs between reading and truncating, so there is nothing to read again."""
    tracker.at("a", 300)
    tracked.app.interrupt(response_id="r1")
    assert tracked.events_of("audio_interrupted")[0].heard_ms == tracked.truncations[0][2] == 300


def test_b111_the_tracker_is_not_reset_when_a_newer_response_plays(tracked, tracker):
    tracked.done("r1")
    tracked.speak("r2", "b", hand_out=False)
    tracker.at("b", 100)
    fx = tracked.app.interrupt(response_id="r1")
    assert not fx.playback_reset
    assert tracked.truncations == []


def test_b112_cancelling_a_response_that_is_over_sends_nothing_to_cancel(talk):
    """What still plays of it is stopped."""
    talk.created("r1")
    talk.done("r1")
    talk.forget()
    talk.app.cancel_response("r1")
    assert talk.quiet


def test_b113_interrupting_an_older_response_does_not_cancel_the_live_one(talk):
    talk.speak("r1", "a")
    talk.done("r1")
    talk.created("r2")
    talk.app.interrupt(response_id="r1")
    assert cancels(talk) == []
    talk.app.interrupt(response_id="r2")
    assert [event["response_id"] for event in cancels(talk)] == ["r2"]


def test_b116_two_scoped_interrupts_are_one_cancel(talk):
    talk.created("r1")
    for _ in range(2):
        talk.app.interrupt(cause="guardrail", response_id="r1")
    assert len(cancels(talk)) == 1


def test_b117_the_end_of_an_older_response_does_not_bring_the_newer_one_back(talk):
    talk.created("r1")
    talk.created("r2")
    talk.app.interrupt(response_id="r2")
    talk.done("r1")
    talk.audio("r2", "b")
    assert talk.events_of("audio") == []


def test_b118_speech_after_playback_is_over_interrupts_nothing(talk):
    talk.speak("r1", "a", 1000)
    talk.done("r1")
    talk.now += 10
    talk.forget()
    speech_of(talk)
    assert talk.types == ["speech_started"]


def test_b119_speech_truncates_where_playback_stands(tracked, tracker):
    """Rounded down as everywhere: never more than was heard."""
    tracker.at("a", 300.9)
    speech_of(tracked)
    assert tracked.truncations == [("a", 0, 300)]


def test_b120_a_time_of_input_audio_is_no_playback_position(tracked, tracker):
    tracker.at("a", 300)
    speech_of(tracked, audio_end_ms=900)
    assert tracked.truncations == [("a", 0, 300)]


def test_b121_speech_before_playback_begins_truncates_at_zero(tracked):
    speech_of(tracked)
    assert tracked.truncations == [("a", 0, 0)]


@pytest.mark.parametrize("interrupts", [False, True])
def test_b122_speech_cancels_only_where_the_server_does_not(make_talk, interrupts):
    talk = make_talk()
    talk.open(interrupt_response=interrupts)
    talk.speak("r1", "a")
    speech_of(talk)
    assert bool(cancels(talk)) is not interrupts


def test_b123_speech_without_audio_changes_nothing(vad_talk):
    """For the event of ours that says that the user speaks."""
    speech_of(vad_talk)
    assert vad_talk.types == ["speech_started"]
    assert vad_talk.sent == []


@pytest.mark.parametrize("cause", ["speech", "app"])
def test_b124_both_ways_to_interrupt_truncate_at_the_same_position(tracked, tracker, cause):
    """To the millisecond."""
    tracker.at("a", 123.5)
    speech_of(tracked) if cause == "speech" else tracked.app.interrupt()
    assert tracked.truncations == [("a", 0, 123)]


def test_b125_after_barge_in_playback_starts_afresh(tracked):
    speech_of(tracked)
    assert any(fx.playback_reset for fx in tracked.effects)


def test_ws20_an_interrupt_by_the_app_stops_the_model_with_any_settings(vad_talk):
    vad_talk.speak("r1", "a")
    vad_talk.app.interrupt()
    assert [event["response_id"] for event in vad_talk.sent_of("response.cancel")] == ["r1"]


@pytest.mark.parametrize("interrupt", [speech_of, lambda talk: talk.app.interrupt()])
def test_ws21_no_audio_of_a_response_follows_its_interrupt(talk, interrupt):
    talk.speak("r1", "a")
    assert interrupt(talk).purge == ["r1"]
    talk.forget()
    for item_id in ("a", "b"):
        talk.audio("r1", item_id)
    talk.done("r1", "cancelled")
    talk.audio("r1", "a")
    assert talk.events_of("audio") == []


def test_ws22_an_interrupt_before_playback_begins_cuts_at_zero(make_talk):
    talk = make_talk(position=lambda: None)
    talk.open()
    talk.speak("r1", "a", hand_out=False)
    talk.app.interrupt()
    assert talk.events_of("audio_interrupted")[0].heard_ms == 0
    assert talk.truncations == [("a", 0, 0)]


def test_ws23_the_position_follows_playback_not_arrival(talk):
    talk.speak("r1", "a", 1000, hand_out=False)
    talk.speak("r1", "b", 1000, hand_out=False)
    talk.now += 30
    talk.hand_out("a", 0, 1000)
    talk.hand_out("b", 0, 1000)
    talk.now += 0.7
    talk.app.interrupt()
    assert talk.truncations == [("a", 0, 700), ("b", 0, 0)]
    talk.done("r1")
    talk.speak("r2", "c", 1000)
    talk.now += 0.2
    talk.app.interrupt()
    assert talk.truncations[-1] == ("c", 0, 200)


def test_ws24_speech_long_after_playback_interrupts_nothing(vad_talk):
    vad_talk.speak("r1", "a", 500)
    vad_talk.done("r1")
    vad_talk.now += 60
    vad_talk.forget()
    speech_of(vad_talk)
    assert vad_talk.types == ["speech_started"]
    assert vad_talk.sent == []


def test_ws25_speech_before_the_first_audio_cancels_the_response(make_talk):
    talk = make_talk()
    talk.open(interrupt_response=False)
    talk.created("r1")
    speech_of(talk)
    assert len(talk.sent_of("response.cancel")) == 1


def test_ws26_times_of_input_audio_say_nothing_about_playback(talk):
    talk.speak("r1", "a", 1000)
    talk.now += 0.1
    speech_of(talk, audio_end_ms=777)
    assert talk.truncations == [("a", 0, 100)]


def test_ws27_an_interrupt_between_create_and_created_is_not_lost(talk):
    talk.app.create_response()
    talk.app.interrupt()
    talk.created("r1", talk.creates[0])
    assert len(talk.sent_of("response.cancel")) == 1
    talk.audio("r1", "a")
    assert talk.events_of("audio") == []


@pytest.mark.parametrize("elapsed_ms", [100.4, 100.5, 100.99])
@pytest.mark.parametrize("interrupt", [speech_of, lambda talk: talk.app.interrupt()])
def test_ws28_positions_are_rounded_one_way_everywhere(make_talk, interrupt, elapsed_ms):
    talk = make_talk(position=lambda: PlaybackPosition("a", 0, elapsed_ms))
    talk.open()
    talk.speak("r1", "a")
    interrupt(talk)
    assert talk.truncations == [("a", 0, 100)]
    assert talk.events_of("audio_interrupted")[0].heard_ms == 100


def test_ws30_queued_audio_is_purged_before_the_interrupt_is_told(talk):
    talk.speak("r1", "a")
    fx = talk.app.interrupt()
    assert (fx.purge, fx.emit[0].type) == (["r1"], "audio_interrupted")
