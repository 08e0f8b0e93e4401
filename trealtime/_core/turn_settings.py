"""What the server is told about the user's turns, and what the app had wanted.

Theory of operation
1. Where something has to be known of a turn before it is answered (input guardrails, a `BargeIn`), the server is told
   not to answer by itself: ``create_response`` false. We then ask for the answers that it would have made.
2. Where speech may be no interruption (a `BargeIn`, an uninterruptible scope), it is told not to cancel by itself:
   ``interrupt_response`` false.
3. What the app had wanted is remembered when the server has acknowledged the settings that said so, and not before: a
   refusal changes nothing. When the reason is gone, the server is told what the app wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from trealtime._core.barge_in import BargeIn, BargeInPolicy
from trealtime._core.requests import Sent, SettingsUpdate
from trealtime.protocol.settings import deep_merge

if TYPE_CHECKING:
    from trealtime._core.handoffs import AgentSwitch
    from trealtime._core.state import State
    from trealtime._core.tool_calls import ToolOffer
    from trealtime.agents.agent import RealtimeAgent

__all__ = [
    "TurnSettings",
    "RequestedTurns",
    "detection_of",
    "gate_switch",
    "keep_server_told",
    "send_update",
    "turns_are_ours",
]


@attrs.frozen(kw_only=True)
class RequestedTurns:
    """What the app's settings would have the server do by itself."""

    answers: bool = True
    interrupts: bool = True


@attrs.define
class TurnSettings:
    """What is known of turns."""

    checked: bool = False
    """What the user says is checked before anything answers it."""

    uninterruptible: int = attrs.field(default=0, init=False)
    """Scopes in which speech interrupts nothing."""

    override: BargeInPolicy | None = attrs.field(default=None, init=False)
    """The policy of an endpoint, while it is attached."""

    requested: RequestedTurns = attrs.field(factory=RequestedTurns, init=False)


def turns_are_ours(state: State) -> bool:
    """Whether we answer turns, and the server never does."""
    return state.turns.checked or isinstance(state.policy, BargeIn)


def detection_of(session: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The turn detection in a session object; None where it is off or not there."""
    node: object = session
    for key in ("audio", "input", "turn_detection"):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else None


def gate_switch(state: State, agent: RealtimeAgent[Any], session: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The update that puts `agent` in charge. With the first one that checks what the user says, the server stops to
    answer turns by itself, for the rest of the session."""
    if not agent.input_guardrails or state.turns.checked:
        return session
    told_already = turns_are_ours(state)
    state.turns.checked = True
    if told_already or not state.turn_detection:
        return session
    own = session if session is not None else {"type": "realtime"}
    return deep_merge(_with_detection(state.turn_detection), own)


def send_update(
    state: State,
    session: Mapping[str, Any],
    *,
    reply_id: str | None = None,
    event_id: str | None = None,
    opening: bool = False,
    switch: AgentSwitch | None = None,
    offer: ToolOffer | None = None,
) -> None:
    """Send a ``session.update``, as the server may get it."""
    detection = detection_of(session)
    requested = None
    if detection is not None:
        requested = RequestedTurns(
            answers=detection.get("create_response", True) is not False,
            interrupts=detection.get("interrupt_response", True) is not False,
        )
        session = deep_merge(session, _with_detection(_forced(state)))
    event: dict[str, Any] = {"type": "session.update", "session": session}
    if event_id is not None:
        event["event_id"] = event_id
    event_id = state.send(event, Sent("session.update"))
    update = SettingsUpdate(event_id, session, reply_id, opening, switch, offer, requested)
    state.requests.updates.append(update)


def keep_server_told(state: State) -> None:
    """The reasons have changed: tell the server, where that makes a difference to what it was last told."""
    open_updates = [update for update in state.requests.updates if detection_of(update.session) is not None]
    told = detection_of(open_updates[-1].session) if open_updates else state.turn_detection
    if not told:
        return
    requested = next(
        (each.requested for each in reversed(open_updates) if each.requested is not None), state.turns.requested
    )
    wanted = {"create_response": requested.answers, "interrupt_response": requested.interrupts, **_forced(state)}
    if any(told.get(key, True) is not value for key, value in wanted.items()):
        session = _with_detection({**told, **wanted})
        event_id = state.send({"type": "session.update", "session": session}, Sent("session.update"))
        state.requests.updates.append(SettingsUpdate(event_id, session))


def _forced(state: State) -> dict[str, bool]:
    forced = {}
    if turns_are_ours(state):
        forced["create_response"] = False
    # With "off" from the beginning the settings say so, unless they were told something else.
    if state.turns.uninterruptible or isinstance(state.policy, BargeIn) or state.turns.override == "off":
        forced["interrupt_response"] = False
    return forced


def _with_detection(detection: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
