"""Builders of server events: valid as they come, about the same things, and with what a test says over it."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime.protocol.codec import decode_server_event
from trealtime.protocol.server_events import SERVER_EVENT_TYPES, RawServerEvent
from trealtime.testing import (
    ServerEvents,
    a_function_call,
    a_response,
    a_transcript,
    a_user_turn,
    the_end_of_the_response,
    user_begins_to_speak,
)


@pytest.mark.parametrize("kind", SERVER_EVENT_TYPES)
def test_every_event_is_valid_as_it_comes(schema: ModuleType, kind: str) -> None:
    event = ServerEvents().make(kind)
    assert schema.validate("server", event) == []
    assert not isinstance(decode_server_event(json.dumps(event))[0], RawServerEvent)


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user"},
        {"role": "system"},
        {"role": "assistant"},
        *(
            {"type": kind}
            for kind in (
                "function_call",
                "function_call_output",
                "mcp_list_tools",
                "mcp_call",
                "mcp_approval_request",
                "mcp_approval_response",
            )
        ),
    ],
)
@pytest.mark.parametrize("kind", ["conversation.item.added", "conversation.item.done", "response.output_item.added"])
def test_items_of_every_type_are_valid_as_they_come(schema: ModuleType, kind: str, item: dict[str, Any]) -> None:
    event = ServerEvents().make(kind, item=item)
    assert schema.validate("server", event) == []
    assert event["item"].items() >= item.items()


def test_events_are_about_the_newest_response_and_item() -> None:
    events = ServerEvents()
    response_id = events.make("response.created")["response"]["id"]
    item_id = events.make("response.output_item.added")["item"]["id"]
    delta = events.make("response.output_audio.delta")
    assert (delta["response_id"], delta["item_id"]) == (response_id, item_id)
    done = events.make("response.output_item.done")
    assert (done["item"]["id"], done["item"]["status"]) == (item_id, "completed")
    assert events.make("response.done")["response"].items() >= {"id": response_id, "status": "completed"}.items()
    second = events.make("response.output_item.added", item={"type": "function_call", "call_id": "call_9"})
    assert second["item"]["id"] != item_id
    assert events.make("response.function_call_arguments.done")["call_id"] == "call_9"
    assert events.make("response.created")["response"]["id"] != response_id


def test_an_object_goes_over_the_default_and_one_of_another_type_in_its_place() -> None:
    session = ServerEvents().make(
        "session.updated",
        session={"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}, "instructions": "Be quick."},
    )["session"]
    assert session["instructions"] == "Be quick."
    assert session["audio"]["input"]["turn_detection"] == {"type": "semantic_vad"}
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    error = ServerEvents().make("error", error={"code": "server_error"})["error"]
    assert (error["code"], error["type"]) == ("server_error", "invalid_request_error")


def test_the_seed_decides_the_ids() -> None:
    def ids(seed: int) -> list[str]:
        events = ServerEvents(seed)
        return [events.make("response.created")["event_id"], events.make("response.created")["response"]["id"]]

    assert ids(1) == ids(1)
    assert len({*ids(1), *ids(2)}) == 4


def test_what_no_server_sends_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"a server sends no 'response\.cancel'; its events are: error,"):
        ServerEvents().make("response.cancel")
    with pytest.raises(
        ValueError, match=r"response\.output_text\.delta has no text; its fields are: content_index, delta"
    ):
        ServerEvents().make("response.output_text.delta", text="x")


def spoken(events: ServerEvents) -> list[dict[str, Any]]:
    return events.play(a_response("Hello to you.", audio_s=0.5))


def called(events: ServerEvents) -> list[dict[str, Any]]:
    return events.play(a_response("Let me look.", finish=False)) + events.play(a_function_call("look", {"at": "it"}))


def cut(events: ServerEvents) -> list[dict[str, Any]]:
    begun = events.play(a_response("A long story", finish=False))
    return begun + events.play(the_end_of_the_response("incomplete", reason="max_output_tokens"))


def interrupted(events: ServerEvents) -> list[dict[str, Any]]:
    begun = events.play(a_response("A long story", finish=False))
    return begun + events.play(user_begins_to_speak()) + events.play(a_user_turn("Stop!")) + spoken(events)


def written(events: ServerEvents) -> list[dict[str, Any]]:
    request = {"type": "response.create", "response": {"output_modalities": ["text"], "metadata": {"a": "b"}}}
    return events.answer(request) + spoken(events)


SPOKEN = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    *["response.output_audio_transcript.delta"] * 3,
    *["response.output_audio.delta"] * 3,
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
    "rate_limits.updated",
]


@pytest.mark.parametrize("act", [spoken, called, cut, interrupted, written])
def test_whole_sequences_are_valid(schema: ModuleType, act: Callable[[ServerEvents], list[dict[str, Any]]]) -> None:
    for event in act(ServerEvents()):
        assert schema.validate("server", event) == [], event


def test_a_spoken_answer_has_all_its_events_in_order() -> None:
    events = spoken(ServerEvents())
    assert [event["type"] for event in events] == SPOKEN
    assert {event["response_id"] for event in events if "response_id" in event} == {events[0]["response"]["id"]}


def test_acts_add_to_a_response_that_is_not_finished() -> None:
    events = called(ServerEvents())
    (done,) = [event for event in events if event["type"] == "response.done"]
    assert [item["type"] for item in done["response"]["output"]] == ["message", "function_call"]
    assert [item["status"] for item in done["response"]["output"]] == ["completed", "completed"]
    assert len([event for event in events if event["type"] == "response.output_item.done"]) == 2
    assert json.loads(done["response"]["output"][1]["arguments"]) == {"at": "it"}


def test_a_user_who_speaks_over_a_response_cancels_it_and_gets_another() -> None:
    events = interrupted(ServerEvents())
    done = [event["response"] for event in events if event["type"] == "response.done"]
    assert [(each["status"], (each["status_details"] or {}).get("reason")) for each in done] == [
        ("cancelled", "turn_detected"),
        ("completed", None),
    ]
    (words,) = [event["transcript"] for event in events if event["type"].endswith("transcription.completed")]
    assert words == "Stop!"


def test_a_response_that_was_asked_for_in_text_is_written_and_echoes_its_metadata() -> None:
    events = written(ServerEvents())
    assert "response.output_audio.delta" not in [event["type"] for event in events]
    assert {json.dumps(event["response"]["metadata"]) for event in events if "response" in event} == {'{"a": "b"}'}


def test_words_for_a_turn_that_was_never_committed_are_an_error() -> None:
    with pytest.raises(ValueError, match="no turn of the user waits for its words"):
        ServerEvents().play(a_transcript("Hello."))


def test_a_response_that_the_client_has_cancelled_has_ended() -> None:
    events = ServerEvents()
    events.play(a_response("A long story", finish=False))
    cancelled = events.answer({"type": "response.cancel"})
    assert [event["response"]["status"] for event in cancelled if "response" in event] == ["cancelled"]
    assert events.play(the_end_of_the_response()) == []
    assert events.play(a_response("Another one."))[0]["type"] == "response.created"


ACTS = [
    a_response("Hello.", audio_s=0.3),
    a_response("A long story", audio_s=0.3, finish=False),
    a_response("", audio=b""),
    a_function_call("look", {"at": "it"}),
    a_function_call("look", '{"at"', finish=False),
    the_end_of_the_response(),
    the_end_of_the_response("failed", error={"type": "server_error", "code": "server_error"}),
    user_begins_to_speak(),
    a_user_turn("Stop!", audio_s=0.2),
    a_user_turn(None, audio_s=0.2),
]
REQUESTS: list[dict[str, Any]] = [
    {"type": "response.create"},
    {"type": "response.create", "response": {"conversation": "none", "output_modalities": ["text"]}},
    {"type": "response.cancel"},
    {"type": "input_audio_buffer.clear"},
    {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}},
    {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}},
]


@given(steps=st.lists(st.sampled_from([*ACTS, *REQUESTS]), max_size=12))
def test_any_order_of_acts_and_requests_is_valid_and_ends_each_response_once(schema: ModuleType, steps: Any) -> None:
    events = ServerEvents()
    sent = []
    for step in steps:
        sent += events.answer(step) if isinstance(step, dict) else events.play(step)
    for event in sent:
        assert schema.validate("server", event) == [], event
    done = [event["response"]["id"] for event in sent if event["type"] == "response.done"]
    created = [event["response"]["id"] for event in sent if event["type"] == "response.created"]
    assert len(done) == len(set(done))
    assert set(done) <= set(created)
