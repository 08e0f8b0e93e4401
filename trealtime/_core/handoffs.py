"""Handoffs: the agent changes when the server has acknowledged the settings of the new one, and not before.

Theory of operation
1. `Conversation.switch_agent` sends one ``session.update`` with what differs. Until the server has acknowledged it, the
   old agent is in charge here as it is there; a refusal leaves both sides as they were. Where no answer comes in time,
   the server may have made the change: it is told the old agent's settings again. The new ones are not sent twice: TCP
   has not lost them, and acknowledgements name no update, so the late one of a copy, or its refusal, would be taken for
   that of the next update. With nothing to send, the switch is made at once.
2. At the acknowledgement everything happens in one step: the agent, the ``handoff`` event, the output of the call that
   asked for it, and the request for the new agent's first answer.
3. One handoff at a time: while one is under way, others that the model calls are refused, with an output that says so.
   A handoff is too late if the agent that called it is no longer in charge.
4. A response belongs to the agent that was in charge when it began, to its end.
5. The server locks the voice: once it has made audio, it refuses another voice. `voice_lock` says whether it has, so
   that a voice that would be refused is not sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from trealtime._core.effects import SwitchAgent
from trealtime._core.settings import gate_switch, send_update
from trealtime._core.tool_calls import ToolOffer, answer_call
from trealtime._value import Value
from trealtime.events import RealtimeHandoffEvent, RealtimeSettingsMismatch, SettingsDifference
from trealtime.protocol.lenient import within

if TYPE_CHECKING:
    from trealtime._core.settings import SettingsUpdate
    from trealtime._core.state import State
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.tools.function_tool import FunctionTool

__all__ = ["AgentSwitch", "VoiceLock", "switch_agent", "take_back", "voice_lock"]

VoiceLock = Literal["open", "unsure", "locked"]
"""Whether the server takes another voice. ``"unsure"``: a response that may speak is being made or asked for."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AgentSwitch(Value):
    """The agent that takes over, with its tools. Where a handoff asked for it, the function call `call_id` gets its
    `output` then, and an answer is asked for with `params` (the ``response`` object of the wire)."""

    agent: RealtimeAgent[Any]
    tools: Sequence[FunctionTool | Mapping[str, Any]] = ()
    handoffs: Collection[str] = ()
    """Names of the functions by which it hands over itself."""

    source: RealtimeAgent[Any] | None = None
    """The agent that called the handoff."""

    call_id: str | None = None
    output: str = ""
    params: Mapping[str, Any] | None = None
    withheld: tuple[SettingsDifference, ...] = ()
    """Settings of the agent that were not sent, because the server would not take them any more."""

    def take_effect(self, state: State) -> None:
        """The server knows of it: make the switch."""
        before, state.agent = state.agent, self.agent
        ToolOffer(self.tools, self.handoffs).take_effect(state)
        state.do(SwitchAgent(self))
        if self.call_id is not None:
            call = state.calls.get(self.call_id)
            called_at = None if call is None else call.started_at
            state.emit(
                RealtimeHandoffEvent(from_agent=before, to_agent=self.agent, info=state.info, called_at=called_at)
            )
        if self.withheld:
            state.emit(RealtimeSettingsMismatch(differences=self.withheld, info=state.info))
        if self.call_id is not None and self.call_id in state.calls:  # else the app has answered the call by itself
            response = state.calls[self.call_id].response
            opened = response.opens_with(state, self.call_id, self.params)
            answer_call(state, self.call_id, self.output, respond=not opened, params=None if opened else self.params)


def switch_agent(state: State, switch: AgentSwitch, session: Mapping[str, Any] | None, *, reply_id: str | None) -> None:
    """See `Conversation.switch_agent`."""
    if _too_late(state, switch):
        state.settle(reply_id, state.acknowledged)
        return
    session = gate_switch(state, switch.agent, session)
    if session is not None:
        send_update(state, session, reply_id=reply_id, switch=switch)
        return
    switch.take_effect(state)
    state.settle(reply_id, state.acknowledged)


def take_back(state: State, update: SettingsUpdate) -> None:
    """The server has not answered this switch in time: the agent before stays in charge, also there. Its voice stays
    out, because a server that has spoken would refuse all of it."""
    update.withdraw()
    session = _before(update.session, state.link.settings or {}, state.acknowledged or {})
    if session:
        send_update(state, {"type": "realtime", **session})


def _before(changed: Mapping[str, Any], sent: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the changed settings had: as we have sent them, else as the server shows them."""
    before: dict[str, Any] = {}
    for key, value in changed.items():
        if key in ("audio", "input", "output"):
            inner = _before(value, within(sent, key) or {}, within(shown, key) or {})
            if inner:
                before[key] = inner
        elif key not in ("type", "voice"):
            old = sent.get(key, shown.get(key))
            if old is not None or key in ("prompt", "turn_detection"):
                before[key] = old
            elif key == "instructions":
                before[key] = ""
    return before


def _too_late(state: State, switch: AgentSwitch) -> bool:
    """Whether another agent than the one that called this handoff is in charge; then the output says so."""
    if switch.source is None or switch.source is state.agent:
        return False
    if switch.call_id in state.calls:
        why = f"Not made: {state.agent.name} has taken over meanwhile."
        answer_call(state, switch.call_id, why, outcome="refused")
    return True


def voice_lock(state: State) -> VoiceLock:
    """Whether the server accepts another voice, as far as we can tell."""
    if state.spoken:
        return "locked"
    return "unsure" if state.response_queue.busy or state.live() else "open"
