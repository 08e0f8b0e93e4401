"""When audio leaves: small pieces for the server are collected, frames for a far side go on a schedule.

No clock here: `now` is any monotonic time in seconds.
"""

from __future__ import annotations

import math

import attrs

from trealtime._value import Shown

__all__ = ["Coalescer", "Pacer"]


@attrs.define(eq=False, repr=False)
class Coalescer(Shown):
    """Collect pieces of one stream for at most `bound_s`.

    Each piece that is sent costs a frame, a JSON object and a wake-up on both sides: twenty-five a second are better
    than a hundred. The rule is Nagle's (RFC 896) with a clock in place of acknowledgements: a piece goes at once when
    nothing was sent lately, and the pieces soon after it are collected. No piece waits longer than `bound_s`.
    """

    bound_s: float
    _held: bytearray = attrs.field(factory=bytearray, init=False)
    _sent_at: float = attrs.field(default=-math.inf, init=False)

    def add(self, data: bytes, now: float) -> bytes:
        """Take a piece. Return the bytes to send now, which may be none."""
        self._held += data
        return self.release(now) if now >= self.due_at else b""

    @property
    def due_at(self) -> float:
        """When the held bytes have to be sent; infinite when none are held."""
        return self._sent_at + self.bound_s if self._held else math.inf

    def release(self, now: float) -> bytes:
        """Return all held bytes, to send them now."""
        data = bytes(self._held)
        self._held.clear()
        if data:
            self._sent_at = now
        return data


@attrs.define(eq=False, repr=False)
class Pacer(Shown):
    """The schedule of one path to a far side that plays what it gets and buffers only so much.

    For each frame: sleep until `due(now)`, send it, and call `sent(now, duration_s)`. The schedule is absolute: each
    frame is due one frame after the last, counted from when the far side began to play. A timer that fires late delays
    one frame and shifts no other, so ten minutes of audio take ten minutes.

    Frames leave up to `lead_s` before they are played. The lead bridges the jitter of timer and network, and it is all
    that is lost when the far side cannot discard audio. When audio comes after the far side has run dry, a new schedule
    begins with it.
    """

    lead_s: float
    late: int = attrs.field(default=0, init=False)
    """Frames that left only after the far side had run dry waiting for them."""

    _plays_at: float = attrs.field(default=-math.inf, init=False)

    def due(self, now: float) -> float:
        """Return when the frame that is ready now may be sent; `now` or earlier means at once."""
        if now > self._plays_at:
            self._plays_at = now
        return self._plays_at - self.lead_s

    def sent(self, now: float, duration_s: float) -> None:
        """Count the frame for which `due` was asked as sent."""
        if now > self._plays_at:
            self.late += 1
            self._plays_at = now
        self._plays_at += duration_s

    def ahead_s(self, now: float) -> float:
        """Return how much the far side still has to play."""
        return max(0.0, self._plays_at - now)

    def restart(self) -> None:
        """Begin a new schedule: the far side has discarded what it had (a flush)."""
        self._plays_at = -math.inf
