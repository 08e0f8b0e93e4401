"""Names, fields and parameters are those of openai-agents 0.24.0; `read_sdk.py` wrote them down."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest

from trealtime.compat import realtime

SDK = json.loads((Path(__file__).parent / "sdk_shapes.json").read_text(encoding="utf-8"))

CHANGED_FIELDS = {
    # A class of ours with other fields stands for it, or the field belongs to other APIs.
    "RealtimeAgent": "an attrs class: its constructor has these parameters",
}


def here(module: str) -> Any:
    return importlib.import_module(module.replace("agents", "trealtime.compat", 1))


def test_the_names_are_those_of_the_pinned_version():
    assert SDK["version"] == "0.24.0"
    assert len(SDK["shapes"]) == 90


@pytest.mark.parametrize("module", sorted(SDK["modules"]))
def test_every_name_can_be_imported_from_the_same_place(module):
    assert [name for name in SDK["modules"][module] if not hasattr(here(module), name)] == []


def test_the_package_exports_what_the_sdk_exports():
    assert sorted(realtime.__all__) == sorted(SDK["shapes"])


def fields_of(value: Any) -> list[str]:
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    if typing.is_typeddict(value):
        return sorted(value.__annotations__)
    if inspect.isfunction(value):
        return list(inspect.signature(value).parameters)
    raise AssertionError(f"{value!r} has no fields")


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name, shape in SDK["shapes"].items()
        if shape["kind"] in ("dataclass", "model", "typed dict", "function") and name not in CHANGED_FIELDS
    ),
)
def test_fields_and_their_order_are_the_same(name):
    kind, fields = SDK["shapes"][name]["kind"], SDK["shapes"][name]["fields"]
    value = getattr(realtime, name)
    found = fields_of(value)
    # Models are built by keywords, so their order says nothing.
    assert (sorted(found) if kind == "model" else found) == (sorted(fields) if kind == "model" else fields)
    if kind in ("dataclass", "model"):
        assert dataclasses.is_dataclass(value), "programs call dataclasses.asdict on it, or model_dump"


@pytest.mark.parametrize("name", ["RealtimeSessionEvent", "RealtimeModelEvent", "RealtimeModelSendEvent"])
def test_unions_have_the_same_members(name):
    assert sorted(arm.__name__ for arm in typing.get_args(getattr(realtime, name))) == SDK["shapes"][name]["fields"]


def test_default_settings_have_the_same_keys():
    assert sorted(realtime.DEFAULT_MODEL_SETTINGS) == SDK["shapes"]["DEFAULT_MODEL_SETTINGS"]["fields"]


@pytest.mark.parametrize("name", sorted(SDK["methods"]))
def test_methods_have_the_same_parameters(name):
    cls = getattr(realtime, name)
    for method, parameters in SDK["methods"][name].items():
        if method == "clone":  # its keywords are typed here
            continue
        function = cls if method == "__init__" else getattr(cls, method)
        found = [each for each in inspect.signature(function).parameters if each != "self"]
        assert found == parameters, method


def test_names_of_other_parts_of_the_sdk_say_what_to_write():
    with pytest.raises(ImportError, match="RealtimeRunner"):
        exec("from trealtime.compat import Runner", {})
    with pytest.raises(ImportError, match="cannot import name 'Nonsense'"):
        exec("from trealtime.compat import Nonsense", {})


def test_trealtime_alone_loads_none_of_it():
    program = "import sys, trealtime; trealtime.RealtimeRunner; print([m for m in sys.modules if 'compat' in m])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "trealtime.compat" not in found.stdout


def test_the_documentation_has_every_name_in_its_table():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "sdk-names.md").read_text(encoding="utf-8")
    table = page.partition("\n## Names\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip().strip("`") for line in table.splitlines() if line.startswith("| `")]
    assert rows == sorted(SDK["shapes"])
