"""Any format to any format, in pieces of any size, keeps frequency, level and length, and makes no click."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from trealtime.audio.formats import G711_ALAW, G711_ULAW, PCM16_24K, AudioFormat, pcm16
from trealtime.audio.pcm import from_int16, to_int16
from trealtime.endpoints.conversion import Gain, StreamConverter, silence

FORMATS = [*map(pcm16, (8_000, 16_000, 24_000, 44_100, 48_000)), G711_ULAW, G711_ALAW]
SIZES = (1, 7, 160, 961, 5000)
AMPLITUDE = 10_000
TONE_HZ = 1000


def tone(ms: int, rate: int) -> NDArray[np.float64]:
    return AMPLITUDE * np.sin(2 * np.pi * TONE_HZ * np.arange(rate * ms // 1000) / rate)


def encoded_tone(ms: int, audio_format: AudioFormat) -> bytes:
    return from_int16(np.rint(tone(ms, audio_format.rate)).astype(np.int16), audio_format)


def converted(data: bytes, source: AudioFormat, target: AudioFormat, sizes: tuple[int, ...]) -> bytes:
    converter = StreamConverter(source, target)
    made, position = b"", 0
    for size in itertools.cycle(sizes):
        if position >= len(data):
            return made + converter.finish()
        made += converter.convert(data[position : position + size])
        assert len(made) % target.bytes_per_sample == 0
        position += size
    raise AssertionError("a cycle does not end")


def name(audio_format: AudioFormat) -> str:
    return f"{audio_format}-{audio_format.rate}"


@pytest.mark.parametrize("target", FORMATS, ids=name)
@pytest.mark.parametrize("source", FORMATS, ids=name)
def test_a_tone_stays_the_same_tone(source, target) -> None:
    made = to_int16(converted(encoded_tone(500, source), source, target, SIZES), target)
    assert len(made) == target.rate // 2
    middle = slice(target.rate // 50, -target.rate // 50)  # the filter needs a few milliseconds at both ends
    error = made[middle] - tone(500, target.rate)[middle]
    # Against the tone itself: that is frequency, level, phase and every click at once. G.711 has 13 bits at its best.
    limit_db = -33 if "g711" in source.name + target.name else -60
    assert 20 * np.log10(np.sqrt(np.mean(error**2)) * np.sqrt(2) / AMPLITUDE) < limit_db
    assert np.abs(error).max() < AMPLITUDE * 10 ** ((limit_db + 18) / 20)


@pytest.mark.parametrize("target", FORMATS, ids=name)
@pytest.mark.parametrize("source", [pcm16(24_000), pcm16(44_100), G711_ULAW], ids=name)
def test_the_cutting_of_the_stream_changes_no_sample(source, target) -> None:
    data = encoded_tone(60, source)
    whole = converted(data, source, target, (len(data),))
    for sizes in ((1,), (2, 3), (333,)):
        assert converted(data, source, target, sizes) == whole


@pytest.mark.parametrize("audio_format", FORMATS, ids=name)
def test_the_same_format_passes_through_untouched(audio_format) -> None:
    data = bytes(range(256)) * 4
    assert converted(data, audio_format, audio_format, (1, 3, 100)) == data
    if audio_format.bytes_per_sample == 1:
        piece = data[:160]
        assert StreamConverter(audio_format, audio_format).convert(piece) is piece


def test_half_a_sample_at_the_end_is_dropped() -> None:
    converter = StreamConverter(pcm16(24_000), pcm16(24_000))
    assert converter.convert(b"\1\2\3") + converter.finish() == b"\1\2"


@pytest.mark.parametrize("audio_format", FORMATS, ids=name)
def test_silence_is_silent(audio_format) -> None:
    assert np.abs(to_int16(silence(160, audio_format), audio_format)).max() <= 8


# ---- Gain ----------------------------------------------------------------------------------------------------

LOUD = np.full(480, 8000, np.int16)


@pytest.mark.parametrize("audio_format", [PCM16_24K, G711_ULAW], ids=str)
def test_a_change_takes_one_piece_and_makes_no_step(audio_format) -> None:
    gain = Gain()
    piece = from_int16(LOUD, audio_format)
    assert gain.apply(piece, audio_format) is piece
    gain.factor = 0.25
    falling, soft = (to_int16(gain.apply(piece, audio_format), audio_format).astype(int) for _ in range(2))
    assert abs(falling[0] - 8000) < 400
    assert np.abs(np.diff(falling)).max() < 300  # a step of mu-law up there is 256
    assert np.abs(soft - 2000).max() < 70
    gain.factor = 1.0
    gain.apply(piece, audio_format)
    assert gain.apply(piece, audio_format) is piece
