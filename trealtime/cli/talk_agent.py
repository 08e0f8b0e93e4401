"""Whom ``trealtime talk`` talks to."""

from __future__ import annotations

import datetime as dt
import importlib
import sys
from pathlib import Path
from typing import Any

from trealtime.agents.agent import RealtimeAgent
from trealtime.tools.function_tool import function_tool

__all__ = ["AgentNotFound", "built_in_agent", "load_agent"]


class AgentNotFound(Exception):
    """``module:attribute`` names no agent; the message says why."""


@function_tool
def current_time() -> str:
    """Tell the date and the time of day."""
    return dt.datetime.now().astimezone().strftime("%A, %d %B %Y, %H:%M")


def built_in_agent() -> RealtimeAgent[Any]:
    """A small agent that knows what time it is."""
    return RealtimeAgent(
        name="Assistant",
        instructions="You are a friendly voice assistant. Answer in one or two short sentences.",
        tools=[current_time],
    )


def load_agent(name: str) -> RealtimeAgent[Any]:
    """The agent at ``module:attribute``; modules in the working directory are found.

    Raises `AgentNotFound`, and whatever the module raises when it is imported.
    """
    module_name, colon, attribute = name.partition(":")
    if not (module_name and colon and attribute):
        raise AgentNotFound(f"{name!r} is not of the form module:attribute, such as my_app:agent")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and imports something that is not
        raise AgentNotFound(f"there is no module {module_name!r} here or on the path") from None
    for step in attribute.split("."):
        try:
            found = getattr(found, step)
        except AttributeError:
            raise AgentNotFound(f"module {module_name!r} has no {attribute!r}") from None
    if not isinstance(found, RealtimeAgent):
        raise AgentNotFound(f"{name} is a {type(found).__name__}, not a RealtimeAgent")
    return found
