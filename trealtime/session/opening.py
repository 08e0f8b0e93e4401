"""What a session tells the server first: the agent and all layers of settings as one ``session.update``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.context import RunContext
from trealtime.agents.tools import FunctionTool, to_wire
from trealtime.errors import SettingsError, SettingsProblem
from trealtime.protocol.session_payload import initial_session_payload, update_session_payload
from trealtime.protocol.settings import SessionSettings, merge_settings, session_settings
from trealtime.protocol.validation import NOT_SET
from trealtime.session.config import RealtimeModelConfig, RealtimeRunConfig
from trealtime.transport.models import (
    DEFAULT_MODEL_NAME,
    ConnectionTarget,
    OpenAIRealtimeWebSocketModel,
    RealtimeModel,
)

__all__ = ["Opening", "SettingsInput", "connection_target", "default_model_name", "opening", "settings_update"]

SettingsInput = SessionSettings | Mapping[str, object]


@attrs.frozen(kw_only=True)
class Opening:
    """The first ``session.update``, and the tools that it offers and that we can run."""

    settings: SessionSettings
    payload: Mapping[str, Any]
    tools: tuple[FunctionTool, ...]


async def opening(
    agent: RealtimeAgent[Any],
    context: RunContext[Any],
    run: RealtimeRunConfig,
    model: RealtimeModelConfig,
    *,
    model_name: str | None,
) -> Opening:
    """Put the layers together, weakest first: run config, agent, model config (peer behaviours 2.6).

    `model_name` is sent when no layer names a model. Waits for instructions that are an async callable, and raises what
    they raise; `SettingsError` for tools that cannot be offered.
    """
    layers = [run.model_settings, model.initial_model_settings]
    weak, strong = [SessionSettings() if layer is NOT_SET else session_settings(layer) for layer in layers]
    instructions = await agent.get_system_prompt(context)
    agent_settings = session_settings(
        {
            # An empty text, not the server's default persona, is what an agent without instructions means.
            "instructions": instructions if instructions is not None else given_or(weak.instructions, ""),
            "tools": agent.tools or given_or(weak.tools, ()),
            **({} if agent.prompt is None else {"prompt": agent.prompt}),
        }
    )
    settings = merge_settings(weak, agent_settings, strong)
    offered = () if settings.tools is NOT_SET else settings.tools
    wired = attrs.evolve(settings, tools=_wire_tools(offered))
    payload = initial_session_payload(
        wired,
        model_name=model_name,
        formats_defaulted=model.call_id is NOT_SET,
        tracing_disabled=run.tracing_disabled,
    )
    return Opening(
        settings=wired,
        payload=payload,
        tools=tuple(tool for tool in offered if isinstance(tool, FunctionTool)),
    )


def connection_target(model: RealtimeModelConfig, settings: SessionSettings) -> ConnectionTarget:
    """What the model is asked to connect to."""
    return ConnectionTarget(
        model_name=given_or(settings.model_name, None),
        api_key=given_or(model.api_key, None),
        url=given_or(model.url, None),
        headers=given_or(model.headers, None),
        call_id=given_or(model.call_id, None),
    )


def default_model_name(model: RealtimeModel, config: RealtimeModelConfig) -> str | None:
    """The name to send when nobody names a model; None where the address or the deployment has chosen one already."""
    chosen = config.url is not NOT_SET or config.call_id is not NOT_SET
    return DEFAULT_MODEL_NAME if isinstance(model, OpenAIRealtimeWebSocketModel) and not chosen else None


def settings_update(settings: SettingsInput) -> tuple[Mapping[str, Any], tuple[FunctionTool, ...] | None]:
    """The payload of a later update, and its tools where it has any. Raises `SettingsError`."""
    checked = session_settings(settings)
    if checked.tools is NOT_SET:
        return update_session_payload(checked), None
    tools = checked.tools
    payload = update_session_payload(attrs.evolve(checked, tools=_wire_tools(tools)))
    return payload, tuple(tool for tool in tools if isinstance(tool, FunctionTool))


def given_or(value: Any, default: Any) -> Any:
    """`value`, or `default` where it was not given."""
    return default if value is NOT_SET else value


def _wire_tools(tools: Any) -> tuple[Mapping[str, Any], ...]:
    wired: list[Mapping[str, Any]] = []
    problems: list[SettingsProblem] = []
    names: set[str] = set()
    for index, tool in enumerate(tools):
        if not isinstance(tool, FunctionTool | Mapping):
            problems.append(SettingsProblem(f"tools[{index}]", tool, "a FunctionTool or a tool as a wire mapping"))
            continue
        wire = to_wire(tool) if isinstance(tool, FunctionTool) else tool
        name = wire.get("name")
        if isinstance(name, str) and name in names:
            problems.append(SettingsProblem(f"tools[{index}].name", name, "a name that no other tool has"))
        names.add(str(name))
        wired.append(wire)
    if problems:
        raise SettingsError(problems, what="tools")
    return tuple(wired)
