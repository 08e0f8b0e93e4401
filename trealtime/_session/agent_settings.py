"""The session as one agent wants it: its settings over those of the session, and the changes when it takes over.

A switch sends the differences between two agents and nothing else. A session keeps its model, its formats and its
trace, and every setting of the app's that neither agent names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from trealtime._session.config import RealtimeModelConfig, RealtimeRunConfig
from trealtime._value import Value
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import Handoff, as_handoff, handoff_to_wire
from trealtime.errors import SettingsError, SettingsProblem
from trealtime.events import SettingsDifference
from trealtime.protocol.acknowledgement import session_differences
from trealtime.protocol.lenient import within
from trealtime.protocol.session_payload import initial_session_payload, uninterrupted, update_session_payload
from trealtime.protocol.settings import (
    AudioOutputSettings,
    AudioSettings,
    SessionSettings,
    merge_settings,
    session_settings,
)
from trealtime.protocol.settings_dicts import SessionSettingsDict
from trealtime.protocol.validation import NOT_SET, given_or
from trealtime.tools.context import RunContext
from trealtime.tools.enabling import enabled
from trealtime.tools.function_tool import FunctionTool, to_wire

__all__ = [
    "AgentSettings",
    "Offer",
    "SettingsInput",
    "SwitchPlan",
    "names_voice",
    "offer",
    "plan_switch",
    "served_change",
    "settings_change",
    "settings_of",
    "told_of",
]

_TOLD: Final = ("instructions", "prompt", "tools")
"""The keys that every agent sets: a switch sets them as the new agent has them, also where the app has changed them."""

_WHEN_NOTHING: Final[Mapping[str, Any]] = {"include": []}
"""The value to send for a key that the server shows as null and does not take so."""

Json = dict[str, Any]
SettingsInput = SessionSettings | SessionSettingsDict


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Offer(Value):
    """The functions that the model may call: those of the agent's MCP servers, then its own tools, then handoffs."""

    served: tuple[FunctionTool, ...] = ()
    tools: tuple[FunctionTool | Mapping[str, Any], ...] = ()
    handoffs: tuple[Handoff[Any] | Mapping[str, Any], ...] = ()

    @property
    def wired(self) -> list[Mapping[str, Any]]:
        """All of it in wire shape, for ``session.tools``."""
        tools = [to_wire(tool) if isinstance(tool, FunctionTool) else tool for tool in self.callable]
        return [*tools, *(handoff_to_wire(each) if isinstance(each, Handoff) else each for each in self.handoffs)]

    @property
    def callable(self) -> tuple[FunctionTool | Mapping[str, Any], ...]:
        """Everything but the handoffs."""
        return (*self.served, *self.tools)

    @property
    def handoff_names(self) -> tuple[str, ...]:
        """The names of the functions that hand over."""
        return tuple(each.tool_name for each in self.handoffs if isinstance(each, Handoff))

    def handoff(self, name: str) -> Handoff[Any] | None:
        """Return the handoff of that name, None if there is none."""
        return next((each for each in self.handoffs if isinstance(each, Handoff) and each.tool_name == name), None)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AgentSettings(Value):
    """The session as one agent wants it. `settings` merges all layers; tools and handoffs are in `offer` alone."""

    agent: RealtimeAgent[Any]
    settings: SessionSettings
    offer: Offer

    @property
    def instructions(self) -> str:
        """The system prompt."""
        return "" if self.settings.instructions is NOT_SET else self.settings.instructions

    @property
    def wired(self) -> SessionSettings:
        """The settings with tools and handoffs in wire shape."""
        return attrs.evolve(self.settings, tools=tuple(self.offer.wired))

    def can_choose(self, choice: object) -> bool:
        """Whether the model can do what this `tool_choice` demands. A server may refuse every response where it cannot:
        the choice may be one for the agent before. A stored prompt may have tools that are not known here."""
        wired = self.offer.wired
        if self.settings.prompt not in (NOT_SET, None):
            return True
        match choice:
            case "required":
                return bool(wired)
            case "auto" | "none":
                return True
            case {"type": "mcp", "server_label": label}:
                return any(each.get("server_label") == label for each in wired)
            case {"type": "function", "name": name} | (str() as name):
                return any(each.get("name") == name for each in wired)
        return True


async def settings_of(
    agent: RealtimeAgent[Any],
    context: RunContext[Any],
    run: RealtimeRunConfig,
    model: RealtimeModelConfig,
    *,
    served: Sequence[FunctionTool],
    opening: bool,
) -> AgentSettings:
    """Merge the layers, weakest first: run config, model config, agent; when a session opens, model config again.

    `served` are the tools of the agent's MCP servers. Waits for instructions and `is_enabled` that are async callables,
    and raises what they raise; `SettingsError` if two enabled tools or handoffs have one name.
    """
    layers = [run.model_settings, model.initial_model_settings]
    weak, strong = [SessionSettings() if layer is NOT_SET else session_settings(layer) for layer in layers]
    base = weak if opening else merge_settings(weak, strong)
    instructions = await agent.get_system_prompt(context)
    # An agent without instructions wants none, not the server's default persona. But beside a stored prompt an empty
    # text would go over what the prompt says.
    prompted = agent.prompt is not None or base.prompt not in (NOT_SET, None)
    unsaid = NOT_SET if prompted else ""
    own = session_settings(
        {
            "instructions": instructions if instructions is not None else given_or(base.instructions, unsaid),
            "tools": agent.tools or given_or(base.tools, ()),
            "handoffs": agent.handoffs or given_or(base.handoffs, ()),
            **({} if agent.prompt is None else {"prompt": agent.prompt}),
            **({} if agent.voice is None else {"audio": {"output": {"voice": agent.voice}}}),
        }
    )
    merged = merge_settings(base, session_settings(agent.model_settings), own, *([strong] if opening else []))
    if run.barge_in == "off":
        merged = uninterrupted(merged, complete=True)
    offered = await offer(given_or(merged.tools, ()), given_or(merged.handoffs, ()), served, context, agent)
    settings = attrs.evolve(merged, tools=NOT_SET, handoffs=NOT_SET)
    own_settings = AgentSettings(agent=agent, settings=settings, offer=offered)
    if opening or own_settings.can_choose(settings.tool_choice):
        return own_settings
    return attrs.evolve(own_settings, settings=attrs.evolve(settings, tool_choice="auto"))


async def offer(
    tools: Sequence[object],
    handoffs: Sequence[object],
    served: Sequence[FunctionTool],
    context: RunContext[Any],
    agent: RealtimeAgent[Any],
) -> Offer:
    """Return `served` and the tools and handoffs that are enabled.

    Raises `SettingsError` that names those that cannot be offered.
    """
    problems: list[SettingsProblem] = []
    for index, tool in enumerate(tools):
        if not isinstance(tool, FunctionTool | Mapping):
            problems.append(SettingsProblem(f"tools[{index}]", tool, "a FunctionTool or a tool as a wire mapping"))
    for index, handoff in enumerate(handoffs):
        if not isinstance(handoff, RealtimeAgent | Handoff | Mapping):
            allowed = "a RealtimeAgent, a Handoff or a tool as a wire mapping"
            problems.append(SettingsProblem(f"handoffs[{index}]", handoff, allowed))
    if problems:
        raise SettingsError(problems, what="tools")
    made = [as_handoff(each) if isinstance(each, RealtimeAgent) else each for each in handoffs]
    there = await enabled([*tools, *made], context, agent)
    offered = Offer(
        served=tuple(served),
        tools=tuple(each for each in there if any(each is tool for tool in tools)),  # type: ignore[misc]  # checked above
        handoffs=tuple(each for each in there if any(each is handoff for handoff in made)),  # type: ignore[misc]
    )
    _check_names(offered)
    return offered


def _check_names(offered: Offer) -> None:
    """Raise `SettingsError` for two functions of one name: the model tells them apart by their names alone."""
    owners: dict[str, str] = {}
    problems: list[SettingsProblem] = []
    places = [
        *(f"mcp_servers[{tool.namespace!r}].tools[{index}]" for index, tool in enumerate(offered.served)),
        *(f"tools[{index}]" for index in range(len(offered.tools))),
        *(f"handoffs[{index}]" for index in range(len(offered.handoffs))),
    ]
    for place, wire in zip(places, offered.wired, strict=True):
        name = wire.get("name")
        if isinstance(name, str) and owners.setdefault(name, place) != place:
            problems.append(SettingsProblem(f"{place}.name", name, f"a name of its own, {owners[name]} has this one"))
    if problems:
        raise SettingsError(problems, what="tools and handoffs")


async def settings_change(
    settings: SettingsInput, current: AgentSettings, context: RunContext[Any], run: RealtimeRunConfig
) -> tuple[Mapping[str, Any], Offer | None]:
    """Return the payload of an update by the app, and the new offer, None if the update does not change it.

    Tools without handoffs leave the handoffs of `current` as they are, and the other way round; neither changes the
    tools of MCP servers. Raises as `settings_of`.
    """
    checked = session_settings(settings)
    if run.barge_in == "off":
        checked = uninterrupted(checked, complete=False)
    if checked.tools is NOT_SET and checked.handoffs is NOT_SET:
        return update_session_payload(checked), None
    tools = given_or(checked.tools, current.offer.tools)
    handoffs = given_or(checked.handoffs, current.offer.handoffs)
    offered = await offer(tools, handoffs, current.offer.served, context, current.agent)
    wired = attrs.evolve(checked, tools=tuple(offered.wired), handoffs=NOT_SET)
    return update_session_payload(wired), offered


async def served_change(
    served: Sequence[FunctionTool], current: AgentSettings, context: RunContext[Any]
) -> tuple[Mapping[str, Any], Offer]:
    """Return the payload of an update, and the new offer, when the MCP servers of `current` have the tools `served`.

    Raises as `offer`.
    """
    offered = await offer(current.offer.tools, current.offer.handoffs, served, context, current.agent)
    return update_session_payload(SessionSettings(tools=tuple(offered.wired))), offered


# ---- from one agent to another --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SwitchPlan(Value):
    """The payload of a switch (None: there is nothing to send), and the voice that comes too late to be sent."""

    session: Mapping[str, Any] | None
    withheld: tuple[SettingsDifference, ...] = ()


def plan_switch(
    old: AgentSettings,
    new: AgentSettings,
    *,
    told: Mapping[str, Any],
    acknowledged: Mapping[str, Any],
    defaults: Mapping[str, Any],
    voice_open: bool,
) -> SwitchPlan:
    """Return the changes from `old` to `new`.

    `told` holds the values of `_TOLD` that were last sent, `acknowledged` the session as the server has it, `defaults`
    the session before the first setting: a value that only `old` had set goes back to that. An agent that names no
    voice keeps the session's; one that names a voice gets it while `voice_open`.
    """
    before, after = _payload(old), _payload(new)
    changes = _changes({**before, **told}, after, defaults)
    for key in _TOLD:
        # `RealtimeSession.send_raw` may have changed it.
        if key in after and session_differences({key: after[key]}, acknowledged):
            changes[key] = after[key]
    if not new.can_choose(changes.get("tool_choice", acknowledged.get("tool_choice"))):
        changes["tool_choice"] = "auto"
    voice = _voice(new)
    withheld: tuple[SettingsDifference, ...] = ()
    if voice is not None:
        current = within(acknowledged, "audio", "output", "voice")
        if session_differences({"voice": voice}, {"voice": current}):
            if voice_open:
                changes.setdefault("audio", {}).setdefault("output", {})["voice"] = voice
            else:
                withheld = (SettingsDifference("audio.output.voice", voice, current),)
    return SwitchPlan(session={"type": "realtime", **changes} if changes else None, withheld=withheld)


def told_of(session: Mapping[str, Any]) -> Json:
    """Return the part of a session object that every agent sets."""
    return {key: session[key] for key in _TOLD if key in session}


def _payload(settings: AgentSettings) -> Json:
    """Return the settings of an agent as a payload, without those that a session keeps under every agent."""
    payload = initial_session_payload(settings.wired, model_name=None, formats_defaulted=False)
    for key in ("type", "model", "tracing"):
        payload.pop(key, None)
    audio: Json = {}
    for side, values in payload.pop("audio", {}).items():
        audio[side] = {key: value for key, value in values.items() if key not in ("format", "voice")}
    return {**payload, "audio": audio}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], defaults: Mapping[str, Any]) -> Json:
    changes: Json = {}
    for key in dict.fromkeys([*after, *before]):
        old, new = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if key in ("audio", "input", "output"):
            inner = _changes(_mapping(old), _mapping(new), _mapping(defaults.get(key)))
            if inner:
                changes[key] = inner
        elif old == new:
            continue
        elif new is not _ABSENT:
            changes[key] = new
        elif key == "prompt":
            changes[key] = None
        elif key == "instructions":
            if old:  # of the agent before: there is no way to say that they are not set
                changes[key] = ""
        elif key in defaults:
            value = defaults[key]
            changes[key] = _WHEN_NOTHING.get(key) if value is None else value
    return changes


def names_voice(settings: AgentSettings) -> bool:
    """Whether the agent names a voice."""
    return _voice(settings) is not None


def _voice(settings: AgentSettings) -> object:
    """Return the voice that the agent names itself, None if it names none."""
    agent = settings.agent
    own = merge_settings(session_settings(agent.model_settings), session_settings({"voice": agent.voice}))
    output = given_or(given_or(own.audio, AudioSettings()).output, AudioOutputSettings())
    if output.voice is NOT_SET:
        return None
    wired = initial_session_payload(own, model_name=None, formats_defaulted=False)
    return wired["audio"]["output"]["voice"]


_ABSENT: Final = object()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
