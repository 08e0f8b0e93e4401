"""Who is in charge: the agent changes when the server has acknowledged what the new one is, and not before.

Theory of operation
1. `Conversation.switch_agent` sends one ``session.update`` with what differs. Until the server has acknowledged it, the old agent
   is in charge here as it is there; a refusal leaves both sides as they were. With nothing to send, the switch is made
   at once.
2. At the acknowledgement everything happens in one step: the agent, the ``handoff`` event, the output of the call that
   asked for it, and the request for the new agent's first answer.
3. One handoff at a time: while one is being made, others that the model calls are not, and it reads so. One that finds
   another agent in charge than the one that called it is too late.
4. A response belongs to the agent that was in charge when it began, to its end.
5. The voice is the server's to lock: once it has made audio, it refuses another voice. `voice_lock` says what is known
   of that, so that a voice that would be refused is not sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from trealtime._core.effects import SwitchAgent
from trealtime._core.tool_calls import answer_call, tools_by_name
from trealtime._core.turn_settings import gate_switch, send_update
from trealtime.events import RealtimeHandoffEvent, RealtimeSettingsMismatch, SettingsDifference

if TYPE_CHECKING:
    from trealtime._core.state import State
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.tools.function_tool import FunctionTool

__all__ = ["AgentSwitch", "VoiceLock", "complete_switch", "switch_agent", "voice_lock"]

VoiceLock = Literal["open", "unsure", "locked"]
"""Whether the server takes another voice. ``"unsure"``: a response that may speak is being made or asked for."""


@attrs.frozen(kw_only=True)
class AgentSwitch:
    """Who takes over, with which tools, and what follows when it has: the `output` of the function call `call_id` and
    an answer with `params` (the ``response`` object of the wire), where a handoff asked for it."""

    agent: RealtimeAgent[Any]
    tools: Sequence[FunctionTool | Mapping[str, Any]] = ()
    handoffs: Collection[str] = ()
    """Names of the functions by which it hands over itself."""

    source: RealtimeAgent[Any] | None = None
    """Who called the handoff."""

    call_id: str | None = None
    output: str = ""
    params: Mapping[str, Any] | None = None
    withheld: tuple[SettingsDifference, ...] = ()
    """Settings of the agent that were not sent, because the server would not take them any more."""


def switch_agent(state: State, switch: AgentSwitch, session: Mapping[str, Any] | None, *, reply_id: str | None) -> None:
    """See `Conversation.switch_agent`."""
    if _too_late(state, switch):
        state.settle(reply_id, state.acknowledged)
        return
    session = gate_switch(state, switch.agent, session)
    if session is not None:
        send_update(state, session, reply_id=reply_id, switch=switch)
        return
    complete_switch(state, switch)
    state.settle(reply_id, state.acknowledged)


def complete_switch(state: State, switch: AgentSwitch) -> None:
    """The server knows of it: `switch` is made."""
    before, state.agent = state.agent, switch.agent
    state.tools, state.handoffs = tools_by_name(switch.tools), frozenset(switch.handoffs)
    state.do(SwitchAgent(switch))
    if switch.call_id is not None:
        state.emit(RealtimeHandoffEvent(from_agent=before, to_agent=switch.agent, info=state.info))
    if switch.withheld:
        state.emit(RealtimeSettingsMismatch(differences=switch.withheld, info=state.info))
    call = state.calls.get(switch.call_id) if switch.call_id is not None else None
    if call is not None:  # else the app has answered the call by itself
        call.response.answer_params = switch.params
        answer_call(state, call.call_id, switch.output, respond=True)


def _too_late(state: State, switch: AgentSwitch) -> bool:
    """Whether somebody else than who asked for this handoff is in charge; then the model is told so."""
    if switch.source is None or switch.source is state.agent:
        return False
    if switch.call_id in state.calls:
        answer_call(state, switch.call_id, f"Not made: {state.agent.name} has taken over meanwhile.")
    return True


def voice_lock(state: State) -> VoiceLock:
    """What is known of the server's lock on the voice."""
    if state.spoken:
        return "locked"
    return "unsure" if state.response_queue.busy or state.live() else "open"
