"""WAV files: reading what people have, writing 16-bit PCM.

RIFF/WAVE by the layout of Microsoft and IBM, "Multimedia Programming Interface and Data Specifications 1.0" (1991),
with the later extensible header. The calls block: in Trio code on slow disks use `trio.to_thread.run_sync`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import attrs
import numpy as np
from numpy.typing import NDArray

from trealtime.audio import g711
from trealtime.errors import AudioFormatError

__all__ = ["WavWriter", "read_wav", "write_wav"]

_PCM, _EXTENSIBLE = 0x0001, 0xFFFE
_UNKNOWN_SIZE = 0xFFFFFFFF
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


def read_wav(path: str | os.PathLike[str]) -> tuple[NDArray[np.int16], int]:
    """The audio of a WAV file: mono int16 samples of shape (n,), and the sample rate.

    Reads PCM of 8, 16, 24 and 32 bits, float of 32 and 64 bits, mu-law and A-law. Several channels become their mean.
    More than 16 bits are rounded to 16; floats beyond -1 to 1 are clipped. A file whose writer died before it could
    put the size down is read to its end.

    Raises `AudioFormatError` for anything else, `OSError` when the file cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        return _parse(content)
    except AudioFormatError as error:
        raise AudioFormatError(f"{os.fspath(path)}: {error}") from None


def write_wav(path: str | os.PathLike[str], samples: NDArray[np.int16], rate: int) -> None:
    """Write mono int16 `samples` of shape (n,) as a 16-bit PCM WAV file."""
    with WavWriter(path, rate) as writer:
        writer.write(samples)


class WavWriter:
    """A 16-bit WAV file that grows with each `write`; a context manager, or `close` it.

    The size goes into the header at `close`. Until then the header says "unknown", which `read_wav` and ffmpeg take for
    "to the end of the file": a recording that was cut off can still be heard.
    """

    def __init__(self, path: str | os.PathLike[str], rate: int, *, channels: int = 1) -> None:
        self._rate = rate
        self._channels = channels
        self._file: BinaryIO = Path(path).open("wb")  # noqa: SIM115 - closed by `close`
        self._data_size = 0
        self._file.write(_header(rate, channels, data_size=_UNKNOWN_SIZE))

    def write(self, samples: NDArray[np.int16]) -> None:
        """Append int16 `samples` of shape (n,), or (n, channels). Raises `AudioFormatError` for another shape or
        dtype."""
        columns = 1 if samples.ndim == 1 else samples.shape[-1]
        if samples.dtype.kind != "i" or samples.dtype.itemsize != 2 or samples.ndim > 2 or columns != self._channels:
            shape = "(n,)" if self._channels == 1 else f"(n, {self._channels})"
            raise AudioFormatError(
                f"samples must be int16 of shape {shape}, got {samples.dtype} of shape {samples.shape}"
            )
        self._data_size += self._file.write(samples.astype("<i2").tobytes())

    @property
    def duration_ms(self) -> float:
        """How much has been written."""
        return self._data_size / (2 * self._channels) * 1000 / self._rate

    def close(self) -> None:
        """Put the size into the header and close the file. Closing twice does nothing."""
        if self._file.closed:
            return
        self._file.seek(0)
        self._file.write(_header(self._rate, self._channels, data_size=self._data_size))
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _header(rate: int, channels: int, *, data_size: int) -> bytes:
    riff_size = min(data_size + _HEADER.size - 8, _UNKNOWN_SIZE)
    frame = 2 * channels
    encoding = (16, _PCM, channels, rate, rate * frame, frame, 16)
    return _HEADER.pack(b"RIFF", riff_size, b"WAVE", b"fmt ", *encoding, b"data", min(data_size, _UNKNOWN_SIZE))


@attrs.frozen
class _Encoding:
    tag: int
    channels: int
    rate: int
    bits: int


def _parse(content: bytes) -> tuple[NDArray[np.int16], int]:
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise AudioFormatError("not a WAV file (no RIFF/WAVE header)")
    encoding: _Encoding | None = None
    for name, body in _chunks(content):
        if name == b"fmt ":
            encoding = _parse_encoding(body)
        elif name == b"data":
            if encoding is None:
                raise AudioFormatError("the data chunk comes before the fmt chunk")
            return _decode(body, encoding), encoding.rate
    raise AudioFormatError("no audio in it (no data chunk)")


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    position = 12
    while position + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, position)
        yield name, memoryview(content)[position + 8 : position + 8 + size]
        position += 8 + size + size % 2  # chunks begin at even positions


def _parse_encoding(body: memoryview) -> _Encoding:
    if len(body) < 16:
        raise AudioFormatError("the fmt chunk is too short")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        (tag,) = struct.unpack_from("<H", body, 24)  # the first two bytes of the subformat's GUID
    if channels < 1 or rate < 1:
        raise AudioFormatError(f"impossible fmt chunk: {channels} channels at {rate} Hz")
    return _Encoding(tag, channels, rate, bits)


def _decode(data: memoryview, encoding: _Encoding) -> NDArray[np.int16]:
    frame_size = encoding.bits // 8 * encoding.channels
    if frame_size:
        data = data[: len(data) // frame_size * frame_size]  # a file that was cut off may end within a frame
    samples = _linear(data, encoding).reshape(-1, encoding.channels)
    mono = samples[:, 0] if encoding.channels == 1 else samples.mean(axis=1)
    rounded: NDArray[np.int16] = np.clip(np.rint(mono), -32768, 32767).astype(np.int16)
    return rounded


def _linear(data: memoryview, encoding: _Encoding) -> NDArray[Any]:
    """The samples on a 16-bit scale, channels interleaved."""
    match encoding.tag, encoding.bits:
        case (0x0001, 8):
            return (np.frombuffer(data, dtype=np.uint8).astype(np.int16) - 128) * 256
        case (0x0001, 16):
            return np.frombuffer(data, dtype="<i2").astype(np.int16)
        case (0x0001, 24):
            triples = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
            high = triples[:, 1:].copy().view("<i2")[:, 0]
            return high + triples[:, 0] / 256
        case (0x0001, 32):
            return np.frombuffer(data, dtype="<i4") / 65536
        case (0x0003, 32 | 64 as bits):
            return np.nan_to_num(np.frombuffer(data, dtype=f"<f{bits // 8}").astype(np.float64)) * 32768
        case (0x0006, 8):
            return g711.decode_alaw(data)
        case (0x0007, 8):
            return g711.decode_ulaw(data)
        case tag, bits:
            raise AudioFormatError(
                f"encoding {tag:#06x} with {bits} bits is not supported; "
                "allowed: PCM of 8, 16, 24 or 32 bits, float of 32 or 64, A-law, mu-law"
            )
