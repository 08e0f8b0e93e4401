"""Turns and their answers: which turns a response answers, and when nothing more of a turn is to come.

The rules are in `turn_records`, points 4 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from trealtime._core.turn_metrics import metrics_of
from trealtime._core.turn_records import PATIENCE_S
from trealtime.events import RealtimeTurnEnded

if TYPE_CHECKING:
    from trealtime._core.response import Response
    from trealtime._core.response_queue import Request
    from trealtime._core.state import State
    from trealtime._core.turn_records import TurnRecord
    from trealtime.metrics import TurnSource

__all__ = ["MOST_PLAYING", "answer_turns", "end_all_turns", "playback_deadline", "settle_turns", "turn_to_answer"]

MOST_PLAYING: Final = 8
"""The number of turns that may wait to be heard. More do where nobody takes their audio: then the oldest is over."""


def turn_to_answer(state: State) -> TurnRecord | None:
    """The turn that a request made now is about: the newest turn of the user that waits for an answer and that the
    server does not answer by itself."""
    waiting = [each for each in state.turns.records.waiting if each.owed_by != "server"]
    return waiting[-1] if waiting else None


def answer_turns(
    state: State, response: Response, now: float, answered: Sequence[Request], *, wanted: bool = True
) -> None:
    """A response has begun: find the turn of whose answer it is. That is the one of the requests that it has
    `answered`, with all that wait for an answer; else one that begins with it. A response that is not `wanted` is
    stopped at once, and answers nobody: the server may have had it in place of the answer that it owes."""
    records = state.turns.records
    known = [response.record, *(request.record for request in answered)]
    turns = [each.current for each in known if each is not None and not each.current.over]
    if response.in_conversation and wanted:
        turns += records.waiting
        if not answered:  # the server's own, which knows of no check and no doubt
            turns += [each for each in records if each.promised and each not in turns]
    elif response.in_conversation:
        for owed in records.waiting:
            if owed.owed_by == "server":
                owed.owe("server", ask_at=now + PATIENCE_S)
    if not turns:
        by_app = any(not request.automatic for request in answered)
        turns = [records.open("request" if by_app else "automatic", response.agent.name, response.began_at)]
    for other in turns[1:]:
        turns[0].take_in(other.current)
    for request in answered:
        request.belong(turns[0])
    response.belong(turns[0])


def settle_turns(state: State, now: float) -> None:
    """An input has ended. End the turns that are over, and give up what the server owes them for too long."""
    records = state.turns.records
    for request in state.response_queue.without_turn():
        source: TurnSource = "automatic" if request.automatic else "request"
        request.belong(records.open(source, state.agent.name, now))
    records.playing.clear()
    for record in records:
        record.note(now)
        if record.asked:
            record.peak("requests", state.response_queue.waiting)
        overdue_at = record.deadline(state.response_timeout_s)
        if overdue_at is not None and overdue_at <= now and record is not state.turns.speech:
            record.end("no_answer" if record.committed_at is not None else "thrown_away")
        if not _made(state, record, now):
            continue
        if _plays(state, record, now):
            records.playing.append(record)
        else:
            _end(state, record, now)
    while len(records.playing) > MOST_PLAYING:
        _end(state, records.playing.pop(0), now)


def playback_deadline(state: State, now: float) -> float | None:
    """The time at which the next turn that only plays has been heard, as far as time alone tells. What the server plays
    itself has a deadline of its own (`server_playback`)."""
    waiting = [_response_ids(each) for each in state.turns.records.playing]
    times = [state.ledger.over_at(each, now) for each in waiting if state.server_plays not in each]
    return min((at for at in times if at is not None), default=None)


def end_all_turns(state: State, now: float) -> None:
    """The connection has ended."""
    for record in state.turns.records:
        record.note(now)
        if any(not each.over for each in record.responses) or not record.responses:
            record.end("session_over")
        _end(state, record, now)


def _made(state: State, record: TurnRecord, now: float) -> bool:
    """Whether nothing of a turn is to come any more."""
    if record.responses:
        if any(not each.over for each in record.responses):
            return False
        if record.doubt_until is not None or record.unchecked_since is not None:
            return False
    elif record.in_the_air(now, state.response_timeout_s) or (not record.asked and record.why_not is None):
        return False
    return not state.response_queue.holds(record)


def _plays(state: State, record: TurnRecord, now: float) -> bool:
    """Whether audio of a turn that is made is still to be heard."""
    if not record.responses:
        return False
    response_ids = _response_ids(record)
    if state.server_plays in response_ids:
        return True
    if state.ledger.waiting_ms(response_ids, now) is None:
        return False
    state.ledger.sweep(now)
    return state.ledger.waiting_ms(response_ids, now) is not None


def _response_ids(record: TurnRecord) -> list[str]:
    return [each.id for each in record.responses]


def _end(state: State, record: TurnRecord, now: float) -> None:
    if not record.responses:
        record.end("cancelled")
    state.turns.records.drop(record)
    metrics = metrics_of(state, record, now)
    record.close()
    state.turn_log.add(metrics)
    state.emit(RealtimeTurnEnded(metrics=metrics, info=state.info))
