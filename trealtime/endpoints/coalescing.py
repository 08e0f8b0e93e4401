"""Coalescing: small pieces of microphone audio on their way to the server become fewer, larger ones.

Each piece sent is a frame, a JSON object and a wake-up on both sides: twenty-five a second are better than a hundred.
The rule is Nagle's, with a clock in place of acknowledgements: what comes when nothing was sent lately goes at once;
what follows soon after is collected. Nothing waits for longer than the bound.
"""

from __future__ import annotations

import math

import attrs

__all__ = ["Coalescer"]


@attrs.define
class Coalescer:
    """Collects pieces of one stream for at most `bound_s`. `now` is any monotonic time in seconds."""

    bound_s: float
    _held: bytearray = attrs.field(factory=bytearray, init=False)
    _sent_at: float = attrs.field(default=-math.inf, init=False)

    def add(self, data: bytes, now: float) -> bytes:
        """Take a piece; what is to be sent now, maybe nothing."""
        self._held += data
        return self.release(now) if now >= self.due_at else b""

    @property
    def due_at(self) -> float:
        """When what is held has to be sent; infinite when nothing is."""
        return self._sent_at + self.bound_s if self._held else math.inf

    def release(self, now: float) -> bytes:
        """All that is held."""
        data = bytes(self._held)
        self._held.clear()
        if data:
            self._sent_at = now
        return data
