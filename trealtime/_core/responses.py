"""The life of a response: from the request over its creation to its end, and the answer to its calls.

Theory of operation
1. A response begins with ``response.created``, or, where that is late or lost, with the first event that names it. It
   ends with ``response.done``, or without it by rule 3. Output that comes later, and output of an interrupted response,
   never reaches the app.
2. It belongs to the request that it answers (`response_queue`, rule 5), and so to the callers who wait for that. They
   follow it from before its first event.
3. A ``response.done`` may be lost. Where a newer response follows, the older one is over `cancel_grace_s` later. Else
   it is over when nothing of it has come for `response_timeout_s`, unless a tool that the server runs is at work.
4. When it is done and all its function calls have their outputs, an answer to those is asked for, if one of them wants
   it, and the callers go on to wait for that. Else they get the result.
5. A new connection may refuse items of the history that go again (`told`). An answer that it begins before it has them
   is about half a conversation: none of it reaches the app, its items are deleted, its calls are not made, and it is
   asked for again, a few times.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from trealtime._core.effects import BeginAnew, ResponseResult
from trealtime._core.guardrails import (
    hold_end,
    newer_response,
    response_over,
    watch_response,
)
from trealtime._core.interruption import kill, server_interrupted
from trealtime._core.listening import answer_began
from trealtime._core.response import Response
from trealtime._core.response_queue import METADATA_KEY, PASSING_AGAIN, Request
from trealtime._core.server_errors import read_error
from trealtime._core.server_playback import response_made
from trealtime._core.turn_answers import answer_turns
from trealtime._core.turns import answered_by_server
from trealtime._core.unnamed import cancel_event
from trealtime._core.usage import parse_usage, session_over
from trealtime.errors import RequestTimedOut
from trealtime.events import (
    RealtimeAgentEndEvent,
    RealtimeAgentStartEvent,
    RealtimeError,
    ResponseStatus,
)
from trealtime.usage import TranscriptionUsage, Usage

if TYPE_CHECKING:
    from trealtime._core.state import State
    from trealtime.protocol import server_events as wire

__all__ = [
    "ask_again",
    "drop_item",
    "end_response",
    "expire_responses",
    "find_response",
    "metadata_of",
    "next_overdue",
    "note_progress",
    "pump",
    "response_created",
    "response_id_of",
    "resume_usage",
    "retry_request",
]

_STATUSES = ("completed", "cancelled", "failed", "incomplete")
_UNKNOWN: Final[tuple[ResponseStatus, ResponseStatus]] = ("incomplete", "completed")
"""A status newer than us promises nothing; a server that tells none has finished."""

_GIVEN_UP: Final = "given up"

# ---- asked for ------------------------------------------------------------------------------------------------------


def pump(state: State, now: float) -> None:
    """Send the requests that the queue lets go; once a limit is reached, none."""
    if state.limits.reached is not None:
        for unsent in state.response_queue.withdraw(lambda _: True):
            unsent.fail(state, session_over(state.limits.reached))
    state.response_queue.hold(held=bool(state.turns.records.unchecked) or state.link.away)
    if state.link.away:
        return
    while (request := state.response_queue.next(now)) is not None:
        if (item := request.take_item()) is not None:
            state.send({"type": "conversation.item.create", "item": item})
        params = dict(request.params or {})
        given = params.get("metadata")
        params["metadata"] = {**(given if isinstance(given, Mapping) else {}), METADATA_KEY: request.key}
        event: dict[str, Any] = {"type": "response.create", "response": params}
        if request.event_id is not None and request.refusals == 0:
            event["event_id"] = request.event_id
        request.sent_as(state.send(event))


def retry_request(state: State, request: Request) -> None:
    """A request has met a response of the server's own. Where that response answers it too, it is answered. Else it
    goes again, with the callers who still wait for it. If a response had been taken for its answer, that was wrong:
    they wait for that one no more, and have got it if it is over already."""
    for response in state.live(in_conversation=True):
        if response.interrupted is None and response.request in (None, request) and response.has_seen(request):
            state.response_queue.withdraw(lambda each: each is request)
            if response.request is None:
                state.give(response, _callers_left(state, request))
                if request.record is not None and response.record is not None:
                    response.record.current.take_in(request.record.current)
            return
    state.counters.collisions_retried += 1
    if request.record is not None:
        request.record.current.retry()
    request.reopen(_callers_left(state, request))


def ask_again(state: State, request: Request) -> None:
    """The server has refused a request for its own sake, and it goes once more."""
    if request.record is not None:
        request.record.current.retry()
    request.reopen(_callers_left(state, request))


def _callers_left(state: State, request: Request) -> list[str]:
    """The callers of a refused request who still wait. They wait no more for a response that was taken for its
    answer."""
    if not request.answered:
        return request.reply_ids
    waiting: list[str] = []
    for response in [each for each in state.unfinished() if each.request is request]:
        disowned = _disown(state, response, request)
        waiting = waiting or disowned
    return waiting


def _disown(state: State, response: Response, request: Request) -> list[str]:
    """A response does not answer this request after all; return the replies that waited for that."""
    waiting = response.disown(request)
    state.take_back(response, waiting)
    return waiting


# ---- created --------------------------------------------------------------------------------------------------------


def find_response(
    state: State, response_id: str, now: float, metadata: Mapping[str, Any] | None = None
) -> Response | None:
    """The live response of an output event; None when it is over. Output may come before ``response.created``: then the
    response begins with it. `metadata` is that of the response, if the event shows it."""
    response = state.responses.get(response_id)
    if response is None and response_id not in state.finished:
        response, unwanted = _begin_untold(state, response_id, now, metadata)
        if unwanted:
            kill(state, response, "app", now, server_cancels=False)
    return response


def _begin_untold(
    state: State, response_id: str, now: float, metadata: Mapping[str, Any] | None
) -> tuple[Response, bool]:
    """A response begins without its ``response.created``; return it, and whether it is not wanted. What it answers may
    be known only when that comes, or with its end."""
    records = state.turns.records
    known, request = state.response_queue.begun_untold(
        response_id, metadata, turn_due=records.due or (state.server_answers and records.uncommitted)
    )
    response = _new(state, response_id, now, in_conversation=request is None or not request.out_of_band)
    unwanted = _begin(state, response, request, now) if known else False
    _tell_start(state, response)
    return response, unwanted


def response_created(state: State, event: wire.ResponseCreated, now: float) -> None:
    created = event.response
    response_id = response_id_of(created)
    if response_id in state.finished:
        return
    metadata = metadata_of(created)
    if isinstance(created.get("conversation_id"), str):
        state.names_conversations = True
    told = state.names_conversations and "conversation_id" in created
    outside = created["conversation_id"] is None if told else None
    response = state.responses.get(response_id)
    if response is not None and (response.told or _is_known(state, response, metadata, outside=outside)):
        response.tell()
        return
    request = state.response_queue.created(
        response_id,
        metadata,
        out_of_band=outside,
        turn_due=state.turns.records.due,
    )
    if request is not None:
        outside = request.out_of_band
    new = response is None
    if response is None:
        response = _new(state, response_id, now, in_conversation=not outside)
    response.tell()
    _place(state, response, in_conversation=not outside)
    if told and response.in_conversation:
        _end_older(state, response, now)
    unwanted = _begin(state, response, request, now)
    if new:  # after the subscriptions of those who wait for it follow it
        _tell_start(state, response)
    if unwanted and response.interrupted is None:
        kill(state, response, "app", now, server_cancels=False)


def _is_known(
    state: State, response: Response, metadata: Mapping[str, Any] | None, *, outside: bool | None = None
) -> bool:
    """Whether a response is what its first output was taken for. What was a mistake is taken back here."""
    if not response.begun:
        return False
    request = response.request
    if request is None:
        return not outside and METADATA_KEY not in (metadata or {})
    if not state.response_queue.speaks_against(metadata, request):
        return True
    state.response_queue.send_back(request)
    waiting = _disown(state, response, request)
    request.reopen(waiting)
    for reply_id in waiting:
        state.do(BeginAnew(reply_id))
    _put_back(state, response)
    return False


def _begin(state: State, response: Response, request: Request | None, now: float) -> bool:
    """A response begins, and answers this request; None: the server has made it by itself. Return whether nothing wants
    it."""
    response.begin()
    if request is not None and request.answered and request.out_of_band:
        _take_back(state, request, now)
    unwanted = state.limits.reached is not None if request is None else request.interrupted
    answered = [request] if request is not None else []
    if request is not None:
        _place(state, response, in_conversation=not request.out_of_band)
        _serve(state, response, request)
    elif response.in_conversation:
        answered_by_server(state, response, now)
        answered = _answer_waiting(state, response)
    wanted = not unwanted and response.interrupted is None
    answer_turns(state, response, now, answered, wanted=wanted)
    if any(each.wanted_by_app for each in answered):
        response.serve_app()
    if response.in_conversation and wanted:
        answer_began(state, response, own=not response.answers_app)
        if _is_too_early(state, response):
            state.link.told.mend()
            response.come_too_early(state)
            return True
    return unwanted


def _is_too_early(state: State, response: Response) -> bool:
    """Whether a response begins without items that the server is told again (rule 5)."""
    if not state.link.told.torn or response.has_output or response.items:
        return False
    _, limit = PASSING_AGAIN
    request = response.request
    asked_after = request is not None and request.place > state.link.retold_place
    return not asked_after and response.times_refused < limit


def drop_item(state: State, response: Response, item_id: str) -> None:
    """An item of a response that does not count: the conversation goes on without it."""
    if item_id in response.dropped:
        return
    response.dropped.add(item_id)
    state.deleted_items[item_id] = None
    if state.history.remove(item_id):
        state.emit_history("updated", item_id)
    state.send({"type": "conversation.item.delete", "item_id": item_id}, own=True)


def _place(state: State, response: Response, *, in_conversation: bool) -> None:
    """A response belongs to the conversation, or stays outside. The history has its items only where it belongs."""
    mistaken = response.place(in_conversation=in_conversation)
    for item_id in mistaken:
        state.history.remove(item_id)
        state.outside_items[item_id] = response.id
    if mistaken:
        state.emit_history("updated", mistaken[0])


def _put_back(state: State, response: Response) -> None:
    """A response that was taken for an out-of-band one is of the conversation."""
    _place(state, response, in_conversation=True)
    state.response_queue.adopt(response.id)
    for item_id in [each for each, outside in state.outside_items.items() if outside == response.id]:
        state.outside_items.discard(item_id)


def _take_back(state: State, request: Request, now: float) -> None:
    """The key of an out-of-band request has come with another response than the one that was taken for its answer.
    That one is the server's own, in the conversation; the callers who still wait go on to the right one."""
    mistaken = [each for each in state.live() if each.request is request]
    request.reopen(_callers_left(state, request))
    for response in mistaken:
        _put_back(state, response)
        _begin(state, response, None, now)


def _end_older(state: State, response: Response, now: float) -> None:
    """The conversation has one response at a time: an older one that still lives is over, and its ``response.done`` is
    late or lost."""
    for older in state.live(in_conversation=True):
        if older is not response and older.forget_at is None:
            older.expect_end(now + state.cancel_grace_s)


def _serve(state: State, response: Response, request: Request) -> None:
    """This response is the answer to this request."""
    response.answers(request)
    state.give(response, request.reply_ids, own=not request.for_app and len(request.reply_ids) == 1)


def _answer_waiting(state: State, response: Response) -> list[Request]:
    """The server has begun a response of its own: it answers what it has seen. Return the requests for that."""
    state.turns.speak(state.response_queue)
    answered = state.response_queue.withdraw(response.has_seen)
    for request in answered:
        state.give(response, request.reply_ids)
    return answered


def _new(state: State, response_id: str, now: float, *, in_conversation: bool) -> Response:
    response = Response(
        response_id,
        state.agent,
        began_at=now,
        in_conversation=in_conversation,
        seen=state.items.confirmed,
        tools=state.tools,
        handoffs=state.handoffs,
    )
    state.responses[response_id] = response
    state.counters.responses += 1
    watch_response(state, response)
    if in_conversation:
        newer_response(state, response_id)
    return response


def _tell_start(state: State, response: Response) -> None:
    state.emit(RealtimeAgentStartEvent(agent=response.agent, info=state.info, response_id=response.id))


# ---- done -----------------------------------------------------------------------------------------------------------


def end_response(state: State, done: Mapping[str, Any], now: float, *, given_up: bool = False) -> None:
    """A response is over: ``response.done`` has come, or is `given_up` (rule 3), which says nothing about what the
    response answers."""
    response_id = response_id_of(done)
    if response_id in state.finished:
        if state.finished.get(response_id) == _GIVEN_UP:  # its callers have gone, and it is billed all the same
            state.finished[response_id] = ""
            _count_usage(state, done)
        return
    metadata = metadata_of(done)
    response = state.responses.get(response_id)
    if response is not None and _outcome(done) == ("cancelled", "turn_detected"):
        server_interrupted(state, response, now)
    if response is None:
        response, _ = _begin_untold(state, response_id, now, metadata)
    if not (response.told or given_up):
        _is_known(state, response, metadata)
    served = state.response_queue.done(response_id, metadata)
    if served is not None and served is response.request:
        served = None  # its key comes only now, and shows that the guess was right
    if served is not None or not response.begun:
        _begin(state, response, served, now)
    del state.responses[response_id]
    state.finished[response_id] = ""
    state.requests.answered("response.cancel", response_id)
    state.ledger.complete(response_id)
    state.ledger.sweep(now)

    usage = _count_usage(state, done)
    status, reason = _outcome(done)
    if response.interrupted == "guardrail" and status in ("completed", "cancelled"):
        status, reason = "cancelled", "guardrail"  # also where the server was done before it read our cancel
    output = done.get("output")
    result = ResponseResult(
        response_id=response_id,
        status=status,
        reason=reason,
        usage=usage,
        metadata={str(key): str(value) for key, value in metadata.items() if key != METADATA_KEY}
        if metadata is not None
        else None,
        output=tuple(item for item in output if isinstance(item, Mapping)) if isinstance(output, list) else (),
        reconnected=response.reconnected,
    )
    response.end(result, now)
    response_made(state, response, now)
    if response.record is not None:
        response.record.current.peak("audio_s", (state.ledger.waiting_ms((response_id,), now) or 0.0) / 1000)
    changed = [
        state.history.finish(item_id, "completed" if status == "completed" else "incomplete")
        for item_id in response.items
    ]
    if any(changed):
        state.emit_history("updated", response.items[0])
    if status == "failed":
        details = done.get("status_details")
        error = details.get("error") if isinstance(details, Mapping) else None
        described = {"message": "the response failed", **(error if isinstance(error, Mapping) else {})}
        failure = read_error(described, request="response.create")
        state.emit(RealtimeError(error=failure, info=state.info, response_id=response_id))
    response_over(state, response, now)
    ended = RealtimeAgentEndEvent(
        agent=response.agent,
        info=state.info,
        response_id=response_id,
        item_ids=tuple(response.items),
        status=status,
        reason=reason,
        usage=usage,
    )
    if not hold_end(state, response, ended, now, partial(response.follow_up, state)):
        state.emit(ended)
        response.follow_up(state)


def note_progress(state: State, event: wire.AnyServerEvent, now: float) -> None:
    """The server is at work on what it answers: its events do not all name the response."""
    if event.type.startswith("response."):
        for response in state.responses.values():
            response.progress(now)


def next_overdue(state: State) -> list[float | None]:
    """The times at which the live responses count as over without their ``response.done``."""
    return [response.overdue_at(state.response_timeout_s) for response in state.responses.values()]


def expire_responses(state: State, now: float) -> None:
    """Give up the responses that the server has not ended in time."""
    for response in state.live():
        overdue_at = response.overdue_at(state.response_timeout_s)
        if overdue_at is not None and overdue_at <= now:
            _give_up(state, response, now)


def _give_up(state: State, response: Response, now: float) -> None:
    """The server has not ended a response in time: it is over without that."""
    overdue: dict[str, Any] = {"id": response.id, "status": "incomplete"}
    if response.interrupted is not None:
        overdue |= {"status": "cancelled", "status_details": {"reason": "client_cancelled"}}
    elif response.forget_at is None:  # no newer one shows that it is over: the server may be at work on it still
        state.send(cancel_event(state, response.id), own=True, urgent=True)
        overdue["status_details"] = {"reason": "timed_out"}
        failure = RequestTimedOut(request="response.create", timeout_s=state.response_timeout_s)
        state.emit(RealtimeError(error=failure, info=state.info, response_id=response.id))
    end_response(state, overdue, now, given_up=True)
    state.finished[response.id] = _GIVEN_UP


def _count_usage(state: State, done: Mapping[str, Any]) -> Usage | None:
    usage = parse_usage(done.get("usage"))
    if usage is not None:
        read_anew = usage.input_tokens - usage.input_tokens_details.cached_tokens
        usage = attrs.evolve(usage, replayed_tokens=max(0, min(state.link.take_unread(), read_anew)))
        usage = state.meter.count_response(usage, state.model)
        state.info.context.usage = state.meter.usage
    return usage


def resume_usage(state: State, usage: Usage, transcription: TranscriptionUsage) -> None:
    """Another process has counted this much."""
    state.meter.resume(usage, transcription)
    state.info.context.usage = state.meter.usage


def _outcome(done: Mapping[str, Any]) -> tuple[ResponseStatus, str | None]:
    status = done.get("status")
    details = done.get("status_details")
    reason: object = None
    if isinstance(details, Mapping):
        error = details.get("error")
        reason = details.get("reason") or (
            error.get("code") or error.get("type") if isinstance(error, Mapping) else None
        )
    known = cast("ResponseStatus", status) if status in _STATUSES else _UNKNOWN[status is None]
    return known, reason if isinstance(reason, str) else None


def metadata_of(response: Mapping[str, Any]) -> Mapping[str, Any] | None:
    metadata = response.get("metadata")
    return metadata if isinstance(metadata, Mapping) else None


def response_id_of(response: Mapping[str, Any]) -> str:
    value = response.get("id")
    return value if isinstance(value, str) else ""
