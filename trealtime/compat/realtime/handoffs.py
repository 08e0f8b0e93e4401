"""Handoffs between realtime agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trealtime.agents import handoffs as native
from trealtime.agents.agent import RealtimeAgent as NativeAgent
from trealtime.agents.handoffs import HandoffEnabled, OnHandoff
from trealtime.compat.exceptions import user_errors
from trealtime.compat.handoffs import Handoff
from trealtime.compat.realtime.agent import RealtimeAgent
from trealtime.tools.context import ContextT

__all__ = ["realtime_handoff"]


def realtime_handoff(
    agent: RealtimeAgent[ContextT] | NativeAgent[ContextT] | Callable[[], NativeAgent[ContextT]],
    tool_name_override: str | None = None,
    tool_description_override: str | None = None,
    on_handoff: OnHandoff | None = None,
    input_type: type[Any] | None = None,
    is_enabled: HandoffEnabled = True,  # noqa: FBT002  (positional in the SDK)
) -> Handoff[ContextT, RealtimeAgent[ContextT]]:
    """Make a handoff to `agent`.

    `on_handoff` is called with the run context and, with `input_type`, with what the model wrote, validated.
    `trealtime.realtime_handoff` has more options. Raises TypeError and `UserError` for what cannot be.
    """
    with user_errors():
        made = native.realtime_handoff(
            agent,
            tool_name_override=tool_name_override,
            tool_description_override=tool_description_override,
            on_handoff=on_handoff,
            input_type=input_type,
            is_enabled=is_enabled,
        )
    return Handoff(
        made.tool_name,
        made.tool_description,
        made.input_json_schema,
        made.on_invoke_handoff,
        made.agent_name,
        is_enabled=made.is_enabled,
    )
