"""The playback map: which stretch of which item lies where in the stream that an endpoint plays.

Theory of operation
1. The endpoint gets one stream, measured in milliseconds from its beginning and counted in bytes, so that it never
   drifts. Each stretch of it belongs to one content part of one item.
2. A report says how far the stream has been heard. The audio before that is forgotten, and the position becomes one in
   an item, the measure of the playback ledger. Between reports playback is taken to go on in real time through the
   audio that had been given when the last one came.
3. A flush ends all stretches: audio that was given and not heard is handed back, cut at the heard position, or where
   the tail of the last report ends, which is heard all the same. Its stream positions are never used again, so a later
   report of one of them is ignored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

import attrs

from trealtime._value import Shown, Value
from trealtime.audio.formats import AudioFormat

__all__ = ["PIECE_MS", "Piece", "Place", "PlaybackMap"]

PIECE_MS: Final = 20
"""The size of the pieces that an endpoint gets: one telephone frame, so that an endpoint that reports finished pieces
is never further off than that."""


@attrs.frozen(eq=False, repr=False)
class Piece(Value):
    """A piece of an item's audio, in the endpoint's format, that begins `start_ms` into the content part."""

    audio: bytes
    response_id: str
    item_id: str
    content_index: int
    start_ms: float

    def cut(self, audio_format: AudioFormat) -> Iterator[Piece]:
        """Return the same audio in pieces of `PIECE_MS`; the last one may be shorter."""
        step = audio_format.bytes_for_ms(PIECE_MS)
        for begin in range(0, len(self.audio), step):
            start_ms = self.start_ms + audio_format.duration_ms(begin)
            yield attrs.evolve(self, audio=self.audio[begin : begin + step], start_ms=start_ms)


@attrs.frozen(eq=False, repr=False)
class Place(Value):
    """A position in a content part, the end of the audio of that part that was given, and the position up to which it
    will be heard whatever comes."""

    item_id: str
    content_index: int
    heard_ms: float
    given_ms: float
    sure_ms: float


@attrs.define(eq=False, repr=False)
class _Stretch(Shown):
    """Audio of one content part that was given and has not been reported as heard. `begin` is the place of its first
    byte in the stream; `piece` holds its ids and where in the part it begins."""

    begin: int
    piece: Piece
    audio: bytearray

    @property
    def end(self) -> int:
        return self.begin + len(self.audio)


@attrs.define(eq=False, repr=False)
class PlaybackMap(Shown):
    """The map of one endpoint, which plays `audio_format`. `now` is any monotonic time in seconds."""

    audio_format: AudioFormat
    _given: int = attrs.field(default=0, init=False)
    _stretches: deque[_Stretch] = attrs.field(factory=deque, init=False)
    _flushed_ms: float = attrs.field(default=0.0, init=False)
    _reported_ms: float = attrs.field(default=0.0, init=False)
    _reported_at: float = attrs.field(default=0.0, init=False)
    _sure_ms: float = attrs.field(default=0.0, init=False)
    """How far it will be heard whatever comes."""

    _plays_to_ms: float = attrs.field(default=0.0, init=False)
    """How far audio had been given when the last report came."""

    @property
    def given_ms(self) -> float:
        """The end of the stream so far, in milliseconds."""
        return self.audio_format.duration_ms(self._given)

    def give(self, piece: Piece) -> float:
        """Note that the endpoint gets this piece next. Return the stream position where it ends."""
        last = self._stretches[-1] if self._stretches else None
        if last is not None and self._continues(last, piece):
            last.audio += piece.audio
        else:
            self._stretches.append(_Stretch(self._given, attrs.evolve(piece, audio=b""), bytearray(piece.audio)))
        self._given += len(piece.audio)
        return self.given_ms

    def report(self, position_ms: float, now: float, *, tail_ms: float = 0.0) -> Place | None:
        """Take a report. Return the place in an item that has been heard; None for a position that is not new."""
        position_ms = min(position_ms, self.given_ms)
        if not self._stretches or position_ms <= self._flushed_ms or position_ms < self._reported_ms:
            return None
        self._reported_ms, self._reported_at, self._plays_to_ms = position_ms, now, self.given_ms
        self._sure_ms = max(self._sure_ms, min(position_ms + tail_ms, self.given_ms))
        while position_ms > self._ms(self._stretches[0].end):
            self._stretches.popleft()
        place = self._place(self._stretches[0], position_ms)
        self._trim(position_ms)
        return place

    def position_ms(self, now: float) -> float:
        """Return how far the stream is taken to be heard by now."""
        return max(self._reported_ms, min(self._plays_to_ms, self._reported_ms + (now - self._reported_at) * 1000))

    def waiting_ms(self, now: float) -> float:
        """Return how much of the given audio is still to be heard."""
        return max(0.0, self.given_ms - self.position_ms(now)) if self._stretches else 0.0

    @property
    def response_ids(self) -> set[str]:
        """The responses whose audio was given and has not been reported as heard."""
        return {stretch.piece.response_id for stretch in self._stretches}

    def flush(self, now: float) -> tuple[Place | None, list[Piece]]:
        """Note that the endpoint has discarded its audio. Return where playback ends, and the audio after that."""
        position_ms = max(self.position_ms(now), self._sure_ms)
        while self._stretches and position_ms > self._ms(self._stretches[0].end):
            self._stretches.popleft()
        place = self._place(self._stretches[0], position_ms) if self._stretches else None
        self._trim(position_ms)
        unheard = list(self._unheard())
        self._stretches.clear()
        self._flushed_ms = self._reported_ms = self._sure_ms = self._plays_to_ms = self.given_ms
        self._reported_at = now
        return place, unheard

    # ---- inside --------------------------------------------------------------------------------------------------

    def _ms(self, n_bytes: int) -> float:
        return self.audio_format.duration_ms(n_bytes)

    def _continues(self, stretch: _Stretch, piece: Piece) -> bool:
        """Return whether `piece` goes on where `stretch` ends; a microsecond is float error."""
        before = stretch.piece
        same = (before.response_id, before.item_id, before.content_index) == (
            piece.response_id,
            piece.item_id,
            piece.content_index,
        )
        return same and abs(before.start_ms + self._ms(len(stretch.audio)) - piece.start_ms) < 1e-3

    def _place(self, stretch: _Stretch, position_ms: float) -> Place:
        start_ms = stretch.piece.start_ms
        heard_ms = start_ms + max(0.0, position_ms - self._ms(stretch.begin))
        end_ms = start_ms + self._ms(len(stretch.audio))
        sure_ms = min(start_ms + self._sure_ms - self._ms(stretch.begin), end_ms)
        return Place(stretch.piece.item_id, stretch.piece.content_index, heard_ms, end_ms, max(heard_ms, sure_ms))

    def _trim(self, position_ms: float) -> None:
        """Forget the audio before `position_ms`, which is in the first stretch or before it."""
        if not self._stretches:
            return
        first = self._stretches[0]
        heard = min(self.audio_format.bytes_for_ms(position_ms) - first.begin, len(first.audio))
        if heard <= 0:
            return
        if heard == len(first.audio):
            self._stretches.popleft()
            return
        first.begin += heard
        first.piece = attrs.evolve(first.piece, start_ms=first.piece.start_ms + self._ms(heard))
        del first.audio[:heard]

    def _unheard(self) -> Iterator[Piece]:
        for stretch in self._stretches:
            yield attrs.evolve(stretch.piece, audio=bytes(stretch.audio))
