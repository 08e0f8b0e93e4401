"""A room of the package imports only rooms below it, in the order of the table in the documentation."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "trealtime"

UPWARDS_ON_PURPOSE = {
    # A static method that the SDK has on its model, made of what the rooms above know.
    ("trealtime.transport.models", "trealtime.calls.payload"),
    ("trealtime.transport.models", "trealtime.agents.agent"),
}
"""Imports for annotations or inside functions that go up all the same."""

LAZY_NAMESPACES = {"errors", "items", "settings", "typing"}
"""They show checkers what lives above them, and load it on first use: their annotations are no imports."""

DECLARATIONS = {"tools", "mcp", "agents", "events"}
"""Rooms whose annotations may name each other: an agent has tools, and a tool's context has the agent."""

WITHOUT_TRIO = ("errors", "items", "events", "metrics", "usage", "audio", "protocol", "_core")

CORE_KNOWS_NOTHING_OF = {"_session", "transport", "endpoints"}

Kind = Literal["run", "call", "annotation"]


class Import(NamedTuple):
    importer: str
    imported: str
    kind: Kind
    """``"run"``: when the module is imported; ``"call"``: when a function runs; ``"annotation"``: never."""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(module: str) -> Iterator[Import]:
    pending: list[tuple[ast.AST, Kind]] = [(ast.parse(MODULES[module].read_text(encoding="utf-8")), "run")]
    while pending:
        node, kind = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending.extend((child, "annotation") for child in node.body)
            pending.extend((child, kind) for child in node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, kind) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield Import(module, submodule if submodule in MODULES else str(node.module), kind)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        inside: Kind = "call" if function and kind == "run" else kind
        pending.extend((child, inside) for child in ast.iter_child_nodes(node))


IMPORTS = [each for module in MODULES for each in imports_of(module)]


def room_of(module: str) -> str:
    """``"_session"`` for ``trealtime._session.subscription``; ``""`` for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def rooms() -> list[str]:
    """The first column of the table of the house, from top to bottom."""
    text = (ROOT / "docs" / "understand" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("\n| room |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)


ROOMS = rooms()
HEIGHT = {room: -row for row, room in enumerate(ROOMS)}


def circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Sets of modules that reach each other, by Tarjan's algorithm."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    count = itertools.count()

    def visit(module: str) -> None:
        number[module] = lowest[module] = next(count)
        stack.append(module)
        for other in edges.get(module, ()):
            if other not in number:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == number[module]:
            circle = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for module in edges:
        if module not in number:
            visit(module)
    return found


def edges(*kinds: Kind) -> dict[str, set[str]]:
    """Who imports whom; the package itself is left out, because its names are imported when they are used."""
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for each in IMPORTS:
        if each.kind in kinds and each.imported in MODULES and room_of(each.imported):
            graph[each.importer].add(each.imported)
    return graph


def test_every_room_is_in_the_table_once() -> None:
    there = {room_of(module) for module in MODULES} - {"", "__main__"}
    assert sorted(ROOMS) == sorted(there - {"_lazy", "_moved", "_names", "_version"})


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    strays = []
    for importer, imported, kind in IMPORTS:
        other = room_of(imported)
        if room_of(importer) != room or other not in HEIGHT or HEIGHT[other] <= HEIGHT[room]:
            continue
        if kind == "annotation" and (room in LAZY_NAMESPACES or {room, other} <= DECLARATIONS):
            continue
        if kind != "run" and (importer, imported) in UPWARDS_ON_PURPOSE:
            continue
        strays.append(f"{importer} imports {imported} ({kind})")
    assert strays == []


def test_no_module_of_a_room_imports_the_package_itself() -> None:
    """Its names are there for users; a module that took one from it would not say which room it needs."""
    strays = [each for each in IMPORTS if each.imported == "trealtime" and room_of(each.importer)]
    assert [each for each in strays if each.kind == "run" and room_of(each.importer) in ROOMS] == []


def test_every_exception_to_the_order_is_needed() -> None:
    assert {each[:2] for each in IMPORTS} >= UPWARDS_ON_PURPOSE


def test_modules_form_no_circle_at_run_time() -> None:
    assert circles(edges("run")) == []


def test_annotations_form_circles_only_inside_a_room_or_among_the_declarations() -> None:
    graph = edges("run", "annotation")
    for namespace in LAZY_NAMESPACES:
        graph[f"trealtime.{namespace}"] = edges("run")[f"trealtime.{namespace}"]
    graph["trealtime.transport.models"] = edges("run")["trealtime.transport.models"]
    rooms_of_circles = [{room_of(module) for module in circle} for circle in circles(graph)]
    assert [each for each in rooms_of_circles if len(each) > 1 and not each <= DECLARATIONS] == []


def test_a_circle_is_seen() -> None:
    """The searches above find what they look for."""
    assert circles({"a": ["b"], "b": ["c"], "c": ["b"], "d": ["a"]}) == [["b", "c"]]


@pytest.mark.parametrize("room", WITHOUT_TRIO)
def test_what_decides_knows_neither_tasks_nor_a_clock(room: str) -> None:
    waits = {"trio", "trio_websocket", "time", "threading", "socket"}
    assert [
        each
        for each in IMPORTS
        if room_of(each.importer) == room and each.imported.partition(".")[0] in waits and each.kind != "annotation"
    ] == []


def test_the_core_names_no_room_that_waits() -> None:
    """Not even for an annotation."""
    named = [each for each in IMPORTS if room_of(each.importer) == "_core"]
    assert [each for each in named if room_of(each.imported) in CORE_KNOWS_NOTHING_OF] == []


def test_nothing_is_built_on_asyncio() -> None:
    asyncio = {each.importer for each in IMPORTS if each.imported.partition(".")[0] in {"asyncio", "anyio"}}
    assert asyncio == {"trealtime.mcp.stdio"}, "only the package `mcp` wants the streams of anyio"


def test_the_emulator_and_what_decides_load_no_session() -> None:
    """Not even through the modules that they import."""
    straight = edges("run", "call")
    for start in [module for module in MODULES if room_of(module) in {"emulator", "_core"}]:
        seen: set[str] = set()
        pending = [start]
        while pending:
            module = pending.pop()
            if module in straight and module not in seen:
                seen.add(module)
                pending.extend(straight[module])
        assert [module for module in seen if room_of(module) == "_session"] == [], start
