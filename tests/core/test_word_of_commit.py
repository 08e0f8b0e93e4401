"""A turn that the server has made an item of is one turn with one answer: word of that may come in any order, and
the connection may be lost before all of it has come."""

from __future__ import annotations

from itertools import permutations

import pytest

from trealtime._core import effects as fx
from trealtime._core.reconnection import Link, ReconnectPolicy

DETECTION = {"type": "server_vad", "create_response": True, "interrupt_response": True}
SESSION = {"type": "realtime", "audio": {"input": {"turn_detection": DETECTION}}}
STOPPED, COMMITTED, SHOWN, WORDS, BEGUN = "stopped", "committed", "shown", "words", "begun"
ORDERS = [each for each in permutations((STOPPED, COMMITTED, SHOWN, WORDS, BEGUN)) if each[0] != BEGUN]
SPOKEN_MS, END_MS = 1_000, 900


@pytest.fixture
def speaking(make_talk):
    """The user has begun to speak, and the server has had all of it."""

    def make():
        talk = make_talk(link=Link(ReconnectPolicy()))
        talk.open(**DETECTION)
        talk.core.audio_sent(talk.now, bytes(48 * SPOKEN_MS))
        talk.core.note_life(0)
        talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)
        return talk

    return make


def hear(talk, what):
    match what:
        case "stopped":
            talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=END_MS)
        case "committed":
            talk.server("input_audio_buffer.committed", item_id="u", previous_item_id=None)
        case "shown":
            talk.item("u", content=[{"type": "input_audio", "transcript": None}])
        case "words":
            kind = "conversation.item.input_audio_transcription.completed"
            talk.server(kind, item_id="u", content_index=0, transcript="Hello.")
        case "begun":
            talk.created("r")


def test_the_turn_is_answered_once_in_every_order(speaking) -> None:
    for order in ORDERS:
        talk = speaking()
        for what in order:
            hear(talk, what)
        talk.speak("r", "a")
        talk.done("r")
        talk.wait(60)
        assert talk.creates == [], order
        assert [turn.item_ids for turn in talk.turns] == [("u", "a")], order
        assert talk.state.audio.kept_bytes == 48 * (SPOKEN_MS - END_MS), order
        assert talk.events_of("error") == [], order


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
def test_after_a_loss_it_is_told_and_asked_about_once_or_its_audio_is_sent_again(speaking, after) -> None:
    for order in {each[:after] for each in ORDERS}:
        talk = speaking()
        for what in order:
            hear(talk, what)
        talk.forget()
        talk.app.connection_lost(code=1006, reason="gone")
        effects = talk.app.connected()
        talk.server("session.created", session=SESSION)
        sent_ms = sum(len(each.data) for each in effects if isinstance(each, fx.SendAudio)) / 48
        told = [event["item"]["id"] for event in talk.sent_of("conversation.item.create")]
        taken = order != (STOPPED,)
        assert told == ["u"] * taken, order
        assert len(talk.creates) == taken, order
        # Where the end has not been told, it is no later than what the server has had.
        left_ms = SPOKEN_MS - END_MS if STOPPED in order else 0
        assert sent_ms == (left_ms if taken else SPOKEN_MS), order


def test_word_of_a_commit_that_comes_after_the_turn_is_over_begins_no_other(speaking) -> None:
    talk = speaking()
    for what in (STOPPED, COMMITTED, SHOWN, BEGUN):
        hear(talk, what)
    talk.done("r")
    talk.wait(60)
    assert len(talk.turns) == 1
    for what in (COMMITTED, STOPPED):
        hear(talk, what)
    talk.wait(60)
    assert len(talk.turns) == 1
    assert talk.creates == []
    assert not talk.core.hears_speech
