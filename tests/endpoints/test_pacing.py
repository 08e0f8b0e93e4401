from __future__ import annotations

import pytest

from trealtime.endpoints.pacing import Coalescer, Pacer


def run(pacer: Pacer, began: float, frames: int, *, late_s: float = 0.0, ready_late_s: float = 0.0) -> list[float]:
    """Send frames of 20 ms; timers fire `late_s` late. The times at which frames were sent."""
    now, times = began, []
    for _ in range(frames):
        now += ready_late_s
        due = pacer.due(now)
        if due > now:
            now = due + late_s
        pacer.sent(now, 0.02)
        times.append(now)
    return times


def test_frames_leave_ahead_of_when_they_are_played_and_then_one_frame_apart() -> None:
    times = run(Pacer(0.1), 50.0, 10)
    assert times[:6] == pytest.approx([50.0] * 6)
    assert times[6:] == pytest.approx([50.02, 50.04, 50.06, 50.08])


def test_ten_minutes_of_late_timers_do_not_add_up() -> None:
    pacer = Pacer(0.1)
    times = run(pacer, 50.0, 30_000, late_s=0.013)
    assert times[-1] == pytest.approx(50 + 30_000 * 0.02 - 0.1 - 0.02 + 0.013, abs=1e-3)
    assert pacer.late == 0


def test_a_frame_is_late_when_the_far_side_had_run_dry_before_it_left() -> None:
    pacer = Pacer(0.04)
    run(pacer, 50.0, 5, late_s=0.05)
    assert pacer.late >= 1
    assert pacer.ahead_s(99.0) == 0


def test_after_a_pause_a_new_schedule_begins_with_the_next_frame() -> None:
    pacer = Pacer(0.1)
    run(pacer, 50.0, 3)
    assert pacer.due(60.0) <= 60.0
    pacer.sent(60.0, 0.02)
    assert pacer.ahead_s(60.0) == pytest.approx(0.02)
    assert pacer.late == 0


def test_after_a_flush_the_next_frame_goes_at_once() -> None:
    pacer = Pacer(0.1)
    run(pacer, 50.0, 20)
    now = 50.3
    assert pacer.ahead_s(now) > 0
    pacer.restart()
    assert pacer.due(now) <= now


# ---- Coalescer ----------------------------------------------------------------------------------------------------


def test_what_comes_after_a_pause_goes_at_once() -> None:
    coalescer = Coalescer(0.04)
    assert coalescer.add(b"a", 10.0) == b"a"
    assert coalescer.add(b"b", 10.04) == b"b"
    assert coalescer.due_at == float("inf")


def test_what_follows_soon_after_is_collected_for_as_long_as_the_bound() -> None:
    coalescer = Coalescer(0.04)
    coalescer.add(b"a", 10.0)
    assert [coalescer.add(each, 10 + ms / 1000) for each, ms in ((b"b", 10), (b"c", 20), (b"d", 30))] == [b""] * 3
    assert coalescer.due_at == pytest.approx(10.04)
    assert coalescer.add(b"e", 10.041) == b"bcde"


def test_nothing_waits_for_more_than_the_bound_when_nothing_follows() -> None:
    coalescer = Coalescer(0.04)
    coalescer.add(b"a", 10.0)
    coalescer.add(b"b", 10.01)
    assert coalescer.release(coalescer.due_at) == b"b"
    assert coalescer.release(11.0) == b""
    assert coalescer.add(b"c", 10.05) == b"", "the bound counts from what was sent last"


def test_without_a_bound_everything_goes_at_once() -> None:
    coalescer = Coalescer(0.0)
    assert [coalescer.add(b"x", 10.0) for _ in range(3)] == [b"x"] * 3
