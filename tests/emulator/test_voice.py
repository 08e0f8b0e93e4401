import re
from contextlib import aclosing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trealtime.audio.levels import peak_dbfs, rms_dbfs
from trealtime.emulator.voice import VOICE_RATE, SpokenChunk, ToneVoice, tones

TEXT = (
    "The keeper had no more oil, but she had a mirror, a candle, and very steady hands. "
    "She held the candle to the mirror, and the little light went out over the water, once every ten seconds. "
    "Can you hear it? I think so!"
)


def speak(text: str, *, voice: str = "ash", speed: float = 1.0) -> list[SpokenChunk]:
    return list(tones(text, voice=voice, speed=speed))


def joined(chunks: list[SpokenChunk]) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in chunks])


def seconds(text: str, *, speed: float = 1.0) -> float:
    return len(joined(speak(text, speed=speed))) / VOICE_RATE


def pitch_hz(samples: np.ndarray) -> float:
    """The fundamental of the first 200 ms, by autocorrelation."""
    start = samples[: VOICE_RATE // 5].astype(float)
    correlation = np.correlate(start, start, "full")[len(start) - 1 :]
    shortest, longest = VOICE_RATE // 300, VOICE_RATE // 80
    return VOICE_RATE / (shortest + int(np.argmax(correlation[shortest:longest])))


def test_talk_has_the_pace_and_the_level_of_talk() -> None:
    samples = joined(speak(TEXT))
    assert samples.dtype == np.int16
    assert 2.3 < len(TEXT.split()) / (len(samples) / VOICE_RATE) < 2.9
    assert -22 < rms_dbfs(samples) < -18
    assert peak_dbfs(samples) < -5


def test_a_chunk_is_a_word_with_its_space_and_its_pause() -> None:
    chunks = speak(" Hello there,  friend. ")
    assert [chunk.text for chunk in chunks] == [" Hello ", "there,  ", "friend. "]
    for chunk in chunks:
        assert rms_dbfs(chunk.samples[: VOICE_RATE // 10]) > -30
        assert not chunk.samples[-VOICE_RATE // 20 :].any()


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=60))
def test_the_texts_of_the_chunks_are_the_text(text: str) -> None:
    chunks = speak(text)
    assert "".join(chunk.text for chunk in chunks) == text
    assert all(chunk.text and len(chunk.samples) for chunk in chunks)


@pytest.mark.parametrize("text", ["", "   ", "...", "hm", "1234", "🙂", "今日は良い天気です。"])
def test_odd_texts_have_audio_only_where_there_is_something_to_say(text: str) -> None:
    chunks = speak(text)
    assert bool(chunks) is bool(text)
    assert any(chunk.samples.any() for chunk in chunks) is bool(text.strip())


def test_languages_without_spaces_take_their_time() -> None:
    assert len(speak("今日は良い天気です。")) == 9
    assert seconds("今日は良い天気です。") > 2.5


def test_longer_words_and_full_stops_take_longer() -> None:
    assert seconds("elephant") > seconds("cat") + 0.4
    assert seconds("cat.") == pytest.approx(seconds("cat,") + 0.15, abs=0.001)
    assert seconds("cat,") > seconds("cat") + 0.1
    assert seconds("1234") > 3 * seconds("1") - 0.3


@pytest.mark.parametrize("speed", [0.25, 0.5, 1.5])
def test_speed_divides_the_time(speed: float) -> None:
    assert seconds(TEXT, speed=speed) == pytest.approx(seconds(TEXT) / speed, rel=0.001)


def test_speed_leaves_the_pitch_alone() -> None:
    slow, fast = (pitch_hz(joined(speak("aaaa", speed=speed))) for speed in (0.5, 1.5))
    assert slow == pytest.approx(fast, rel=0.05)


@pytest.mark.parametrize("speed", [0, -1, float("nan")])
async def test_an_impossible_speed_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="speed must be positive"):
        async for _ in ToneVoice().speak("hello", voice="ash", speed=speed):
            pass


def test_voices_differ_in_pitch_and_each_is_always_the_same() -> None:
    names = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
    pitches = [pitch_hz(joined(speak("mama", voice=name))) for name in names]
    assert len({round(pitch / 3) for pitch in pitches}) >= 8
    assert all(90 < pitch < 250 for pitch in pitches)
    np.testing.assert_array_equal(joined(speak(TEXT, voice="coral")), joined(speak(TEXT, voice="coral")))


def test_there_are_no_clicks() -> None:
    for chunk in speak(TEXT):
        assert abs(int(chunk.samples[0])) < 50
        assert chunk.samples[-1] == 0
    samples = joined(speak(TEXT)).astype(float)
    # Nothing over 4 kHz is put in, so what is there would be the splatter of clicks.
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    border = int(len(samples) * 5000 / VOICE_RATE)
    assert 10 * np.log10(spectrum[border:].sum() / spectrum.sum()) < -40


def test_vowels_sound_different() -> None:
    def centre_hz(text: str) -> float:
        spectrum = np.abs(np.fft.rfft(joined(speak(text)).astype(float))) ** 2
        return float((spectrum * np.arange(len(spectrum))).sum() / spectrum.sum() * VOICE_RATE / 2 / len(spectrum))

    assert centre_hz("so so so") < centre_hz("sa sa sa")
    assert abs(centre_hz("si si si") - centre_hz("su su su")) > 50


def test_a_question_rises_and_a_statement_falls() -> None:
    def last_pitch_hz(text: str) -> float:
        last = speak(text)[-1].samples
        return pitch_hz(last)

    assert last_pitch_hz("is it so?") > 1.15 * last_pitch_hz("is it so.")


async def test_speech_is_made_as_it_is_asked_for() -> None:
    async with aclosing(ToneVoice().speak("word " * 1_000_000, voice="ash", speed=1.0)) as endless:
        assert [(await anext(endless)).text for _ in range(3)] == ["word ", "word ", "word "]


def test_every_word_of_a_transcript_can_be_found_in_the_audio() -> None:
    chunks = speak("one two three")
    assert [re.sub(r"\W", "", chunk.text) for chunk in chunks] == ["one", "two", "three"]
    starts = np.cumsum([0, *(len(chunk.samples) for chunk in chunks)])[:-1]
    audio = joined(chunks)
    for start in starts:
        assert not audio[max(start - 500, 0) : start].any()
        assert audio[start + 500 : start + 1000].any()


def test_a_word_without_end_is_said_in_pieces() -> None:
    chunks = list(tones("1" * 2_000, voice="marin", speed=1.0))
    assert "".join(chunk.text for chunk in chunks) == "1" * 2_000
    assert max(len(chunk.samples) for chunk in chunks) < 7 * VOICE_RATE
