"""Handoffs, with the fields of the SDK."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic

from trealtime.agents.agent import RealtimeAgent as NativeAgent
from trealtime.agents.handoffs import Handoff as NativeHandoff
from trealtime.agents.handoffs import HandoffEnabled, realtime_handoff
from trealtime.compat.exceptions import UserError, user_errors
from trealtime.tools.context import ContextT, RunContext

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # checkers know it, installed or not

    AgentT = TypeVar("AgentT", bound=NativeAgent[Any], default=NativeAgent[Any])
else:
    from typing import TypeVar

    AgentT = TypeVar("AgentT")

__all__ = ["Handoff"]


class Handoff(NativeHandoff[ContextT], Generic[ContextT, AgentT]):
    """A function that the model calls to give the conversation to another agent; `realtime_handoff` makes one.

    `input_filter` and `nest_handoff_history` are there to be read: a realtime conversation stays on the server as it
    is, so anything but None is refused with a `UserError`.
    """

    input_filter: None
    nest_handoff_history: bool | None
    strict_json_schema: bool

    def __init__(
        self,
        tool_name: str,
        tool_description: str,
        input_json_schema: Mapping[str, Any],
        on_invoke_handoff: Callable[[RunContext[Any], str], Awaitable[NativeAgent[ContextT]]],
        agent_name: str,
        input_filter: None = None,
        nest_handoff_history: bool | None = None,  # noqa: FBT001  (positional in the SDK)
        strict_json_schema: bool = True,  # noqa: FBT001, FBT002
        is_enabled: HandoffEnabled = True,  # noqa: FBT002
    ) -> None:
        if input_filter is not None:
            raise UserError("input_filter: a realtime session cannot filter a conversation that is on the server")
        with user_errors():
            super().__init__(
                tool_name,
                tool_description,
                input_json_schema=input_json_schema or _NO_INPUT,
                on_invoke_handoff=on_invoke_handoff,
                agent_name=agent_name,
                is_enabled=is_enabled,
            )
        object.__setattr__(self, "input_filter", None)
        object.__setattr__(self, "nest_handoff_history", nest_handoff_history)
        object.__setattr__(self, "strict_json_schema", strict_json_schema)

    def get_transfer_message(self, agent: NativeAgent[Any]) -> str:
        """Return the output that the model reads of the handoff: which agent is in charge."""
        return json.dumps({"assistant": agent.name})

    @classmethod
    def default_tool_name(cls, agent: NativeAgent[Any]) -> str:
        """Return the name that a handoff to `agent` has where none is given."""
        return realtime_handoff(agent).tool_name

    @classmethod
    def default_tool_description(cls, agent: NativeAgent[Any]) -> str:
        """Return the description that a handoff to `agent` has where none is given."""
        return realtime_handoff(agent).tool_description


_NO_INPUT: Mapping[str, Any] = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
