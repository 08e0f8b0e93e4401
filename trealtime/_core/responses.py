"""The life of a response: asked for, created, done, and what follows from its function calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from trealtime._core.effects import ResponseResult
from trealtime._core.guardrails import newer_response, response_over, watch_response
from trealtime._core.hold_back import hold_end
from trealtime._core.interruption import kill
from trealtime._core.limits import session_over
from trealtime._core.requests import Sent
from trealtime._core.response_queue import METADATA_KEY, Request
from trealtime._core.server_errors import read_error
from trealtime._core.state import Response, State
from trealtime._core.turns import answer_with, has_seen
from trealtime._core.usage import parse_usage
from trealtime.events import (
    RealtimeAgentEndEvent,
    RealtimeAgentStartEvent,
    RealtimeError,
    ResponseStatus,
)
from trealtime.usage import Usage

if TYPE_CHECKING:
    from trealtime.tools.function_tool import FunctionTool

__all__ = [
    "begin_response",
    "end_response",
    "fail_request",
    "find_response",
    "follow_up",
    "give_up",
    "pump",
    "retry_request",
    "submit",
]

_STATUSES = ("completed", "cancelled", "failed", "incomplete")
_UNKNOWN: Final[tuple[ResponseStatus, ResponseStatus]] = ("incomplete", "completed")
"""A status newer than us promises nothing; a server that tells none has finished."""

_GIVEN_UP: Final = "given up"


# ---- asked for ------------------------------------------------------------------------------------------------------


def submit(
    state: State,
    *,
    params: Mapping[str, Any] | None = None,
    automatic: bool = False,
    reply_ids: list[str] | None = None,
    event_id: str | None = None,
    tools: Sequence[FunctionTool | Mapping[str, Any]] = (),
    answers: str | None = None,
) -> None:
    """Wish for a response; `pump` sends it when its time has come."""
    key = state.ids.new("req")  # other clients of the same session may have keys of their own
    request = Request(
        key,
        params,
        automatic=automatic,
        reply_ids=reply_ids or [],
        event_id=event_id,
        tools=tools,
        answers=answers,
        about=state.items.sent if automatic else 0,
    )
    state.response_queue.submit(request)


def pump(state: State, now: float) -> None:
    """Send what the gate lets through; once a limit is reached that is nothing any more."""
    if state.limits.reached is not None:
        for unsent in state.response_queue.withdraw(lambda _: True):
            fail_request(state, unsent, session_over(state.limits.reached))
    state.response_queue.held = bool(state.guardrails.inputs)
    while (request := state.response_queue.next(now)) is not None:
        if request.item is not None:
            create = {"type": "conversation.item.create", "item": request.item}
            state.send(create, Sent("conversation.item.create"))
            request.item = None
        params = dict(request.params or {})
        given = params.get("metadata")
        params["metadata"] = {**(given if isinstance(given, Mapping) else {}), METADATA_KEY: request.key}
        event: dict[str, Any] = {"type": "response.create", "response": params}
        if request.event_id is not None and request.collisions == 0:
            event["event_id"] = request.event_id
        request.event_id = state.send(event, Sent("response.create"))


def retry_request(state: State, request: Request) -> None:
    """A request has met a response of the server's own. Where that answers it too, it is answered; else it goes again,
    with those who still wait for it. If a response had been taken for its answer, it was not: they do not wait for that
    one any more; when that one is over already, they have got it."""
    for response in state.live(in_conversation=True):
        if response.interrupted is None and response.request in (None, request) and has_seen(response, request):
            state.response_queue.withdraw(lambda each: each is request)
            if response.request is None:
                state.give(response, request.reply_ids)
            return
    state.counters.collisions_retried += 1
    if request.answered:
        request.answered = False
        owners = [each for each in state.unfinished() if each.request is request]
        request.reply_ids = owners[0].reply_ids if owners else []
        for owner in owners:
            owner.request, owner.reply_ids = None, []


def fail_request(state: State, request: Request, error: Exception) -> None:
    """A request gets no response: tell those who wait, or everybody when nobody does."""
    if request.interrupted:
        result = ResponseResult(response_id=None, status="cancelled", reason="client_cancelled")
    else:
        result = ResponseResult(response_id=None, status="failed", reason=getattr(error, "code", None), error=error)
        if not request.reply_ids:
            state.emit(RealtimeError(error=error, info=state.info))
    for reply_id in request.reply_ids:
        state.settle(reply_id, result)


# ---- created --------------------------------------------------------------------------------------------------------


def find_response(state: State, response_id: str) -> Response | None:
    """The live response of an output event; None when it is over. Output may come before ``response.created`` (B169):
    then the response begins with it."""
    response = state.responses.get(response_id)
    if response is None and response_id not in state.finished:
        state.response_queue.adopt(response_id)
        response = _new(state, response_id, in_conversation=True)
        _tell_start(state, response)
    return response


def begin_response(state: State, created: Mapping[str, Any], now: float) -> None:
    """``response.created``."""
    response_id = _id(created)
    if response_id in state.finished:
        return
    metadata = created.get("metadata")
    if isinstance(created.get("conversation_id"), str):
        state.names_conversations = True
    told = state.names_conversations and "conversation_id" in created
    outside = created["conversation_id"] is None if told else None
    response = state.responses.get(response_id)
    if response is not None and response.request is not None:  # said twice
        return
    request = state.response_queue.created(
        response_id, metadata if isinstance(metadata, Mapping) else None, out_of_band=outside
    )
    if request is not None:
        outside = request.out_of_band
    new = response is None
    if response is None:
        response = _new(state, response_id, in_conversation=not outside)
    response.in_conversation = not outside
    if request is not None:
        _serve(state, response, request)
    elif response.in_conversation:
        answer_with(state, response)
    if new:  # after those who wait for it have been told to follow it
        _tell_start(state, response)
    unwanted = state.limits.reached is not None if request is None else request.interrupted
    if unwanted and response.interrupted is None:
        kill(state, response, "app", now, server_cancels=False)


def _serve(state: State, response: Response, request: Request) -> None:
    """This response is the answer to this request."""
    request.answered = True
    response.request = request
    state.give(response, request.reply_ids)


def _new(state: State, response_id: str, *, in_conversation: bool) -> Response:
    response = Response(response_id, state.agent, in_conversation=in_conversation, seen=state.items.confirmed)
    state.responses[response_id] = response
    state.counters.responses += 1
    watch_response(state, response)
    if in_conversation:
        newer_response(state, response_id)
    return response


def _tell_start(state: State, response: Response) -> None:
    state.emit(RealtimeAgentStartEvent(agent=response.agent, info=state.info, response_id=response.id))


# ---- done -----------------------------------------------------------------------------------------------------------


def end_response(state: State, done: Mapping[str, Any], now: float) -> None:
    """``response.done``: the only sure end of a response, whatever its outcome."""
    response_id = _id(done)
    if response_id in state.finished:
        if state.finished.get(response_id) == _GIVEN_UP:  # nobody waits for it any more, and it is billed all the same
            state.finished.add(response_id)
            _count_usage(state, done)
        return
    response = state.responses.get(response_id)
    new = response is None
    if response is None:
        state.response_queue.adopt(response_id)
        response = _new(state, response_id, in_conversation=True)
    del state.responses[response_id]
    state.finished.add(response_id)
    metadata = done.get("metadata")
    served = state.response_queue.done(response_id, metadata if isinstance(metadata, Mapping) else None)
    if served is not None:
        _serve(state, response, served)
    if new:
        _tell_start(state, response)
    state.ledger.complete(response_id)
    state.ledger.sweep(now)

    usage = _count_usage(state, done)
    status, reason = _outcome(done)
    if response.interrupted == "guardrail" and status in ("completed", "cancelled"):
        status, reason = "cancelled", "guardrail"  # also where the server was done before it read our cancel
    output = done.get("output")
    response.result = ResponseResult(
        response_id=response_id,
        status=status,
        reason=reason,
        usage=usage,
        metadata={str(key): str(value) for key, value in metadata.items() if key != METADATA_KEY}
        if isinstance(metadata, Mapping)
        else None,
        output=tuple(item for item in output if isinstance(item, Mapping)) if isinstance(output, list) else (),
    )
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
        state.emit(RealtimeError(error=read_error(described, request="response.create"), info=state.info))
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
    if not hold_end(state, response, ended, now, partial(follow_up, state, response)):
        state.emit(ended)
        follow_up(state, response)


def give_up(state: State, response: Response, now: float) -> None:
    """The server has not ended an interrupted response in time: it is over without that."""
    overdue = {"id": response.id, "status": "cancelled", "status_details": {"reason": "client_cancelled"}}
    end_response(state, overdue, now)
    state.finished.add(response.id, _GIVEN_UP)


def _count_usage(state: State, done: Mapping[str, Any]) -> Usage | None:
    usage = parse_usage(done.get("usage"))
    if usage is not None:
        usage = state.meter.count_response(usage, state.model)
        state.info.context.usage = state.meter.usage
    return usage


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


def follow_up(state: State, response: Response) -> None:
    """Once a response is done and its calls have outputs: ask for the answer to them, which those who waited for this
    response go on to wait for; or tell them the result."""
    if response.result is None or response.open_calls or response.held_back:
        return
    if response.wants_answer and not response.abandoned:
        submit(state, params=response.answer_params, automatic=True, reply_ids=response.reply_ids)
        return
    for reply_id in response.reply_ids:
        state.settle(reply_id, response.result)


def _id(response: Mapping[str, Any]) -> str:
    value = response.get("id")
    return value if isinstance(value, str) else ""
