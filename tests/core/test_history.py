"""History: the item graph, what items take from later sights of them, and what a cut leaves."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steps import steps_of

from trealtime._core import history as module
from trealtime._core.history import History, heard_text
from trealtime.items import (
    AssistantAudio,
    AssistantText,
    InputAudio,
    InputImage,
    InputText,
    OtherItem,
    RealtimeToolCallItem,
    SystemMessageItem,
)


def message(item_id, *content, role="user", **fields):
    return {"id": item_id, "type": "message", "role": role, "content": list(content), **fields}


def said(transcript=None):
    return {"type": "output_audio", "transcript": transcript}


@pytest.fixture
def history():
    return History()


def put(history, item_id, previous=None, **fields):
    return history.put(message(item_id), previous_item_id=previous, **fields)


# ---- order ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
def test_an_item_that_follows_one_that_is_removed_goes_to_the_end_and_waits_for_nothing(history, late) -> None:
    for item_id in ("a", "b"):
        put(history, item_id)
    history.remove("a")
    if late:
        put(history, "c", None)
    put(history, "c", "a", named="a")
    put(history, "d")
    assert history.order() == ["b", "c", "d"]
    assert not history._waiting
    put(history, "a")
    put(history, "e", "a")
    assert history.order() == ["b", "c", "d", "a", "e"]


@pytest.mark.parametrize(
    "status, kept", [(None, "completed"), ("in_progress", "incomplete"), ("incomplete", "incomplete")]
)
def test_a_message_that_a_session_begins_with_is_over(history, status, kept) -> None:
    message = SystemMessageItem(item_id="a", content=(InputText(text="Hello."),), status=status)
    history.seed([message], lambda: "new")
    assert history.item("a").status == kept


def test_items_without_a_predecessor_go_to_the_end(history):
    for item_id in "abc":
        put(history, item_id)
    assert history.order() == ["a", "b", "c"]


def test_a_known_predecessor_decides_the_place(history):
    put(history, "a")
    put(history, "b", "a")
    put(history, "between", "a")
    assert history.order() == ["a", "between", "b"]


@pytest.mark.parametrize("how", [{"first": True}, {"previous": "root"}])
def test_an_item_can_be_put_first(history, how):
    put(history, "a")
    put(history, "b", **how)
    assert history.order() == ["b", "a"]


@pytest.mark.parametrize("arrival", list(itertools.permutations("abcd")))
def test_items_in_any_order_of_arrival_end_up_in_the_servers_order(history, arrival):
    previous = {"a": None, "b": "a", "c": "b", "d": "c"}
    for item_id in arrival:
        put(history, item_id, previous[item_id])
    assert [each for each in history.order() if each != "a"] == ["b", "c", "d"]
    if arrival.index("a") < arrival.index("b"):
        assert history.order() == ["a", "b", "c", "d"]
    assert not history._waiting


def test_a_late_predecessor_gets_its_followers_with_all_that_follow_them(history):
    put(history, "x")
    put(history, "b", "a")
    put(history, "c", "b")
    put(history, "a", "x")
    assert history.order() == ["x", "a", "b", "c"]


def test_two_items_that_wait_for_the_same_predecessor_keep_their_order(history):
    put(history, "b", "a")
    put(history, "c", "a")
    put(history, "a")
    assert history.order() == ["a", "b", "c"]


def test_a_later_sight_that_names_the_predecessor_moves_the_item_and_what_follows_it(history):
    put(history, "a")
    put(history, "c")
    put(history, "late")
    put(history, "after", "late")
    assert put(history, "late", "a") == "updated"
    assert history.order() == ["a", "late", "after", "c"]


def test_a_sight_without_a_predecessor_moves_nothing(history):
    put(history, "a")
    put(history, "b", "a")
    put(history, "c", "a")
    assert put(history, "b") == "unchanged"
    assert history.order() == ["a", "c", "b"]


@pytest.mark.parametrize("links", [{"a": "b", "b": "a"}, {"a": "a"}, {"a": "c", "b": "a", "c": "b"}])
def test_links_that_form_a_circle_lose_no_item(history, links):
    for _ in range(2):
        for item_id, previous in links.items():
            put(history, item_id, previous)
    assert sorted(history.order()) == sorted(links)


def test_a_deleted_item_leaves_nothing_behind(history):
    put(history, "b", "gone")
    put(history, "a")
    put(history, "b", "a")
    assert not history._waiting
    put(history, "c", "never")
    assert history.remove("c")
    assert not history._waiting
    assert history.order() == ["a", "b"]
    assert not history.remove("c")


def test_an_item_whose_predecessor_was_deleted_keeps_its_place(history):
    for item_id, previous in (("a", None), ("b", "a"), ("c", "b")):
        put(history, item_id, previous)
    history.remove("b")
    put(history, "c", "a")
    assert history.order() == ["a", "c"]


# ---- merging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first, second, expected",
    [
        ("in_progress", "completed", "completed"),
        ("completed", "in_progress", "completed"),
        ("incomplete", "in_progress", "incomplete"),
        ("completed", None, "completed"),
        ("completed", "nonsense", "completed"),
    ],
)
def test_a_status_never_goes_back(history, first, second, expected):
    history.put(message("a", status=first))
    history.put(message("a", status=second), status="in_progress")
    assert history.item("a").status == expected


def test_the_same_sight_again_changes_nothing(history):
    item = message("a", {"type": "input_text", "text": "hi"}, status="completed")
    assert history.put(item) == "added"
    history.snapshot()
    assert history.put(item) == "unchanged"


def test_what_is_empty_or_absent_erases_nothing(history):
    history.put(message("a", {"type": "input_text", "text": "hi"}))
    history.put(message("a"))
    history.put(message("a", {"type": "input_text", "text": ""}))
    history.put({"id": "a", "type": "message", "role": "user", "content": None})
    assert history.item("a").content == (InputText("hi"),)


def test_images_that_the_server_leaves_out_stay_in_their_places(history):
    image = {"type": "input_image", "image_url": "data:1"}
    one, two = {"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}
    history.put(message("a", image, one, image, two))
    history.put(message("a", one, two), status="completed")
    expected = (InputImage("data:1"), InputText("one"), InputImage("data:1"), InputText("two"))
    assert history.item("a").content == expected
    history.put(message("a", {"type": "input_image"}, one, {"type": "input_image"}, two))
    assert history.item("a").content == expected


def test_the_wires_content_types_get_the_names_of_history(history):
    history.put(
        message("a", {"type": "output_text", "text": "t"}, said("s"), {"type": "text", "text": "u"}, role="assistant")
    )
    assert history.item("a").content == (AssistantText("t"), AssistantAudio(transcript="s"), AssistantText("u"))


def test_an_item_that_changes_its_role_starts_anew(history):
    history.put(message("a", {"type": "input_text", "text": "hi"}))
    history.put(message("a", said("hello"), role="assistant"))
    assert history.item("a").content == (AssistantAudio(transcript="hello"),)


@pytest.mark.parametrize("role", [None, 7, ["user"]])
def test_a_role_that_says_nothing_changes_nothing(history, role):
    history.put(message("a", {"type": "input_text", "text": "hi"}))
    history.put(message("a", role=role))
    assert history.item("a").content == (InputText("hi"),)


def test_system_messages_and_unknown_items_are_shown(history):
    history.put(message("s", {"type": "input_text", "text": "be kind"}, role="system"))
    history.put({"id": "m", "type": "mcp_list_tools", "tools": []}, status="completed")
    system, other = history.snapshot()
    assert isinstance(system, SystemMessageItem)
    assert system.content == (InputText("be kind"),)
    assert isinstance(other, OtherItem)
    assert (other.type, other.status, other.data["tools"]) == ("mcp_list_tools", "completed", [])


@pytest.mark.parametrize("item", [{}, {"id": None}, {"id": ""}, {"id": 5, "type": "message"}])
def test_an_item_without_an_id_is_none(history, item):
    assert history.put(item) == "unchanged"
    assert len(history) == 0


def test_a_snapshot_does_not_change_afterwards(history):
    put(history, "a")
    before = history.snapshot()
    before.clear()
    history.put(message("a", {"type": "input_text", "text": "hi"}))
    assert len(history.snapshot()) == 1


# ---- text that grows ------------------------------------------------------------------------------------------------


def test_deltas_add_up_by_part_and_the_end_of_a_part_replaces_them(history):
    put(history, "a")
    history.put(message("a", role="assistant"))
    history.add_transcript("a", 0, "one ")
    history.add_text("a", 1, "two")
    history.add_transcript("a", 0, "more")
    assert history.item("a").content == (AssistantAudio(transcript="one more"), AssistantText("two"))
    history.put_part("a", 0, {"type": "audio", "transcript": "one and more"})
    history.put_part("a", 1, {"type": "text", "text": ""})
    assert history.item("a").content == (AssistantAudio(transcript="one and more"), AssistantText(""))


@pytest.mark.parametrize("index", [-1, 10_000])
def test_a_part_index_that_makes_no_sense_is_left_alone(history, index):
    history.put(message("a", role="assistant"))
    history.add_text("a", index, "x")
    history.add_transcript("a", index, "x")
    history.put_part("a", index, {"type": "text", "text": "x"})
    history.cut("a", index, 5, None)
    assert history.item("a").content == ()


def test_words_of_an_item_that_has_not_come_are_kept_for_it(history):
    history.add_user_transcript("a", 0, "good ")
    history.add_user_transcript("a", 0, "morning")
    assert history.snapshot() == []
    history.put(message("a", {"type": "input_audio"}))
    assert history.item("a").content == (InputAudio(transcript="good morning"),)


def test_words_of_items_that_never_come_do_not_add_up(history):
    for index in range(100):
        history.add_user_transcript(f"item_{index}", 0, "x")
    assert len(history._early_transcripts) == 32


def test_the_final_transcript_replaces_the_deltas_and_completes_the_item(history):
    history.put(message("a", {"type": "input_text", "text": "typed"}, {"type": "input_audio"}), status="in_progress")
    history.add_user_transcript("a", 1, "wha")
    assert history.set_user_transcript("a", 1, "What?") == "updated"
    assert history.item("a").content == (InputText("typed"), InputAudio(transcript="What?"))
    assert history.item("a").status == "completed"


def test_a_transcript_before_its_item_makes_the_item_which_then_finds_its_place(history):
    put(history, "a")
    assert history.set_user_transcript("late", 0, "hello") == "added"
    put(history, "b")
    history.put(message("late", {"type": "input_audio"}), previous_item_id="a", status="in_progress")
    assert history.order() == ["a", "late", "b"]
    assert history.item("late").content == (InputAudio(transcript="hello"),)
    assert history.item("late").status == "completed"


# ---- cutting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transcript, heard_ms, received_ms, expected",
    [
        ("one two three", 0, 1000, ""),
        ("one two three", 1000, 1000, "one two three"),
        ("one two three", 5000, 1000, "one two three"),
        ("one two three", 600, 1000, "one two"),
        ("one two three", 400, 1000, "one"),
        ("one two three", 100, 1000, ""),
        ("unbroken", 999, 1000, ""),
        ("one two ", 1000, 1000, "one two "),
        ("one two", -5, 1000, ""),
        ("one two three", -500, 1000, ""),
        ("one", -1, 0, ""),
        ("", 10, 1000, ""),
        ("one", 0, 0, "one"),
    ],
)
def test_the_text_that_was_heard_ends_at_a_word(transcript, heard_ms, received_ms, expected):
    assert heard_text(transcript, heard_ms, received_ms) == expected


def spoken(history, transcript="one two three four"):
    history.put(message("a", said(transcript), role="assistant"), status="in_progress")


def test_a_cut_trims_the_transcript_and_says_where(history):
    spoken(history)
    assert history.cut("a", 0, 500, 1000)
    assert history.item("a").content == (AssistantAudio(transcript="one two", heard_ms=500),)
    assert history.item("a").status == "incomplete"


def test_what_was_not_heard_does_not_come_back(history):
    spoken(history)
    history.cut("a", 0, 500, 1000)
    history.add_transcript("a", 0, " five")
    history.put_part("a", 0, {"type": "audio", "transcript": "one two three four five"})
    history.put(message("a", said("one two three four five"), role="assistant", status="completed"))
    assert history.item("a").content == (AssistantAudio(transcript="one two", heard_ms=500),)
    assert history.item("a").status == "incomplete"


def test_a_second_cut_can_only_take_more_away(history):
    spoken(history)
    assert history.cut("a", 0, 500, 1000)
    assert not history.cut("a", 0, 500, 1000)
    assert not history.cut("a", 0, 800, 1000)
    assert history.cut("a", 0, 0, None)
    assert history.item("a").content == (AssistantAudio(transcript="", heard_ms=0),)


def test_a_cut_of_unknown_length_keeps_the_transcript_unless_it_is_at_the_start(history):
    spoken(history)
    history.cut("a", 0, 500, None)
    assert history.item("a").content == (AssistantAudio(transcript="one two three four", heard_ms=500),)


def test_only_the_agents_audio_can_be_cut(history):
    put(history, "user")
    assert not history.cut("user", 0, 5, 10)
    assert not history.cut("nobody", 0, 5, 10)


def test_one_part_is_cut_and_the_others_stay(history):
    history.put(message("a", said("first part"), said("second part"), role="assistant"))
    history.cut("a", 1, 0, 1000)
    assert [part.transcript for part in history.item("a").content] == ["first part", ""]
    assert history.audio_parts("a") == [0, 1]
    assert history.audio_parts("nobody") == []


# ---- function calls -------------------------------------------------------------------------------------------------


CALL = {
    "id": "call",
    "type": "function_call",
    "call_id": "c1",
    "name": "look",
    "arguments": "{}",
    "status": "completed",
}
OUTPUT = {"id": "out", "type": "function_call_output", "call_id": "c1", "output": "42"}


@pytest.mark.parametrize("items", [(CALL, OUTPUT), (OUTPUT, CALL)])
def test_the_output_is_shown_with_its_call_and_takes_part_in_the_order(history, items):
    for item in items:
        history.put(item)
    (shown,) = history.snapshot()
    assert isinstance(shown, RealtimeToolCallItem)
    assert (shown.item_id, shown.output, shown.status, shown.arguments) == ("call", "42", "completed", "{}")
    assert sorted(history.order()) == ["call", "out"]
    put(history, "next", "out")
    assert history.order().index("next") == history.order().index("out") + 1


def test_a_call_is_in_progress_until_it_has_its_output(history):
    history.put(CALL)
    assert history.item("call").status == "in_progress"
    history.put({**CALL, "id": "other", "call_id": "c2", "status": "incomplete"})
    assert history.item("other").status == "incomplete"


def test_a_deleted_output_leaves_its_call_open_and_a_deleted_call_shows_its_output(history):
    history.put(CALL)
    history.put(OUTPUT)
    history.remove("out")
    assert history.item("call").output is None
    history.put(OUTPUT)
    history.remove("call")
    assert [item.item_id for item in history.snapshot()] == ["out"]


@pytest.mark.parametrize("status, expected", [("completed", "completed"), ("incomplete", "incomplete")])
def test_the_end_of_its_response_finishes_an_item_once(history, status, expected):
    history.put(message("a", role="assistant"), status="in_progress")
    assert history.finish("a", status)
    assert not history.finish("a", "completed")
    assert not history.finish("nobody", "completed")
    assert history.item("a").status == expected


# ---- the kept list of snapshots -------------------------------------------------------------------------------------

IDS = st.sampled_from(["a", "b", "c", "d", "e", "f"])
CALLS = st.sampled_from(["call_1", "call_2"])
WORDS = st.sampled_from(["one", "two three", ""])

CHANGES = st.one_of(
    st.builds(
        lambda key, previous, role, words, first: (
            lambda history: history.put(
                message(key, {"type": "input_text" if role == "user" else "output_text", "text": words}, role=role),
                previous_item_id=previous,
                first=first,
            )
        ),
        IDS,
        st.none() | IDS,
        st.sampled_from(["user", "assistant"]),
        WORDS,
        st.booleans(),
    ),
    st.builds(
        lambda key, call: lambda history: history.put({"id": key, "type": "function_call", "call_id": call}), IDS, CALLS
    ),
    st.builds(
        lambda key, call, previous, words: (
            lambda history: history.put(
                {"id": key, "type": "function_call_output", "call_id": call, "output": words}, previous_item_id=previous
            )
        ),
        IDS,
        CALLS,
        st.none() | IDS,
        WORDS,
    ),
    st.builds(lambda key: lambda history: history.remove(key), IDS),
    st.builds(lambda key: lambda history: history.finish(key, "incomplete"), IDS),
    st.builds(lambda key: lambda history: key in history and history.item(key), IDS),
    st.builds(lambda key, words: lambda history: history.add_text(key, 0, words), IDS, WORDS),
    st.builds(lambda key, words: lambda history: history.add_transcript(key, 1, words), IDS, WORDS),
    st.builds(lambda key, words: lambda history: history.set_user_transcript(key, 0, words), IDS, WORDS),
    st.builds(
        lambda key, words: lambda history: 1 in history.audio_parts(key) and history.shorten(key, 1, words), IDS, WORDS
    ),
    st.builds(lambda key, heard_ms: lambda history: history.cut(key, 1, heard_ms, 1000.0), IDS, st.integers(0, 900)),
)


def shown_anew(history):
    """The visible items as a history shows them that has kept nothing."""
    nodes = [history._nodes[item_id] for item_id in history._order]
    return [module._show(node) for node in nodes if not node.hidden]


@given(st.lists(st.tuples(CHANGES, st.booleans()), max_size=25))
def test_each_snapshot_is_what_all_items_give_anew_and_stays_so(changes):
    history = History()
    kept = []
    for change, look in changes:
        change(history)
        if look:
            expected = shown_anew(history)
            snapshot = history.snapshot()
            assert snapshot == expected
            kept.append((snapshot, expected))
    assert history.snapshot() == shown_anew(history)
    for snapshot, expected in kept:
        assert snapshot == expected


def test_a_snapshot_costs_its_changes_however_long_the_history_is():
    costs = []
    for length in (5, 500):
        history = History()
        for number in range(length):
            put(history, f"item_{number}")
        spoken_last = message("last", said("one two"), role="assistant")
        history.put(spoken_last)
        history.snapshot()
        history.cut("last", 0, 300, 1000.0)
        costs.append(steps_of(history.snapshot))
    assert costs[0] == costs[1] > 0
