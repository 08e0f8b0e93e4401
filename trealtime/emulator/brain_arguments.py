"""Arguments for a function, picked from a text by the types of a JSON Schema: no understanding is involved.

Every property takes what looks like its type, in the order of the schema, and each piece of the text is used once. What
stands behind the property's name ("quantity 3", "order id is 42") goes first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from trealtime.emulator.brain_words import NUMBER, with_digits

__all__ = ["allows_null", "fill_arguments", "find_arguments", "has_all_required", "resolved"]

_DEEPEST = 8  # schemas may refer to themselves

_INTEGER = r"(?<![\w.])-?\d+(?!\w|\.\d)"
_CODE = r"(?<!\w)[A-Z]*[-#]?\d[\w-]*"
_CODE_NAMES = re.compile(r"(?:^|_)(?:id|no|number|code|phone|zip|pin)$", re.IGNORECASE)
_DOUBLE_QUOTED = r"[\"“]([^\"“”]+)[\"”]"
_SINGLE_QUOTED = r"(?<!\w)'([^']+)'(?!\w)"
_CAPITALISED = r"(?-i:(?<![.!?] )(?<!^)\b(?!I\b)[A-Z][\w'-]*(?: [A-Z][\w'-]*)*)"
_AFTER_PREPOSITION = r"\b(?:in|for|to|at|from|about|with|called|named)\s+(?:(?:the|an?|my)\s+)?([^\s.,;:!?]+)"
_STRING_FORMATS = {
    "email": r"[\w.+-]+@[\w-]+\.[\w.]*\w",
    "uri": r"https?://[^\s\"']+",
    "url": r"https?://[^\s\"']+",
    "date": r"\b\d{4}-\d\d-\d\d\b",
    "time": r"\b\d\d?:\d\d(?::\d\d)?\b",
}


def fill_arguments(text: str, schema: Mapping[str, Any]) -> dict[str, object]:
    """An object for `schema` from the words of `text`.

    A required property that the text says nothing about gets null where that is allowed, else its default, its first
    enum value, or the plainest value of its type (a string: all of `text`). Others are left out.
    """
    return _Form(with_digits(text), root=schema).fill_object(schema, depth=0)


def find_arguments(text: str, schema: Mapping[str, Any]) -> dict[str, object]:
    """What `text` itself has for the properties of `schema`; what it says nothing about is left out."""
    return _Form(with_digits(text), root=schema).fill_object({**schema, "required": ()}, depth=0)


def has_all_required(text: str, schema: Mapping[str, Any]) -> bool:
    """Whether `schema` requires anything, and `text` has a value for all that it requires."""
    required = schema.get("required") or ()
    found = find_arguments(text, schema)
    return bool(required) and all(name in found for name in required)


def resolved(schema: Mapping[str, Any], *, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """`schema`, which is a part of `root`, with references followed, and of several alternatives the first that is not
    null."""
    for _ in range(_DEEPEST):
        if "$ref" in schema:
            schema = _referred(schema["$ref"], root)
        elif alternatives := _alternatives(schema):
            told = {key: schema[key] for key in ("description", "default") if key in schema}
            schema = {**told, **next((option for option in alternatives if option.get("type") != "null"), {})}
        else:
            break
    if isinstance(schema.get("type"), list):
        schema = {**schema, "type": next((kind for kind in schema["type"] if kind != "null"), "null")}
    return schema


def allows_null(schema: Mapping[str, Any]) -> bool:
    """Whether null fits `schema`."""
    kind = schema.get("type")
    return (
        kind == "null"
        or (isinstance(kind, list) and "null" in kind)
        or any(option.get("type") == "null" for option in _alternatives(schema))
    )


@attrs.define
class _Form:
    """A text that fills a schema, and the parts of it that are used up."""

    text: str
    root: Mapping[str, Any] = attrs.field(kw_only=True)
    _used: list[tuple[int, int]] = attrs.field(factory=list, init=False)

    def fill_object(self, schema: Mapping[str, Any], *, depth: int) -> dict[str, object]:
        required = schema.get("required") or ()
        filled: dict[str, object] = {}
        for name, declared in (schema.get("properties") or {}).items():
            kind = self._resolve(declared)
            value = self._fill(name, kind, depth=depth + 1)
            if value is not None:
                filled[name] = value
            elif name in required:
                filled[name] = None if allows_null(declared) else self._plainest(kind, depth=depth + 1)
        return filled

    def _fill(self, name: str, schema: Mapping[str, Any], *, depth: int) -> object:
        """What the text has for a property; None when it has nothing."""
        if "enum" in schema:
            return next(iter(self._mentioned(schema["enum"])), None)
        if "const" in schema:
            return schema["const"]
        match schema.get("type", "string"):
            case "integer":
                found = self._take(_behind(name, _INTEGER), _INTEGER)
                return None if found is None else int(found)
            case "number":
                found = self._take(_behind(name, NUMBER), NUMBER)
                return None if found is None else float(found) if "." in found else int(found)
            case "boolean":
                return self._boolean(_spoken(name))
            case "string":
                return self._string(name.lower(), schema)
            case "array":
                return self._array(name, self._resolve(schema.get("items") or {}), depth=depth) or None
            case "object" if depth < _DEEPEST:
                return self.fill_object(schema, depth=depth) or None
            case _:
                return None

    def _boolean(self, spoken: str) -> bool | None:
        denied = rf"\b(?:no|not|without|don't|never)\b[^.,;]*\b{spoken}\b"
        switched_off = rf"\b{spoken}\W+(?:is\W+)?(?:false|off|no)\b"
        if self._says(rf"{denied}|{switched_off}"):
            return False
        if self._says(rf"\b{spoken}\b|\b(?:yes|true)\b"):
            return True
        return False if self._says(r"\b(?:no|false)\b") else None

    def _string(self, name: str, schema: Mapping[str, Any]) -> str | None:
        format_name = schema.get("format", name)
        if format_name in _STRING_FORMATS:
            return self._take(_STRING_FORMATS[format_name])
        if _CODE_NAMES.search(name):
            return self._take(_behind(name, _CODE), _CODE)
        return self._take(_DOUBLE_QUOTED, _SINGLE_QUOTED, _CAPITALISED, _AFTER_PREPOSITION)

    def _array(self, name: str, items: Mapping[str, Any], *, depth: int) -> list[object]:
        if "enum" in items:
            return self._mentioned(items["enum"])
        values: list[object] = []
        # Only these use up what they take, so that asking again comes to an end.
        if items.get("type", "string") in ("integer", "number", "string") and "const" not in items:
            while (value := self._fill(name, items, depth=depth + 1)) is not None:
                values.append(value)
        return values

    def _mentioned(self, values: list[object]) -> list[object]:
        return [value for value in values if self._says(rf"(?<!\w){_spoken(str(value))}(?!\w)")]

    def _take(self, *patterns: str) -> str | None:
        """The first unused match of the first pattern that has one: its group, or all of it."""
        for pattern in patterns:
            for match in re.finditer(pattern, self.text, re.IGNORECASE):
                begin, end = match.span(match.re.groups)
                if all(end <= used_begin or begin >= used_end for used_begin, used_end in self._used):
                    self._used.append((begin, end))
                    return self.text[begin:end]
        return None

    def _says(self, pattern: str) -> bool:
        return re.search(pattern, self.text, re.IGNORECASE) is not None

    def _plainest(self, schema: Mapping[str, Any], *, depth: int) -> object:
        if "default" in schema:
            return schema["default"]
        if schema.get("enum"):
            return schema["enum"][0]
        match schema.get("type", "string"):
            case "integer" | "number":
                return schema.get("minimum", 0)
            case "boolean":
                return False
            case "array":
                return []
            case "object":
                return self.fill_object(schema, depth=depth) if depth < _DEEPEST else {}
            case "null":
                return None
            case _:
                return self.text.strip()

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        return resolved(schema, root=self.root)


def _referred(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _alternatives(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or []


def _spoken(name: str) -> str:
    """A pattern for a name of a property or a value as people say or write it: ``order_id``, "order id", "order-id"."""
    return r"[ _-]?".join(re.escape(word) for word in re.findall(r"[^\W_]+", name)) or re.escape(name)


def _behind(name: str, value: str) -> str:
    return rf"\b{_spoken(name)}\b\s*(?:is|are|of|to|=|:|#|number)?\s*({value})"
