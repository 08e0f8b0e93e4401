"""What a session is made of, and who tells whom.

The core decides; the driver brings what it decided to the part whose work it is, and gets its parts here.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from trealtime._core.conversation import Conversation
from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.ids import IdSource
from trealtime._session import config
from trealtime._session.agent_switch import Agents
from trealtime._session.approval_handler import ApprovalWorkers
from trealtime._session.asking import Asking
from trealtime._session.attachments import Attachments
from trealtime._session.config import RealtimeModelConfig, RealtimeRunConfig
from trealtime._session.driver import Driver
from trealtime._session.endpoint_output import EVENTS
from trealtime._session.guardrail_runner import GuardrailWorkers, guardrail_policy
from trealtime._session.hooks import HookCalls
from trealtime._session.lifetime import Lifetime
from trealtime._session.mcp import SessionMCPServers
from trealtime._session.pending_reply import PendingReplies
from trealtime._session.send_queue import SendQueue
from trealtime._session.statistics import SessionStatistics
from trealtime._session.subscription import SessionLoops, Subscriptions
from trealtime._session.tool_runner import ToolWorkers
from trealtime.agents.agent import RealtimeAgent
from trealtime.events import EventInfo
from trealtime.mcp.connections import Connections
from trealtime.protocol.validation import NOT_SET
from trealtime.tools.context import RunContext
from trealtime.transport.models import RealtimeModel

__all__ = ["SessionParts"]


class SessionParts:
    """The parts of one session, made and connected. Raises `SettingsError` for either config."""

    run: RealtimeRunConfig
    config: RealtimeModelConfig
    ids: IdSource
    guardrails: GuardrailPolicy
    driver: Driver
    lifetime: Lifetime
    asking: Asking
    subscriptions: Subscriptions
    servers: SessionMCPServers
    agents: Agents
    hooks: HookCalls
    attachments: Attachments
    loops: SessionLoops

    def __init__(
        self,
        model: RealtimeModel,
        agent: RealtimeAgent[Any],
        context: object,
        *,
        model_config: RealtimeModelConfig | Mapping[str, Any] | None,
        run_config: RealtimeRunConfig | Mapping[str, Any] | None,
        rng: random.Random | None,
    ) -> None:
        self.model = model
        self.run = run = config.run_config(run_config)
        self.config = config.model_config(model_config)
        self.context: RunContext[Any] = RunContext(context)
        self.ids = IdSource(rng) if rng is not None else IdSource()
        self.guardrails = guardrail_policy(run, agent)
        self._tracker = None if self.config.playback_tracker is NOT_SET else self.config.playback_tracker
        info = EventInfo(self.context)
        core = Conversation(
            agent=agent,
            info=info,
            ids=self.ids,
            position=self._tracker.position if self._tracker is not None else None,
            barge_in=run.barge_in,
            raw_events=run.raw_events,
            cancel_grace_s=run.cancel_grace_s,
            response_timeout_s=run.response_timeout_s,
            after_tool=run.after_tool,
            approval_timeout_s=run.approval_timeout_s,
            max_open_calls=run.max_open_calls,
            guardrails=self.guardrails,
            prices=run.prices,
            limits=run.limits,
        )
        send_queue = SendQueue(audio_bound_s=run.input_buffer_s, event_bound=run.send_queue_events)
        self.driver = driver = Driver(core, send_queue, PendingReplies(lambda: self.ids.next("reply")))
        self.lifetime = lifetime = Lifetime(driver, run.close_timeout_s, run.limits.grace_s)
        self.asking = Asking(driver, lifetime)
        self.subscriptions = Subscriptions(driver, lifetime, run)
        self.servers = SessionMCPServers(driver, lifetime, info, Connections(run.close_timeout_s / 2))
        self.agents = Agents(driver, lifetime, info, run, self.config, self.servers)
        self.hooks = HookCalls(run.hooks, agent, info, run.close_timeout_s / 2)
        self.attachments = Attachments(
            driver,
            lifetime,
            lambda: self.subscriptions.new("an endpoint", types=EVENTS, playback=False, tells_loss=False),
            close_timeout_s=run.close_timeout_s / 2,
            tracked=self._tracker is not None,
        )
        self.loops = SessionLoops(
            self.subscriptions.new("the session's subscription", unread_s=run.unread_buffer_s),
            lambda: self.subscriptions.new("another loop over the session"),
        )
        self._tools = ToolWorkers(driver, lifetime, info, run)
        self._approvals = ApprovalWorkers(driver, lifetime, info, run.approval_handler, threads=run.tool_concurrency)
        self._checks = GuardrailWorkers(driver, lifetime, info, run.guardrails_settings)
        self._connect()

    def statistics(self) -> SessionStatistics:
        """See `RealtimeSession.statistics`."""
        driver = self.driver
        return SessionStatistics(
            conversation=driver.core.counters(),
            send_queue=driver.send_queue.statistics(),
            subscriptions=tuple(each.statistics() for each in driver.subscriptions if not each.abandoned),
            guardrails=driver.core.guardrail_counters(),
            wire=self.lifetime.wire_statistics(),
            attachments=self.attachments.statistics(),
            tools_active=self._tools.active + driver.core.handing_over,
            approvals_pending=len(driver.core.pending_approvals),
            questions_open=len(driver.replies),
        )

    # ---- who tells whom ------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        driver, lifetime = self.driver, self.lifetime
        driver.agents = self.agents
        driver.tools = self._tools
        driver.checks = self._checks
        driver.approvals = self._approvals
        driver.hooks = self.hooks
        driver.lifetime = lifetime
        driver.tracker = self._tracker
        lifetime.on_wind_down = self._tools.wind_down
        lifetime.on_tools_ended = self.servers.close
        self.servers.on_change = self.agents.renew_served
