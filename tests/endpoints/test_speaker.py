"""The speaker's queue: what a device gets, what has been heard of it, and no clicks."""

from __future__ import annotations

import numpy as np
import pytest

from trealtime.endpoints.speaker import FADE_MS, Speaker

RATE = 48_000
BLOCK = RATE // 100


def tone(ms: float, *, level: float = 0.5, hz: float = 440.0) -> np.ndarray:
    time_s = np.arange(round(RATE * ms / 1000)) / RATE
    return np.rint(np.sin(2 * np.pi * hz * time_s) * level * 32767).astype(np.int16)


def put(speaker: Speaker, samples: np.ndarray, *, start_ms: float = 0.0, piece: int = RATE // 50) -> None:
    """As an attachment does: in pieces of 20 ms, each with the position of its end."""
    for begin in range(0, len(samples), piece):
        part = samples[begin : begin + piece]
        speaker.put(part, start_ms + (begin + len(part)) * 1000 / RATE)


def take(speaker: Speaker, blocks: int, *, size: int = BLOCK) -> np.ndarray:
    out = []
    for _ in range(blocks):
        block = np.full(size, 12345, np.int16)
        speaker.fill(block)
        out.append(block)
    return np.concatenate(out)


def click_dbfs(samples: np.ndarray) -> float:
    """The loudest thing above 6 kHz, where a tone of 440 Hz has nothing and a click has much."""
    n = 256
    windows = np.lib.stride_tricks.sliding_window_view(samples.astype(float) / 32768, n)[::16] * np.blackman(n)
    spectrum = np.abs(np.fft.rfft(windows, axis=1))[:, 6_000 * n // RATE :]
    return float(20 * np.log10(spectrum.max() / np.blackman(n).sum() + 1e-12))


@pytest.mark.parametrize("size", [64, 100, BLOCK, 1024])
def test_audio_passes_sample_by_sample_after_its_first_milliseconds(size: int) -> None:
    speaker, audio = Speaker(RATE), tone(200)
    put(speaker, audio)
    played = take(speaker, 1 + 15_000 // size, size=size)
    fade = round(FADE_MS * RATE / 1000)
    assert (played[fade : len(audio)] == audio[fade:]).all()
    assert not played[len(audio) + fade :].any()


def test_with_nothing_queued_there_is_silence() -> None:
    assert not take(Speaker(RATE), 3).any()


@pytest.mark.parametrize("size", [64, BLOCK, 4_800])
@pytest.mark.parametrize("cut_ms", [40.0, 43.7, 2.0])
def test_a_flush_fades_out_within_5_ms_and_without_a_click(size: int, cut_ms: float) -> None:
    speaker = Speaker(RATE)
    put(speaker, tone(1000))
    before = take(speaker, round(cut_ms * RATE / 1000 / size) + 1, size=size)
    speaker.flush()
    after = take(speaker, 10 * BLOCK // size + 2, size=size)
    fade = round(FADE_MS * RATE / 1000)
    assert after[: fade - 20].any()
    assert not after[fade:].any()
    assert click_dbfs(np.concatenate((np.zeros(512, np.int16), before, after))) < -80


def test_a_click_would_be_heard_by_these_tests() -> None:
    cut_at_its_loudest = tone(60)[: -RATE // 1760]
    assert click_dbfs(np.concatenate((cut_at_its_loudest, np.zeros(512, np.int16)))) > -50


def test_audio_that_runs_out_amid_a_wave_is_led_to_silence_and_comes_back_without_a_click() -> None:
    speaker = Speaker(RATE)
    audio = tone(60)
    played = []
    for end in (RATE // 1760, RATE // 1200, RATE // 900):  # at its loudest, and on the way down
        put(speaker, audio[end : len(audio) - end])
        played.append(take(speaker, 8))
    assert click_dbfs(np.concatenate(played)) < -60


def test_what_follows_a_flush_is_played_at_once_and_nothing_of_what_was_before() -> None:
    speaker = Speaker(RATE)
    put(speaker, tone(500, hz=440))
    take(speaker, 3)
    speaker.flush()
    fresh = tone(100, hz=1000)
    put(speaker, fresh, start_ms=500)
    played = take(speaker, 20)
    fade = round(FADE_MS * RATE / 1000)
    assert (played[2 * fade : fade + len(fresh)] == fresh[fade:]).all()
    assert not played[2 * fade + len(fresh) :].any()


def test_flushes_and_pieces_that_come_between_two_blocks_leave_only_the_last() -> None:
    speaker = Speaker(RATE)
    for _ in range(3):
        put(speaker, tone(100))
        speaker.flush()
    put(speaker, tone(30, hz=1000), start_ms=300)
    assert speaker.queued_ms == pytest.approx(30)
    played = take(speaker, 10)
    assert not played[round(0.035 * RATE) :].any()
    assert speaker.queued_ms == 0


def test_queued_counts_what_the_device_has_not_taken() -> None:
    speaker = Speaker(RATE)
    put(speaker, tone(100))
    take(speaker, 3)
    assert speaker.queued_ms == pytest.approx(70)
    speaker.flush()
    assert speaker.queued_ms == 0
    put(speaker, tone(50), start_ms=100)
    assert speaker.queued_ms == pytest.approx(50)
    take(speaker, 2)
    assert speaker.queued_ms == pytest.approx(50 - 20 + FADE_MS)


def test_heard_positions_are_exact_to_the_frame_with_silence_between() -> None:
    speaker = Speaker(RATE)
    take(speaker, 2)
    put(speaker, tone(100))
    take(speaker, 15)  # dry after 10
    put(speaker, tone(50), start_ms=100)
    take(speaker, 6)
    assert speaker.heard_ms(2 * BLOCK) is None
    assert speaker.heard_ms(2 * BLOCK + 48) == pytest.approx(1.0)
    assert speaker.heard_ms(7 * BLOCK + 24) == pytest.approx(50.5)
    assert speaker.heard_ms(12 * BLOCK) == pytest.approx(100)
    assert speaker.heard_ms(16 * BLOCK) is None, "the gap has been said to be the end"
    resumed = speaker.heard_ms(19 * BLOCK)
    assert resumed == pytest.approx(120)


def test_what_was_flushed_is_never_heard() -> None:
    speaker = Speaker(RATE)
    put(speaker, tone(100))
    take(speaker, 4)
    speaker.flush()
    take(speaker, 20)
    assert speaker.heard_ms(24 * BLOCK) == pytest.approx(40)
    assert speaker.heard_ms(1e9) is None


@pytest.mark.parametrize("ms", [0.5, 2.0, 3.5, 4.9])
@pytest.mark.parametrize("flush", [False, True])
def test_a_piece_that_ends_before_it_has_faded_in_does_not_click(ms: float, flush: bool) -> None:
    """As after an interrupt within the first milliseconds, or where audio comes in drops."""
    speaker = Speaker(RATE)
    put(speaker, np.full(round(RATE * (100 if flush else ms) / 1000), 16_000, np.int16))
    out = take(speaker, 1, size=round(RATE * ms / 1000))
    if flush:
        speaker.flush()
    steps = np.diff(np.concatenate((out, take(speaker, 3))).astype(int))
    assert np.abs(steps).max() < 16_000 * 2 / (RATE * FADE_MS / 1000)  # the steepest of a fade is 1.6 of its mean
