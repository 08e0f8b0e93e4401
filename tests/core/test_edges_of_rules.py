"""Conditions at the edge of a rule, which a conversation without trouble never meets."""

from __future__ import annotations

import pytest

from trealtime._core.interruption import BargeIn

COLLISION = "conversation_already_has_active_response"
DETECTION = {"type": "server_vad", "silence_duration_ms": 200, "prefix_padding_ms": 100, "create_response": True}


def speech_starts(talk, item_id="u", at_ms=0):
    return talk.server("input_audio_buffer.speech_started", item_id=item_id, audio_start_ms=at_ms)


def truncates(talk):
    return [(event["item_id"], event["audio_end_ms"]) for event in talk.sent_of("conversation.item.truncate")]


# ---- truncation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked_ms, sent_ms", [(10_000, 300), (301, 300), (300, 300), (299, 299), (0, 0), (-1, 0)])
def test_an_item_is_cut_no_later_than_what_was_received_of_it(make_talk, asked_ms, sent_ms) -> None:
    talk = make_talk()
    talk.created("r")
    talk.audio("r", "a", ms=300)
    talk.app.truncate_item("a", 0, asked_ms)
    assert truncates(talk) == [("a", sent_ms)]


def test_a_part_that_first_shows_up_after_the_interrupt_is_cut_to_nothing(make_talk) -> None:
    talk = make_talk()
    talk.created("r")
    talk.output_item("r", "a")
    talk.audio("r", "a", ms=1000)
    talk.app.interrupt()
    assert truncates(talk) == [("a", 0)]
    talk.audio("r", "b", ms=200)
    assert truncates(talk) == [("a", 0), ("b", 0)]
    talk.audio("r", "b", ms=200)
    assert truncates(talk) == [("a", 0), ("b", 0)], "once is enough"


def test_a_part_that_only_the_finished_item_of_an_interrupted_response_shows_is_cut_to_nothing(make_talk) -> None:
    talk = make_talk()
    talk.created("r")
    talk.output_item("r", "a")
    talk.audio("r", "a", ms=1000)
    talk.app.interrupt()
    words = {"type": "output_audio", "transcript": "What the app never got."}
    talk.output_item("r", "b", done=True, status="completed", content=[words])
    assert truncates(talk)[-1] == ("b", 0)
    (item,) = [item for item in talk.core.history() if item.item_id == "b"]
    assert not item.content[0].transcript


# ---- turn taking ----------------------------------------------------------------------------------------------------


def test_an_answer_to_the_turn_before_does_not_end_that_of_a_user_who_speaks_again(make_talk) -> None:
    talk = make_talk()
    talk.open(create_response=True)
    talk.turn("first")
    speech_starts(talk, "second")
    talk.app.create_item({"id": "typed", "type": "message", "role": "user", "content": []}, said=True)
    talk.app.create_response(automatic=True)
    talk.created("to_the_first")
    talk.done("to_the_first", "cancelled")
    assert talk.creates == []
    talk.app.clear_audio()
    talk.server("input_audio_buffer.cleared")
    assert len(talk.creates) == 1


@pytest.mark.parametrize("spoken_ms, outcome", [(299, "interruption_dismissed"), (300, "interruption_confirmed")])
def test_the_padding_before_speech_is_no_speech(make_talk, spoken_ms, outcome) -> None:
    """All of it arrives at once, so that only the server's times tell how long the user spoke."""
    talk = make_talk(barge_in=BargeIn(min_speech_ms=300, dismiss="short"))
    talk.open(**DETECTION)
    talk.speak("r", "a", 10_000)
    speech_starts(talk, at_ms=1000)
    end_ms = 1000 + DETECTION["prefix_padding_ms"] + spoken_ms + DETECTION["silence_duration_ms"]
    ended = talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=end_ms)
    assert outcome in [event.type for event in ended.emit]


# ---- requests -------------------------------------------------------------------------------------------------------


def test_an_answer_finds_its_caller_behind_a_thousand_requests_that_nobody_waits_for(make_talk) -> None:
    talk = make_talk()
    talk.app.delete_item("a", reply_id="waits")
    for _ in range(1000):
        talk.app.clear_audio()
    answered = talk.server("conversation.item.deleted", item_id="a")
    assert [settled.reply_id for settled in answered.settled] == ["waits"]


def test_a_request_that_goes_again_has_an_id_of_its_own(make_talk) -> None:
    """Otherwise an error about the first could not be told from one about the second."""
    talk = make_talk()
    talk.open(create_response=True)
    talk.app.create_response(event_id="mine", reply_id="asks")
    assert [event["event_id"] for event in talk.creates] == ["mine"]
    talk.created("servers")
    talk.error(COLLISION, event_id="mine")
    talk.done("servers")
    ids = [event["event_id"] for event in talk.creates]
    assert len(ids) == 2
    assert ids[1] != "mine"


def test_the_response_that_a_request_collided_with_is_not_its_answer(make_talk) -> None:
    """On a server that shows no metadata, and whose ``response.created`` of its own response is late or lost."""
    talk = make_talk()
    talk.open(create_response=True)
    talk.app.create_response(reply_id="asks")
    (first,) = talk.creates
    talk.error(COLLISION, event_id=first["event_id"])
    talk.wait(5)
    assert len(talk.creates) == 2
    talk.audio("servers", "a")
    ended = talk.done("servers")
    assert [settled.reply_id for settled in ended.settled] == []
    talk.created("ours")
    assert [settled.reply_id for settled in talk.done("ours").settled] == ["asks"]


def test_a_request_that_always_collides_fails_in_the_end(make_talk) -> None:
    talk = make_talk()
    talk.open(create_response=True)
    talk.app.create_response(reply_id="asks")
    settled = []
    for _ in range(20):
        if settled:
            break
        settled = talk.error(COLLISION, event_id=talk.creates[-1]["event_id"]).settled
        talk.wait(60)
    assert [(each.reply_id, each.value.status, each.value.reason) for each in settled] == [
        ("asks", "failed", COLLISION)
    ]
