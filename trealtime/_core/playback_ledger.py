"""The playback ledger: how much of each piece of the agent's audio was received, handed out and heard.

Theory of operation
1. A *part* is one content part of one item. Parts play one after another: in the order in which an endpoint begins
   them (`begin`), else in the order in which their audio first came.
2. Received counts bytes from the server. Handed out is the furthest offset that a consumer has taken.
3. Heard comes from the best source there is: a report of an endpoint or a tracker; else the assumption that playback is
   in real time and begins when audio is handed to the app (not when it arrives), so that a slow consumer is never
   charged with audio it has not taken. A report may say how far playback goes on from there in real time: then that is
   assumed until the next one, and never more. It may also say how far the part will be heard where it is stopped, which
   is what a sound device has taken: such audio counts as heard when the part is cut, and its time as that of its end.
4. While playback is held (`hold`) its time stands still, and goes on with `resume`.
5. A part leaves the ledger when all of it has arrived and has been heard or will never be heard (cut, shed).
6. From the same sources it follows when the first and the last of a part was heard: where playback is assumed, when its
   stretches began and ended; by a report, as long before it as it says that was heard, and at the report itself or at
   the end of what it says is being played. These times are kept for a while after the part has gone.

Positions are milliseconds from the start of the part. The wire gets them rounded down (`Unheard.heard_ms`): never more
than was heard, never more than was received.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator
from typing import Literal

import attrs

from trealtime._core.ids import Recent
from trealtime._value import Shown, Value

__all__ = ["HeardTimes", "PlaybackChange", "PlaybackLedger", "PlaybackPosition", "Unheard", "whole_ms"]


@attrs.frozen(eq=False, repr=False)
class PlaybackChange(Value):
    """The way in which an endpoint plays from now on, audio that it has already included.

    ``"play"``: play as usual, from where it stands. ``"duck"``: play on, every sample times `gain`. ``"hold"``: stop
    where it stands and keep the rest; nothing is heard until the next change.
    """

    how: Literal["play", "duck", "hold"]
    gain: float = 1.0
    """A factor, below 1 only where it ducks."""


MAX_PARTS = 256
"""A tracker that never reports must not make the ledger grow: older parts are then taken as heard."""

_REPORT_S = 0.05
"""How much later than expected an endpoint may report the end, before it counts without that."""

_POLL_S = 0.25
"""How soon a tracker is asked again that has not come to the end: it tells nothing by itself."""

_TOLERANCE_MS = 0.5
"""Positions travel as floats and reports as whole milliseconds: closer than this to the end is the end."""


def whole_ms(position_ms: float) -> int:
    """A position as the wire takes it: rounded down, once the error of summing floats is made good."""
    return math.floor(max(position_ms, 0.0) + 1e-6)


@attrs.frozen(eq=False, repr=False)
class PlaybackPosition(Value):
    """Where a player is: `elapsed_ms` into one content part; everything before it has been heard."""

    item_id: str
    content_index: int
    elapsed_ms: float


@attrs.frozen(eq=False, repr=False)
class Unheard(Value):
    """A part that has not been heard to its end: `heard_ms` is whole milliseconds within [0, `received_ms`].

    `received_ms` is None for a part that only the tracker knows.
    """

    item_id: str
    content_index: int
    heard_ms: int
    received_ms: float | None
    response_id: str | None


@attrs.frozen(eq=False, repr=False)
class HeardTimes(Value):
    """When the first of some audio was heard, and the last so far."""

    first_at: float
    last_at: float

    def with_part(self, first_at: float, last_at: float) -> HeardTimes:
        """The times of this and of some more."""
        return HeardTimes(min(self.first_at, first_at), max(self.last_at, last_at))


@attrs.define(eq=False, repr=False)
class _Span(Shown):
    """A stretch of one part that is taken to play in real time from `begins_at` on."""

    begins_at: float
    start_ms: float
    end_ms: float

    @property
    def ends_at(self) -> float:
        return self.begins_at + (self.end_ms - self.start_ms) / 1000

    def time_of(self, position_ms: float) -> float:
        return self.begins_at + (min(position_ms, self.end_ms) - self.start_ms) / 1000

    def position_ms(self, now: float) -> float:
        return min(self.end_ms, self.start_ms + max(0.0, now - self.begins_at) * 1000)


@attrs.define(eq=False, repr=False)
class _Part(Shown):
    response_id: str
    item_id: str
    content_index: int
    received_ms: float = 0.0
    handed_ms: float = 0.0
    shed_ms: float = 0.0
    reported: _Span | None = None
    sure_ms: float = 0.0
    """It will be heard up to here, also when it is cut."""

    begun: bool = False
    """An endpoint has its first audio."""

    left_ms: float = -1.0
    """The amount that had come when the endpoint that played it left."""

    complete: bool = False
    spans: list[_Span] = attrs.Factory(list)
    begins_at: float = 0.0
    """The time of playback at which the first span begins."""

    first_at: float | None = None
    """The time at which the first of it was heard, once that is known."""

    last_at: float = -math.inf
    tracked_ms: float = 0.0
    """The position of the tracker at which `last_at` was noted."""

    def reported_ms(self, now: float) -> float | None:
        span = self.reported
        return span.position_ms(now) if span is not None and (span.begins_at <= now or span.start_ms > 0) else None

    def assumed_ms(self, now: float) -> float:
        while len(self.spans) > 1 and self.spans[1].begins_at <= now:
            del self.spans[0]
        return self.spans[0].position_ms(now) if self.spans else 0.0

    def heard(self, first_at: float, last_at: float) -> None:
        """The first of it was heard then, unless that is known, and more of it until then."""
        if self.first_at is None:
            self.first_at = first_at
        self.last_at = max(self.last_at, last_at, self.first_at)

    def note_rest(self, held_s: float) -> None:
        """Note that it is cut, and heard up to `sure_ms`."""
        span = self.reported
        if span is not None and self.sure_ms > span.start_ms:
            self.heard(span.begins_at - span.start_ms / 1000 + held_s, span.time_of(self.sure_ms) + held_s)

    def note_heard(self, span: _Span, first_at: float, time: float, held_s: float) -> None:
        """Note what has been heard of a span by the time of playback `time`."""
        if span.begins_at <= time:
            played_to = min(time, span.ends_at) if span.end_ms > span.start_ms else span.begins_at
            self.heard(first_at + held_s, played_to + held_s)


@attrs.define(eq=False, repr=False)
class PlaybackLedger(Shown):
    """See the module's theory of operation. `now` is any monotonic clock in seconds; one clock per ledger."""

    _position: Callable[[], PlaybackPosition | None] | None = None
    """A tracker to ask; where it is given, nothing is assumed."""

    _parts: dict[tuple[str, int], _Part] = attrs.field(factory=dict, init=False)
    _over: Recent[tuple[str, int], None] = attrs.field(factory=lambda: Recent(MAX_PARTS), init=False)
    """Parts that were here lately: a tracker may still stand at the end of one."""

    _times: Recent[str, HeardTimes] = attrs.field(factory=lambda: Recent(MAX_PARTS), init=False)
    """By response, of the parts that have gone."""

    _plays_until: float = attrs.field(default=-math.inf, init=False)
    _reporting: bool = attrs.field(default=False, init=False)
    _held_at: float | None = attrs.field(default=None, init=False)
    _held_s: float = attrs.field(default=0.0, init=False)
    """The time for which playback has been held so far; spans do not count it."""

    def __len__(self) -> int:
        return len(self._parts)

    # ---- what happens to audio -----------------------------------------------------------------------------------

    def receive(self, response_id: str, item_id: str, content_index: int, duration_ms: float) -> float:
        """Count audio from the server; return its offset in the part."""
        part = self._parts.get((item_id, content_index))
        if part is None:
            part = self._parts[item_id, content_index] = _Part(response_id, item_id, content_index)
            if len(self._parts) > MAX_PARTS:
                self._forget(next(iter(self._parts)))
        start_ms = part.received_ms
        part.received_ms = start_ms + duration_ms
        return start_ms

    def begin(self, item_id: str, content_index: int) -> None:
        """An endpoint is given the first audio of this part, after that of the parts begun before."""
        part = self._parts.get((item_id, content_index))
        if part is None or part.begun:
            return
        begun = {key: each for key, each in self._parts.items() if each.begun}
        part.begun = True
        self._parts = {**begun, (item_id, content_index): part, **self._parts}

    def hand_out(self, item_id: str, content_index: int, start_ms: float, end_ms: float, now: float) -> None:
        """A consumer has taken this stretch. Only what goes beyond the furthest consumer so far counts."""
        part = self._parts.get((item_id, content_index))
        if self._reporting or part is None or end_ms <= part.handed_ms:
            return
        start_ms = max(start_ms, part.handed_ms)
        part.handed_ms = end_ms
        begins_at = max(self._time(now), self._plays_until)
        last = part.spans[-1] if part.spans else None
        if last is None:
            part.begins_at = begins_at
        if last is not None and last.end_ms == start_ms and last.ends_at >= begins_at:
            last.end_ms = end_ms
            self._plays_until = last.ends_at
        else:
            part.assumed_ms(self._time(now))  # drops what is over: audio that comes unevenly is a span for each piece
            part.spans.append(_Span(begins_at, start_ms, end_ms))
            self._plays_until = part.spans[-1].ends_at

    def shed(self, item_id: str, content_index: int, end_ms: float) -> None:
        """A subscription that was not read has dropped audio up to here."""
        part = self._parts.get((item_id, content_index))
        if part is not None and not self._reporting:
            part.shed_ms = max(part.shed_ms, end_ms)

    def use_reports(
        self,
        reporting: bool,  # noqa: FBT001  (a state, set by its owner)
        now: float,
        *,
        held_back: Container[str] = (),
    ) -> None:
        """Trust an endpoint's reports from now on, and assume nothing of the audio that the app takes; or no longer.

        When an endpoint comes, audio that the app has taken plays on, and the rest will not be heard, but for audio of
        responses that are `held_back`: the endpoint gets that. When it leaves, audio that it has reported stays heard,
        and the rest of those parts, as far as it has come, will not be heard.
        """
        self._note(now)
        if reporting and not self._reporting:
            for part in self._parts.values():
                part.assumed_ms(self._time(now))  # drops what is over
                if part.spans:
                    first, last = part.spans[0], part.spans[-1]
                    part.reported = _Span(first.begins_at, first.start_ms, last.end_ms)
                if part.handed_ms < part.received_ms and part.response_id not in held_back:
                    part.shed_ms = part.received_ms
        if self._reporting and not reporting:
            for part, heard_ms in [entry for entry in self._heard(now) if entry[1] > 0]:
                part.spans = [_Span(self._time(now), heard_ms, heard_ms)]
                part.handed_ms = part.shed_ms = part.left_ms = part.received_ms
            self._plays_until = self._time(now)
        self._reporting = reporting

    def report(
        self,
        item_id: str,
        content_index: int,
        heard_ms: float,
        now: float,
        *,
        playing_to_ms: float | None = None,
        sure_ms: float | None = None,
    ) -> None:
        """An endpoint knows how far this part has been heard, that it plays on to `playing_to_ms`, and up to `sure_ms`
        also where it is cut; nothing is assumed from now on. A report that goes back is an old one, and ignored."""
        self._reporting = True
        part = self._parts.get((item_id, content_index))
        if part is None or heard_ms < (part.reported.start_ms if part.reported is not None else 0.0):
            return
        end_ms = heard_ms if playing_to_ms is None else max(heard_ms, playing_to_ms)
        part.reported = _Span(self._time(now), heard_ms, end_ms)
        part.sure_ms = heard_ms if sure_ms is None else min(max(heard_ms, sure_ms), end_ms)

    def hold(self, now: float) -> None:
        """Stop the time of playback. Idempotent."""
        if self._held_at is None:
            self._note(now)
            self._held_at = now

    def resume(self, now: float) -> None:
        """Let playback go on where it stands. Idempotent."""
        if self._held_at is not None:
            self._held_s += now - self._held_at
            self._held_at = None

    def _time(self, now: float) -> float:
        return (now if self._held_at is None else self._held_at) - self._held_s

    def complete(self, response_id: str) -> None:
        """No more audio of this response will come."""
        for part in self._parts.values():
            if part.response_id == response_id:
                part.complete = True

    def complete_part(self, item_id: str, content_index: int) -> None:
        """No more audio of this part will come."""
        part = self._parts.get((item_id, content_index))
        if part is not None:
            part.complete = True

    def cut(self, unheard: list[Unheard], now: float) -> bool:
        """Forget these parts, whose playback has been stopped, and return whether the playing part is among them. Other
        parts play on."""
        position = self._ask()
        self._note(now)
        for entry in unheard:
            part = self._parts.get((entry.item_id, entry.content_index))
            if part is not None:
                part.note_rest(self._held_s)
            self._forget((entry.item_id, entry.content_index))
        self._plays_until = self._move_up(self._time(now))
        return position is None or self._find(position) is None

    def _move_up(self, time: float) -> float:
        """Let the spans that wait for what has been cut begin earlier; return when the last of them ends."""
        spans = [span for part in self._parts.values() for span in part.spans if span.ends_at > time]
        until = max((span.ends_at for span in spans if span.begins_at <= time), default=time)
        for span in sorted((each for each in spans if each.begins_at > time), key=lambda each: each.begins_at):
            span.begins_at = until
            until = span.ends_at
        for part in self._parts.values():
            if part.spans and part.first_at is None:  # none of it was heard: it begins with the first span
                part.begins_at = part.spans[0].begins_at
        return until

    def ignore(self, item_id: str, content_index: int) -> bool:
        """Audio of this part came when it was not wanted any more; return whether that is news, as the part was never
        here."""
        key = (item_id, content_index)
        if key in self._parts or key in self._over:
            return False
        self._forget(key)
        return True

    def sweep(self, now: float) -> None:
        """Forget the parts that are over."""
        if self._parts:
            self._note(now)
        for part, heard_ms in list(self._heard(now)):
            if part.complete and max(heard_ms, part.shed_ms) >= part.received_ms - _TOLERANCE_MS:
                self._forget((part.item_id, part.content_index))

    def _forget(self, key: tuple[str, int]) -> None:
        part = self._parts.pop(key, None)
        self._over[key] = None
        if part is not None and part.first_at is not None:
            known = self._times.get(part.response_id, HeardTimes(part.first_at, part.last_at))
            self._times[part.response_id] = known.with_part(part.first_at, part.last_at)

    def _note(self, now: float) -> None:
        """Note when the parts were heard, before more happens to them."""
        time = self._time(now)
        position = self._ask()
        playing = self._find(position) if position is not None else None
        if playing is not None and position is not None and position.elapsed_ms > playing.tracked_ms:
            playing.tracked_ms = position.elapsed_ms
            playing.heard(now - position.elapsed_ms / 1000, now)
        for part in self._parts.values():
            if self._assumes and part.assumed_ms(time) > 0 and part.spans[0].end_ms > part.spans[0].start_ms:
                part.note_heard(part.spans[0], part.begins_at, time, self._held_s)
            elif part.reported is not None and part.reported_ms(time):
                reported = part.reported
                part.note_heard(reported, reported.begins_at - reported.start_ms / 1000, time, self._held_s)

    # ---- questions -----------------------------------------------------------------------------------------------

    def unheard(self, now: float, *, response_id: str | None = None) -> list[Unheard]:
        """Return the parts that an interrupt would cut, in playing order; of one response if named."""
        known = [
            Unheard(
                part.item_id,
                part.content_index,
                whole_ms(min(max(heard_ms, part.sure_ms), part.received_ms)),
                part.received_ms,
                part.response_id,
            )
            for part, heard_ms in self._heard(now)
            if response_id in (None, part.response_id)
            and not (part.complete and max(heard_ms, part.sure_ms) >= part.received_ms - _TOLERANCE_MS)
        ]
        position = self._ask()
        if (
            position is not None
            and response_id is None
            and (position.item_id, position.content_index) not in self._parts
            and (position.item_id, position.content_index) not in self._over
        ):
            # An item that only the tracker knows is taken from it as it is.
            known.insert(
                0, Unheard(position.item_id, position.content_index, whole_ms(position.elapsed_ms), None, None)
            )
        return known

    def unfinished(self, response_id: str) -> list[tuple[str, int, float]]:
        """Return item id, content index and the amount received of the parts of a response that more was to come of."""
        return [
            (part.item_id, part.content_index, part.received_ms)
            for part in self._parts.values()
            if part.response_id == response_id and not part.complete
        ]

    def heard_times(self, response_id: str, now: float) -> HeardTimes | None:
        """When audio of this response was heard; None: none was."""
        self._note(now)
        times = self._times.get(response_id)
        for part in self._parts.values():
            if part.response_id == response_id and part.first_at is not None:
                known = times if times is not None else HeardTimes(part.first_at, part.last_at)
                times = known.with_part(part.first_at, part.last_at)
        return times

    def waiting_ms(self, response_ids: Container[str], now: float) -> float | None:
        """The audio of these responses that has come and is not heard; None: they have left the ledger."""
        parts = [entry for entry in self._heard(now) if entry[0].response_id in response_ids]
        if not parts:
            return None
        return sum(max(0.0, part.received_ms - max(heard_ms, part.shed_ms)) for part, heard_ms in parts)

    def over_at(self, response_ids: Container[str], now: float) -> float | None:
        """The time at which the last of these responses will have been heard, as far as time alone tells; None where a
        report, a consumer or more audio has to come first."""
        if self._held_at is not None:
            return None
        ends_at = -math.inf
        time = self._time(now)
        for part, heard_ms in self._heard(now):
            if part.response_id not in response_ids:
                continue
            left_s = max(0.0, part.received_ms - max(heard_ms, part.shed_ms)) / 1000
            if left_s * 1000 <= _TOLERANCE_MS:
                if not part.complete:
                    return None
                ends_at = max(ends_at, time)
            elif self._assumes:
                if max(part.handed_ms, part.shed_ms) < part.received_ms - _TOLERANCE_MS:
                    return None
                ends_at = max(ends_at, part.spans[-1].ends_at if part.spans else time)
            elif self._position is None:
                if part.reported is None or part.reported.end_ms < part.received_ms - _TOLERANCE_MS:
                    return None
                ends_at = max(ends_at, max(time + left_s, part.reported.ends_at) + _REPORT_S)
            else:
                ends_at = max(ends_at, time + max(left_s, _POLL_S))
        return None if ends_at == -math.inf else max(ends_at, time) + self._held_s

    def received_ms(self, item_id: str, content_index: int) -> float | None:
        """The amount received of a part; None once it is over."""
        part = self._parts.get((item_id, content_index))
        return part.received_ms if part is not None else None

    def remaining_s(
        self, now: float, *, kept: Container[str] = (), taken: Callable[[str], bool] | None = None
    ) -> float:
        """Seconds until everything received has been heard; infinite where only time or a report can tell.

        `kept` names responses whose audio a caller keeps for later: where no endpoint reports, those parts of them are
        left out that have not begun to play. So is the rest of a part whose endpoint has left, until the app goes on
        with it.

        `taken` says of a response whether somebody takes its audio (None: of all). Where no endpoint reports, what
        nobody takes is not waited for.
        """
        self.sweep(now)
        wanted = {
            part.response_id: self._reporting or taken is None or taken(part.response_id)
            for part in self._parts.values()
        }
        parts = [
            part
            for part in self._parts.values()
            if self._reporting or not (self._is_kept(part, now, kept) or part.handed_ms <= part.left_ms)
            if wanted[part.response_id] or self._has_begun(part, now)
        ]
        if not parts:
            return 0.0
        handed = (
            not wanted[part.response_id] or max(part.handed_ms, part.shed_ms) >= part.received_ms for part in parts
        )
        if self._assumes and self._held_at is None and all(handed):
            return max(0.0, self._plays_until - self._time(now))
        return math.inf

    def _is_kept(self, part: _Part, now: float, kept: Container[str]) -> bool:
        return part.response_id in kept and not self._has_begun(part, now)

    def _has_begun(self, part: _Part, now: float) -> bool:
        return bool(part.handed_ms or part.reported_ms(self._time(now)))

    @property
    def _assumes(self) -> bool:
        return self._position is None and not self._reporting

    def _ask(self) -> PlaybackPosition | None:
        return self._position() if self._position is not None else None

    def _find(self, position: PlaybackPosition) -> _Part | None:
        return self._parts.get((position.item_id, position.content_index))

    def _heard(self, now: float) -> Iterator[tuple[_Part, float]]:
        """Each part with its heard position, by the best source there is."""
        now = self._time(now)
        parts = list(self._parts.values())
        if self._assumes:
            for part in parts:
                yield part, part.assumed_ms(now)
            return
        reported = [part.reported_ms(now) for part in parts]
        position = self._ask()
        playing = self._find(position) if position is not None else None
        if playing is not None and position is not None:
            reported[parts.index(playing)] = position.elapsed_ms
        furthest = max((index for index, heard_ms in enumerate(reported) if heard_ms is not None), default=-1)
        for index, part in enumerate(parts):
            if index < furthest:  # parts play in order: those before the one that plays have been heard
                yield part, part.received_ms
            else:
                yield part, reported[index] or 0.0
