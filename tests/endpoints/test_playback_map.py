"""The stream of an endpoint, and what its positions are in items."""

from __future__ import annotations

import pytest

from trealtime.audio.formats import G711_ULAW, pcm16
from trealtime.endpoints.playback_map import Piece, Place, PlaybackMap

BYTES = 8  # of a millisecond of mu-law


def piece(ms: float, *, item: str = "a", start_ms: float = 0.0, response: str = "r") -> Piece:
    return Piece(bytes([65 + len(item)]) * int(ms * BYTES), response, item, 0, start_ms)


@pytest.fixture
def playback() -> PlaybackMap:
    return PlaybackMap(G711_ULAW)


def test_positions_grow_with_what_is_given(playback) -> None:
    assert playback.give(piece(20)) == 20
    assert playback.give(piece(20, start_ms=20)) == 40
    assert playback.give(piece(30, item="b")) == 70


def test_a_report_is_a_place_in_an_item_and_how_far_that_goes_on(playback) -> None:
    playback.give(piece(20, start_ms=500))
    playback.give(piece(20, start_ms=520))
    playback.give(piece(30, item="b"))
    assert playback.report(15, 1.0) == Place("a", 0, 515, 540, 515)
    assert playback.report(40, 1.0) == Place("a", 0, 540, 540, 540)
    assert playback.report(50, 1.0) == Place("b", 0, 10, 30, 10)
    assert playback.response_ids == {"r"}
    assert playback.report(70, 1.0) == Place("b", 0, 30, 30, 30)
    assert playback.response_ids == set()


def test_reports_never_go_back_nor_beyond_what_was_given(playback) -> None:
    playback.give(piece(20))
    assert playback.report(15, 1.0) is not None
    assert playback.report(10, 1.0) is None
    assert playback.report(900, 1.0) == Place("a", 0, 20, 20, 20)


def test_between_reports_playback_goes_on_in_real_time_as_far_as_was_given_then(playback) -> None:
    playback.give(piece(100))
    assert playback.position_ms(50.0) == 0, "it has not begun before a report says so"
    playback.report(20, 50.0)
    playback.give(piece(100, start_ms=100))
    assert playback.position_ms(50.05) == pytest.approx(70)
    assert playback.waiting_ms(50.05) == pytest.approx(130)
    assert playback.position_ms(59.0) == 100


def test_a_flush_gives_back_what_was_not_heard_from_where_it_was_heard(playback) -> None:
    playback.give(piece(100))
    playback.give(piece(50, item="bb", response="r2"))
    playback.report(20, 50.0)
    place, unheard = playback.flush(50.03125)
    assert place == Place("a", 0, 51.25, 100, 51.25)
    assert unheard == [piece(48.75, start_ms=51.25), piece(50, item="bb", response="r2")]
    assert playback.flush(51.0) == (None, [])
    assert playback.waiting_ms(51.0) == 0


def test_a_flush_leaves_the_tail_of_the_last_report(playback) -> None:
    playback.give(piece(100))
    playback.give(piece(50, item="b"))
    assert playback.report(20, 50.0, tail_ms=30) == Place("a", 0, 20, 100, 50)
    place, unheard = playback.flush(50.01)
    assert place == Place("a", 0, 50, 100, 50)
    assert unheard == [piece(50, start_ms=50), piece(50, item="b")]


@pytest.mark.parametrize("tail_ms, place", [(500, Place("b", 0, 50, 50, 50)), (90, Place("b", 0, 10, 50, 10))])
def test_a_tail_reaches_into_the_next_item_and_no_further_than_what_was_given(playback, tail_ms, place) -> None:
    playback.give(piece(100))
    playback.give(piece(50, item="b"))
    assert playback.report(20, 50.0, tail_ms=tail_ms) == Place("a", 0, 20, 100, 100)
    assert playback.flush(50.0)[0] == place


def test_a_tail_that_has_been_heard_is_no_more(playback) -> None:
    playback.give(piece(100))
    playback.report(20, 50.0, tail_ms=30)
    assert playback.flush(50.0625)[0] == Place("a", 0, 82.5, 100, 82.5)
    playback.give(piece(100))
    assert playback.report(150, 51.0) == Place("a", 0, 50, 100, 50)


def test_reports_of_what_was_flushed_come_too_late(playback) -> None:
    playback.give(piece(100))
    playback.report(20, 50.0)
    playback.flush(50.03)
    assert playback.report(60, 50.1) is None
    assert playback.give(piece(20, item="b")) == 120, "positions are not used again"
    assert playback.report(60, 50.1) is None
    assert playback.report(100, 50.1) is None, "the end of what was flushed is not the beginning of what follows"
    assert playback.position_ms(60.0) == 100
    assert playback.report(110, 50.2) == Place("b", 0, 10, 20, 10)


def test_nothing_adds_up_over_hours() -> None:
    playback = PlaybackMap(pcm16(44_100))
    for number in range(30_000):
        position_ms = playback.give(Piece(bytes(882 * 2), "r", "a", 0, number * 20.0))
        playback.report(position_ms, number / 50)
    assert position_ms == 600_000
    assert playback.response_ids == set()
