"""Frames to events, and events to frames.

Reading never raises: a frame that cannot be read as an event becomes a `RawServerEvent` that says why. The rule for a
field: without a default it must be there with the right type; with a default, a null counts as absent; an unknown field
is ignored. Two bounds keep everything behind this module safe: an integer that does not fit into 64 bits becomes null
(or makes the event raw, where it is a field of the event itself), and an object nested deeper than `MAX_DEPTH` is not
read.

Three paths are written by hand, because a call is made of these events: an audio delta and a transcript delta are read
without a generic dict, and an append is put together from its base64 without a JSON encoder. Tables made from the
fields of the classes read all other events, and everything that the fast paths do not understand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
import pybase64

from trealtime.protocol.lenient import json_kind
from trealtime.protocol.server_events import (
    SERVER_EVENT_TYPES,
    AnyServerEvent,
    RawServerEvent,
    ResponseOutputAudioDelta,
    ResponseOutputAudioTranscriptDelta,
    ServerEvent,
    wire_fields,
)

__all__ = ["MAX_DEPTH", "Decoded", "decode_server_event", "encode", "encode_append", "read_server_event"]

Decoded = tuple[AnyServerEvent, Mapping[str, Any]]
"""An event, and the JSON object that it was read from (empty for an audio delta, whose base64 is not kept)."""

MAX_DEPTH: Final = 100
"""How deep arrays and objects of a frame may nest. The deepest event of the protocol has 7 levels and a JSON Schema."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

# msgspec raises its own errors for JSON, UnicodeError for lone surrogates, RecursionError for absurd nesting.
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


# ---- out ------------------------------------------------------------------------------------------------------------


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str):
        # Markup objects and other subclasses of str are text. `str(value)` would call what the subclass overrides.
        return str.__str__(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encode_bytes: Final = msgspec.json.Encoder(enc_hook=_plain).encode


def encode(event: Mapping[str, Any]) -> str:
    """Return the JSON text of one event in wire shape.

    Mappings of any class are objects, strings of any subclass are text. NaN and infinities have no JSON form and become
    null. Raises `TypeError` for a value that has no JSON form at all.
    """
    return _encode_bytes(event).decode()


def encode_append(audio: bytes | bytearray | memoryview, event_id: str | None = None) -> bytes:
    """Return the JSON text of an ``input_audio_buffer.append`` that carries `audio` (raw bytes in the input format), in
    UTF-8 as it goes to the socket."""
    encoded = pybase64.b64encode(audio)
    if event_id is None:
        return b'{"type":"input_audio_buffer.append","audio":"%b"}' % encoded
    named = _encode_bytes(event_id)
    return b'{"type":"input_audio_buffer.append","event_id":%b,"audio":"%b"}' % (named, encoded)


# ---- in, the fast paths ---------------------------------------------------------------------------------------------


class _Delta(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    type: str
    response_id: str
    item_id: str
    delta: str
    output_index: int = 0
    content_index: int = 0
    event_id: str | None = None


_DELTA_FIELDS: Final = frozenset(_Delta.__struct_fields__)

_decode: Final = msgspec.json.Decoder().decode
_decode_delta: Final = msgspec.json.Decoder(_Delta).decode
_unbase64: Final = pybase64.b64decode

_AUDIO_DELTA: Final = "response.output_audio.delta"
_TRANSCRIPT_DELTA: Final = "response.output_audio_transcript.delta"
_MARK: Final = b'"response.output_audio'
_MARK_WITHIN: Final = 256
_PAYLOAD_WITHIN: Final = 1024


def _fast(frame: bytes) -> ResponseOutputAudioDelta | ResponseOutputAudioTranscriptDelta | None:
    """Read an audio delta or a transcript delta; None for a frame that the general path must read.

    Audio takes a short cut: where ``"delta":"`` begins the last member of the object, only the head in front of it goes
    through the JSON parser, and the base64 decoder checks the payload. That is sound, because unescaped quotes never
    stand inside a JSON string: what follows the mark is the value of a key, and a payload that ends before the end of
    the object has a quote in it, which is no base64.
    """
    mark = frame.find(_MARK, 0, _MARK_WITHIN)
    if mark < 0:
        return None
    try:
        if frame.startswith(b'.delta"', mark + 22):
            begin = frame.find(b'"delta":', 0, _PAYLOAD_WITHIN) + 8
            begin += frame.startswith(b" ", begin)
            if begin < 8 or not (frame.startswith(b'"', begin) and frame.endswith(b'"}')):
                return None
            head = _decode_delta(frame[:begin] + b'""}')
            if head.type != _AUDIO_DELTA or not _small(head):
                return None
            return ResponseOutputAudioDelta(
                event_id=head.event_id,
                response_id=head.response_id,
                item_id=head.item_id,
                output_index=head.output_index,
                content_index=head.content_index,
                delta=_unbase64(memoryview(frame)[begin + 1 : -2], validate=True),
            )
        if frame.startswith(b'_transcript.delta"', mark + 22):
            whole = _decode_delta(frame)
            if whole.type != _TRANSCRIPT_DELTA or not _small(whole):
                return None
            return ResponseOutputAudioTranscriptDelta(
                event_id=whole.event_id,
                response_id=whole.response_id,
                item_id=whole.item_id,
                output_index=whole.output_index,
                content_index=whole.content_index,
                delta=whole.delta,
            )
    except (*_UNREADABLE, ValueError):
        pass
    return None


def _plain_object(frame: bytes) -> dict[str, Any] | None:
    """Return the object of a delta that has been read; None where it has other fields, which may hold anything."""
    try:
        data: dict[str, Any] = _decode(frame)
    except _UNREADABLE:
        return None
    return data if _DELTA_FIELDS.issuperset(data) else None


def _small(frame: _Delta) -> bool:
    return -_LARGEST <= frame.output_index < _LARGEST and -_LARGEST <= frame.content_index < _LARGEST


# ---- in, the general path -------------------------------------------------------------------------------------------


def decode_server_event(frame: str | bytes, *, with_data: bool = True) -> Decoded:
    """Read one frame: ``(event, data)``, where `data` is the decoded JSON object, unknown fields included.

    Never raises. `data` is empty for an audio delta that could be read. With ``with_data=False`` it may be empty for
    other frequent events too, which are then read faster.
    """
    try:
        raw = frame.encode() if isinstance(frame, str) else frame
    except UnicodeError as error:
        return RawServerEvent("", _NOTHING, problem=f"not JSON: {error}"), _NOTHING
    fast = _fast(raw)
    if fast is not None and not (with_data and type(fast) is ResponseOutputAudioTranscriptDelta):
        return fast, _NOTHING
    if fast is not None and (plain := _plain_object(raw)) is not None:
        # Parsing it twice is faster than reading the fields from the object and looking for large numbers in it.
        return fast, plain
    data, problem = _decode_object(raw)
    if problem:
        return RawServerEvent("", _NOTHING, problem=problem), _NOTHING
    event = read_server_event(data)
    return event, (_NOTHING if isinstance(event, ResponseOutputAudioDelta) else data)


def read_server_event(data: Mapping[str, Any]) -> AnyServerEvent:
    """Return the event in a decoded JSON object; never raises."""
    kind = data.get("type")
    if not isinstance(kind, str):
        return RawServerEvent("", data, problem="it has no type")
    reader = _SERVER_READERS.get(kind)
    if reader is None:
        return RawServerEvent(kind, data, problem="unknown type")
    try:
        return reader(data)
    except _Unfit as unfit:
        return RawServerEvent(kind, data, problem=str(unfit))


def _decode_object(frame: bytes) -> tuple[Mapping[str, Any], str]:
    try:
        data = _decode(frame)
    except _UNREADABLE as error:
        return _NOTHING, f"not JSON: {error}"
    if not isinstance(data, dict):
        return _NOTHING, f"not a JSON object but {json_kind(data)}"
    # Few events have as many brackets as the bound, or digits that may overflow: only those are walked through.
    if frame.count(b"{") + frame.count(b"[") > MAX_DEPTH and _deeper_than(data, MAX_DEPTH):
        return _NOTHING, f"nested deeper than {MAX_DEPTH} levels"
    if _MANY_DIGITS in frame.translate(_DIGITS_ALIKE):
        data = _without_large_integers(data)
    return data, ""


_LARGEST: Final = 2**63
_MANY_DIGITS: Final = b"0" * 19
_DIGITS_ALIKE: Final = bytes.maketrans(b"123456789", b"0" * 9)
"""For finding them without a regular expression, which takes three times as long as the JSON decoder."""


def _deeper_than(value: object, levels: int) -> bool:
    layer: list[Any] = [value]
    for _ in range(levels):
        inner: list[Any] = []
        for each in layer:
            inner.extend(each.values() if isinstance(each, dict) else each)
        layer = [each for each in inner if isinstance(each, (dict, list))]
        if not layer:
            return False
    return True


def _without_large_integers(value: Any) -> Any:
    """Return `value` with null for integers past 64 bits, which neither floats nor arrays of numbers can hold."""
    if isinstance(value, dict):
        return {key: _without_large_integers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_large_integers(each) for each in value]
    return None if isinstance(value, int) and not -_LARGEST <= value < _LARGEST else value


# ---- tables ---------------------------------------------------------------------------------------------------------


class _Unfit(Exception):
    """A field cannot be read; stays inside this module."""


_Read = Callable[[Any], Any]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise _Unfit(f"must be a string, is {json_kind(value)}")


def _integer(value: Any) -> int:
    # JSON has one kind of number: some servers write milliseconds as 1234.0, or as 1234.5.
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # Comparing is exact for integers of any size, and false for NaN.
        if -_LARGEST <= value < _LARGEST:
            return int(value)
        raise _Unfit("must be an integer of 64 bits, is beyond")
    raise _Unfit(f"must be an integer, is {json_kind(value)}")


def _number(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if -_LARGEST <= value < _LARGEST:
            return float(value)
        raise _Unfit("must be a number of 64 bits, is beyond")
    raise _Unfit(f"must be a number, is {json_kind(value)}")


def _object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise _Unfit(f"must be an object, is {json_kind(value)}")


def _objects(value: Any) -> tuple[Mapping[str, Any], ...]:
    if isinstance(value, list):
        return tuple(map(_object, value))
    raise _Unfit(f"must be an array of objects, is {json_kind(value)}")


def _audio(value: Any) -> bytes:
    text = _text(value)
    try:
        return _unbase64(text, validate=True)
    except ValueError as error:
        raise _Unfit(f"must be base64: {error}") from error


# By annotation, as written in the event classes. A new kind of field fails here at import, not at the first frame.
_READ: Final[Mapping[str, _Read]] = {
    "str": _text,
    "int": _integer,
    "float": _number,
    "bytes": _audio,
    "Mapping[str, Any]": _object,
    "Sequence[Mapping[str, Any]]": _objects,
}


def _reader(cls: type[ServerEvent]) -> Callable[[Mapping[str, Any]], ServerEvent]:
    """Return a function that reads one class of event from a decoded object."""
    required: list[tuple[str, _Read]] = []
    optional: list[tuple[str, _Read]] = []
    for field in wire_fields(cls):
        read = _READ[field.annotation.removesuffix(" | None")]
        (required if field.required else optional).append((field.name, read))

    def read_event(data: Mapping[str, Any]) -> ServerEvent:
        values: dict[str, Any] = {}
        name = ""
        try:
            for name, read in required:
                if name not in data:
                    raise _Unfit("is missing")
                values[name] = read(data[name])
            for name, read in optional:
                value = data.get(name)
                if value is not None:
                    values[name] = read(value)
        except _Unfit as unfit:
            raise _Unfit(f"field {name!r} {unfit}") from unfit
        return cls(**values)

    return read_event


_SERVER_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], ServerEvent]]] = {
    kind: _reader(cls) for kind, cls in SERVER_EVENT_TYPES.items()
}
