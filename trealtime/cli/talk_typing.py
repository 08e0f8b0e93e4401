"""Lines that somebody types, or pipes, into ``trealtime talk``."""

from __future__ import annotations

import os

import trio

__all__ = ["Typist"]

_STDIN = 0
_CHUNK = 65_536


class Typist:
    """The lines of standard input, one at a time.

    They are read in a thread, from the file descriptor itself: a thread that waits for more when the program ends holds
    no lock that Python needs to finish.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._ended = False

    async def line(self) -> str | None:
        """The next line that is not blank, without what surrounds its words; None at the end of the input.

        If cancelled while it waits for input, what is typed next may be lost: cancel it when nothing more is wanted.
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
