"""Function calls: each runs once at most, and an answer follows where one is wanted.

Theory of operation
1. A call is known by its id. The same call once more (the same name, the same arguments as JSON) is ignored; another
   call under a used id, or under none, is an error of the model, of which the app gets an event. Nothing ever runs
   twice.
2. The tools are those that the model knew when it called: its response's own, else the session's. A tool
   that was declared by a wire mapping is the app's to run, and to answer with an item.
3. Every call that runs gets exactly one output; a later one is dropped.
4. An answer is asked for when the response is done and all its calls have their outputs, if one of them wants it.
   ``"always"`` and ``"never"`` mean what they say. ``"auto"`` wants an answer unless the tool had nothing to tell and
   the response has spoken already: "Done, I wrote it down" needs no second "I wrote it down", while "Let me check" does
   need what the check has found, and a silent response must not leave the user waiting.
5. A call that an interrupt has cancelled wants no answer: it is the user's turn.
6. At most `max_open_calls` that are ours to run have no output yet. One more is answered at once: it is not made.
7. After `max_tool_rounds` responses of one turn that have called functions, further calls are not made: a model that
   calls one tool again and again would otherwise never speak, and never stop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from trealtime._core.approvals import drop_approval, too_many_open
from trealtime._core.effects import CancelTool, FunctionCall, StartTool
from trealtime._value import Shown, Value
from trealtime.errors import ToolFailed, ToolRoundsExceeded
from trealtime.events import RealtimeError

if TYPE_CHECKING:
    from trealtime._core.response import Response
    from trealtime._core.state import State
    from trealtime.metrics import ToolSpanStatus
    from trealtime.tools.function_tool import FunctionTool

__all__ = ["Call", "ToolOffer", "answer_call", "begin_call", "end_call", "tools_by_name"]


@attrs.frozen(eq=False, repr=False)
class ToolOffer(Value):
    """The tools of the model; a tool that is a mapping is declared to the model, and the app runs it by itself.
    `handoffs` are the names of functions that hand over."""

    tools: Sequence[FunctionTool | Mapping[str, Any]] = ()
    handoffs: Collection[str] = ()

    def take_effect(self, state: State) -> None:
        """Make these the tools that the model knows."""
        state.tools, state.handoffs = tools_by_name(self.tools), frozenset(self.handoffs)


@attrs.define(eq=False, repr=False)
class Call(Shown):
    """A function call that has no output yet; its response may be done already."""

    call_id: str
    name: str
    response: Response
    fingerprint: str
    tool: FunctionTool | None
    """None: there is none of that name, or the app runs it."""

    started_at: float

    work: FunctionCall | None = None
    """The call for the tool runner; None: the app runs it."""

    cancelled: bool = False
    """An interrupt has cancelled it."""

    outcome: ToolSpanStatus | None = None
    """Set when it has its output."""

    ended_at: float | None = None
    """Set when the input that gave it its output has ended."""

    def end(self, outcome: ToolSpanStatus) -> None:
        """It has its output."""
        self.outcome = "cancelled" if self.cancelled else outcome

    def stamp(self, now: float) -> None:
        """Note when it got its output."""
        if self.outcome is not None and self.ended_at is None:
            self.ended_at = now

    @property
    def cancels(self) -> bool:
        """Whether an interrupt cancels it."""
        return self.tool is not None and self.tool.on_interrupt == "cancel" and not self.cancelled

    def cancel(self) -> None:
        """An interrupt cancels it."""
        self.cancelled = True

    def is_ours(self, work: FunctionCall) -> None:
        """The session makes it, not the app."""
        self.work = work


def tools_by_name(tools: Sequence[FunctionTool | Mapping[str, Any]]) -> dict[str, FunctionTool | None]:
    """The function tools among `tools`; None for one that is declared by a mapping: the app runs it."""
    found: dict[str, FunctionTool | None] = {}
    for tool in tools:
        if not isinstance(tool, Mapping):
            found[tool.name] = tool
        elif tool.get("type", "function") == "function" and isinstance(tool.get("name"), str):
            found[tool["name"]] = None
    return found


def begin_call(state: State, response: Response, item: Mapping[str, Any], now: float) -> None:
    """The model has finished writing a function call. A call of an out-of-band response is left to the caller who asked
    for that response, in its result: an output would have no place in the conversation."""
    name = item.get("name")
    if not response.in_conversation or item.get("status") not in (None, "completed") or not isinstance(name, str):
        return
    arguments = item.get("arguments")
    text = arguments if isinstance(arguments, str) else ""
    call_id = item.get("call_id")
    if not isinstance(call_id, str) or not call_id:
        _reject(state, response, "", name, f"the model called {name!r} without an id: there is no way to answer it")
        return
    fingerprint = _fingerprint(name, text)
    known = state.calls[call_id].fingerprint if call_id in state.calls else state.finished_calls.get(call_id)
    if known is not None:
        if known != fingerprint:
            why = f"the model called {name!r} under {call_id!r}, which is the id of another call: it is not run"
            _reject(state, response, call_id, name, why)
        return
    tools = tools_by_name(response.request.tools) if response.request is not None else {}
    tools = {**response.tools, **tools}
    tool = tools.get(name)
    call = state.calls[call_id] = Call(call_id, name, response, fingerprint, tool, now)
    response.call_began(call)
    if name in tools and tool is None:
        return
    item_id = item.get("id")
    work = FunctionCall(
        call_id=call_id,
        name=name,
        arguments=text,
        item_id=item_id if isinstance(item_id, str) else "",
        response_id=response.id,
        agent=response.agent,
        tool=tool,
        known=(*tools, *sorted(response.handoffs)),
    )
    call.is_ours(work)
    if response.rounds >= state.max_tool_rounds:
        response.refuse_calls(ToolRoundsExceeded(state.max_tool_rounds))
        text = f"The call of {name} was not made, because this turn has had {state.max_tool_rounds} rounds of calls."
        answer_call(state, call_id, text, respond=False, outcome="refused")
        return
    if sum(each.work is not None for each in state.calls.values()) > state.max_open_calls:
        answer_call(state, call_id, too_many_open(state, call_id, name), outcome="refused")
        return
    if name in response.handoffs and tool is None:
        winner = state.handing_over
        if winner is not None and winner.work is not None:
            text = f"Not made: another handoff ({winner.work.name}) is being made, only one can be."
            answer_call(state, call_id, text, outcome="refused")
            return
        state.handing_over = call
    state.do(StartTool(work))
    if response.interrupted is not None and call.cancels:
        call.cancel()
        state.do(CancelTool(call_id))


def answer_call(
    state: State,
    call_id: str,
    output: str,
    *,
    respond: bool | None = None,
    nothing_to_tell: bool = False,
    params: Mapping[str, Any] | None = None,
    outcome: ToolSpanStatus = "completed",
) -> None:
    """Give the server the output of a function call that has none yet; see `end_call`."""
    item = {"id": state.ids.new("item"), "type": "function_call_output", "call_id": call_id, "output": output}
    state.send({"type": "conversation.item.create", "item": item})
    end_call(state, call_id, respond=respond, nothing_to_tell=nothing_to_tell, params=params, outcome=outcome)


def end_call(
    state: State,
    call_id: str,
    *,
    respond: bool | None = None,
    nothing_to_tell: bool = False,
    params: Mapping[str, Any] | None = None,
    outcome: ToolSpanStatus = "completed",
) -> None:
    """A function call has its output. `respond` None leaves it to the rules whether that wants an answer, which is
    asked for with `params`."""
    drop_approval(state, call_id, "answered")
    call = state.calls.pop(call_id)
    call.end(outcome)
    state.finished_calls[call_id] = call.fingerprint
    if state.handing_over is call:
        state.handing_over = None
    if respond is None and not call.cancelled:
        policy = (call.tool.after_tool if call.tool is not None else None) or state.after_tool
        respond = None if policy == "auto" and nothing_to_tell else policy != "never"
        call.response.call_ended(call_id, respond=respond, params=params)
    else:
        call.response.call_ended(call_id, respond=bool(respond), params=params)
    call.response.follow_up(state)


def _reject(state: State, response: Response, call_id: str, name: str, why: str) -> None:
    failure = ToolFailed(why, tool_name=name, call_id=call_id)
    state.emit(RealtimeError(error=failure, info=state.info, response_id=response.id))


def _fingerprint(name: str, arguments: str) -> str:
    """A key that is the same for two equal calls: it compares arguments as JSON, not as text."""
    try:
        value = msgspec.json.decode(arguments or "{}")
        arguments = msgspec.json.encode(value, order="deterministic").decode()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    return hashlib.sha256(f"{name}\n{arguments}".encode(errors="surrogatepass")).hexdigest()
