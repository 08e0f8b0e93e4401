"""Where ``trealtime talk`` prints: lines, and below them, on a terminal, one line that shows how things are."""

from __future__ import annotations

import math
import shutil
from typing import TextIO

__all__ = ["Screen", "meter"]

_CLEAR = "\r\x1b[K"
_QUIETEST_DBFS = -60.0


class Screen:
    """Prints to `out`. With `live` the last line of the terminal is the status; else there are only lines."""

    def __init__(self, out: TextIO, *, live: bool) -> None:
        self._out = out
        self.live = live
        self._status = ""

    def line(self, text: str) -> None:
        """Print a line for good."""
        self._out.write(f"{_CLEAR if self._status else ''}{text}\n{self._status}")
        self._out.flush()

    def status(self, text: str) -> None:
        """Show `text` as the last line, until it changes. Nothing without `live`."""
        if not self.live:
            return
        shown = text[: max(1, shutil.get_terminal_size().columns - 1)]
        if shown != self._status:
            self._out.write(f"{_CLEAR}{shown}")
            self._out.flush()
            self._status = shown


def meter(dbfs: float, *, width: int = 10) -> str:
    """A level from -60 to 0 dBFS as a bar."""
    share = 0.0 if math.isinf(dbfs) else min(max(1 - dbfs / _QUIETEST_DBFS, 0.0), 1.0)
    filled = round(share * width)
    return "#" * filled + "-" * (width - filled)
