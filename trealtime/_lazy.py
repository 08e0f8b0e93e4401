"""Names that are imported when they are first used (PEP 562), and the module that a public object names as its own.

Theory of operation
1. `trealtime._names` says which module shows which names, and which module defines them.
2. The first use of a name imports the module that defines it, and keeps the value in the module that shows it.
3. A class or function that users know as ``trealtime.RealtimeSession`` says so: its ``__module__`` becomes the module
   that shows it, for tracebacks, pickles and documentation. Every import is followed by this step for all that it has
   brought in, so a session that a runner made says it too.
4. ``typing.get_type_hints`` looks names up in ``__module__``, so the annotations of a class are resolved first. While
   one of their names is not imported yet, the class keeps the module that defines it.
"""

from __future__ import annotations

import gc
import importlib
import sys

from trealtime._names import TABLES

TYPE_CHECKING = False  # To checkers it is True. Importing `typing` would cost more than all else here.

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CodeType, FrameType
    from typing import Any, Final

    _Getter = Callable[[str], object]
    _Lister = Callable[[], list[str]]

_ROOT: Final = "trealtime"
_VALUE_MODULES: Final = frozenset({f"{_ROOT}.{name}" for name in ("errors", "events", "items", "metrics", "usage")})
"""Public modules that define names themselves; such a name keeps its module, though `trealtime` may show it too."""


def _homes(table: Mapping[str, str]) -> dict[str, str]:
    return {name: f"{_ROOT}.{module}" for module, names in table.items() for name in names.split()}


_HOMES: Final = {shown_by: _homes(table) for shown_by, table in TABLES.items()}


def namespace(module: str) -> tuple[list[str], _Getter, _Lister]:
    """Return ``__all__``, ``__getattr__`` and ``__dir__`` for a module that has a table in `trealtime._names`."""
    homes = _HOMES[module]

    def load(name: str) -> object:
        home = homes.get(name)
        if home is None:
            return _elsewhere(module, name)
        value: object = getattr(_import(home), name)
        setattr(sys.modules[module], name, value)
        _publish(value)
        return value

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[module]), *homes})

    return list(homes), load, listed


def _import(home: str) -> object:
    """Import a module without garbage collection: of the thousands of objects that this makes hardly one is garbage,
    and looking for it takes a sixth of the time. They are looked through once, here: later the collector would do so
    for each of its generations, while the first session opens."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(home)
    finally:
        if collecting:
            gc.collect(1)
            gc.enable()


def _elsewhere(module: str, name: str) -> object:
    """Return a public module of `trealtime`, or a name that has moved to one. Raises AttributeError for others."""
    others: Mapping[str, str] = {}
    if module == _ROOT and not name.startswith("_"):
        if f"{_ROOT}.{name}" in _HOMES or f"{_ROOT}.{name}" in _VALUE_MODULES:
            return importlib.import_module(f"{_ROOT}.{name}")
        from trealtime import _moved

        if name in _moved.HOMES or name in _moved.RENAMED:
            return _moved.load(name, stacklevel=3)
        others = _moved.HOMES
    message = _unknown(module, name, {**_HOMES[module], **others})
    if _is_import(sys._getframe(2)):
        raise ImportError(message)  # The interpreter would put a message without advice in place of AttributeError's.
    raise AttributeError(message)


def _is_import(frame: FrameType) -> bool:
    """Return whether `frame` is at a ``from ... import ...``."""
    import opcode

    return frame.f_code.co_code[frame.f_lasti] == opcode.opmap["IMPORT_FROM"]


def _unknown(module: str, name: str, names: Mapping[str, str]) -> str:
    if name.startswith("_"):  # Interpreter and tools ask for these and want no advice.
        return f"module {module!r} has no attribute {name!r}"
    shown_by = next((each for each in (_ROOT, *_HOMES) if name in _HOMES[each]), None)
    if shown_by is not None:
        return f"module {module!r} has no attribute {name!r}; write `from {shown_by} import {name}`"
    import difflib

    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"module {module!r} has no attribute {name!r}{hint}"


# ---- what a public object says of its home --------------------------------------------------------------------------


def _unpublished() -> dict[str, list[tuple[str, str]]]:
    """Return ``{module that defines: [(name, module that shows it)]}`` of all names."""
    pending: dict[str, list[tuple[str, str]]] = {}
    for shown_by, homes in reversed(_HOMES.items()):  # `trealtime` comes last and so has the last word
        for name, home in homes.items():
            rows = pending.setdefault(home, [])
            rows[:] = [row for row in rows if row[0] != name]
            rows.append((name, shown_by))
    return {home: rows for home, rows in pending.items() if home not in _VALUE_MODULES}


_pending: Final = _unpublished()
"""Names whose module has not been imported yet, or whose annotations name something that has not."""


_value_modules: Final = set(_VALUE_MODULES)
"""Those that have not been imported yet; their own ``__all__`` lists their names."""


_asked_for: Final[set[type[Any]]] = set()
"""attrs classes that were asked for by name, and whose fields have the text of their types still."""


def _publish(asked_for: object) -> None:
    """Let every public object that has been imported since say its public home, and `asked_for` the types of its
    fields."""
    for module in sorted(_value_modules & sys.modules.keys()):
        _value_modules.discard(module)
        listed = set(vars(sys.modules[module])["__all__"]) - _HOMES.get(module, {}).keys()
        _pending[module] = [(name, module) for name in sorted(listed)]
    if isinstance(asked_for, type) and "__attrs_attrs__" in asked_for.__dict__:
        _asked_for.add(asked_for)
    ready = [(module, sys.modules[module]) for module in _pending if module in sys.modules]
    if not ready and not _asked_for:
        return
    modules = {home for homes in _HOMES.values() for home in homes.values()} | _VALUE_MODULES
    known: dict[str, Any] = {}
    for module in modules & sys.modules.keys():
        defined = vars(sys.modules[module])
        known |= {name: defined[name] for name in defined.get("__all__", ()) if name in defined}
    annotations = _Annotations(known)
    homes = {value: value.__module__ for value in _asked_for}
    for module, loaded in ready:
        rest = [row for row in _pending[module] if not _published(vars(loaded), *row, annotations)]
        if rest:
            _pending[module] = rest
        else:
            del _pending[module]
    for value, home in homes.items():
        if _resolve_fields(value, {**known, **vars(sys.modules[home])}):
            _asked_for.discard(value)


def _published(defined: dict[str, Any], name: str, shown_by: str, annotations: _Annotations) -> bool:
    value = defined.get(name)
    if value is None:  # The module is still being imported.
        return False
    if getattr(value, "__module__", None) != defined["__name__"] or getattr(value, "__name__", None) != name:
        return True  # A constant, an alias, or a value of another module.
    if isinstance(value, type) and not annotations.resolve(value, defined):
        return False
    value.__module__ = shown_by
    return True


class _Annotations:
    """Replaces the text of annotations by types.

    ``typing.get_type_hints`` wraps and checks each on the way, which takes 40 ms for the classes of a session's
    program, a fifth of its import. So it is called for a class only where a part of a type is text in turn; else one
    text is compiled once, and the rest is looking names up.
    """

    def __init__(self, known: dict[str, Any]) -> None:
        from typing import ForwardRef

        self._known = known
        self._forward_ref = ForwardRef
        self._compiled: dict[str, CodeType] = {}

    def resolve(self, value: type[Any], defined: dict[str, Any]) -> bool:
        """Return False, and change nothing, where a name is not imported yet."""
        from inspect import get_annotations

        own = get_annotations(value)
        if not own:
            return True
        try:
            resolved = {name: self._type(each, defined) for name, each in own.items()}
            if any(map(_has_text, resolved.values())):
                resolved = _type_hints(value.__name__, own, {**self._known, **defined})
        except NameError:
            return False
        value.__annotations__ = resolved
        return True

    def _type(self, annotation: object, defined: dict[str, Any]) -> object:
        if isinstance(annotation, self._forward_ref):  # that is how a TypedDict keeps its text
            annotation = annotation.__forward_arg__
        if not isinstance(annotation, str):
            return annotation
        if annotation.isidentifier() and annotation in defined:
            return defined[annotation]
        code = self._compiled.get(annotation)
        if code is None:
            code = self._compiled[annotation] = compile(annotation, "<annotation>", "eval")
        # The module's own names come first. Only annotations of our own modules come here.
        return eval(code, self._known, defined)  # noqa: S307


def _has_text(annotation: object) -> bool:
    """Return whether a part of a type is text, as in ``Callable[["Agent"], None]``."""
    import typing

    if isinstance(annotation, (str, typing.ForwardRef)):
        return True
    parts = annotation if isinstance(annotation, list) else getattr(annotation, "__args__", ())
    return bool(parts) and getattr(annotation, "__origin__", None) is not typing.Literal and any(map(_has_text, parts))


def _type_hints(name: str, annotations: Mapping[str, object], names: dict[str, Any]) -> dict[str, Any]:
    import typing

    # A class of its own, because the bases' annotations belong to other modules.
    carrier = type(name, (), {"__annotations__": dict(annotations)})
    return typing.get_type_hints(carrier, names, names, include_extras=True)


def _resolve_fields(value: type[Any], names: dict[str, Any]) -> bool:
    """Give attrs' fields their types. Return False where a name is not imported yet."""
    import attrs

    try:
        attrs.resolve_types(value, names, names)
    except NameError:
        return False
    return True
