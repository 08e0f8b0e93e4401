"""The messages between a page and its endpoint.

Theory of operation
1. The page speaks first: ``{"type": "hello", "protocol": 1, "rate": 48000}``. `rate` is that of its AudioContext; what
   else stands there is for the app.
2. Audio is PCM16, mono, little-endian, at that rate, in binary messages. What the page is to play begins with its
   epoch, 32 bit little-endian, so that its samples stay aligned.
3. ``{"type": "flush", "epoch": 3}`` begins epoch 3: audio of earlier ones is thrown away, also if it comes late.
4. ``{"type": "heard", "epoch": 3, "samples": 4800}`` is the page's: so much of that epoch has come out of the
   loudspeaker.
5. Text messages of any other type are the app's, both ways. ``{"type": "refused", "reason": "..."}`` tells a page what
   was wrong with a message of its own.
6. What is refused raises `BrowserStreamError` and changes nothing: who carries the messages decides what follows.

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
from trealtime.errors import AudioFormatError, BrowserStreamError

__all__ = [
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
"""Types of text messages that are not the app's."""

_EPOCH: Final = struct.Struct("<I")


@attrs.frozen
class PageHello:
    """The page is there; `details` is its whole message."""

    audio_format: AudioFormat
    details: Mapping[str, Any]


@attrs.frozen
class UserAudio:
    """A piece of what the microphone hears."""

    audio: bytes = attrs.field(repr=False)


@attrs.frozen
class HeardReport:
    """The first `samples` of an epoch have been heard."""

    epoch: int
    samples: int


@attrs.frozen
class AppMessage:
    """Something between the page and the app."""

    data: Mapping[str, Any]


PageEvent: TypeAlias = PageHello | UserAudio | HeardReport | AppMessage


@attrs.define(eq=False)
class BrowserStream:
    """The server's side of one page. Text messages may have `max_message_bytes`, and so may binary ones."""

    max_message_bytes: int
    _greeted: bool = attrs.field(default=False, init=False)

    def receive(self, message: str | bytes) -> PageEvent:
        """Read one message. Raises `BrowserStreamError` for what a page would not send."""
        if len(message) > self.max_message_bytes:
            raise BrowserStreamError(
                f"a message of length {len(message)} is too long: at most {self.max_message_bytes} are taken"
            )
        if isinstance(message, bytes):
            return self._read_audio(message)
        data = _read_object(message)
        kind = data.get("type")
        if not isinstance(kind, str) or not kind:
            raise BrowserStreamError(f"type: expected a string, got {_short(kind)}")
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
        return AppMessage(data)

    def _read_audio(self, message: bytes) -> UserAudio:
        if not self._greeted:
            raise BrowserStreamError("audio does not fit: a page says hello before anything else")
        if len(message) % 2:
            raise BrowserStreamError(f"audio: expected whole samples of PCM16, got {len(message)} bytes")
        return UserAudio(message)


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


def audio_message(epoch: int, audio: bytes) -> bytes:
    """The message that has the page play PCM16 `audio` after what it has of that epoch."""
    return _EPOCH.pack(epoch) + audio


def flush_message(epoch: int) -> str:
    """The message that has the page throw away all audio of earlier epochs."""
    return text_message({"type": "flush", "epoch": epoch})


def refused_message(reason: str) -> str:
    """The message that tells a page what was wrong with one of its own."""
    return text_message({"type": "refused", "reason": reason})


def text_message(data: Mapping[str, Any]) -> str:
    """`data` as JSON. Raises TypeError for what has no JSON form."""
    return msgspec.json.encode(data).decode()


def _read_object(message: str) -> Mapping[str, Any]:
    try:
        data = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as exc:
        raise BrowserStreamError(f"expected JSON, got {_short(message)}: {exc}") from exc
    if not isinstance(data, dict):
        raise BrowserStreamError(f"expected a JSON object, got {_short(data)}")
    return data


def _read_hello(data: Mapping[str, Any]) -> PageHello:
    if data.get("protocol") != PROTOCOL:
        raise BrowserStreamError(
            f"protocol: expected {PROTOCOL}, got {_short(data.get('protocol'))}; a page of another version, from a "
            "cache perhaps"
        )
    try:
        return PageHello(pcm16(data.get("rate")), data)  # type: ignore[arg-type]  # it says what it takes
    except AudioFormatError as exc:
        raise BrowserStreamError(str(exc)) from exc


def _count(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key)
    if type(value) is not int or value < 0:  # a bool is no count
        raise BrowserStreamError(f"{key}: expected a whole number from 0 on, got {_short(value)}")
    return value


def _short(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
