"""Frames to events and back.

Reading never raises: what cannot be read as an event is a `RawServerEvent` that says why. The rule for a field: without
a default it must be there with the right type; with a default, a null counts as absent; an unknown field is ignored.

Two paths are written by hand, because a call is made of them: an audio delta is decoded straight into a struct whose
fields msgspec checks while it parses, and an append is put together from its base64 with no JSON encoder. All other
events are read by tables made from the fields of their classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import attrs
import msgspec
import pybase64

from trealtime.protocol.client_events import (
    CLIENT_EVENT_TYPES,
    ClientEvent,
    RawClientEvent,
)
from trealtime.protocol.server_events import (
    SERVER_EVENT_TYPES,
    AnyServerEvent,
    RawServerEvent,
    ResponseOutputAudioDelta,
    ServerEvent,
)

__all__ = [
    "Decoded",
    "decode_client_event",
    "decode_server_event",
    "encode",
    "encode_append",
    "read_server_event",
    "to_wire",
]

Decoded = tuple[AnyServerEvent, Mapping[str, Any]]
"""An event, and the JSON object it was read from (empty for audio deltas, whose base64 is not kept)."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

# msgspec raises its own errors for JSON, UnicodeError for lone surrogates, RecursionError for absurd nesting.
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


# ---- out ------------------------------------------------------------------------------------------------------------


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encode_bytes: Final = msgspec.json.Encoder(enc_hook=_plain).encode


def encode(event: Mapping[str, Any]) -> str:
    """The JSON text of one event in wire shape.

    Mappings of any class are objects. NaN and infinities have no JSON form and become null. Raises `TypeError` for a
    value that has no JSON form at all.
    """
    return _encode_bytes(event).decode()


def encode_append(audio: bytes | bytearray | memoryview, event_id: str | None = None) -> str:
    """The JSON text of an ``input_audio_buffer.append`` that carries `audio` (raw bytes in the input format)."""
    encoded = pybase64.b64encode_as_string(audio)
    if event_id is None:
        return f'{{"type":"input_audio_buffer.append","audio":"{encoded}"}}'
    return f'{{"type":"input_audio_buffer.append","event_id":{_encode_bytes(event_id).decode()},"audio":"{encoded}"}}'


def to_wire(event: ClientEvent | ServerEvent) -> dict[str, Any]:
    """An event as the JSON object of the wire: ``type`` first, None left out, audio as base64."""
    wire: dict[str, Any] = {"type": event.type}
    for name in _field_names(type(event)):
        value = getattr(event, name)
        if isinstance(value, bytes):
            value = pybase64.b64encode_as_string(value)
        if value is not None:
            wire[name] = value
    return wire


def _field_names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(cls) if field.name != "type")


# ---- in -------------------------------------------------------------------------------------------------------------


class _AudioDelta(
    msgspec.Struct, tag_field="type", tag="response.output_audio.delta", frozen=True, gc=False, kw_only=True
):
    response_id: str
    item_id: str
    delta: str
    output_index: int = 0
    content_index: int = 0
    event_id: str | None = None


_decode: Final = msgspec.json.Decoder().decode
_decode_audio_delta: Final = msgspec.json.Decoder(_AudioDelta).decode
_unbase64: Final = pybase64.b64decode

# Filling the slots directly costs half of what the constructor of a frozen attrs class does; a test holds both to the
# same result. The slots are looked up by name once, so a renamed field fails at import.
_new_audio_delta: Final = ResponseOutputAudioDelta.__new__
_set_response_id, _set_item_id, _set_output_index, _set_content_index, _set_delta, _set_event_id, _set_type = (
    getattr(ResponseOutputAudioDelta, name).__set__
    for name in ("response_id", "item_id", "output_index", "content_index", "delta", "event_id", "type")
)


def _audio_delta(frame: _AudioDelta, audio: bytes) -> ResponseOutputAudioDelta:
    event = _new_audio_delta(ResponseOutputAudioDelta)
    _set_response_id(event, frame.response_id)
    _set_item_id(event, frame.item_id)
    _set_output_index(event, frame.output_index)
    _set_content_index(event, frame.content_index)
    _set_delta(event, audio)
    _set_event_id(event, frame.event_id)
    _set_type(event, "response.output_audio.delta")
    return event


_AUDIO_DELTA_MARK: Final = '"response.output_audio.delta"'
_MARK_WITHIN: Final = 256


def decode_server_event(text: str | bytes) -> Decoded:
    """Read one frame: ``(event, data)``, where `data` is the decoded JSON object, unknown fields included.

    Never raises. For an audio delta that could be read, `data` is empty.
    """
    # The mark only selects the fast path, which checks everything: a frame that mentions it elsewhere, or an audio
    # delta whose type comes after its audio, takes the general path and gives the same answer.
    if isinstance(text, str) and text.find(_AUDIO_DELTA_MARK, 0, _MARK_WITHIN) >= 0:
        try:
            frame = _decode_audio_delta(text)
            audio = _unbase64(frame.delta, validate=True)
        except (*_UNREADABLE, ValueError):
            pass
        else:
            return _audio_delta(frame, audio), _NOTHING
    data, problem = _decode_object(text)
    if problem:
        return RawServerEvent("", _NOTHING, problem=problem), _NOTHING
    event_or_raw = read_server_event(data)
    return event_or_raw, (_NOTHING if isinstance(event_or_raw, ResponseOutputAudioDelta) else data)


def read_server_event(data: Mapping[str, Any]) -> AnyServerEvent:
    """The event that a decoded JSON object is; never raises."""
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


def decode_client_event(text: str | bytes) -> ClientEvent | RawClientEvent:
    """Read one frame of a client, as leniently as a server's; for tools and tests. Never raises."""
    data, problem = _decode_object(text)
    if problem:
        return RawClientEvent("", _NOTHING, problem=problem)
    kind = data.get("type")
    if not isinstance(kind, str):
        return RawClientEvent("", data, problem="it has no type")
    reader = _CLIENT_READERS.get(kind)
    if reader is None:
        return RawClientEvent(kind, data, problem="unknown type")
    try:
        return reader(data)
    except _Unfit as unfit:
        return RawClientEvent(kind, data, problem=str(unfit))


def _decode_object(text: str | bytes) -> tuple[Mapping[str, Any], str]:
    try:
        data = _decode(text)
    except _UNREADABLE as error:
        return _NOTHING, f"not JSON: {error}"
    if not isinstance(data, dict):
        return _NOTHING, f"not a JSON object but {_json_kind(data)}"
    return data, ""


# ---- tables ---------------------------------------------------------------------------------------------------------


class _Unfit(Exception):
    """A field cannot be read; stays inside this module."""


EventT = TypeVar("EventT")
_Read = Callable[[Any], Any]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise _Unfit(f"must be a string, is {_json_kind(value)}")


def _integer(value: Any) -> int:
    # JSON has one kind of number: some servers write milliseconds as 1234.0, or as 1234.5.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return int(value)
    raise _Unfit(f"must be an integer, is {_json_kind(value)}")


def _number(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise _Unfit(f"must be a number, is {_json_kind(value)}")


def _object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise _Unfit(f"must be an object, is {_json_kind(value)}")


def _objects(value: Any) -> tuple[Mapping[str, Any], ...]:
    if isinstance(value, list):
        return tuple(map(_object, value))
    raise _Unfit(f"must be an array of objects, is {_json_kind(value)}")


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


_JSON_KINDS: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def _json_kind(value: object) -> str:
    if value is None:
        return "null"
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)


def _reader(cls: type[EventT]) -> Callable[[Mapping[str, Any]], EventT]:
    """A function that reads one class of event from a decoded object."""
    required: list[tuple[str, _Read]] = []
    optional: list[tuple[str, _Read]] = []
    for field in attrs.fields(cls):  # type: ignore[arg-type]  # every class here is an attrs class
        if field.name != "type":
            read = _READ[str(field.type).removesuffix(" | None")]
            (required if field.default is attrs.NOTHING else optional).append((field.name, read))

    def read_event(data: Mapping[str, Any]) -> EventT:
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
_CLIENT_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], ClientEvent]]] = {
    kind: _reader(cls) for kind, cls in CLIENT_EVENT_TYPES.items()
}
