"""The messages between a page and its endpoint, and their order.

Theory of operation
1. The page speaks first: ``{"type": "hello", "protocol": 1, "rate": 48000}``. `rate` is that of its AudioContext; other
   fields are for the app.
2. Audio is PCM16, mono, little-endian, at that rate, in binary messages. Audio for the page begins with its epoch, 32
   bit little-endian, so that the samples stay aligned.
3. ``{"type": "flush", "epoch": 3}`` begins epoch 3: the page discards audio of earlier epochs, also if it comes late.
4. With ``{"type": "heard", "epoch": 3, "samples": 4800}`` the page reports how much of that epoch has come out of the
   loudspeaker.
5. Text messages of any other type are the app's, both ways. ``{"type": "refused", "reason": "..."}`` tells a page what
   was wrong with a message of its own.
6. Refusing a message raises `BrowserStreamError` and changes nothing; the caller decides what follows.
7. The page gets a flush before anything else, then the app's messages, then audio. It plays the audio epoch by epoch
   and reports how far it has come. Audio that it has been sent and has not reported is never more than `lead_ms`:
   beyond that `play` waits. So the page's own loudspeaker, whose clock is the only one that counts, paces playback, and
   an interrupt never has to pass seconds of audio in a socket.
8. Pieces need not follow each other in the stream: each is kept, with the position where it ends, until it is heard.

No clock, no socket: messages in, values out.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from trealtime.audio.formats import AudioFormat, pcm16
from trealtime.endpoints.messages import read_object, short
from trealtime.errors import AudioFormatError, BrowserStreamError

__all__ = [
    "MOST_MESSAGES",
    "MOST_MESSAGE_BYTES",
    "PROTOCOL",
    "RESERVED_TYPES",
    "AppMessage",
    "BrowserStream",
    "HeardReport",
    "OutgoingMessages",
    "PageEvent",
    "PageHello",
    "UserAudio",
    "audio_message",
    "flush_message",
    "refused_message",
    "text_message",
]

PROTOCOL: Final = 1

RESERVED_TYPES: Final = frozenset({"hello", "heard", "flush", "refused"})
"""Types of text messages that an app cannot use."""

MOST_MESSAGES: Final = 256
MOST_MESSAGE_BYTES: Final = 2**20
"""How many messages of the app wait in one direction, and how much of their JSON. Decoded, one byte of JSON may take 20
bytes of memory."""

_EPOCH: Final = struct.Struct("<I")


@attrs.frozen
class PageHello:
    """The first message of a page; `details` is the whole of it."""

    audio_format: AudioFormat
    details: Mapping[str, Any]


@attrs.frozen
class UserAudio:
    """A piece of audio from the microphone."""

    audio: bytes = attrs.field(repr=False)


@attrs.frozen
class HeardReport:
    """A report that the first `samples` of an epoch have been heard."""

    epoch: int
    samples: int


@attrs.frozen
class AppMessage:
    """A message of the page to the app, and how many bytes of JSON it took."""

    data: Mapping[str, Any]
    n_bytes: int


PageEvent: TypeAlias = PageHello | UserAudio | HeardReport | AppMessage


@attrs.define(eq=False)
class BrowserStream:
    """The server's side of one page. Each of its messages, text or binary, may take `max_message_bytes`."""

    max_message_bytes: int
    _greeted: bool = attrs.field(default=False, init=False)

    def receive(self, message: str | bytes) -> PageEvent:
        """Read one message. Raises `BrowserStreamError` for a message that a page would not send."""
        n_bytes = _length(message)
        if n_bytes > self.max_message_bytes:
            raise BrowserStreamError(
                f"a message of {n_bytes} bytes is too long: at most {self.max_message_bytes} are taken"
            )
        if isinstance(message, bytes):
            return self._read_audio(message)
        data = read_object(message, BrowserStreamError)
        kind = data.get("type")
        if not isinstance(kind, str) or not kind:
            raise BrowserStreamError(f"type: expected a string, got {short(kind)}")
        if (kind == "hello") == self._greeted:
            raise BrowserStreamError(f"{kind!r} does not fit: a page says hello once, and before anything else")
        if kind == "hello":
            hello = _read_hello(data)
            self._greeted = True
            return hello
        if kind == "heard":
            return HeardReport(_count(data, "epoch"), _count(data, "samples"))
        if kind in RESERVED_TYPES:
            raise BrowserStreamError(f"{kind!r} is for the server to say")
        return AppMessage(data, n_bytes)

    def _read_audio(self, message: bytes) -> UserAudio:
        if not self._greeted:
            raise BrowserStreamError("audio does not fit: a page says hello before anything else")
        if len(message) % 2:
            raise BrowserStreamError(f"audio: expected whole samples of PCM16, got {len(message)} bytes")
        return UserAudio(message)


@attrs.frozen
class _Point:
    """The end of a piece, in samples of the epoch and as a position of the stream."""

    samples: int
    position_ms: float


@attrs.define(eq=False)
class OutgoingMessages:
    """The queue to one page, in its order of sending. No clock, no socket."""

    audio_format: AudioFormat
    lead_ms: float
    epoch: int = attrs.field(default=0, init=False)
    _texts: deque[str] = attrs.field(factory=deque, init=False)
    _text_bytes: int = attrs.field(default=0, init=False)
    """The app's messages that wait."""

    _audio: deque[bytes] = attrs.field(factory=deque, init=False)
    _points: deque[_Point] = attrs.field(factory=deque, init=False)
    """The ends of pieces of this epoch that have not been reported as heard."""

    _given: int = attrs.field(default=0, init=False)
    _sent: int = attrs.field(default=0, init=False)
    _heard: int = attrs.field(default=0, init=False)
    """Samples of this epoch."""

    _flush_due: bool = attrs.field(default=False, init=False)

    @property
    def unheard_ms(self) -> float:
        """Audio that was given and has not been reported as heard."""
        return (self._given - self._heard) * 1000 / self.audio_format.rate

    @property
    def full(self) -> bool:
        """Whether more audio has to wait."""
        return self.unheard_ms >= self.lead_ms

    @property
    def texts_full(self) -> bool:
        """Whether more messages of the app have to wait."""
        return len(self._texts) >= MOST_MESSAGES or self._text_bytes >= MOST_MESSAGE_BYTES

    def say(self, text: str) -> None:
        """Queue a text message. The caller has looked at `texts_full`."""
        self._texts.append(text)
        self._text_bytes += _length(text)

    def speak(self, audio: bytes, position_ms: float) -> None:
        """Queue speech that ends at `position_ms` of the stream."""
        if audio:
            self._given += len(audio) // self.audio_format.bytes_per_sample
            self._audio.append(audio)
            self._points.append(_Point(self._given, position_ms))

    def flush(self) -> None:
        """Discard all audio given so far, here and in the page."""
        if self._given == self._heard:
            return
        self.epoch += 1
        self._flush_due = True
        self._audio.clear()
        self._points.clear()
        self._given = self._sent = self._heard = 0

    def next(self) -> str | bytes | None:
        """Return the message to send now, or None."""
        if self._flush_due:
            self._flush_due = False
            return flush_message(self.epoch)
        if self._texts:
            text = self._texts.popleft()
            self._text_bytes -= _length(text)
            return text
        if self._audio:
            audio = self._audio.popleft()
            self._sent += len(audio) // self.audio_format.bytes_per_sample
            return audio_message(self.epoch, audio)
        return None

    def heard(self, epoch: int, samples: int) -> float | None:
        """Take a report. Return the position of the stream that has been heard, None where that is not news.

        Raises `BrowserStreamError` for a report of audio that was never sent.
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


def audio_message(epoch: int, audio: bytes) -> bytes:
    """Return the message that makes the page play PCM16 `audio` after the audio that it has of that epoch."""
    return _EPOCH.pack(epoch) + audio


def flush_message(epoch: int) -> str:
    """Return the message that makes the page discard all audio of earlier epochs."""
    return text_message({"type": "flush", "epoch": epoch})


def refused_message(reason: str) -> str:
    """Return the message that tells a page what was wrong with one of its own."""
    return text_message({"type": "refused", "reason": reason})


def text_message(data: Mapping[str, Any]) -> str:
    """Return `data` as JSON. Raises `TypeError` for values that have no JSON form."""
    return msgspec.json.encode(data).decode()


def _read_hello(data: Mapping[str, Any]) -> PageHello:
    if data.get("protocol") != PROTOCOL:
        raise BrowserStreamError(
            f"protocol: expected {PROTOCOL}, got {short(data.get('protocol'))}; a page of another version, from a "
            "cache perhaps"
        )
    try:
        return PageHello(pcm16(data.get("rate")), data)  # type: ignore[arg-type]  # it checks the value
    except AudioFormatError as exc:
        raise BrowserStreamError(str(exc)) from exc


def _count(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key)
    if type(value) is not int or value < 0:  # a bool is no count
        raise BrowserStreamError(f"{key}: expected a whole number from 0 on, got {short(value)}")
    return value


def _length(message: str | bytes) -> int:
    if isinstance(message, bytes) or message.isascii():
        return len(message)
    return len(message.encode(errors="surrogatepass"))
