"""Texts of a server, cut from the bytes that a read has brought (RFC 6455, section 5.2).

`websockets` takes eleven calls and three copies for a frame. Nearly all frames of a call are whole texts, for which a
look at the head and one copy will do (benchmarks ``downstream`` and ``duplex``). Those are taken here. Every other
frame goes to `websockets` as it came: control frames, parts of a message, and all that breaks a rule, of which it says
which one.

So `websockets` always stands at the end of a frame, and what is not whole yet waits here. A frame whose head breaks a
rule does not wait: `websockets` gets it as it comes, with all that follows, and reads no more frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from trealtime._value import Shown

__all__ = ["ServerFrames"]

_WHOLE_TEXT: Final = 0x81
_DATA: Final = frozenset((0x00, 0x01, 0x02, 0x80, 0x81, 0x82))
_CONTROL: Final = frozenset((0x88, 0x89, 0x8A))
_FINAL: Final = 0x80
_MASKED: Final = 0x80
_SHORT: Final = 125
"""The longest payload whose length stands in the second byte; control frames have no longer ones."""


@attrs.define(eq=False, repr=False)
class ServerFrames(Shown):
    """The frames of one connection without extensions, for a payload of at most `max_size` bytes."""

    _max_size: float
    _begun: bytearray = attrs.field(factory=bytearray, init=False)
    """The beginning of a frame of which the rest has not come."""

    _wanted: int = attrs.field(default=0, init=False)
    """How much of that must be there before it is looked at again."""

    _in_parts: bool = attrs.field(default=False, init=False)
    """A message has begun whose last part has not come."""

    _broken: bool = attrs.field(default=False, init=False)

    def cut(self, data: bytes) -> Iterator[tuple[bool, bytes]]:
        """Yield what has come, in order: ``(True, text)`` for a message of text that is one frame, its payload not
        checked for UTF-8, and ``(False, frame)`` for bytes that `websockets` must read."""
        at = 0
        while self._begun:
            end = at + self._wanted - len(self._begun)
            self._begun += data[at:end]
            if len(self._begun) < self._wanted:
                return
            at, begun = end, bytes(self._begun)
            self._begun.clear()
            yield from self._cut(begun, 0)
        yield from self._cut(data, at)

    def _cut(self, data: bytes, at: int) -> Iterator[tuple[bool, bytes]]:
        # Hot: one step for each message of the server.
        size = len(data)
        while at < size and not self._broken:
            if size - at < 2:
                self._keep(data[at:], 2)
                return
            first, second = data[at], data[at + 1]
            begin, length = at + 2, second
            if _SHORT < second < _MASKED:
                begin = at + (4 if second == 126 else 10)
                if size < begin:
                    self._keep(data[at:], begin - at)
                    return
                length = int.from_bytes(data[at + 2 : begin], "big")
            allowed = first in _DATA or (first in _CONTROL and second <= _SHORT)
            if not allowed or second >= _MASKED or length > self._max_size:
                self._broken = True
                break
            end = begin + length
            if size < end:
                self._keep(data[at:], end - at)
                return
            if first == _WHOLE_TEXT and not self._in_parts:
                yield True, data[begin:end]
            else:
                if first in _DATA:
                    self._in_parts = not first & _FINAL
                yield False, data[at:end]
            at = end
        if at < size:
            yield False, data[at:]

    def _keep(self, begun: bytes, wanted: int) -> None:
        self._begun += begun
        self._wanted = wanted
