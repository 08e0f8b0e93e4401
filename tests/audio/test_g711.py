from typing import Any

import numpy as np
import pytest

from trealtime.audio.g711 import decode_alaw, decode_ulaw, encode_alaw, encode_ulaw
from trealtime.errors import AudioFormatError

ALL_CODES = bytes(range(256))
ALL_SAMPLES = np.arange(-32768, 32768).astype(np.int16)


# From the tables of ITU-T G.711: the ends, the zeros, and the first code of some chords, on the 16-bit scale.
@pytest.mark.parametrize(
    "code, sample",
    [(0xFF, 0), (0x7F, 0), (0x80, 32124), (0x00, -32124), (0xFE, 8), (0xEF, 132), (0xDF, 396), (0x8F, 16764)],
)
def test_mulaw_decodes_to_the_values_of_the_recommendation(code: int, sample: int) -> None:
    assert decode_ulaw(bytes([code])).tolist() == [sample]


@pytest.mark.parametrize(
    "code, sample",
    [(0xD5, 8), (0x55, -8), (0xAA, 32256), (0x2A, -32256), (0xC5, 264), (0xF5, 528), (0xA5, 16896)],
)
def test_alaw_decodes_to_the_values_of_the_recommendation(code: int, sample: int) -> None:
    assert decode_alaw(bytes([code])).tolist() == [sample]


@pytest.mark.parametrize("encode, silence", [(encode_ulaw, 0xFF), (encode_alaw, 0xD5)])
def test_silence_has_its_own_code(encode, silence: int) -> None:
    assert encode(np.zeros(3, dtype=np.int16)) == bytes([silence] * 3)


def test_every_alaw_code_survives_a_round_trip() -> None:
    assert encode_alaw(decode_alaw(ALL_CODES)) == ALL_CODES


def test_every_mulaw_code_survives_a_round_trip_but_negative_zero() -> None:
    assert encode_ulaw(decode_ulaw(ALL_CODES)) == ALL_CODES.replace(b"\x7f", b"\xff")


@pytest.mark.parametrize("encode, decode, bias", [(encode_ulaw, decode_ulaw, 132), (encode_alaw, decode_alaw, 256)])
def test_no_sample_is_more_than_half_a_step_off(encode, decode, bias: int) -> None:
    error = np.abs(decode(encode(ALL_SAMPLES)).astype(int) - ALL_SAMPLES)
    # A chord has 16 steps, so a step is a sixteenth of where its chord begins.
    assert np.all(error <= (np.abs(ALL_SAMPLES.astype(int)) + bias) / 32)


@pytest.mark.parametrize("encode, decode", [(encode_ulaw, decode_ulaw), (encode_alaw, decode_alaw)])
def test_a_tone_keeps_36_db_over_the_noise_of_the_codec(encode, decode) -> None:
    tone = np.rint(8000 * np.sin(2 * np.pi * 1004 * np.arange(8000) / 8000)).astype(np.int16)
    noise = decode(encode(tone)).astype(float) - tone
    assert 10 * np.log10(np.mean(tone.astype(float) ** 2) / np.mean(noise**2)) > 36


def test_strided_and_big_endian_samples_encode_like_plain_ones() -> None:
    samples = ALL_SAMPLES[::7]
    assert encode_ulaw(samples) == encode_ulaw(samples.copy()) == encode_ulaw(samples.astype(">i2"))


@pytest.mark.parametrize("encode", [encode_ulaw, encode_alaw])
@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.uint8])
def test_other_samples_are_refused_and_not_made_noise(encode: Any, dtype: Any) -> None:
    with pytest.raises(AudioFormatError, match="must be int16"):
        encode(np.zeros(10, dtype))
