"""A deadline that a tick does not end is reported and put off: a session never ticks for ever."""

from __future__ import annotations

from types import SimpleNamespace as Fake
from typing import Any

import pytest

from trealtime._core import deadlines
from trealtime._core.deadlines import AGAIN_S, AT_MOST_S, DEADLINES
from trealtime._core.effects import Emit
from trealtime.errors import StuckDeadline


def stuck_in(effects: Any) -> list[StuckDeadline]:
    errors = [each.event.error for each in effects if isinstance(each, Emit) and each.event.type == "error"]
    return [error for error in errors if isinstance(error, StuckDeadline)]


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Deadlines by name, in place of those that the rules have."""
    found: dict[str, float] = {}
    monkeypatch.setattr(deadlines, "_times", lambda *_: [found.get(name) for name in DEADLINES])
    return found


def tick(talk: Any, at: float | None = None) -> list[StuckDeadline]:
    talk.now = talk.now if at is None else at
    return stuck_in(talk.core.tick(talk.now))


@pytest.mark.parametrize("name", DEADLINES)
def test_a_deadline_that_a_tick_leaves_is_named_and_put_off(talk: Any, times: dict[str, float], name: str) -> None:
    times[name] = 98.5
    (error,) = tick(talk, 100.0)
    assert (error.deadline, error.overdue_s) == (name, 1.5)
    assert talk.core.next_deadline == 100.0 + AGAIN_S
    assert talk.core.counters().stuck_deadlines == 1


def test_it_is_looked_at_again_after_twice_the_time_each(talk: Any, times: dict[str, float]) -> None:
    times["turn"] = 100.0
    waits = []
    for _ in range(9):
        assert len(tick(talk)) == 1
        waits.append(talk.core.next_deadline - talk.now)
        talk.now = talk.core.next_deadline
    assert waits == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    assert waits[-1] == AT_MOST_S


def test_other_inputs_do_not_bring_it_back_before_its_time(talk: Any, times: dict[str, float]) -> None:
    times["turn"] = 100.0
    tick(talk)
    talk.now = 100.5
    talk.server("input_audio_buffer.cleared")
    assert talk.core.next_deadline == 101.0
    assert tick(talk) == []
    assert talk.core.next_deadline == 101.0


def test_the_other_deadlines_keep_their_time(talk: Any, times: dict[str, float]) -> None:
    times |= {"turn": 100.0, "approval": 100.2, "request": 107.0}
    assert [error.deadline for error in tick(talk)] == ["turn"]
    assert talk.core.next_deadline == 100.2
    assert [error.deadline for error in tick(talk, 100.2)] == ["approval"]
    times["approval"] = 104.0
    assert [error.deadline for error in tick(talk, 101.2)] == ["turn"]
    assert talk.core.next_deadline == 101.2 + 2 * AGAIN_S


def test_a_deadline_that_moves_on_is_trusted_again(talk: Any, times: dict[str, float]) -> None:
    times["turn"] = 100.0
    tick(talk)
    tick(talk, 101.0)
    times["turn"] = 150.0
    assert tick(talk, 104.0) == []
    assert talk.core.next_deadline == 150.0
    assert len(tick(talk, 150.0)) == 1
    assert talk.core.next_deadline == 150.0 + AGAIN_S


def test_one_that_flickers_is_reported_once_in_its_time(talk: Any, times: dict[str, float]) -> None:
    told = 0
    for step in range(100):
        times["turn"] = 100.0
        told += len(tick(talk, 100 + step / 100))
        times.pop("turn")
        told += len(tick(talk))
    assert told == 1


def test_the_end_of_the_wait_ends_it(talk: Any, times: dict[str, float]) -> None:
    times["turn"] = 100.0
    tick(talk)
    times.clear()
    assert tick(talk, 101.0) == []
    assert talk.core.next_deadline is None


def test_each_name_stands_beside_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "pending_until", lambda _: "pending interruption")
    monkeypatch.setattr(deadlines, "input_deadline", lambda _: "check of a turn")
    monkeypatch.setattr(deadlines, "playback_deadline", lambda *_: "playback of a turn")
    monkeypatch.setattr(deadlines, "next_overdue", lambda _: [None, "response"])
    state: Any = Fake(
        response_queue=Fake(due_at="request for a response", oldest_sent_at="answer to a "),
        response_timeout_s="request for a response",
        turns=Fake(records=Fake(deadline=lambda _: "turn", playing=[1]), cleared_at="cleared audio"),
        server_plays_until="playback by the server",
        limits=Fake(deadline="limit of the session"),
        approvals=Fake(deadline="approval"),
        listening=Fake(deadline=lambda _: "listener"),
        requests=Fake(deadline="request"),
        updates=Fake(deadline="update of the settings"),
        link=Fake(deadline="connection"),
        responses={"resp_1": 1},
    )
    rollover: Any = "rollover"
    assert tuple(deadlines._times(state, 0.0, rollover)) == DEADLINES
