"""What one response is asked for with: the options that callers give, and what goes on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from trealtime._session.sendable import check_sendable
from trealtime.agents.agent import RealtimeAgent
from trealtime.protocol.session_payload import response_payload
from trealtime.protocol.settings import Modality, ResponseSettings
from trealtime.protocol.user_input import UserInput, input_items
from trealtime.protocol.validation import structure
from trealtime.tools.context import RunContext
from trealtime.tools.enabling import enabled
from trealtime.tools.function_tool import FunctionTool, to_wire

__all__ = ["ResponseOptions", "response_params"]


class ResponseOptions(TypedDict, total=False):
    """Keyword arguments of `RealtimeSession.respond`, `RealtimeSession.ask` and `RealtimeSession.create_response`.

    They hold for the one response; where one is not given, or None, the session's setting holds.
    """

    instructions: str | None
    """What the model is told, in place of the agent's instructions."""

    output_modalities: Sequence[Modality] | None
    """``["audio"]``, which brings its transcript along, or ``["text"]``."""

    metadata: Mapping[str, str] | None
    """Up to 15 pairs of text of your own, which come back with the response."""

    tools: Sequence[FunctionTool | Mapping[str, Any]] | None
    """What it may call, in place of the agent's tools. A mapping is a tool as the wire has it."""

    tool_choice: str | Mapping[str, Any] | None
    """``"auto"``, ``"none"``, ``"required"``, or the one function that it must call."""

    max_output_tokens: int | Literal["inf"] | None
    """How long it may become; past it the response is ``"incomplete"``."""

    out_of_band: bool
    """Keep question and answer out of the conversation: the model sees only `input_items`, if given, and what is said
    with it."""

    input_items: Sequence[UserInput] | None
    """What the model sees, in place of the conversation."""


async def response_params(
    options: ResponseOptions, context: RunContext[Any], agent: RealtimeAgent[Any]
) -> tuple[dict[str, Any], Sequence[FunctionTool | Mapping[str, Any]]]:
    """The ``response`` object of a ``response.create``: what was given, and nothing else; and the tools that it brings.

    Asks those tools whether they are enabled. Raises TypeError for an option that there is not, `SettingsError` naming
    every one that cannot be sent and what is allowed there.
    """
    unknown = [repr(name) for name in options if name not in ResponseOptions.__annotations__]
    if unknown:
        known = ", ".join(ResponseOptions.__annotations__)
        raise TypeError(f"a response has no option {', '.join(unknown)}; its options are {known}")
    settings = {
        name: value
        for name, value in options.items()
        if value is not None and name not in ("tools", "out_of_band", "input_items")
    }
    tools = options.get("tools")
    if tools is not None:
        tools = await enabled(tools, context, agent)
    params = response_payload(structure(ResponseSettings, settings, what="response"))
    if tools is not None:
        params["tools"] = [to_wire(tool) if isinstance(tool, FunctionTool) else tool for tool in tools]
    if options.get("out_of_band"):
        params["conversation"] = "none"
    items = options.get("input_items")
    if items is not None:
        params["input"] = input_items(items)
    check_sendable(params, "response")
    return params, tools or ()
