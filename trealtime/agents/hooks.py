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
    """Methods that are called when something happens to one agent.

    Subclass it, override the methods you need, and give the agent an instance (``RealtimeAgent(hooks=...)``).
    """

    async def on_start(self, context: RunContext[ContextT], agent: RealtimeAgent[Any]) -> None:
        """`agent` takes over: the session opened with it, or another agent handed over to it."""

    async def on_end(self, context: RunContext[ContextT], agent: RealtimeAgent[Any], output: str) -> None:
        """`agent` leaves: another took over, or the session ends. `output` is the text of its last message."""

    async def on_handoff(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], source: RealtimeAgent[Any]
    ) -> None:
        """`source` handed the conversation to `agent`; called on the hooks of `agent`, before `on_start`."""

    async def on_tool_start(self, context: RunContext[ContextT], agent: RealtimeAgent[Any], tool: FunctionTool) -> None:
        """A tool is about to run; comes with the ``tool_start`` event."""

    async def on_tool_end(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], tool: FunctionTool, result: object
    ) -> None:
        """A tool returned `result`; comes with the ``tool_end`` event."""

    async def on_response_start(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], event: RealtimeAgentStartEvent
    ) -> None:
        """A response began; comes with the ``agent_start`` event."""

    async def on_response_end(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], event: RealtimeAgentEndEvent
    ) -> None:
        """A response ended, with any outcome; comes with the ``agent_end`` event."""

    async def on_interrupt(
        self, context: RunContext[ContextT], agent: RealtimeAgent[Any], event: RealtimeAudioInterrupted
    ) -> None:
        """The speech of `agent` was cut off; comes with each ``audio_interrupted`` event."""


class RealtimeRunHooks(Generic[ContextT]):
    """Methods that are called when something happens to any agent: ``RealtimeRunner(agent, config={"hooks": ...})``.

    Each is called before the agent's own hook of the same kind.
    """

    async def on_agent_start(self, context: RunContext[ContextT], agent: RealtimeAgent[Any]) -> None:
        """As `RealtimeAgentHooks.on_start`."""

    async def on_agent_end(self, context: RunContext[ContextT], agent: RealtimeAgent[Any], output: str) -> None:
        """As `RealtimeAgentHooks.on_end`."""

    async def on_handoff(
        self, context: RunContext[ContextT], from_agent: RealtimeAgent[Any], to_agent: RealtimeAgent[Any]
    ) -> None:
        """`from_agent` handed the conversation to `to_agent`; comes with the ``handoff`` event."""

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
