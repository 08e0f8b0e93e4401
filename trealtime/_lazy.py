"""Public names that are imported when they are first used (PEP 562).

A module that shows names of other rooms has each of them twice: as an import for type checkers, and here in a table for
the interpreter. `tests/test_packaging.py` keeps the two the same.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping


def homes(names: Mapping[str, str]) -> dict[str, str]:
    """``{name: module}`` of a table ``{module below trealtime: names with spaces between them}``."""
    return {name: f"trealtime.{module}" for module, listed in names.items() for name in listed.split()}


def load(module: str, name: str, homes: Mapping[str, str]) -> object:
    """Import `name` for `module` and keep it there, so that its second use costs nothing.

    Raises AttributeError, with the nearest name, where there is none.
    """
    home = homes.get(name)
    if home is None:
        raise AttributeError(unknown(module, name, homes))
    value: object = getattr(importlib.import_module(home), name)
    setattr(sys.modules[module], name, value)
    return value


def unknown(module: str, name: str, names: Mapping[str, object]) -> str:
    """The message for a name that `module` does not have."""
    import difflib  # Only a misspelt name needs it.

    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest and not name.startswith("_") else ""
    return f"module {module!r} has no attribute {name!r}{hint}"
