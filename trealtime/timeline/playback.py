"""When the user heard which stretch of a part, from reports of an endpoint, or from the audio that the app took."""

from __future__ import annotations

import math
from typing import Final

import attrs

from trealtime.timeline.model import HeardSpan

__all__ = ["PartPlayback", "Playback"]

_JOIN_S: Final = 0.045
"""Reports come every 20 ms or so: a smaller gap between two is none."""


@attrs.define
class PartPlayback:
    """What was heard of one part."""

    spans: list[HeardSpan] = attrs.field(factory=list, init=False)
    _reported_ms: float | None = attrs.field(default=None, init=False)

    def report(self, at_s: float, heard_ms: float) -> None:
        """An endpoint has played up to here."""
        begun = self._reported_ms
        if begun is not None and heard_ms <= begun:
            return
        before_ms = 0.0 if begun is None else begun
        self._reported_ms = heard_ms
        last = self.spans[-1] if self.spans else None
        start_s = at_s - (heard_ms - before_ms) / 1000
        if last is not None and start_s - last.end_s < _JOIN_S:
            # The position is exact now, so the whole stretch moves with it, unless playback had stopped in between.
            self.spans[-1] = HeardSpan(last.start_s, at_s, last.from_ms, heard_ms)
        else:
            self.spans.append(HeardSpan(max(0.0, start_s), at_s, before_ms, heard_ms))

    def cut(self, at_s: float, heard_ms: float) -> None:
        """Playback has stopped, and nothing after `heard_ms` was heard."""
        kept = []
        for span in self.spans:
            if span.from_ms >= heard_ms or span.start_s >= at_s:
                continue
            if span.to_ms > heard_ms:
                end_s = span.start_s + (heard_ms - span.from_ms) / 1000
                span = HeardSpan(span.start_s, min(span.end_s, end_s), span.from_ms, heard_ms)
            kept.append(span)
        self.spans = kept


@attrs.define
class Playback:
    """The playback of a call. `take` is for calls in which nothing reports: then audio plays in real time, one part
    after another."""

    parts: dict[tuple[str, int], PartPlayback] = attrs.field(factory=dict, init=False)
    _plays_until: float = attrs.field(default=-math.inf, init=False)

    def part(self, key: tuple[str, int]) -> PartPlayback:
        """Return what was heard of this part, so far."""
        return self.parts.setdefault(key, PartPlayback())

    def take(self, key: tuple[str, int], at_s: float, from_ms: float, to_ms: float) -> None:
        """The app has taken this stretch, and begins to play it when it has played what it took before."""
        part = self.part(key)
        heard_ms = max((span.to_ms for span in part.spans), default=0.0)
        from_ms = max(from_ms, heard_ms)
        if to_ms <= from_ms:
            return
        start_s = max(at_s, self._plays_until)
        self._plays_until = start_s + (to_ms - from_ms) / 1000
        last = part.spans[-1] if part.spans else None
        if last is not None and last.to_ms == from_ms and start_s - last.end_s < 1e-6:
            part.spans[-1] = HeardSpan(last.start_s, self._plays_until, last.from_ms, to_ms)
        else:
            part.spans.append(HeardSpan(start_s, self._plays_until, from_ms, to_ms))

    def cut(self, key: tuple[str, int], at_s: float, heard_ms: float) -> None:
        """An interrupt has stopped this part."""
        if key in self.parts:
            self.parts[key].cut(at_s, heard_ms)
        self._plays_until = at_s
