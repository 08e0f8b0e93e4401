"""A program that mypy and pyright check strictly: items narrow, agents name each other, keys are known."""

from __future__ import annotations

from typing import Any, assert_type

from trealtime import RealtimeAgent, RealtimeRunner, RealtimeSession, realtime_handoff
from trealtime.items import AssistantMessageItem, OtherItem, RealtimeToolCallItem, SystemMessageItem, UserMessageItem
from trealtime.settings import ModelConfigDict, RunConfigDict


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


run: RunConfigDict = {"model_settings": {"turn_detection": {"type": "server_vad", "threshold": 0.4}}}
connection: ModelConfigDict = {"initial_model_settings": {"voice": "marin"}}
runner = RealtimeRunner(triage, config=run)
written_out = RealtimeRunner(triage, config={"model_settings": {"speed": 1.1}, "limits": {"max_tokens": 5}})
# A key that is misspelt is an error for both checkers, which both would miss without these lines.
misspelt = RealtimeRunner(triage, config={"model_setings": {}})  # type: ignore[arg-type]
