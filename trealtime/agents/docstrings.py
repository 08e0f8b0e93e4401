"""A function's docstring, as what a model should read of it: a description, and one for each parameter.

The format is Google's: sections are headed by a word and a colon on a line of their own, and the section ``Args:``
holds ``name: text`` or ``name (type): text``, continued on deeper lines.
"""

from __future__ import annotations

import inspect
import re

import attrs

__all__ = ["DocumentedFunction", "parse_docstring"]

_PARAMETER_SECTIONS = frozenset({"args", "arguments", "parameters", "params"})
_OTHER_SECTIONS = frozenset(
    {"returns", "return", "yields", "raises", "example", "examples", "note", "notes", "see also", "warning", "todo"}
)
_HEADING = re.compile(r"^([A-Z][A-Za-z ]*):\s*$")
_ENTRY = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")


@attrs.frozen
class DocumentedFunction:
    """The prose before the first section, and the text of each documented parameter on one line."""

    description: str = ""
    parameters: dict[str, str] = attrs.field(factory=dict)


def parse_docstring(docstring: str | None) -> DocumentedFunction:
    """What `docstring` tells a model. Sections other than ``Args:`` are for programmers and are left out."""
    if not docstring:
        return DocumentedFunction()
    prose: list[str] = []
    entries: list[str] = []
    target: list[str] | None = prose
    for line in inspect.cleandoc(docstring).splitlines():
        heading = _HEADING.match(line)
        title = heading.group(1).lower() if heading else None
        if title in _PARAMETER_SECTIONS:
            target = entries
        elif title in _OTHER_SECTIONS:
            target = None
        elif target is not None:
            target.append(line)
    return DocumentedFunction("\n".join(prose).strip(), _parameters(entries))


def _parameters(lines: list[str]) -> dict[str, str]:
    entry_indent = next((_indent(line) for line in lines if line.strip()), 0)
    texts: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines:
        entry = _ENTRY.match(line.strip()) if _indent(line) == entry_indent else None
        if entry:
            current = texts.setdefault(entry.group(1), [])
            current.append(entry.group(2))
        elif current is not None:
            current.append(line.strip())
    return {name: " ".join(" ".join(parts).split()) for name, parts in texts.items()}


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
