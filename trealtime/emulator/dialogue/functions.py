"""Find the functions that a text points at, and their arguments, by the types of a JSON Schema, without understanding.

Tools are wire-shaped (``{"type": "function", "name", "description", "parameters"}``). Every property takes the first
piece of the text that looks like its type, in the order of the schema, and each piece is used once. A piece behind the
property's name ("quantity 3", "order id is 42") goes first.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from trealtime.emulator.dialogue.language import NUMBER, content_words, with_digits

__all__ = [
    "QUOTED",
    "Call",
    "allows_null",
    "call_for",
    "calls_for",
    "fill_arguments",
    "find_arguments",
    "functions_meant",
    "functions_of",
    "has_all_required",
    "resolved",
]

_DEEPEST = 8  # schemas may refer to themselves
_MOST_TOOLS = 100
_MOST_PROPERTIES = 30
_MOST_VALUES = 100
_MOST_OF_DESCRIPTION = 300

_INTEGER = r"(?<![\w.])-?\d{1,15}(?!\w|\.\d)"
_CODE = r"(?<!\w)[A-Z]*[-#]?\d[\w-]*"
_CODE_NAMES = re.compile(r"(?:^|_)(?:id|no|number|code|phone|zip|pin)$", re.IGNORECASE)
QUOTED = r"[\"“]([^\"“”]+)[\"”]"
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
    """Return the values that `text` has for the properties of `schema`, without any defaults."""
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
        for name, declared in list((schema.get("properties") or {}).items())[:_MOST_PROPERTIES]:
            kind = self._resolve(declared)
            value = self._fill(name, kind, depth=depth + 1)
            if value is not None:
                filled[name] = value
            elif name in required:
                filled[name] = None if allows_null(declared) else self._plainest(kind, depth=depth + 1)
        return filled

    def _fill(self, name: str, schema: Mapping[str, Any], *, depth: int) -> object:
        """Return the text's value for a property; None when it has none."""
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
        return self._take(QUOTED, _SINGLE_QUOTED, _CAPITALISED, _AFTER_PREPOSITION)

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
        return [value for value in values[:_MOST_VALUES] if self._says(rf"(?<!\w){_spoken(str(value))}(?!\w)")]

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


Call = tuple[str, dict[str, object]]
"""The name of a function, and the arguments."""


def functions_of(tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the function tools among the first 100 of `tools`: those of MCP servers are not the client's to run.

    Their schemas come without the values of a wrong type, which a client may have written there.
    """
    return [
        {**tool, "description": _text(tool.get("description")), "parameters": _well_formed(tool.get("parameters"))}
        for tool in tools[:_MOST_TOOLS]
        if tool.get("type", "function") == "function" and _text(tool.get("name"))
    ]


_KEYWORDS: Final[Mapping[str, type[Any]]] = {
    "$defs": dict, "$ref": str, "allOf": list, "anyOf": list, "const": object, "default": object, "definitions": dict,
    "description": str, "enum": list, "format": str, "items": dict, "maximum": object, "minimum": object, "oneOf": list,
    "pattern": str, "properties": dict, "required": list, "title": str, "type": object,
}  # fmt: skip


def _well_formed(schema: Any, depth: int = 0) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or depth > 2 * _DEEPEST:
        return {}
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if not _is_keyword(key, value):
            continue
        match key:
            case "properties" | "$defs" | "definitions":
                found[key] = {name: _well_formed(each, depth + 1) for name, each in value.items()}
            case "anyOf" | "oneOf" | "allOf":
                found[key] = [_well_formed(each, depth + 1) for each in value]
            case "items":
                found[key] = _well_formed(value, depth + 1)
            case "required":
                found[key] = [each for each in value if isinstance(each, str)]
            case "type" if isinstance(value, list):
                found[key] = [each for each in value if isinstance(each, str)]
            case "type" if not isinstance(value, str):
                pass
            case "enum" if not value:
                pass
            case _:
                found[key] = value
    return found


def _is_keyword(key: object, value: object) -> bool:
    return isinstance(key, str) and key in _KEYWORDS and isinstance(value, _KEYWORDS[key])


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def calls_for(text: str, functions: Sequence[Mapping[str, Any]]) -> list[Call]:
    """Return the calls that `text` asks for, in the order in which it names the functions."""
    return [call_for(piece, function) for function, piece in functions_meant(text, functions)]


def functions_meant(text: str, functions: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str]]:
    """Return the functions that `text` asks for, in the order in which it names them, each with the piece of `text`
    that has its arguments.

    A text names a function when the name, or every meaningful word of it, is in the text. When it names none, it means
    the one whose name and description share most words with it, if they share at least two, or one and the text has
    all arguments that the function requires.
    """
    said = set(content_words(text))
    named = sorted(
        ((where, tool) for tool in functions if (where := _where_named(tool, text, said)) is not None),
        key=lambda found: found[0],
    )
    if not named:
        described = _best_described(text, said, functions)
        return [] if described is None else [(described, text)]
    # Of several, each finds its arguments between its own name and the next one's.
    borders = [0, *(where for where, _ in named[1:]), len(text)]
    return [(tool, text[borders[n] : borders[n + 1]]) for n, (_, tool) in enumerate(named)]


def call_for(text: str, function: Mapping[str, Any]) -> Call:
    """Return a call of `function` with the arguments that `text` has for it."""
    return function["name"], fill_arguments(text, function.get("parameters") or {})


def _where_named(function: Mapping[str, Any], text: str, said: set[str]) -> int | None:
    name = function["name"].lower()
    lowered = text.lower()
    begin = lowered.find(name)
    while begin >= 0:
        around = lowered[begin - 1 : begin] + lowered[begin + len(name) : begin + len(name) + 1]
        if not re.search(r"\w", around):
            return begin
        begin = lowered.find(name, begin + 1)
    words = _words_of(function["name"])
    if not words or not said.issuperset(words):
        return None
    return min(lowered.index(word) for word in words)


def _best_described(text: str, said: set[str], functions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    def shared(function: Mapping[str, Any]) -> int:
        description = str(function.get("description") or "")[:_MOST_OF_DESCRIPTION]
        return len(said & {*_words_of(function["name"]), *_words_of(description)})

    best = max(functions, key=shared, default=None)
    if best is None or shared(best) == 0:
        return None
    return best if shared(best) > 1 or has_all_required(text, best.get("parameters") or {}) else None


@functools.lru_cache(maxsize=1_024)
def _words_of(text: str) -> tuple[str, ...]:
    """The content words of a name or a description, which every message is held against."""
    return tuple(content_words(text))
