"""Options that commands share: an agent by its name, and how an emulator hears and speaks."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.emulator.options import SpeechEngines

__all__ = ["AgentNotFound", "add_speech_option", "load_agent", "speech_engines"]


class AgentNotFound(Exception):
    """``module:attribute`` names no agent; the message says why."""


def load_agent(name: str) -> RealtimeAgent[Any]:
    """The agent at ``module:attribute``; modules in the working directory are found.

    Raises `AgentNotFound`, and whatever the module raises when it is imported.
    """
    from trealtime.agents.agent import RealtimeAgent

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


def add_speech_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--speech`` to a command."""
    parser.add_argument(
        "--speech",
        choices=("auto", "local", "tones"),
        default="auto",
        help="local: hear and speak English, with trealtime[local]; tones: a signal in place of a voice, no words; "
        "auto: local where it is installed (default: %(default)s)",
    )


async def speech_engines(wanted: str) -> SpeechEngines:
    """The engines for what ``--speech`` says. Raises `MissingDependency` for ``local`` where it is not installed."""
    from trealtime.emulator.local import load_speech, missing_packages
    from trealtime.emulator.options import SpeechEngines

    if wanted == "tones" or (wanted == "auto" and missing_packages()):
        return SpeechEngines()
    return await load_speech()
