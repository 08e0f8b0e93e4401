"""The weak spots of the OpenAI Agents SDK's realtime layer that concern the core, by number: each shown fixed.

Those that concern tasks, subscriptions and connections (1, 2, 3, 6 to 9, 11 to 19, 29) are shown with the session.
"""

from __future__ import annotations

import pytest

from trealtime._core.playback_ledger import PlaybackPosition


def speech(talk):
    return talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0, audio_end_ms=777)


def test_ws04_a_delta_copies_no_history(talk):
    talk.created("r1")
    for index in range(50):
        talk.item(f"item_{index}")
    talk.output_item("r1", "a")
    before = {item.item_id: item for item in talk.core.history()}
    talk.forget()
    talk.transcript("r1", "a", "word")
    talk.audio("r1", "a")
    assert talk.events_of("history_updated") == []
    after = {item.item_id: item for item in talk.core.history()}
    assert [item_id for item_id in after if after[item_id] is not before[item_id]] == ["a"]


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


def test_ws10_an_event_newer_than_us_is_no_error(make_talk):
    talk = make_talk(raw_events=True)
    talk.server("response.of.tomorrow", anything=[1])
    assert talk.types == ["raw_model_event"]


def test_ws20_an_interrupt_by_the_app_stops_the_model_with_any_settings(vad_talk):
    vad_talk.speak("r1", "a")
    vad_talk.app.interrupt()
    assert [event["response_id"] for event in vad_talk.sent_of("response.cancel")] == ["r1"]


@pytest.mark.parametrize("interrupt", [speech, lambda talk: talk.app.interrupt()])
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
    speech(vad_talk)
    assert vad_talk.types == ["speech_started"]
    assert vad_talk.sent == []


def test_ws25_speech_before_the_first_audio_cancels_the_response(make_talk):
    talk = make_talk()
    talk.open(interrupt_response=False)
    talk.created("r1")
    speech(talk)
    assert len(talk.sent_of("response.cancel")) == 1


def test_ws26_times_of_input_audio_say_nothing_about_playback(talk):
    talk.speak("r1", "a", 1000)
    talk.now += 0.1
    speech(talk)
    assert talk.truncations == [("a", 0, 100)]


def test_ws27_an_interrupt_between_create_and_created_is_not_lost(talk):
    talk.app.create_response()
    talk.app.interrupt()
    talk.created("r1", talk.creates[0])
    assert len(talk.sent_of("response.cancel")) == 1
    talk.audio("r1", "a")
    assert talk.events_of("audio") == []


@pytest.mark.parametrize("elapsed_ms", [100.4, 100.5, 100.99])
@pytest.mark.parametrize("interrupt", [speech, lambda talk: talk.app.interrupt()])
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


@pytest.mark.parametrize("late", [False, True])
def test_ws31_a_request_that_races_a_response_of_the_servers_is_not_forgotten(vad_talk, late):
    talk = vad_talk
    talk.created("r0")
    talk.call("r0", "c1")
    talk.done("r0")
    talk.app.send_tool_output("c1", "42")
    create = talk.creates[0]
    talk.silence("u")
    talk.created("r1")
    if late:
        talk.done("r1")
    talk.error("conversation_already_has_active_response", create["event_id"])
    talk.done("r1")
    talk.wait(0.2)
    assert len(talk.creates) == 2
    talk.created("r2", talk.creates[1])
    assert talk.events_of("error") == []


def test_ws32_out_of_band_responses_run_next_to_the_others(talk):
    talk.created("r1")
    for reply_id in ("t", "u"):
        talk.app.create_response({"conversation": "none"}, reply_id=reply_id)
    assert len(talk.creates) == 2
    for response_id, create in zip(("rt", "ru"), reversed(talk.creates), strict=True):
        talk.created(response_id, create)
    for response_id in ("ru", "r1", "rt"):
        talk.done(response_id)
    assert {reply_id: each.value.response_id for reply_id, each in talk.settled.items()} == {"u": "rt", "t": "ru"}


def test_ws33_a_cancel_that_came_too_late_is_known_for_what_it_is(talk):
    talk.created("r1")
    talk.app.interrupt()
    talk.error("response_cancel_not_active", talk.sent[-1]["event_id"])
    assert talk.events_of("error") == []
    talk.app.cancel_response("theirs")
    talk.error("response_cancel_not_active", talk.sent[-1]["event_id"])
    assert talk.events_of("error")[0].error.request == "response.cancel"


def test_ws34_the_end_of_a_response_says_how_it_ended(talk):
    talk.created("r1")
    talk.done("r1", "incomplete", status_details={"reason": "content_filter"})
    end = talk.events_of("agent_end")[0]
    assert (end.status, end.reason) == ("incomplete", "content_filter")


def test_ws35_items_are_in_the_servers_order_whatever_kind_they_are(talk):
    talk.item("a")
    talk.created("r1")
    talk.call("r1", "c1")
    talk.item("u")
    talk.item("item_c1", "a", type="function_call", call_id="c1", name="look")
    talk.item("early", "late")
    talk.item("late", "a")
    assert talk.order() == ["a", "late", "early", "item_c1", "u"]


def test_ws36_a_status_never_goes_back_and_done_completes_an_item(talk):
    talk.item("a", content=[{"type": "input_audio"}])
    assert talk.core.history()[0].status == "in_progress"
    talk.item("a", kind="done")
    talk.server("conversation.item.retrieved", item={"id": "a", "type": "message", "role": "user"})
    talk.item("a")
    assert talk.core.history()[0].status == "completed"


def test_ws37_a_truncation_concerns_the_item_that_it_names_and_fetches_nothing(talk):
    for item_id in ("a", "b"):
        talk.speak("r1", item_id, hand_out=False)
        talk.transcript("r1", item_id, "some words here")
    talk.forget()
    talk.server("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=0)
    assert talk.texts() == {"a": [""], "b": ["some words here"]}
    assert talk.sent == []


def test_ws38_history_claims_no_more_than_was_heard(talk):
    talk.speak("r1", "a", 1000)
    talk.transcript("r1", "a", "one two three four")
    talk.now += 0.5
    talk.app.interrupt()
    talk.item(
        "a", kind="done", role="assistant", content=[{"type": "output_audio", "transcript": "one two three four"}]
    )
    part = talk.core.history()[0].content[0]
    assert (part.transcript, part.heard_ms) == ("one two", 500)


def test_ws39_parts_of_an_item_are_kept_apart(talk):
    talk.created("r1")
    talk.output_item("r1", "a", status="in_progress")
    talk.transcript("r1", "a", "first", index=0)
    talk.transcript("r1", "a", "second", index=1)
    assert talk.texts() == {"a": ["first", "second"]}
    assert talk.core.history()[0].status == "in_progress"


def test_ws40_images_shift_no_index(talk):
    image = {"type": "input_image", "image_url": "data:x"}
    texts = [{"type": "input_text", "text": text} for text in ("one", "two")]
    talk.app.create_item({"id": "a", "type": "message", "role": "user", "content": [image, *texts]})
    for kind in ("added", "done"):
        talk.item("a", kind=kind, content=texts)
    parts = talk.core.history()[0].content
    assert [getattr(part, "text", "image") for part in parts] == ["image", "one", "two"]


def test_ws40_a_burst_of_messages_with_images_keeps_them_all(talk):
    for index in range(100):
        content = [{"type": "input_image", "image_url": f"data:{index}"}]
        talk.app.create_item({"id": f"u{index}", "type": "message", "role": "user", "content": content})
    for index in range(100):
        talk.item(f"u{index}")
    assert [item.content[0].image_url for item in talk.core.history()] == [f"data:{index}" for index in range(100)]


def test_ws41_failed_and_partial_transcriptions_are_told_and_text_grows_in_history(talk):
    about = "conversation.item.input_audio_transcription"
    talk.item("u", content=[{"type": "input_audio"}])
    talk.server(f"{about}.delta", item_id="u", content_index=0, delta="par")
    talk.server(f"{about}.failed", item_id="v", content_index=0, error={"message": "noise"})
    talk.created("r1")
    talk.output_item("r1", "a")
    talk.server(
        "response.output_text.delta", response_id="r1", item_id="a", output_index=0, content_index=0, delta="tex"
    )
    assert talk.texts() == {"u": ["par"], "a": ["tex"]}
    assert {"transcript_delta", "error", "text_delta"} <= set(talk.types)


def test_ws42_items_can_be_created_retrieved_truncated_and_deleted(talk):
    talk.app.create_item({"id": "u", "type": "message", "role": "user"}, previous_item_id="root")
    talk.app.retrieve_item("u")
    talk.app.truncate_item("a", 0, -5)
    talk.app.delete_item("u")
    kinds = [event["type"].rpartition(".")[2] for event in talk.sent]
    assert kinds == ["create", "retrieve", "truncate", "delete"]
    assert talk.truncations == [("a", 0, 0)]
    assert talk.core.history() == []
