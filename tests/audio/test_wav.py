import io
import os
import struct
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trealtime.audio.g711 import encode_alaw, encode_ulaw
from trealtime.audio.wav import WavWriter, read_wav, write_wav
from trealtime.errors import AudioFormatError

SAMPLES = np.array([0, 1, -1, 256, -32768, 32767, 12345], dtype=np.int16)


def wav_bytes(
    tag: int,
    bits: int,
    data: bytes,
    *,
    channels: int = 1,
    rate: int = 16000,
    extra: bytes = b"",
    container: int = 0,
    order: str = "<",
) -> bytes:
    block = channels * (container or -(-bits // 8))
    fmt = struct.pack(f"{order}HHIIHH", tag, channels, rate, rate * block, block, bits) + extra
    body = b"WAVE" + chunk(b"fmt ", fmt, order=order) + chunk(b"data", data, order=order)
    return chunk(b"RIFF" if order == "<" else b"RIFX", body, order=order)


def chunk(name: bytes, body: bytes, *, size: int | None = None, order: str = "<") -> bytes:
    return name + struct.pack(f"{order}I", len(body) if size is None else size) + body + bytes(len(body) % 2)


def integers(values: np.ndarray, n_bytes: int, order: str = "<") -> bytes:
    name: Any = "little" if order == "<" else "big"
    return b"".join(int(value).to_bytes(n_bytes, name, signed=True) for value in values)


FMT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16))
PCM = SAMPLES.astype("<i2").tobytes()


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
        (1, 24, integers(SAMPLES.astype(int) << 8, 3), 0),
        (1, 20, integers((SAMPLES.astype(int) << 4) << 4, 3), 0),
        (1, 12, integers(SAMPLES.astype(int) & ~15, 2), 15),
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


@pytest.mark.parametrize("channel, expected", [(0, [100, -32768, 1]), (1, [300, 5, 2]), (None, [200, -16382, 2])])
def test_one_channel_of_several_can_be_chosen(tmp_path: Path, channel: int | None, expected: list[int]) -> None:
    stereo = np.array([[100, 300], [-32768, 5], [1, 2]], dtype="<i2")
    (tmp_path / "call.wav").write_bytes(wav_bytes(1, 16, stereo.tobytes(), channels=2))
    assert read_wav(tmp_path / "call.wav", channel=channel)[0].tolist() == expected


def test_a_channel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(wav_bytes(1, 16, bytes(8), channels=2))
    with pytest.raises(AudioFormatError, match=r"call\.wav: it has channels 0 to 1, not channel 2"):
        read_wav(path, channel=2)
    path.write_bytes(wav_bytes(1, 16, bytes(8)))
    with pytest.raises(AudioFormatError, match=r"call\.wav: it has channel 0 alone, not channel 1"):
        read_wav(path, channel=1)
    for wrong in (-1, True, "left"):
        with pytest.raises(ValueError, match="channel: expected a whole number"):
            read_wav(path, channel=wrong)  # type: ignore[arg-type]


QUIET = np.array([0, 3, -3, 77, -1000, 1000], dtype=np.int16)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "bits, container, shift",
    [
        (24, 4, 8),  # in the low bytes, sign-extended
        (24, 4, 16),  # in the high bytes, as the specification says
        (16, 4, 16),
        (16, 3, 0),
        (20, 3, 8),
        (20, 4, 16),
        (32, 4, 16),
        (12, 2, 0),
    ],
)
def test_a_sample_takes_the_bytes_that_the_frame_size_says(
    tmp_path: Path, bits: int, container: int, shift: int, order: str
) -> None:
    samples = QUIET if bits >= 16 else QUIET[np.abs(QUIET) < 100] * 16
    loud = np.concatenate((samples, [32000 & ~15, -32000 & ~15])).astype(np.int64)
    data = integers(loud << shift, container, order)
    read_back, _ = read(tmp_path, wav_bytes(1, bits, data, container=container, order=order))
    np.testing.assert_array_equal(read_back, loud)


def test_12_bits_in_the_low_bits_are_as_loud_as_in_the_high_ones(tmp_path: Path) -> None:
    values = np.array([0, 1, -1, 2047, -2048], dtype=np.int64)
    samples, _ = read(tmp_path, wav_bytes(1, 12, integers(values, 2)))
    np.testing.assert_array_equal(samples, values * 16)


@pytest.mark.parametrize("bits, tag", [(8, 1), (16, 1), (24, 1), (32, 1), (32, 3), (64, 3), (8, 7)])
def test_rifx_is_the_same_with_the_bytes_the_other_way_round(tmp_path: Path, bits: int, tag: int) -> None:
    data = {
        (8, 1): bytes(range(0, 256, 16)),
        (16, 1): SAMPLES.astype(">i2").tobytes(),
        (24, 1): integers(SAMPLES.astype(int) << 8, 3, ">"),
        (32, 1): (SAMPLES.astype(">i4") << 16).astype(">i4").tobytes(),
        (32, 3): (SAMPLES / 32768).astype(">f4").tobytes(),
        (64, 3): (SAMPLES / 32768).astype(">f8").tobytes(),
        (8, 7): encode_ulaw(SAMPLES),
    }[bits, tag]
    samples, rate = read(tmp_path, wav_bytes(tag, bits, data, order=">"))
    assert rate == 16000
    if bits != 8:
        np.testing.assert_array_equal(samples, SAMPLES)
    else:
        np.testing.assert_array_equal(samples, read(tmp_path, wav_bytes(tag, bits, data))[0])


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
@pytest.mark.parametrize("told", [len(PCM), 0, 2**64 - 1])
def test_rf64_keeps_its_sizes_in_a_chunk_of_its_own(tmp_path: Path, magic: bytes, told: int) -> None:
    after = chunk(b"LIST", b"abcd") if told == len(PCM) else b""
    ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, told, 0, 1) + struct.pack("<4sQ", b"big ", 2))
    other = chunk(b"big ", b"zz", size=0xFFFFFFFF)
    body = b"WAVE" + ds64 + FMT + other + chunk(b"data", PCM, size=0xFFFFFFFF) + after
    samples, _ = read(tmp_path, chunk(magic, body, size=0xFFFFFFFF))
    np.testing.assert_array_equal(samples, SAMPLES)


@pytest.mark.parametrize("riff_size", [0, 8, 36, 0xFFFFFFFF])
@pytest.mark.parametrize("data_size", [0, 0xFFFFFFFF])
def test_a_file_whose_recorder_was_killed_is_read_to_its_end(tmp_path: Path, riff_size: int, data_size: int) -> None:
    body = b"WAVE" + FMT + chunk(b"LIST", b"abc") + chunk(b"data", PCM, size=data_size)
    samples, _ = read(tmp_path, chunk(b"RIFF", body, size=riff_size))
    np.testing.assert_array_equal(samples, SAMPLES)


@pytest.mark.parametrize("after", [b"", chunk(b"LIST", b"abcd")])
def test_a_file_with_no_audio_in_it_is_no_killed_recorders(tmp_path: Path, after: bytes) -> None:
    assert len(read(tmp_path, chunk(b"RIFF", b"WAVE" + FMT + chunk(b"data", b"") + after))[0]) == 0


def test_a_size_of_zero_before_audio_is_no_size(tmp_path: Path) -> None:
    body = b"WAVE" + FMT + chunk(b"data", PCM, size=0)
    np.testing.assert_array_equal(read(tmp_path, chunk(b"RIFF", body))[0], SAMPLES)


def test_several_data_chunks_are_joined(tmp_path: Path) -> None:
    pieces = chunk(b"data", PCM[:4]) + chunk(b"LIST", b"abc") + chunk(b"data", PCM[4:])
    np.testing.assert_array_equal(read(tmp_path, chunk(b"RIFF", b"WAVE" + FMT + pieces))[0], SAMPLES)


@pytest.mark.parametrize("rate", [4_000, 8_012, 22_254, 44_056, 192_000])
def test_any_rate_is_read(tmp_path: Path, rate: int) -> None:
    assert read(tmp_path, wav_bytes(1, 16, PCM, rate=rate))[1] == rate


def test_floats_out_of_range_are_clipped_and_nan_is_silence(tmp_path: Path) -> None:
    for dtype, bits in ("<f4", 32), ("<f8", 64):
        floats = np.array([2.0, -2.0, np.nan, np.inf, -np.inf, np.finfo(dtype).max], dtype=dtype)
        expected = [32767, -32768, 0, 32767, -32768, 32767]
        assert read(tmp_path, wav_bytes(3, bits, floats.tobytes()))[0].tolist() == expected


def test_a_signalling_nan_is_silence_without_a_warning(tmp_path: Path) -> None:
    """As in a file that was damaged: converting one raises a floating point error."""
    data = struct.pack("<III", 0x7F800001, 0xFFA00000, 0x3F000000)
    assert read(tmp_path, wav_bytes(3, 32, data))[0].tolist() == [0, 0, 16384]


def test_unknown_chunks_are_skipped_with_their_padding(tmp_path: Path) -> None:
    plain = wav_bytes(1, 16, SAMPLES.astype("<i2").tobytes())
    samples, _ = read(tmp_path, plain[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + plain[12:])
    np.testing.assert_array_equal(samples, SAMPLES)


@pytest.mark.parametrize("odd", [b"a", b"abc", b"abcde"])
@pytest.mark.parametrize("place", [12, 12 + len(FMT)])
def test_a_writer_may_have_forgotten_the_padding(tmp_path: Path, odd: bytes, place: int) -> None:
    plain = wav_bytes(1, 16, PCM)
    unpadded = plain[:place] + b"JUNK" + struct.pack("<I", len(odd)) + odd + plain[place:]
    np.testing.assert_array_equal(read(tmp_path, unpadded)[0], SAMPLES)


def test_a_writer_grows_and_can_be_closed_twice(tmp_path: Path) -> None:
    writer = WavWriter(tmp_path / "a.wav", 24000)
    for _ in range(3):
        writer.write(np.ones(240, dtype=np.int16))
    assert writer.duration_ms == 30
    writer.close()
    writer.close()
    assert len(read_wav(tmp_path / "a.wav")[0]) == 720


@pytest.mark.skipif(sys.platform == "win32", reason="modes and pipes are of POSIX")
def test_a_file_is_its_owners_alone_and_one_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    for name, mode in (("new.wav", 0o600), ("there.wav", 0o644)):
        path = tmp_path / name
        if mode == 0o644:
            path.write_bytes(b"before" * 100)
            path.chmod(mode)
        write_wav(path, SAMPLES, 24_000)
        assert path.stat().st_mode & 0o777 == mode
        np.testing.assert_array_equal(read_wav(path)[0], SAMPLES)


@pytest.mark.skipif(sys.platform == "win32", reason="modes and pipes are of POSIX")
def test_a_pipe_gets_the_audio_behind_a_header_without_a_size(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_wav(pipe, SAMPLES, 24_000)
    (tmp_path / "heard.wav").write_bytes(os.read(reader, 2**16))
    os.close(reader)
    np.testing.assert_array_equal(read_wav(tmp_path / "heard.wav")[0], SAMPLES)


def test_a_recording_that_was_cut_off_is_read_to_its_end(tmp_path: Path) -> None:
    with WavWriter(tmp_path / "a.wav", 24000) as writer:
        writer.write(SAMPLES)
        writer._file.flush()
        unfinished = (tmp_path / "a.wav").read_bytes()
    np.testing.assert_array_equal(read(tmp_path, unfinished + b"\x01")[0], SAMPLES)


@pytest.mark.parametrize("samples", [np.zeros(4, dtype=np.float32), np.zeros((4, 2), dtype=np.int16)])
def test_only_mono_int16_is_written(tmp_path: Path, samples: Any) -> None:
    with pytest.raises(AudioFormatError, match=r"a\.wav: samples must be int16 of shape"):
        write_wav(tmp_path / "a.wav", samples, 24000)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not a WAV file"),
        (b"ID3\x04" + bytes(100), "not a WAV file but an MP3 file; convert it, .*ffmpeg"),
        (b"OggS" + bytes(100), "an Ogg file; convert it"),
        (bytes(4) + b"ftypM4A " + bytes(100), "an MP4 or M4A file; convert it"),
        (b"\xff\xf3\x40" + bytes(100), "an MP3 file; convert it"),
        (b"\xff\xf1\x50" + bytes(100), "an AAC file; convert it"),
        (wav_bytes(1, 16, PCM) + FMT.replace(b"\x80\x3e", b"\x40\x1f"), "fmt chunk behind the audio differs"),
        (b"RIFF\0\0\0\0AVI " + bytes(100), "not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "no data chunk"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "before the fmt chunk"),
        (b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0\x01\0", "too short"),
        (b"RF64\xff\xff\xff\xffWAVEds64\x02\0\0\0\x01\0", "ds64 chunk is too short"),
        (wav_bytes(0x11, 4, b"ab"), r"encoded in IMA ADPCM \(0x0011\).*; convert it, .*ffmpeg"),
        (wav_bytes(0x31, 0, b"ab", container=65), "encoded in GSM 6.10"),
        (wav_bytes(0x1234, 16, b"ab"), "encoding 0x1234 with 16 bits .*; convert it"),
        (wav_bytes(1, 48, b"abcdef"), "0x0001 with 48 bits in frames of 6 bytes"),
        (wav_bytes(1, 16, b"ab", container=1), "16 bits in frames of 1 bytes"),
        (wav_bytes(3, 32, bytes(8), container=8), "0x0003 with 32 bits in frames of 8 bytes"),
        (wav_bytes(1, 16, b"ab", rate=3_999), "1 channels at 3999 Hz"),
        (wav_bytes(1, 16, b"ab", rate=192_001), "192001 Hz"),
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


@pytest.mark.parametrize(
    "rate, channels, message",
    [
        (0, 1, "rate must be a whole number"),
        (-1, 1, "rate must be a whole number"),
        (24_000.0, 1, "rate must be a whole number.* got 24000.0"),
        ("24000", 1, "rate must be a whole number"),
        (2**32, 1, "rate must be a whole number"),
        (24_000, 0, "channels must be a whole number"),
        (24_000, 70_000, "channels must be a whole number"),
        (24_000, True, "channels must be a whole number"),
        (400_000_000, 8, "more than a file can say"),
    ],
)
def test_a_header_that_cannot_be_leaves_the_file_that_is_there(
    tmp_path: Path, rate: Any, channels: Any, message: str
) -> None:
    path = tmp_path / "kept.wav"
    write_wav(path, SAMPLES, 24_000)
    with pytest.raises(AudioFormatError, match=rf"kept\.wav: .*{message}"):
        WavWriter(path, rate, channels=channels)
    assert read_wav(path)[0].tolist() == SAMPLES.tolist()


@pytest.mark.parametrize("samples", [[1, 2], np.zeros(3), np.zeros((3, 2), np.int16), np.int16(5)])
def test_samples_that_cannot_be_written_leave_the_file_that_is_there(tmp_path: Path, samples: Any) -> None:
    path = tmp_path / "kept.wav"
    write_wav(path, SAMPLES, np.int64(24_000))  # type: ignore[arg-type]
    with pytest.raises(AudioFormatError, match=r"kept\.wav: samples must be int16 of shape \(n,\)"):
        write_wav(path, samples, 24_000)
    assert read_wav(path)[0].tolist() == SAMPLES.tolist()
