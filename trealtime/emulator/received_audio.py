"""The audio that a session has received, sample by sample, for tests that hold it against what was spoken."""

from __future__ import annotations

from collections import deque

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["CommittedAudio", "ReceivedAudio"]

_MOST_MARKS = 10_000


@attrs.frozen
class CommittedAudio:
    """A turn in the audio of a session: the samples from `begin` to `end` became the item `item_id`."""

    item_id: str
    begin: int
    end: int


@attrs.define(eq=False)
class ReceivedAudio:
    """The input audio of one session. Positions are samples since the session began, at the `rate` of its input format.

    Bounded: it keeps the newest `keep_s` seconds, and the newest 10,000 commits and clears; where the session changes
    its rate, the audio since then.
    """

    keep_s: float
    rate: int = attrs.field(default=24_000, init=False)
    begin: int = attrs.field(default=0, init=False)
    """The position of the first sample that is kept."""

    _pieces: deque[NDArray[np.int16]] = attrs.field(factory=deque, init=False, repr=False)
    _end: int = attrs.field(default=0, init=False)
    _commits: deque[CommittedAudio] = attrs.field(factory=lambda: deque(maxlen=_MOST_MARKS), init=False, repr=False)
    _clears: deque[int] = attrs.field(factory=lambda: deque(maxlen=_MOST_MARKS), init=False, repr=False)

    @property
    def end(self) -> int:
        """The position after the last sample."""
        return self._end

    @property
    def samples(self) -> NDArray[np.int16]:
        """The samples that are kept, mono, from position `begin` on: shape (``end - begin``,)."""
        return np.concatenate([np.zeros(0, dtype=np.int16), *self._pieces])

    @property
    def commits(self) -> tuple[CommittedAudio, ...]:
        """The turns, oldest first, committed by the client and by the turn detector."""
        return tuple(self._commits)

    @property
    def clears(self) -> tuple[int, ...]:
        """The positions at which the client cleared the buffer, oldest first."""
        return tuple(self._clears)

    def of_turn(self, commit: CommittedAudio) -> NDArray[np.int16]:
        """Return the samples of a turn, as far as they are kept."""
        return self.samples[max(commit.begin - self.begin, 0) : max(commit.end - self.begin, 0)]

    # ---- for the session -----------------------------------------------------------------------------------------

    def add(self, samples: NDArray[np.int16], rate: int) -> None:
        """Keep what was appended."""
        if rate != self.rate:
            self._pieces.clear()
            self.begin = self._end = round(self._end * rate / self.rate)
            self.rate = rate
        self._pieces.append(samples)
        self._end += len(samples)
        while self._pieces and self._end - self.begin - len(self._pieces[0]) >= self.keep_s * rate:
            self.begin += len(self._pieces.popleft())

    def note_commit(self, item_id: str, begin_ms: float, end_ms: float) -> None:
        """Note a turn."""
        self._commits.append(CommittedAudio(item_id, self._at(begin_ms), self._at(end_ms)))

    def note_clear(self, at_ms: float) -> None:
        """Note that the buffer was cleared."""
        self._clears.append(self._at(at_ms))

    def _at(self, position_ms: float) -> int:
        return round(position_ms * self.rate / 1000)
