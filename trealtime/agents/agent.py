"""The agent: a name, instructions, tools, and the agents that it may hand over to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypedDict, Unpack

import attrs

from trealtime._value import Shown
from trealtime.agents.guardrails import InputGuardrail, OutputGuardrail
from trealtime.agents.handoffs import Handoff
from trealtime.agents.hooks import RealtimeAgentHooks
from trealtime.errors import SettingsError, SettingsProblem
from trealtime.mcp.hosted import HostedMCPTool
from trealtime.mcp.servers import MCPConfig, MCPServer, mcp_config
from trealtime.terminal import print_short
from trealtime.tools.callables import answer_of
from trealtime.tools.context import ContextT, RunContext
from trealtime.tools.declared import require, takes
from trealtime.tools.function_tool import FunctionTool

if TYPE_CHECKING:
    from trealtime.protocol.settings import CustomVoice, SessionSettings
    from trealtime.protocol.settings_dicts import SessionSettingsDict

__all__ = ["AgentChanges", "Instructions", "RealtimeAgent"]

Instructions = str | Callable[[RunContext[ContextT], "RealtimeAgent[ContextT]"], str | Awaitable[str | None] | None]
"""A system prompt, or a sync or async callable that makes one from the run context and the agent."""

_PROMPT_KEYS = ("id", "version", "variables")

_NOT_AN_AGENTS: Final = {
    "model_name": "nothing here: a session keeps its model, which belongs into model_settings of the run config",
    "instructions": "nothing here: it is a field of the agent",
    "prompt": "nothing here: it is a field of the agent",
    "tools": "nothing here: it is a field of the agent",
    "handoffs": "nothing here: it is a field of the agent",
    "tracing": "nothing here: a session keeps its trace, which belongs into model_settings of the run config",
    "input_audio_format": "nothing here: a session keeps its formats, which belong into the run config",
    "output_audio_format": "nothing here: a session keeps its formats, which belong into the run config",
    "audio.input.format": "nothing here: a session keeps its formats, which belong into the run config",
    "audio.output.format": "nothing here: a session keeps its formats, which belong into the run config",
}
"""Settings that belong to a session or to a field of the agent, and where to put them."""


class AgentChanges(TypedDict, total=False):
    """The fields that `RealtimeAgent.clone` can change; they are those of `RealtimeAgent`."""

    name: str
    instructions: Instructions[Any] | None
    prompt: Mapping[str, object] | None
    tools: Sequence[FunctionTool | HostedMCPTool]
    mcp_servers: Sequence[MCPServer]
    mcp_config: MCPConfig | Mapping[str, object] | None
    handoffs: Sequence[RealtimeAgent[Any] | Handoff[Any]]
    handoff_description: str | None
    output_guardrails: Sequence[OutputGuardrail[Any]]
    input_guardrails: Sequence[InputGuardrail[Any]]
    voice: str | CustomVoice | None
    model_settings: SessionSettings | SessionSettingsDict | None
    hooks: RealtimeAgentHooks[Any] | None


@attrs.frozen(eq=False, repr=False)
class RealtimeAgent(Shown, Generic[ContextT]):
    """An agent: it answers in a session. It is a value: `clone` makes a changed copy. Two agents are never equal.

    `instructions` is the system prompt, as text or as a callable ``(context, agent)``; `prompt` names a stored one
    (``{"id": ..., "version": ..., "variables": {...}}``). The model may call the `tools`, of which each has its own
    name, and the tools of `mcp_servers`, which a session connects to; `mcp_config` is an `MCPConfig` or a mapping of
    its keys. `handoff_description` tells other agents the purpose of this one. `output_guardrails` check the words of
    the agent, `input_guardrails` the words of the user.

    `handoffs` are the agents that this one may give the conversation to: plain agents, or handoffs made by
    `realtime_handoff`. `voice` is the agent's own; a server changes its voice only until it has spoken in a session.
    `model_settings` hold while the agent is in charge. `hooks` are called when something happens to it.

    Raises TypeError for a field of the wrong type and `SettingsError` for a wrong value. Both name the field, the value
    and the allowed values.
    """

    name: str
    instructions: Instructions[ContextT] | None = attrs.field(default=None, kw_only=True)
    prompt: Mapping[str, object] | None = attrs.field(default=None, kw_only=True)
    # Converted in __attrs_post_init__, after the check: tuple("text") would succeed. Fields with the context's type
    # have a factory, because pyright infers the type from a default ().
    tools: Sequence[FunctionTool | HostedMCPTool] = attrs.field(default=(), kw_only=True)
    mcp_servers: Sequence[MCPServer] = attrs.field(default=(), kw_only=True)
    mcp_config: MCPConfig = attrs.field(default=None, kw_only=True, converter=mcp_config, repr=False)
    handoffs: Sequence[RealtimeAgent[Any] | Handoff[Any]] = attrs.field(default=(), kw_only=True)
    handoff_description: str | None = attrs.field(default=None, kw_only=True)
    output_guardrails: Sequence[OutputGuardrail[ContextT]] = attrs.field(factory=tuple, kw_only=True)
    input_guardrails: Sequence[InputGuardrail[ContextT]] = attrs.field(factory=tuple, kw_only=True)
    voice: str | CustomVoice | None = attrs.field(default=None, kw_only=True)
    model_settings: SessionSettings | SessionSettingsDict | None = attrs.field(default=None, kw_only=True)
    hooks: RealtimeAgentHooks[ContextT] | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        _require(isinstance(self.name, str), "name", self.name, "a str")
        described = self.handoff_description is None or isinstance(self.handoff_description, str)
        _require(described, "handoff_description", self.handoff_description, "a str or None")
        _check_instructions(self.instructions)
        _check_prompt(self.prompt, self.name)
        _check_tools(self.tools, self.name)
        object.__setattr__(self, "tools", tuple(self.tools))
        _check_mcp_servers(self.mcp_servers)
        object.__setattr__(self, "mcp_servers", tuple(self.mcp_servers))
        for field, kind in (("output_guardrails", OutputGuardrail), ("input_guardrails", InputGuardrail)):
            object.__setattr__(self, field, _guardrails(getattr(self, field), field, kind))
        _check_handoffs(self.handoffs)
        object.__setattr__(self, "handoffs", tuple(self.handoffs))
        hooked = self.hooks is None or isinstance(self.hooks, RealtimeAgentHooks)
        _require(hooked, "hooks", self.hooks, "an instance of a subclass of RealtimeAgentHooks, or None")
        if self.voice is not None or self.model_settings is not None:
            _check_settings(self.model_settings, self.voice, self.name)

    def clone(self, **changes: Unpack[AgentChanges]) -> RealtimeAgent[ContextT]:
        """Return a copy with `changes`, checked like a new agent. It shares all other fields with this one."""
        return attrs.evolve(self, **changes)

    async def get_system_prompt(self, context: RunContext[ContextT]) -> str | None:
        """Return the instructions for `context`: the text, or the answer of the callable, which is called once.

        Waits only for an async callable. Passes its exceptions on, and raises TypeError when it returns neither a str
        nor None.
        """
        if self.instructions is None or isinstance(self.instructions, str):
            return self.instructions
        text: str | None = await answer_of(self.instructions(context, self))
        _require(text is None or isinstance(text, str), "instructions", text, "a callable that returns a str or None")
        return text


def _require(fits: bool, field: str, value: object, allowed: str) -> None:  # noqa: FBT001  (a condition, not an option)
    require(fits, f"RealtimeAgent.{field}", value, allowed)


def _check_instructions(instructions: object) -> None:
    fits = instructions is None or isinstance(instructions, str) or (callable(instructions) and takes(instructions, 2))
    allowed = "a str, None, or a callable of two parameters, the run context and the agent"
    _require(fits, "instructions", instructions, allowed)


def _check_prompt(prompt: object, agent_name: str) -> None:
    if prompt is None:
        return
    if not isinstance(prompt, Mapping):
        raise TypeError(
            f"RealtimeAgent.prompt: got {prompt!r}, allowed: a mapping of {', '.join(_PROMPT_KEYS)}, or None"
        )
    allowed = f"the keys {', '.join(_PROMPT_KEYS)}"
    problems = [SettingsProblem(f"prompt.{key}", prompt[key], allowed) for key in prompt if key not in _PROMPT_KEYS]
    if not isinstance(prompt.get("id"), str):
        problems.insert(0, SettingsProblem("prompt.id", prompt.get("id"), "the id of a stored prompt, a str"))
    if problems:
        raise SettingsError(problems, what=f"RealtimeAgent {agent_name!r}")


def _guardrails(guardrails: object, field: str, kind: type) -> tuple[Any, ...]:
    _require(isinstance(guardrails, list | tuple), field, guardrails, f"a list or tuple of {kind.__name__}")
    assert isinstance(guardrails, list | tuple)
    for index, guardrail in enumerate(guardrails):
        allowed = f"an {kind.__name__}; decorate a function with @{field.removesuffix('s')}"
        _require(isinstance(guardrail, kind), f"{field}[{index}]", guardrail, allowed)
    return tuple(guardrails)


def _check_tools(tools: object, agent_name: str) -> None:
    _require(isinstance(tools, list | tuple), "tools", tools, "a list or tuple of FunctionTool and HostedMCPTool")
    assert isinstance(tools, list | tuple)
    problems: list[SettingsProblem] = []
    names: set[tuple[str, str]] = set()
    for index, tool in enumerate(tools):
        hint = "a FunctionTool (decorate a function with @function_tool) or a HostedMCPTool"
        _require(isinstance(tool, FunctionTool | HostedMCPTool), f"tools[{index}]", tool, hint)
        hosted = isinstance(tool, HostedMCPTool)
        kind, name = ("server_label", tool["server_label"]) if hosted else ("name", tool.name)
        if (kind, name) in names:
            allowed = f"a {kind} that no other tool of the agent has"
            problems.append(SettingsProblem(f"tools[{index}].{kind}", name, allowed))
        names.add((kind, name))
    if problems:
        raise SettingsError(problems, what=f"RealtimeAgent {agent_name!r}")


def _check_mcp_servers(servers: object) -> None:
    _require(isinstance(servers, list | tuple), "mcp_servers", servers, "a list or tuple of MCPServer")
    assert isinstance(servers, list | tuple)
    for index, server in enumerate(servers):
        hint = "an MCPServerStdio, an MCPServerStreamableHttp or another MCPServer, each once"
        _require(isinstance(server, MCPServer) and server not in servers[:index], f"mcp_servers[{index}]", server, hint)


def _check_handoffs(handoffs: object) -> None:
    _require(isinstance(handoffs, list | tuple), "handoffs", handoffs, "a list or tuple of agents and handoffs")
    assert isinstance(handoffs, list | tuple)
    for index, handoff in enumerate(handoffs):
        fits = isinstance(handoff, RealtimeAgent | Handoff)
        _require(fits, f"handoffs[{index}]", handoff, "a RealtimeAgent, or what realtime_handoff(...) makes of one")


def _check_settings(settings: object, voice: object, agent_name: str) -> None:
    from trealtime.protocol.settings import (  # a heavy import, needed only for settings
        NOT_SET,
        SessionSettings,
        session_settings,
    )

    what = f"RealtimeAgent {agent_name!r}"
    allowed = "a mapping of settings, a SessionSettings, or None"
    _require(settings is None or isinstance(settings, Mapping | SessionSettings), "model_settings", settings, allowed)
    session_settings({"voice": voice}, what=what)
    checked = session_settings(settings, path="model_settings", what=what)  # type: ignore[arg-type]  # checked above
    problems: list[SettingsProblem] = []
    for path, instead in _NOT_AN_AGENTS.items():
        value: object = checked
        for step in path.split("."):
            value = NOT_SET if value is NOT_SET else getattr(value, step)
        if value is not NOT_SET:
            problems.append(SettingsProblem(f"model_settings.{path}", value, instead))
    if problems:
        raise SettingsError(problems, what=what)


print_short(RealtimeAgent)
