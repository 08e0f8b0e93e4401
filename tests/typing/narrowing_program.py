"""A program that mypy and pyright check strictly: items narrow by their type, agents name each other. Nobody runs it."""

from __future__ import annotations

from typing import Any, assert_type

from trealtime import RealtimeAgent, RealtimeSession, realtime_handoff
from trealtime.items import AssistantMessageItem, OtherItem, RealtimeToolCallItem, SystemMessageItem, UserMessageItem


def to_triage() -> RealtimeAgent[Any]:
    """Return the agent that is made last."""
    return triage


billing = RealtimeAgent(name="Billing", handoffs=[realtime_handoff(to_triage, tool_name_override="transfer_to_triage")])
triage = RealtimeAgent(name="Triage", handoffs=[billing])


def narrow(session: RealtimeSession[Any]) -> None:
    """Look at every kind of item."""
    for item in session.history:
        if item.type == "message":
            assert_type(item, SystemMessageItem | UserMessageItem | AssistantMessageItem)
            if item.role == "assistant":
                assert_type(item, AssistantMessageItem)
        elif item.type == "function_call":
            assert_type(item, RealtimeToolCallItem)
        else:
            assert_type(item, OtherItem)
