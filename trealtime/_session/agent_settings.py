"""What an agent makes of the session: its settings over those of the session, and what changes when it takes over.

A switch sends what differs between two agents and nothing else: neither the model nor the formats nor the trace, which
a session keeps, nor what the app has set by itself meanwhile and no agent says anything about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from trealtime._session.config import RealtimeModelConfig, RealtimeRunConfig
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import Handoff, as_handoff, handoff_to_wire
from trealtime.errors import SettingsError, SettingsProblem
from trealtime.events import SettingsDifference
from trealtime.protocol.acknowledgement import session_differences
from trealtime.protocol.session_payload import initial_session_payload, uninterrupted, update_session_payload
from trealtime.protocol.settings import (
    AudioOutputSettings,
    AudioSettings,
    SessionSettings,
    merge_settings,
    session_settings,
)
from trealtime.protocol.validation import NOT_SET
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
"""What an agent tells the model itself: a switch brings it to the new agent's, whoever changed it meanwhile."""

_WHEN_NOTHING: Final[Mapping[str, Any]] = {"include": []}
"""What a server shows as null and takes in another form."""

Json = dict[str, Any]
SettingsInput = SessionSettings | Mapping[str, object]


@attrs.frozen(kw_only=True)
class Offer:
    """What the model may call: `wired` is what it is told, ready for ``session.tools``. First what MCP servers of the
    agent have, then its own tools, then handoffs."""

    served: tuple[FunctionTool, ...] = ()
    tools: tuple[FunctionTool | Mapping[str, Any], ...] = ()
    handoffs: tuple[Handoff[Any] | Mapping[str, Any], ...] = ()

    @property
    def wired(self) -> list[Mapping[str, Any]]:
        """As on the wire."""
        tools = [to_wire(tool) if isinstance(tool, FunctionTool) else tool for tool in self.callable]
        return [*tools, *(handoff_to_wire(each) if isinstance(each, Handoff) else each for each in self.handoffs)]

    @property
    def callable(self) -> tuple[FunctionTool | Mapping[str, Any], ...]:
        """All that is no handoff."""
        return (*self.served, *self.tools)

    @property
    def handoff_names(self) -> tuple[str, ...]:
        """The functions by which the agent hands over."""
        return tuple(each.tool_name for each in self.handoffs if isinstance(each, Handoff))

    def handoff(self, name: str) -> Handoff[Any] | None:
        """The handoff of that name, if there is one."""
        return next((each for each in self.handoffs if isinstance(each, Handoff) and each.tool_name == name), None)


@attrs.frozen(kw_only=True)
class AgentSettings:
    """The session as one agent wants it: `settings` are all layers in one, without tools and handoffs, which are in
    `offer`."""

    agent: RealtimeAgent[Any]
    settings: SessionSettings
    offer: Offer

    @property
    def instructions(self) -> str:
        """The system prompt."""
        return "" if self.settings.instructions is NOT_SET else self.settings.instructions

    @property
    def wired(self) -> SessionSettings:
        """All of it in one, with tools and handoffs as on the wire."""
        return attrs.evolve(self.settings, tools=tuple(self.offer.wired))


async def settings_of(
    agent: RealtimeAgent[Any],
    context: RunContext[Any],
    run: RealtimeRunConfig,
    model: RealtimeModelConfig,
    *,
    served: Sequence[FunctionTool],
    opening: bool,
) -> AgentSettings:
    """Put the layers together, weakest first: run config, model config, agent; when a session opens, model config again
    (peer behaviours 2.6). `served` are the tools of the agent's MCP servers.

    Waits for instructions and `is_enabled` that are async callables, and raises what they raise; `SettingsError` when
    two of the tools and handoffs that are enabled have one name.
    """
    layers = [run.model_settings, model.initial_model_settings]
    weak, strong = [SessionSettings() if layer is NOT_SET else session_settings(layer) for layer in layers]
    base = weak if opening else merge_settings(weak, strong)
    instructions = await agent.get_system_prompt(context)
    own = session_settings(
        {
            # An empty text, not the server's default persona, is what an agent without instructions means.
            "instructions": instructions if instructions is not None else _given_or(base.instructions, ""),
            "tools": agent.tools or _given_or(base.tools, ()),
            "handoffs": agent.handoffs or _given_or(base.handoffs, ()),
            **({} if agent.prompt is None else {"prompt": agent.prompt}),
            **({} if agent.voice is None else {"audio": {"output": {"voice": agent.voice}}}),
        }
    )
    merged = merge_settings(base, session_settings(agent.model_settings), own, *([strong] if opening else []))
    if run.barge_in == "off":
        merged = uninterrupted(merged, complete=True)
    return AgentSettings(
        agent=agent,
        settings=attrs.evolve(merged, tools=NOT_SET, handoffs=NOT_SET),
        offer=await offer(_given_or(merged.tools, ()), _given_or(merged.handoffs, ()), served, context, agent),
    )


async def offer(
    tools: Sequence[object],
    handoffs: Sequence[object],
    served: Sequence[FunctionTool],
    context: RunContext[Any],
    agent: RealtimeAgent[Any],
) -> Offer:
    """`served`, and the tools and handoffs that are enabled.

    Raises `SettingsError` naming those that cannot be offered.
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
    """The model knows tools and handoffs by one kind of name (B040)."""
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
    """The payload of an update that the app makes, and what is offered then, where it changes that. Tools without
    handoffs leave the handoffs of `current` there, and the other way round; neither touches what MCP servers have.
    Raises as `settings_of`."""
    checked = session_settings(settings)
    if run.barge_in == "off":
        checked = uninterrupted(checked, complete=False)
    if checked.tools is NOT_SET and checked.handoffs is NOT_SET:
        return update_session_payload(checked), None
    tools = _given_or(checked.tools, current.offer.tools)
    handoffs = _given_or(checked.handoffs, current.offer.handoffs)
    offered = await offer(tools, handoffs, current.offer.served, context, current.agent)
    wired = attrs.evolve(checked, tools=tuple(offered.wired), handoffs=NOT_SET)
    return update_session_payload(wired), offered


async def served_change(
    served: Sequence[FunctionTool], current: AgentSettings, context: RunContext[Any]
) -> tuple[Mapping[str, Any], Offer]:
    """The payload of an update, and what is offered then, when the MCP servers of `current` have these tools. Raises as
    `offer`."""
    offered = await offer(current.offer.tools, current.offer.handoffs, served, context, current.agent)
    return update_session_payload(SessionSettings(tools=tuple(offered.wired))), offered


# ---- from one agent to another --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class SwitchPlan:
    """What a switch sends (None: there is nothing to send), and the voice that it does not send because it is too
    late for one."""

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
    """What has to change for `new` after `old`.

    `told` is what the model was last told of `_TOLD`, `acknowledged` the session as the server has it, `defaults` as it
    was before the first setting: what only `old` had set goes back to that. An agent that names no voice takes the one
    that there is; one that does, gets it while `voice_open`.
    """
    before, after = _payload(old), _payload(new)
    changes = _changes({**before, **told}, after, defaults)
    for key in _TOLD:
        # Somebody may have changed it past us.
        if key in after and session_differences({key: after[key]}, acknowledged):
            changes[key] = after[key]
    voice = _voice(new)
    withheld: tuple[SettingsDifference, ...] = ()
    if voice is not None:
        current = _at(acknowledged, "audio", "output", "voice")
        if session_differences({"voice": voice}, {"voice": current}):
            if voice_open:
                changes.setdefault("audio", {}).setdefault("output", {})["voice"] = voice
            else:
                withheld = (SettingsDifference("audio.output.voice", voice, current),)
    return SwitchPlan(session={"type": "realtime", **changes} if changes else None, withheld=withheld)


def told_of(session: Mapping[str, Any]) -> Json:
    """What of a session object the model has been told."""
    return {key: session[key] for key in _TOLD if key in session}


def _payload(settings: AgentSettings) -> Json:
    """What this agent wants, without what a session keeps whoever is in charge."""
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
        elif key in defaults:
            value = defaults[key]
            changes[key] = _WHEN_NOTHING.get(key) if value is None else value
    return changes


def names_voice(settings: AgentSettings) -> bool:
    """Whether the agent has a voice of its own."""
    return _voice(settings) is not None


def _voice(settings: AgentSettings) -> object:
    """The voice that the agent names itself; None if it names none."""
    agent = settings.agent
    own = merge_settings(session_settings(agent.model_settings), session_settings({"voice": agent.voice}))
    output = _given_or(_given_or(own.audio, AudioSettings()).output, AudioOutputSettings())
    if output.voice is NOT_SET:
        return None
    wired = initial_session_payload(own, model_name=None, formats_defaulted=False)
    return wired["audio"]["output"]["voice"]


_ABSENT: Final = object()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _at(value: object, *path: str) -> object:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _given_or(value: Any, default: Any) -> Any:
    """`value`, or `default` where it was not given."""
    return default if value is NOT_SET else value
