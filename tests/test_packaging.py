"""What an install gives: public names that resolve, an import that is light, metadata that agree."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import trealtime

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCE = ast.parse(Path(trealtime.__file__).read_text(encoding="utf-8"))


def in_a_fresh_interpreter(code: str) -> str:
    """What `code` prints in an interpreter that has imported nothing of ours yet, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", trealtime.__all__)
def test_every_public_name_resolves(name) -> None:
    assert getattr(trealtime, name) is not None


def test_public_names_are_listed_once_and_all_of_them() -> None:
    assert len(trealtime.__all__) == len(set(trealtime.__all__))
    assert set(trealtime.__all__) <= set(dir(trealtime))
    names: dict[str, object] = {}
    exec("from trealtime import *", names)
    assert set(trealtime.__all__) <= set(names)


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="'trealtime' has no attribute 'RealtimeAgnet'"):
        getattr(trealtime, "RealtimeAgnet")  # noqa: B009  (type checkers know that it does not exist)


def test_type_checkers_and_the_interpreter_find_each_name_in_the_same_module() -> None:
    blocks = [node for node in SOURCE.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {
        alias.asname: statement.module
        for block in blocks
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen == trealtime._HOMES
    assert {*seen, "__version__"} == set(trealtime.__all__)


def test_every_exception_is_public() -> None:
    from trealtime import errors

    assert set(errors.__all__) <= set(trealtime.__all__)


def test_a_plain_import_loads_nothing_heavy() -> None:
    loaded = set(
        json.loads(in_a_fresh_interpreter("import trealtime, sys, json; print(json.dumps(list(sys.modules)))"))
    )
    heavy = {"trio", "numpy", "attrs", "attr", "cattrs", "msgspec", "ssl", "trio_websocket", "wsproto", "asyncio"}
    assert loaded & heavy == set()
    assert {name for name in loaded if name.startswith("trealtime")} <= {
        "trealtime",
        "trealtime._version",
        "trealtime._lazy",
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
    optional = ["sounddevice", "quart_trio", "quart", "hypercorn", "httpx", "mcp", "opentelemetry", "websockets"]
    in_a_fresh_interpreter(
        f"import sys\nfor name in {optional!r}: sys.modules[name] = None\n"
        "import trealtime\nfor name in trealtime.__all__: getattr(trealtime, name)"
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

    assert {"console", "web", "http", "mcp", "otel", "local", "eval", "websockets", "test", "docs", "dev"} == set(
        PROJECT["optional-dependencies"]
    )
    assert 'pip install "trealtime[mcp]"' in str(MissingDependency("MCP servers", extra="mcp"))


def test_every_module_is_part_of_a_package() -> None:
    folders = {path.parent for path in (ROOT / "trealtime").rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()] == []
