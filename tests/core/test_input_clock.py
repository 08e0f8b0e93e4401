"""The clock of the input audio."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime._core.input_clock import EARLIER_S, GAP_S, LIVE_S, STRETCHES, InputClock


def test_nothing_sent_has_no_time() -> None:
    assert InputClock().time_of(0) is None


def test_a_live_microphone_sends_what_it_has_just_heard() -> None:
    clock = InputClock()
    for piece in range(100):
        clock.add(20, 10 + (piece + 1) * 0.02 + (piece % 3) * 0.003)  # the network takes a little
    assert clock.time_of(0) == pytest.approx(10.0)
    assert clock.time_of(1000) == pytest.approx(11.0)


def test_a_file_that_is_sent_at_once_is_said_from_then_on() -> None:
    clock = InputClock()
    clock.add(1000, 10.0)
    clock.add(1000, 10.0)
    assert clock.time_of(500) == pytest.approx(9.5)
    assert clock.time_of(1500) == pytest.approx(10.5)


def live(clock: InputClock, *, until_s: float) -> None:
    for piece in range(1, round(until_s / 0.02) + 1):
        clock.add(20, piece * 0.02)


def test_a_live_microphone_brings_the_beginning_of_a_word_once_more() -> None:
    clock = InputClock()
    live(clock, until_s=2)
    clock.add(220, 2.02)  # the new 20 ms, and the 200 before them
    clock.add(20, 2.04)
    assert clock.time_of(1990) == pytest.approx(1.99)
    assert [clock.time_of(at) for at in (2000, 2100, 2210, 2230)] == pytest.approx([1.8, 1.9, 2.01, 2.03])
    clock.add(20, 2.26)  # as much silence was left out
    assert clock.time_of(2250) == pytest.approx(2.25)


def test_sound_from_before_comes_once_a_while_and_is_short() -> None:
    for pieces_ms, expected in [((220, 220), 2.02 + 0.11), ((1000,), 2.11)]:
        clock = InputClock()
        live(clock, until_s=2)
        for piece_ms in pieces_ms:
            clock.add(piece_ms, 2.02)
        assert clock.time_of(2000 + sum(pieces_ms[:-1]) + 110) == pytest.approx(expected), "said from then on"
    clock = InputClock()
    live(clock, until_s=LIVE_S / 2)
    clock.add(220, LIVE_S / 2 + 0.02)
    assert clock.time_of(LIVE_S / 2 * 1000 + 110) == pytest.approx(LIVE_S / 2 + 0.11), "not known to be live yet"


def test_a_microphone_whose_clock_runs_fast_stays_at_the_time() -> None:
    clock = InputClock()
    for piece in range(1, 30_001):
        clock.add(20, piece * 0.0199)  # 0.5 % fast, for ten minutes
    at = clock.time_of(clock.sent_ms)
    assert at is not None
    assert abs(at - 30_000 * 0.0199) <= GAP_S + 0.021


def test_a_gap_begins_a_stretch() -> None:
    clock = InputClock()
    clock.add(1000, 10.0)
    clock.add(1000, 31.0)
    assert clock.time_of(999) == pytest.approx(9.999)
    assert clock.time_of(1000) == pytest.approx(30.0)


def test_another_session_of_the_server_counts_from_zero_and_gets_some_audio_again() -> None:
    clock = InputClock()
    clock.add(5000, 10.0)
    clock.begin_anew()
    assert clock.time_of(0) is None
    clock.add_again(300)
    clock.add_again(200)
    clock.add(20, 10.52)
    assert clock.time_of(0) == pytest.approx(10.0)
    assert clock.time_of(510) == pytest.approx(10.51)


def test_it_is_bounded() -> None:
    clock = InputClock()
    for number in range(STRETCHES * 3):
        clock.add(20, number * 10.0)
    assert len(clock._times) == STRETCHES
    assert clock.time_of(0) == clock._times[0]


@given(st.lists(st.tuples(st.floats(1, 500), st.floats(0, 3)), min_size=1, max_size=60))
def test_time_hardly_goes_back_and_no_sound_comes_before_its_piece(pieces: list[tuple[float, float]]) -> None:
    clock, now, sent_ms = InputClock(), 100.0, 0.0
    for duration_ms, waited_s in pieces:
        now += waited_s
        before = now - duration_ms / 1000
        clock.add(duration_ms, now)
        begun = clock.time_of(sent_ms)
        assert begun is not None
        assert begun >= before - GAP_S - 1e-6
        sent_ms += duration_ms
    times = [clock.time_of(sent_ms * share / 20) or 0.0 for share in range(21)]
    assert all(later >= earlier - EARLIER_S - 1e-6 for earlier, later in pairwise(times))
