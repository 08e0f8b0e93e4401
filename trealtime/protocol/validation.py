"""Mappings and instances to settings classes, with every problem found at once.

A settings class is an attrs class whose annotations say what its fields take. `structure` reads a mapping (or an
instance, since constructors check nothing) into it. A field adds with `setting` what an annotation cannot say: a range,
another spelling of its key, a reader of its own.

Sequences come out as tuples. A nested class whose fields use `setting` is checked even when it comes as an instance; an
instance of any other class is kept as it is. Annotations are evaluated, so they must be importable at run time.

The rule for None: where an annotation takes None, None is a value of its own (on the wire: an explicit null, which
switches the thing off). Everywhere else None counts as "not given".
"""

from __future__ import annotations

import collections.abc
import enum
import functools
import math
import numbers
import operator
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, Union, cast

import attrs

from trealtime._value import Value
from trealtime.errors import SettingsError, SettingsProblem

__all__ = ["NOT_SET", "NotSet", "WrongValue", "given_or", "setting", "structure"]

T = TypeVar("T")


class NotSet(enum.Enum):
    """The type of `NOT_SET`, for annotations: ``speed: float | NotSet = NOT_SET``."""

    NOT_SET = "NOT_SET"

    def __repr__(self) -> str:
        return "NOT_SET"

    def __bool__(self) -> bool:
        return False


NOT_SET: Final = NotSet.NOT_SET
"""Not given, as distinct from None, which is an explicit null."""


def given_or(value: Any, default: Any) -> Any:
    """Return `value`, or `default` where it is `NOT_SET`."""
    return default if value is NOT_SET else value


class WrongValue(Exception):
    """Raised by a reader given to `setting`: `allowed` says in words what may stand there."""

    def __init__(self, allowed: str, *, suggestion: str | None = None) -> None:
        self.allowed = allowed
        self.suggestion = suggestion
        super().__init__(allowed)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _Rule(Value):
    at_least: float | None = None
    at_most: float | None = None
    alias: str | None = None
    read: Callable[[object], object] | None = None


_RULE: Final = "trealtime.setting"
_NO_RULE: Final = _Rule()


def setting(
    default: Any = NOT_SET,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    alias: str | None = None,
    read: Callable[[object], object] | None = None,
    repr: Callable[[Any], str] | None = None,  # as attrs calls it
) -> Any:
    """Declare a field of a settings class.

    `at_least` and `at_most` bound a number, or the length of a string or sequence. `alias` is a second spelling of the
    key in mappings; the field's own name wins when both are there. `read` replaces reading by annotation: it gets the
    value found (never None, unless the annotation takes None) and returns the value or raises `WrongValue`. `repr`
    shows a value that may hold a secret.
    """
    rule = _Rule(at_least=at_least, at_most=at_most, alias=alias, read=read)
    return attrs.field(default=default, metadata={_RULE: rule}, repr=True if repr is None else repr)


def structure(cls: type[T], value: object, *, path: str = "", what: str = "settings") -> T:
    """Return `value`, a mapping or an instance of `cls`, as a checked instance of `cls`.

    `path` is what problem paths begin with, `what` names the whole in the error's first line. Raises `SettingsError`
    with every problem: unknown keys, wrong types, values out of range, missing keys.
    """
    problems: list[SettingsProblem] = []
    result = _read_class(cls, value, path, problems)
    if problems:
        raise SettingsError(problems, what=what)
    return cast("T", result)


# ---- classes --------------------------------------------------------------------------------------------------------


def _read_class(cls: type[Any], value: object, path: str, problems: list[SettingsProblem]) -> object:
    if isinstance(value, cls):
        found: Mapping[Any, object] = {field.name: getattr(value, field.name) for field in attrs.fields(cls)}
    elif isinstance(value, Mapping):
        found = value
    else:
        problems.append(SettingsProblem(path, value, f"a mapping or a {cls.__name__}"))
        return NOT_SET

    fields = [field for field in attrs.fields(cls) if field.init]
    hints = _hints(cls)  # type: ignore[arg-type]  # classes are hashable; mypy doubts it of type[Any]
    rules = {field.name: field.metadata.get(_RULE, _NO_RULE) for field in fields}
    known = {field.name for field in fields} | {rule.alias for rule in rules.values() if rule.alias is not None}
    problems.extend(_unknown_key(key, found[key], known, fields, path) for key in found if key not in known)

    values: dict[str, object] = {}
    for field in fields:
        rule = rules[field.name]
        key = rule.alias if rule.alias in found and field.name not in found else field.name
        given = found.get(key, NOT_SET)
        hint = hints[field.name]
        if given is None and not _takes_none(hint):
            given = NOT_SET
        where = f"{path}.{key}" if path else str(key)
        if given is not NOT_SET:
            values[field.alias or field.name] = _read_field(hint, rule, given, where, problems)
        elif field.default is attrs.NOTHING:
            problems.append(SettingsProblem(where, given, f"{_describe(hint)} (required)"))
    # With a problem the result is thrown away, and a missing required field would raise.
    if problems:
        return NOT_SET
    # Settings are frozen: an instance that nothing changes is as good as a copy, and sessions of one runner share it.
    if type(value) is cls and all(values.get(each.alias or each.name, NOT_SET) is found[each.name] for each in fields):
        return value
    return cls(**values)


# Evaluating annotations is nearly all of the cost of reading settings, and the answer never changes.
_hints: Final = functools.cache(typing.get_type_hints)


def _unknown_key(
    key: object, value: object, known: set[str], fields: Sequence[attrs.Attribute[Any]], path: str
) -> SettingsProblem:
    import difflib

    near = difflib.get_close_matches(key, sorted(known), n=1) if isinstance(key, str) else []
    where = f"{path}.{key}" if path else str(key)
    names = ", ".join(field.name for field in fields)
    return SettingsProblem(where, value, f"keys here: {names}", near[0] if near else None, unknown_key=True)


def _read_field(hint: Any, rule: _Rule, value: object, path: str, problems: list[SettingsProblem]) -> object:
    if rule.read is not None and value is not None:
        try:
            return rule.read(value)
        except WrongValue as wrong:
            problems.append(SettingsProblem(path, value, wrong.allowed, wrong.suggestion))
            return NOT_SET
    before = len(problems)
    result = _read(hint, value, path, problems)
    if len(problems) == before and not _within(result, rule):
        problems.append(SettingsProblem(path, value, f"{_describe(hint)}, {_bounds(result, rule)}"))
    return result


def _within(value: object, rule: _Rule) -> bool:
    if isinstance(value, bool) or (rule.at_least is None and rule.at_most is None):
        return True
    if isinstance(value, (str, tuple)):
        size: float = len(value)
    elif isinstance(value, (int, float)):
        size = value
    else:
        return True
    return (rule.at_least is None or size >= rule.at_least) and (rule.at_most is None or size <= rule.at_most)


def _bounds(value: object, rule: _Rule) -> str:
    unit = " characters" if isinstance(value, str) else " entries" if isinstance(value, tuple) else ""
    if rule.at_least is not None and rule.at_most is not None:
        return f"from {rule.at_least:g} to {rule.at_most:g}{unit}"
    if rule.at_least is not None:
        return "not empty" if unit and rule.at_least == 1 else f"at least {rule.at_least:g}{unit}"
    return f"at most {rule.at_most:g}{unit}"


# ---- values by annotation -------------------------------------------------------------------------------------------


def _read(hint: Any, value: object, path: str, problems: list[SettingsProblem]) -> object:
    """Return `value` as the type `hint`; on failure, problems are added and the result means nothing."""
    if _is_attrs(hint):
        if isinstance(value, hint) and not any(_RULE in field.metadata for field in attrs.fields(hint)):
            return value
        return _read_class(hint, value, path, problems)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Union or origin is types.UnionType:
        return _read_union(hint, value, path, problems)
    if origin in (list, tuple, collections.abc.Sequence):
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
            entry = arguments[0] if arguments else object
            entries = tuple(_read(entry, each, f"{path}[{index}]", problems) for index, each in enumerate(value))
            same = type(value) is tuple and all(map(operator.is_, entries, value))
            return value if same else entries
    elif origin in (dict, collections.abc.Mapping):
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {key: _read(arguments[1], each, f"{path}.{key}", problems) for key, each in value.items()}
    else:
        accepted, result = _read_plain(hint, origin, arguments, value)
        if accepted:
            return result
    problems.append(SettingsProblem(path, value, _allowed(hint, value), _nearest(hint, value)))
    return NOT_SET


def _is_finite(value: numbers.Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def _read_plain(hint: Any, origin: Any, arguments: tuple[Any, ...], value: object) -> tuple[bool, object]:
    """Return (whether `value` fits `hint`, the value)."""
    if hint in (Any, object):
        return True, value
    if origin is Literal:
        if isinstance(value, str):  # of any subclass: an enum's word is that word
            return value in arguments, str.__str__(value)
        # 1 == True: a literal of another type is another value.
        return any(value == each and type(value) is type(each) for each in arguments), value
    if hint is bool or hint is str:
        return isinstance(value, hint), value
    if hint is int:
        # The abstract classes take numpy's numbers too.
        fits = not isinstance(value, bool) and isinstance(value, numbers.Integral)
        return fits, int(cast("int", value)) if fits else value
    if hint is float:
        fits = not isinstance(value, bool) and isinstance(value, numbers.Real) and _is_finite(value)
        return fits, float(cast("float", value)) if fits and not isinstance(value, int) else value
    if hint is None or hint is type(None):
        return value is None, value
    if hint is collections.abc.Callable or origin is collections.abc.Callable:
        return callable(value), value
    cls = origin or hint
    # A protocol that is not runtime-checkable and a type variable cannot be checked here; the type checker has done so.
    try:
        return isinstance(value, cls), value
    except TypeError:
        return True, value


def _read_union(hint: Any, value: object, path: str, problems: list[SettingsProblem]) -> object:
    members = _members(hint)
    failures: list[tuple[Any, list[SettingsProblem]]] = []
    for member in members:
        found: list[SettingsProblem] = []
        result = _read(member, value, path, found)
        if not found:
            return result
        failures.append((member, found))
    # A problem inside a container says more than "neither this nor that", and shows less: headers hold secrets.
    for member, found in failures:
        inside = _is_attrs(member) and isinstance(value, (Mapping, member))
        if inside or found[0].path != path:
            problems.extend(found)
            return NOT_SET
    problems.append(SettingsProblem(path, value, _allowed(hint, value), _nearest(hint, value)))
    return NOT_SET


def _members(hint: Any) -> list[Any]:
    """The alternatives of a union without `NotSet`; one for anything else."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        return [member for member in typing.get_args(hint) if member is not NotSet]
    return [hint]


def _takes_none(hint: Any) -> bool:
    return any(member in (type(None), Any, object) for member in _members(hint))


def _is_attrs(hint: Any) -> bool:
    return isinstance(hint, type) and attrs.has(hint)


def _nearest(hint: Any, value: object) -> str | None:
    if not isinstance(value, str):
        return None
    words = [
        word
        for member in _members(hint)
        if typing.get_origin(member) is Literal
        for word in typing.get_args(member)
        if isinstance(word, str)
    ]
    import difflib

    near = difflib.get_close_matches(value.strip().lower(), words, n=1)
    return near[0] if near else None


_WORDS: Final[Mapping[Any, str]] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    type(None): "None",
    Any: "anything",
    object: "anything",
}


def _allowed(hint: Any, value: object) -> str:
    """Return what `hint` allows in place of `value`, in words."""
    words = _describe(hint)
    return words.replace("a number", "a finite number") if isinstance(value, float) else words


def _describe(hint: Any) -> str:
    """Return what `hint` allows, in words."""
    members = _members(hint)
    if len(members) > 1:
        return " or ".join(_describe(member) for member in members)
    (only,) = members
    if only in _WORDS:
        return _WORDS[only]
    origin, arguments = typing.get_origin(only), typing.get_args(only)
    if origin is Literal:
        return ", ".join(map(repr, arguments))
    if origin in (list, tuple, collections.abc.Sequence):
        return f"a list, each entry {_describe(arguments[0])}" if arguments and arguments[0] is not Any else "a list"
    if origin in (dict, collections.abc.Mapping):
        return "a mapping with string keys"
    if only is collections.abc.Callable or origin is collections.abc.Callable:
        return "a callable"
    if _is_attrs(only):
        return f"a mapping or a {only.__name__}"
    return f"an instance of {getattr(origin or only, '__name__', only)}"
