"""One response, from its creation until it is done and its calls are answered; its life is in `responses`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from trealtime._core.asking import submit
from trealtime._core.effects import ResponseResult
from trealtime._core.response_queue import PASSING_AGAIN, Request
from trealtime._core.server_errors import PASSING
from trealtime._core.settings import setting_in
from trealtime._value import Shown
from trealtime.events import RealtimeError
from trealtime.protocol.lenient import within

if TYPE_CHECKING:
    from trealtime._core.interruption import Cause
    from trealtime._core.state import State
    from trealtime._core.tool_calls import Call
    from trealtime._core.turn_records import TurnRecord
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.tools.function_tool import FunctionTool

__all__ = ["Response"]

_OPTIONS_OF_ONE_RESPONSE: Final = frozenset({"tool_choice", "input", "conversation"})
_OPTIONS_OF_ONE_AGENT: Final = frozenset({"instructions", "tools", "prompt"})
"""All other options of a response hold for the whole turn, those of one agent while that is in charge; of the audio,
the voice is the agent's, and the format holds."""


@attrs.define(eq=False, repr=False)
class Response(Shown):
    """A response from its creation until it is done and its function calls have their outputs."""

    id: str
    agent: RealtimeAgent[Any]
    began_at: float
    """The time at which its first event came."""

    in_conversation: bool = True
    seen: int = 0
    """The number of the last item of ours that the server had confirmed when it began (`turns.SentItems`)."""

    tools: Mapping[str, FunctionTool | None] = attrs.Factory(dict)
    """The tools that the model knew when it began, by name; None: the app runs it."""

    handoffs: Collection[str] = ()
    """The names of the functions by which its agent hands over."""

    request: Request | None = None
    """The request that it answers; None for one that the server makes by itself."""

    told: bool = False
    """Its ``response.created`` has come."""

    begun: bool = False
    """It is known, or taken as known, what it answers."""

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
    audio_at: float | None = None
    """The time at which its first audio came."""

    text_at: float | None = None
    """The time at which the first word of it came."""

    done_at: float | None = None
    calls: list[Call] = attrs.Factory(list)
    """The function calls that the model has made in it."""

    has_output: bool = False
    """Whether anything of it has come."""

    open_items: set[str] = attrs.Factory(set)
    """Items of it that are not done."""

    lost: bool = False
    """The connection that brought it is lost."""

    abandoned: bool = False
    """The caller who asked for it has left: its calls get no answer."""

    result: ResponseResult | None = None
    """Set when it is done."""

    held_back: bool = False
    """It is done, and the app does not know yet: its audio waits for a verdict."""

    answers_app: bool = False
    """The app wants it, for a message or the outputs of tools, apart from the callers who wait for it."""

    _for_callers: bool = False
    """Its callers alone want it."""

    _open_calls: set[str] = attrs.Factory(set)
    _answer_calls: bool = False
    """Whether an output of its calls wants an answer."""

    _answer_if_silent: bool = False
    """Whether an output of its calls wants an answer unless the response has spoken."""

    _answer_params: Mapping[str, Any] | None = None
    """The params to ask for that answer with."""

    too_early: bool = False
    """The server has made it without items that it is told again: none of it counts (`responses`, rule 5)."""

    dropped: set[str] = attrs.Factory(set)
    """Items of it that the server is told to delete."""

    failed_over: bool = False
    """The server has failed to make it, and its request has gone again."""

    _error: Exception | None = None
    """The reason why its callers get no answer to its calls."""

    def tell(self) -> None:
        """Its ``response.created`` has come."""
        self.told = True

    def begin(self) -> None:
        """It is known what it answers."""
        self.begun = True

    def answers(self, request: Request) -> None:
        """It is the answer to this request."""
        request.answer()
        self.request = request

    def serve_app(self) -> None:
        """The app wants it."""
        self.answers_app = True

    def belong(self, record: TurnRecord) -> None:
        """It is of the answer to this turn."""
        self.record = record
        record.answer(self)

    def forget_turn(self) -> None:
        """That turn is over."""
        self.record = None
        self.calls.clear()

    def place(self, *, in_conversation: bool) -> list[str]:
        """It belongs to the default conversation, or stays outside: return the items that it has there by mistake."""
        mistaken: list[str] = []
        if self.in_conversation and not in_conversation:
            mistaken, self.items = self.items, []
        self.in_conversation = in_conversation
        return mistaken

    def progress(self, now: float, *, audio: bool = False) -> None:
        """The server is at work on it; `audio`: some of that has come."""
        self.progress_at = now
        if audio and self.audio_at is None:
            self.audio_at = now

    def speak(self, now: float) -> None:
        """The first word of it has come."""
        self.text_at = now

    @property
    def has_audio(self) -> bool:
        """Whether audio of it has come."""
        return self.audio_at is not None

    def note_item(self, item_id: str, *, done: bool) -> None:
        """An item of it begins, or is done."""
        self.has_output = True
        if done:
            self.open_items.discard(item_id)
        else:
            self.open_items.add(item_id)

    def outlive(self) -> None:
        """The connection that brings it is lost."""
        self.lost = True

    def end(self, result: ResponseResult, now: float) -> None:
        """It is done."""
        self.result, self.done_at = result, now

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
        asked_with, self._answer_params = self.params_of_turn(state), None
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

    def release_callers(self) -> list[str]:
        """Hand the waiting callers to another request; return their replies."""
        reply_ids, self.reply_ids = self.reply_ids, []
        return reply_ids

    def disown(self, request: Request) -> list[str]:
        """It does not answer this request after all; return the replies that waited for that."""
        self.request, self.begun = None, False
        if self.record is not None:
            self.record.current.disown(self)
            self.record = None
        mistaken = [each for each in self.reply_ids if each in request.reply_ids]
        self.reply_ids = [each for each in self.reply_ids if each not in mistaken]
        return mistaken

    def call_began(self, call: Call) -> None:
        """The model has made a function call in it."""
        self._open_calls.add(call.call_id)
        self.calls.append(call)

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
    def has_come(self) -> bool:
        """Whether every item that has begun is done: nothing but its end may be missing."""
        return self.has_output and not self.open_items

    @property
    def has_called(self) -> bool:
        """Whether it has called functions, so that an answer to their outputs follows it."""
        return bool(self._open_calls) or self._answer_calls or self._answer_if_silent

    @property
    def reconnected(self) -> bool:
        """Whether the request that it answers has outlived a connection."""
        return self.request is not None and self.request.reconnected

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
            params, rounds = self.params_of_turn(state), self.rounds + 1
            submit(
                state,
                params=params,
                automatic=True,
                reply_ids=self.reply_ids,
                tools=tools,
                rounds=rounds,
                for_app=self.for_app,
                record=self.record,
                reconnected=self.reconnected or self.lost,
            )
        elif self.goes_again(state):
            self._ask_again(state, self.done_at or 0.0)
        else:
            for reply_id in self.reply_ids:
                said_items = state.listening.said_to(reply_id)
                state.settle(reply_id, attrs.evolve(self.result, said_items=said_items))

    def goes_again(self, state: State) -> bool:
        """Whether it is asked for again: the server has failed to make any of it, for its own sake, and nobody has
        asked for it by hand (`requests`, rule 6)."""
        request, record = self.request, self.record
        if request is not None:
            ours, refusals = request.automatic, request.refusals
        else:  # the server's own answer to a turn
            ours, refusals = record is not None and record.current.of_user and not state.link.attached, 0
        _, limit = PASSING_AGAIN
        return (
            self.result is not None
            and self.result.status == "failed"
            and self.result.reason in PASSING
            and not (self.spoke or self.text_at is not None or self.calls or self.abandoned)
            and self.interrupted is None
            and self.in_conversation
            and ours
            and refusals < limit
        )

    def _ask_again(self, state: State, now: float) -> None:
        state.response_queue.pause(self._submit_again(state), now)

    def come_too_early(self, state: State) -> None:
        """The server has made it without items that it is told again. Ask for it once more, in its place."""
        self._submit_again(state, continues=self.id)
        self.too_early = self.abandoned = True

    def _submit_again(self, state: State, *, continues: str | None = None) -> Request:
        request = self.request
        again = submit(
            state,
            params=request.params if request is not None else None,
            automatic=True,
            reply_ids=self.release_callers(),
            tools=request.tools if request is not None else (),
            rounds=self.rounds,
            turn=request is None or request.turn,
            for_app=self.for_app,
            record=self.record,
            refusals=self.times_refused + 1,
            continues=continues,
        )
        if self.record is not None:
            self.record.current.retry()
        self.failed_over = True
        return again

    @property
    def times_refused(self) -> int:
        """How often the server has refused or failed to make it before."""
        return self.request.refusals if self.request is not None else 0

    def params_of_turn(self, state: State) -> Mapping[str, Any] | None:
        """The params of the request for what follows it in its turn, the answer to its calls or a better one: the
        options that the turn was asked for with, but for a `tool_choice` other than none. A tool that the model had to
        call has been called, so no tool is forced any more; where it was to call none, it still is."""
        given = self.request.params if self.request is not None and self.request.params is not None else {}
        params = {key: value for key, value in given.items() if key not in _OPTIONS_OF_ONE_RESPONSE}
        if state.agent is not self.agent:
            params = {key: value for key, value in params.items() if key not in _OPTIONS_OF_ONE_AGENT}
            if audio_format := within(params.pop("audio", None), "output", "format"):
                params["audio"] = {"output": {"format": audio_format}}
        if given.get("tool_choice") == "none":
            params["tool_choice"] = "none"
        elif state.agent is self.agent and _forces_tool(setting_in(state.acknowledged, "tool_choice")):
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
            params = {**(self.params_of_turn(state) or {}), "tool_choice": "none"}
            submit(state, params=params, automatic=True, rounds=self.rounds + 1, record=self.record)


def _forces_tool(choice: object) -> bool:
    return choice == "required" or isinstance(choice, Mapping)
