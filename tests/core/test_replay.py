"""The conversation as another server is told it, kind by kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime._core.replay import Entry, ReplayBounds, estimated_tokens, folded, heard_text, make_replay, spoken
from trealtime.audio.formats import G711_ALAW, G711_ULAW, PCM16_24K
from trealtime.items import (
    AssistantAudio,
    AssistantMessageItem,
    AssistantText,
    InputAudio,
    InputImage,
    InputText,
    OtherItem,
    RealtimeToolCallItem,
    SystemMessageItem,
    UserMessageItem,
)


def user(text: str, item_id: str = "item_u") -> UserMessageItem:
    return UserMessageItem(item_id=item_id, content=(InputText(text),))


def call(output: str | None = None, item_id: str = "item_c") -> RealtimeToolCallItem:
    return RealtimeToolCallItem(item_id=item_id, call_id="call_1", name="look", arguments="{}", output=output)


def message(role: str, *content: dict, item_id: str = "item_u") -> dict:
    return {"id": item_id, "type": "message", "role": role, "content": list(content)}


CALL = {"id": "item_c", "type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}
OUTPUT = {"id": "item_o", "type": "function_call_output", "call_id": "call_1", "output": "red"}
WORDS = {"type": "input_text", "text": "hello"}


@pytest.mark.parametrize(
    "entry, told",
    [
        (Entry(user("hello")), [message("user", WORDS)]),
        (Entry(user("  ")), []),
        (
            Entry(SystemMessageItem(item_id="item_u", content=(InputText("hello"),))),
            [message("system", WORDS)],
        ),
        (
            Entry(UserMessageItem(item_id="item_u", content=(InputAudio(transcript="hello"),))),
            [message("user", WORDS)],
        ),
        (
            Entry(UserMessageItem(item_id="item_u", content=(InputAudio(),))),
            [message("user", {"type": "input_audio", "audio": "AAAA"})],
        ),
        (Entry(UserMessageItem(item_id="item_z", content=(InputAudio(),))), []),
        (
            Entry(UserMessageItem(item_id="item_u", content=(InputAudio(transcript=" "),))),
            [message("user", {"type": "input_audio", "audio": "AAAA"})],
        ),
        (
            Entry(UserMessageItem(item_id="item_u", content=(InputText("hello"), InputImage("data:x", "low")))),
            [message("user", WORDS, {"type": "input_image", "image_url": "data:x", "detail": "low"})],
        ),
        (
            Entry(UserMessageItem(item_id="item_u", content=(InputImage(""), InputImage("data:x")))),
            [message("user", {"type": "input_image", "image_url": "data:x"})],
        ),
        (
            Entry(AssistantMessageItem(item_id="item_u", content=(AssistantText("hello"),))),
            [message("assistant", {"type": "output_text", "text": "hello"})],
        ),
        (
            Entry(AssistantMessageItem(item_id="item_u", content=(AssistantAudio(transcript="hello", heard_ms=300),))),
            [message("assistant", {"type": "output_text", "text": "hello"})],
        ),
        (Entry(AssistantMessageItem(item_id="item_u", content=(AssistantAudio(transcript="", heard_ms=0),))), []),
        (Entry(call("red"), "item_o"), [CALL, OUTPUT]),
        (Entry(call()), []),
        (Entry(RealtimeToolCallItem(item_id="item_c", call_id=None, name="look", arguments="{}", output="red")), []),
        (Entry(user("half \ud83d an emoji")), [message("user", {"type": "input_text", "text": "half ? an emoji"})]),
        (
            Entry(
                OtherItem(
                    item_id="item_u",
                    type="mcp_call",
                    data={"name": "search", "arguments": '{"q": 1}', "output": "found"},
                )
            ),
            [
                message(
                    "system",
                    {"type": "input_text", "text": 'The tool search was called with {"q": 1}. It returned: found'},
                )
            ],
        ),
        *(
            (
                Entry(OtherItem(item_id="item_u", type="mcp_call", data={"name": "search", "arguments": 1, **outcome})),
                [message("system", {"type": "input_text", "text": f"The tool search was called with 1. {returned}"})],
            )
            for outcome, returned in (
                ({"output": "", "error": "none"}, "It returned: "),
                ({"output": None, "error": "down"}, "It returned: down"),
            )
        ),
        (Entry(OtherItem(item_id="item_u", type="mcp_list_tools", data={"tools": []})), []),
        (Entry(OtherItem(item_id="item_u", type="newer_than_us", data={"x": 1})), []),
    ],
)
def test_each_kind_of_item(entry, told) -> None:
    replay = make_replay([entry], audio_of=lambda item_id: b"\0\0\0" if item_id == "item_u" else None)
    assert list(replay.items) == told
    assert replay.left_out == (not told)


def test_a_call_that_is_open_is_told_alone() -> None:
    assert list(make_replay([Entry(call())], open_calls={"call_1"}).items) == [CALL]


def test_an_output_whose_item_is_not_known_any_more_gets_an_id_of_its_own() -> None:
    call_told, output_told = make_replay([Entry(call("red", item_id="item_" + "c" * 30))]).items
    assert call_told["id"] == "item_" + "c" * 30
    assert output_told["id"] == "item_" + "c" * 19 + "_output"


def test_a_request_for_approval_that_is_pending_is_told_as_it_is() -> None:
    data = {"server_label": "shop", "name": "pay", "arguments": "{}", "surprise": 1}
    entry = Entry(OtherItem(item_id="item_r", type="mcp_approval_request", data=data))
    assert make_replay([entry]).items == ()
    told = {"id": "item_r", "type": "mcp_approval_request", "server_label": "shop", "name": "pay", "arguments": "{}"}
    assert make_replay([entry], pending_approvals={"item_r"}).items == (told,)


def test_the_place_of_a_told_item_stands_for_those_after_it_that_are_left_out() -> None:
    entries = [Entry(user("a", "item_a")), Entry(OtherItem(item_id="item_x", type="new")), Entry(call("red"), "item_o")]
    replay = make_replay(entries)
    assert replay.stands_for == {"item_a": "item_x", "item_o": "item_o"}


def test_the_oldest_turns_are_folded_whole() -> None:
    turn = [
        Entry(user("a", "item_a")),
        Entry(call("red"), "item_o"),
        Entry(AssistantMessageItem(item_id="item_b", content=(AssistantText("b"),))),
    ]
    entries = turn * 3
    assert folded(entries, ReplayBounds()) == 0
    assert folded(entries, ReplayBounds(max_items=12)) == 0
    assert folded(entries, ReplayBounds(max_items=11)) == 3, "the call counts twice: with its output"
    assert folded(entries, ReplayBounds(max_items=7)) == 6, "no answer without its question"
    assert folded(entries, ReplayBounds(max_items=0)) == 9
    summary = {"id": "item_s", "type": "message", "role": "system", "content": []}
    replay = make_replay(entries, bounds=ReplayBounds(max_items=4), summary=summary)
    assert [item["id"] for item in replay.items] == ["item_s", "item_a", "item_c", "item_o", "item_b"]
    assert replay.left_out == 6


def test_without_anything_folded_there_is_nothing_to_sum_up() -> None:
    replay = make_replay([Entry(user("a"))], summary={"id": "item_s", "type": "message"})
    assert ([item["id"] for item in replay.items], replay.summary_id) == (["item_u"], None)


def test_where_the_user_has_said_nothing_the_newest_items_stay() -> None:
    answers = [
        Entry(AssistantMessageItem(item_id=f"item_{number}", content=(AssistantText("well"),))) for number in range(4)
    ]
    assert folded(answers, ReplayBounds(max_items=3)) == 1


IMAGE = UserMessageItem(item_id="item_i", content=(InputText("1234"), InputImage("data:x")))


@pytest.mark.parametrize(
    "item, tokens",
    [
        (user("12345678"), 6),
        (IMAGE, 805),
        (call("1234567890123"), 12),
        (OtherItem(item_id="item_x", type="new"), 4),
    ],
)
def test_an_item_takes_so_many_tokens(item, tokens) -> None:
    """Four characters a token, four for each item, and images by a flat estimate; a call counts with its output."""
    assert estimated_tokens(item) == tokens
    entries = [Entry(user("a", "item_a")), Entry(item)]
    assert folded(entries, ReplayBounds(max_tokens=tokens + 4)) == 0
    assert folded(entries, ReplayBounds(max_tokens=tokens + 3)) >= 1


def test_what_is_told_is_counted_as_it_is_told() -> None:
    """Calls as two items, images, and audio by its length."""
    assert make_replay([Entry(IMAGE)]).tokens == 805
    assert make_replay([Entry(call("12345678"), "item_o")]).tokens == 4 + 1 + 4 + 2
    spoken_turn = UserMessageItem(item_id="item_u", content=(InputAudio(),))
    audio = bytes(3 * 48_000)
    assert make_replay([Entry(spoken_turn)], audio_of=lambda _: audio, audio_format=PCM16_24K).tokens == 4 + 30


@given(st.lists(st.sampled_from("uca"), max_size=20), st.integers(0, 30), st.integers(0, 200))
def test_what_is_told_is_within_the_bounds(kinds, max_items, max_tokens) -> None:
    make = {
        "u": lambda n: Entry(user("hello there", f"item_{n}")),
        "c": lambda n: Entry(call("red", f"item_{n}"), f"out_{n}"),
        "a": lambda n: Entry(AssistantMessageItem(item_id=f"item_{n}", content=(AssistantText("well"),))),
    }
    entries = [make[kind](number) for number, kind in enumerate(kinds)]
    replay = make_replay(entries, bounds=ReplayBounds(max_items=max_items, max_tokens=max_tokens))
    assert len(replay.items) <= max_items
    assert replay.tokens <= max_tokens
    ids = [item["id"] for item in replay.items]
    assert ids == sorted(ids, key=lambda each: (int(each.split("_")[1]), each.startswith("out")))


def test_words_that_have_run_ahead_of_their_audio_are_cut() -> None:
    text = "Once upon a time there was a king who had a daughter."
    assert spoken(text, 10_000) == text
    assert spoken(text, 1_000) == "Once upon a time"
    assert spoken(text, 0) == ""
    assert spoken("12345678901234567890", 1_000) == "12345678901234567890", "a quarter more is no sign"
    assert spoken("1234 6789 1234 6789 1", 1_000) == "1234 6789 1234"
    assert text.startswith(spoken(text, 2_000))
    assert heard_text(text, 500, 1_000) == "Once upon a time there was"


@pytest.mark.parametrize("audio_format, size", [(PCM16_24K, 48_000), (G711_ULAW, 8_000), (G711_ALAW, 8_000)])
def test_the_audio_of_a_turn_is_estimated_by_its_length(audio_format, size) -> None:
    item = UserMessageItem(item_id="u", content=(InputAudio(),))

    def tokens(seconds: int) -> int:
        return make_replay(
            [Entry(item)], audio_of=lambda _: bytes(size * seconds + 1), audio_format=audio_format
        ).tokens

    assert tokens(12) - tokens(0) == 120
