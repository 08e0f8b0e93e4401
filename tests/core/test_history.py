"""History: the item graph, what items take from later sights of them, and what a cut leaves."""

from __future__ import annotations

import itertools

import pytest

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
        ("one two", -5, 1000, ""),
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


# ---- the server's items ----------------------------------------------------------------------------------------------


def transcribed(talk, item_id, transcript="hello", index=0):
    talk.server(
        "conversation.item.input_audio_transcription.completed",
        item_id=item_id,
        content_index=index,
        transcript=transcript,
    )


def test_b143_content_types_get_the_names_of_history_and_a_status(talk):
    talk.created("r1")
    talk.output_item(
        "r1", "a", content=[{"type": "output_text", "text": "t"}, {"type": "output_audio"}, {"type": "of_tomorrow"}]
    )
    item = talk.core.history()[0]
    assert [part.type for part in item.content] == ["text", "audio"]
    assert item.status == "in_progress"
    talk.output_item("r1", "a", done=True)
    assert talk.core.history()[0].status == "completed"


def test_b144_every_sight_of_an_item_tells_its_predecessor(talk):
    """`conversation.item.added` and `.done` count as well as the beta's `created`."""
    talk.item("a")
    talk.item("c")
    talk.item("b", "a")
    assert talk.order() == ["a", "b", "c"]


def test_b145_the_wires_audio_and_text_of_the_agent_are_renamed(talk):
    talk.item("a", role="assistant", content=[{"type": "output_text", "text": "x"}, {"type": "output_audio"}])
    assert [part.type for part in talk.core.history()[0].content] == ["text", "audio"]


def test_b146_items_that_are_no_messages_are_in_history_too(talk):
    """MCP items and tool outputs are shown, the latter with their call."""
    talk.item("m", type="mcp_list_tools")
    assert [item.type for item in talk.core.history()] == ["mcp_list_tools"]


def test_b147_a_call_enters_history_before_it_is_made(talk):
    talk.created("r1")
    fx = talk.call("r1", "c1")
    assert fx.emit[0].type == "history_added"
    assert (fx.emit[0].item.status, fx.emit[0].item.output) == ("in_progress", None)
    assert [call.call_id for call in fx.calls] == ["c1"]


def test_b148_the_output_completes_the_call_item(talk):
    """Once the server has the output."""
    talk.created("r1")
    talk.call("r1", "c1")
    talk.item("out", type="function_call_output", call_id="c1", output="42", role=None)
    (call,) = talk.core.history()
    assert (call.item_id, call.output, call.status) == ("item_c1", "42", "completed")


def test_b149_a_deleted_item_leaves_history(talk):
    talk.item("a")
    talk.forget()
    talk.server("conversation.item.deleted", item_id="a")
    assert talk.events[0].history == []
    talk.forget()
    talk.server("conversation.item.deleted", item_id="a")
    assert talk.quiet


def test_b150_a_known_predecessor_gives_the_place_and_others_go_to_the_end(talk):
    """An item whose predecessor comes later moves to it then."""
    talk.item("a")
    talk.item("z", "unknown")
    talk.item("b", "a")
    assert talk.order() == ["a", "b", "z"]
    talk.item("unknown", "a")
    assert talk.order() == ["a", "unknown", "z", "b"]


def test_b151_a_known_item_keeps_its_place(talk):
    for item_id in "ab":
        talk.item(item_id)
    talk.item("a", kind="done", content=[{"type": "input_text", "text": "x"}])
    assert talk.order() == ["a", "b"]


def test_b152_a_new_item_is_added_and_a_known_one_updates_the_history(talk):
    """A sight that changes nothing is no event."""
    talk.item("a")
    talk.item("a", kind="done")
    talk.item("a", kind="done")
    assert talk.types == ["history_added", "history_updated"]


def test_b153_a_history_that_was_handed_out_does_not_change(talk):
    talk.item("a")
    talk.item("a", kind="done")
    before = talk.events[-1].history
    talk.item("b")
    assert [item.item_id for item in before] == ["a"]


def test_b154_a_transcript_goes_to_its_own_part_and_completes_the_item(talk):
    """The part that the server names, not every part of audio."""
    audio = {"type": "input_audio"}
    talk.item("a", status="in_progress", content=[{"type": "input_text", "text": "t"}, audio, audio])
    transcribed(talk, "a", index=1)
    item = talk.core.history()[0]
    assert [getattr(part, "transcript", "text") for part in item.content] == ["text", "hello", None]
    assert item.status == "completed"


def test_b155_words_of_an_unknown_item_are_kept(talk):
    """As audio with a transcript, which is what it is."""
    transcribed(talk, "a")
    assert talk.types == ["history_added"]
    assert talk.texts() == {"a": ["hello"]}


def test_b156_nothing_is_fetched_to_know_a_transcript(talk):
    """The transcript is known and trimmed here, so nothing has to be retrieved."""
    talk.speak("r1", "a")
    talk.forget()
    transcribed(talk, "u")
    talk.server("conversation.item.truncated", item_id="a", content_index=0, audio_end_ms=10)
    assert talk.sent == []


def test_b157_transcript_deltas_grow_in_history(talk):
    talk.created("r1")
    talk.output_item("r1", "a")
    talk.forget()
    talk.transcript("r1", "a", "one ")
    talk.transcript("r1", "a", "two")
    assert talk.texts() == {"a": ["one two"]}
    assert talk.types == ["transcript_delta", "transcript_delta"]


@pytest.mark.parametrize("number", ["b158", "b159"])
def test_b158_b159_an_empty_transcript_erases_nothing(talk, number):
    talk.created("r1")
    talk.output_item("r1", "a")
    talk.transcript("r1", "a", "hello")
    talk.item("a", role="assistant", content=[{"type": "output_audio", "transcript": ""}])
    assert talk.texts() == {"a": ["hello"]}


@pytest.mark.parametrize("text, expected", [(None, "hello"), ("", "")])
def test_b160_no_text_keeps_what_is_there_and_an_empty_one_replaces_it(talk, text, expected):
    talk.item("a", role="assistant", content=[{"type": "output_text", "text": "hello"}])
    talk.item("a", role="assistant", content=[{"type": "output_text", "text": text}])
    assert talk.texts() == {"a": [expected]}


def test_b161_images_that_the_server_does_not_echo_keep_their_places(talk):
    """They stay where the user put them, not in front."""
    text, image = {"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": "data:x"}
    talk.app.create_item({"id": "a", "type": "message", "role": "user", "content": [text, image, text]})
    talk.item("a", content=[text, text])
    talk.item("a", kind="done", content=[text, text])
    assert [part.type for part in talk.core.history()[0].content] == ["input_text", "input_image", "input_text"]


def test_b162_a_text_that_is_echoed_empty_is_kept(talk):
    talk.item("a", content=[{"type": "input_text", "text": "hi"}])
    talk.item("a", content=[{"type": "input_text", "text": ""}])
    assert talk.texts() == {"a": ["hi"]}


def test_b163_another_role_is_another_message(talk):
    talk.item("a", content=[{"type": "input_text", "text": "hi"}])
    talk.item("a", role="assistant", content=[{"type": "output_text", "text": "hello"}])
    assert talk.texts() == {"a": ["hello"]}


def test_b164_empty_content_changes_nothing(talk):
    talk.item("a", status="completed", content=[{"type": "input_text", "text": "hi"}])
    talk.forget()
    talk.item("a", kind="done")
    assert talk.quiet


def test_b165_content_that_cannot_be_merged_does_no_harm(talk):
    """What can be read is taken, the rest left alone."""
    talk.item("a", content=[None, 5, {"type": ["?"]}, {"type": "input_text", "text": {}}])
    talk.item("a", content="words")
    assert talk.order() == ["a"]


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


@pytest.mark.parametrize("role, status", [("user", "completed"), ("assistant", "in_progress")])
def test_the_betas_one_event_for_an_item_completes_what_the_agent_does_not_go_on_with(talk, role, status):
    talk.item("a", kind="created", role=role)
    assert talk.core.history()[0].status == status


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
