"""Input of callers as messages for the wire.

Sending is strict: input that the server would refuse, or hear as noise, raises here, where the caller sees it, and not
later in the writer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, Final, Protocol, runtime_checkable

from trealtime.audio.formats import AudioFormat
from trealtime.errors import AudioFormatError, SettingsError, SettingsProblem
from trealtime.protocol.codec import encode
from trealtime.protocol.user_input import UserInput, message_item
from trealtime.terminal import one_line

__all__ = [
    "MAX_PIECE",
    "AudioData",
    "SampleArray",
    "audio_bytes",
    "check_id",
    "check_sendable",
    "microphone_pieces",
    "sendable_event",
    "sendable_item",
    "sendable_message",
    "whole_number",
]

MAX_PIECE: Final = 8 * 2**20
"""The longest audio sent in one event: its base64 stays below the 15 MiB that the server takes."""


@runtime_checkable
class SampleArray(Protocol):
    """The part of a numpy array of samples that is used here."""

    @property
    def dtype(self) -> Any: ...
    @property
    def ndim(self) -> int: ...
    def astype(self, dtype: str, /) -> Any: ...


AudioData = bytes | bytearray | memoryview | SampleArray


def audio_bytes(data: AudioData, audio_format: AudioFormat) -> bytes:
    """Return `data` as bytes in the session's input format: bytes, or a one-dimensional int16 array of PCM16 samples.

    Raises `AudioFormatError` (a ValueError) for PCM16 of odd length and for arrays of another dtype or shape, and
    TypeError for anything else.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):  # a union would be made anew for each chunk
        raw = bytes(data)
        if len(raw) % audio_format.bytes_per_sample:
            raise AudioFormatError(
                f"{len(raw)} bytes do not make whole samples: {audio_format} has {audio_format.bytes_per_sample} each"
            )
        return raw
    if isinstance(data, SampleArray):
        if audio_format.name != "pcm16":
            raise AudioFormatError(f"the input of this session is {audio_format}: give it as bytes, not as an array")
        if str(data.dtype) not in ("int16", "<i2", ">i2") or data.ndim != 1:
            raise AudioFormatError(
                f"an array of audio must be int16 with one dimension, got {data.dtype} with {data.ndim}{_advice(data)}"
            )
        packed: bytes = data.astype("<i2").tobytes()
        return packed
    raise TypeError(f"audio is bytes or an int16 array, got {type(data).__name__}")


def _advice(data: SampleArray) -> str:
    if data.ndim == 2:
        return ": make it mono with samples.mean(axis=1).astype('int16'), where each column is a channel"
    if str(data.dtype).startswith("float"):
        return ": for float samples in [-1, 1] use (samples * 32767).astype('int16')"
    return ""


def microphone_pieces(data: bytes) -> Iterator[bytes]:
    """Cut the bytes into events that are short enough to be sent."""
    for start in range(0, len(data), MAX_PIECE):
        yield data[start : start + MAX_PIECE]


def check_id(value: str, name: str) -> str:
    """Return the id `value` of the argument `name`. Raises TypeError unless it is text, and ValueError for an empty one
    and for one that UTF-8 cannot carry."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    check_sendable({name: value}, name)
    return value


def whole_number(value: float, name: str) -> int:
    """Return `value` of the argument `name` as an int, rounded down. Raises TypeError unless it is a number, and
    ValueError for one that is not finite."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not isinstance(value, int) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return math.floor(value)


def check_sendable(wire: Mapping[str, Any], what: str) -> None:
    """Raise TypeError or ValueError if `wire` has no JSON form."""
    try:
        encode(wire)
    except TypeError as error:
        raise TypeError(f"{what} cannot be sent: {error}") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} cannot be sent: it has a lone surrogate, which UTF-8 cannot carry") from error


def sendable_item(item: UserInput, *, item_id: str) -> Mapping[str, Any]:
    """Return a message of the user, or an item of any other type as it is, with `item_id` unless it has an id."""
    if isinstance(item, Mapping) and item.get("type", "message") != "message":
        return _sendable({"id": item_id, **item}, "item")
    return _sendable(message_item(item, item_id=item_id), "item")


def sendable_message(message: UserInput, *, item_id: str) -> Mapping[str, Any]:
    """Return a message of the user as an item, with `item_id` unless it has an id."""
    return _sendable(message_item(message, item_id=item_id), "message")


def _sendable(wire: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    check_id(wire["id"], "the id of an item")
    check_sendable(wire, what)
    return wire


def sendable_event(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a client event given in our shape or in that of the OpenAI Agents SDK. Raises `SettingsError` when it has
    no type, TypeError when it is no mapping."""
    if not isinstance(event, Mapping):
        raise TypeError(f'event: got {one_line(event)}, allowed: a mapping {{"type": ..., ...}}')
    kind, other = event.get("type"), event.get("other_data")
    if not isinstance(kind, str) or not kind:
        raise SettingsError([SettingsProblem("type", kind, "the type of a client event, a string")], what="event")
    wire = {"type": kind, **other} if isinstance(other, Mapping) and len(event) == 2 else dict(event)
    check_sendable(wire, "event")
    return wire
