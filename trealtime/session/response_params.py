"""The settings of one response, as they go on the wire; and the check that what goes there is JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from trealtime.agents.tools import FunctionTool, to_wire
from trealtime.protocol.codec import encode
from trealtime.protocol.session_payload import response_payload
from trealtime.protocol.settings import Modality, ResponseSettings
from trealtime.protocol.user_input import UserInput, input_items
from trealtime.protocol.validation import structure

__all__ = ["Modality", "check_sendable", "response_params"]


def response_params(
    *,
    instructions: str | None,
    output_modalities: Sequence[Modality] | None,
    metadata: Mapping[str, str] | None,
    tools: Sequence[FunctionTool | Mapping[str, Any]] | None,
    tool_choice: str | Mapping[str, Any] | None,
    max_output_tokens: int | Literal["inf"] | None,
    out_of_band: bool,
    context: Sequence[UserInput] | None,
) -> dict[str, Any]:
    """The ``response`` object of a ``response.create``: what was given, and nothing else.

    Raises `SettingsError` naming every setting that cannot be sent and what is allowed there.
    """
    given = {
        "instructions": instructions,
        "output_modalities": output_modalities,
        "metadata": metadata,
        "tool_choice": tool_choice,
        "max_output_tokens": max_output_tokens,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    params = response_payload(structure(ResponseSettings, settings, what="response"))
    if tools is not None:
        params["tools"] = [to_wire(tool) if isinstance(tool, FunctionTool) else tool for tool in tools]
    if out_of_band:
        params["conversation"] = "none"
    if context is not None:
        params["input"] = input_items(context)
    check_sendable(params, "response")
    return params


def check_sendable(wire: Mapping[str, Any], what: str) -> None:
    """Raise TypeError or ValueError if `wire` has no JSON form: here at the caller, not later in the writer."""
    try:
        encode(wire)
    except TypeError as error:
        raise TypeError(f"{what} cannot be sent: {error}") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} cannot be sent: it has a lone surrogate, which UTF-8 cannot carry") from error
