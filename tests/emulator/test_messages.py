"""What is not an event, or not one that the server knows: an error, and the session lives."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "nonsense",
        "[]",
        "null",
        "3",
        '"text"',
        '{"event_id": "e"}',
        "{}",
        b"\x00\x01",
        '{"a":' * 5000,
        '"\\ud800"',
    ],
)
def test_a_message_that_is_no_event_is_answered_with_invalid_event(kit: Any, message: str | bytes) -> None:
    engine = kit.engine()
    (event,) = engine.raw(message)
    assert (event["type"], event["error"]["code"]) == ("error", "invalid_event")
    assert engine("input_audio_buffer.clear")[0]["type"] == "input_audio_buffer.cleared"


@pytest.mark.parametrize("kind", ["session.destroy", "", 3, None, {}, "conversation.created"])
def test_an_unknown_type_is_an_invalid_value_of_type(kit: Any, kind: object) -> None:
    (event,) = kit.engine().raw(json.dumps({"type": kind, "event_id": "mine"}))
    assert event["error"]["code"] == "invalid_value"
    assert event["error"]["param"] == "type"
    assert event["error"]["event_id"] == "mine"
    assert "'session.update'" in event["error"]["message"]


@pytest.mark.parametrize("event_id, code", [(3, "invalid_type"), ("x" * 513, "invalid_value")])
def test_a_bad_event_id_is_refused_and_not_echoed(kit: Any, event_id: object, code: str) -> None:
    (event,) = kit.engine()("input_audio_buffer.clear", {"event_id": event_id})
    assert (event["error"]["code"], event["error"]["param"], event["error"]["event_id"]) == (code, "event_id", None)


@pytest.mark.parametrize(
    "kind",
    [
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "conversation.item.create",
        "conversation.item.retrieve",
        "conversation.item.delete",
        "conversation.item.truncate",
        "response.create",
        "response.cancel",
        "output_audio_buffer.clear",
    ],
)
def test_every_event_refuses_a_field_that_it_does_not_have(kit: Any, kind: str) -> None:
    error = kit.engine().refused(kind, {"surprise": 1})
    assert (error["code"], error["param"]) == ("unknown_parameter", "surprise")


def test_success_never_carries_the_clients_event_id(kit: Any) -> None:
    (event,) = kit.engine()("input_audio_buffer.clear", {"event_id": "mine"})
    assert event["event_id"] != "mine"


def test_the_output_buffer_can_be_cleared_only_in_a_call_that_has_spoken(kit: Any) -> None:
    assert "conversation.item.truncate" in kit.engine().refused("output_audio_buffer.clear")["message"]
    engine = kit.engine(call_id="rtc_1")
    engine.refused("output_audio_buffer.clear")
    (created,) = engine("response.create")
    (cleared,) = engine("output_audio_buffer.clear")
    assert cleared["response_id"] == created["response"]["id"]


@pytest.mark.parametrize("depth", [90, 200, 500, 900])
def test_deep_nesting_is_taken_and_given_back_or_refused(kit: Any, depth: int) -> None:
    nested = json.loads('{"a":' * depth + "1" + "}" * depth)
    tool = {"type": "function", "name": "deep", "parameters": nested}
    (event,) = kit.engine()("session.update", {"session": {"type": "realtime", "tools": [tool]}})
    assert event["type"] == ("session.updated" if depth == 90 else "error")


@pytest.mark.parametrize("value", ['"\\ud800"', "1e400", "123456789012345678901234567890"])
def test_odd_json_values_in_free_places_hurt_nobody(kit: Any, value: str) -> None:
    tool = f'{{"type":"function","name":"f","parameters":{{"default":{value}}}}}'
    message = f'{{"type":"session.update","session":{{"type":"realtime","tools":[{tool}]}}}}'
    (event,) = kit.engine().raw(message)
    assert event["type"] in {"session.updated", "error"}
