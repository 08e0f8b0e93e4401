"""The endpoint that brings the user's voice leaves: what becomes of the words that were not over."""

from __future__ import annotations

import pytest

from trealtime._core import effects as fx
from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.interruption import BargeIn
from trealtime._core.reconnection import Link, ReconnectPolicy

from .model_server import HEARD

COMMIT = "input_audio_buffer.commit"
DETECTION = {"create_response": True, "interrupt_response": True}


def speaking(make_talk, **options):
    talk = make_talk(link=Link(ReconnectPolicy()), **options)
    talk.open(**DETECTION)
    talk.core.audio_sent(talk.now, bytes(48_000))
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=100)
    return talk


def committed(talk):
    talk.server("input_audio_buffer.committed", item_id="u", previous_item_id=None)
    talk.item("u", content=[{"type": "input_audio", "transcript": None}])


@pytest.mark.parametrize("options", [{}, {"barge_in": BargeIn()}, {"barge_in": "off"}])
def test_speech_that_is_not_over_is_committed_once_and_gets_no_answer(make_talk, options) -> None:
    talk = speaking(make_talk, **options)
    for _ in range(2):
        talk.app.user_left()
    assert len(talk.sent_of(COMMIT)) == 1
    committed(talk)
    assert talk.order() == ["u"]
    talk.wait(60)
    assert talk.creates == []
    assert talk.events_of("error") == []
    (turn,) = talk.turns
    assert (turn.item_ids, turn.status, turn.reason) == (("u",), "cancelled", "cancelled")
    assert not talk.core.hears_speech
    assert talk.state.audio.kept_bytes == 0


def test_what_is_said_next_is_a_turn_of_its_own(make_talk) -> None:
    talk = speaking(make_talk)
    talk.app.user_left()
    committed(talk)
    talk.turn("v")
    talk.created("r")
    talk.done("r")
    assert [turn.item_ids for turn in talk.turns] == [("u",), ("v",)]


@pytest.mark.parametrize("state", ["silent", "over", "push to talk", "committed by the app", "away"])
def test_nothing_is_sent_where_no_speech_waits_for_its_end(make_talk, state) -> None:
    talk = speaking(make_talk)
    match state:
        case "silent":
            talk.server("input_audio_buffer.cleared")
        case "over":
            talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=900)
        case "push to talk":
            talk = make_talk()
            talk.open()
            talk.core.audio_sent(talk.now, bytes(48_000))
        case "committed by the app":
            talk.app.commit_audio()
        case "away":
            talk.app.connection_lost(code=1006, reason="gone")
    talk.forget()
    talk.app.user_left()
    assert talk.sent == []


@pytest.mark.parametrize("named", [True, False])
def test_voice_detection_that_was_quicker_answers_as_ever(make_talk, named) -> None:
    talk = speaking(make_talk)
    talk.app.user_left()
    (commit,) = talk.sent_of(COMMIT)
    talk.server("input_audio_buffer.speech_stopped", item_id="u", audio_end_ms=900)
    committed(talk)
    talk.created("r")
    talk.error("input_audio_buffer_commit_empty", commit["event_id"] if named else None)
    talk.done("r")
    talk.wait(60)
    assert talk.creates == []
    assert talk.events_of("error") == []
    assert talk.core.counters().harmless_errors == 1


def test_words_that_were_not_confirmed_are_sent_to_another_connection_with_their_commit(make_talk) -> None:
    talk = speaking(make_talk)
    talk.app.user_left()
    talk.app.connection_lost(code=1006, reason="gone")
    effects = talk.app.connected()
    kinds = [
        "audio" if isinstance(effect, fx.SendAudio) else effect.event["type"]
        for effect in effects
        if isinstance(effect, fx.SendAudio | fx.Send)
    ]
    assert kinds[-2:] == ["audio", COMMIT]


def test_the_words_are_checked_all_the_same(make_talk) -> None:
    talk = speaking(make_talk, guardrails=GuardrailPolicy(input=(HEARD,), gates_turns=True))
    talk.app.user_left()
    committed(talk)
    words = "conversation.item.input_audio_transcription.completed"
    talk.server(words, item_id="u", content_index=0, transcript="Hello.")
    assert [check.text for each in talk.effects for check in each.checks] == ["Hello."]
