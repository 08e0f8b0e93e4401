"""Explain why arguments do not fit, in words that a model can act on: the place, the value there, the allowed values.

msgspec names the place and the reason. The value comes from the text of the model, and the allowed values from the
schema that the model was given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from trealtime.terminal import shortened, text_of

__all__ = ["explain_refusal"]

_PLACE = re.compile(r"^(?P<problem>.*) - at (?P<key>`key` in )?`\$(?P<path>.*)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|(\[\.\.\.\])")
_FIELD = re.compile(r"^Object (missing required|contains unknown) field `(.*)`$", re.DOTALL)
_ANY_KEY: Final = "[...]"
_ANNOTATIONS = frozenset({"title", "description", "default", "$defs", "examples"})
_MOST = 300
"""The most characters of a value or a schema that a message shows."""


def explain_refusal(error: Exception, arguments: str, schema: Mapping[str, Any]) -> str:
    """Return the reason why `arguments`, JSON text, does not fit `schema`, of which `error` tells."""
    text = text_of(error)
    place = _PLACE.match(text)
    problem, path = (place["problem"], place["path"]) if place else (text, "")
    steps = [next(group for group in step.groups() if group) for step in _STEP.finditer(path)]
    node = _node(schema, steps, schema)
    field = _FIELD.match(problem)
    if field and field[1] == "missing required":
        inner = _node(node, [field[2]], schema)
        return f"{_name(path, field[2])}: missing, allowed: {_rules(inner, schema)}"
    if field:
        names = ", ".join(_resolved(node, schema).get("properties", ())) or "none"
        return f"{_name(path, field[2])}: no such name, allowed: {names}"
    if place and place["key"]:
        return f"{_name(path)}: a key of it does not fit: {problem}"
    found, value = _value(arguments, steps)
    got = f"got {_short(value)}, " if found else ""
    return f"{_name(path)}: {got}allowed: {_rules(node, schema)} ({problem})"


def _name(path: str, field: str = "") -> str:
    return f"{path}.{field}".strip(".") if field else path.strip(".") or "the arguments"


def _value(arguments: str, steps: list[str]) -> tuple[bool, object]:
    """Return (whether there is one, the value at `steps`)."""
    value: Any = msgspec.json.decode(arguments or "{}")
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return False, None
    return True, value


def _node(node: Mapping[str, Any], steps: list[str], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of the schema for the value at `steps`; empty where the schema does not say."""
    node = _resolved(node, root)
    if not steps:
        return node
    step, rest = steps[0], steps[1:]
    for branch in node.get("anyOf", ()):
        found = _node(branch, steps, root)
        if found:
            return found
    if step == _ANY_KEY:
        inner = node.get("additionalProperties")
    elif "properties" in node:
        inner = node["properties"].get(step)
    else:
        prefix = node.get("prefixItems", ())
        at = int(step) if step.isdigit() else len(prefix)
        inner = prefix[at] if at < len(prefix) else node.get("items")
    return _node(inner, rest, root) if isinstance(inner, Mapping) else {}


def _resolved(node: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = node.get("$ref")
    return root.get("$defs", {}).get(str(reference).rpartition("/")[2], {}) if reference is not None else node


def _rules(node: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    rules = {key: value for key, value in _resolved(node, root).items() if key not in _ANNOTATIONS}
    return _short(rules) if rules else "see its schema"


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return shortened(text, _MOST)
