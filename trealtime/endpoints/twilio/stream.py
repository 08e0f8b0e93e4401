"""The messages of Twilio Media Streams: what Twilio sends on the WebSocket of a call, and what it takes.

Theory of operation
1. A stream is ``connected``, then ``start`` (who calls, with what parameters, in which encoding), then ``media``,
   ``mark`` and ``dtmf`` in any order, then ``stop``. `_NEXT` is the whole table; a message out of turn is refused.
2. Refusing a message raises `TwilioStreamError` with the reason and changes nothing; the caller decides whether that
   ends the call. Unknown events and fields, which Twilio may add one day, are ignored.
3. No clock, no socket: messages in, values out.

Source: Twilio's documentation, "Media Streams - WebSocket messages".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs
import msgspec
import pybase64

from trealtime.endpoints.endpoint import DTMF_KEYS
from trealtime.endpoints.messages import read_object, short
from trealtime.errors import TwilioStreamError

__all__ = [
    "CallerAudio",
    "KeyPressed",
    "MarkReturned",
    "StreamEvent",
    "StreamStarted",
    "StreamStopped",
    "TwilioCall",
    "TwilioStream",
]

State: TypeAlias = Literal["opened", "connected", "started", "stopped"]

# A start without `connected` says all that is needed.
_NEXT: Final[Mapping[tuple[State, str], State]] = {
    ("opened", "connected"): "connected",
    ("opened", "start"): "started",
    ("connected", "start"): "started",
    ("started", "media"): "started",
    ("started", "mark"): "started",
    ("started", "dtmf"): "started",
    ("started", "stop"): "stopped",
}
_EVENTS: Final = frozenset(event for _, event in _NEXT)

_ENCODING: Final = ("audio/x-mulaw", 8000, 1)
"""The one that Twilio has. Another would be noise at the wrong speed."""

_MOST_CHARACTERS: Final = 65_536
"""Of one message. A second of audio takes 11,000, and Twilio sends 20 ms."""


@attrs.frozen(kw_only=True)
class TwilioCall:
    """A call, as Twilio describes it when its stream starts."""

    stream_sid: str
    call_sid: str
    account_sid: str
    custom_parameters: Mapping[str, str]
    """The ``<Parameter>`` elements of the ``<Stream>``. Any client that reaches the socket can invent them: check the
    signature of the handshake (`check_twilio_signature`) before you believe them."""


@attrs.frozen
class StreamStarted:
    """The call is up."""

    call: TwilioCall


@attrs.frozen
class CallerAudio:
    """Mu-law of the caller, usually 20 ms."""

    audio: bytes = attrs.field(repr=False)


@attrs.frozen
class MarkReturned:
    """All audio that was sent before the mark has been played or cleared."""

    name: str


@attrs.frozen
class KeyPressed:
    """The caller has pressed a key: one of ``0123456789*#ABCD``."""

    digit: str


@attrs.frozen
class StreamStopped:
    """The caller has hung up, or the TwiML has gone on."""


StreamEvent: TypeAlias = StreamStarted | CallerAudio | MarkReturned | KeyPressed | StreamStopped


@attrs.define(eq=False)
class TwilioStream:
    """The server's side of one stream."""

    state: State = attrs.field(default="opened", init=False)
    _stream_sid: str = attrs.field(default="", init=False)

    def receive(self, message: str | bytes) -> StreamEvent | None:
        """Read one message. Return None where it asks for nothing (``connected``, another track, an unknown event).

        Raises `TwilioStreamError` for a message that Twilio would not send.
        """
        data = _read_message(message)
        name = data.get("event")
        if not isinstance(name, str):
            raise TwilioStreamError(f"event: expected a string, got {short(name)}")
        if name not in _EVENTS:
            return None
        following = _NEXT.get((self.state, name))
        if following is None:
            raise TwilioStreamError(f"{name!r} does not fit a stream that is {self.state}")
        read = _READERS.get(name)
        event = read(data) if read is not None else None
        self.state = following
        if isinstance(event, StreamStarted):
            self._stream_sid = event.call.stream_sid
        return event

    def media(self, audio: bytes) -> str:
        """Return the message that makes Twilio play mu-law `audio` after the audio that it has."""
        payload = pybase64.b64encode(audio).decode("ascii")
        return self._message("media", {"payload": payload})

    def mark(self, name: str) -> str:
        """Return the message that Twilio sends back once it has played the audio that it has now."""
        return self._message("mark", {"name": name})

    def clear(self) -> str:
        """Return the message that makes Twilio discard the audio that it has not played, and send back its marks."""
        return self._message("clear", None)

    def _message(self, event: str, body: Mapping[str, str] | None) -> str:
        if not self._stream_sid:
            raise RuntimeError("nothing can be sent before the stream has started: its id is not known")
        message: dict[str, object] = {"event": event, "streamSid": self._stream_sid}
        if body is not None:
            message[event] = body
        return msgspec.json.encode(message).decode()


def _read_message(message: str | bytes) -> Mapping[str, Any]:
    if not isinstance(message, str):
        raise TwilioStreamError("expected a text message, got a binary one")
    if len(message) > _MOST_CHARACTERS:
        raise TwilioStreamError(f"a message of {len(message)} characters is too long: at most {_MOST_CHARACTERS}")
    return read_object(message, TwilioStreamError)


def _read_start(data: Mapping[str, Any]) -> StreamStarted:
    start = _object(data, "start")
    media_format = _object(start, "mediaFormat", path="start.")
    found = tuple(media_format.get(key) for key in ("encoding", "sampleRate", "channels"))
    if tuple(map(str, found)) != tuple(map(str, _ENCODING)):  # services that are like Twilio send the numbers as text
        raise TwilioStreamError(
            "start.mediaFormat: expected encoding {}, sampleRate {}, channels {}; got {}".format(
                *_ENCODING, short(dict(media_format))
            )
        )
    parameters = start.get("customParameters") or {}
    if not isinstance(parameters, dict) or not all(isinstance(value, str) for value in parameters.values()):
        raise TwilioStreamError(f"start.customParameters: expected an object of strings, got {short(parameters)}")
    call = TwilioCall(
        stream_sid=_text(start, "streamSid", path="start."),
        call_sid=_text(start, "callSid", path="start."),
        account_sid=_text(start, "accountSid", path="start."),
        custom_parameters=parameters,
    )
    return StreamStarted(call)


def _read_media(data: Mapping[str, Any]) -> CallerAudio | None:
    media = _object(data, "media")
    if media.get("track", "inbound") != "inbound":
        return None  # the outbound track: our own audio
    payload = _text(media, "payload", path="media.")
    try:
        return CallerAudio(pybase64.b64decode(payload, validate=True))
    except ValueError as exc:
        raise TwilioStreamError(f"media.payload: expected base64, got {short(payload)}: {exc}") from exc


def _read_mark(data: Mapping[str, Any]) -> MarkReturned:
    return MarkReturned(_text(_object(data, "mark"), "name", path="mark."))


def _read_dtmf(data: Mapping[str, Any]) -> KeyPressed:
    digit = _text(_object(data, "dtmf"), "digit", path="dtmf.")
    if digit not in DTMF_KEYS:
        raise TwilioStreamError(f"dtmf.digit: expected one of 0123456789*#ABCD, got {short(digit)}")
    return KeyPressed(digit)


def _read_stop(data: Mapping[str, Any]) -> StreamStopped:
    return StreamStopped()


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], StreamEvent | None]]] = {
    "start": _read_start,
    "media": _read_media,
    "mark": _read_mark,
    "dtmf": _read_dtmf,
    "stop": _read_stop,
}


def _object(data: Mapping[str, Any], key: str, *, path: str = "") -> Mapping[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise TwilioStreamError(f"{path}{key}: expected an object, got {short(value)}")
    return value


def _text(data: Mapping[str, Any], key: str, *, path: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise TwilioStreamError(f"{path}{key}: expected a string, got {short(value)}")
    return value
