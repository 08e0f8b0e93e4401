import io
import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trealtime.audio.g711 import encode_alaw, encode_ulaw
from trealtime.audio.wav import WavWriter, read_wav, write_wav
from trealtime.errors import AudioFormatError

SAMPLES = np.array([0, 1, -1, 256, -32768, 32767, 12345], dtype=np.int16)


def wav_bytes(tag: int, bits: int, data: bytes, *, channels: int = 1, rate: int = 16000, extra: bytes = b"") -> bytes:
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits) + extra
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read(tmp_path: Path, content: bytes) -> tuple[np.ndarray, int]:
    path = tmp_path / "test.wav"
    path.write_bytes(content)
    return read_wav(path)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", SAMPLES, 24000)
    samples, rate = read_wav(str(tmp_path / "a.wav"))
    assert rate == 24000
    assert samples.dtype == np.int16
    np.testing.assert_array_equal(samples, SAMPLES)


def test_other_readers_understand_what_is_written(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", SAMPLES, 8000)
    with wave.open(str(tmp_path / "a.wav")) as reader:
        assert reader.getparams()[:4] == (1, 2, 8000, len(SAMPLES))
        assert reader.readframes(100) == SAMPLES.astype("<i2").tobytes()


@pytest.mark.parametrize(
    "tag, bits, data, tolerance",
    [
        (1, 8, ((SAMPLES.astype(int) >> 8) + 128).astype(np.uint8).tobytes(), 255),
        (1, 16, SAMPLES.astype("<i2").tobytes(), 0),
        (1, 24, b"".join(int(s * 256).to_bytes(3, "little", signed=True) for s in SAMPLES.astype(int)), 0),
        (1, 32, (SAMPLES.astype("<i4") * 65536).tobytes(), 0),
        (3, 32, (SAMPLES / 32768).astype("<f4").tobytes(), 0),
        (3, 64, (SAMPLES / 32768).astype("<f8").tobytes(), 0),
        (6, 8, encode_alaw(SAMPLES), 512),
        (7, 8, encode_ulaw(SAMPLES), 644),
    ],
)
def test_every_encoding_is_read(tmp_path: Path, tag: int, bits: int, data: bytes, tolerance: int) -> None:
    samples, rate = read(tmp_path, wav_bytes(tag, bits, data))
    assert rate == 16000
    assert np.max(np.abs(samples.astype(int) - SAMPLES)) <= tolerance


def test_the_extensible_header_names_the_encoding_in_its_guid(tmp_path: Path) -> None:
    extra = struct.pack("<HHIH", 22, 32, 4, 3) + bytes(14)
    samples, _ = read(tmp_path, wav_bytes(0xFFFE, 32, (SAMPLES / 32768).astype("<f4").tobytes(), extra=extra))
    np.testing.assert_array_equal(samples, SAMPLES)


def test_channels_become_their_mean(tmp_path: Path) -> None:
    stereo = np.array([[100, 300], [-32768, -32768], [1, 2]], dtype="<i2")
    samples, _ = read(tmp_path, wav_bytes(1, 16, stereo.tobytes(), channels=2))
    assert samples.tolist() == [200, -32768, 2]


def test_floats_out_of_range_are_clipped_and_nan_is_silence(tmp_path: Path) -> None:
    floats = np.array([2.0, -2.0, np.nan], dtype="<f4")
    assert read(tmp_path, wav_bytes(3, 32, floats.tobytes()))[0].tolist() == [32767, -32768, 0]


def test_unknown_chunks_are_skipped_with_their_padding(tmp_path: Path) -> None:
    plain = wav_bytes(1, 16, SAMPLES.astype("<i2").tobytes())
    samples, _ = read(tmp_path, plain[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + plain[12:])
    np.testing.assert_array_equal(samples, SAMPLES)


def test_a_writer_grows_and_can_be_closed_twice(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "a.wav", 24000)
    for _ in range(3):
        writer.write(np.ones(240, dtype=np.int16))
    assert writer.duration_ms == 30
    writer.close()
    writer.close()
    assert len(read_wav(tmp_path / "a.wav")[0]) == 720


def test_a_recording_that_was_cut_off_is_read_to_its_end(tmp_path: Path) -> None:
    with WavWriter(tmp_path / "a.wav", 24000) as writer:
        writer.write(SAMPLES)
        writer._file.flush()
        unfinished = (tmp_path / "a.wav").read_bytes()
    np.testing.assert_array_equal(read(tmp_path, unfinished + b"\x01")[0], SAMPLES)


@pytest.mark.parametrize("samples", [np.zeros(4, dtype=np.float32), np.zeros((4, 2), dtype=np.int16)])
def test_only_mono_int16_is_written(tmp_path: Path, samples: Any) -> None:
    with pytest.raises(AudioFormatError, match="int16 of shape"):
        write_wav(tmp_path / "a.wav", samples, 24000)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not a WAV file"),
        (b"ID3\x04" + bytes(100), "not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "no data chunk"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "before the fmt chunk"),
        (b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0\x01\0", "too short"),
        (wav_bytes(0x11, 4, b"ab"), "encoding 0x0011 with 4 bits is not supported"),
        (wav_bytes(1, 12, b"ab"), "0x0001 with 12 bits"),
        (wav_bytes(1, 16, b"ab", channels=0), "0 channels"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(AudioFormatError, match=rf"test\.wav: .*{message}"):
        read(tmp_path, content)


def test_the_standard_library_writes_what_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(44100)
        writer.writeframes(SAMPLES.astype("<i2").tobytes())
    samples, rate = read(tmp_path, buffer.getvalue())
    assert rate == 44100
    np.testing.assert_array_equal(samples, SAMPLES)
