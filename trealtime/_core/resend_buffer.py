"""The user's audio that a server has not turned into an item yet, kept in case its connection is lost.

Theory of operation
1. Positions are bytes of the user's audio since the session began. The input of each connection begins at one of them
   (`resume`); the server's milliseconds count from there.
2. Audio leaves the buffer when the server has committed it: up to the end of the speech that its voice detection found,
   or up to the place of the commit that the app has sent. Audio that the app has cleared leaves at once.
3. The audio of a turn that has been committed is kept until its words are known, because another connection can be told
   of it only by words or by audio.
4. Where the server's voice detection listens and hears nobody, audio that it has had is silence. It has had what was
   sent before the last sign of life of the connection, and tells of speech within `NOTICE_MS` and the padding before
   it: what is older than that goes. Only a message of the server's is such a sign: a pong may come from a proxy in
   front of a server that has stalled.
5. Pieces of equal audio in a row are kept once: a microphone that is muted, or closed by an echo gate, sends the same
   silence again and again, and of a call in which nobody says anything no sign of life may come for a long time.
6. All of it is bounded by the same number of seconds: the oldest audio goes, and is counted.
7. A server's ids and positions are what it says: those that make no sense move nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import attrs

from trealtime._core.ids import Recent
from trealtime._value import Shown
from trealtime.audio.formats import PCM16_24K, AudioFormat

__all__ = ["ResendBuffer"]

NOTICE_MS: Final = 1_000
"""How late a server tells that the user speaks, and how much audio is on its way to it: at most, with room to spare."""

_PIECE: Final = 48_000
"""Bytes that are sent again in one event: one second of PCM16."""


@attrs.define(eq=False, repr=False)
class _Turn(Shown):
    """A turn that voice detection has found: where its audio begins and, once it is over, ends."""

    begin: int
    end: int | None = None
    words_known: bool = False
    ends_by: int | None = None
    """It has been committed, and its end is here at the latest: word of that is late."""


@attrs.define(eq=False, repr=False)
class ResendBuffer(Shown):
    """See the module's theory of operation. With a limit of 0 seconds it keeps nothing."""

    limit_s: float = 0.0
    audio_format: AudioFormat = attrs.field(default=PCM16_24K, init=False)
    dropped_bytes: int = attrs.field(default=0, init=False)
    """Audio of turns under way that had to go, so far."""

    _limit: int = attrs.field(init=False)
    _pieces: list[bytes] = attrs.field(factory=list, init=False)
    _begin: int = attrs.field(default=0, init=False)
    """The position of the first byte that is kept."""

    _end: int = attrs.field(default=0, init=False)
    _origin: int = attrs.field(default=0, init=False)
    """The position at which the input of the connection begins."""

    _detecting: bool = attrs.field(default=False, init=False)
    """The server's voice detection listens."""

    _notice: int = attrs.field(default=0, init=False)
    """The amount of audio, before the last sign of life, that may hold speech that the server has not told of."""

    _had: int = attrs.field(default=0, init=False)
    """The position up to which audio was sent before the last sign of life."""

    _sure_from: int = attrs.field(default=0, init=False)
    """Once the server has had as much as this, it has had time to hear speech in what it was sent at its beginning."""

    _unsure_from: int | None = attrs.field(default=None, init=False)
    """Set while the connection is away: audio from here on belongs to a turn that no server has."""

    _commits: dict[str, int] = attrs.field(factory=dict, init=False)
    """The places of commits that the server has not confirmed, by event id, oldest first."""

    _found: Recent[str, _Turn] = attrs.field(factory=Recent, init=False)
    """Turns by item id."""

    _turns: Recent[str, bytes] = attrs.field(factory=partial(Recent, 256), init=False)
    """The audio of committed turns whose words are not known, oldest first."""

    _turn_bytes: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._limit = self.audio_format.bytes_for_ms(self.limit_s * 1000)

    # ---- what the app sends ----------------------------------------------------------------------------------------

    def add(self, audio: bytes) -> None:
        """Keep a piece of audio that leaves, or would if there were a connection. The hot path of a microphone."""
        if not self._limit or not audio:
            return
        if self._pieces and self._pieces[-1] == audio:
            audio = self._pieces[-1]
        self._pieces.append(audio)
        self._end += len(audio)
        if self._end - self._begin > self._limit:
            self._shorten()
        elif (
            self._detecting
            and self._had >= self._sure_from
            and not self._found
            and not self._commits
            and self._unsure_from is None
        ):
            silent_to = self._had - self._notice
            while self._begin + len(self._pieces[0]) <= silent_to:
                self._begin += len(self._pieces.pop(0))

    def _shorten(self) -> None:
        before = self._begin
        self._drop_to(self._end - self._limit)
        unsure = before if self._commits else self._open_from
        if unsure is not None and self._begin > unsure:
            self.dropped_bytes += self._begin - max(before, unsure)

    @property
    def _open_from(self) -> int | None:
        """Where the turn under way begins, as far as it is known."""
        begins = [turn.begin for turn in self._found.values() if turn.end is None and turn.ends_by is None]
        return min([*begins, *([] if self._unsure_from is None else [self._unsure_from])], default=None)

    def commit(self, event_id: str) -> None:
        """The app ends the turn here."""
        self._commits[event_id] = self._end

    def forget_commit(self, event_id: str) -> None:
        """The server has refused that commit, or will not answer it."""
        self._commits.pop(event_id, None)

    def clear(self) -> None:
        """The app throws away what it has sent since its last commit."""
        kept = max(self._commits.values(), default=self._begin)
        self._origin -= self._end - kept  # the server goes on counting
        while self._end > kept:
            piece = self._pieces.pop()
            self._end -= len(piece)
            if self._end < kept:
                self._pieces.append(piece[: kept - self._end])
                self._end = kept
        self._found.clear()
        self._unsure_from = None if self._unsure_from is None else min(self._unsure_from, self._end)

    def use_format(self, audio_format: AudioFormat) -> None:
        """The server takes another format from now on: what was sent in the old one cannot be sent again."""
        if audio_format != self.audio_format:
            self.audio_format = audio_format
            self._limit = audio_format.bytes_for_ms(self.limit_s * 1000)
            self.forget()

    def forget(self) -> None:
        """Keep nothing of what was sent so far."""
        self._pieces.clear()
        self._begin = self._origin = self._end
        self._unsure_from = None
        for entries in (self._commits, self._found, self._turns):
            entries.clear()
        self._turn_bytes = 0

    def listen(self, *, detecting: bool, padding_ms: float) -> None:
        """Whether the server's voice detection listens, and how much audio before the speech belongs to a turn."""
        self._detecting = detecting
        self._notice = self.audio_format.bytes_for_ms(max(padding_ms, 0.0) + NOTICE_MS)

    # ---- what the server has heard ---------------------------------------------------------------------------------

    def alive(self, waiting: int) -> None:
        """The connection has shown that it lives, while this many bytes wait to be sent."""
        self._had = self._end - waiting

    def speech_started(self, item_id: str, start_ms: float) -> None:
        """Voice detection has found the beginning of a turn."""
        if self._limit:
            self._found[item_id] = _Turn(self._position(start_ms))

    def speech_stopped(self, item_id: str, end_ms: float) -> None:
        """Voice detection has found the end of a turn."""
        turn = self._found.get(item_id)
        if turn is not None:
            turn.end = max(self._position(end_ms), turn.begin)
            if turn.ends_by is not None:
                self.committed(item_id)

    def committed(self, item_id: str) -> None:
        """A turn is an item now: that of voice detection, else what came before the oldest commit of the app."""
        if not self._limit:
            return
        turn = self._found.pop(item_id, None)
        if turn is not None and turn.end is not None:
            begin, end = turn.begin, turn.end
            if turn.words_known:
                self._drop_to(end)
                return
        elif self._commits:
            event_id = next(iter(self._commits))
            begin, end = self._begin, self._commits.pop(event_id)
        else:
            if turn is not None:
                turn.ends_by = max(self._had, turn.begin)
                self._found[item_id] = turn
            return
        self._keep_turn(item_id, self._copy(begin, end))
        self._drop_to(end)

    def transcribed(self, item_id: str) -> None:
        """The words of this turn are known: its audio is not needed any more."""
        self._turn_bytes -= len(self._turns.pop(item_id, b""))
        if item_id in self._found:
            self._found[item_id].words_known = True

    @property
    def waiting(self) -> tuple[str, ...]:
        """The items whose words are not known, oldest first."""
        return tuple(self._turns)

    def audio_of(self, item_id: str) -> bytes | None:
        """The audio of a committed turn, in `audio_format`; None where it is not kept any more."""
        return self._turns.get(item_id) or None

    def _keep_turn(self, item_id: str, audio: bytes) -> None:
        self.transcribed(item_id)
        if audio and len(audio) <= self._limit:
            self._turns[item_id] = audio
            self._turn_bytes = sum(map(len, self._turns.values()))
        while self._turn_bytes > self._limit:
            self.transcribed(next(iter(self._turns)))

    def _position(self, ms: float) -> int:
        position = self._origin + self.audio_format.bytes_for_ms(max(ms, 0.0))
        return min(max(position, self._begin), self._end)

    # ---- another connection ----------------------------------------------------------------------------------------

    def lose(self) -> None:
        """The connection is lost: the turns that its voice detection was finding come to nothing."""
        for item_id, turn in list(self._found.items()):
            if turn.ends_by is not None:
                turn.end = turn.ends_by
                self.committed(item_id)
        if self._limit:
            begin = self._open_from
            manual = next(reversed(self._commits.values()), None)
            self._unsure_from = min(
                self._end if begin is None else begin, self._end if manual is None else manual, self._end
            )
        self._found.clear()
        self._had = 0

    def resume(self) -> Iterator[tuple[str | None, bytes]]:
        """Another connection takes over: yield the kept audio in order, in pieces, as (None, audio), and each commit
        that no server has confirmed as (its event id, nothing)."""
        self._origin = at = self._begin
        self._unsure_from = None
        # It gets all of this at once, and may take as long as ever to say that it hears somebody.
        self._sure_from = self._end + self._notice
        for event_id, place in list(self._commits.items()):
            yield from self._in_pieces(at, place)
            yield event_id, b""
            at = max(at, place)
        yield from self._in_pieces(at, self._end)

    def _in_pieces(self, begin: int, end: int) -> Iterator[tuple[None, bytes]]:
        audio = self._copy(begin, end)
        yield from ((None, audio[at : at + _PIECE]) for at in range(0, len(audio), _PIECE))

    @property
    def kept_bytes(self) -> int:
        """The amount of audio that would be sent again now."""
        return self._end - self._begin

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _copy(self, begin: int, end: int) -> bytes:
        found, at = [], self._begin
        for piece in self._pieces:
            if at >= end:
                break
            if at + len(piece) > begin:
                found.append(piece[max(begin - at, 0) : end - at])
            at += len(piece)
        return b"".join(found)

    def _drop_to(self, position: int) -> None:
        while self._pieces and self._begin < position:
            piece = self._pieces.pop(0)
            over = self._begin + len(piece) - position
            if over > 0:
                self._pieces.insert(0, piece[-over:])
                self._begin = position
            else:
                self._begin += len(piece)
