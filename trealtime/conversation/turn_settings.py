"""What the server is told about the user's turns, and what the app had wanted.

Theory of operation
1. Where turns are answered by us (something has to be known of them first), the server is told not to answer them:
   ``create_response`` false. We then ask for the answers that it would have made.
2. What the app had wanted is remembered when the server has acknowledged the settings that said so, and not before: a
   refusal changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from trealtime.protocol.settings import deep_merge

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.conversation.state import State

__all__ = ["TurnSettings", "TurnWishes", "as_sent", "detection_of", "gate_switch", "wishes_of"]


@attrs.frozen(kw_only=True)
class TurnWishes:
    """What the app's settings would have the server do by itself."""

    answers: bool = True


@attrs.define
class TurnSettings:
    """What is known of turns."""

    ours: bool = False
    """We answer them, and the server never does."""

    wishes: TurnWishes = attrs.field(factory=TurnWishes, init=False)


def detection_of(session: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The turn detection in a session object; None where it is off or not there."""
    node: object = session
    for key in ("audio", "input", "turn_detection"):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, Mapping) else None


def wishes_of(session: Mapping[str, Any]) -> TurnWishes | None:
    """What these settings want; None where they say nothing of turns."""
    detection = detection_of(session)
    return None if detection is None else TurnWishes(answers=detection.get("create_response", True) is not False)


def as_sent(state: State, session: Mapping[str, Any]) -> Mapping[str, Any]:
    """`session` as the server gets it."""
    if detection_of(session) is None or not state.turns.ours:
        return session
    return deep_merge(session, {"audio": {"input": {"turn_detection": {"create_response": False}}}})


def gate_switch(state: State, agent: RealtimeAgent[Any], session: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The update that puts `agent` in charge. With the first one that checks what the user says, the server stops to
    answer turns by itself, for the rest of the session."""
    if not agent.input_guardrails or state.turns.ours:
        return session
    state.turns.ours = True
    if not state.turn_detection:
        return session
    own = session if session is not None else {"type": "realtime"}
    return deep_merge({"type": "realtime", "audio": {"input": {"turn_detection": state.turn_detection}}}, own)
