"""The playback ledger: what was received, handed out and heard."""

from __future__ import annotations

import math

import pytest

from trealtime._core import playback_ledger as ledger_module
from trealtime._core.playback_ledger import PlaybackLedger, PlaybackPosition, whole_ms


def heard(ledger: PlaybackLedger, now: float, response_id: str | None = None) -> list[tuple[str, int]]:
    return [(part.item_id, part.heard_ms) for part in ledger.unheard(now, response_id=response_id)]


@pytest.fixture
def ledger() -> PlaybackLedger:
    """One part, a second of it received, nothing taken."""
    ledger = PlaybackLedger()
    ledger.receive("r", "a", 0, 1000)
    return ledger


# ---- the assumption -------------------------------------------------------------------------------------------------


def test_audio_that_has_only_arrived_is_not_heard_however_long_ago(ledger):
    assert heard(ledger, 3600.0) == [("a", 0)]


def test_playback_begins_when_audio_is_handed_out(ledger):
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    assert heard(ledger, 10.0) == [("a", 0)]
    assert heard(ledger, 10.25) == [("a", 250)]


def test_offsets_of_chunks_add_up_within_their_part():
    ledger = PlaybackLedger()
    assert [ledger.receive("r", "a", 0, 20), ledger.receive("r", "a", 0, 30), ledger.receive("r", "b", 0, 5)] == [
        0,
        20,
        0,
    ]
    assert ledger.receive("r", "a", 1, 7) == 0
    assert ledger.received_ms("a", 0) == 50


def test_only_what_was_handed_out_is_heard(ledger):
    ledger.hand_out("a", 0, 0, 300, 10.0)
    assert heard(ledger, 99.0) == [("a", 300)]


def test_an_underrun_stops_playback_until_the_next_chunk_is_taken(ledger):
    ledger.hand_out("a", 0, 0, 200, 10.0)
    ledger.hand_out("a", 0, 200, 400, 12.0)
    assert heard(ledger, 11.0) == [("a", 200)]
    assert heard(ledger, 12.1) == [("a", 300)]
    assert heard(ledger, 20.0) == [("a", 400)]


def test_an_answer_that_comes_unevenly_keeps_no_more_than_what_plays():
    ledger = PlaybackLedger()
    for number in range(1000):
        ledger.receive("r", "a", 0, 200)
        ledger.hand_out("a", 0, number * 200, number * 200 + 200, 10 + number * 0.25)
    (part,) = ledger._parts.values()
    assert len(part.spans) <= 2
    assert heard(ledger, 10 + 999 * 0.25 + 0.1) == [("a", 199_900)]


def test_chunks_taken_in_one_go_play_one_after_another(ledger):
    ledger.hand_out("a", 0, 0, 500, 10.0)
    ledger.hand_out("a", 0, 500, 1000, 10.0)
    assert heard(ledger, 10.75) == [("a", 750)]


def test_a_late_look_at_an_earlier_time_never_goes_below_zero(ledger):
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    assert heard(ledger, 9.0) == [("a", 0)]


def test_items_play_one_after_another(ledger):
    ledger.receive("r", "b", 0, 400)
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.hand_out("b", 0, 0, 400, 10.0)
    assert heard(ledger, 10.5) == [("a", 500), ("b", 0)]
    ledger.complete("r")
    assert heard(ledger, 11.1) == [("b", 100)]


def test_parts_of_one_item_are_kept_apart(ledger):
    ledger.receive("r", "a", 1, 400)
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.hand_out("a", 1, 0, 400, 10.0)
    assert [(each.content_index, each.heard_ms) for each in ledger.unheard(10.2)] == [(0, 200), (1, 0)]


def test_two_consumers_of_the_same_audio_count_once_and_the_first_one_leads(ledger):
    ledger.hand_out("a", 0, 0, 600, 10.0)
    ledger.hand_out("a", 0, 0, 300, 20.0)
    ledger.hand_out("a", 0, 300, 900, 20.0)
    assert heard(ledger, 20.1) == [("a", 700)]
    assert heard(ledger, 30.0) == [("a", 900)]


def test_handing_out_audio_that_is_unknown_or_over_is_nothing(ledger):
    ledger.hand_out("nobody", 0, 0, 1000, 10.0)
    ledger.cut(ledger.unheard(10.0), 10.0)
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    assert len(ledger) == 0
    assert ledger.remaining_s(10.0) == 0


# ---- the end of a part ----------------------------------------------------------------------------------------------


def test_a_part_that_is_heard_to_the_end_is_not_unheard_once_it_is_complete(ledger):
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    assert heard(ledger, 11.0) == [("a", 1000)]
    ledger.complete_part("a", 0)
    assert heard(ledger, 10.9996) == []
    assert heard(ledger, 10.9) == [("a", 900)]


def test_sweeping_forgets_what_is_over_and_keeps_what_plays(ledger):
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.receive("r", "b", 0, 100)
    ledger.complete("r")
    ledger.sweep(10.5)
    assert len(ledger) == 2
    ledger.sweep(11.0)
    assert len(ledger) == 1
    assert ledger.received_ms("a", 0) is None


def test_audio_that_was_shed_keeps_nobody_waiting(ledger):
    ledger.shed("a", 0, 1000)
    ledger.shed("nobody", 0, 1000)
    assert heard(ledger, 10.0) == [("a", 0)]
    ledger.complete("r")
    ledger.sweep(10.0)
    assert len(ledger) == 0


def test_what_is_taken_after_shed_audio_keeps_its_place_in_the_part(ledger):
    ledger.shed("a", 0, 600)
    ledger.hand_out("a", 0, 600, 1000, 10.0)
    assert heard(ledger, 10.1) == [("a", 700)]


def test_completing_one_response_leaves_the_others_open(ledger):
    ledger.receive("other", "b", 0, 10)
    ledger.complete("r")
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.hand_out("b", 0, 0, 10, 10.0)
    assert heard(ledger, 20.0) == [("b", 10)]


def test_unheard_of_one_response_leaves_the_others_out(ledger):
    ledger.receive("other", "b", 0, 10)
    assert heard(ledger, 10.0, "other") == [("b", 0)]


# ---- cutting --------------------------------------------------------------------------------------------------------


def test_after_a_cut_playback_starts_afresh(ledger):
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    assert ledger.cut(ledger.unheard(10.2), 10.2)
    ledger.receive("r2", "b", 0, 500)
    ledger.hand_out("b", 0, 0, 500, 10.3)
    assert heard(ledger, 10.4) == [("b", 100)]


def test_cutting_one_part_leaves_the_one_that_plays_alone(ledger):
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.receive("r2", "b", 0, 500)
    ledger.hand_out("b", 0, 0, 500, 10.0)
    ledger.cut(ledger.unheard(10.1, response_id="r2"), 10.1)
    ledger.receive("r", "a", 0, 500)
    ledger.hand_out("a", 0, 1000, 1500, 10.1)
    assert heard(ledger, 10.6) == [("a", 600)]
    assert ledger.remaining_s(10.6) == pytest.approx(0.9)


def test_late_audio_is_news_only_once_and_only_for_parts_that_were_never_here(ledger):
    assert not ledger.ignore("a", 0)
    assert ledger.ignore("b", 0)
    assert not ledger.ignore("b", 0)
    ledger.cut(ledger.unheard(10.0), 10.0)
    assert not ledger.ignore("a", 0)


# ---- reports --------------------------------------------------------------------------------------------------------


def test_a_report_beats_the_assumption_and_ends_it(ledger):
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.report("a", 0, 120, 0.0)
    assert heard(ledger, 15.0) == [("a", 120)]
    assert ledger.remaining_s(99.0) == float("inf")


def test_reports_never_go_back_and_never_beyond_what_was_received(ledger):
    ledger.report("a", 0, 500, 0.0)
    ledger.report("a", 0, 300, 0.0)
    assert heard(ledger, 10.0) == [("a", 500)]
    ledger.report("a", 0, 5000, 0.0)
    assert heard(ledger, 10.0) == [("a", 1000)]


def test_what_comes_before_a_reported_part_has_been_heard(ledger):
    ledger.receive("r", "b", 0, 300)
    ledger.complete_part("a", 0)
    ledger.report("b", 0, 10, 0.0)
    assert heard(ledger, 10.0) == [("b", 10)]
    ledger.sweep(10.0)
    assert len(ledger) == 1


def test_parts_after_the_reported_one_have_not_begun(ledger):
    ledger.receive("r", "b", 0, 300)
    ledger.report("a", 0, 10, 0.0)
    assert heard(ledger, 10.0) == [("a", 10), ("b", 0)]


def test_a_report_within_half_a_millisecond_of_the_end_is_the_end():
    ledger = PlaybackLedger()
    ledger.receive("r", "a", 0, 100.4)
    ledger.complete("r")
    ledger.report("a", 0, 100, 0.0)
    assert heard(ledger, 10.0) == []


def test_between_reports_playback_goes_on_in_real_time_as_far_as_the_report_says(ledger):
    ledger.report("a", 0, 100, 10.0, playing_to_ms=250)
    assert heard(ledger, 10.05) == [("a", 150)]
    assert heard(ledger, 11.0) == [("a", 250)]
    ledger.report("a", 0, 180, 11.0)
    assert heard(ledger, 12.0) == [("a", 180)]


def test_where_an_endpoint_reports_what_the_app_takes_is_not_assumed_to_be_heard(ledger):
    ledger.use_reports(True, 10.0)
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.shed("a", 0, 1000)
    assert heard(ledger, 15.0) == [("a", 0)]
    ledger.use_reports(False, 15.0)
    ledger.hand_out("a", 0, 0, 1000, 15.0)
    assert heard(ledger, 15.2) == [("a", 200)]


def test_what_the_app_took_before_an_endpoint_came_plays_on(ledger):
    ledger.receive("r", "b", 0, 300)
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.complete("r")
    ledger.use_reports(True, 10.4)
    assert heard(ledger, 10.5) == [("a", 500), ("b", 0)]
    assert ledger.remaining_s(11.1) == 0, "nobody will hear what nobody had taken"


def test_so_does_what_it_took_of_parts_that_had_not_begun(ledger):
    """The part that plays is not over because of them, and each is heard to its end without a report."""
    ledger.receive("r", "b", 0, 300)
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.hand_out("b", 0, 0, 300, 10.0)
    ledger.complete("r")
    ledger.use_reports(True, 10.4)
    assert heard(ledger, 10.5) == [("a", 500), ("b", 0)]
    assert ledger.over_at(("r",), 10.5) == pytest.approx(11.35)
    assert heard(ledger, 11.1) == [("b", 100)]
    assert ledger.remaining_s(11.35) == 0


def test_so_does_what_it_took_unevenly(ledger):
    ledger.hand_out("a", 0, 0, 200, 10.0)
    ledger.receive("r", "b", 0, 300)
    ledger.hand_out("b", 0, 0, 300, 10.0)
    ledger.hand_out("a", 0, 200, 1000, 10.1)
    ledger.complete("r")
    ledger.use_reports(True, 10.15)
    ledger.sweep(11.35)
    assert len(ledger) == 0


@pytest.mark.parametrize(
    "handed_ms, reports, takers, remaining_s",
    [
        (0, False, {"r", "s"}, math.inf),
        (0, False, {"r"}, math.inf),
        (0, False, {"s"}, math.inf),
        (0, False, set(), 0.0),
        (400, False, {"r"}, math.inf),
        (400, False, {"s"}, math.inf),
        (400, False, set(), 0.3),  # what was taken plays on
        (1000, False, {"r", "s"}, math.inf),
        (1000, False, {"r"}, 0.9),
        (1000, False, set(), 0.9),
        (0, True, set(), math.inf),  # the endpoint plays it
    ],
)
def test_audio_that_nobody_takes_is_not_waited_for(ledger, handed_ms, reports, takers, remaining_s) -> None:
    ledger.use_reports(reports, 9.0)
    ledger.receive("s", "b", 0, 500)
    for response_id in ("r", "s"):
        ledger.complete(response_id)
    if handed_ms:
        ledger.hand_out("a", 0, 0, handed_ms, 10.0)
    assert ledger.remaining_s(10.1, taken=takers.__contains__) == pytest.approx(remaining_s)


# ---- a tracker ------------------------------------------------------------------------------------------------------


class Tracker:
    def __init__(self) -> None:
        self.position: PlaybackPosition | None = None

    def __call__(self) -> PlaybackPosition | None:
        return self.position


def test_with_a_tracker_nothing_is_assumed():
    tracker = Tracker()
    ledger = PlaybackLedger(tracker)
    ledger.receive("r", "a", 0, 1000)
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    assert heard(ledger, 99.0) == [("a", 0)]
    tracker.position = PlaybackPosition("a", 0, 333.9)
    assert heard(ledger, 99.0) == [("a", 333)]
    assert ledger.remaining_s(99.0) == float("inf")


@pytest.mark.parametrize("elapsed_ms, expected", [(-50.0, 0), (0.0, 0), (999.9, 999), (1000.0, 1000), (7e9, 1000)])
def test_a_tracker_is_clamped_to_what_was_received(elapsed_ms, expected):
    ledger = PlaybackLedger(lambda: PlaybackPosition("a", 0, elapsed_ms))
    ledger.receive("r", "a", 0, 1000)
    assert heard(ledger, 10.0) == [("a", expected)]


def test_an_item_that_only_the_tracker_knows_is_taken_as_it_is():
    ledger = PlaybackLedger(lambda: PlaybackPosition("theirs", 1, 500.7))
    ledger.receive("r", "a", 0, 1000)
    first = ledger.unheard(10.0)[0]
    assert (first.item_id, first.content_index, first.heard_ms) == ("theirs", 1, 500)
    assert first.received_ms is None
    assert first.response_id is None
    assert heard(ledger, 10.0, "r") == [("a", 0)]


def test_a_tracker_that_still_stands_at_the_end_of_a_part_that_is_over_brings_nothing_back():
    tracker = Tracker()
    ledger = PlaybackLedger(tracker)
    ledger.receive("r", "a", 0, 1000)
    ledger.complete("r")
    tracker.position = PlaybackPosition("a", 0, 1000)
    ledger.sweep(10.0)
    assert heard(ledger, 10.0) == []
    assert ledger.remaining_s(10.0) == 0


@pytest.mark.parametrize("playing, stopped", [("a", True), ("b", False), (None, True)])
def test_a_cut_says_whether_what_plays_was_stopped(playing, stopped):
    ledger = PlaybackLedger(lambda: PlaybackPosition(playing, 0, 10) if playing else None)
    ledger.receive("r", "a", 0, 1000)
    ledger.receive("r2", "b", 0, 1000)
    assert ledger.cut(ledger.unheard(10.0, response_id="r"), 10.0) is stopped


# ---- how long, how much, how exact ----------------------------------------------------------------------------------


def test_remaining_time_counts_down_once_all_is_handed_out(ledger):
    assert ledger.remaining_s(10.0) == float("inf")
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    assert ledger.remaining_s(10.25) == pytest.approx(0.75)
    ledger.complete("r")
    assert ledger.remaining_s(12.0) == 0


def test_a_ledger_that_nobody_reads_is_bounded(monkeypatch):
    monkeypatch.setattr(ledger_module, "MAX_PARTS", 4)
    ledger = PlaybackLedger()
    for index in range(50):
        ledger.receive("r", f"item_{index}", 0, 10)
    assert [item_id for item_id, _ in heard(ledger, 10.0)] == ["item_46", "item_47", "item_48", "item_49"]
    assert len(ledger._over) == 4


@pytest.mark.parametrize("position_ms, expected", [(-1.0, 0), (0.0, 0), (9.99, 9), (10.0, 10), (9.9999999999, 10)])
def test_positions_are_rounded_down_and_float_error_is_not_a_millisecond(position_ms, expected):
    assert whole_ms(position_ms) == expected


def test_a_part_received_in_odd_chunks_is_heard_to_its_whole_millisecond():
    ledger = PlaybackLedger()
    for _ in range(4800):
        ledger.receive("r", "a", 0, 100 / 48)
    received_ms = ledger.received_ms("a", 0)
    assert received_ms is not None
    ledger.hand_out("a", 0, 0, received_ms, 10.0)
    assert heard(ledger, 99.0) == [("a", 10_000)]


def test_spans_of_one_part_do_not_add_up(ledger):
    for index in range(100):
        ledger.hand_out("a", 0, index * 10, index * 10 + 10, 10.0 + index)
        ledger.unheard(10.0 + index)
    part = next(iter(ledger._parts.values()))
    assert len(part.spans) <= 2


def test_parts_play_in_the_order_in_which_an_endpoint_begins_them(ledger):
    ledger.receive("s", "line", 0, 300)
    ledger.receive("r", "b", 0, 300)
    ledger.use_reports(True, 10.0)
    for part in ("a", "b"):
        ledger.begin(part, 0)
        ledger.begin(part, 0)
    ledger.report("b", 0, 100, 11.0)
    assert heard(ledger, 11.0) == [("a", 1000), ("b", 100), ("line", 0)]
    ledger.begin("line", 0)
    ledger.begin("unknown", 0)
    ledger.report("line", 0, 50, 12.0)
    assert heard(ledger, 12.0) == [("a", 1000), ("b", 300), ("line", 50)]


def test_what_an_endpoint_has_reported_stays_heard_when_it_leaves(ledger):
    ledger.use_reports(True, 10.0)
    ledger.report("a", 0, 400, 11.0)
    ledger.use_reports(False, 11.0)
    assert heard(ledger, 20.0) == [("a", 400)]
    assert ledger.remaining_s(20.0) == 0
    ledger.receive("r", "a", 0, 500)
    assert ledger.remaining_s(20.0) == 0, "nobody has gone on with it"
    ledger.hand_out("a", 0, 0, 1500, 30.0)
    assert heard(ledger, 30.2) == [("a", 1200)], "from where it stood, and not what the endpoint did not play"
    assert ledger.remaining_s(30.2) == pytest.approx(0.3)


def test_what_waited_for_a_part_that_is_cut_is_heard_from_then_on():
    ledger = PlaybackLedger()
    for response_id, item_id in (("r1", "a"), ("r2", "b"), ("r3", "c")):
        ledger.receive(response_id, item_id, 0, 10_000)
        ledger.hand_out(item_id, 0, 0, 10_000, 100.0)
    assert ledger.cut(ledger.unheard(102.0, response_id="r1"), 102.0)
    assert [(each.item_id, each.heard_ms) for each in ledger.unheard(104.0)] == [("b", 2000), ("c", 0)]
    assert ledger.remaining_s(104.0) == pytest.approx(18.0)


def test_what_plays_goes_on_where_a_later_part_is_cut():
    ledger = PlaybackLedger()
    for response_id, item_id in (("r1", "a"), ("r2", "b"), ("r3", "c")):
        ledger.receive(response_id, item_id, 0, 10_000)
        ledger.hand_out(item_id, 0, 0, 10_000, 100.0)
    ledger.cut(ledger.unheard(102.0, response_id="r2"), 102.0)
    assert [(each.item_id, each.heard_ms) for each in ledger.unheard(112.0)] == [("a", 10_000), ("c", 2000)]


# ---- when it was heard ----------------------------------------------------------------------------------------------


def times(ledger: PlaybackLedger, now: float, response_id: str = "r") -> tuple[float, float] | None:
    heard_times = ledger.heard_times(response_id, now)
    return None if heard_times is None else (heard_times.first_at, heard_times.last_at)


def test_audio_is_heard_from_when_it_is_taken_to_its_end(ledger):
    assert times(ledger, 9.0) is None
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    assert times(ledger, 10.4) == (10.0, 10.4)
    assert times(ledger, 99.0) == (10.0, 11.0)


def test_what_waits_for_other_audio_is_heard_after_it(ledger):
    ledger.receive("s", "b", 0, 500)
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.hand_out("b", 0, 0, 500, 10.0)
    assert times(ledger, 10.9, "s") is None
    assert times(ledger, 12.0, "s") == (11.0, 11.5)


def test_the_times_stay_when_the_part_has_gone(ledger):
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.complete("r")
    ledger.sweep(11.0)
    assert len(ledger) == 0
    assert times(ledger, 50.0) == (10.0, 11.0)


def test_what_moves_up_is_heard_from_the_cut_on():
    ledger = PlaybackLedger()
    for response_id in ("r1", "r2"):
        ledger.receive(response_id, response_id, 0, 10_000)
        ledger.hand_out(response_id, 0, 0, 10_000, 100.0)
    ledger.cut(ledger.unheard(102.0, response_id="r1"), 102.0)
    assert times(ledger, 103.0, "r2") == (102.0, 103.0)


def test_a_cut_is_the_last_that_was_heard(ledger):
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.cut(ledger.unheard(10.25), 10.25)
    assert times(ledger, 50.0) == (10.0, 10.25)


def test_parts_of_a_response_have_its_times_together(ledger):
    ledger.receive("r", "b", 0, 500)
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.complete_part("a", 0)
    ledger.sweep(11.0)
    ledger.hand_out("b", 0, 0, 500, 20.0)
    assert times(ledger, 30.0) == (10.0, 20.5)


def test_a_pause_of_playback_is_no_pause_of_time(ledger):
    ledger.receive("s", "b", 0, 500)
    ledger.hand_out("a", 0, 0, 1000, 10.0)
    ledger.hand_out("b", 0, 0, 500, 10.0)
    ledger.hold(10.5)
    assert times(ledger, 12.0) == (10.0, 10.5)
    ledger.resume(13.5)
    assert times(ledger, 30.0) == (10.0, 14.0)
    assert times(ledger, 30.0, "s") == (14.0, 14.5)


def test_a_report_counts_back_to_the_first_sound(ledger):
    ledger.report("a", 0, 250, 10.0, playing_to_ms=600)
    assert times(ledger, 10.1) == (9.75, 10.1)
    assert times(ledger, 12.0) == (9.75, 10.35)
    ledger.report("a", 0, 1000, 13.0)
    assert times(ledger, 14.0) == (9.75, 13.0)


def test_a_part_that_is_cut_was_heard_to_the_end_of_what_its_device_had_taken(ledger):
    ledger.report("a", 0, 250, 10.0, playing_to_ms=600, sure_ms=280)
    assert heard(ledger, 10.0) == [("a", 280)]
    assert heard(ledger, 10.1) == [("a", 350)]
    assert times(ledger, 10.0) == (9.75, 10.0)
    ledger.cut(ledger.unheard(10.01), 10.01)
    assert times(ledger, 50.0) == (9.75, 10.03)


def test_what_a_device_has_taken_is_never_more_than_plays_on(ledger):
    ledger.report("a", 0, 250, 10.0, playing_to_ms=260, sure_ms=280)
    assert heard(ledger, 10.0) == [("a", 260)]
    ledger.report("a", 0, 270, 10.1, sure_ms=260)
    assert heard(ledger, 10.1) == [("a", 270)]
    ledger.cut(ledger.unheard(10.5), 10.5)
    assert times(ledger, 50.0) == (9.83, 10.1)


def test_a_part_whose_rest_a_device_has_taken_is_heard_to_its_end_whatever_comes():
    ledger = PlaybackLedger()
    ledger.receive("r", "a", 0, 300)
    ledger.complete("r")
    ledger.report("a", 0, 265, 10.0, playing_to_ms=300, sure_ms=300)
    assert heard(ledger, 10.0) == []
    ledger.sweep(10.0)
    assert len(ledger) == 1, "it is still playing"
    ledger.sweep(10.04)
    assert len(ledger) == 0


def test_a_report_of_nothing_is_no_sound(ledger):
    ledger.report("a", 0, 0, 10.0)
    assert times(ledger, 11.0) is None
    ledger.report("a", 0, 0, 12.0, playing_to_ms=1000)
    assert times(ledger, 12.5) == (12.0, 12.5)


def test_what_an_endpoint_has_reported_was_heard_when_it_leaves(ledger):
    ledger.report("a", 0, 250, 10.0)
    ledger.use_reports(False, 15.0)
    assert times(ledger, 20.0) == (9.75, 10.0)


def test_a_tracker_tells_when_it_is_asked():
    position = None
    ledger = PlaybackLedger(lambda: position)
    ledger.receive("r", "a", 0, 1000)
    assert times(ledger, 10.0) is None
    position = PlaybackPosition("a", 0, 400)
    assert times(ledger, 11.0) == (10.6, 11.0)
    assert times(ledger, 12.0) == (10.6, 11.0)  # it stands
    position = PlaybackPosition("a", 0, 1000)
    assert times(ledger, 13.0) == (10.6, 13.0)


# ---- when it will have been heard -----------------------------------------------------------------------------------


def test_only_what_time_alone_decides_has_a_time(ledger):
    assert ledger.over_at(["r"], 9.0) is None
    ledger.hand_out("a", 0, 0, 900, 10.0)
    assert ledger.over_at(["r"], 10.0) is None
    ledger.hand_out("a", 0, 900, 1000, 10.0)
    assert ledger.over_at(["r"], 10.5) == 11.0
    assert ledger.over_at(["other"], 10.5) is None
    ledger.hold(10.5)
    assert ledger.over_at(["r"], 10.6) is None
    ledger.resume(12.5)
    assert ledger.over_at(["r"], 12.5) == 13.0


def test_an_endpoint_has_to_report_that_it_plays_to_the_end():
    ledger = PlaybackLedger()
    ledger.use_reports(True, 9.0)
    ledger.receive("r", "a", 0, 1000)
    assert ledger.over_at(["r"], 9.0) is None
    ledger.report("a", 0, 250, 10.0, playing_to_ms=600)
    assert ledger.over_at(["r"], 10.0) is None
    ledger.report("a", 0, 250, 10.0, playing_to_ms=1000)
    assert ledger.over_at(["r"], 10.0) == pytest.approx(10.8)  # a report of the end may come a little late


def test_a_tracker_is_asked_again():
    ledger = PlaybackLedger(lambda: PlaybackPosition("a", 0, 400))
    ledger.receive("r", "a", 0, 1000)
    assert ledger.over_at(["r"], 10.0) == 10.6
    ledger.receive("r", "a", 0, -590)
    assert ledger.over_at(["r"], 10.0) == 10.25


def test_waiting_counts_what_has_come_and_is_not_heard(ledger):
    ledger.hand_out("a", 0, 0, 400, 10.0)
    assert ledger.waiting_ms(["r"], 10.1) == pytest.approx(900)
    ledger.shed("a", 0, 700)
    assert ledger.waiting_ms(["r"], 10.1) == pytest.approx(300)
    assert ledger.waiting_ms(["other"], 10.1) is None
