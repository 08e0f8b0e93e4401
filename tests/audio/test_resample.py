from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trealtime.audio.resample import Resampler, resample
from trealtime.errors import AudioFormatError

RATES = (8_000, 16_000, 24_000, 44_100, 48_000)
ODD = [(8_012, 24_000), (11_127, 24_000), (44_056, 24_000), (47_951, 48_000), (48_000, 8_011), (4_001, 192_000)]
PAIRS = [*((a, b) for a in RATES for b in RATES if a != b), *ODD]


def tone(hz: float, rate: int, *, seconds: float = 0.5, peak: float = 8000) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def as_int16(samples: np.ndarray) -> np.ndarray:
    return np.rint(samples).astype(np.int16)


def power_db(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean(samples.astype(float) ** 2) + 1e-12)


@pytest.mark.parametrize("from_rate, to_rate", PAIRS)
def test_a_tone_arrives_at_its_place_in_time_80_db_over_the_error(from_rate: int, to_rate: int) -> None:
    result = resample(as_int16(tone(1000, from_rate, seconds=1)), from_rate, to_rate)
    ideal = tone(1000, to_rate, seconds=1)
    assert len(result) == len(ideal)
    middle = slice(len(ideal) // 10, -len(ideal) // 10)
    assert power_db(ideal[middle]) - power_db((result - ideal)[middle]) > 80


@pytest.mark.parametrize("from_rate", [4_000, 4_001, 22_222, 191_999, 192_000])
def test_all_rates_of_files_can_be_brought_to_those_of_the_api(from_rate: int) -> None:
    for to_rate in (8_000, 24_000):
        result = resample(as_int16(tone(440, from_rate, seconds=1)), from_rate, to_rate)
        ideal = tone(440, to_rate, seconds=1)
        middle = slice(to_rate // 20, -to_rate // 20)
        assert power_db(ideal[middle]) - power_db((result - ideal)[middle]) > 70


@pytest.mark.parametrize("from_rate, to_rate", [pair for pair in PAIRS if pair[1] < pair[0]])
def test_what_the_lower_rate_cannot_carry_is_75_db_down(from_rate: int, to_rate: int) -> None:
    result = resample(as_int16(tone(to_rate * 0.51, from_rate)), from_rate, to_rate)
    middle = slice(len(result) // 10, -len(result) // 10)
    assert power_db(result[middle]) < power_db(tone(1000, from_rate)) - 75


@pytest.mark.parametrize("hz", [300, 3300])
def test_the_telephone_band_is_flat(hz: int) -> None:
    result = resample(as_int16(tone(hz, 24_000)), 24_000, 8_000)
    assert power_db(result[400:-400]) == pytest.approx(power_db(tone(hz, 8_000)), abs=0.1)


@pytest.mark.parametrize("from_rate, to_rate", PAIRS)
def test_a_constant_stays_exactly_what_it_was(from_rate: int, to_rate: int) -> None:
    result = resample(np.full(from_rate // 10, 12345, dtype=np.int16), from_rate, to_rate)
    edge = to_rate // 100
    assert set(result[edge:-edge].tolist()) == {12345}


def test_full_scale_is_clipped_and_does_not_wrap_around() -> None:
    square = np.where(np.arange(2400) // 60 % 2, 32767, -32768).astype(np.int16)
    result = resample(square, 24_000, 48_000).astype(int)
    inside = np.where(np.arange(4800) // 120 % 2, 1, -1)
    away_from_edges = np.arange(4800) % 120 > 20
    assert np.all((result * inside)[away_from_edges & (np.arange(4800) % 120 < 100)] > 20_000)


@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from([*PAIRS, (24_000, 24_000)]),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
    length=st.integers(0, 3000),
    seed=st.integers(0, 99),
)
def test_chunk_sizes_change_nothing(pair: tuple[int, int], cuts: list[int], length: int, seed: int) -> None:
    samples = np.random.default_rng(seed).integers(-32768, 32768, length).astype(np.int16)
    borders = [0, *sorted(min(cut, length) for cut in cuts), length]
    resampler = Resampler(*pair)
    pieces = [resampler.process(samples[a:b]) for a, b in pairwise(borders)]
    pieces.append(resampler.flush())
    whole = resample(samples, *pair)
    assert len(whole) == -(-length * pair[1] // pair[0])
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize(
    "from_rate, to_rate, delay_ms", [(24_000, 8_000, 4.1), (8_000, 24_000, 4.1), (24_000, 48_000, 1.4)]
)
def test_output_comes_no_later_than_the_kernel_reaches(from_rate: int, to_rate: int, delay_ms: float) -> None:
    result = Resampler(from_rate, to_rate).process(np.zeros(from_rate // 10, dtype=np.int16))
    assert 100 - len(result) * 1000 / to_rate <= delay_ms


def test_a_long_stream_keeps_only_what_the_filter_needs() -> None:
    resampler = Resampler(44_100, 8_000)
    for _ in range(50):
        resampler.process(np.zeros(882, dtype=np.int16))
    assert len(resampler._input) < 1000


def test_the_same_rate_passes_through_as_a_copy() -> None:
    samples = np.arange(10, dtype=np.int16)
    result = resample(samples, 8_000, 8_000)
    np.testing.assert_array_equal(result, samples)
    assert not np.shares_memory(Resampler(8_000, 8_000).process(samples), samples)


def test_a_flushed_resampler_takes_no_more() -> None:
    resampler = Resampler(8_000, 24_000)
    resampler.process(np.zeros(10, dtype=np.int16))
    assert len(resampler.flush()) > 0
    assert len(resampler.flush()) == 0
    with pytest.raises(RuntimeError, match="flushed"):
        resampler.process(np.zeros(10, dtype=np.int16))


@pytest.mark.parametrize(
    "rates, message", [((0, 8000), "positive"), ((8000, -1), "positive"), ((192_000, 749), "256 times")]
)
def test_impossible_rates_are_refused(rates: tuple[int, int], message: str) -> None:
    with pytest.raises(AudioFormatError, match=message):
        Resampler(*rates)


@pytest.mark.parametrize("rate", [8_000.0, "8000", None, True, float("nan")])
def test_a_rate_that_is_no_whole_number_is_refused(rate: Any) -> None:
    with pytest.raises(AudioFormatError, match="positive whole numbers"):
        Resampler(rate, 24_000)


def test_numpys_numbers_and_other_layouts_are_taken() -> None:
    samples = as_int16(tone(440, 8_000))
    wanted = resample(samples, 8_000, 24_000)
    assert np.array_equal(resample(samples, np.int32(8_000), np.int64(24_000)), wanted)  # type: ignore[arg-type]
    assert np.array_equal(resample(samples.astype(">i2"), 8_000, 24_000), wanted)
    assert np.array_equal(resample(samples[:, np.newaxis], 8_000, 24_000), wanted)


@pytest.mark.parametrize("to_rate", [8_000, 24_000])
@pytest.mark.parametrize(
    "audio, message",
    [
        (np.zeros(10), "must be int16, got float64"),
        (np.zeros(10, np.int32), "must be int16, got int32"),
        (np.zeros((10, 2), np.int16), "must be mono"),
        (b"\0\0", "a numpy int16 array, got bytes"),
    ],
)
def test_other_audio_is_refused_and_not_made_noise(audio: Any, message: str, to_rate: int) -> None:
    with pytest.raises(AudioFormatError, match=message):
        resample(audio, 8_000, to_rate)
