"""Microphone audio as an app has it, as bytes for the wire. Strict: what would be noise at the server is refused
here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol, runtime_checkable

from trealtime._session.send_queue import MicrophoneAudio
from trealtime.audio.formats import AudioFormat
from trealtime.errors import AudioFormatError

__all__ = ["AudioData", "SampleArray", "audio_bytes", "microphone_pieces"]

MAX_PIECE: Final = 8 * 2**20
"""The longest audio sent in one event: its base64 stays below the 15 MiB that the server takes."""


@runtime_checkable
class SampleArray(Protocol):
    """A numpy array of samples, as far as it is looked at here."""

    @property
    def dtype(self) -> Any: ...
    @property
    def ndim(self) -> int: ...
    def astype(self, dtype: str, /) -> Any: ...


AudioData = bytes | bytearray | memoryview | SampleArray


def audio_bytes(data: AudioData, audio_format: AudioFormat) -> bytes:
    """Audio for the wire: bytes in the session's input format, or a one-dimensional int16 array of PCM16 samples.

    Raises `AudioFormatError` (a ValueError) for PCM16 of odd length and for arrays of another dtype or shape; TypeError
    for anything else.
    """
    if isinstance(data, bytes | bytearray | memoryview):
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
                f"an array of audio must be int16 with one dimension, got {data.dtype} with {data.ndim}: "
                "for float samples in [-1, 1] use (samples * 32767).astype('int16')"
            )
        packed: bytes = data.astype("<i2").tobytes()
        return packed
    raise TypeError(f"audio is bytes or an int16 array, got {type(data).__name__}")


def microphone_pieces(data: bytes) -> Iterator[MicrophoneAudio]:
    """The bytes as events that are short enough to be sent."""
    for start in range(0, len(data), MAX_PIECE):
        yield MicrophoneAudio(data[start : start + MAX_PIECE])
