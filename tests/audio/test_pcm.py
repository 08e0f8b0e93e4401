import array
from typing import Any

import numpy as np
import pytest

from trealtime.audio.formats import G711_ALAW, G711_ULAW, PCM16_24K
from trealtime.audio.pcm import as_audio_bytes, from_int16, to_int16
from trealtime.errors import AudioFormatError

SAMPLES = np.array([0, 1, -1, 256, -32768, 32767], dtype=np.int16)
LITTLE_ENDIAN = bytes.fromhex("0000 0100 ffff 0001 0080 ff7f")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_pass_as_they_are(kind: Any) -> None:
    result = as_audio_bytes(kind(LITTLE_ENDIAN), PCM16_24K)
    assert type(result) is bytes
    assert result == LITTLE_ENDIAN


@pytest.mark.parametrize(
    "samples",
    [
        SAMPLES,
        SAMPLES.astype(">i2"),
        np.repeat(SAMPLES, 3)[::3],
        SAMPLES[::-1].copy()[::-1],
        SAMPLES[:, np.newaxis],
        np.stack([SAMPLES, SAMPLES], axis=1)[:, :1],
    ],
    ids=["plain", "big-endian", "strided", "reversed", "column", "column-of-stereo"],
)
def test_int16_arrays_of_any_layout_become_little_endian_bytes(samples: Any) -> None:
    assert as_audio_bytes(samples, PCM16_24K) == LITTLE_ENDIAN


def test_samples_come_back_native_and_writable() -> None:
    samples = to_int16(LITTLE_ENDIAN, PCM16_24K)
    assert samples.dtype == np.int16
    assert samples.dtype.isnative
    np.testing.assert_array_equal(samples, SAMPLES)
    samples[0] = 7


@pytest.mark.parametrize("fmt", [G711_ULAW, G711_ALAW])
def test_arrays_are_encoded_for_g711_and_bytes_are_not(fmt: Any) -> None:
    encoded = as_audio_bytes(SAMPLES, fmt)
    assert len(encoded) == len(SAMPLES)
    assert as_audio_bytes(encoded, fmt) == encoded
    decoded = to_int16(encoded, fmt)
    np.testing.assert_array_equal(to_int16(from_int16(decoded, fmt), fmt), decoded)
    assert as_audio_bytes(b"\xff", fmt) == b"\xff"  # an odd length is whole samples here


@pytest.mark.parametrize("empty", [b"", np.zeros(0, dtype=np.int16)], ids=["bytes", "array"])
def test_no_audio_is_no_bytes(empty: Any) -> None:
    assert as_audio_bytes(empty, PCM16_24K) == b""


@pytest.mark.parametrize("convert", [as_audio_bytes, to_int16])
def test_half_a_sample_is_refused(convert: Any) -> None:
    with pytest.raises(AudioFormatError, match="whole samples of 2 bytes, got 3 bytes"):
        convert(b"abc", PCM16_24K)


@pytest.mark.parametrize(
    "audio, message",
    [
        (np.zeros(4, dtype=np.float32), r"must be int16, got float32; .*\(audio \* 32767\)\.astype\(numpy\.int16\)"),
        (np.zeros(4, dtype=np.int32), "must be int16, got int32"),
        (np.zeros(4, dtype=np.uint8), "must be int16, got uint8"),
        (np.zeros((4, 2), dtype=np.int16), r"must be mono.*got \(4, 2\).*mean\(axis=1\)"),
        (np.array(3, dtype=np.int16), "must be mono"),
        (memoryview(array.array("h", [1, 2])), r"memoryview of bytes.*'h'.*cast\('B'\)"),
        ("UklGRg==", "must be bytes or a numpy int16 array, got str"),
        ([1, 2], "got list"),
        (None, "got NoneType"),
    ],
)
def test_other_audio_is_refused_with_the_way_out(audio: Any, message: str) -> None:
    with pytest.raises(AudioFormatError, match=message):
        as_audio_bytes(audio, PCM16_24K)
