"""Handoffs: an agent gives the conversation to another.

To the model a handoff is a function that it may call. `trealtime._session.agent_switch` carries the call out.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, get_args

import attrs
import msgspec

from trealtime._value import Shown
from trealtime.errors import SettingsError, SettingsProblem, ToolArgumentsError
from trealtime.terminal import print_short, text_of
from trealtime.tools.callables import answer_of
from trealtime.tools.context import ContextT, RunContext
from trealtime.tools.declared import NAME_RULE, is_function_name, require, takes
from trealtime.tools.pydantic_types import PydanticType, is_pydantic, pydantic_type, schemas_of
from trealtime.tools.schema import decoded, honest

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent

__all__ = ["Handoff", "HandoffEnabled", "HandoffWhen", "OnHandoff", "as_handoff", "handoff_to_wire", "realtime_handoff"]

HandoffWhen = Literal["now", "heard"]
"""When the other agent takes over: as soon as it can, or once the user has heard the running answer."""

OnHandoff = Callable[..., object]
"""Called with the run context, and with the input where there is an `input_type`; sync or async."""

HandoffEnabled = bool | Callable[[RunContext[Any], "RealtimeAgent[Any]"], bool | Awaitable[bool]]
"""Whether a handoff is offered: a bool, or a sync or async callable of the run context and the agent that has it."""

_DEFS: Final = "#/$defs/"
_NO_INPUT: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {},
    "required": [],
    "additionalProperties": False,
}


@attrs.frozen(eq=False, repr=False)
class Handoff(Shown, Generic[ContextT]):
    """A function that the model calls to give the conversation to another agent; `realtime_handoff` makes one.

    ``await on_invoke_handoff(context, arguments)`` gets the JSON text that the model wrote and returns the
    `RealtimeAgent` that takes over. `agent_name` is its name, for display. Raises TypeError for a field of the wrong
    type and `SettingsError` for a wrong value.
    """

    tool_name: str
    tool_description: str
    input_json_schema: Mapping[str, Any] = attrs.field(kw_only=True)
    on_invoke_handoff: Callable[[RunContext[Any], str], Awaitable[RealtimeAgent[ContextT]]] = attrs.field(kw_only=True)
    agent_name: str = attrs.field(kw_only=True)

    is_enabled: HandoffEnabled = attrs.field(default=True, kw_only=True)
    """Asked when the agent that has it takes over: a disabled handoff is not offered to the model."""

    opening: str | None = attrs.field(default=None, kw_only=True)
    """An instruction for the new agent's first answer only; it is appended to the agent's instructions."""

    when: HandoffWhen = attrs.field(default="now", kw_only=True)

    def __attrs_post_init__(self) -> None:
        for field in ("tool_name", "tool_description", "agent_name"):
            require(isinstance(getattr(self, field), str), f"Handoff.{field}", getattr(self, field), "a str")
        require(
            isinstance(self.input_json_schema, Mapping),
            "Handoff.input_json_schema",
            self.input_json_schema,
            "a mapping",
        )
        require(
            callable(self.on_invoke_handoff), "Handoff.on_invoke_handoff", self.on_invoke_handoff, "an async callable"
        )
        enabled = isinstance(self.is_enabled, bool) or callable(self.is_enabled)
        require(
            enabled, "Handoff.is_enabled", self.is_enabled, "a bool, or a callable of the run context and the agent"
        )
        spoken = self.opening is None or isinstance(self.opening, str)
        require(spoken, "Handoff.opening", self.opening, "a str or None")
        problems = []
        if not is_function_name(self.tool_name):
            problems.append(SettingsProblem("tool_name", self.tool_name, NAME_RULE))
        if self.input_json_schema.get("type") != "object":
            kind = self.input_json_schema.get("type")
            problems.append(SettingsProblem("input_json_schema.type", kind, "'object'"))
        if self.when not in get_args(HandoffWhen):
            problems.append(SettingsProblem("when", self.when, " or ".join(map(repr, get_args(HandoffWhen)))))
        if problems:
            raise SettingsError(problems, what=f"Handoff {self.tool_name!r}")


def realtime_handoff(
    agent: RealtimeAgent[ContextT] | Callable[[], RealtimeAgent[ContextT]],
    *,
    tool_name_override: str | None = None,
    tool_description_override: str | None = None,
    on_handoff: OnHandoff | None = None,
    input_type: type[Any] | None = None,
    is_enabled: HandoffEnabled = True,
    opening: str | None = None,
    when: HandoffWhen = "now",
) -> Handoff[ContextT]:
    """Make a handoff to `agent`.

    `agent` may be a function that returns the agent, for agents that hand over to each other (one of them does not
    exist yet when the other is made); then `tool_name_override` is needed. Otherwise the name of the tool is
    ``transfer_to_`` and the agent's name.

    `on_handoff` is called with the run context when the model calls, before anything changes. With `input_type`, a
    class with fields (dataclass, attrs class, TypedDict, msgspec Struct, pydantic model), it also gets the model's
    input, validated. Its result is ignored. When it raises, or the input does not fit, the model reads why and the
    agent stays.

    `opening` is an instruction for the new agent's first answer. `when` ``"heard"`` delays the handoff until the user
    has heard the old agent's answer. Raises TypeError for an argument that cannot be called as described, and
    `SettingsError` for a wrong name or `when`.
    """
    from trealtime.agents.agent import RealtimeAgent  # it imports this module

    if isinstance(agent, RealtimeAgent):
        name, description = agent.name, agent.handoff_description
    else:
        require(callable(agent), "realtime_handoff: agent", agent, "a RealtimeAgent, or a function that returns one")
        named = isinstance(tool_name_override, str)
        require(named, "realtime_handoff: tool_name_override", tool_name_override, "a str, where `agent` is a function")
        name, description = str(tool_name_override), None
    tool_name = _tool_name(name) if tool_name_override is None else tool_name_override
    _check_on_handoff(on_handoff, takes_input=input_type is not None)
    schema = _NO_INPUT if input_type is None else _schema(input_type, tool_name)
    if tool_description_override is not None:
        told = tool_description_override
    elif isinstance(agent, RealtimeAgent):
        told = f"Hand the conversation over to {name}." + (f" {description}" if description else "")
    else:
        told = "Hand the conversation over to another agent."
    return Handoff(
        tool_name,
        told,
        input_json_schema=schema,
        on_invoke_handoff=_Invocation(
            agent, tool_name, on_handoff, None if input_type is None else _decoder(input_type)
        ),
        agent_name=name,
        is_enabled=is_enabled,
        opening=opening,
        when=when,
    )


def as_handoff(value: RealtimeAgent[ContextT] | Handoff[ContextT]) -> Handoff[ContextT]:
    """Return a handoff as it is, and an agent as a plain handoff to it."""
    return value if isinstance(value, Handoff) else realtime_handoff(value)


def handoff_to_wire(handoff: Handoff[Any]) -> dict[str, Any]:
    """Return `handoff` as it stands in ``session.tools``: a function like any other."""
    return {
        "type": "function",
        "name": handoff.tool_name,
        "description": handoff.tool_description,
        "parameters": dict(handoff.input_json_schema),
    }


@attrs.frozen(eq=False, repr=False)
class _Invocation(Shown, Generic[ContextT]):
    """``on_invoke_handoff`` of a handoff that `realtime_handoff` made."""

    agent: RealtimeAgent[ContextT] | Callable[[], RealtimeAgent[ContextT]]
    tool_name: str
    on_handoff: OnHandoff | None
    decoder: msgspec.json.Decoder[Any] | _PydanticDecoder | None

    async def __call__(self, context: RunContext[Any], arguments: str) -> RealtimeAgent[ContextT]:
        given = () if self.decoder is None else (self._read(self.decoder, arguments),)
        if self.on_handoff is not None:
            await answer_of(self.on_handoff(context, *given))
        return self.agent() if callable(self.agent) else self.agent

    def _read(self, decoder: msgspec.json.Decoder[Any] | _PydanticDecoder, arguments: str) -> object:
        try:
            return decoder.decode(arguments) if isinstance(decoder, _PydanticDecoder) else decoded(decoder, arguments)
        except Exception as error:
            # Beside msgspec's own errors, constructors of the declared types may raise anything.
            problem = text_of(error) if arguments.strip() else "they are missing"
            raise ToolArgumentsError(
                f"invalid arguments for tool {self.tool_name}: {problem}",
                tool_name=self.tool_name,
                arguments=arguments,
            ) from error


@attrs.frozen(eq=False, repr=False)
class _PydanticDecoder(Shown):
    """Reads an `input_type` of pydantic's as a msgspec decoder reads others."""

    type: PydanticType

    def decode(self, arguments: str) -> object:
        return self.type.read(arguments.encode(), path="")


def _decoder(input_type: type[Any]) -> msgspec.json.Decoder[Any] | _PydanticDecoder:
    return _PydanticDecoder(pydantic_type(input_type)) if is_pydantic(input_type) else msgspec.json.Decoder(input_type)


def _tool_name(agent_name: str) -> str:
    return f"transfer_to_{re.sub(r'[^A-Za-z0-9_]', '_', agent_name).lower()}"[:64]


def _check_on_handoff(on_handoff: object, *, takes_input: bool) -> None:
    field = "realtime_handoff: on_handoff"
    if on_handoff is None:
        require(
            not takes_input, field, None, "a callable of the run context and the input, since there is an input_type"
        )
        return
    allowed = (
        "a callable of two parameters, the run context and the input"
        if takes_input
        else ("a callable of one parameter, the run context (two need an input_type)")
    )
    fits = callable(on_handoff) and takes(on_handoff, 2 if takes_input else 1)
    require(fits, field, on_handoff, allowed)


def _schema(input_type: type[Any], tool_name: str) -> dict[str, Any]:
    what = f"handoff {tool_name!r}: input_type {input_type!r}"
    try:
        root, components = _schema_of(input_type)
    except TypeError as error:
        raise TypeError(f"{what} has no JSON Schema: {error}") from error
    name = str(root.get("$ref", "")).removeprefix(_DEFS)
    schema = dict(components.get(name, root))
    if schema.get("type") != "object":
        raise TypeError(
            f"{what} must be a class with fields, because the model calls a function by the names of its parameters: "
            "write a dataclass with one field"
        )
    # A class that has itself in a field is referred to by name.
    whole = {**schema, "$defs": components} if len(components) > 1 or f"{_DEFS}{name}" in str(schema) else schema
    return dict(honest(whole))


def _schema_of(input_type: type[Any]) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The schema of `input_type`, or a reference, and the definitions that it needs."""
    if is_pydantic(input_type):
        described, definitions = schemas_of({"input": pydantic_type(input_type)}, ref_template=_DEFS + "{name}")
        return described["input"], definitions
    (root,), components = msgspec.json.schema_components([input_type], ref_template=_DEFS + "{name}")
    return root, components


print_short(Handoff)
