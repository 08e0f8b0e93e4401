from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trealtime.audio.g711 import decode_ulaw, encode_ulaw
from trealtime.audio.resample import resample
from trealtime.emulator.turn_detection import (
    SemanticVad,
    ServerVad,
    SpeechStarted,
    SpeechStopped,
    make_turn_detector,
)

RATE = 24_000


def tone(seconds: float, dbfs: float = -26, *, rate: int = RATE) -> np.ndarray:
    """A buzz with the given RMS, as loud at its end as at its beginning."""
    t = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * 140 * k * t + k * k) / k for k in range(1, 12))
    return np.rint(wave / np.sqrt(np.mean(wave**2)) * 32768 * 10 ** (dbfs / 20)).astype(np.int16)


def fading(seconds: float) -> np.ndarray:
    return np.rint(tone(seconds) * np.linspace(1, 0.2, round(seconds * RATE))).astype(np.int16)


def noise(seconds: float, dbfs: float, *, rate: int = RATE, seed: int = 0) -> np.ndarray:
    scale = 32768 * 10 ** (dbfs / 20)
    return np.rint(np.random.default_rng(seed).normal(0, scale, round(seconds * rate))).astype(np.int16)


def silence(seconds: float, *, rate: int = RATE) -> np.ndarray:
    return np.zeros(round(seconds * rate), dtype=np.int16)


def audio(*pieces: np.ndarray) -> np.ndarray:
    return np.concatenate(pieces)


# ---- server_vad -----------------------------------------------------------------------------------------------------


def test_a_turn_begins_with_its_padding_and_ends_with_its_silence() -> None:
    detector = ServerVad()
    assert detector.feed(audio(silence(1), tone(1), silence(1)), RATE) == [
        SpeechStarted(audio_start_ms=700, at_ms=1060),
        SpeechStopped(audio_end_ms=2500),
    ]
    assert not detector.is_speaking


def test_speaking_lasts_from_one_event_to_the_other() -> None:
    detector = ServerVad()
    assert not detector.is_speaking
    detector.feed(audio(silence(0.5), tone(0.5)), RATE)
    assert detector.is_speaking
    detector.feed(silence(0.4), RATE)
    assert detector.is_speaking
    detector.feed(silence(0.2), RATE)
    assert not detector.is_speaking


@pytest.mark.parametrize("padding_ms, start_ms", [(0, 1000), (300, 700), (900, 100), (5000, 0)])
def test_prefix_padding_never_reaches_before_the_session(padding_ms: int, start_ms: int) -> None:
    events = ServerVad(prefix_padding_ms=padding_ms).feed(audio(silence(1), tone(0.5)), RATE)
    assert events == [SpeechStarted(audio_start_ms=start_ms, at_ms=1060)]


def test_prefix_padding_never_reaches_into_the_turn_before() -> None:
    speech = audio(tone(0.6), silence(0.3))
    events = ServerVad(silence_duration_ms=200).feed(audio(silence(1), speech, speech), RATE)
    assert events[1:3] == [SpeechStopped(1800), SpeechStarted(audio_start_ms=1800, at_ms=1960)]


@pytest.mark.parametrize("silence_ms, expected_ms", [(0, 2020), (200, 2200), (500, 2500), (510, 2520), (2000, 4000)])
def test_the_silence_that_ends_a_turn_is_the_one_asked_for(silence_ms: int, expected_ms: int) -> None:
    events = ServerVad(silence_duration_ms=silence_ms).feed(audio(silence(1), tone(1), silence(3)), RATE)
    assert events[-1] == SpeechStopped(expected_ms)


def test_a_pause_shorter_than_the_silence_stays_within_the_turn() -> None:
    speech = audio(silence(1), tone(0.5), silence(0.4), tone(0.5), silence(1))
    assert ServerVad(silence_duration_ms=500).feed(speech, RATE) == [SpeechStarted(700, 1060), SpeechStopped(2900)]
    assert len(ServerVad(silence_duration_ms=300).feed(speech, RATE)) == 4


@pytest.mark.parametrize(
    "threshold, dbfs, heard",
    [
        (0.0, -55, True),
        (0.0, -65, False),
        (0.5, -26, True),
        (0.5, -44, True),
        (0.5, -50, False),
        (0.5, -60, False),
        (1.0, -30, True),
        (1.0, -38, False),
    ],
)
def test_the_threshold_sets_how_loud_speech_must_be(threshold: float, dbfs: float, heard: bool) -> None:
    events = ServerVad(threshold=threshold).feed(audio(silence(2.5), tone(1, dbfs), silence(1)), RATE)
    assert bool(events) is heard


def test_steady_quiet_noise_is_not_speech() -> None:
    assert ServerVad().feed(noise(20, -60), RATE) == []


@pytest.mark.parametrize("noise_dbfs", [-50, -45, -40])
def test_speech_is_found_in_noise_once_the_floor_is_known(noise_dbfs: float) -> None:
    detector = ServerVad()
    detector.feed(noise(5, noise_dbfs), RATE)
    speech = audio(silence(1), tone(1, -20), silence(2)) + noise(4, noise_dbfs, seed=1)
    assert detector.feed(speech, RATE) == [SpeechStarted(5700, 6060), SpeechStopped(7500)]


def test_noise_that_is_switched_on_is_one_false_turn_of_less_than_five_seconds() -> None:
    events = ServerVad().feed(audio(silence(3), noise(30, -35)), RATE)
    assert len(events) == 2
    assert isinstance(events[1], SpeechStopped)
    assert events[1].audio_end_ms < 8000


def test_a_vowel_of_three_seconds_is_one_turn() -> None:
    events = ServerVad().feed(audio(silence(1), tone(3), silence(1)), RATE)
    assert events == [SpeechStarted(700, 1060), SpeechStopped(4500)]


def test_clicks_are_not_speech() -> None:
    clicks = silence(3)
    clicks[RATE // 2 :: RATE // 4] = 32767
    assert ServerVad().feed(clicks, RATE) == []


def test_a_constant_offset_is_not_sound() -> None:
    assert ServerVad().feed(np.full(2 * RATE, 8000, dtype=np.int16), RATE) == []


def test_telephone_audio_gives_the_same_turns() -> None:
    speech = audio(silence(1), tone(1), silence(1))
    telephone = decode_ulaw(encode_ulaw(resample(speech, RATE, 8_000)))
    assert ServerVad().feed(telephone, 8_000) == ServerVad().feed(speech, RATE)


def test_positions_go_on_when_the_rate_changes_in_the_middle_of_a_frame() -> None:
    detector = ServerVad()
    detector.feed(silence(0.51), RATE)
    events = detector.feed(audio(silence(0.49, rate=8_000), tone(1, rate=8_000)), 8_000)
    assert events == [SpeechStarted(audio_start_ms=690, at_ms=1050)]


def test_positions_count_from_where_the_session_was() -> None:
    detector = ServerVad(start_ms=10_000)
    assert detector.feed(tone(0.5), RATE) == [SpeechStarted(audio_start_ms=10_000, at_ms=10_060)]


def test_reset_forgets_the_turn_but_not_the_position() -> None:
    detector = ServerVad()
    detector.feed(audio(silence(1), tone(1.01)), RATE)
    detector.reset()
    assert not detector.is_speaking
    assert detector.feed(silence(2), RATE) == []
    detector.feed(tone(0.05), RATE)
    detector.reset()
    events = detector.feed(tone(1), RATE)
    assert events == [SpeechStarted(audio_start_ms=4060, at_ms=4120)]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_chunk_sizes_change_nothing(data: st.DataObject) -> None:
    pieces = data.draw(
        st.lists(st.tuples(st.sampled_from([-90, -48, -44, -30, -12]), st.floats(0.01, 1.5)), min_size=1, max_size=6)
    )
    samples = audio(*(noise(seconds, dbfs, rate=8_000, seed=n) for n, (dbfs, seconds) in enumerate(pieces)))
    cuts = data.draw(st.lists(st.integers(0, len(samples)), max_size=20))
    make = data.draw(st.sampled_from([ServerVad, SemanticVad, lambda: ServerVad(silence_duration_ms=200)]))
    chunked = make()
    events = [e for a, b in pairwise([0, *sorted(cuts), len(samples)]) for e in chunked.feed(samples[a:b], 8_000)]
    assert events == make().feed(samples, 8_000)
    ends = [0]
    for n, event in enumerate(events):
        assert isinstance(event, SpeechStarted if n % 2 == 0 else SpeechStopped)
        if isinstance(event, SpeechStarted):
            assert ends[-1] <= event.audio_start_ms < event.at_ms
        else:
            ends.append(event.audio_end_ms)
    assert ends == sorted(ends)
    assert ends[-1] <= len(samples) / 8


# ---- semantic_vad ---------------------------------------------------------------------------------------------------


def silence_taken_ms(detector: SemanticVad, utterance: np.ndarray) -> int:
    events = detector.feed(audio(silence(1), utterance, silence(10)), RATE)
    assert len(events) == 2
    assert isinstance(events[1], SpeechStopped)
    return events[1].audio_end_ms - 1000 - len(utterance) * 1000 // RATE


@pytest.mark.parametrize("eagerness, wait_ms", [("high", 400), ("medium", 800), ("auto", 800), ("low", 1600)])
def test_a_long_utterance_ends_after_a_short_silence(eagerness, wait_ms: int) -> None:
    assert silence_taken_ms(SemanticVad(eagerness=eagerness), tone(2)) == wait_ms


@pytest.mark.parametrize("eagerness, longest_ms", [("high", 2000), ("medium", 4000), ("auto", 4000), ("low", 8000)])
def test_a_short_abrupt_sound_is_waited_for_but_no_longer_than_the_maximum(eagerness, longest_ms: int) -> None:
    taken_ms = silence_taken_ms(SemanticVad(eagerness=eagerness), tone(0.1))
    assert 0.8 * longest_ms < taken_ms <= longest_ms


def test_the_longer_an_abrupt_utterance_was_the_shorter_the_wait() -> None:
    waits = [silence_taken_ms(SemanticVad(), tone(seconds)) for seconds in (0.2, 0.5, 0.8, 1.1, 1.4)]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] > 3000
    assert waits[-1] == 800


def test_a_short_utterance_that_fades_counts_as_finished() -> None:
    assert silence_taken_ms(SemanticVad(), fading(0.5)) <= 900


# ---- settings -------------------------------------------------------------------------------------------------------


def test_wire_settings_make_the_detector_they_name() -> None:
    assert make_turn_detector(None) is None
    speech = audio(silence(1), tone(2), silence(3))
    server = make_turn_detector(
        {"type": "server_vad", "prefix_padding_ms": 100, "silence_duration_ms": 200, "threshold": None, "x": 1}
    )
    assert server is not None
    assert server.feed(speech, RATE) == [SpeechStarted(900, 1060), SpeechStopped(3200)]
    semantic = make_turn_detector({"type": "semantic_vad", "eagerness": "high"}, start_ms=500)
    assert semantic is not None
    assert semantic.feed(speech, RATE) == [SpeechStarted(1200, 1560), SpeechStopped(3900)]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"type": "server_vad", "threshold": 1.5}, "threshold must be from 0 to 1, got 1.5"),
        ({"type": "server_vad", "prefix_padding_ms": -1}, "prefix_padding_ms"),
        ({"type": "server_vad", "silence_duration_ms": -1}, "silence_duration_ms"),
        ({"type": "semantic_vad", "eagerness": "eager"}, "low, medium, auto, high, got 'eager'"),
        ({"type": "psychic_vad"}, "server_vad or semantic_vad, got 'psychic_vad'"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_turn_detector(wrong)


@pytest.mark.parametrize("rate", [0, -8000, 11_025])
def test_a_rate_without_whole_frames_is_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="multiple of 50"):
        ServerVad().feed(silence(1), rate)
