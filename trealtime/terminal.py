"""Text from elsewhere, made fit to print on a terminal."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["printable"]

# Control characters (C0, DEL, C1), line and paragraph separators, marks that change the direction of what follows, and
# halves of surrogate pairs, which no encoding takes.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


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

    return _UNPRINTABLE.sub(escape, str(value))
