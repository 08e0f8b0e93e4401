"""Calls of hooks: queued as events happen, and made one after another by a task of their own.

Theory of operation
1. Hooks are called in the order of events. At the opening: start. For a response: response start, then its tools, its
   interrupts and its end, as their events come. At a switch: end of the old agent, handoff (where the model asked for
   it), start of the new one. At the end of the session: the calls that still wait, then end. For each, the hook of the
   run comes first, then the agent's own.
2. Nothing waits for a hook. The queue of calls is bounded; past the bound the session ends with `SlowConsumer`.
3. An exception out of a hook is a bug of the program: it is reported as every failure is, ends the session and comes
   out of it, bare.
4. When the session ends, the hook that runs is cancelled, and the others share one grace period.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import attrs
import trio

from trealtime._core.handoffs import AgentSwitch
from trealtime._session.failures import Failures
from trealtime._session.wakeup import Sleeper
from trealtime._value import Shown
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.hooks import RealtimeAgentHooks, RealtimeRunHooks
from trealtime.errors import HookFailed, SlowConsumer
from trealtime.events import EventInfo, RealtimeSessionEvent
from trealtime.terminal import text_of
from trealtime.tools.callables import name_of

__all__ = ["HookCalls"]

CALLS_WAITING: Final = 1000
"""The number of calls that may wait."""

_SPEAKERS: Final = 64
"""The number of responses that keep their agent. An interrupt may come long after its response, while the audio still
plays."""

_Call = partial[Any]


@attrs.define(eq=False, repr=False)
class HookCalls(Shown):
    """The hooks of one session. `note` takes events, `run` calls the hooks."""

    _run_hooks: RealtimeRunHooks[Any] | None
    _first: RealtimeAgent[Any]
    _failures: Failures
    _info: EventInfo
    _grace_s: float
    listening: bool = attrs.field(init=False)
    """Whether there are hooks to call: those of the run, or of any agent that has been in charge."""

    _start: Callable[[Callable[[], Awaitable[None]]], object] | None = attrs.field(default=None, init=False)
    _agent: RealtimeAgent[Any] | None = attrs.field(default=None, init=False)
    """The agent whose end hook has not been queued yet."""

    _calls: list[_Call] = attrs.field(factory=list, init=False)
    _caller: Sleeper = attrs.field(factory=Sleeper, init=False)
    _overrun: bool = attrs.field(default=False, init=False)
    _calling: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _speakers: dict[str, RealtimeAgent[Any]] = attrs.field(factory=dict, init=False)
    _text: list[str] = attrs.field(factory=list, init=False)
    _text_of: str | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.listening = self._run_hooks is not None or self._first.hooks is not None

    # ---- what happens --------------------------------------------------------------------------------------------

    def opened(self, agent: RealtimeAgent[Any], start: Callable[[Callable[[], Awaitable[None]]], object]) -> None:
        """Note that the session has opened with `agent`; `start` begins the task, once there are hooks to call."""
        self._agent = agent
        self._start = start
        self._begin()
        self._tell(agent, "on_agent_start", "on_start")

    def switched(self, switch: AgentSwitch) -> None:
        """Note that another agent is in charge."""
        before, agent = self._agent, switch.agent
        self._end()
        if not self.listening and agent.hooks is not None:
            self.listening = True
            self._begin()
        self._agent = agent
        if switch.call_id is not None and before is not None:
            if self._run_hooks is not None:
                self._put(partial(self._run_hooks.on_handoff, self._info.context, before, agent))
            if agent.hooks is not None:
                self._put(partial(agent.hooks.on_handoff, self._info.context, agent, before))
        self._tell(agent, "on_agent_start", "on_start")

    def _begin(self) -> None:
        if self.listening and self._start is not None:
            self._start(self.run)

    def note(self, event: RealtimeSessionEvent) -> None:
        """Note an event that has been emitted."""
        if event.type == "audio":  # by far the most of them
            return
        if event.type == "transcript_delta" or event.type == "text_delta":
            self._hear(event.response_id, event.delta)
        elif event.type == "agent_start":
            self._speak(event.response_id, event.agent)
            self._tell(event.agent, "on_response_start", "on_response_start", event)
        elif event.type == "agent_end":
            self._tell(event.agent, "on_response_end", "on_response_end", event)
        elif event.type == "tool_start":
            self._tell(event.agent, "on_tool_start", "on_tool_start", event.tool)
        elif event.type == "tool_end":
            self._tell(event.agent, "on_tool_end", "on_tool_end", event.tool, event.output)
        elif event.type == "audio_interrupted":
            agent = self._speakers.get(event.response_id or "", self._agent)
            if agent is not None:
                self._tell(agent, "on_interrupt", "on_interrupt", event)

    def _speak(self, response_id: str | None, agent: RealtimeAgent[Any]) -> None:
        self._speakers[response_id or ""] = agent
        if len(self._speakers) > _SPEAKERS:
            del self._speakers[next(iter(self._speakers))]

    def _hear(self, response_id: str | None, text: str) -> None:
        if response_id is None:  # the user's speech
            return
        if response_id != self._text_of:
            self._text_of = response_id
            self._text.clear()
        self._text.append(text)

    def _end(self) -> None:
        agent, self._agent = self._agent, None
        if agent is not None:
            own = self._text_of is not None and self._speakers.get(self._text_of) is agent
            self._tell(agent, "on_agent_end", "on_end", "".join(self._text) if own else "")

    def _tell(self, agent: RealtimeAgent[Any], run_hook: str, agent_hook: str, *arguments: object) -> None:
        for hooks, name in ((self._run_hooks, run_hook), (agent.hooks, agent_hook)):
            if hooks is not None and _overridden(hooks, name):
                self._put(partial(getattr(hooks, name), self._info.context, agent, *arguments))

    def _put(self, call: _Call) -> None:
        if len(self._calls) >= CALLS_WAITING:
            self._overrun = True
            self._calling.cancel()
            return
        self._calls.append(call)
        self._caller.wake()

    # ---- the task ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Call hooks until cancelled, then those that are queued. Raises what a hook raises, and `SlowConsumer`."""
        try:
            with self._calling:
                while True:
                    await self._call_waiting()
                    await self._caller.sleep()
        except trio.Cancelled:
            self._end()
            with trio.move_on_after(self._grace_s) as grace:
                grace.shield = True
                await self._call_waiting()
            raise
        if self._overrun:
            raise SlowConsumer(f"hooks fell {CALLS_WAITING} calls behind what happened in the session")

    async def _call_waiting(self) -> None:
        while self._calls:
            call = self._calls.pop(0)
            try:
                answer = call()
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:
                self._report(call, error)
                raise

    def _report(self, call: _Call, error: Exception) -> None:
        what = f"hook {name_of(call.func)} failed: {type(error).__name__}"
        failure = HookFailed(f"{what}: {text_of(error)}")
        failure.__cause__ = error
        self._failures.report("hook", failure, summary=f"{what}, it ends the session")


def _overridden(hooks: RealtimeAgentHooks[Any] | RealtimeRunHooks[Any], name: str) -> bool:
    """Whether a subclass defines this hook. The hooks of the base classes do nothing, so they are not queued."""
    base = RealtimeRunHooks if isinstance(hooks, RealtimeRunHooks) else RealtimeAgentHooks
    return getattr(type(hooks), name, None) is not getattr(base, name) or name in getattr(hooks, "__dict__", {})
