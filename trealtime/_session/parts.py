"""The parts of a session, put together: which part knows which stands here."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import attrs

from trealtime._core.conversation import Conversation
from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.ids import IdSource
from trealtime._session import config as configs
from trealtime._session.agent_switch import Agents
from trealtime._session.approval_handler import ApprovalRunner
from trealtime._session.attachment import Attachments
from trealtime._session.config import RealtimeModelConfig, RealtimeRunConfig
from trealtime._session.connect import session_link
from trealtime._session.driver import Driver
from trealtime._session.failures import Failures
from trealtime._session.guardrail_runner import GuardrailRunner, guardrail_policy
from trealtime._session.hooks import HookCalls
from trealtime._session.lifetime import Lifetime
from trealtime._session.mcp import SessionMCPServers
from trealtime._session.pending_reply import PendingReplies, Submitter
from trealtime._session.playback_tracker import GuardedTracker
from trealtime._session.send_queue import SendQueue
from trealtime._session.subscription import SessionLoops, Subscriptions
from trealtime._session.telemetry import Telemetry
from trealtime._session.tool_runner import ToolRunner
from trealtime._value import Shown
from trealtime.agents.agent import RealtimeAgent
from trealtime.audio.formats import audio_shown
from trealtime.events import EventInfo
from trealtime.mcp.connections import Connections
from trealtime.protocol.validation import given_or
from trealtime.tools.context import RunContext
from trealtime.transport.models import RealtimeModel

__all__ = ["Parts", "assemble"]


@attrs.frozen(eq=False, kw_only=True, repr=False)
class Parts(Shown):
    """What one session is made of."""

    model: RealtimeModel
    run: RealtimeRunConfig
    config: RealtimeModelConfig
    context: RunContext[Any]
    ids: IdSource
    guardrails: GuardrailPolicy
    failures: Failures
    core: Conversation
    driver: Driver
    lifetime: Lifetime
    submit: Submitter
    telemetry: Telemetry
    subscriptions: Subscriptions
    servers: SessionMCPServers
    agents: Agents
    attachments: Attachments
    loops: SessionLoops


def assemble(
    model: RealtimeModel,
    agent: RealtimeAgent[Any],
    context: Any,
    *,
    model_config: RealtimeModelConfig | Mapping[str, Any] | None,
    run_config: RealtimeRunConfig | Mapping[str, Any] | None,
    rng: random.Random | None,
) -> Parts:
    """Make the parts of a session and join them. Raises `SettingsError` for wrong settings."""
    run, config = configs.with_telemetry(configs.run_config(run_config)), configs.model_config(model_config)
    run_context: RunContext[Any] = RunContext(context)
    ids = IdSource(rng) if rng is not None else IdSource()
    guardrails = guardrail_policy(run, agent)
    info = EventInfo(run_context, shown_audio=lambda n_bytes: audio_shown(n_bytes, core.output_format))
    link = session_link(model, config, run)
    failures = Failures(info, log_content=run.log_content)
    given_tracker = given_or(config.playback_tracker, None)
    tracker = None if given_tracker is None else GuardedTracker(given_tracker, failures)
    core = Conversation(
        agent=agent,
        info=info,
        ids=ids,
        position=tracker.position if tracker is not None else None,
        barge_in=run.barge_in,
        raw_events=run.raw_events,
        cancel_grace_s=run.cancel_grace_s,
        response_timeout_s=run.response_timeout_s,
        request_timeout_s=run.request_timeout_s,
        after_tool=run.after_tool,
        approval_timeout_s=run.approval_timeout_s,
        max_open_calls=run.max_open_calls,
        max_tool_rounds=run.max_tool_rounds,
        guardrails=guardrails,
        prices=run.prices,
        limits=run.limits,
        link=link,
    )
    send_queue = SendQueue(audio_bound_s=run.input_buffer_s, event_bound=run.send_queue_events)
    driver = Driver(core, send_queue, PendingReplies(lambda: ids.next("reply")))
    lifetime = Lifetime(driver, failures, run.close_timeout_s, run.limits.grace_s, link.policy)
    subscriptions = Subscriptions(driver, lifetime, run)
    servers = SessionMCPServers(lifetime, failures, info, Connections(run.close_timeout_s / 2))
    agents = Agents(driver, lifetime, failures, info, run, config, servers)
    attachments = Attachments(
        driver,
        lifetime,
        failures,
        subscriptions,
        close_timeout_s=run.close_timeout_s / 2,
        tracked=tracker is not None,
    )
    failures.attend(driver)
    driver.failures = failures
    driver.agents = agents
    driver.tools = ToolRunner(driver, lifetime, failures, info, run)
    driver.checks = GuardrailRunner(driver, lifetime, failures, info, run.guardrails_settings)
    driver.approvals = ApprovalRunner(driver, lifetime, failures, run.approval_handler, threads=run.tool_concurrency)
    driver.hooks = HookCalls(run.hooks, agent, failures, info, run.close_timeout_s / 2)
    driver.lifetime = lifetime
    driver.tracker = tracker
    lifetime.on_wind_down = driver.tools.wind_down
    lifetime.on_tools_ended = servers.close
    servers.on_change = agents.renew_served
    return Parts(
        model=model,
        run=run,
        config=config,
        context=run_context,
        ids=ids,
        guardrails=guardrails,
        failures=failures,
        core=core,
        driver=driver,
        lifetime=lifetime,
        submit=Submitter(driver, lifetime),
        telemetry=Telemetry(driver, lifetime, model, run.telemetry),
        subscriptions=subscriptions,
        servers=servers,
        agents=agents,
        attachments=attachments,
        loops=SessionLoops(
            subscriptions.new("the session's subscription", unread_s=run.unread_buffer_s),
            lambda: subscriptions.new("another loop over the session"),
        ),
    )
