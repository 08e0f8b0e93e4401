"""A component of the core owns its state: no other file of the room assigns its fields."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import trealtime._core

FILES = sorted(Path(trealtime._core.__file__).parent.glob("*.py"))
SHARED = {"State", "Counters"}
"""What all rules work on, by design: the rules are not here, but in the modules that write it."""

OF_ANOTHER_ROOM = {("responses", "usage")}
"""The field of a class that is not the core's: the `RunContext` shows the app the usage."""


def owners() -> dict[str, set[str]]:
    """By name of a field, the files whose classes declare it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in FILES:
        for owner in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(owner, ast.ClassDef):
                where = "anywhere" if owner.name in SHARED else path.stem
                for line in owner.body:
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                        found[line.target.id].add(where)
    return found


def written(source: str) -> Iterator[str]:
    """The names of the fields, of anything but `self`, that this source assigns, also by key, or deletes."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute | ast.Subscript) or isinstance(node.ctx, ast.Load):
            continue
        target = node.value if isinstance(node, ast.Subscript) else node
        if isinstance(target, ast.Attribute) and not (isinstance(target.value, ast.Name) and target.value.id == "self"):
            yield target.attr


def test_fields_are_assigned_by_their_owner_only() -> None:
    declared = owners()
    strangers = {
        (path.stem, name)
        for path in FILES
        for name in written(path.read_text(encoding="utf-8"))
        if name in declared and not declared[name] & {path.stem, "anywhere"}
    }
    assert strangers == OF_ANOTHER_ROOM


def test_the_search_finds_what_it_looks_for() -> None:
    source = "self.a = 1\nx.b = 1\nx.y.c += 1\nx.d[0] = 1\ndel x.e\nx.f, self.g = 1, 2\nprint(x.h)"
    assert sorted(written(source)) == ["b", "c", "d", "e", "f"]
    assert {"response_queue"} <= owners()["answered"]
