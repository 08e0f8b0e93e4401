"""Approvals: calls that wait for a yes or a no.

Theory of operation
1. The tool runner finds out whether a function call needs approval, because `needs_approval` may be a callable of the
   user's, and asks for it only if it does. A tool that the server runs asks by itself, with an item.
2. A decision for always holds for the session, and for tools of the same kind, namespace, name and identity. It is
   looked at last, after everything that takes time, so that one made meanwhile counts. In another process it holds for
   tools that are declared alike; where a declaration cannot be told apart there, it is asked for again.
3. A call that waits for approval is parked: it holds no worker and no place, and delays nothing but the answer to its
   own response. The same call, sent again, changes nothing.
4. It is decided once: the first decision counts. After a yes it runs with the tool and the agent that it came with;
   after a no its output says so.
5. It is dropped, with an event that says why, when its deadline has passed, an interrupt has cancelled it, the app has
   answered it by itself, or the session ends.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

import attrs

from trealtime._core.effects import ApprovalRequest, AskApproval, Refusal, StartTool, WithdrawApproval
from trealtime._value import Shown, Value
from trealtime.errors import ToolFailed
from trealtime.events import (
    RealtimeError,
    RealtimeToolApprovalDropped,
    RealtimeToolApprovalRequired,
)
from trealtime.mcp.hosted import HostedMCPTool, HostedTool, digest

if TYPE_CHECKING:
    from trealtime._core.state import State
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.tools.function_tool import FunctionTool

__all__ = [
    "Approvals",
    "DropReason",
    "SavedDecision",
    "Standing",
    "ask_hosted",
    "decide",
    "drop_approval",
    "expire_approvals",
    "interrupt_approval",
    "request_approval",
    "too_many_open",
]

DropReason = Literal["timeout", "interrupted", "answered", "closed"]

NOT_APPROVED = "Tool execution was not approved."


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Standing(Value):
    """A decision for always; the model reads `message` of a no."""

    approve: bool
    message: str | None = None

    @property
    def refusal(self) -> Refusal | None:
        """The reason not to make a call; None if this decision allows it."""
        if self.approve:
            return None
        text = NOT_APPROVED if self.message is None else self.message
        return Refusal(kind="approval_rejected", message=text, final=self.message is not None)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SavedDecision(Value):
    """A decision for always, for another process: it holds for the tools of this kind and these names whose declaration
    has this digest."""

    kind: Literal["function", "hosted"]
    namespace: str | None
    name: str
    approve: bool
    message: str | None = None
    declaration: str = ""


@attrs.define(eq=False, repr=False)
class Approvals(Shown):
    """The calls that wait for approval, and the decisions for always."""

    timeout_s: float | None = None
    pending: dict[str, ApprovalRequest] = attrs.field(factory=dict, init=False)
    """By call id, oldest first."""

    _standing: dict[_Key, Standing] = attrs.field(factory=dict, init=False)
    _declared: dict[_Key, str] = attrs.field(factory=dict, init=False)
    """The declarations of the tools that those are about, where another process can compare them."""

    _resumed: dict[_Key, Standing] = attrs.field(factory=dict, init=False)
    """Decisions that another process has made, with the declaration in place of the identity."""

    @property
    def deadline(self) -> float | None:
        """The time at which the next one is given up."""
        if not self.pending:
            return None
        times = [request.expires_at for request in self.pending.values() if request.expires_at is not None]
        return min(times, default=None)

    def standing(self, tool: FunctionTool | HostedTool) -> Standing | None:
        """The decision for always that holds for such a tool; None also where the tool needs no approval."""
        if not isinstance(tool, HostedTool) and tool.needs_approval is False:
            return None
        found = self._standing.get(_key(tool))
        if found is not None or not self._resumed:
            return found
        return self._resumed.get((*_key(tool)[:3], _declaration(tool)))

    def park(self, request: ApprovalRequest) -> None:
        """Park this call until it is decided."""
        self.pending[request.call_id] = request

    def take(self, call_id: str) -> ApprovalRequest | None:
        """Take this call out; return its request, None if it did not wait."""
        return self.pending.pop(call_id, None)

    def decisions(self) -> list[SavedDecision]:
        """The decisions for always, for another process."""
        moved = dict(self._resumed)
        for key, declaration in self._declared.items():
            moved[key[0], key[1], key[2], declaration] = self._standing[key]
        return [
            SavedDecision(
                kind="hosted" if kind == "hosted" else "function",
                namespace=namespace,
                name=name,
                approve=each.approve,
                message=each.message,
                declaration=str(declaration),
            )
            for (kind, namespace, name, declaration), each in moved.items()
        ]

    def resume(self, decisions: Iterable[SavedDecision]) -> None:
        """Another process has made these decisions."""
        for each in decisions:
            standing = Standing(approve=each.approve, message=each.message)
            if each.declaration:
                self._resumed[each.kind, each.namespace, each.name, each.declaration] = standing

    def stand(self, tool: FunctionTool | HostedTool, standing: Standing) -> None:
        """Take this decision for always about such tools."""
        key, declaration = _key(tool), _declaration(tool)
        self._standing[key] = standing
        if declaration is not None:
            self._declared[key] = declaration


def _key(tool: FunctionTool | HostedTool) -> _Key:
    if isinstance(tool, HostedTool):
        return "hosted", tool.server_label, tool.name, tool.identity
    return "function", tool.namespace, tool.name, _Same(tool.on_invoke_tool) if tool.identity is None else tool.identity


def _declaration(tool: FunctionTool | HostedTool) -> str | None:
    """A digest of the declaration of a tool, by which another process knows it; None where it is an object of this
    one."""
    if isinstance(tool, HostedTool):
        return digest(tool.identity)
    if tool.identity is not None:
        return digest(tool.identity) if _is_plain(tool.identity) else None
    function: Any = getattr(tool.on_invoke_tool, "function", tool.on_invoke_tool)
    named = function if hasattr(function, "__qualname__") else type(function)
    return digest(named.__module__, named.__qualname__, tool.description, tool.params_json_schema)


def _is_plain(identity: object) -> bool:
    if isinstance(identity, tuple):
        return all(map(_is_plain, identity))
    return identity is None or isinstance(identity, (str, bytes, int, float))


@attrs.frozen(eq=False, repr=False)
class _Same(Shown):
    """A key for an object that may have no hash; it is equal for the same object only."""

    value: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


_Key = tuple[str, str | None, str, Hashable]
"""The key of a decision for always: kind, namespace, name, identity."""


# ---- asked ----------------------------------------------------------------------------------------------------------


def request_approval(state: State, call_id: str, now: float) -> None:
    """See `Conversation.request_approval`."""
    call = state.calls.get(call_id)
    if call is None or call.work is None or call.tool is None or call_id in state.approvals.pending:
        return
    standing = state.approvals.standing(call.tool)
    if call.cancelled:
        _refuse(state, call_id, _interrupted(call.tool.name))
    elif standing is not None:
        _answer(state, call_id, standing)
    else:
        _park(state, call.tool, call_id, call.work.arguments, now, agent=call.work.agent)


def ask_hosted(state: State, agent: RealtimeAgent[Any], item: Mapping[str, Any], now: float) -> None:
    """The server asks for a call of a tool that it runs (an item ``mcp_approval_request``), in a response of `agent`.
    Its answer is an item too, after which the server goes on by itself."""
    request_id, arguments = item.get("id"), item.get("arguments")
    if not isinstance(request_id, str) or not request_id:
        return
    if request_id in state.approvals.pending or request_id in state.finished_calls:
        return
    label = str(item.get("server_label"))
    # A server that the agent does not list comes from its stored prompt, say, which another agent does not have.
    unlisted = digest("unlisted", agent.name)
    identity = next((tool.identity() for tool in agent.tools if _is_labelled(tool, label)), unlisted)
    tool = HostedTool(name=str(item.get("name")), server_label=label, identity=identity)
    text = arguments if isinstance(arguments, str) else ""
    standing = state.approvals.standing(tool)
    if standing is None and len(state.approvals.pending) >= state.max_open_calls:
        _answer_hosted(state, request_id, approve=False, reason=too_many_open(state, request_id, tool.name))
    elif standing is None:
        _park(state, tool, request_id, text, now, agent=agent)
    else:
        _answer(state, request_id, standing)


def _is_labelled(tool: object, label: str) -> TypeGuard[HostedMCPTool]:
    return isinstance(tool, HostedMCPTool) and tool["server_label"] == label


def too_many_open(state: State, call_id: str, name: str) -> str:
    """Refuse a call, because `max_open_calls` are open: tell the app, and return the output for the model."""
    state.counters.calls_refused += 1
    error = ToolFailed(
        f"the call of {name} was not made: {state.max_open_calls} calls have no output yet (max_open_calls)",
        tool_name=name,
        call_id=call_id,
    )
    state.emit(RealtimeError(error=error, info=state.info, response_id=_response_of(state, call_id)))
    return f"The call of {name} was not made, because too many calls have no result yet. Wait for those."


def _response_of(state: State, call_id: str) -> str | None:
    call = state.calls.get(call_id)
    return None if call is None else call.response.id


def _park(
    state: State,
    tool: FunctionTool | HostedTool,
    call_id: str,
    arguments: str,
    now: float,
    *,
    agent: Any,
) -> None:
    timeout_s = state.approvals.timeout_s
    request = ApprovalRequest(
        agent=agent,
        tool=tool,
        call_id=call_id,
        arguments=arguments,
        context=state.info.context,
        response_id=_response_of(state, call_id),
        expires_at=None if timeout_s is None else now + timeout_s,
    )
    state.approvals.park(request)
    state.do(AskApproval(request))
    state.emit(
        RealtimeToolApprovalRequired(
            agent=agent,
            tool=tool,
            call_id=call_id,
            arguments=arguments,
            info=state.info,
            expires_at=request.expires_at,
        ),
    )


# ---- decided --------------------------------------------------------------------------------------------------------


def decide(state: State, call_id: str, *, approve: bool, always: bool, message: str | None) -> None:
    """See `Conversation.decide_approval`."""
    request = _take(state, call_id)
    if request is None:
        return
    decision = Standing(approve=approve, message=message)
    if always:
        state.approvals.stand(request.tool, decision)
    _answer(state, call_id, decision)


def _answer(state: State, call_id: str, decision: Standing) -> None:
    refusal = decision.refusal
    if refusal is None:
        _clear(state, call_id)
    else:
        _refuse(state, call_id, refusal)


def _clear(state: State, call_id: str) -> None:
    call = state.calls.get(call_id)
    if call is None:
        _answer_hosted(state, call_id, approve=True)
    elif call.work is not None:
        state.do(StartTool(attrs.evolve(call.work, cleared=True)))


def _refuse(state: State, call_id: str, refusal: Refusal) -> None:
    call = state.calls.get(call_id)
    if call is None:
        _answer_hosted(state, call_id, approve=False, reason=refusal.message)
    elif call.work is not None:
        state.do(StartTool(attrs.evolve(call.work, refusal=refusal)))


def _answer_hosted(state: State, call_id: str, *, approve: bool, reason: str | None = None) -> None:
    item: dict[str, Any] = {
        "id": state.ids.new("item"),
        "type": "mcp_approval_response",
        "approval_request_id": call_id,
        "approve": approve,
    }
    if reason is not None:
        item["reason"] = reason.encode(errors="replace").decode()  # no wire carries a lone surrogate
    state.finished_calls[call_id] = ""
    state.send({"type": "conversation.item.create", "item": item})


# ---- dropped --------------------------------------------------------------------------------------------------------


def drop_approval(state: State, call_id: str, reason: DropReason) -> bool:
    """Stop waiting for a decision, for this reason; return whether the call was pending."""
    request = _take(state, call_id)
    if request is None:
        return False
    if isinstance(request.tool, HostedTool):
        state.finished_calls[call_id] = ""
    dropped = RealtimeToolApprovalDropped(
        agent=request.agent,
        tool=request.tool,
        call_id=call_id,
        arguments=request.arguments,
        reason=reason,
        info=state.info,
    )
    state.emit(dropped)
    return True


def expire_approvals(state: State, now: float) -> None:
    """Reject the calls whose time is over."""
    for request in list(state.approvals.pending.values()):
        if request.expires_at is not None and request.expires_at <= now:
            drop_approval(state, request.call_id, "timeout")
            text = f"Nobody approved the call within {state.approvals.timeout_s:g} s, so it was not made."
            _refuse(state, request.call_id, Refusal(kind="approval_rejected", message=text))


def interrupt_approval(state: State, call_id: str) -> bool:
    """An interrupt cancels this call; return whether it was pending, and so has no worker that could be stopped."""
    if not drop_approval(state, call_id, "interrupted"):
        return False
    call = state.calls[call_id]
    assert call.tool is not None
    _refuse(state, call_id, _interrupted(call.tool.name))
    return True


def _interrupted(name: str) -> Refusal:
    return Refusal(kind="cancelled", message=f"The call of {name} was cancelled by an interrupt. It was not made.")


def _take(state: State, call_id: str) -> ApprovalRequest | None:
    request = state.approvals.take(call_id)
    if request is not None:
        state.do(WithdrawApproval(call_id))
    return request
