"""Tool workers: each function call of the model runs in a scope of its own, and always gets an answer.

A tool that raises, is unknown or got wrong arguments neither ends the session nor leaves the model waiting: the model
is told what went wrong, and the app gets an ``error`` event.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import trio

from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.context import RunContext, ToolContext
from trealtime.agents.tool_output import serialise_output
from trealtime.agents.tools import FunctionTool, default_tool_error
from trealtime.conversation.commands import SendToolOutput
from trealtime.conversation.effects import FunctionCall
from trealtime.conversation.events import EventInfo, RealtimeError, RealtimeToolEnd, RealtimeToolStart
from trealtime.errors import ToolFailed
from trealtime.session.carrier import Carrier
from trealtime.session.lifetime import Lifetime

__all__ = ["ToolWorkers"]


class ToolWorkers:
    """Runs the function calls of one session, at most `concurrency` at a time; the others wait their turn."""

    def __init__(self, carrier: Carrier, lifetime: Lifetime, info: EventInfo, *, concurrency: int) -> None:
        self._carrier = carrier
        self._lifetime = lifetime
        self._info = info
        self._running = trio.CapacityLimiter(concurrency)
        # A second one of the same size: a worker that holds a token of the first may not ask it for another.
        self._threads = trio.CapacityLimiter(concurrency)
        self._scopes: dict[str, trio.CancelScope] = {}
        self.offered: tuple[FunctionTool, ...] = ()
        """The tools that the model has been told of."""

    @property
    def active(self) -> int:
        """Calls that run or wait to run."""
        return len(self._scopes)

    def start(self, call: FunctionCall) -> None:
        """Run a call; whoever is in charge now answers it, also after a handoff."""
        scope = self._scopes[call.call_id] = trio.CancelScope()
        self._lifetime.start_tool(partial(self._work, call, self._carrier.core.agent, scope))

    def cancel(self, call_id: str) -> None:
        """Stop a call; its output is not wanted any more."""
        scope = self._scopes.get(call_id)
        if scope is not None:
            scope.cancel()

    async def _work(self, call: FunctionCall, agent: RealtimeAgent[Any], scope: trio.CancelScope) -> None:
        try:
            with scope:
                tool = next((tool for tool in self.offered if tool.name == call.name), None)
                if tool is None:
                    self._refuse(call)
                else:
                    async with self._running:
                        await self._run(call, agent, tool)
        finally:
            if self._scopes.get(call.call_id) is scope:
                del self._scopes[call.call_id]

    def _refuse(self, call: FunctionCall) -> None:
        known = ", ".join(tool.name for tool in self.offered) or "none"
        message = f"There is no tool {call.name!r}. Tools: {known}."
        self._failed(call, ToolFailed(message, tool_name=call.name, call_id=call.call_id))
        self._answer(call, message)

    async def _run(self, call: FunctionCall, agent: RealtimeAgent[Any], tool: FunctionTool) -> None:
        context = self._context(call, agent)
        self._carrier.emit(
            RealtimeToolStart(agent=agent, tool=tool, arguments=call.arguments, info=self._info, call_id=call.call_id)
        )
        try:
            value = await tool.on_invoke_tool(context, call.arguments)
        except Exception as error:  # noqa: BLE001  (a tool's failure is an answer to the model and an event to the app)
            failure = ToolFailed(
                f"tool {call.name} failed: {type(error).__name__}: {error}", tool_name=call.name, call_id=call.call_id
            )
            failure.__cause__ = error
            self._failed(call, failure)
            self._answer(call, default_tool_error(context, error))
            return
        self._answer(call, serialise_output(value))
        self._carrier.emit(
            RealtimeToolEnd(
                agent=agent,
                tool=tool,
                arguments=call.arguments,
                output=value,
                info=self._info,
                call_id=call.call_id,
            )
        )

    def _context(self, call: FunctionCall, agent: RealtimeAgent[Any]) -> ToolContext[Any]:
        run: RunContext[Any] = self._info.context
        return ToolContext(
            context=run.context,
            usage=self._carrier.core.usage,
            tool_name=call.name,
            tool_call_id=call.call_id,
            tool_arguments=call.arguments,
            agent=agent,
            thread_limiter=self._threads,
        )

    def _answer(self, call: FunctionCall, output: str) -> None:
        self._carrier.command(SendToolOutput(call.call_id, output))

    def _failed(self, call: FunctionCall, error: ToolFailed) -> None:
        self._carrier.emit(RealtimeError(error=error, info=self._info))
