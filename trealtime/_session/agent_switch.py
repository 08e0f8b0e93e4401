"""The agent in charge of a session: handoffs that the model asks for, and agents that the app puts in charge.

Theory of operation
1. Only one change is on its way at a time: a lock holds from the comparison of settings to the server's answer. Updates
   of settings by the app take the same lock, so a comparison always sees the settings that the server has.
2. A handoff begins when the model has called it: `on_handoff` runs and the settings of the new agent are put together
   while the old one still speaks. The agents change when the response with that call is over; with ``when="heard"``,
   when the user has heard it as well.
3. A failure before the server has acknowledged the change leaves the old agent in charge, on both sides. The output of
   the call says why, and the app gets an ``error`` event unless it was the model's own mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import attrs
import msgspec
import trio

from trealtime._core.effects import FunctionCall
from trealtime._core.handoffs import AgentSwitch
from trealtime._core.tool_calls import ToolOffer
from trealtime._session.agent_settings import (
    AgentSettings,
    Offer,
    SwitchPlan,
    names_voice,
    plan_switch,
    served_change,
    settings_change,
    settings_of,
    told_of,
)
from trealtime._session.config import RealtimeModelConfig, RealtimeRunConfig
from trealtime._session.driver import Driver
from trealtime._session.failures import Failures, place_of
from trealtime._session.lifetime import Lifetime
from trealtime._session.mcp import SessionMCPServers
from trealtime._session.outgoing import check_sendable
from trealtime._session.pending_reply import PendingReply
from trealtime._value import Shown
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import Handoff
from trealtime.errors import SettingsRefused, ToolArgumentsError, ToolFailed
from trealtime.events import EventInfo
from trealtime.terminal import text_of
from trealtime.tools.callables import answer_of
from trealtime.tools.context import ToolContext
from trealtime.tools.function_tool import default_tool_error
from trealtime.tools.invocation import ToolErrorKind, format_error
from trealtime.tools.output import serialise_output

__all__ = ["Agents"]

_KEPT_PROPOSALS: Final = 16


@attrs.define(eq=False, repr=False)
class Agents(Shown):
    """The agents of one session. `current` is the one in charge, with the functions that the model may call."""

    _driver: Driver
    _lifetime: Lifetime
    _failures: Failures
    _info: EventInfo
    _run: RealtimeRunConfig
    _model: RealtimeModelConfig
    _servers: SessionMCPServers
    _current: AgentSettings | None = attrs.field(default=None, init=False)
    _told: dict[str, Any] = attrs.field(factory=dict, init=False)
    """The values last sent of the keys that every agent sets."""

    _lock: trio.Lock | None = attrs.field(default=None, init=False)
    """Made by the first change: most sessions have none."""

    _asked: PendingReply | None = attrs.field(default=None, init=False)
    """The last request to the server, which may still be open if its caller was cancelled."""

    _proposed: list[tuple[AgentSwitch, AgentSettings, SwitchPlan]] = attrs.field(factory=list, init=False)
    """The agents that take over when the server has acknowledged them, which may be after the time for that."""

    @property
    def current(self) -> AgentSettings:
        """The agent in charge; there is one from the opening on."""
        assert self._current is not None
        return self._current

    def begin(self, own: AgentSettings, session: Mapping[str, Any]) -> None:
        """Begin with this agent; `session` is the first update."""
        self._current = own
        self._told = told_of(session)

    def switched(self, switch: AgentSwitch) -> None:
        """Note that the core has made this switch."""
        _, self._current, plan = next(each for each in self._proposed if each[0] is switch)
        self._told |= told_of(plan.session or {})

    @property
    def _turn(self) -> trio.Lock:
        """Held by the change that is on its way."""
        if self._lock is None:
            self._lock = trio.Lock()
        return self._lock

    # ---- what the app wants --------------------------------------------------------------------------------------

    async def update_agent(self, agent: RealtimeAgent[Any]) -> None:
        """See `RealtimeSession.update_agent`."""
        new = await self._settings_of(agent)
        async with self._turn:
            offered = new.offer
            await self._switch(new, AgentSwitch(agent=agent, tools=offered.callable, handoffs=offered.handoff_names))

    async def update_settings(self, settings: Any) -> Mapping[str, Any]:
        """See `RealtimeSession.update_settings`."""
        async with self._turn:
            await self._settle_last()
            return await self._update(*await settings_change(settings, self.current, self._info.context, self._run))

    async def renew_served(self) -> None:
        """Send the tools of the agent's MCP servers, if they have changed."""
        async with self._turn:
            await self._settle_last()
            served = await self._servers.known_tools_of(self.current.agent)
            payload, offered = await served_change(served, self.current, self._info.context)
            if offered.wired != self.current.offer.wired:
                await self._update(payload, offered)

    async def _update(self, payload: Mapping[str, Any], offered: Offer | None) -> Mapping[str, Any]:
        check_sendable(payload, "settings")
        use = None if offered is None else ToolOffer(offered.callable, offered.handoff_names)

        def made() -> None:  # also when the caller has been cancelled
            self._told |= told_of(payload)
            if offered is not None:
                self._current = attrs.evolve(self.current, offer=offered)

        driver = self._driver
        acknowledged: Mapping[str, Any] = await self._ask(
            lambda reply_id: driver.do(driver.core.update_session, payload, reply_id=reply_id, offer=use), made
        )
        return acknowledged

    # ---- what the model wants ------------------------------------------------------------------------------------

    def take(self, call: FunctionCall) -> bool:
        """Begin the handoff that `call` asks for. False: it is no handoff."""
        handoff = self.current.offer.handoff(call.name) if call.tool is None else None
        if handoff is None:
            return False
        self._lifetime.start_tool(partial(self._hand_over, call, handoff))
        return True

    async def _hand_over(self, call: FunctionCall, handoff: Handoff[Any]) -> None:
        context = self._context(call)
        while self._lifetime.state == "opening":  # the model may be at work before the settings are acknowledged
            await self._driver.wait_for_change()
        try:
            target = await answer_of(handoff.on_invoke_handoff(context, call.arguments))
            if not isinstance(target, RealtimeAgent):
                raise TypeError(f"on_invoke_handoff of {handoff.tool_name} must return a RealtimeAgent, got {target!r}")
            new = await self._settings_of(target)
            while self._driver.core.is_live(call.response_id):
                await self._driver.wait_for_change()
            if handoff.when == "heard":
                await self._driver.wait_for_farewell()
            async with self._turn:
                # With a stored prompt alone there are no instructions that would have to stand before it.
                said = "\n\n".join(text for text in (new.instructions, handoff.opening) if text)
                switch = AgentSwitch(
                    agent=target,
                    tools=new.offer.callable,
                    handoffs=new.offer.handoff_names,
                    source=call.agent,
                    call_id=call.call_id,
                    output=msgspec.json.encode({"assistant": target.name}).decode(),
                    params={"instructions": said} if handoff.opening else None,
                )
                await self._switch(new, switch)
        except Exception as error:  # noqa: BLE001  (a user's callable: its failure is an output and an event)
            await self._failed(call, context, error)

    async def _failed(self, call: FunctionCall, context: ToolContext[Any], error: Exception) -> None:
        if self._lifetime.state != "open":
            return
        own_mistake = isinstance(error, ToolArgumentsError)
        kind: ToolErrorKind = "invalid_arguments" if own_mistake else "failed"
        default = f"The handoff was not made. {default_tool_error(context, error)}"
        text, troubles = await format_error(kind, default, context, self._run.tool_error_formatter)
        for trouble in (*(() if own_mistake else (error,)), *troubles):
            failure = ToolFailed(
                f"handoff {call.name} failed: {type(trouble).__name__}: {text_of(trouble)}",
                tool_name=call.name,
                call_id=call.call_id,
            )
            failure.__cause__ = trouble
            summary = f"handoff {call.name} failed: {type(trouble).__name__}"
            self._failures.report("handoff", failure, summary=summary, **place_of(call))
        output = serialise_output(text)
        self._driver.do(self._driver.core.send_tool_output, call.call_id, output, outcome="failed")

    def _context(self, call: FunctionCall) -> ToolContext[Any]:
        return ToolContext(
            context=self._info.context.context,
            usage=self._driver.core.usage,
            tool_name=call.name,
            tool_call_id=call.call_id,
            tool_arguments=call.arguments,
            agent=call.agent,
        )

    # ---- the change ----------------------------------------------------------------------------------------------

    async def _settings_of(self, agent: RealtimeAgent[Any]) -> AgentSettings:
        served = await self._servers.tools_of(agent)
        new = await settings_of(agent, self._info.context, self._run, self._model, served=served, opening=False)
        # Here, before anything happens: a stored schema or a setting may hold what has no JSON form.
        check_sendable(self._plan(new, voice_open=True).session or {}, "settings")
        return new

    async def _switch(self, new: AgentSettings, switch: AgentSwitch) -> None:
        """Put `new` in charge, under the lock. When this raises `SettingsRefused`, nothing has changed."""
        core = self._driver.core
        if names_voice(new):
            while core.voice_lock == "unsure":
                await self._driver.wait_for_change()
                self._lifetime.check_open()
        try:
            await self._propose(new, switch, voice_open=core.voice_lock == "open")
        except SettingsRefused as refused:
            # The server may have begun to speak by itself (an answer to the user's turn) before it read this.
            if not names_voice(new) or "voice" not in f"{refused.code} {refused.param}":
                raise
            await self._propose(new, switch, voice_open=False)

    async def _propose(self, new: AgentSettings, switch: AgentSwitch, *, voice_open: bool) -> None:
        await self._settle_last()
        plan = self._plan(new, voice_open=voice_open)
        proposed = attrs.evolve(switch, withheld=plan.withheld)
        self._proposed.append((proposed, new, plan))
        del self._proposed[:-_KEPT_PROPOSALS]
        driver = self._driver
        await self._ask(lambda reply_id: driver.do(driver.core.switch_agent, proposed, plan.session, reply_id=reply_id))

    def _plan(self, new: AgentSettings, *, voice_open: bool) -> SwitchPlan:
        core = self._driver.core
        return plan_switch(
            self.current,
            new,
            told=self._told,
            acknowledged=core.acknowledged or {},
            defaults=core.defaults,
            voice_open=voice_open,
        )

    async def _ask(self, give: Callable[[str], None], then: Callable[[], None] | None = None) -> Any:
        self._lifetime.check_open()
        reply = self._asked = self._driver.replies.open(then)
        give(reply.id)
        try:
            return await reply.wait()
        except Exception as error:  # noqa: BLE001  (the core may settle it with any error)
            raise self._lifetime.own(error) from None

    async def _settle_last(self) -> None:
        """Wait for the answer to a request whose caller was cancelled."""
        if self._asked is not None:
            await self._asked.settled()
            self._asked = None
