"""What goes to a page: a flush before anything else, then the app's messages, then audio, a bounded lead of it.

Theory of operation
1. The page plays what it has, one epoch after the other, and says how far it has come. What it has been sent and has
   not heard is never more than `lead_ms`: beyond that `play` waits. So playback is paced by the page's own loudspeaker,
   whose clock is the only one that counts, and an interrupt never has to pass seconds of audio in a socket.
2. A flush begins an epoch. Reports count samples of their epoch; what one says of an earlier epoch was thrown away.
3. Pieces need not follow each other in the stream: each is kept, with the position where it ends, until it is heard.

No clock, no socket.
"""

from __future__ import annotations

from collections import deque

import attrs

from trealtime.audio.formats import AudioFormat
from trealtime.endpoints.browser.stream import audio_message, flush_message
from trealtime.errors import BrowserStreamError

__all__ = ["OutgoingMessages"]


@attrs.frozen
class _Point:
    """A piece of the epoch ends after so many samples, and there in the stream."""

    samples: int
    position_ms: float


@attrs.define(eq=False)
class OutgoingMessages:
    """The queue to one page, in its order of sending."""

    audio_format: AudioFormat
    lead_ms: float
    epoch: int = attrs.field(default=0, init=False)
    texts: deque[str] = attrs.field(factory=deque, init=False)
    """The app's messages; who appends to them bounds them."""

    _audio: deque[bytes] = attrs.field(factory=deque, init=False)
    _points: deque[_Point] = attrs.field(factory=deque, init=False)
    """The ends of pieces of this epoch that are not known to be heard."""

    _given: int = attrs.field(default=0, init=False)
    _sent: int = attrs.field(default=0, init=False)
    _heard: int = attrs.field(default=0, init=False)
    """Samples of this epoch."""

    _flush_due: bool = attrs.field(default=False, init=False)

    @property
    def unheard_ms(self) -> float:
        """What was given and is not known to be heard."""
        return (self._given - self._heard) * 1000 / self.audio_format.rate

    @property
    def full(self) -> bool:
        """Whether more audio has to wait."""
        return self.unheard_ms >= self.lead_ms

    def speak(self, audio: bytes, position_ms: float) -> None:
        """Queue speech that ends at `position_ms` of the stream."""
        if audio:
            self._given += len(audio) // self.audio_format.bytes_per_sample
            self._audio.append(audio)
            self._points.append(_Point(self._given, position_ms))

    def flush(self) -> None:
        """Nothing given so far is to be heard any more."""
        if self._given == self._heard:
            return
        self.epoch += 1
        self._flush_due = True
        self._audio.clear()
        self._points.clear()
        self._given = self._sent = self._heard = 0

    def next(self) -> str | bytes | None:
        """What to send now, if there is anything."""
        if self._flush_due:
            self._flush_due = False
            return flush_message(self.epoch)
        if self.texts:
            return self.texts.popleft()
        if self._audio:
            audio = self._audio.popleft()
            self._sent += len(audio) // self.audio_format.bytes_per_sample
            return audio_message(self.epoch, audio)
        return None

    def heard(self, epoch: int, samples: int) -> float | None:
        """A report has come: the position of the stream that has been heard. None: it says nothing new.

        Raises `BrowserStreamError` for a report of what was never sent.
        """
        if epoch > self.epoch:
            raise BrowserStreamError(f"epoch: expected at most {self.epoch}, got {epoch}")
        if epoch < self.epoch:
            return None
        if samples > self._sent:
            raise BrowserStreamError(f"samples: {self._sent} of epoch {epoch} were sent, got {samples}")
        if samples <= self._heard:
            return None
        self._heard = samples
        point = self._points[0]
        while samples > point.samples:
            self._points.popleft()
            point = self._points[0]
        if samples == point.samples:
            self._points.popleft()
        return point.position_ms - (point.samples - samples) * 1000 / self.audio_format.rate
