"""History as JSON and as seeds for another session."""

from __future__ import annotations

import json
from types import ModuleType

import pytest

from trealtime._core.saved_history import dump_history, load_history, wire_items
from trealtime.errors import SettingsError
from trealtime.items import (
    AssistantAudio,
    AssistantMessageItem,
    AssistantText,
    InputAudio,
    InputImage,
    InputText,
    OtherItem,
    RealtimeItem,
    RealtimeToolCallItem,
    SystemMessageItem,
    UserMessageItem,
)

ITEMS: list[RealtimeItem] = [
    SystemMessageItem(item_id="s", content=(InputText("be kind"),), status="completed"),
    UserMessageItem(
        item_id="u",
        previous_item_id="s",
        content=(InputText("see"), InputAudio(transcript="this"), InputImage("data:image/png;base64,AA==", "low")),
        status="completed",
    ),
    RealtimeToolCallItem(item_id="c", call_id="call_1", name="look", arguments="{}", output="cat", status="completed"),
    RealtimeToolCallItem(item_id="c2", call_id="call_2", name="look", arguments="{}", status="in_progress"),
    AssistantMessageItem(
        item_id="a", content=(AssistantAudio(transcript="A ca", heard_ms=120), AssistantText("t")), status="incomplete"
    ),
    OtherItem(item_id="m", type="mcp_list_tools", data={"server_label": "x", "tools": [{"name": "y"}]}),
]


def test_dumped_history_loads_equal() -> None:
    assert load_history(dump_history(ITEMS)) == ITEMS


def test_fields_of_a_newer_version_are_left_out() -> None:
    kept = json.loads(dump_history(ITEMS[:1]))
    kept[0]["mood"] = "sunny"
    assert load_history(json.dumps(kept)) == ITEMS[:1]


@pytest.mark.parametrize(
    "text, names",
    [
        ("not json", "JSON text"),
        ('{"type": "message"}', "JSON text of an array"),
        ("5", "JSON text of an array"),
        ("true", "JSON text of an array"),
        ("null", "JSON text of an array"),
        ('"text"', "JSON text of an array"),
        ('["\\ud83d', "JSON text of an array"),
        ("[" * 100_000, "JSON text of an array"),
        ("[5]", "an item is an object with a type"),
        ('[{"role": "user"}]', "type"),
        ('[{"type":"message","role":"user","item_id":"u","content":[{"type":"video"}]}]', "video"),
        ('[{"type":"message","role":"user","content":[]}]', "item_id"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, names: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_history(text)
    assert names in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["5", "null", '"x"', "{}", "[" * 100_000, '["\ud83d"]', b"\xff", b'["\xff"]', ""],
    ids=["number", "null", "text", "object", "nested", "surrogate", "byte", "text of a byte", "nothing"],
)
def test_text_that_is_no_array_is_refused(text: str | bytes) -> None:
    with pytest.raises(SettingsError, match="JSON text of an array of items"):
        load_history(text)


def test_seeds_are_text_images_and_finished_tool_calls() -> None:
    assert wire_items(ITEMS) == [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "be kind"}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_text", "text": "this"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
            ],
        },
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "cat"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "A ca"}, {"type": "output_text", "text": "t"}],
        },
    ]


def test_seeds_are_valid_on_the_wire(schema: ModuleType) -> None:
    for item in wire_items(ITEMS):
        assert schema.validate("client", {"type": "conversation.item.create", "item": item}) == []
