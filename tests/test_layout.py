"""The rooms of the package import what docs/contributing.md says, and nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "trealtime"

UPWARDS_ON_PURPOSE = {
    # A static method that the SDK has on its model, made of what the rooms above know.
    ("trealtime.transport.models", "trealtime.calls.payload"),
}
"""Imports inside functions that go where the table does not lead."""

WITHOUT_TRIO = ("errors", "audio", "protocol", "conversation")


class Import(NamedTuple):
    importer: str
    imported: str
    deferred: bool
    """Inside a function: nothing is imported until it is called."""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(module: str) -> Iterator[Import]:
    """What a module imports when it runs, not for annotations alone."""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(MODULES[module].read_text(encoding="utf-8")), False)]
    while pending:
        node, deferred = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending.extend((child, deferred) for child in node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, deferred) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield Import(module, submodule if submodule in MODULES else str(node.module), deferred)
        inside = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        pending.extend((child, inside) for child in ast.iter_child_nodes(node))


IMPORTS = [each for module in MODULES for each in imports_of(module)]


def room_of(module: str) -> str:
    """``"session"`` for ``trealtime._session.subscription``; ``""`` for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def rooms() -> dict[str, set[str]]:
    """The table of the house: each room, and the rooms or modules that it may import."""
    page = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .* \|(.*)\|$", page, re.MULTILINE)
    return {room: set(re.findall(r"`([\w.]+)`", allowed)) for room, allowed in rows}


ROOMS = rooms()


def test_every_room_is_in_the_table() -> None:
    there = {room_of(module) for module in MODULES} - {"", "__main__", "_version"}
    assert there == ROOMS.keys()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_the_table_lets_it(room: str) -> None:
    allowed = {f"trealtime.{each}" for each in ROOMS[room] | {room, "_version"}}
    strays = [
        f"{each.importer} imports {each.imported}"
        for each in IMPORTS
        if room_of(each.importer) == room
        and each.imported.startswith("trealtime.")
        and not any(each.imported == name or each.imported.startswith(f"{name}.") for name in allowed)
        and not (each.deferred and each[:2] in UPWARDS_ON_PURPOSE)
    ]
    assert strays == []


def test_the_table_allows_nothing_that_no_module_needs() -> None:
    used = {(room_of(each.importer), each.imported) for each in IMPORTS}
    idle = [
        f"{room}: {name}"
        for room, names in ROOMS.items()
        for name in names
        if not any(importer == room and f"{imported}.".startswith(f"trealtime.{name}.") for importer, imported in used)
    ]
    assert idle == []


@pytest.mark.parametrize("room", WITHOUT_TRIO)
def test_what_decides_knows_neither_tasks_nor_a_clock(room: str) -> None:
    waits = {"trio", "trio_websocket", "time", "threading", "socket"}
    assert [
        each for each in IMPORTS if room_of(each.importer) == room and each.imported.partition(".")[0] in waits
    ] == []


def test_nothing_is_built_on_asyncio() -> None:
    asyncio = {each.importer for each in IMPORTS if each.imported.partition(".")[0] in {"asyncio", "anyio"}}
    assert asyncio == {"trealtime.mcp.stdio"}, "only the package `mcp` wants the streams of anyio"


def test_the_emulator_and_what_decides_load_no_session() -> None:
    """Not even through the modules that they import."""
    straight = {module: {each.imported for each in IMPORTS if each.importer == module} for module in MODULES}
    for start in [module for module in MODULES if room_of(module) in {"emulator", "conversation"}]:
        seen, pending = set(), [start]
        while pending:
            module = pending.pop()
            if module in straight and module not in seen:
                seen.add(module)
                pending.extend(straight[module])
        assert [module for module in seen if room_of(module) == "session"] == [], start
