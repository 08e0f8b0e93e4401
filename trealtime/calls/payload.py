"""The session object for a call that is about to be accepted, or for a client secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from trealtime._secrets import shown
from trealtime._session import config
from trealtime._session.config import RealtimeModelConfig, RealtimeRunConfig
from trealtime._session.connect import first_update
from trealtime.agents.agent import RealtimeAgent
from trealtime.protocol.settings import SessionSettings, merge_settings, session_settings
from trealtime.protocol.validation import NOT_SET
from trealtime.tools.context import RunContext
from trealtime.transport.models import DEFAULT_MODEL_NAME

__all__ = ["build_initial_session_payload"]


async def build_initial_session_payload(
    agent: RealtimeAgent[Any],
    *,
    context: object = None,
    model_config: RealtimeModelConfig | Mapping[str, Any] | None = None,
    run_config: RealtimeRunConfig | Mapping[str, Any] | None = None,
    overrides: SessionSettings | Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Return the ``session`` object that a session of `agent` would open with, model included.

    `overrides` go over all other settings.

    Waits for `instructions` and `is_enabled` that are async callables and raises what they raise; raises
    `SettingsError` for settings that cannot be sent.
    """
    if not isinstance(agent, RealtimeAgent):
        raise TypeError(f"agent: got {shown(agent)}, allowed: a RealtimeAgent")
    run, model = config.run_config(run_config), config.model_config(model_config)
    own = model.initial_model_settings
    strongest = merge_settings(
        SessionSettings() if own is NOT_SET else own, session_settings({} if overrides is None else overrides)
    )
    # A call id would leave the formats out: they are the telephone side's once the call is accepted, and not before.
    model = attrs.evolve(model, initial_model_settings=strongest, call_id=NOT_SET)
    opened = await first_update(agent, RunContext(context), run, model, model_name=DEFAULT_MODEL_NAME)
    return dict(opened.payload)
