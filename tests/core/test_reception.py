"""What single server events do, where no other table says so."""

from __future__ import annotations

import pytest

from trealtime._core.model_events import model_events
from trealtime.protocol.codec import read_server_event


@pytest.mark.parametrize("role, status", [("user", "completed"), ("assistant", "in_progress")])
def test_the_betas_one_event_for_an_item_completes_what_the_agent_does_not_go_on_with(talk, role, status):
    talk.item("a", kind="created", role=role)
    assert talk.core.history()[0].status == status


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
    vad_talk.server("input_audio_buffer.committed", item_id="u")
    vad_talk.app.create_response(reply_id="t")
    vad_talk.created("server's own")
    assert vad_talk.started == []


def test_a_turn_that_the_app_commits_itself_is_not_due_an_answer_of_the_servers(vad_talk):
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


def test_images_that_the_server_echoes_are_taken_from_it(talk):
    content = [{"type": "input_image", "image_url": "data:ours"}]
    talk.app.create_item({"id": "a", "type": "message", "role": "user", "content": content})
    talk.item("a", content=[{"type": "input_image", "image_url": "data:theirs"}])
    assert talk.core.history()[0].content[0].image_url == "data:theirs"


def test_the_images_of_a_refused_message_are_not_kept(talk):
    content = [{"type": "input_image", "image_url": "data:ours"}]
    talk.app.create_item({"id": "a", "type": "message", "role": "user", "content": content})
    talk.error("invalid_value", talk.sent[0]["event_id"])
    assert talk.state.sent_content == {}


def test_a_retrieved_item_brings_its_audio_and_keeps_what_is_known(talk):
    talk.item("a", kind="done", content=[{"type": "input_audio", "transcript": "hi"}])
    talk.app.retrieve_item("a", reply_id="t")
    item = {"id": "a", "type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "AAAA"}]}
    talk.server("conversation.item.retrieved", item=item)
    (part,) = talk.settled["t"].value.content
    assert (part.audio, part.transcript) == ("AAAA", "hi")


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


def test_audio_has_no_model_event():
    frame = {"type": "response.output_audio.delta", "response_id": "r", "item_id": "a", "delta": "AAAA"}
    assert model_events(read_server_event(frame), frame) == []


def test_the_agent_that_speaks_is_known(talk):
    assert talk.core.agent is talk.agent
