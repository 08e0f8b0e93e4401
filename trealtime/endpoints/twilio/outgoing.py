"""The audio for Twilio and when it goes: frames of 20 ms with a lead, a mark after each, a clear ahead of everything.

Theory of operation
1. Twilio plays its audio without gaps and would keep ten minutes of it (warning 31931). We keep the audio too, and give
   Twilio only `lead_ms` of it ahead, so that an interrupt finds little there, a clear never waits behind seconds of
   audio in a socket, and the network may still stall for that long before the caller hears a gap.
2. The `Pacer` decides when the next frame may go.
3. Frames end where the packets end that the caller gets, every 20 ms since Twilio had nothing to play. A piece that is
   no whole number of frames goes out at once, because more may not come; the next frame fills up the packet.
4. A mark follows each frame and stands for the position where the frame ends. Marks that come back from a cleared
   buffer are unknown by then: their audio was not heard.
5. A far side may return no marks, or lose one. A mark that is overdue counts as returned: a second after its audio must
   have been heard where none has ever come back, and from then on without any wait; else after five, which is far more
   than any network delays one. So the caller's ear is never lost sight of, and nothing waits for ever.
6. Keys and speech are never in Twilio's buffer together: a key waits until the speech has been heard, and speech until
   the key has been heard. So an interrupt, which clears the buffer, neither cuts a key in two nor loses one.

No clock: `now` is any monotonic time in seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Final, Literal, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from trealtime.audio.formats import G711_ULAW
from trealtime.audio.g711 import encode_ulaw
from trealtime.endpoints.pacing import Pacer

__all__ = [
    "FIRST_MARK_S",
    "LOST_MARK_S",
    "MAX_MARKS",
    "ClearBuffer",
    "OutgoingAudio",
    "PlayFrame",
    "SetMark",
    "key_tone",
]

_FRAME_BYTES: Final = G711_ULAW.bytes_for_ms(20)

MAX_MARKS: Final = 1_000
"""How many marks are remembered. Older ones are given up, so that a far side that returns none costs no memory."""

FIRST_MARK_S: Final = 1.0
LOST_MARK_S: Final = 5.0
"""How long after its audio must have been heard a mark is awaited: before any has come back, and after."""


@attrs.frozen
class ClearBuffer:
    """Discard the audio that Twilio has."""


@attrs.frozen
class PlayFrame:
    """Play this after the audio that Twilio has."""

    audio: bytes = attrs.field(repr=False)


@attrs.frozen
class SetMark:
    """Report when playback has come this far."""

    name: str


Message: TypeAlias = ClearBuffer | PlayFrame | SetMark

Kind: TypeAlias = Literal["speech", "key"]


@attrs.frozen
class _Point:
    """How far the caller has heard: `end` is a position of the stream in ms, or the number of a key. `heard_at` is when
    that must be, by the clock of `now`."""

    kind: Kind
    end: float
    heard_at: float = math.inf


@attrs.define
class _Piece:
    """Audio in the queue, of which the first `sent` bytes have gone. `end` is that of `_Point`."""

    kind: Kind
    audio: bytes
    end: float
    sent: int = 0

    def point(self) -> _Point:
        rest = len(self.audio) - self.sent
        if self.kind == "speech":
            return _Point("speech", self.end - G711_ULAW.duration_ms(rest))
        return _Point("key", self.end if rest == 0 else self.end - 1)


@attrs.define(eq=False)
class OutgoingAudio:
    """The queue to one call, in its order of sending."""

    lead_ms: float
    _queue: deque[_Piece] = attrs.field(factory=deque, init=False)
    _queued_bytes: int = attrs.field(default=0, init=False)
    _pacer: Pacer = attrs.field(
        default=attrs.Factory(lambda self: Pacer(self.lead_ms / 1000), takes_self=True), init=False
    )
    _due_at: float | None = attrs.field(default=None, init=False)
    """When the first frame in the queue may go, once that has been asked."""

    _packet_bytes: int = attrs.field(default=0, init=False)
    """How much of its last packet Twilio has got."""

    _marks: dict[str, _Point] = attrs.field(factory=dict, init=False)
    """The marks that Twilio has, oldest first, all of one kind."""

    _patience_s: float = attrs.field(default=FIRST_MARK_S, init=False)
    """How long an overdue mark is awaited."""

    _marks_set: int = attrs.field(default=0, init=False)
    _mark_due: _Point | None = attrs.field(default=None, init=False)
    _clear_due: bool = attrs.field(default=False, init=False)
    _keys: int = attrs.field(default=0, init=False)
    keys_heard: float = attrs.field(default=0, init=False)
    """The number of the last key that has been heard to its end."""

    frames_sent: int = attrs.field(default=0, init=False)

    @property
    def frames_late(self) -> int:
        """Frames that left only after Twilio had run dry."""
        return self._pacer.late

    @property
    def queued_ms(self) -> float:
        """Audio that has not gone to Twilio yet."""
        return G711_ULAW.duration_ms(self._queued_bytes)

    @property
    def marks_outstanding(self) -> int:
        """Frames that Twilio has and has not reported as heard."""
        return len(self._marks)

    def speak(self, audio: bytes, position_ms: float) -> None:
        """Queue speech that ends at `position_ms` of the stream."""
        self._append(_Piece("speech", audio, position_ms))

    def press(self, tone: bytes) -> int:
        """Queue the tone of one key. Return its number: it has been heard once `keys_heard` reaches that."""
        self._keys += 1
        self._append(_Piece("key", tone, self._keys))
        return self._keys

    def withdraw_keys(self, first: int, last: int) -> None:
        """Take back the keys from `first` to `last` of which no part has been sent yet."""
        self._keep(lambda piece: piece.kind == "speech" or piece.sent > 0 or not first <= piece.end <= last)

    def flush(self) -> None:
        """Discard all speech queued so far. Keys stay."""
        self._keep(lambda piece: piece.kind == "key")
        in_buffer = self._in_buffer()
        if in_buffer is not None and in_buffer.kind == "key":
            return
        self._clear_due = True
        self._mark_due = None
        self._marks.clear()
        self._pacer.restart()
        self._due_at = None

    def next(self, now: float) -> Message | float:
        """Return the message to send now, or the time to ask again: infinity for as soon as something changes."""
        if self._clear_due:
            self._clear_due = False
            return ClearBuffer()
        if self._mark_due is not None:
            return self._set_mark(self._mark_due)
        in_buffer = self._in_buffer()
        if not self._queue or (in_buffer is not None and in_buffer.kind != self._queue[0].kind):
            return math.inf
        if self._due_at is None:
            self._due_at = self._pacer.due(now)
        if self._due_at > now:
            return self._due_at
        self._due_at = None
        if self._pacer.ahead_s(now) == 0:
            self._packet_bytes = 0
        frame, point = self._take_frame(_FRAME_BYTES - self._packet_bytes)
        self._packet_bytes = (self._packet_bytes + len(frame)) % _FRAME_BYTES
        self._pacer.sent(now, G711_ULAW.duration_ms(len(frame)) / 1000)
        self._mark_due = attrs.evolve(point, heard_at=now + self._pacer.ahead_s(now))
        self.frames_sent += 1
        return PlayFrame(frame)

    def mark_returned(self, name: str) -> float | None:
        """Take a mark that has come back. Return the stream position that has been heard, None for a key and for a
        mark that was cleared."""
        self._patience_s = LOST_MARK_S
        return self._heard(name)

    @property
    def overdue_at(self) -> float:
        """When the oldest mark that Twilio has counts as returned; infinite where it has none."""
        oldest = next(iter(self._marks.values()), None)
        return oldest.heard_at + self._patience_s if oldest is not None else math.inf

    def expire(self, now: float) -> float | None:
        """Count overdue marks as returned. Return as `mark_returned` does."""
        if self.overdue_at > now:
            return None
        if self._patience_s == FIRST_MARK_S:
            self._patience_s = 0.0  # this far side returns none
        overdue = [name for name, point in self._marks.items() if point.heard_at + self._patience_s <= now]
        return self._heard(overdue[-1])

    def _heard(self, name: str) -> float | None:
        point = self._marks.get(name)
        if point is None:
            return None
        while name in self._marks:  # the marks before it have been played, too
            del self._marks[next(iter(self._marks))]
        if point.kind == "key":
            self.keys_heard = point.end
            return None
        return point.end

    def _append(self, piece: _Piece) -> None:
        if piece.audio:
            self._queue.append(piece)
            self._queued_bytes += len(piece.audio)

    def _keep(self, wanted: Callable[[_Piece], bool]) -> None:
        self._queue = deque(piece for piece in self._queue if wanted(piece))
        self._queued_bytes = sum(len(piece.audio) - piece.sent for piece in self._queue)

    def _in_buffer(self) -> _Point | None:
        """Return a point of audio that Twilio has and the caller has not heard, if there is any."""
        return self._mark_due or next(iter(self._marks.values()), None)

    def _take_frame(self, most: int) -> tuple[bytes, _Point]:
        """Take up to `most` bytes of one kind from the head of the queue. Return them, and the point where they end."""
        frame = b""
        piece = self._queue[0]
        point = piece.point()
        while len(frame) < most and self._queue and self._queue[0].kind == point.kind:
            piece = self._queue[0]
            taken = piece.audio[piece.sent : piece.sent + most - len(frame)]
            frame += taken
            piece.sent += len(taken)
            point = piece.point()
            if piece.sent == len(piece.audio):
                self._queue.popleft()
        self._queued_bytes -= len(frame)
        return frame, point

    def _set_mark(self, point: _Point) -> SetMark:
        self._mark_due = None
        self._marks_set += 1
        name = str(self._marks_set)
        self._marks[name] = point
        if len(self._marks) > MAX_MARKS:
            del self._marks[next(iter(self._marks))]
        return SetMark(name)


_LOW_HZ: Final = (697, 770, 852, 941)
_HIGH_HZ: Final = (1209, 1336, 1477, 1633)
_ROWS: Final = ("123A", "456B", "789C", "*0#D")

# Receivers must take tones and pauses of 40 ms (Q.24, table A.1); twice and more of it survives a mobile's codec.
_TONE_MS: Final = 100
_PAUSE_MS: Final = 100
_WAIT_MS: Final = 500
_RAMP_MS: Final = 5
_LEVEL: Final = 0.25
"""The amplitude of each of the two tones, of full scale: about -9 dBm0 together."""


@cache
def key_tone(key: str) -> bytes:
    """Return a key, one of ``0123456789*#ABCD``, as mu-law: a tone (ITU-T Q.23) and a pause. ``w`` is half a second."""
    if key == "w":
        return encode_ulaw(_silence(_WAIT_MS))
    row = next(index for index, keys in enumerate(_ROWS) if key in keys)
    column = _ROWS[row].index(key)
    seconds = np.arange(_TONE_MS * G711_ULAW.rate // 1000) / G711_ULAW.rate
    tone = np.sin(2 * np.pi * _LOW_HZ[row] * seconds) + np.sin(2 * np.pi * _HIGH_HZ[column] * seconds)
    ramp = np.minimum(1, np.minimum(seconds, seconds[::-1]) * 1000 / _RAMP_MS)  # no click at either end
    samples = (tone * ramp * _LEVEL * 32767).astype(np.int16)
    return encode_ulaw(np.concatenate([samples, _silence(_PAUSE_MS)]))


def _silence(ms: int) -> NDArray[np.int16]:
    return np.zeros(ms * G711_ULAW.rate // 1000, dtype=np.int16)
