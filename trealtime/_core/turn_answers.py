"""Turns and their answers: which turns a response answers, and when nothing more of a turn is to come.

The rules are in `turn_records`, points 4 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trealtime._core.response import Response
    from trealtime._core.response_queue import Request
    from trealtime._core.state import State
    from trealtime._core.turn_records import TurnRecord

__all__ = ["answer_turns", "end_all_turns", "settle_turns", "turn_to_answer"]


def turn_to_answer(state: State) -> TurnRecord | None:
    """The turn that a request made now is about: the newest turn of the user that waits for an answer and that the
    server does not answer by itself."""
    waiting = [each for each in state.turns.records.waiting if each.owed_by != "server"]
    return waiting[-1] if waiting else None


def answer_turns(state: State, response: Response, now: float, answered: Sequence[Request]) -> None:
    """A response has begun: find the turn of whose answer it is. That is the one of the requests that it has
    `answered`, with all that wait for an answer; else one that begins with it."""
    records = state.turns.records
    turns = [request.record.current for request in answered if request.record is not None]
    if response.record is not None:
        turns.insert(0, response.record.current)
    if response.in_conversation:
        turns += records.waiting
    if not turns:
        by_app = any(not request.automatic for request in answered)
        turns = [records.open("request" if by_app else "automatic", response.agent.name, now)]
    for other in turns[1:]:
        turns[0].take_in(other.current)
    for request in answered:
        request.belong(turns[0])
    response.belong(turns[0])


def settle_turns(state: State, now: float) -> None:
    """End the turns that are over, and give up what the server owes them for too long."""
    for record in state.turns.records:
        overdue_at = record.deadline(state.response_timeout_s)
        if overdue_at is not None and overdue_at <= now and record is not state.turns.speech:
            record.end("no_answer" if record.committed_at is not None else "thrown_away")
        if _over(state, record, now):
            _end(state, record, now)


def end_all_turns(state: State, now: float) -> None:
    """The connection has ended."""
    for record in state.turns.records:
        record.end("session_over")
        _end(state, record, now)


def _over(state: State, record: TurnRecord, now: float) -> bool:
    """Whether nothing of a turn is to come."""
    if record.responses:
        if any(not each.over for each in record.responses):
            return False
    elif record.in_the_air(now, state.response_timeout_s) or (not record.asked and record.why_not is None):
        return False
    return not state.response_queue.holds(record)


def _end(state: State, record: TurnRecord, now: float) -> None:
    if not record.responses:
        record.end("cancelled")
    state.turns.records.drop(record)
