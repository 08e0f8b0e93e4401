"""The figures of a turn that is over, made from its record, its responses and the playback ledger."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trealtime._core.usage import add_usage
from trealtime.metrics import ToolSpan, TurnMetrics, TurnStatus
from trealtime.usage import Usage

if TYPE_CHECKING:
    from trealtime._core.response import Response
    from trealtime._core.state import State
    from trealtime._core.tool_calls import Call
    from trealtime._core.turn_records import TurnRecord

__all__ = ["metrics_of"]


def metrics_of(state: State, record: TurnRecord, now: float) -> TurnMetrics:
    """The figures of this turn."""
    responses = record.responses
    heard = [times for each in responses if (times := state.ledger.heard_times(each.id, now)) is not None]
    first_heard_at = _first((record.played_from, *(each.first_at for each in heard)))
    if first_heard_at is not None:  # a report counts back from what it says was heard: never to before it came
        first_heard_at = max(first_heard_at, _first(each.audio_at for each in responses) or first_heard_at)
    status, reason = _status(record, heard=first_heard_at is not None)
    usage = _usage(responses)
    requested_at, created_at = record.requested_at, record.created_at
    if requested_at is not None and created_at is not None and requested_at > created_at:
        requested_at = None  # the server had begun the answer by itself
    return TurnMetrics(
        turn_id=f"turn_{record.number}",
        number=record.number,
        source=record.source,
        agent=record.agent,
        status=status,
        reason=reason,
        item_ids=tuple(dict.fromkeys([*record.item_ids, *(item for each in responses for item in each.items)])),
        response_ids=tuple(each.id for each in responses),
        speech_started_at=record.spoke_from,
        speech_ended_at=record.spoke_until,
        committed_at=record.committed_at,
        transcribed_at=record.transcribed_at,
        requested_at=requested_at,
        created_at=created_at,
        first_text_at=_first(each.text_at for each in responses),
        first_audio_at=_first(each.audio_at for each in responses),
        first_heard_at=first_heard_at,
        done_at=_last([each.done_at for each in responses]),
        heard_until_at=max(
            (at for at in (record.played_until, *(each.last_at for each in heard)) if at is not None), default=None
        ),
        tools=tuple(_span(call) for each in responses for call in each.calls),
        interruption=record.interruption,
        usage=usage,
        cost=None if usage is None else usage.cost,
        retries=record.retries,
        queue_peaks=dict(record.peaks),
    )


def _first(times: Iterable[float | None]) -> float | None:
    return min((at for at in times if at is not None), default=None)


def _last(times: Iterable[float | None]) -> float | None:
    """The latest of these; None: one of them is still to come, or there is none."""
    known = list(times)
    return max((at for at in known if at is not None), default=None) if None not in known else None


def _status(record: TurnRecord, *, heard: bool) -> tuple[TurnStatus, str | None]:
    if not record.responses:
        why = record.why_not
        return ("cancelled" if why == "cancelled" else "failed" if why == "refused" else "unanswered"), why
    if record.interruption is not None:
        return ("interrupted" if heard else "cancelled"), record.interruption.cause
    ends = [each.result for each in record.responses if not each.failed_over or each is record.responses[-1]]
    for end in ends:
        if end is not None and end.status in ("failed", "incomplete"):
            return "failed", end.reason or end.status
    if record.broken is not None:
        return ("cancelled" if record.broken == "cancelled" else "failed"), record.broken
    if ends[-1] is None:
        return "cancelled", "session_over"
    if ends[-1].status == "cancelled":
        return ("interrupted" if heard else "cancelled"), ends[-1].reason
    return "completed", None


def _usage(responses: Iterable[Response]) -> Usage | None:
    known = [each.result.usage for each in responses if each.result is not None and each.result.usage is not None]
    if not known:
        return None
    total = Usage()
    for usage in known:
        total = add_usage(total, usage)
    return total


def _span(call: Call) -> ToolSpan:
    return ToolSpan(
        call_id=call.call_id,
        name=call.name,
        agent=call.response.agent.name,
        started_at=call.started_at,
        ended_at=call.ended_at,
        status=call.outcome if call.outcome is not None else "dropped",
    )
