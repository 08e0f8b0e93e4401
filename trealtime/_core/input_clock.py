"""The clock of the input audio: when the audio at a position that the server names was said.

Theory of operation
1. The server counts milliseconds of all audio that it has taken, from the beginning of its session. The same sum is
   kept here, of all audio that is sent, with the times at which stretches of it began.
2. A piece ends when it is sent: a live microphone sends what it has just heard. Where a piece comes before the one
   ahead of it can have ended, audio is sent faster than it is said, and goes on where that one ends. A gap of more than
   `GAP_S` begins another stretch.
3. A microphone that has been live for `LIVE_S` may bring up to `EARLIER_S` of sound once more, from before: an echo
   gate that opens gives out how the word began. A clock of its own that runs fast looks the same. That piece too ends
   when it is sent, and begins another stretch.
4. At most `STRETCHES` are remembered. The server tells of speech at once, so only the last few matter.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from functools import partial
from typing import Final

import attrs

from trealtime._value import Shown

__all__ = ["InputClock"]

GAP_S: Final = 0.04
LIVE_S: Final = 1.0
EARLIER_S: Final = 0.25
STRETCHES: Final = 64


@attrs.define(eq=False, repr=False)
class InputClock(Shown):
    """See the module's theory of operation. `now` is any monotonic time in seconds."""

    _sent_ms: float = attrs.field(default=0.0, init=False)
    _until: float | None = attrs.field(default=None, init=False)
    """The time up to which audio has been said."""

    _live_since: float = attrs.field(default=0.0, init=False)
    """Since then no piece has come before the one ahead of it can have ended."""

    _positions_ms: array[float] = attrs.field(factory=partial(array, "d"), init=False)
    """Where the stretches begin, oldest first. Tuples of floats would take seven times the space."""

    _times: array[float] = attrs.field(factory=partial(array, "d"), init=False)
    """When they began."""

    @property
    def sent_ms(self) -> float:
        """How much audio has been sent to this session of the server."""
        return self._sent_ms

    def add(self, duration_ms: float, now: float) -> None:
        """Count audio that is sent now."""
        duration_s = duration_ms / 1000
        begins_at = now - duration_s
        if self._until is None or begins_at - self._until > GAP_S:
            self._begin_stretch(begins_at)
            self._live_since = now
        elif self._until - begins_at > GAP_S:
            if self._until - begins_at <= EARLIER_S and now - self._live_since >= LIVE_S:
                self._begin_stretch(begins_at)
            else:
                begins_at = self._until
            self._live_since = now
        else:
            begins_at = self._until
        self._sent_ms += duration_ms
        self._until = begins_at + duration_s

    def _begin_stretch(self, at: float) -> None:
        begun_ms = self._sent_ms if self._times else 0.0  # audio that was sent again came just before
        self._positions_ms.append(begun_ms)
        self._times.append(at - (self._sent_ms - begun_ms) / 1000)
        if len(self._times) > STRETCHES:
            del self._positions_ms[0], self._times[0]

    def add_again(self, duration_ms: float) -> None:
        """Count audio that was sent before, to another session of the server."""
        self._sent_ms += duration_ms

    def begin_anew(self) -> None:
        """The server counts from 0 again: this is another session of its."""
        self._sent_ms, self._until = 0.0, None
        del self._positions_ms[:], self._times[:]

    def time_of(self, position_ms: float) -> float | None:
        """The time at which the audio at this position was said; None where no audio is sent, as on a phone call that
        the service carries."""
        found = bisect_right(self._positions_ms, position_ms) - 1
        if found >= 0:
            return self._times[found] + (position_ms - self._positions_ms[found]) / 1000
        return self._times[0] if self._times else None
