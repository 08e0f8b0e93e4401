"""Conversation items: create, retrieve, delete, truncate, and the links between them."""

from __future__ import annotations

import base64
from typing import Any

import pytest


def message(role: str, *parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"item": {"type": "message", "role": role, "content": list(parts), **fields}}


def text(words: str, kind: str = "input_text") -> dict[str, Any]:
    return {"type": kind, "text": words}


def ids(engine: Any) -> list[str]:
    return [item.id for item in engine.core.conversation.items]


def speak(engine: Any, audio: bytes, words: str = "Hello there.") -> str:
    """Have the assistant say something, as the generator of responses does; the item's id."""
    engine("response.create")
    response = engine.core.responses.started.popleft()
    response.open_message()
    response.add_text(words)
    engine.core.responses.note_speech(response)
    response.add_audio(audio)
    response.close_item()
    engine.core.responses.end(response, "completed")
    (item_id,) = {event["item_id"] for event in engine.take() if event["type"] == "response.output_audio.delta"}
    return str(item_id)


def test_an_item_is_added_and_done_with_the_one_before_it(kit: Any) -> None:
    engine = kit.engine()
    added, done = engine("conversation.item.create", message("system", text("Be brief."), id="first"))
    assert kit.types([added, done]) == ["conversation.item.added", "conversation.item.done"]
    assert (
        added["item"]
        == done["item"]
        == {
            "id": "first",
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "system",
            "content": [{"type": "input_text", "text": "Be brief."}],
        }
    )
    assert added["previous_item_id"] is done["previous_item_id"] is None
    added, _ = engine("conversation.item.create", message("user", text("Hi")))
    assert added["previous_item_id"] == "first"
    assert added["item"]["id"].startswith("item_")


def test_previous_item_id_places_an_item(kit: Any) -> None:
    engine = kit.engine()
    for item_id, previous in (("b", None), ("d", "b"), ("c", "b"), ("a", "root"), ("e", None)):
        placed = {"previous_item_id": previous} if previous else {}
        added, done = engine("conversation.item.create", message("user", text("x"), id=item_id) | placed)
        expected = None if previous == "root" else previous
        if previous is not None:
            assert added["previous_item_id"] == done["previous_item_id"] == expected
    assert ids(engine) == ["a", "b", "c", "d", "e"]


def test_an_unknown_previous_item_is_refused(kit: Any) -> None:
    engine = kit.engine()
    error = engine.refused("conversation.item.create", message("user", text("x")) | {"previous_item_id": "nobody"})
    assert error["param"] == "previous_item_id"
    assert ids(engine) == []


def test_an_id_is_given_once(kit: Any) -> None:
    engine = kit.engine()
    engine("conversation.item.create", message("user", text("x"), id="one"))
    error = engine.refused("conversation.item.create", message("user", text("y"), id="one"))
    assert (error["param"], ids(engine)) == ("item.id", ["one"])


@pytest.mark.parametrize(
    "item",
    [
        {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "call_1"},
        {"type": "function_call_output", "call_id": "call_1", "output": ""},
        {"type": "mcp_approval_response", "id": "a1", "approval_request_id": "r1", "approve": True, "reason": None},
        {"type": "mcp_approval_request", "id": "a2", "server_label": "s", "name": "n", "arguments": "{}"},
        {"type": "mcp_list_tools", "server_label": "s", "tools": [{"name": "t", "input_schema": {}}]},
        {
            "type": "mcp_call",
            "id": "a3",
            "server_label": "s",
            "name": "n",
            "arguments": "{}",
            "error": {"type": "http_error", "code": 404, "message": "gone"},
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
    ],
)
def test_every_kind_of_item_can_be_created(kit: Any, item: dict[str, Any]) -> None:
    added, done = kit.engine()("conversation.item.create", {"item": item})
    assert item.items() <= added["item"].items()
    assert done["item"] == added["item"]


def test_a_function_call_without_a_call_id_gets_one(kit: Any) -> None:
    item = {"type": "function_call", "name": "look", "arguments": "{}"}
    added, _ = kit.engine()("conversation.item.create", {"item": item})
    assert added["item"]["call_id"].startswith("call_")


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}


@pytest.mark.parametrize(
    "event, code, param",
    [
        ({}, "missing_required_parameter", "item"),
        ({"item": "hello"}, "invalid_type", "item"),
        ({"item": {"type": "thing"}}, "invalid_value", "item.type"),
        ({"item": {"type": "message", "content": []}}, "missing_required_parameter", "item.role"),
        ({"item": {"type": "message", "role": "user"}}, "missing_required_parameter", "item.content"),
        (message("robot"), "invalid_value", "item.role"),
        (message("user", text("x", "text")), "invalid_value", "item.content[0].type"),
        (message("user", text("x"), {"type": "input_text"}), "missing_required_parameter", "item.content[1].text"),
        (message("system", IMAGE), "invalid_value", "item.content[0].type"),
        (message("user", IMAGE | {"image_url": "http://a.b/c.png"}), "invalid_value", "item.content[0].image_url"),
        (message("assistant", {"type": "output_audio", "audio": ""}), "invalid_value", "item.content[0].type"),
        (message("user", {"type": "input_audio", "audio": "%"}), "invalid_value", "item.content[0].audio"),
        (message("user", {"type": "input_audio", "audio": "AA=="}), "invalid_value", "item.content[0].audio"),
        (message("user", id=""), "invalid_value", "item.id"),
        (message("user", id="x" * 513), "invalid_value", "item.id"),
        (message("user", status="done"), "invalid_value", "item.status"),
        ({"item": {"type": "function_call", "name": "f"}}, "missing_required_parameter", "item.arguments"),
        ({"item": {"type": "item_reference", "id": "x"}}, "invalid_value", "item.type"),
    ],
)
def test_a_wrong_item_is_refused_by_its_path(kit: Any, event: dict[str, Any], code: str, param: str) -> None:
    engine = kit.engine()
    error = engine.refused("conversation.item.create", event)
    assert (error["code"], error["param"], ids(engine)) == (code, param, [])


def test_audio_and_images_of_the_user_are_kept_and_audio_comes_back_only_when_asked_for(kit: Any) -> None:
    engine = kit.engine()
    audio = {"type": "input_audio", "audio": kit.b64(kit.pcm(200, loud=True))}
    added, _ = engine("conversation.item.create", message("user", audio, IMAGE, id="one"))
    assert added["item"]["content"] == [{"type": "input_audio", "transcript": None}, IMAGE]
    (retrieved,) = engine("conversation.item.retrieve", {"item_id": "one"})
    assert retrieved["item"]["content"] == [audio | {"transcript": None}, IMAGE]


def test_the_assistants_audio_can_be_retrieved(kit: Any) -> None:
    engine = kit.engine()
    item_id = speak(engine, kit.pcm(300, loud=True))
    (retrieved,) = engine("conversation.item.retrieve", {"item_id": item_id})
    (part,) = retrieved["item"]["content"]
    assert (part["type"], part["transcript"]) == ("output_audio", "Hello there.")
    assert base64.b64decode(part["audio"]) == kit.pcm(300, loud=True)


def test_the_oldest_audio_goes_when_there_is_too_much_and_its_length_stays_known(kit: Any) -> None:
    engine = kit.engine(max_audio_bytes=20_000)
    first, second = speak(engine, kit.pcm(300)), speak(engine, kit.pcm(300))
    shown = [engine("conversation.item.retrieve", {"item_id": item_id})[0]["item"] for item_id in (first, second)]
    assert ["audio" in item["content"][0] for item in shown] == [False, True]
    assert engine.refused("conversation.item.truncate", cut(first, 301))["message"].startswith("Audio content of 300ms")
    assert engine("conversation.item.truncate", cut(first, 300))[0]["type"] == "conversation.item.truncated"


def test_the_oldest_item_goes_when_there_are_too_many(kit: Any) -> None:
    engine = kit.engine(max_items=2)
    for item_id in ("a", "b", "c"):
        engine("conversation.item.create", message("user", text("x"), id=item_id))
    assert ids(engine) == ["b", "c"]


def test_delete_closes_the_gap(kit: Any) -> None:
    engine = kit.engine()
    for item_id in ("a", "b", "c"):
        engine("conversation.item.create", message("user", text("x"), id=item_id))
    (deleted,) = engine("conversation.item.delete", {"item_id": "b"})
    assert (deleted["type"], deleted["item_id"]) == ("conversation.item.deleted", "b")
    added, _ = engine("conversation.item.create", message("user", text("x"), id="d") | {"previous_item_id": "a"})
    assert added["previous_item_id"] == "a"
    assert ids(engine) == ["a", "d", "c"]


@pytest.mark.parametrize("what", ["retrieve", "delete", "truncate"])
def test_an_unknown_item_has_a_code_for_each_request(kit: Any, what: str) -> None:
    fields = cut("nobody", 0) if what == "truncate" else {"item_id": "nobody"}
    error = kit.engine().refused(f"conversation.item.{what}", fields)
    assert (error["code"], error["param"]) == (f"item_{what}_invalid_item_id", "item_id")
    assert "nobody" in error["message"]


def cut(item_id: str, end_ms: int, index: int = 0) -> dict[str, Any]:
    return {"item_id": item_id, "content_index": index, "audio_end_ms": end_ms}


@pytest.mark.parametrize("end_ms", [0, 120, 300])
def test_truncate_keeps_what_was_heard_and_no_transcript(kit: Any, end_ms: int) -> None:
    engine = kit.engine()
    item_id = speak(engine, kit.pcm(300, loud=True))
    (event,) = engine("conversation.item.truncate", cut(item_id, end_ms))
    place = {"item_id": item_id, "content_index": 0, "audio_end_ms": end_ms}
    assert event["type"] == "conversation.item.truncated"
    assert place.items() <= event.items()
    (retrieved,) = engine("conversation.item.retrieve", {"item_id": item_id})
    (part,) = retrieved["item"]["content"]
    assert part.keys() == {"type", "audio"}
    assert base64.b64decode(part["audio"]) == kit.pcm(300, loud=True)[: end_ms * 48]


def test_truncating_past_the_end_says_how_long_the_audio_is(kit: Any) -> None:
    engine = kit.engine()
    item_id = speak(engine, kit.pcm(300))
    error = engine.refused("conversation.item.truncate", cut(item_id, 900))
    assert error["message"] == "Audio content of 300ms is already shorter than 900ms"
    assert error["code"] == "invalid_value"
    engine("conversation.item.truncate", cut(item_id, 100))
    error = engine.refused("conversation.item.truncate", cut(item_id, 200))
    assert error["message"] == "Audio content of 100ms is already shorter than 200ms"


@pytest.mark.parametrize(
    "fields, param", [({"audio_end_ms": -1}, "audio_end_ms"), ({"content_index": 1}, "content_index")]
)
def test_a_truncation_out_of_range_is_refused(kit: Any, fields: dict[str, Any], param: str) -> None:
    engine = kit.engine()
    item_id = speak(engine, kit.pcm(300))
    assert engine.refused("conversation.item.truncate", cut(item_id, 0) | fields)["param"] == param


def test_only_model_output_audio_can_be_truncated(kit: Any) -> None:
    engine = kit.engine()
    engine("conversation.item.create", message("user", text("x"), id="typed"))
    engine(
        "conversation.item.create", message("user", {"type": "input_audio", "audio": kit.b64(kit.pcm(99))}, id="said")
    )
    engine("conversation.item.create", message("assistant", text("x", "output_text"), id="written"))
    engine("response.create")
    response = engine.core.responses.started.popleft()
    response.open_message()  # announced, not a sound yet
    silent = next(event["item"]["id"] for event in engine.take() if event["type"] == "response.output_item.added")
    for item_id in ("typed", "said", "written", silent):
        error = engine.refused("conversation.item.truncate", cut(item_id, 0))
        assert error["message"] == "Only model output audio messages can be truncated"


def test_an_item_truncated_while_it_is_spoken_gets_no_more_audio_and_no_transcript(kit: Any) -> None:
    engine = kit.engine()
    engine("response.create")
    response = engine.core.responses.started.popleft()
    response.open_message()
    response.add_text("One ")
    response.add_audio(kit.pcm(200))
    item_id = engine.take()[-1]["item_id"]
    engine("conversation.item.truncate", cut(item_id, 150))
    response.add_text("two")
    response.add_audio(kit.pcm(200))
    response.close_item()
    engine.core.responses.end(response, "completed")
    done = next(event for event in engine.take() if event["type"] == "conversation.item.done")
    assert done["item"]["content"] == [{"type": "output_audio"}]
    (retrieved,) = engine("conversation.item.retrieve", {"item_id": item_id})
    assert len(base64.b64decode(retrieved["item"]["content"][0]["audio"])) == 150 * 48


def test_an_item_deleted_while_it_is_spoken_is_done_in_its_response_only(kit: Any) -> None:
    engine = kit.engine()
    engine("response.create")
    response = engine.core.responses.started.popleft()
    response.open_message()
    response.add_audio(kit.pcm(200))
    item_id = engine.take()[-1]["item_id"]
    engine("conversation.item.delete", {"item_id": item_id})
    response.add_audio(kit.pcm(200))
    engine.core.responses.end(response, "completed")
    kinds = kit.types(engine.take())
    assert "response.output_item.done" in kinds
    assert "conversation.item.done" not in kinds
