"""Values and text from elsewhere, made fit to print on a terminal: short, on one line, without audio."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, get_args

__all__ = ["one_line", "print_short", "printable", "repr_of", "shortened", "text_of"]

# Control characters (C0, DEL, C1), line and paragraph separators, marks that change the direction of what follows, and
# halves of surrogate pairs, which no encoding takes.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

LONGEST: Final = 60
"""Characters of a text that a `repr` shows."""

_FEW: Final = 3
_DEEPEST: Final = 3
_BASE64: Final = frozenset({"audio", "image_url"})
"""Fields whose text may be the base64 of audio or of an image: a `repr` says how much it is."""


def text_of(value: object) -> str:
    """Return ``str(value)``. Where the value's own class fails to make it, as exceptions of programs do at times,
    return a note in its place."""
    return _made(str, value)


def repr_of(value: object) -> str:
    """Return ``repr(value)``, or a note as `text_of` does."""
    return _made(repr, value)


def _made(make: Callable[[object], str], value: object) -> str:
    try:
        return make(value)
    except Exception as error:  # noqa: BLE001  (the code of a class that is not ours)
        return f"<{type(value).__name__}, whose {make.__name__} raises {type(error).__name__}>"


def printable(value: object, *, newlines: bool = False) -> str:
    r"""Return ``str(value)`` with each character that commands a terminal written as an escape, such as ``\x1b``.

    Print text that a client, a caller, a server or a model has sent through this: escape sequences in it could move the
    cursor, hide or forge lines, or set the title of the window. `newlines` keeps line breaks and tabs, for text of
    several lines.
    """

    def escape(found: re.Match[str]) -> str:
        character = found[0]
        if newlines and character in "\n\t":
            return character
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")

    return _UNPRINTABLE.sub(escape, text_of(value))


def shortened(text: str, limit: int = LONGEST) -> str:
    """Return `text`, cut to `limit` characters, the last three of them dots, if it is longer."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def one_line(value: object) -> str:
    """Return a `repr` of any value that fits a line: text cut, bytes and long collections counted, agents and tools by
    their names."""
    return _line(value, 0)


def _line(value: object, depth: int) -> str:
    try:
        return _line_of(value, depth)
    except Exception:  # noqa: BLE001  (the code of a class that is not ours)
        return f"<{type(value).__name__}>"


def _line_of(value: object, depth: int) -> str:
    match value:
        case str():
            value = str.__str__(value)
            return printable(repr(shortened(value)))
        case bytes() | bytearray() | memoryview():
            return f"<{len(value):,} bytes>"
        case BaseException():
            text = text_of(value)
            return f"{type(value).__name__}({_line(text, depth) if text else ''})"
        case Mapping():
            kind = value.get("type")
            return f"<{kind}: {len(value)} keys>" if isinstance(kind, str) else f"<{len(value)} keys>"
        case list() | tuple() if len(value) <= _FEW and depth < _DEEPEST:
            inside = ", ".join(_line(each, depth + 1) for each in value)
            return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
        case Sequence() | AbstractSet():
            return f"<{len(value)} of {type(value).__name__}>"
        case type():
            return value.__qualname__
    if hasattr(value, "previous_item_id"):  # an item, whose str is made to be read
        return _line(text_of(value), depth)
    name = getattr(value, "name", None) or getattr(value, "tool_name", None)
    if isinstance(name, str):
        return _line(name, depth)
    shown = printable(repr_of(value))
    # What is left may show its memory address, or a whole object of the program's.
    return shown if len(shown) <= LONGEST and " at 0x" not in shown else f"<{type(value).__name__}>"


def _short_repr(self: Any) -> str:
    import attrs  # only here: the command line's help prints without it

    shown = []
    for field in attrs.fields(type(self)):
        value = getattr(self, field.name)
        if (
            field.name == "info"
            or not field.repr
            or (field.default is not attrs.NOTHING and _is_default(field.default, value))
        ):
            continue
        if field.name in _BASE64 and isinstance(value, str) and len(value) > LONGEST:
            shown.append(f"{field.name}=<{len(value):,} characters>")
        else:
            shown.append(f"{field.name.removeprefix('_')}={one_line(value)}")
    return f"{type(self).__name__}({', '.join(shown)})"


def _is_default(default: object, value: object) -> bool:
    factory = getattr(default, "factory", None)
    if factory is not None and not getattr(default, "takes_self", False):
        default = factory()
    return type(default) is type(value) and default == value


def print_short(*kinds: object) -> None:
    """Give attrs classes a `repr` of one line: their fields as `one_line` shows them, without those that have their
    defaults. A union stands for its members."""
    for kind in kinds:
        for member in get_args(kind) or (kind,):
            cls: Any = member
            cls.__repr__ = _short_repr
