"""Behaviours of the OpenAI Agents SDK's realtime layer, by number: ours is the same, or better on purpose.

Numbers that are missing concern the sending of frames or tasks (B103, B105, B135, B141, B142), arguments that ours does
not have (B106, B107, B114, B115: an interrupt has one form) or are shown with the session.
"""

from __future__ import annotations

import pytest

from trealtime._core.playback_ledger import PlaybackPosition
from trealtime.errors import ConnectionLost


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


def speech(talk, **fields):
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0, **fields)


def cancels(talk):
    return talk.sent_of("response.cancel")


# ---- 4.9 interrupt --------------------------------------------------------------------------------------------------


def test_b092_the_app_is_told_of_the_interrupt_together_with_the_truncation(tracked, tracker):
    """Same: both leave in one step, the event is queued before the frame."""
    tracker.at("a", 300)
    fx = tracked.app.interrupt()
    assert fx.emit[0].type == "audio_interrupted"
    assert fx.send[-1].event["audio_end_ms"] == 300


def test_b093_nothing_elapsed_truncates_at_zero(tracked, tracker):
    """Same."""
    tracker.at("a", 0)
    tracked.app.interrupt()
    assert tracked.truncations == [("a", 0, 0)]


def test_b094_a_negative_position_is_the_start(tracked, tracker):
    """Better: audio that was never heard is cut, where the peer leaves it in the conversation."""
    tracker.at("a", -20)
    tracked.app.interrupt()
    assert tracked.truncations == [("a", 0, 0)]


def test_b095_what_was_played_to_the_end_is_neither_truncated_nor_interrupted(tracked, tracker):
    """Better: no event for audio that is over either."""
    tracked.done("r1")
    tracker.at("a", 1000)
    tracked.forget()
    tracked.app.interrupt()
    assert tracked.quiet


def test_b096_a_position_beyond_what_was_received_is_clamped(tracked, tracker):
    """Same."""
    tracker.at("a", 60_000)
    tracked.app.interrupt()
    assert tracked.truncations == [("a", 0, 1000)]


def test_b097_an_item_that_only_the_tracker_knows_is_truncated_where_it_stands(make_talk, tracker):
    """Same."""
    talk = make_talk(position=tracker)
    talk.open()
    tracker.at("theirs", 500, index=1)
    talk.app.interrupt()
    assert talk.truncations == [("theirs", 1, 500)]


def test_b098_without_audio_only_the_response_is_cancelled(talk):
    """Same."""
    talk.created("r1")
    talk.forget()
    talk.app.interrupt()
    assert [event["type"] for event in talk.sent] == ["response.cancel"]
    assert talk.events == []


def test_b099_an_interrupt_by_the_app_cancels_also_where_the_server_cancels_at_speech(tracked):
    """Better: nobody spoke, so the server would not cancel by itself."""
    tracked.app.interrupt()
    assert len(cancels(tracked)) == 1


def test_b100_the_cancel_goes_before_the_truncation(talk):
    """Better: the generation stops first, so that no delta races the truncation."""
    talk.speak("r1", "a")
    talk.forget()
    talk.app.interrupt()
    assert [event["type"] for event in talk.sent] == ["response.cancel", "conversation.item.truncate"]


def test_b101_without_a_live_response_there_is_nothing_to_cancel(talk):
    """Same."""
    talk.speak("r1", "a")
    talk.done("r1")
    talk.app.interrupt()
    assert cancels(talk) == []
    assert talk.truncations == [("a", 0, 0)]


def test_b102_a_second_interrupt_sends_no_second_cancel(talk):
    """Same."""
    talk.speak("r1", "a")
    talk.app.interrupt()
    talk.app.interrupt()
    assert len(cancels(talk)) == 1


def test_b104_after_an_interrupt_playback_starts_afresh(tracked, tracker):
    """Same."""
    tracker.at("a", 300)
    assert tracked.app.interrupt().playback_reset
    tracker.position = None
    tracked.forget()
    tracked.app.interrupt()
    assert tracked.quiet


# ---- 4.10 one response ----------------------------------------------------------------------------------------------


def test_b108_every_unheard_item_of_the_response_is_told_and_truncated(tracked, tracker):
    """Better: also the items that had not begun to play are truncated, since nobody heard them."""
    tracked.speak("r1", "b", hand_out=False)
    tracker.at("a", 300)
    tracked.app.interrupt(cause="guardrail", response_id="r1")
    assert [event.item_id for event in tracked.events_of("audio_interrupted")] == ["a", "b"]
    assert tracked.truncations == [("a", 0, 300), ("b", 0, 0)]


def test_b109_what_plays_of_another_response_is_untouched(tracked, tracker):
    """Same; the interrupted response's own audio is truncated at the start, where the peer leaves it as said."""
    tracked.done("r1")
    tracked.speak("r2", "b", hand_out=False)
    tracker.at("a", 300)
    fx = tracked.app.interrupt(cause="guardrail", response_id="r2")
    assert tracked.truncations == [("b", 0, 0)]
    assert not fx.playback_reset


def test_b110_the_position_is_read_once_in_the_step_that_uses_it(tracked, tracker):
    """Better: nothing runs between reading and truncating, so there is nothing to read again."""
    tracker.at("a", 300)
    tracked.app.interrupt(response_id="r1")
    assert tracked.events_of("audio_interrupted")[0].heard_ms == tracked.truncations[0][2] == 300


def test_b111_the_tracker_is_not_reset_when_a_newer_response_plays(tracked, tracker):
    """Same."""
    tracked.done("r1")
    tracked.speak("r2", "b", hand_out=False)
    tracker.at("b", 100)
    fx = tracked.app.interrupt(response_id="r1")
    assert not fx.playback_reset
    assert tracked.truncations == []


def test_b112_cancelling_a_response_that_is_over_sends_nothing_to_cancel(talk):
    """Same for the cancel; better: what still plays of it is stopped too."""
    talk.created("r1")
    talk.done("r1")
    talk.forget()
    talk.app.cancel_response("r1")
    assert talk.quiet


def test_b113_interrupting_an_older_response_does_not_cancel_the_live_one(talk):
    """Same."""
    talk.speak("r1", "a")
    talk.done("r1")
    talk.created("r2")
    talk.app.interrupt(response_id="r1")
    assert cancels(talk) == []
    talk.app.interrupt(response_id="r2")
    assert [event["response_id"] for event in cancels(talk)] == ["r2"]


def test_b116_two_scoped_interrupts_are_one_cancel(talk):
    """Same."""
    talk.created("r1")
    for _ in range(2):
        talk.app.interrupt(cause="guardrail", response_id="r1")
    assert len(cancels(talk)) == 1


def test_b117_the_end_of_an_older_response_does_not_bring_the_newer_one_back(talk):
    """Same."""
    talk.created("r1")
    talk.created("r2")
    talk.app.interrupt(response_id="r2")
    talk.done("r1")
    talk.audio("r2", "b")
    assert talk.events_of("audio") == []


# ---- 4.11 barge-in --------------------------------------------------------------------------------------------------


def test_b118_speech_after_playback_is_over_interrupts_nothing(talk):
    """Better: the peer reports the last item as interrupted however long ago it ended."""
    talk.speak("r1", "a", 1000)
    talk.done("r1")
    talk.now += 10
    talk.forget()
    speech(talk)
    assert talk.types == ["speech_started"]


def test_b119_speech_truncates_where_playback_stands(tracked, tracker):
    """Same, rounded down as everywhere: never more than was heard."""
    tracker.at("a", 300.9)
    speech(tracked)
    assert tracked.truncations == [("a", 0, 300)]


def test_b120_a_time_of_input_audio_is_no_playback_position(tracked, tracker):
    """Better: the peer truncates at `audio_end_ms` of the frame, which counts the user's audio."""
    tracker.at("a", 300)
    speech(tracked, audio_end_ms=900)
    assert tracked.truncations == [("a", 0, 300)]


def test_b121_speech_before_playback_begins_truncates_at_zero(tracked):
    """Better: the peer tells the app but leaves the unheard audio in the conversation."""
    speech(tracked)
    assert tracked.truncations == [("a", 0, 0)]


@pytest.mark.parametrize("interrupts", [False, True])
def test_b122_speech_cancels_only_where_the_server_does_not(make_talk, interrupts):
    """Same."""
    talk = make_talk()
    talk.open(interrupt_response=interrupts)
    talk.speak("r1", "a")
    speech(talk)
    assert bool(cancels(talk)) is not interrupts


def test_b123_speech_without_audio_changes_nothing(vad_talk):
    """Same, but for the event of ours that says that the user speaks."""
    speech(vad_talk)
    assert vad_talk.types == ["speech_started"]
    assert vad_talk.sent == []


@pytest.mark.parametrize("cause", ["speech", "app"])
def test_b124_both_ways_to_interrupt_truncate_at_the_same_position(tracked, tracker, cause):
    """Same, to the millisecond."""
    tracker.at("a", 123.5)
    speech(tracked) if cause == "speech" else tracked.app.interrupt()
    assert tracked.truncations == [("a", 0, 123)]


def test_b125_after_barge_in_playback_starts_afresh(tracked):
    """Same."""
    speech(tracked)
    assert any(fx.playback_reset for fx in tracked.effects)


# ---- 4.12 sequencing ------------------------------------------------------------------------------------------------


def test_b126_a_request_goes_at_once_with_an_event_id_of_its_own(talk):
    """Same, with another spelling of the id."""
    talk.app.create_response(automatic=True)
    assert talk.creates[0]["event_id"]


def test_b127_requests_during_a_response_become_one(talk):
    """Same."""
    talk.created("r1")
    for _ in range(3):
        talk.app.create_response(automatic=True)
    assert talk.creates == []
    talk.done("r1")
    assert len(talk.creates) == 1


def test_b128_requests_wait_while_a_create_is_on_its_way(talk):
    """Same."""
    talk.app.create_response(automatic=True)
    talk.app.create_response(automatic=True)
    assert len(talk.creates) == 1


@pytest.mark.parametrize("number", ["b129", "b130"])
def test_b129_b130_what_is_asked_after_a_create_gets_a_turn_of_its_own(talk, number):
    """Same; there is no moment between asking and writing, so the two are one."""
    talk.app.create_response(automatic=True)
    talk.app.create_response(automatic=True)
    talk.created("r1", talk.creates[0])
    talk.done("r1")
    assert len(talk.creates) == 2


def test_b131_a_raw_create_goes_through_the_same_gate_and_mixes_with_nothing(talk):
    """Same."""
    talk.created("r0")
    for number in range(4):
        if number == 2:
            talk.app.send_raw({"type": "response.create"})
        else:
            talk.app.create_response(automatic=True)
    for number in range(1, 4):
        talk.done(f"r{number - 1}")
        talk.created(f"r{number}", talk.creates[-1])
    assert len(talk.creates) == 3


def test_b132_the_event_id_of_a_manual_create_is_kept(talk):
    """Same."""
    talk.app.send_raw({"type": "response.create", "event_id": "mine"})
    assert talk.creates[0]["event_id"] == "mine"


def test_b133_requests_are_served_in_the_order_of_asking(talk):
    """Same."""
    talk.created("r0")
    for name in "abc":
        talk.app.create_response({"instructions": name})
    for number in range(1, 4):
        talk.done(f"r{number - 1}")
        talk.created(f"r{number}", talk.creates[-1])
    assert [event["response"]["instructions"] for event in talk.creates] == ["a", "b", "c"]


def test_b134_creates_wait_for_the_end_of_a_cancelled_response(talk):
    """Same, but not for ever where that end does not come."""
    talk.created("r1")
    talk.app.cancel_response()
    talk.app.create_response()
    assert talk.creates == []
    talk.done("r1", "cancelled")
    assert len(talk.creates) == 1


@pytest.mark.parametrize("code, with_id", [("invalid_value", True), ("bad_response_create", False)])
def test_b136_a_refused_create_makes_room_for_the_next(talk, code, with_id):
    """Same; and whoever waits is told."""
    talk.app.create_response(reply_id="t")
    talk.app.create_response()
    talk.error(code, talk.creates[0]["event_id"] if with_id else None)
    assert len(talk.creates) == 2
    assert talk.settled["t"].value.status == "failed"


@pytest.mark.parametrize("code, event_id", [("server_error", "evt_other"), ("input_audio_buffer_commit_empty", None)])
def test_b137_an_unrelated_error_drops_no_create(talk, code, event_id):
    talk.app.create_response()
    talk.app.create_response()
    talk.error(code, event_id)
    assert len(talk.creates) == 1


def test_b138_the_end_of_another_response_does_not_open_the_gate(talk):
    """Same."""
    talk.created("r1")
    talk.app.create_response()
    talk.done("r0")
    assert talk.creates == []


@pytest.mark.parametrize("number", ["b139", "b140"])
def test_b139_b140_the_end_of_the_connection_cancels_all_that_wait(talk, number):
    """Same; and each caller is told."""
    talk.created("r1")
    talk.app.create_response(reply_id="t")
    talk.app.disconnect(ConnectionLost("gone"))
    assert isinstance(talk.settled["t"].error, ConnectionLost)
    talk.done("r1")
    assert talk.creates == []


# ---- 4.13 history: building -----------------------------------------------------------------------------------------


def test_b143_content_types_get_the_names_of_history_and_a_status(talk):
    """Same."""
    talk.created("r1")
    talk.output_item(
        "r1", "a", content=[{"type": "output_text", "text": "t"}, {"type": "output_audio"}, {"type": "of_tomorrow"}]
    )
    item = talk.core.history()[0]
    assert [part.type for part in item.content] == ["text", "audio"]
    assert item.status == "in_progress"
    talk.output_item("r1", "a", done=True)
    assert talk.core.history()[0].status == "completed"


def test_b144_every_sight_of_an_item_tells_its_predecessor(talk):
    """Better: `conversation.item.added` and `.done` count as well as the beta's `created`."""
    talk.item("a")
    talk.item("c")
    talk.item("b", "a")
    assert talk.order() == ["a", "b", "c"]


def test_b145_the_wires_audio_and_text_of_the_agent_are_renamed(talk):
    """Same."""
    talk.item("a", role="assistant", content=[{"type": "output_text", "text": "x"}, {"type": "output_audio"}])
    assert [part.type for part in talk.core.history()[0].content] == ["text", "audio"]


def test_b146_items_that_are_no_messages_are_in_history_too(talk):
    """Better: MCP items and tool outputs are shown, the latter with their call."""
    talk.item("m", type="mcp_list_tools")
    assert [item.type for item in talk.core.history()] == ["mcp_list_tools"]


def test_b147_a_call_enters_history_before_it_is_made(talk):
    """Same."""
    talk.created("r1")
    fx = talk.call("r1", "c1")
    assert fx.emit[0].type == "history_added"
    assert (fx.emit[0].item.status, fx.emit[0].item.output) == ("in_progress", None)
    assert [call.call_id for call in fx.calls] == ["c1"]


def test_b148_the_output_completes_the_call_item(talk):
    """Same, once the server has the output."""
    talk.created("r1")
    talk.call("r1", "c1")
    talk.item("out", type="function_call_output", call_id="c1", output="42", role=None)
    (call,) = talk.core.history()
    assert (call.item_id, call.output, call.status) == ("item_c1", "42", "completed")


def test_b149_a_deleted_item_leaves_history(talk):
    """Same."""
    talk.item("a")
    talk.forget()
    talk.server("conversation.item.deleted", item_id="a")
    assert talk.events[0].history == []
    talk.forget()
    talk.server("conversation.item.deleted", item_id="a")
    assert talk.quiet


def test_b150_a_known_predecessor_gives_the_place_and_others_go_to_the_end(talk):
    """Better: an item whose predecessor comes later moves to it then."""
    talk.item("a")
    talk.item("z", "unknown")
    talk.item("b", "a")
    assert talk.order() == ["a", "b", "z"]
    talk.item("unknown", "a")
    assert talk.order() == ["a", "unknown", "z", "b"]


def test_b151_a_known_item_keeps_its_place(talk):
    """Same."""
    for item_id in "ab":
        talk.item(item_id)
    talk.item("a", kind="done", content=[{"type": "input_text", "text": "x"}])
    assert talk.order() == ["a", "b"]


def test_b152_a_new_item_is_added_and_a_known_one_updates_the_history(talk):
    """Same; and a sight that changes nothing is no event."""
    talk.item("a")
    talk.item("a", kind="done")
    talk.item("a", kind="done")
    assert talk.types == ["history_added", "history_updated"]


def test_b153_a_history_that_was_handed_out_does_not_change(talk):
    """Same."""
    talk.item("a")
    talk.item("a", kind="done")
    before = talk.events[-1].history
    talk.item("b")
    assert [item.item_id for item in before] == ["a"]


# ---- 4.14 history: transcripts --------------------------------------------------------------------------------------


def transcribed(talk, item_id, transcript="hello", index=0):
    talk.server(
        "conversation.item.input_audio_transcription.completed",
        item_id=item_id,
        content_index=index,
        transcript=transcript,
    )


def test_b154_a_transcript_goes_to_its_own_part_and_completes_the_item(talk):
    """Better: the part that the server names, not every part of audio."""
    audio = {"type": "input_audio"}
    talk.item("a", status="in_progress", content=[{"type": "input_text", "text": "t"}, audio, audio])
    transcribed(talk, "a", index=1)
    item = talk.core.history()[0]
    assert [getattr(part, "transcript", "text") for part in item.content] == ["text", "hello", None]
    assert item.status == "completed"


def test_b155_words_of_an_unknown_item_are_kept(talk):
    """Same, as audio with a transcript, which is what it is."""
    transcribed(talk, "a")
    assert talk.types == ["history_added"]
    assert talk.texts() == {"a": ["hello"]}


def test_b156_nothing_is_fetched_to_know_a_transcript(talk):
    """Better: the transcript is known and trimmed here, so nothing has to be retrieved."""
    talk.speak("r1", "a")
    talk.forget()
    transcribed(talk, "u")
    talk.server("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=10)
    assert talk.sent == []


def test_b157_transcript_deltas_grow_in_history(talk):
    """Same; better: an event of ours tells each."""
    talk.created("r1")
    talk.output_item("r1", "a")
    talk.forget()
    talk.transcript("r1", "a", "one ")
    talk.transcript("r1", "a", "two")
    assert talk.texts() == {"a": ["one two"]}
    assert talk.types == ["transcript_delta", "transcript_delta"]


@pytest.mark.parametrize("number", ["b158", "b159"])
def test_b158_b159_an_empty_transcript_erases_nothing(talk, number):
    """Same."""
    talk.created("r1")
    talk.output_item("r1", "a")
    talk.transcript("r1", "a", "hello")
    talk.item("a", role="assistant", content=[{"type": "output_audio", "transcript": ""}])
    assert talk.texts() == {"a": ["hello"]}


@pytest.mark.parametrize("text, expected", [(None, "hello"), ("", "")])
def test_b160_no_text_keeps_what_is_there_and_an_empty_one_replaces_it(talk, text, expected):
    """Same."""
    talk.item("a", role="assistant", content=[{"type": "output_text", "text": "hello"}])
    talk.item("a", role="assistant", content=[{"type": "output_text", "text": text}])
    assert talk.texts() == {"a": [expected]}


def test_b161_images_that_the_server_does_not_echo_keep_their_places(talk):
    """Better: they stay where the user put them, not in front."""
    text, image = {"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": "data:x"}
    talk.app.create_item({"id": "a", "type": "message", "role": "user", "content": [text, image, text]})
    talk.item("a", content=[text, text])
    talk.item("a", kind="done", content=[text, text])
    assert [part.type for part in talk.core.history()[0].content] == ["input_text", "input_image", "input_text"]


def test_b162_a_text_that_is_echoed_empty_is_kept(talk):
    """Same."""
    talk.item("a", content=[{"type": "input_text", "text": "hi"}])
    talk.item("a", content=[{"type": "input_text", "text": ""}])
    assert talk.texts() == {"a": ["hi"]}


def test_b163_another_role_is_another_message(talk):
    """Same."""
    talk.item("a", content=[{"type": "input_text", "text": "hi"}])
    talk.item("a", role="assistant", content=[{"type": "output_text", "text": "hello"}])
    assert talk.texts() == {"a": ["hello"]}


def test_b164_empty_content_changes_nothing(talk):
    """Same."""
    talk.item("a", status="completed", content=[{"type": "input_text", "text": "hi"}])
    talk.forget()
    talk.item("a", kind="done")
    assert talk.quiet


def test_b165_content_that_cannot_be_merged_does_no_harm(talk):
    """Same: what can be read is taken, the rest left alone."""
    talk.item("a", content=[None, 5, {"type": ["?"]}, {"type": "input_text", "text": {}}])
    talk.item("a", content="words")
    assert talk.order() == ["a"]


# ---- 4.15 turns -----------------------------------------------------------------------------------------------------


def test_b166_a_response_begins_and_ends_with_its_agent(talk):
    """Other: the end carries the agent that the response began with, also when another has taken over since."""
    talk.created("r1")
    talk.state.agent = type(talk.agent)(name="other")
    talk.done("r1")
    start, end = talk.events
    assert (start.type, start.agent) == ("agent_start", talk.agent)
    assert (end.type, end.agent) == ("agent_end", talk.agent)


def test_b167_a_response_without_usage_ends_like_any_other(talk):
    """Same."""
    talk.created("r1")
    talk.done("r1")
    assert talk.types[-1] == "agent_end"
    assert talk.core.usage.requests == 0


def test_b168_a_late_end_of_an_older_response_is_not_the_end_of_this_one(talk):
    """Same: an end that was told already is told once."""
    talk.created("r1")
    talk.done("r1")
    talk.created("r2")
    talk.forget()
    talk.done("r1")
    assert talk.quiet
    assert talk.core.response_active


def test_b169_output_before_created_begins_the_response_once(talk):
    """Same."""
    talk.audio("r1", "a")
    talk.created("r1")
    assert talk.types == ["agent_start", "audio"]


@pytest.mark.parametrize("status", ["cancelled", "failed", "incomplete"])
def test_b170_every_outcome_ends_and_counts_and_says_what_it_was(talk, status):
    """Better: the event says how it ended, and why."""
    talk.created("r1")
    talk.done("r1", status, usage={"total_tokens": 5}, status_details={"reason": "x"})
    end = talk.events_of("agent_end")[0]
    assert (end.status, end.reason) == (status, "x")
    assert talk.core.usage.total_tokens == 5
