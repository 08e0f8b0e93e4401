"""Connecting: where to, and the first ``session.update``, which holds the agent and all layers of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from trealtime._core.reconnection import Link, ReconnectPolicy
from trealtime._session.agent_settings import AgentSettings, settings_of
from trealtime._session.config import RealtimeModelConfig, RealtimeRunConfig
from trealtime._value import Value
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import SettingsError, SettingsProblem
from trealtime.protocol.session_payload import initial_session_payload
from trealtime.protocol.settings import SessionSettings
from trealtime.protocol.validation import NOT_SET, given_or
from trealtime.tools.context import RunContext
from trealtime.tools.function_tool import FunctionTool
from trealtime.transport.models import (
    DEFAULT_MODEL_NAME,
    ConnectionTarget,
    OpenAIRealtimeWebSocketModel,
    RealtimeModel,
)

__all__ = ["FirstUpdate", "connection_target", "default_model_name", "first_update", "session_link"]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FirstUpdate(Value):
    """The first ``session.update``, and the session as the agent wants it."""

    own: AgentSettings
    payload: Mapping[str, Any]


async def first_update(
    agent: RealtimeAgent[Any],
    context: RunContext[Any],
    run: RealtimeRunConfig,
    model: RealtimeModelConfig,
    *,
    model_name: str | None,
    served: Sequence[FunctionTool] = (),
) -> FirstUpdate:
    """Merge the layers as `settings_of` does, and raise what it raises.

    `model_name` is sent when no layer names a model. `served` are the tools of the agent's MCP servers.
    """
    own = await settings_of(agent, context, run, model, served=served, opening=True)
    payload = initial_session_payload(
        own.wired,
        model_name=model_name,
        formats_defaulted=model.call_id is NOT_SET,
        tracing_disabled=run.tracing_disabled,
    )
    return FirstUpdate(own=own, payload=payload)


def connection_target(model: RealtimeModelConfig, settings: SessionSettings) -> ConnectionTarget:
    """Return the address and the credentials to connect with."""
    return ConnectionTarget(
        model_name=given_or(settings.model_name, None),
        api_key=given_or(model.api_key, None),
        url=given_or(model.url, None),
        headers=given_or(model.headers, None),
        call_id=given_or(model.call_id, None),
    )


def default_model_name(model: RealtimeModel, config: RealtimeModelConfig) -> str | None:
    """Return the name to send when no setting names a model, None where the address or the deployment chooses one."""
    chosen = config.url is not NOT_SET or config.call_id is not NOT_SET
    return DEFAULT_MODEL_NAME if isinstance(model, OpenAIRealtimeWebSocketModel) and not chosen else None


def session_link(model: RealtimeModel, config: RealtimeModelConfig, run: RealtimeRunConfig) -> Link:
    """Return the link of a session, with the policy by which a lost connection is replaced.

    Without a policy in the run config it is the default one for models that say that they can connect again and for
    connections to anything but a phone call, else none. Raises `SettingsError` for a policy where the model says that
    it cannot.
    """
    can = getattr(model, "reconnects", None)
    attached = config.call_id is not NOT_SET
    policy = run.reconnect
    if policy is NOT_SET:
        policy = ReconnectPolicy() if can and not attached else None
    elif policy is not None and can is False:
        allowed = f"None: {type(model).__name__} cannot connect again for the same session"
        raise SettingsError([SettingsProblem("reconnect", policy, allowed)], what="config")
    return Link(policy, run.ready_timeout_s, attached)
