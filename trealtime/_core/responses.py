"""The life of a response: from the request over its creation to its end, and the answer to its calls.

Theory of operation
1. A response begins with ``response.created``, or with the first output that names it, and ends with ``response.done``,
   or without it by rule 3. Output that comes later, and output of an interrupted response, never reaches the app.
2. It belongs to the request that it answers (`response_queue`, rule 5), and so to the callers who wait for that. They
   follow it from before its first event.
3. A ``response.done`` may be lost. Where a newer response follows, the older one is over `cancel_grace_s` later. Else
   it is over when nothing of it has come for `response_timeout_s`, unless a tool that the server runs is at work.
4. When it is done and all its function calls have their outputs, an answer to those is asked for, if one of them wants
   it, and the callers go on to wait for that. Else they get the result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from trealtime._core.effects import ResponseResult
from trealtime._core.guardrails import (
    hold_end,
    newer_response,
    response_over,
    watch_response,
)
from trealtime._core.interruption import kill
from trealtime._core.listening import answer_began
from trealtime._core.response_queue import METADATA_KEY, Request
from trealtime._core.server_errors import read_error
from trealtime._core.settings import setting_in
from trealtime._core.turn_answers import answer_turns, turn_to_answer
from trealtime._core.usage import parse_usage, session_over
from trealtime.errors import RequestTimedOut
from trealtime.events import (
    RealtimeAgentEndEvent,
    RealtimeAgentStartEvent,
    RealtimeError,
    ResponseStatus,
)
from trealtime.usage import Usage

if TYPE_CHECKING:
    from trealtime._core.interruption import Cause
    from trealtime._core.state import State
    from trealtime._core.turn_records import TurnRecord
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.protocol import server_events as wire
    from trealtime.tools.function_tool import FunctionTool

__all__ = [
    "Response",
    "end_response",
    "expire_responses",
    "find_response",
    "next_overdue",
    "note_progress",
    "pump",
    "response_created",
    "response_id_of",
    "retry_request",
    "submit",
]

_STATUSES = ("completed", "cancelled", "failed", "incomplete")
_UNKNOWN: Final[tuple[ResponseStatus, ResponseStatus]] = ("incomplete", "completed")
"""A status newer than us promises nothing; a server that tells none has finished."""

_GIVEN_UP: Final = "given up"

_OPTIONS_OF_ANY_AGENT: Final = ("output_modalities", "max_output_tokens", "metadata")
_TURN_OPTIONS: Final = (*_OPTIONS_OF_ANY_AGENT, "instructions", "tools")
"""The options of a response that hold for the whole turn; the last two are about the agent that it began with."""


@attrs.define(eq=False)
class Response:
    """A response from its creation until it is done and its function calls have their outputs."""

    id: str
    agent: RealtimeAgent[Any]
    in_conversation: bool = True
    seen: int = 0
    """The number of the last item of ours that the server had confirmed when it began (`turns.SentItems`)."""

    tools: Mapping[str, FunctionTool | None] = attrs.Factory(dict)
    """The tools that the model knew when it began, by name; None: the app runs it."""

    handoffs: Collection[str] = ()
    """The names of the functions by which its agent hands over."""

    request: Request | None = None
    """The request that it answers; None for one that the server makes by itself."""

    record: TurnRecord | None = None
    """The turn of whose answer it is (`turn_records`); None before it is known which."""

    reply_ids: list[str] = attrs.Factory(list)
    """Those of the callers who wait for it."""

    interrupted: Cause | None = None
    """Set when it was interrupted: nothing of it reaches the app any more."""

    forget_at: float | None = None
    """The time to stop waiting for ``response.done``, for a response that was interrupted or that a newer one has
    followed."""

    progress_at: float = 0.0
    """The time at which the last of it came."""

    hosted_calls: set[str] = attrs.Factory(set)
    """Items of calls that the server makes itself and has not ended: it may be silent for as long as they take."""

    items: list[str] = attrs.Factory(list)
    has_audio: bool = False
    """Whether audio of it has come."""

    abandoned: bool = False
    """The caller who asked for it has left: its calls get no answer."""

    result: ResponseResult | None = None
    """Set when it is done."""

    held_back: bool = False
    """It is done, and the app does not know yet: its audio waits for a verdict."""

    _for_callers: bool = False
    """Its callers alone want it."""

    _open_calls: set[str] = attrs.Factory(set)
    _answer_calls: bool = False
    """Whether an output of its calls wants an answer."""

    _answer_if_silent: bool = False
    """Whether an output of its calls wants an answer unless the response has spoken."""

    _answer_params: Mapping[str, Any] | None = None
    """The params to ask for that answer with."""

    _error: Exception | None = None
    """The reason why its callers get no answer to its calls."""

    def answers(self, request: Request) -> None:
        """It is the answer to this request."""
        request.answer()
        self.request = request

    def belong(self, record: TurnRecord) -> None:
        """It is of the answer to this turn."""
        self.record = record
        record.answer(self)

    def place(self, *, in_conversation: bool) -> None:
        """It belongs to the default conversation, or stays outside."""
        self.in_conversation = in_conversation

    def progress(self, now: float, *, audio: bool = False) -> None:
        """The server is at work on it; `audio`: some of that has come."""
        self.progress_at = now
        if audio:
            self.has_audio = True

    def end(self, result: ResponseResult) -> None:
        """It is done."""
        self.result = result

    def add_callers(self, reply_ids: Sequence[str]) -> None:
        """The callers under these reply ids wait for it too."""
        self.reply_ids += reply_ids

    def belongs_to_callers(self) -> None:
        """Nothing else wants it, though the server has made it by itself."""
        self._for_callers = True

    def lose(self, reply_id: str) -> None:
        """This caller waits for something else now."""
        if reply_id in self.reply_ids:
            self.reply_ids.remove(reply_id)

    def leave(self, reply_id: str) -> bool:
        """A caller who waits for it leaves. Return whether something else wants it still; else the caller stays, and
        gets the result when it is over."""
        if len(self.reply_ids) == 1 and not self.for_app:
            return False
        self.reply_ids.remove(reply_id)
        return True

    def has_seen(self, request: Request) -> bool:
        """Whether it began when the server knew all that an automatic request wants answered."""
        known = request.about > 0 or request.turn
        return request.automatic and request.item is None and known and request.about <= self.seen

    def interrupt(self, cause: Cause, *, forget_at: float | None = None) -> None:
        """Let nothing of it reach the app any more."""
        self.interrupted, self.forget_at = cause, forget_at

    @property
    def over(self) -> bool:
        """Whether it is done, for the app too, and its calls have their outputs."""
        return self.result is not None and not self._open_calls and not self.held_back

    @property
    def for_app(self) -> bool:
        """Whether it is wanted also if none of its callers waits for it any more."""
        return not self._for_callers and (self.request is None or self.request.for_app)

    def opens_with(self, state: State, call_id: str, params: Mapping[str, Any] | None) -> bool:
        """Where other calls of it have no output yet, ask now for the answer to this one, which is the opening of
        another agent; return whether it did. The callers wait for that answer, and for none to the other calls."""
        if not self._open_calls - {call_id} or self.abandoned:
            return False
        self._answer_params = params
        asked_with, self._answer_params = self._params_of_answer(state), None
        reply_ids, self.reply_ids = self.reply_ids, []
        self._answer_calls = self._answer_if_silent = False
        submit(
            state,
            params=asked_with,
            automatic=True,
            reply_ids=reply_ids,
            rounds=self.rounds + 1,
            for_app=self.for_app or not reply_ids,
            record=self.record,
        )
        return True

    def expect_end(self, forget_at: float) -> None:
        """Its ``response.done`` is overdue: wait for it until then."""
        self.forget_at = forget_at

    def hosted_call(self, item_id: str, *, over: bool) -> None:
        """The server makes this call of a tool itself, or has made it."""
        if over:
            self.hosted_calls.discard(item_id)
        else:
            self.hosted_calls.add(item_id)

    def overdue_at(self, timeout_s: float) -> float | None:
        """The time at which it counts as over without its ``response.done``; None while it may take as long as it
        wants."""
        if self.forget_at is not None:
            return self.forget_at
        return None if self.hosted_calls else self.progress_at + timeout_s

    def abandon(self) -> None:
        """The caller who asked for it has left."""
        self.abandoned = True

    def hold_back(self) -> None:
        """It is done, and the app hears of that when its audio has passed."""
        self.held_back = True

    def release(self) -> None:
        """The app knows that it is done."""
        self.held_back = False

    def stop_by_guardrail(self) -> None:
        """A guardrail has stopped it before the app knew that it was done: it ends as cancelled."""
        self.interrupted = "guardrail"
        if self.result is not None:
            self.result = attrs.evolve(self.result, status="cancelled", reason="guardrail")

    def disown(self, request: Request) -> list[str]:
        """It does not answer this request after all; return the replies that waited for that."""
        self.request = None
        if self.record is not None:
            self.record.current.disown(self)
            self.record = None
        mistaken = [each for each in self.reply_ids if each in request.reply_ids]
        self.reply_ids = [each for each in self.reply_ids if each not in mistaken]
        return mistaken

    def call_began(self, call_id: str) -> None:
        """The model has made a function call in it."""
        self._open_calls.add(call_id)

    def call_ended(self, call_id: str, *, respond: bool | None, params: Mapping[str, Any] | None) -> None:
        """A function call in it has its output. `respond`: whether that wants an answer; None: if nothing is said."""
        self._open_calls.discard(call_id)
        if respond is None:
            self._answer_if_silent = True
        elif respond:
            self._answer_calls = True
        if params is not None:
            self._answer_params = params

    @property
    def rounds(self) -> int:
        """The number of responses of this turn that have called functions before it."""
        return self.request.rounds if self.request is not None else 0

    def refuse_calls(self, error: Exception) -> None:
        """Its calls are not made, and its callers get no answer to them."""
        self._error = error

    @property
    def spoke(self) -> bool:
        """Whether it has said or written anything; known when it is done."""
        output = self.result.output if self.result is not None else ()
        parts = [part for item in output if item.get("type") == "message" for part in item.get("content") or ()]
        return self.has_audio or any(
            isinstance(part, Mapping) and (part.get("text") or part.get("transcript")) for part in parts
        )

    @property
    def wants_answer(self) -> bool:
        """Whether the outputs of its calls want an answer (`tool_calls`, rule 4)."""
        return self._answer_calls or (self._answer_if_silent and not self.spoke and self.interrupted is None)

    def follow_up(self, state: State) -> None:
        """Once it is done and its calls have outputs: ask for the answer to them, or else settle its callers."""
        if self.result is None or not self.over:
            return
        if self._error is not None:
            self._refuse(state, self._error)
        elif self.wants_answer and not self.abandoned:
            tools = self.request.tools if self.request is not None and state.agent is self.agent else ()
            params, rounds = self._params_of_answer(state), self.rounds + 1
            submit(
                state,
                params=params,
                automatic=True,
                reply_ids=self.reply_ids,
                tools=tools,
                rounds=rounds,
                for_app=self.for_app,
                record=self.record,
            )
        else:
            for reply_id in self.reply_ids:
                said_items = state.listening.said_to(reply_id)
                state.settle(reply_id, attrs.evolve(self.result, said_items=said_items))

    def _params_of_answer(self, state: State) -> Mapping[str, Any] | None:
        """The params of the request for the answer to its calls: the options that the turn was asked for with, but for
        `tool_choice`. A tool that the model had to call has been called, so no tool is forced any more."""
        given = self.request.params if self.request is not None and self.request.params is not None else {}
        kept = _TURN_OPTIONS if state.agent is self.agent else _OPTIONS_OF_ANY_AGENT
        params = {key: given[key] for key in kept if key in given}
        if state.agent is self.agent and _forces_tool(setting_in(state.acknowledged, "tool_choice")):
            params["tool_choice"] = "auto"
        return {**params, **(self._answer_params or {})} or None

    def _refuse(self, state: State, error: Exception) -> None:
        """Settle its callers with `error`; where there are none, tell the app, and ask for words without a tool."""
        for reply_id in self.reply_ids:
            state.settle(reply_id, error=error)
        if not self.reply_ids and not self.abandoned:
            state.emit(RealtimeError(error=error, info=state.info, response_id=self.id))
            if self.request is not None and (self.request.params or {}).get("tool_choice") == "none":
                return  # it has called functions all the same
            params = {**(self._params_of_answer(state) or {}), "tool_choice": "none"}
            submit(state, params=params, automatic=True, rounds=self.rounds + 1, record=self.record)


def _forces_tool(choice: object) -> bool:
    return choice == "required" or isinstance(choice, Mapping)


# ---- asked for ------------------------------------------------------------------------------------------------------


def submit(
    state: State,
    *,
    params: Mapping[str, Any] | None = None,
    automatic: bool = False,
    reply_ids: list[str] | None = None,
    event_id: str | None = None,
    tools: Sequence[FunctionTool | Mapping[str, Any]] = (),
    answers: TurnRecord | None = None,
    rounds: int = 0,
    turn: bool = False,
    for_app: bool = False,
    record: TurnRecord | None = None,
) -> None:
    """Ask for a response; `pump` sends the request when its time has come. It is of the answer to the turn `record`,
    else to the newest turn of the user that waits for one and that the server does not answer by itself."""
    key = state.ids.new("req")  # other clients of the same session may have keys of their own
    record = record if record is not None else answers
    if record is None and (params is None or params.get("conversation") != "none"):
        record = turn_to_answer(state)
    request = Request(
        key,
        params,
        automatic=automatic,
        reply_ids=reply_ids or [],
        event_id=event_id,
        tools=tools,
        answers=answers,
        about=state.items.confirmed if turn else state.items.sent if automatic else 0,
        rounds=rounds,
        turn=turn,
        for_app=for_app or not reply_ids,
        record=record,
    )
    state.response_queue.submit(request)


def pump(state: State, now: float) -> None:
    """Send the requests that the queue lets go; once a limit is reached, none."""
    if state.limits.reached is not None:
        for unsent in state.response_queue.withdraw(lambda _: True):
            unsent.fail(state, session_over(state.limits.reached))
    state.response_queue.hold(held=bool(state.turns.records.unchecked))
    while (request := state.response_queue.next(now)) is not None:
        if (item := request.take_item()) is not None:
            state.send({"type": "conversation.item.create", "item": item})
        params = dict(request.params or {})
        given = params.get("metadata")
        params["metadata"] = {**(given if isinstance(given, Mapping) else {}), METADATA_KEY: request.key}
        event: dict[str, Any] = {"type": "response.create", "response": params}
        if request.event_id is not None and request.collisions == 0:
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
    request.reopen(_callers_left(state, request))


def _callers_left(state: State, request: Request) -> list[str]:
    """The callers of a refused request who still wait. They wait no more for a response that was taken for its
    answer."""
    if not request.answered:
        return request.reply_ids
    waiting = [each.disown(request) for each in state.unfinished() if each.request is request]
    return waiting[0] if waiting else []


# ---- created --------------------------------------------------------------------------------------------------------


def find_response(state: State, response_id: str) -> Response | None:
    """The live response of an output event; None when it is over. Output may come before ``response.created``: then the
    response begins with it."""
    response = state.responses.get(response_id)
    if response is None and response_id not in state.finished:
        state.response_queue.adopt(response_id)
        response = _new(state, response_id, in_conversation=True)
        _tell_start(state, response)
    return response


def response_created(state: State, event: wire.ResponseCreated, now: float) -> None:
    created = event.response
    response_id = response_id_of(created)
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
        response_id,
        metadata if isinstance(metadata, Mapping) else None,
        out_of_band=outside,
        turn_due=state.turns.records.due,
    )
    if request is not None:
        outside = request.out_of_band
    new = response is None
    if response is None:
        response = _new(state, response_id, in_conversation=not outside)
    response.place(in_conversation=not outside)
    if told and response.in_conversation:
        _end_older(state, response, now)
    unwanted = state.limits.reached is not None if request is None else request.interrupted
    answered = [request] if request is not None else []
    if request is not None:
        _serve(state, response, request)
    elif response.in_conversation:
        answered = _answer_waiting(state, response)
    answer_turns(state, response, now, answered)
    if response.in_conversation and not unwanted and response.interrupted is None:
        answer_began(state, response, own=not any(each.wanted_by_app for each in answered))
    if new:  # after the subscriptions of those who wait for it follow it
        _tell_start(state, response)
    if unwanted and response.interrupted is None:
        kill(state, response, "app", now, server_cancels=False)


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


def _new(state: State, response_id: str, *, in_conversation: bool) -> Response:
    response = Response(
        response_id,
        state.agent,
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


def end_response(state: State, done: Mapping[str, Any], now: float) -> None:
    """A response is over: ``response.done`` has come, or is given up (rule 3)."""
    response_id = response_id_of(done)
    if response_id in state.finished:
        if state.finished.get(response_id) == _GIVEN_UP:  # its callers have gone, and it is billed all the same
            state.finished[response_id] = ""
            _count_usage(state, done)
        return
    response = state.responses.get(response_id)
    new = response is None
    if response is None:
        state.response_queue.adopt(response_id)
        response = _new(state, response_id, in_conversation=True)
    del state.responses[response_id]
    state.finished[response_id] = ""
    state.requests.answered("response.cancel", response_id)
    metadata = done.get("metadata")
    served = state.response_queue.done(response_id, metadata if isinstance(metadata, Mapping) else None)
    if served is not None:
        _serve(state, response, served)
    if response.record is None or served is not None:
        answer_turns(state, response, now, [served] if served is not None else [])
    if new:
        _tell_start(state, response)
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
        if isinstance(metadata, Mapping)
        else None,
        output=tuple(item for item in output if isinstance(item, Mapping)) if isinstance(output, list) else (),
    )
    response.end(result)
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
        state.send({"type": "response.cancel", "response_id": response.id}, own=True, urgent=True)
        overdue["status_details"] = {"reason": "timed_out"}
        failure = RequestTimedOut(request="response.create", timeout_s=state.response_timeout_s)
        state.emit(RealtimeError(error=failure, info=state.info, response_id=response.id))
    end_response(state, overdue, now)
    state.finished[response.id] = _GIVEN_UP


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


def response_id_of(response: Mapping[str, Any]) -> str:
    value = response.get("id")
    return value if isinstance(value, str) else ""
