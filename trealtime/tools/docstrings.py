"""The parts of a function's docstring that a model reads: a description, and one for each parameter.

It knows three styles. Google's heads a section with a word and a colon, NumPy's underlines it, Sphinx's has a field
``:param name:`` for each parameter. A docstring has the style of which it shows the most marks.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Final, Literal

import attrs

from trealtime._value import Value

__all__ = ["DocstringStyle", "DocumentedFunction", "parse_docstring"]

DocstringStyle = Literal["google", "numpy", "sphinx"]

_PARAMETER_SECTIONS = frozenset({"args", "arguments", "parameters", "params", "other parameters", "keyword args"})
_OTHER_SECTIONS = frozenset(
    {
        *("returns", "return", "yields", "yield", "receives", "raises", "raise", "warns", "warning", "warnings"),
        *("example", "examples", "note", "notes", "references", "see also", "attributes", "methods", "todo"),
    }
)
_SECTIONS = _PARAMETER_SECTIONS | _OTHER_SECTIONS

_GOOGLE_HEADING = re.compile(r"^([A-Z][A-Za-z ]*):\s*$")
_GOOGLE_ENTRY = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY_UNDERLINE = re.compile(r"^-{3,}\s*$")
_NUMPY_ENTRY = re.compile(r"^(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_SPHINX_FIELD = re.compile(r"^:(\w+)((?:\s+[^:]+)?):\s*(.*)$")
_SPHINX_PARAMETER = frozenset({"param", "parameter", "arg", "argument", "key", "keyword"})
_SPHINX_OTHER = frozenset({"type", "return", "returns", "rtype", "raise", "raises", "except", "exception", "yields"})


@attrs.frozen(eq=False, repr=False)
class DocumentedFunction(Value):
    """The prose before the first section, and the text of each documented parameter in one line."""

    description: str = ""
    parameters: Mapping[str, str] = attrs.field(factory=dict)


def parse_docstring(docstring: str | None, *, style: DocstringStyle | None = None) -> DocumentedFunction:
    """Return the parts of `docstring` for a model. With `style` None it finds the style out.

    It leaves out sections about results, errors and the like, which are for programmers.
    """
    if not docstring:
        return DocumentedFunction()
    lines = inspect.cleandoc(docstring).splitlines()
    return _READERS[_style_of(lines) if style is None else style](lines)


def _style_of(lines: list[str]) -> DocstringStyle:
    marks: dict[DocstringStyle, int] = {
        # The order decides between styles with as many marks.
        "sphinx": sum(_sphinx_field(line) is not None for line in lines),
        "numpy": sum(_numpy_heading(lines, at) is not None for at in range(len(lines))),
        "google": sum(_google_heading(line) is not None for line in lines),
    }
    return max(marks, key=marks.__getitem__)


# ---- Google ---------------------------------------------------------------------------------------------------------


def _google_heading(line: str) -> str | None:
    heading = _GOOGLE_HEADING.match(line)
    title = heading.group(1).lower() if heading else None
    return title if title in _SECTIONS else None


def _read_google(lines: list[str]) -> DocumentedFunction:
    prose: list[str] = []
    entries: list[str] = []
    target: list[str] | None = prose
    for line in lines:
        title = _google_heading(line)
        if title is not None:
            target = entries if title in _PARAMETER_SECTIONS else None
        elif target is not None:
            target.append(line)
    indent = next((_indent(line) for line in entries if line.strip()), 0)
    texts: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in entries:
        entry = _GOOGLE_ENTRY.match(line.strip()) if _indent(line) == indent else None
        if entry:
            current = texts.setdefault(entry.group(1), [])
            current.append(entry.group(2))
        elif current is not None:
            current.append(line)
    return _documented(prose, texts)


# ---- NumPy ----------------------------------------------------------------------------------------------------------


def _numpy_heading(lines: list[str], at: int) -> str | None:
    title = lines[at].strip().lower()
    underlined = at + 1 < len(lines) and _NUMPY_UNDERLINE.match(lines[at + 1]) is not None
    return title if underlined and title in _SECTIONS else None


def _read_numpy(lines: list[str]) -> DocumentedFunction:
    prose: list[str] = []
    texts: dict[str, list[str]] = {}
    section: str | None = None
    current: list[list[str]] = []
    for at, line in enumerate(lines):
        title = _numpy_heading(lines, at)
        if title is not None:
            section, current = title, []
        elif section is None:
            prose.append(line)
        elif section in _PARAMETER_SECTIONS and not _NUMPY_UNDERLINE.match(line):
            entry = _NUMPY_ENTRY.match(line)
            if entry:
                names = [name.strip().lstrip("*") for name in entry.group(1).split(",")]
                current = [texts.setdefault(name, []) for name in names]
            else:
                for text in current:
                    text.append(line)
    return _documented(prose, texts)


# ---- Sphinx ---------------------------------------------------------------------------------------------------------


def _sphinx_field(line: str) -> re.Match[str] | None:
    field = _SPHINX_FIELD.match(line)
    return field if field and field.group(1) in _SPHINX_PARAMETER | _SPHINX_OTHER else None


def _read_sphinx(lines: list[str]) -> DocumentedFunction:
    prose: list[str] = []
    texts: dict[str, list[str]] = {}
    target: list[str] | None = prose
    for line in lines:
        field = _sphinx_field(line)
        if field is not None:
            target = None
            names = field.group(2).split()  # ":param int count:" names the type first
            if field.group(1) in _SPHINX_PARAMETER and names:
                target = texts.setdefault(names[-1].lstrip("*\\"), [])
                target.append(field.group(3))
        elif target is not None:
            target.append(line)
    return _documented(prose, texts)


# ---- all ------------------------------------------------------------------------------------------------------------

_READERS: Final[Mapping[DocstringStyle, Callable[[list[str]], DocumentedFunction]]] = {
    "google": _read_google,
    "numpy": _read_numpy,
    "sphinx": _read_sphinx,
}


def _documented(prose: list[str], texts: Mapping[str, list[str]]) -> DocumentedFunction:
    joined = {name: " ".join(" ".join(parts).split()) for name, parts in texts.items()}
    return DocumentedFunction("\n".join(prose).strip(), {name: text for name, text in joined.items() if text})


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
