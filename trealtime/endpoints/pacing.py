"""Pacing: when the next frame may go to a far side that plays what it gets and buffers only so much.

Theory of operation
1. The schedule is absolute: each frame is due one frame after the last, counted from when the far side began to play.
   A timer that fires late delays one frame and shifts no other, so ten minutes of audio take ten minutes.
2. Frames leave up to `lead_s` before they are played: that is what bridges the jitter of timer and network, and all
   that is lost when the far side cannot throw audio away.
3. When audio comes after the far side has run dry, a new schedule begins with it.
"""

from __future__ import annotations

import math

import attrs

__all__ = ["Pacer"]


@attrs.define
class Pacer:
    """The schedule of one path. For each frame: sleep until `due(now)`, send it, and tell `sent(now, duration_s)`."""

    lead_s: float
    late: int = attrs.field(default=0, init=False)
    """Frames that were sent only after the far side had run dry waiting for them."""

    _plays_at: float = attrs.field(default=-math.inf, init=False)

    def due(self, now: float) -> float:
        """When the frame that is ready now may be sent; `now` or earlier: at once."""
        if now > self._plays_at:
            self._plays_at = now
        return self._plays_at - self.lead_s

    def sent(self, now: float, duration_s: float) -> None:
        """The frame for which `due` was asked has gone out."""
        if now > self._plays_at:
            self.late += 1
            self._plays_at = now
        self._plays_at += duration_s

    def ahead_s(self, now: float) -> float:
        """How much the far side still has to play."""
        return max(0.0, self._plays_at - now)

    def restart(self) -> None:
        """The far side has thrown away what it had (a flush)."""
        self._plays_at = -math.inf
