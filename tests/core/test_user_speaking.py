"""The user's turn where the app knows of it: push to talk, and audio that stops."""

from __future__ import annotations

import pytest


@pytest.fixture
def manual(talk):
    """A session whose turns the app ends by itself."""
    talk.open()
    return talk


def send_audio(talk, seconds: float = 0.0) -> None:
    """The app sends audio for so long, a piece every 100 ms, and the core is told of the time as it would be."""
    talk.core.audio_sent(talk.now)
    for _ in range(round(seconds * 10)):
        talk.wait(0.1)
        talk.core.audio_sent(talk.now)


def asked(talk) -> int:
    return len(talk.creates)


# ---- the app says so ------------------------------------------------------------------------------------------------


def test_while_the_user_speaks_nothing_is_asked_for_by_itself(manual) -> None:
    manual.app.begin_user_speaking()
    manual.app.create_response(automatic=True)
    manual.wait(100)
    assert asked(manual) == 0
    manual.app.end_user_speaking()
    assert asked(manual) == 1


def test_scopes_nest(manual) -> None:
    manual.app.begin_user_speaking()
    manual.app.begin_user_speaking()
    manual.app.create_response(automatic=True)
    manual.app.end_user_speaking()
    assert asked(manual) == 0
    manual.app.end_user_speaking()
    assert asked(manual) == 1


def test_a_commit_that_is_on_its_way_comes_before_any_answer(manual) -> None:
    manual.app.begin_user_speaking()
    manual.app.create_response(automatic=True)
    manual.app.commit_audio()
    manual.app.end_user_speaking()
    assert asked(manual) == 0
    manual.server("input_audio_buffer.committed", item_id="u")
    assert asked(manual) == 1


def test_a_commit_that_is_never_confirmed_holds_nothing_up(manual) -> None:
    manual.app.begin_user_speaking()
    manual.app.create_response(automatic=True)
    manual.app.commit_audio()
    manual.app.end_user_speaking()
    manual.wait(1.9)
    assert asked(manual) == 0
    manual.wait(0.1)
    assert asked(manual) == 1


def test_the_answer_asked_for_at_the_end_of_the_turn_answers_what_waited_too(manual) -> None:
    manual.app.begin_user_speaking()
    manual.app.create_response(automatic=True, reply_id="tool")
    manual.app.commit_audio()
    manual.app.create_response(reply_id="ask")
    manual.app.end_user_speaking()
    manual.server("input_audio_buffer.committed", item_id="u")
    assert asked(manual) == 1
    manual.created("r1", manual.creates[0])
    manual.done("r1")
    assert asked(manual) == 1
    assert {key: reply.value.response_id for key, reply in manual.settled.items()} == {"tool": "r1", "ask": "r1"}


def test_an_answer_with_options_keeps_to_itself(manual) -> None:
    manual.app.begin_user_speaking()
    manual.app.create_response(automatic=True)
    manual.app.create_response({"instructions": "Say aha."})
    manual.app.end_user_speaking()
    manual.created("r1", manual.creates[0])
    manual.done("r1")
    assert asked(manual) == 2


# ---- the app shows it -----------------------------------------------------------------------------------------------


def test_audio_after_the_buffer_was_cleared_is_a_turn_until_its_commit_is_confirmed(manual) -> None:
    manual.app.clear_audio()
    send_audio(manual, 3.0)
    manual.app.create_response(automatic=True)
    send_audio(manual, 3.0)
    manual.app.commit_audio()
    assert asked(manual) == 0
    manual.server("input_audio_buffer.committed", item_id="u")
    assert asked(manual) == 1
    send_audio(manual)  # a microphone that is never closed
    manual.app.create_response({}, automatic=True)
    manual.created("r1", manual.creates[0])
    manual.done("r1")
    assert asked(manual) == 2


def test_the_turn_ends_two_seconds_after_the_last_audio(manual) -> None:
    manual.app.clear_audio()
    send_audio(manual, 1.0)
    manual.app.create_response(automatic=True)
    manual.wait(1.9)
    assert asked(manual) == 0
    manual.wait(0.2)
    assert asked(manual) == 1


def test_a_turn_whose_audio_never_ends_holds_answers_for_as_long_as_a_response_may_take_to_begin(manual) -> None:
    manual.app.clear_audio()
    manual.app.create_response(automatic=True)
    manual.created("r0", manual.creates[0])
    manual.done("r0")
    send_audio(manual)
    manual.app.create_response(automatic=True)
    send_audio(manual, 29.9)
    assert asked(manual) == 1
    send_audio(manual, 0.3)
    assert asked(manual) == 2


def test_audio_that_is_thrown_away_again_is_no_turn(manual) -> None:
    manual.app.clear_audio()
    send_audio(manual, 1.0)
    manual.app.create_response(automatic=True)
    assert asked(manual) == 0
    manual.app.clear_audio()
    assert asked(manual) == 1


@pytest.mark.parametrize("clear", [True, False])
def test_where_the_server_hears_turns_sent_audio_is_none_by_itself(talk, vad_talk, clear) -> None:
    if clear:
        vad_talk.app.clear_audio()
    send_audio(vad_talk, 1.0)
    vad_talk.app.create_response(automatic=True)
    assert asked(vad_talk) == 1


def test_audio_without_a_clear_before_it_may_be_a_microphone_that_is_never_closed(manual) -> None:
    send_audio(manual, 1.0)
    manual.app.create_response(automatic=True)
    assert asked(manual) == 1


# ---- speech whose end is never told ---------------------------------------------------------------------------------


def speech_started(talk) -> None:
    talk.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=0)


def test_a_microphone_that_is_muted_in_mid_word_gives_the_turn_back_after_two_seconds(vad_talk) -> None:
    send_audio(vad_talk, 1.0)
    speech_started(vad_talk)
    vad_talk.app.create_response(automatic=True)
    send_audio(vad_talk, 5.0)
    assert asked(vad_talk) == 0
    vad_talk.wait(1.9)
    assert asked(vad_talk) == 0
    vad_talk.wait(0.2)
    assert asked(vad_talk) == 1


def test_a_user_who_speaks_on_and_on_holds_answers_no_longer_than_before(vad_talk) -> None:
    send_audio(vad_talk)
    speech_started(vad_talk)
    vad_talk.app.create_response(automatic=True)
    send_audio(vad_talk, 29.9)
    assert asked(vad_talk) == 0
    send_audio(vad_talk, 0.3)
    assert asked(vad_talk) == 1


def test_on_a_call_whose_audio_the_service_carries_speech_holds_answers_without_any_audio_of_ours(vad_talk) -> None:
    speech_started(vad_talk)
    vad_talk.app.create_response(automatic=True)
    vad_talk.wait(29.9)
    assert asked(vad_talk) == 0
    vad_talk.wait(0.1)
    assert asked(vad_talk) == 1


# ---- raw events -----------------------------------------------------------------------------------------------------

APPEND = {"type": "input_audio_buffer.append", "audio": "AAAA"}


def test_raw_audio_is_a_turn_like_any_other(manual) -> None:
    manual.app.send_raw({"type": "input_audio_buffer.clear", "event_id": "mine"})
    manual.server("input_audio_buffer.cleared")
    manual.app.send_raw(APPEND)
    manual.app.create_response(automatic=True)
    assert asked(manual) == 0
    manual.app.send_raw({"type": "input_audio_buffer.commit"})
    manual.server("input_audio_buffer.committed", item_id="u")
    assert asked(manual) == 1
    kinds = [event["type"] for event in manual.sent]
    assert kinds == [
        "input_audio_buffer.clear",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "response.create",
    ]
    assert manual.sent[0]["event_id"] == "mine"
    manual.created("r1", manual.creates[0])
    manual.done("r1")
    assert [turn.item_ids for turn in manual.turns] == [("u",)]


@pytest.mark.parametrize("audio", ["not base64!", 7, None])
def test_raw_audio_that_is_none_is_the_servers_to_refuse(manual, audio) -> None:
    manual.app.send_raw({"type": "input_audio_buffer.append", "audio": audio})
    assert manual.sent_of("input_audio_buffer.append")[0]["audio"] == audio
