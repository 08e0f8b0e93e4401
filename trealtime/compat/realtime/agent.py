"""The realtime agent, with the SDK's order of fields, and lists that can be added to until a session begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict, Unpack

from trealtime.agents.agent import RealtimeAgent as NativeAgent
from trealtime.agents.guardrails import OutputGuardrail
from trealtime.agents.handoffs import Handoff as NativeHandoff
from trealtime.agents.hooks import RealtimeAgentHooks, RealtimeRunHooks
from trealtime.compat.exceptions import user_errors
from trealtime.compat.prompts import Prompt
from trealtime.compat.tool import Tool
from trealtime.mcp.servers import MCPConfig, MCPServer
from trealtime.tools.callables import answer_of
from trealtime.tools.context import ContextT, RunContext

__all__ = ["RealtimeAgent", "RealtimeAgentHooks", "RealtimeRunHooks"]

Instructions: TypeAlias = (
    str | Callable[[RunContext[ContextT], "RealtimeAgent[ContextT]"], str | Awaitable[str | None] | None]
)


class _Changes(TypedDict, total=False):
    name: str
    handoff_description: str | None
    tools: list[Tool]
    mcp_servers: list[MCPServer]
    mcp_config: MCPConfig | Mapping[str, object]
    instructions: Instructions[Any] | None
    prompt: Prompt | None
    handoffs: list[NativeAgent[Any] | NativeHandoff[Any]]
    output_guardrails: list[OutputGuardrail[Any]]
    hooks: RealtimeAgentHooks[Any] | None


class RealtimeAgent(NativeAgent[ContextT]):
    """An agent that answers in a session, with the SDK's fields in its order. They may be changed until a session
    begins.

    A session takes the agent as it is when the agent comes into charge; later changes count for the next time. Where
    two tools have one name, one of them has to be disabled by `is_enabled`.

    Raises TypeError for a field of the wrong type and `UserError` for a wrong value.
    """

    tools: list[Tool]
    mcp_servers: list[MCPServer]
    handoffs: list[NativeAgent[Any] | NativeHandoff[Any]]
    output_guardrails: list[OutputGuardrail[ContextT]]

    __setattr__ = object.__setattr__
    __delattr__ = object.__delattr__

    def __init__(
        self,
        name: str,
        handoff_description: str | None = None,
        tools: Sequence[Tool] = (),
        mcp_servers: Sequence[MCPServer] = (),
        mcp_config: MCPConfig | Mapping[str, object] | None = None,
        instructions: Instructions[ContextT] | None = None,
        prompt: Prompt | None = None,
        handoffs: Sequence[NativeAgent[Any] | NativeHandoff[Any]] = (),
        output_guardrails: Sequence[OutputGuardrail[ContextT]] | None = None,
        hooks: RealtimeAgentHooks[ContextT] | None = None,
    ) -> None:
        with user_errors():
            super().__init__(
                name,
                instructions=instructions,  # type: ignore[arg-type]  # it is called with this agent
                prompt=prompt,
                tools=_differently_named(tools),
                mcp_servers=mcp_servers,
                mcp_config=mcp_config,
                handoffs=handoffs,
                handoff_description=handoff_description,
                output_guardrails=() if output_guardrails is None else output_guardrails,
                hooks=hooks,
            )
        self.tools = list(tools)
        self.mcp_servers = list(mcp_servers)
        self.handoffs = list(handoffs)
        self.output_guardrails = list(output_guardrails or ())

    def clone(self, **changes: Unpack[_Changes]) -> RealtimeAgent[ContextT]:  # type: ignore[override]  # fewer fields
        """Return a copy with `changes`. It shares all other fields with this agent, the lists too."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in _Changes.__annotations__}
        fields.update(changes)
        copied = type(self)(**fields)
        for name in ("tools", "mcp_servers", "handoffs", "output_guardrails"):
            if name not in changes:
                setattr(copied, name, getattr(self, name))
        return copied

    async def get_system_prompt(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, run_context: RunContext[ContextT]
    ) -> str | None:
        """Return the instructions for `run_context`; waits for an async callable, and raises what it raises."""
        return await super().get_system_prompt(run_context)

    async def get_all_tools(self, run_context: RunContext[ContextT]) -> list[Tool]:
        """Return the agent's own tools that are enabled. Those of MCP servers are known to a session only."""
        return [tool for tool in self.tools if await _is_enabled(tool, run_context, self)]


async def _is_enabled(tool: Tool, run_context: RunContext[Any], agent: RealtimeAgent[Any]) -> bool:
    enabled = getattr(tool, "is_enabled", True)
    return bool(await answer_of(enabled(run_context, agent))) if callable(enabled) else bool(enabled)


def _differently_named(tools: Sequence[Tool]) -> Sequence[Tool]:
    """Return one tool of each name: of two, one may be disabled, which only a session finds out."""
    if not isinstance(tools, list | tuple):
        return tools
    by_name = {getattr(tool, "name", None) or id(tool): tool for tool in tools}
    return list(by_name.values())
