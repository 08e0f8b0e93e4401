"""Playback on a phone call that the server carries, also where the server does not say that it is over."""

from __future__ import annotations

import math
from typing import Any

import pytest

from trealtime._core.server_playback import CHARACTERS_PER_S, MARGIN_S


def plays(talk: Any, *, words: str = "", done_after_s: float = 1.0, **usage: Any) -> None:
    """A response is made while it plays."""
    talk.created("r1")
    talk.output_item("r1", "a")
    talk.server("output_audio_buffer.started", response_id="r1")
    if words:
        talk.transcript("r1", "a", words)
    talk.now += done_after_s
    talk.done("r1", usage={"total_tokens": 9, **usage})


def tokens(number: Any) -> dict[str, Any]:
    return {"output_token_details": {"audio_tokens": number}}


def test_playback_ends_when_the_server_says_so(talk) -> None:
    plays(talk, **tokens(100))
    assert talk.core.playback_remaining(talk.now) == math.inf
    talk.now += 4
    talk.server("output_audio_buffer.stopped", response_id="r1")
    assert talk.core.playback_remaining(talk.now) == 0
    assert talk.core.next_deadline is None


def test_what_the_server_plays_is_not_over_when_its_audio_has_come_to_the_app_and_was_heard_there(talk) -> None:
    talk.created("r1")
    talk.speak("r1", "a", 100)
    talk.done("r1", usage={"total_tokens": 9, **tokens(100)})
    talk.server("output_audio_buffer.started", response_id="r1")
    talk.wait(0.1)
    assert talk.turns == []
    assert talk.core.next_deadline == 105.0 + MARGIN_S
    talk.wait(5.0 + MARGIN_S)
    assert [turn.response_ids for turn in talk.turns] == [("r1",)]


def test_where_the_server_does_not_say_so_its_tokens_tell(talk) -> None:
    plays(talk, **tokens(100))  # 5 s, from 100 s on
    assert talk.core.next_deadline == 105.0 + MARGIN_S
    talk.wait(104.9 + MARGIN_S - talk.now)
    assert talk.core.playback_remaining(talk.now) == math.inf
    talk.wait(0.1)
    assert talk.core.playback_remaining(talk.now) == 0
    (turn,) = talk.turns
    assert (turn.first_heard_at, turn.heard_until_at) == (100.0, 105.0)
    talk.server("output_audio_buffer.stopped", response_id="r1")  # late


@pytest.mark.parametrize("details", [{}, tokens(0), tokens(None)])
def test_without_tokens_the_words_tell(talk, details) -> None:
    plays(talk, words="x" * 80, **details)
    assert talk.core.next_deadline == pytest.approx(100.0 + 80 / CHARACTERS_PER_S + MARGIN_S)


def test_playback_lasts_at_least_as_long_as_the_response_is_made(talk) -> None:
    plays(talk, done_after_s=20, **tokens(10))
    assert talk.core.next_deadline == 120.0 + MARGIN_S


@pytest.mark.parametrize("known", [True, False])
def test_playback_that_begins_after_the_response_is_bounded_too(talk, known) -> None:
    if known:
        talk.created("r1")
        talk.output_item("r1", "a")
        talk.call("r1", "c1")
        talk.done("r1", usage=tokens(100))
    talk.server("output_audio_buffer.started", response_id="r1")
    assert talk.core.next_deadline == (105.0 + MARGIN_S if known else 130.0)
    talk.wait(40)
    assert talk.core.playback_remaining(talk.now) == 0


def test_another_playback_begins_anew(talk) -> None:
    plays(talk, **tokens(100))
    talk.created("r2")
    talk.server("output_audio_buffer.started", response_id="r2")
    assert talk.state.server_plays_until is None
    talk.done("r2", usage=tokens(100))
    assert talk.state.server_plays_until == 106.0 + MARGIN_S
