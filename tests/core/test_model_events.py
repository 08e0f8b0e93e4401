"""Raw model events: the frame first, then what is derived from it under the names of the SDK."""

from __future__ import annotations

import pytest

from trealtime._core.model_events import model_events
from trealtime.protocol.codec import read_server_event

ABOUT = {"response_id": "r", "item_id": "a", "output_index": 0, "content_index": 1}
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"
FRAMES = [
    ({"type": "response.created", "response": {"id": "r"}}, "turn_started", {"response_id": "r"}),
    ({"type": "response.done", "response": {"id": 5}}, "turn_ended", {"response_id": None}),
    (
        {"type": "response.output_text.delta", **ABOUT, "delta": "x"},
        "output_text_delta",
        {"delta": "x", "item_id": "a"},
    ),
    (
        {"type": "response.output_audio_transcript.delta", **ABOUT, "delta": "x"},
        "transcript_delta",
        {"response_id": "r"},
    ),
    ({"type": "response.output_audio.done", **ABOUT}, "audio_done", {"item_id": "a", "content_index": 1}),
    (
        {"type": TRANSCRIBED, "item_id": "a", "transcript": "hi"},
        "input_audio_transcription_completed",
        {"transcript": "hi"},
    ),
    (
        {"type": "input_audio_buffer.timeout_triggered", "item_id": "a"},
        "input_audio_timeout_triggered",
        {"audio_start_ms": None},
    ),
    ({"type": "conversation.item.deleted", "item_id": "a"}, "item_deleted", {"item_id": "a"}),
    ({"type": "error", "error": {"message": "no"}}, "error", {"error": {"message": "no"}}),
]


@pytest.mark.parametrize("frame, kind, fields", FRAMES)
def test_the_frame_comes_first_and_then_what_is_derived_from_it(frame, kind, fields):
    raw, derived = model_events(read_server_event(frame), frame)
    assert raw.type == "raw_server_event"
    assert raw.data is frame
    assert derived.type == kind
    assert {name: getattr(derived, name) for name in fields} == fields


@pytest.mark.parametrize("kind", ["input_audio_buffer.cleared", "of.tomorrow"])
def test_other_frames_come_by_themselves(kind):
    frame = {"type": kind}
    assert [each.type for each in model_events(read_server_event(frame), frame)] == ["raw_server_event"]


def test_audio_has_no_raw_event(make_talk):
    talk = make_talk(raw_events=True)
    talk.created("r")
    talk.audio("r", "a")
    assert talk.types == ["raw_model_event", "raw_model_event", "agent_start", "audio"]


def test_raw_events_come_before_those_of_the_session_and_can_be_switched_off(make_talk):
    talk = make_talk(raw_events=True)
    talk.server("of.tomorrow", field=1)
    assert talk.events[0].data.data["field"] == 1
    quiet = make_talk(raw_events=False)
    quiet.server("of.tomorrow", field=1)
    assert quiet.events == []


def test_audio_has_no_model_event():
    frame = {"type": "response.output_audio.delta", "response_id": "r", "item_id": "a", "delta": "AAAA"}
    assert model_events(read_server_event(frame), frame) == []
