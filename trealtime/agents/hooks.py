"""Hooks: methods that a session calls as things happen, on an agent's own object or on one for the whole run.

They are called one after another, in the order of what happened, by a task that nothing else waits for: a slow hook
delays the hooks behind it and neither audio nor tools. See `trealtime._session.hooks` for when each is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from trealtime.tools.context import ContextT, RunContext

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.events import RealtimeAgentEndEvent, RealtimeAgentStartEvent, RealtimeAudioInterrupted
    from trealtime.tools.function_tool import FunctionTool

__all__ = ["RealtimeAgentHooks", "RealtimeRunHooks"]


class RealtimeAgentHooks(Generic[ContextT]):
    """What one agent wants to know: subclass it, and give the agent an instance (``RealtimeAgent(hooks=...)``)."""

    async def on_start(self, context: RunContext[ContextT], agent: RealtimeAgent[Any]) -> None:
        """`agent` takes over: the session has opened with it, or it has been handed the conversation."""

    async def on_end(self, context: RunContext[ContextT], agent: RealtimeAgent[Any], output: str) -> None:
        """`agent` leaves: another has taken over, or the session ends. `output` is what it said last."""

    async def on_handoff(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], source: RealtimeAgent[Any]
    ) -> None:
        """`agent` has been handed the conversation by `source`; called on the hooks of `agent`, before `on_start`."""

    async def on_tool_start(self, context: RunContext[ContextT], agent: RealtimeAgent[Any], tool: FunctionTool) -> None:
        """A tool has been called; with the ``tool_start`` event."""

    async def on_tool_end(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], tool: FunctionTool, result: object
    ) -> None:
        """A tool has returned `result`; with the ``tool_end`` event."""

    async def on_response_start(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], event: RealtimeAgentStartEvent
    ) -> None:
        """A response has begun; with the ``agent_start`` event."""

    async def on_response_end(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], event: RealtimeAgentEndEvent
    ) -> None:
        """A response is over, whatever its outcome; with the ``agent_end`` event."""

    async def on_interrupt(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], event: RealtimeAudioInterrupted
    ) -> None:
        """What `agent` was saying has been cut off; with each ``audio_interrupted`` event."""


class RealtimeRunHooks(Generic[ContextT]):
    """What a program wants to know of all its agents: ``RealtimeRunner(agent, config={"hooks": ...})``.

    Each is called before the agent's own hook of the same kind.
    """

    async def on_agent_start(self, context: RunContext[ContextT], agent: RealtimeAgent[Any]) -> None:
        """As `RealtimeAgentHooks.on_start`."""

    async def on_agent_end(self, context: RunContext[ContextT], agent: RealtimeAgent[Any], output: str) -> None:
        """As `RealtimeAgentHooks.on_end`."""

    async def on_handoff(
        self, context: RunContext[ContextT], from_agent: RealtimeAgent[Any], to_agent: RealtimeAgent[Any]
    ) -> None:
        """`from_agent` has handed the conversation to `to_agent`; with the ``handoff`` event."""

    async def on_tool_start(self, context: RunContext[ContextT], agent: RealtimeAgent[Any], tool: FunctionTool) -> None:
        """As `RealtimeAgentHooks.on_tool_start`."""

    async def on_tool_end(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], tool: FunctionTool, result: object
    ) -> None:
        """As `RealtimeAgentHooks.on_tool_end`."""

    async def on_response_start(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], event: RealtimeAgentStartEvent
    ) -> None:
        """As `RealtimeAgentHooks.on_response_start`."""

    async def on_response_end(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], event: RealtimeAgentEndEvent
    ) -> None:
        """As `RealtimeAgentHooks.on_response_end`."""

    async def on_interrupt(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], event: RealtimeAudioInterrupted
    ) -> None:
        """As `RealtimeAgentHooks.on_interrupt`."""
