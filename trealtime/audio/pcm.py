"""Conversion between the audio that apps hold (bytes, int16 arrays) and the bytes of a format.

Only calls with arrays import numpy, so an app that sends bytes never loads it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from trealtime.audio.formats import AudioFormat
from trealtime.errors import AudioFormatError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AudioLike", "as_audio_bytes", "from_int16", "mono_int16", "to_int16"]

AudioLike: TypeAlias = "bytes | bytearray | memoryview | NDArray[np.int16]"
"""Mono audio: bytes that are in the format already, or int16 samples at its rate."""


def as_audio_bytes(audio: AudioLike, fmt: AudioFormat) -> bytes:
    """Return the bytes of `audio` in the format `fmt`.

    `audio` is bytes-like and in that format already, or an int16 array of shape (n,) or (n, 1) at `fmt.rate`, in any
    byte order and memory layout, which is encoded but not resampled. The result is a copy unless `audio` is `bytes`.

    Raises `AudioFormatError`, which says how to convert, for half a PCM16 sample, another dtype or several channels.
    """
    if isinstance(audio, bytes | bytearray | memoryview):
        data = audio if isinstance(audio, bytes) else _bytes_of(audio)
        _check_whole_samples(data, fmt)
        return data
    if _is_array(audio):
        return from_int16(audio, fmt)
    raise AudioFormatError(f"audio must be bytes or a numpy int16 array, got {type(audio).__name__}")


def from_int16(samples: NDArray[np.int16], fmt: AudioFormat) -> bytes:
    """Encode mono int16 `samples` at `fmt.rate` in `fmt`. Raises as `as_audio_bytes` does."""
    mono = mono_int16(samples)
    if fmt.name == "pcm16":
        return mono.astype("<i2", copy=False).tobytes()
    from trealtime.audio import g711

    return g711.encode_ulaw(mono) if fmt.name == "g711_ulaw" else g711.encode_alaw(mono)


def to_int16(data: bytes | bytearray | memoryview, fmt: AudioFormat) -> NDArray[np.int16]:
    """Return the samples in `data`: a new mono int16 array of shape (n,) at `fmt.rate`, in native byte order.

    Raises `AudioFormatError` for half a PCM16 sample.
    """
    import numpy as np

    _check_whole_samples(data, fmt)
    if fmt.name == "pcm16":
        return np.frombuffer(data, dtype="<i2").astype(np.int16)
    from trealtime.audio import g711

    return g711.decode_ulaw(data) if fmt.name == "g711_ulaw" else g711.decode_alaw(data)


def _bytes_of(audio: bytearray | memoryview) -> bytes:
    if isinstance(audio, memoryview) and audio.itemsize != 1:
        raise AudioFormatError(
            f"audio must be a memoryview of bytes, got items of format {audio.format!r}; use .cast('B') on PCM16"
        )
    return bytes(audio)


def _check_whole_samples(data: bytes | bytearray | memoryview, fmt: AudioFormat) -> None:
    if len(data) % fmt.bytes_per_sample:
        raise AudioFormatError(
            f"{fmt} audio must be whole samples of {fmt.bytes_per_sample} bytes, got {len(data)} bytes; "
            "keep the odd byte and send it in front of the next chunk"
        )


def _is_array(value: object) -> TypeGuard[NDArray[Any]]:
    # A program that holds an array has imported numpy.
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def mono_int16(samples: NDArray[Any]) -> NDArray[np.int16]:
    """Return int16 `samples` of shape (n,) or (n, 1) as shape (n,). Raises as `as_audio_bytes` does."""
    if not _is_array(samples):
        raise AudioFormatError(f"audio must be a numpy int16 array, got {type(samples).__name__}")
    if samples.dtype.kind != "i" or samples.dtype.itemsize != 2:
        hint = "; for floats from -1 to 1: (audio * 32767).astype(numpy.int16)" if samples.dtype.kind == "f" else ""
        raise AudioFormatError(f"audio arrays must be int16, got {samples.dtype}{hint}")
    if samples.ndim == 2 and samples.shape[1] == 1:
        samples = samples[:, 0]
    if samples.ndim != 1:
        raise AudioFormatError(
            f"audio must be mono, of shape (n,) or (n, 1), got {samples.shape}; "
            "for several channels: audio.mean(axis=1).astype(numpy.int16)"
        )
    return samples
