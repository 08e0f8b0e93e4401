"""``trealtime init``: a project to begin with, an agent with its tests and scenarios."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Final

from trealtime.terminal import printable

__all__ = ["add_parser", "write_project"]

_TEMPLATES: Final = Path(__file__).parent / "project"

_FILES: Final = {
    "agent.py": "agent.py.txt",
    "tests/conftest.py": "conftest.py.txt",
    "tests/test_agent.py": "test_agent.py.txt",
    "scenarios/orders.yaml": "orders.yaml.txt",
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    ".gitignore": "gitignore.txt",
}
"""The files of a project, and their templates."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `trealtime`."""
    parser = commands.add_parser(
        "init",
        help="write a project to begin with",
        description="Write a project to begin with: an agent with tools, tests and scenarios that need no key, and a "
        "pyproject.toml. Files that are there are left alone, and nothing is written then.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of the project, new or empty")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.folder
    try:
        written = write_project(folder)
    except FileExistsError as error:
        return _refuse(f"{error.filename} is there already, so nothing was written: name another folder")
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}")
    for path in written:
        print(printable(path))
    print(
        f"\nNext:  cd {printable(folder)}\n"
        "       python -m pytest\n"
        "       python -m trealtime eval scenarios\n"
        "       python -m trealtime demo agent:agent\n"
        f"The tests need pytest and pytest-trio, and eval PyYAML: pip install -e {printable(folder)}[test] brings them."
    )
    return 0


def _refuse(why: str) -> int:
    print(f"trealtime init: {printable(why)}", file=sys.stderr)
    return 2


def write_project(folder: Path) -> list[Path]:
    """Write the files of a project into `folder`, and return their paths.

    Raises FileExistsError naming the first that is there already, and OSError where one cannot be written.
    """
    for name in _FILES:
        if (folder / name).exists():
            raise FileExistsError(17, "File exists", str(folder / name))
    words = {"{name}": _project_name(folder)}
    written = []
    for name, template in _FILES.items():
        text = (_TEMPLATES / template).read_text(encoding="utf-8")
        for word, stands_for in words.items():
            if not name.endswith(".py"):
                text = text.replace(word, stands_for)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _project_name(folder: Path) -> str:
    """Return a name that packaging tools take, made of that of the folder."""
    return re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "voice-agent"
