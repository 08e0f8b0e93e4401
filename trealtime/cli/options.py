"""Options that commands share: numbers, an agent by its name, and how an emulator hears and speaks."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent

__all__ = ["AgentNotFound", "add_speech_option", "load_agent", "make_folder", "number"]

N = TypeVar("N", int, float)


def number(kind: type[N], *, least: float, most: float = float("inf"), what: str) -> Callable[[str], N]:
    """Return the type of an option that takes a number from `least` to `most`; `what` says so when another is given."""

    def parse(text: str) -> N:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected {what}, got {text!r}")
        return value

    return parse


def make_folder(folder: Path) -> str | None:
    """Make `folder` for recordings, unless it is there. Return why nothing can be written to it, None if it can: that
    is found out now, and not when the first session has ended."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return str(error)
    return None if os.access(folder, os.W_OK | os.X_OK) else "this folder cannot be written to"


class AgentNotFound(Exception):
    """``module:attribute`` names no agent; the message says why."""


def load_agent(name: str) -> RealtimeAgent[Any]:
    """Return the agent at ``module:attribute`` or ``path.py:attribute``; modules in the working directory are found.

    Raises `AgentNotFound`, and the exceptions of the module when it is imported.
    """
    from trealtime.agents.agent import RealtimeAgent

    module_name, colon, attribute = name.rpartition(":")
    if not (module_name and colon and attribute):
        raise AgentNotFound(
            f"{name!r} is not of the form module:attribute or path.py:attribute, such as my_app:agent, my_app.py:agent"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found: object = _load_file(Path(module_name)) if module_name.endswith(".py") else _load_module(module_name)
    for step in attribute.split("."):
        try:
            found = getattr(found, step)
        except AttributeError:
            raise AgentNotFound(f"{module_name} has no {attribute!r}") from None
    if not isinstance(found, RealtimeAgent):
        raise AgentNotFound(f"{name} is a {type(found).__name__}, not a RealtimeAgent")
    return found


def _load_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and imports one that is not
        hint = f"; {name}.py:... is a file" if Path(f"{name}.py").is_file() else ""
        raise AgentNotFound(f"there is no module {name!r} here or on the path{hint}") from None


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise AgentNotFound(f"there is no file {path}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # its own imports find the modules beside it, as when Python runs the file
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # annotations and pickles look there
    spec.loader.exec_module(module)
    return module


def add_speech_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--speech`` to a command."""
    parser.add_argument(
        "--speech",
        choices=("auto", "local", "tones"),
        default="auto",
        help="local: hear and speak English, with trealtime[local]; tones: a signal in place of a voice, no words; "
        "auto: local where it is installed (default: %(default)s)",
    )
