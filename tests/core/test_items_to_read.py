"""Items for people: `text` has the words, `str` is one line."""

from __future__ import annotations

import pytest

from trealtime import (
    AssistantAudio,
    AssistantMessageItem,
    AssistantText,
    InputAudio,
    InputText,
    RealtimeToolCallItem,
    SystemMessageItem,
    UserMessageItem,
)
from trealtime.items import InputImage, OtherItem

SPOKEN = AssistantMessageItem(item_id="a", content=(AssistantText("Look:"), AssistantAudio(transcript=" it works. ")))
SHOWN = UserMessageItem(item_id="u", content=(InputText("What is this?"), InputImage("data:image/png;base64,")))


@pytest.mark.parametrize(
    "item, text, line",
    [
        (SystemMessageItem(item_id="s", content=(InputText("Be brief."),)), "Be brief.", "system: Be brief."),
        (SPOKEN, "Look: it works.", "assistant: Look: it works."),
        (SHOWN, "What is this?", "user: What is this? (image)"),
        (UserMessageItem(item_id="u", content=(InputAudio(),)), "", "user: (audio)"),
        (AssistantMessageItem(item_id="a", status="in_progress"), "", "assistant: ..."),
    ],
)
def test_a_message_reads_as_its_words_and_marks_what_has_none(item, text, line) -> None:
    assert item.text == text
    assert str(item) == line


def test_a_tool_call_reads_as_the_call_and_its_output_once_there_is_one() -> None:
    call = {"item_id": "c", "name": "order_status", "arguments": '{"order_id": 7}'}
    assert str(RealtimeToolCallItem(**call)) == 'order_status({"order_id": 7}) -> ...'
    assert str(RealtimeToolCallItem(**call, output="sent")) == 'order_status({"order_id": 7}) -> sent'


def test_an_item_of_another_kind_reads_as_its_type_and_id() -> None:
    assert str(OtherItem(item_id="m", type="mcp_list_tools")) == "mcp_list_tools m"
