"""WAV files: reading what recorders, phones and editors write, writing 16-bit PCM.

Sources: RIFF/WAVE by Microsoft and IBM, "Multimedia Programming Interface and Data Specifications 1.0" (1991), and
"Multiple Channel Audio Data and WAVE Files" (2001) for the extensible header; RF64 by EBU Tech 3306 and ITU-R BS.2088.

The calls block: in Trio code on slow disks use `trio.to_thread.run_sync`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Literal, Self, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from trealtime._secrets import open_private
from trealtime.audio import g711
from trealtime.errors import AudioFormatError

__all__ = ["WavWriter", "read_wav", "write_wav"]

_UNKNOWN_SIZE: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")

_LEAST_RATE: Final = 4_000
_MOST_RATE: Final = 192_000


def read_wav(path: str | os.PathLike[str], *, channel: int | None = None) -> tuple[NDArray[np.int16], int]:
    """Return the audio of a WAV file: mono int16 samples of shape (n,), and the rate in samples per second.

    Reads PCM of 8 to 32 bits in containers of one to four bytes, float of 32 and 64 bits, mu-law and A-law, at 4,000 to
    192,000 samples per second, in RIFF, RIFX, RF64 and BW64 files. More than 16 bits are rounded to 16, and floats
    beyond -1 to 1 are clipped. Several data chunks are joined.

    `channel` chooses one channel by its number, 0 for the left one. Without it, several channels become their mean.

    A file whose recorder died before it could write the size (0 or 0xFFFFFFFF in the header) is read to its end.

    Raises `AudioFormatError`, with the path, for a file that is none of these and for a channel that is not there;
    `OSError` when the file cannot be read.
    """
    if channel is not None and (type(channel) is not int or channel < 0):  # a bool is no channel
        raise ValueError(f"channel: expected a whole number from 0 on, got {channel!r}")
    content = Path(path).read_bytes()
    try:
        return _parse(content, channel)
    except AudioFormatError as error:
        raise AudioFormatError(f"{os.fspath(path)}: {error}") from None


def write_wav(path: str | os.PathLike[str], samples: NDArray[np.int16], rate: int) -> None:
    """Write mono int16 `samples` of shape (n,) as a 16-bit PCM WAV file. Raises as `WavWriter` does, and leaves the
    file alone then."""
    _check_samples(samples, 1, os.fspath(path))
    with WavWriter(path, rate) as writer:
        writer.write(samples)


class WavWriter:
    """A 16-bit WAV file that grows with each `write`; use it as a context manager, or `close` it.

    The size goes into the header at `close`. Until then the header says "unknown", and `read_wav` and ffmpeg read the
    file to its end: a recording that was cut off can still be heard. So it does where the file is a pipe.

    Only its owner may read a file that is made; one that is there keeps its mode.

    Raises `AudioFormatError` for a rate or a number of channels that no header can hold, before it touches the file;
    `OSError` when that cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], rate: int, *, channels: int = 1) -> None:
        self._path = os.fspath(path)
        self._rate = _whole(rate, "rate", 2**32 // 8, self._path)
        self._channels = _whole(channels, "channels", 2**15 - 1, self._path)
        if self._rate * self._channels * 2 > _UNKNOWN_SIZE:
            raise AudioFormatError(
                f"{self._path}: {channels} channels at a rate of {rate} are more than a file can say"
            )
        self._file: BinaryIO = open_private(path)
        self._data_size = 0
        self._file.write(_header(self._rate, self._channels, data_size=_UNKNOWN_SIZE))

    def write(self, samples: NDArray[np.int16]) -> None:
        """Append int16 `samples` of shape (n,), or (n, channels). Raises `AudioFormatError` for another shape or
        dtype."""
        _check_samples(samples, self._channels, self._path)
        self._data_size += self._file.write(samples.astype("<i2").tobytes())

    @property
    def duration_ms(self) -> float:
        """How much has been written."""
        return self._data_size / (2 * self._channels) * 1000 / self._rate

    def close(self) -> None:
        """Write the size into the header and close the file. Closing twice does nothing."""
        if self._file.closed:
            return
        with self._file:
            if self._file.seekable():  # a pipe is not, and its reader has the header already
                self._file.seek(0)
                self._file.write(_header(self._rate, self._channels, data_size=self._data_size))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _whole(value: object, name: str, most: int, path: str) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 1 <= value <= most:
        raise AudioFormatError(f"{path}: {name} must be a whole number from 1 to {most}, got {value!r}")
    return int(value)


def _check_samples(samples: NDArray[Any], channels: int, path: str) -> None:
    shape = "(n,)" if channels == 1 else f"(n, {channels})"
    if not isinstance(samples, np.ndarray):
        raise AudioFormatError(f"{path}: samples must be int16 of shape {shape}, got {type(samples).__name__}")
    columns = 1 if samples.ndim == 1 else samples.shape[-1] if samples.ndim == 2 else 0
    if samples.dtype.kind != "i" or samples.dtype.itemsize != 2 or columns != channels:
        raise AudioFormatError(
            f"{path}: samples must be int16 of shape {shape}, got {samples.dtype} of shape {samples.shape}"
        )


def _header(rate: int, channels: int, *, data_size: int) -> bytes:
    riff_size = min(data_size + _HEADER.size - 8, _UNKNOWN_SIZE)
    frame = 2 * channels
    encoding = (16, _PCM, channels, rate, rate * frame, frame, 16)
    return _HEADER.pack(b"RIFF", riff_size, b"WAVE", b"fmt ", *encoding, b"data", min(data_size, _UNKNOWN_SIZE))


# ---- chunks ----------------------------------------------------------------------------------------------------------

_ByteOrder: TypeAlias = Literal["<", ">"]

_OTHER_FILES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"OggS", "an Ogg file"),
    (b"fLaC", "a FLAC file"),
    (b"ID3", "an MP3 file"),
    *((bytes((0xFF, second)), "an MP3 file") for second in (0xFA, 0xFB, 0xF2, 0xF3)),
    *((bytes((0xFF, second)), "an AAC file") for second in (0xF0, 0xF1, 0xF8, 0xF9)),
    (b"FORM", "an AIFF file"),
    (b"caff", "a Core Audio file"),
    (b".snd", "a Sun audio file"),
    (b"\x1aE\xdf\xa3", "a WebM or Matroska file"),
    (b"riff", "a Wave64 file"),
    (b"#!AMR", "an AMR file"),
)

_CONVERT: Final = "convert it, for example with: ffmpeg -i IN -c:a pcm_s16le OUT.wav"


def _parse(content: bytes, channel: int | None) -> tuple[NDArray[np.int16], int]:
    order = _byte_order(content)
    encoding: _Encoding | None = None
    pieces: list[memoryview] = []
    for name, body in _chunks(content, order):
        if name == b"fmt ":
            stated = _parse_encoding(body, order)
            if pieces and stated != encoding:
                raise AudioFormatError("the fmt chunk behind the audio differs from the one before it")
            encoding = stated
        elif name == b"data":
            if encoding is None:
                raise AudioFormatError("the data chunk comes before the fmt chunk")
            pieces.append(body)
    if encoding is None or not pieces:
        raise AudioFormatError("no audio in it (no data chunk)")
    frames = [_decode(piece, encoding) for piece in pieces]
    return _mono(frames[0] if len(frames) == 1 else np.concatenate(frames), channel), encoding.rate


def _byte_order(content: bytes) -> _ByteOrder:
    if content[8:12] == b"WAVE":
        if content[:4] in (b"RIFF", b"RF64", b"BW64"):
            return "<"
        if content[:4] == b"RIFX":
            return ">"
    for magic, what in _OTHER_FILES:
        if content.startswith(magic):
            raise AudioFormatError(f"not a WAV file but {what}; {_CONVERT}")
    if content[4:8] == b"ftyp":
        raise AudioFormatError(f"not a WAV file but an MP4 or M4A file; {_CONVERT}")
    raise AudioFormatError("not a WAV file (no RIFF/WAVE header)")


def _chunks(content: bytes, order: _ByteOrder) -> Iterator[tuple[bytes, memoryview]]:
    (riff_size,) = struct.unpack_from(f"{order}I", content, 4)
    # Padded or not: writers disagree.
    whole = len(content) - 8 in (riff_size, riff_size + 1)
    sizes: dict[bytes, int] = {}
    position = 12
    while position + 8 <= len(content):
        name, size = struct.unpack_from(f"{order}4sI", content, position)
        if size == _UNKNOWN_SIZE:
            size = sizes.get(name, size)
        unsaid = size == 0 and not (whole and _is_name(content, position + 8))
        if name == b"data" and (unsaid or size in (_UNKNOWN_SIZE, 2**64 - 1)):
            size = len(content)  # the recorder was killed before it could say
        body = memoryview(content)[position + 8 : position + 8 + size]
        if name == b"ds64":
            sizes = _long_sizes(body)
            whole = len(content) - 8 in (sizes[b"RIFF"], sizes[b"RIFF"] + 1)
        yield name, body
        position += 8 + size
        # Chunks begin at even positions, but some writers forget the byte of padding.
        if size % 2 and not (content[position : position + 1] > b"\0" and _is_name(content, position)):
            position += 1


def _is_name(content: bytes, position: int) -> bool:
    """Whether the name of a chunk can begin here: four letters, or the end of the file."""
    name = content[position : position + 4]
    return not name or (len(name) == 4 and name.isascii() and name.decode().isprintable())


def _long_sizes(body: memoryview) -> dict[bytes, int]:
    """The sizes past 4 GiB, which the chunk ``ds64`` of an RF64 file holds by the names of their chunks."""
    if len(body) < 28:
        raise AudioFormatError("the ds64 chunk is too short")
    riff_size, data_size, _, count = struct.unpack_from("<QQQI", body)
    sizes = {b"RIFF": riff_size, b"data": data_size}
    for index in range(min(count, (len(body) - 28) // 12)):
        name, size = struct.unpack_from("<4sQ", body, 28 + 12 * index)
        sizes[name] = size
    return sizes


# ---- encodings -------------------------------------------------------------------------------------------------------

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE

_OTHER_CODECS: Final[Mapping[int, str]] = {
    0x0002: "Microsoft ADPCM",
    0x0011: "IMA ADPCM",
    0x0014: "G.723 ADPCM",
    0x0022: "TrueSpeech",
    0x0031: "GSM 6.10",
    0x0040: "G.721 ADPCM",
    0x0042: "G.723.1",
    0x0045: "G.726 ADPCM",
    0x0050: "MPEG audio",
    0x0055: "MP3",
    0x0064: "G.726 ADPCM",
    0x0065: "G.722 ADPCM",
    0x0083: "G.729",
    0x00FF: "AAC",
    0x0161: "Windows Media Audio",
    0x1610: "AAC",
    0x2000: "AC-3",
    0x674F: "Ogg Vorbis",
    0x704F: "Opus",
    0xA112: "Speex",
    0xF1AC: "FLAC",
}


@attrs.frozen
class _Encoding:
    tag: int
    channels: int
    rate: int
    bits: int
    container: int
    """Bytes that one sample of one channel takes."""

    order: _ByteOrder


def _parse_encoding(body: memoryview, order: _ByteOrder) -> _Encoding:
    if len(body) < 16:
        raise AudioFormatError("the fmt chunk is too short")
    tag, channels, rate, _, block_align, bits = struct.unpack_from(f"{order}HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        (tag,) = struct.unpack_from(f"{order}H", body, 24)  # the first two bytes of the subformat's GUID
    if tag in _OTHER_CODECS:
        raise AudioFormatError(f"encoded in {_OTHER_CODECS[tag]} ({tag:#06x}), which is not read here; {_CONVERT}")
    if channels < 1 or not _LEAST_RATE <= rate <= _MOST_RATE:
        raise AudioFormatError(
            f"impossible fmt chunk: {channels} channels at {rate} Hz; "
            f"expected one or more, at {_LEAST_RATE} to {_MOST_RATE} Hz"
        )
    container = block_align // channels if block_align else -(-bits // 8)
    encoding = _Encoding(tag, channels, rate, bits, container, order)
    match tag:
        case 0x0001:
            known = 1 <= bits <= 32 and bits <= 8 * container <= 32
        case 0x0003:
            known = bits in (32, 64) and 8 * container == bits
        case 0x0006 | 0x0007:
            known = bits == 8 and container == 1
        case _:
            known = False
    if not known or block_align % channels:
        raise AudioFormatError(
            f"encoding {tag:#06x} with {bits} bits in frames of {block_align} bytes is not read here (read are: PCM of "
            f"8 to 32 bits, float of 32 or 64, A-law, mu-law); {_CONVERT}"
        )
    return encoding


def _decode(data: memoryview, encoding: _Encoding) -> NDArray[Any]:
    """The samples on a 16-bit scale, of shape (n, channels)."""
    frame = encoding.container * encoding.channels
    data = data[: len(data) // frame * frame]  # a file that was cut off may end within a frame
    match encoding.tag:
        case 0x0003:
            with np.errstate(invalid="ignore"):  # not every NaN can be converted quietly
                floats = np.frombuffer(data, dtype=f"{encoding.order}f{encoding.container}").astype(np.float64)
            samples: NDArray[Any] = np.clip(np.nan_to_num(floats), -1, 1) * 32768
        case 0x0006:
            samples = g711.decode_alaw(data)
        case 0x0007:
            samples = g711.decode_ulaw(data)
        case _:
            samples = _linear(data, encoding)
    return samples.reshape(-1, encoding.channels)


def _linear(data: memoryview, encoding: _Encoding) -> NDArray[Any]:
    container, bits, order = encoding.container, encoding.bits, encoding.order
    if container == 1:
        return (np.frombuffer(data, dtype=np.uint8).astype(np.int16) - 128) * 256
    if container == 2 and bits == 16:
        return np.frombuffer(data, dtype=f"{order}i2").astype(np.int16)
    # Three bytes are read as the high ones of four.
    octets = np.zeros((len(data) // container, 4), np.uint8)
    raw = np.frombuffer(data, np.uint8).reshape(-1, container)
    octets[:, 4 - container :] = raw if order == "<" else raw[:, ::-1]
    values = octets.view("<i4")[:, 0]
    if (padding := 8 * container - bits) and _is_right_justified(values >> (8 * (4 - container)), bits, padding):
        return values / 2.0 ** (16 - padding)
    return values / 65536


def _is_right_justified(values: NDArray[np.int32], bits: int, padding: int) -> bool:
    """Whether samples of fewer bits than their container lie in its low bits, sign-extended.

    The specification says left-justified, and many writers of 24 bits in four bytes do not keep to it. Values that fit
    both ways are taken as left-justified, unless whole bytes are spare: 16-bit audio in a 24-bit file looks like that.
    """
    fits = bool(np.all(np.abs(values.astype(np.int64)) <= 1 << (bits - 1)))
    padded = not np.any(values & ((1 << padding) - 1))
    return fits and (not padded or padding % 8 == 0)


def _mono(frames: NDArray[Any], channel: int | None) -> NDArray[np.int16]:
    n_channels = frames.shape[1]
    if channel is not None and channel >= n_channels:
        there = "channel 0 alone" if n_channels == 1 else f"channels 0 to {n_channels - 1}"
        raise AudioFormatError(f"it has {there}, not channel {channel}")
    samples = frames.mean(axis=1) if channel is None and n_channels > 1 else frames[:, channel or 0]
    rounded: NDArray[np.int16] = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
    return rounded
