"""Figures about turns: percentiles in bounded memory, and the sums over a session."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trealtime._core.turn_log import KEPT_TURNS, TurnLog
from trealtime.metrics import Histogram, ToolSpan, TurnInterruption, TurnMetrics

SECONDS = st.floats(1e-4, 3600)


def turn(**fields: object) -> TurnMetrics:
    return TurnMetrics(
        **{"turn_id": "t", "number": 1, "source": "speech", "agent": "a", "status": "completed", **fields}
    )


@given(st.lists(SECONDS, min_size=1), st.floats(0, 100))
def test_percentiles_are_exact_to_one_per_cent(values: list[float], share: float) -> None:
    rank = max(1, math.ceil(len(values) * share / 100))
    assert Histogram.of(values).percentile(share) == pytest.approx(sorted(values)[rank - 1], rel=0.0101)


@given(st.lists(SECONDS), st.lists(SECONDS))
def test_a_sum_of_histograms_is_the_histogram_of_all_values(one: list[float], other: list[float]) -> None:
    both, before = Histogram.of(one) + Histogram.of(other), Histogram.of(one)
    whole = Histogram.of([*one, *other])
    assert both.total == pytest.approx(whole.total)
    assert (both.count, both.least, both.greatest) == (whole.count, whole.least, whole.greatest)
    assert [both.percentile(share) for share in (1, 50, 99)] == [whole.percentile(share) for share in (1, 50, 99)]
    assert before == Histogram.of(one)


def test_a_histogram_is_bounded_and_knows_its_ends() -> None:
    histogram = Histogram.of(10.0 ** (power / 50) for power in range(-500, 500))
    assert len(histogram._counts) <= 900
    assert (histogram.percentile(0), histogram.percentile(100)) == (histogram.least, histogram.greatest)
    assert Histogram.of([-0.5, 0.0]).p50 == 0
    for value in (math.inf, math.nan):
        with pytest.raises(ValueError, match="finite"):
            histogram.add(value)
    with pytest.raises(ValueError, match="from 0 to 100"):
        histogram.percentile(101)


def test_a_histogram_of_nothing() -> None:
    empty = Histogram()
    assert (empty.p50, empty.p90, empty.p99, empty.mean, repr(empty)) == (None, None, None, None, "Histogram(empty)")
    assert empty + Histogram.of([2.0]) == Histogram.of([2.0])
    assert Histogram.of([1.0, 2.0, 3.0]).mean == 2
    assert repr(Histogram.of([0.1, 0.1])) == "Histogram(2 values, p50=100 ms, p90=100 ms, p99=100 ms)"


def test_a_copy_goes_its_own_way() -> None:
    histogram = Histogram.of([1.0])
    histogram.copy().add(2.0)
    assert histogram == Histogram.of([1.0])


# ---- what follows from the times of a turn --------------------------------------------------------------------------


def test_latency_counts_from_the_end_of_speech_or_else_from_the_request() -> None:
    assert turn(speech_ended_at=1.0, requested_at=1.5, first_heard_at=2.0).response_latency_s == 1.0
    assert turn(requested_at=1.5, first_heard_at=2.0).response_latency_s == 0.5
    assert turn(speech_ended_at=1.0).response_latency_s is None
    assert turn(first_heard_at=1.0).response_latency_s is None
    assert turn(first_heard_at=1.0, heard_until_at=3.5).heard_s == 2.5


def test_silence_counts_from_the_onset() -> None:
    stopped = TurnInterruption(cause="speech", onset_at=1.0, told_at=1.2, silent_at=1.25)
    assert turn(interruption=stopped).silence_latency_s == 0.25
    assert turn(interruption=TurnInterruption(cause="app", told_at=1.2)).silence_latency_s is None
    assert turn().silence_latency_s is None


def test_a_turn_shows_itself_in_one_line() -> None:
    tool = ToolSpan(call_id="c", name="look", agent="a", started_at=1.0, ended_at=1.25)
    stopped = TurnInterruption(cause="speech", onset_at=2.0, told_at=2.2, silent_at=2.25)
    shown = repr(turn(speech_ended_at=1.0, first_heard_at=1.5, interruption=stopped, tools=(tool, tool)))
    assert shown == "TurnMetrics(1 speech completed, answer heard after 500 ms, silent after 250 ms, 2 tool calls)"
    assert repr(tool) == "ToolSpan('look' completed in 250 ms)"
    assert repr(turn()) == "TurnMetrics(1 speech completed)"
    assert pickle.loads(pickle.dumps(turn(tools=(tool,)))) == turn(tools=(tool,))


# ---- the log --------------------------------------------------------------------------------------------------------


def test_the_log_keeps_the_newest_and_sums_up_all() -> None:
    log = TurnLog()
    for number in range(KEPT_TURNS + 5):
        log.add(turn(number=number, speech_ended_at=1.0, first_heard_at=1.5, heard_until_at=2.5, retries=1))
    assert [each.number for each in log.ended] == list(range(5, KEPT_TURNS + 5))
    statistics = log.statistics(still_open=2)
    assert (statistics.ended, statistics.open, statistics.retries) == (KEPT_TURNS + 5, 2, KEPT_TURNS + 5)
    assert statistics.heard_s == KEPT_TURNS + 5
    log.add(turn(number=KEPT_TURNS + 5))
    assert log.statistics(still_open=0).heard_s == KEPT_TURNS + 5, "nothing of it was heard"
    assert statistics.response_latency_s.p50 == 0.5


def test_the_log_tells_kinds_of_turns_apart() -> None:
    log = TurnLog()
    log.add(turn(source="text", requested_at=1.0, first_heard_at=1.25))
    stopped = TurnInterruption(cause="speech", onset_at=1.0, told_at=1.2, silent_at=1.25)
    log.add(turn(status="interrupted", interruption=stopped))
    by_app = TurnInterruption(cause="app", onset_at=1.0, told_at=1.0, silent_at=1.75)
    span = ToolSpan(call_id="c", name="look", agent="a", started_at=1.0, ended_at=3.0)
    running = ToolSpan(call_id="c", name="look", agent="a", started_at=1.0, status="dropped")
    log.add(turn(status="interrupted", interruption=by_app, tools=(span, running)))
    statistics = log.statistics(still_open=0)
    assert statistics.by_source == {"text": 1, "speech": 2}
    assert statistics.by_status == {"completed": 1, "interrupted": 2}
    assert statistics.request_latency_s == Histogram.of([0.25])
    assert statistics.response_latency_s.count == 0
    assert statistics.silence_latency_s == Histogram.of([0.25])
    assert (statistics.tool_calls, statistics.tool_s) == (2, Histogram.of([2.0]))
    statistics.tool_s.add(1.0)
    assert log.statistics(still_open=0).tool_s == Histogram.of([2.0])
