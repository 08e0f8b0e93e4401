"""The terminal of ``trealtime talk``: lines, words as they come, a status below them, and what is typed."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from typing import Final, TextIO

import trio

from trealtime.cli.talk_narrator import Answer, Line, Shown, Tone, Words
from trealtime.terminal import printable

__all__ = ["Screen", "Typist", "meter", "shows_colours"]

_CLEAR = "\r\x1b[K"
_QUIETEST_DBFS = -60.0
_PREFIX = "agent: "

_COLOURS: Final[Mapping[Tone, str]] = {"user": "1", "agent": "36", "tool": "33", "quiet": "2", "bad": "31"}
"""The parameters of SGR, ECMA-48."""


def shows_colours(out: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether `out` is a terminal that shows colours and the user wants them; see https://no-color.org."""
    return out.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


class Screen:
    """Print to `out`. With `live` the last line of the terminal is the status; else there are only lines, and the words
    of an answer are printed as they come.

    Text is printed without control characters: much of it comes from a server.
    """

    def __init__(self, out: TextIO, *, live: bool, colours: bool = False) -> None:
        self._out = out
        self._colours = colours
        self.live = live
        self._status = ""
        self._speaking = False

    def show(self, shown: Shown) -> None:
        """Print what the narrator says."""
        match shown:
            case Line(text, tone):
                self.line(text, tone)
            case Words(text):
                self._words(text)
            case Answer(text, notes):
                if self._speaking:
                    self._speaking = False
                    self._write(f"{self._in(notes, 'quiet')}\n")
                else:
                    self.line(f"{_PREFIX}{text}", "agent", notes)

    def line(self, text: str, tone: Tone = "plain", notes: str = "") -> None:
        """Print a line for good, with `notes` behind it. Line breaks in it are followed by two spaces."""
        if self._speaking:
            self._speaking = False
            self._write("\n")
        shown = self._in(_indented(text), tone) + self._in(printable(notes), "quiet")
        self._write(f"{_CLEAR if self._status else ''}{shown}\n{self._status}")

    def _words(self, text: str) -> None:
        if self.live:  # the status has them
            return
        prefix = "" if self._speaking else _PREFIX
        self._speaking = True
        self._write(self._in(prefix + _indented(text), "agent"))

    def status(self, text: str) -> None:
        """Show `text` as the last line until it changes. Without `live`, do nothing."""
        if not self.live:
            return
        shown = printable(text)[: max(1, shutil.get_terminal_size().columns - 1)]
        if shown != self._status:
            self._write(f"{_CLEAR}{shown}")
            self._status = shown

    def _in(self, text: str, tone: Tone) -> str:
        colour = _COLOURS.get(tone)
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and colour is not None and text else text

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _indented(text: str) -> str:
    return printable(text, newlines=True).replace("\n", "\n  ")


def meter(dbfs: float, *, width: int = 10) -> str:
    """Return a level from -60 to 0 dBFS as a bar."""
    share = 0.0 if math.isinf(dbfs) else min(max(1 - dbfs / _QUIETEST_DBFS, 0.0), 1.0)
    filled = round(share * width)
    return "#" * filled + "-" * (width - filled)


_STDIN = 0
_CHUNK = 65_536


class Typist:
    """Read the lines of standard input, one at a time.

    A thread reads them from the file descriptor itself: if it still waits when the program ends, it holds no lock that
    Python needs to finish.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._ended = False

    async def line(self) -> str | None:
        """Wait for the next line that is not blank, and return it stripped; None at the end of the input.

        If cancelled, the next typed line may be lost: cancel it only when no more lines are wanted.
        """
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found or self._ended:
                self._buffer = rest
                text = line.decode(errors="replace").strip()
                if text:
                    return text
                if not found:
                    return None
            else:
                data = await trio.to_thread.run_sync(os.read, _STDIN, _CHUNK, abandon_on_cancel=True)
                self._buffer += data
                self._ended = not data
