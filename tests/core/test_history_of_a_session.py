"""The history of a session: what the server's items, and words about them, become in it."""

from __future__ import annotations

import pytest


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
