"""What an install gives: public names that resolve, an import that is light, metadata that agree."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import json
import pickle
import re
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

import trealtime
from trealtime import _moved
from trealtime._names import TABLES
from trealtime.protocol.validation import structure

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def in_a_fresh_interpreter(code: str) -> str:
    """What `code` prints in an interpreter that has imported nothing of ours yet, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", TABLES)
def test_every_public_name_resolves(module: str) -> None:
    shown = importlib.import_module(module)
    assert [name for name in shown.__all__ if getattr(shown, name) is None] == []
    assert len(shown.__all__) == len(set(shown.__all__))
    assert set(shown.__all__) <= set(dir(shown))


def test_the_top_holds_what_most_programs_use_and_no_more() -> None:
    assert len(trealtime.__all__) <= 120
    names: dict[str, object] = {}
    exec("from trealtime import *", names)
    assert set(trealtime.__all__) <= set(names)


def checked_names(module: str) -> dict[str, str]:
    """``{name: module}`` of what a module shows to type checkers."""
    source = ast.parse(Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8"))
    blocks = [node for node in source.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {
        alias.asname: str(statement.module)
        for block in blocks
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
        if alias.asname is not None and statement.module != "trealtime"
    }


@pytest.mark.parametrize("module", TABLES)
def test_type_checkers_and_the_interpreter_find_each_name_in_the_same_module(module: str) -> None:
    rows = TABLES[module].items()
    assert checked_names(module) == {name: f"trealtime.{home}" for home, names in rows for name in names.split()}


def test_a_misspelt_name_is_an_error_that_suggests_the_nearest() -> None:
    with pytest.raises(AttributeError, match="no attribute 'RealtimeAgnet'; did you mean 'RealtimeAgent'"):
        getattr(trealtime, "RealtimeAgnet")  # noqa: B009  (type checkers know that it does not exist)
    with pytest.raises(ImportError, match="no attribute 'RealtimeAgnet'; did you mean 'RealtimeAgent'"):
        exec("from trealtime import RealtimeAgnet")
    with pytest.raises(ImportError, match="no attribute 'SesionSettings'; did you mean 'SessionSettings'"):
        exec("from trealtime.settings import SesionSettings")
    assert not hasattr(trealtime, "RealtimeAgnet")


def test_a_name_of_another_module_says_how_to_import_it() -> None:
    with pytest.raises(ImportError, match="no attribute 'WavEndpoint'; write `from trealtime import WavEndpoint`"):
        exec("from trealtime.endpoints import WavEndpoint")
    with pytest.raises(ImportError, match=r"write `from trealtime\.endpoints import list_devices`"):
        exec("from trealtime.calls import list_devices")


# ---- names that have moved ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", _moved.HOMES)
def test_a_name_that_has_moved_works_with_a_warning_that_names_its_home(name: str) -> None:
    home = _moved.HOMES[name]
    with pytest.warns(DeprecationWarning, match=f"from {home} import {name} ") as caught:
        value = getattr(trealtime, name)
    assert value is getattr(importlib.import_module(home), name)
    assert {each.filename for each in caught} == {__file__}
    with pytest.warns(DeprecationWarning, match=f"from {home} import {name} ") as caught:
        exec(compile(f"from trealtime import {name}", "a program", "exec"))
    assert {each.filename for each in caught} == {"a program"}


@pytest.mark.parametrize("old, new", _moved.RENAMED.items())
def test_a_name_that_was_changed_works_with_a_warning_that_names_the_new_one(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"trealtime.{old} has moved: from trealtime import {new} "):
        assert getattr(trealtime, old) is getattr(trealtime, new)


def test_type_checkers_find_moved_names_where_they_are_now() -> None:
    assert checked_names("trealtime._moved") == _moved.HOMES
    assert _moved.HOMES.keys() & set(trealtime.__all__) == set()


def test_the_documentation_lists_every_name_that_moved() -> None:
    page = (ROOT / "docs" / "reference" / "sdk-names.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `trealtime\.(\w+)` \| `([\w.]+)\.\1` \|$", page, re.MULTILINE))
    assert rows == _moved.HOMES
    assert [
        old for old, new in _moved.RENAMED.items() if f"| `trealtime.{old}` | `trealtime.{new}` |" not in page
    ] == []
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [name for name in _moved.HOMES if f"`{name}`" not in changelog] == []


def test_the_citation_agrees_with_the_metadata() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["title"], citation["license"]) == (PROJECT["name"], PROJECT["license"])
    assert citation["abstract"].rstrip(".") == PROJECT["description"]
    assert citation["authors"] == PROJECT["authors"]
    assert {"cff-version", "message", "type"} <= citation.keys()


# ---- what a public object says of its home --------------------------------------------------------------------------


def public_values() -> Iterator[tuple[str, str, Any]]:
    """(module, name, value) of every class and function, where it is at home."""
    for module in (*TABLES, "trealtime.events", "trealtime.metrics", "trealtime.usage"):
        for name in importlib.import_module(module).__all__:
            value = getattr(importlib.import_module(module), name)
            at_the_top = module != "trealtime" and name in trealtime.__all__
            if getattr(value, "__name__", None) == name and not at_the_top:
                yield module, name, value


def test_public_objects_say_their_public_home() -> None:
    values = {"events", "items", "metrics", "usage", "errors"}
    for module, name, value in public_values():
        said = value.__module__
        assert said == module or said.removeprefix("trealtime.") in values, name
        assert getattr(importlib.import_module(said), name) is value
        assert pickle.loads(pickle.dumps(value)) is value
    assert repr(trealtime.RealtimeSession) == "<class 'trealtime.RealtimeSession'>"


def test_a_session_says_its_home_though_nobody_imported_its_class() -> None:
    code = "from trealtime import RealtimeRunner; import sys; m = sys.modules['trealtime._session.session']"
    assert in_a_fresh_interpreter(f"{code}; print(m.RealtimeSession.__module__)").strip() == "trealtime"


def test_annotations_of_every_public_class_resolve() -> None:
    """``typing.get_type_hints`` looks names up in the module that a class says it is from."""
    for _, _, value in public_values():
        if isinstance(value, type):
            typing.get_type_hints(value)


def test_every_settings_class_is_structured_and_keeps_its_types() -> None:
    from trealtime import settings

    kinds = [getattr(settings, name) for name in settings.__all__]
    kinds = [kind for kind in kinds if attrs.has(kind)]
    whole = [kind for kind in kinds if all(field.default is not attrs.NOTHING for field in attrs.fields(kind))]
    assert len(whole) >= 15
    for kind in whole:
        assert structure(kind, {}, what="settings") == kind()
    for kind in kinds:
        assert [field.name for field in attrs.fields(kind) if isinstance(field.type, str)] == []


def test_a_plain_import_loads_nothing_heavy() -> None:
    loaded = set(
        json.loads(in_a_fresh_interpreter("import trealtime, sys, json; print(json.dumps(list(sys.modules)))"))
    )
    heavy = {"trio", "numpy", "attrs", "attr", "cattrs", "msgspec", "ssl", "trio_websocket", "wsproto", "asyncio"}
    assert loaded & heavy == set()
    assert {name for name in loaded if name.startswith("trealtime")} == {
        "trealtime",
        "trealtime._lazy",
        "trealtime._names",
        "trealtime._version",
    }


def test_declaring_an_agent_loads_neither_a_network_nor_numpy_nor_the_emulator() -> None:
    code = (
        "import sys, json; from trealtime import RealtimeAgent, function_tool; import trio\n"
        "RealtimeAgent('A'); print(json.dumps(list(sys.modules)))"
    )
    loaded = set(json.loads(in_a_fresh_interpreter(code)))
    assert loaded & {"numpy", "cattrs", "trio_websocket", "wsproto"} == set()
    assert not [name for name in loaded if name.startswith(("trealtime.emulator", "trealtime.transport"))]


def test_no_optional_package_is_needed_to_use_any_public_name() -> None:
    optional = ["sounddevice", "quart_trio", "quart", "hypercorn", "httpx", "mcp", "opentelemetry"]
    in_a_fresh_interpreter(
        f"import sys, importlib\nfor name in {optional!r}: sys.modules[name] = None\n"
        f"for module in {list(TABLES)!r}:\n    shown = importlib.import_module(module)\n"
        "    for name in shown.__all__: getattr(shown, name)"
    )


def test_there_is_one_version() -> None:
    installed = next(iter(importlib.metadata.distributions(name="trealtime")), None)
    if installed is None:
        pytest.skip("trealtime is not installed here, only imported from the working tree")
    assert installed.version == trealtime.__version__


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(trealtime.__file__).parent / "py.typed").is_file()


def test_dependencies_have_floors_and_no_ceilings() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in [requirement for group in groups for requirement in group]:
        assert ">=" in requirement, f"{requirement} has no floor"
        versions, _, _ = requirement.partition(";")
        assert not set(versions) & set("<~!"), f"{requirement} has a ceiling"


def test_the_extras_of_the_documentation_exist() -> None:
    from trealtime.errors import MissingDependency

    assert {"console", "web", "http", "mcp", "otel", "local", "eval", "test", "docs", "dev"} == set(
        PROJECT["optional-dependencies"]
    )
    assert 'pip install "trealtime[mcp]"' in str(MissingDependency("MCP servers", extra="mcp"))


def test_every_module_is_part_of_a_package() -> None:
    folders = {path.parent for path in (ROOT / "trealtime").rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()] == []
