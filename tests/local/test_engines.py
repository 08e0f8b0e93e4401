"""Each local engine by itself: a voice that can be understood, ears that know speech from noise."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trealtime.audio.levels import rms_dbfs
from trealtime.audio.wav import read_wav
from trealtime.emulator import StagedTranscriber
from trealtime.emulator.local import load_speech
from trealtime.emulator.options import SpeechEngines
from trealtime.emulator.turn_detection import SpeechPaused, SpeechResumed, SpeechStarted, SpeechStopped, TurnEvent
from trealtime.emulator.voice import VOICE_RATE

SENTENCES = [
    "What is the weather like in Oslo today?",
    "How much is seven times eight?",
    "My name is Martha and I live in London.",
    "Please book a table for four people.",
]


def detect(engines: SpeechEngines, audio: np.ndarray, settings: dict[str, Any], *, chunk: int = 480) -> list[TurnEvent]:
    detector = engines.turn_detector(settings)
    assert detector is not None
    return [
        event
        for start in range(0, len(audio), chunk)
        for event in detector.feed(audio[start : start + chunk], VOICE_RATE)
    ]


# ---- the voice ------------------------------------------------------------------------------------------------------


async def test_the_voice_speaks_at_once_at_the_level_of_talk_and_always_alike(engines: SpeechEngines, kit: Any) -> None:
    first, again = [await kit.say(engines, SENTENCES[0]) for _ in range(2)]
    np.testing.assert_array_equal(first, again)
    assert 1.5 < len(first) / VOICE_RATE < 3.5
    assert -32 < rms_dbfs(first) < -14
    begins = int(np.argmax(np.abs(first) > 300))
    assert begins < 0.08 * VOICE_RATE


async def test_the_words_of_the_chunks_are_the_text(engines: SpeechEngines) -> None:
    text = ' "Well, yes," she said.  Dr. Smith paid $9.99 — at 7:30!\nThen he left... '
    chunks = [chunk async for chunk in engines.voice.speak(text, voice="ash", speed=1.0)]
    assert "".join(chunk.text for chunk in chunks) == text
    assert all(chunk.samples.dtype == np.int16 for chunk in chunks)


@given(text=st.text(alphabet="ab .,!?:;\"'\n…", max_size=80))
def test_phrases_joined_are_the_text(text: str) -> None:
    pytest.importorskip("hibari", reason="trealtime[local] is not installed")
    from trealtime.emulator.local.hibari_voice import phrases

    assert "".join(phrases(text)) == text


async def test_slow_speech_is_longer_and_an_impossible_speed_is_refused(engines: SpeechEngines) -> None:
    async def seconds(speed: float) -> float:
        chunks = [chunk async for chunk in engines.voice.speak(SENTENCES[0], voice="ash", speed=speed)]
        return sum(len(chunk.samples) for chunk in chunks) / VOICE_RATE

    assert await seconds(0.7) > 1.2 * await seconds(1.0) > 1.2 * await seconds(1.3)
    with pytest.raises(ValueError, match="speed must be positive"):
        await seconds(0)


# ---- what was said --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sentence", SENTENCES)
async def test_what_the_voice_says_is_recognised(engines: SpeechEngines, kit: Any, sentence: str) -> None:
    heard = await engines.transcriber.transcribe(await kit.say(engines, sentence), VOICE_RATE)
    assert kit.words_of(heard) == kit.words_of(sentence)


async def test_telephone_audio_is_recognised_too(engines: SpeechEngines, kit: Any) -> None:
    from trealtime.audio.resample import resample

    narrow = resample(await kit.say(engines, SENTENCES[2]), VOICE_RATE, 8_000)
    heard = await engines.transcriber.transcribe(narrow, 8_000)
    assert {"name", "martha", "london"} <= set(kit.words_of(heard))


async def test_the_second_choice_of_a_recogniser_gets_the_gist(engines: SpeechEngines, kit: Any) -> None:
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    from trealtime.emulator.local.pocketsphinx_ear import PocketSphinx

    heard = await PocketSphinx().transcribe(await kit.say(engines, SENTENCES[0]), VOICE_RATE)
    assert {"what", "weather", "today"} <= set(kit.words_of(heard))


@pytest.mark.parametrize("seconds", [0.05, 3])
async def test_nothing_comes_of_silence(engines: SpeechEngines, kit: Any, seconds: float) -> None:
    assert await engines.transcriber.transcribe(kit.silence(seconds), VOICE_RATE) == ""


async def test_silence_around_the_words_is_no_word(engines: SpeechEngines, kit: Any) -> None:
    audio = np.concatenate([kit.silence(3), await kit.say(engines, SENTENCES[0]), kit.silence(2)])
    assert kit.words_of(await engines.transcriber.transcribe(audio, VOICE_RATE)) == kit.words_of(SENTENCES[0])


async def test_a_long_turn_is_recognised_to_its_end(engines: SpeechEngines, kit: Any) -> None:
    parts = [await kit.say(engines, sentence) for sentence in SENTENCES * 4]
    audio = np.concatenate([piece for part in parts for piece in (part, kit.silence(0.2))])
    assert len(audio) / VOICE_RATE > 30
    with trio.fail_after(240):
        heard = kit.words_of(await engines.transcriber.transcribe(audio, VOICE_RATE))
    assert heard.count("martha") >= 3
    assert heard[-2:] == ["four", "people"]


@pytest.mark.parametrize("sentence", [SENTENCES[2], SENTENCES[3]])
async def test_a_stretch_that_grows_has_the_words_of_the_whole(engines: SpeechEngines, kit: Any, sentence: str) -> None:
    """Drafts are checked, so they change no word; cancelled ones are gone on with."""
    transcriber = engines.transcriber
    if not isinstance(transcriber, StagedTranscriber):
        pytest.skip(f"{type(transcriber).__name__} hears turns as a whole")
    audio = await kit.say(engines, sentence)
    stretch = transcriber.begin()
    for end in range(VOICE_RATE // 2, len(audio), VOICE_RATE // 2):
        with trio.move_on_after(0.15):
            await stretch.recognise(audio[:end], VOICE_RATE)
    assert await stretch.recognise(audio, VOICE_RATE) == await transcriber.transcribe(audio, VOICE_RATE)


async def test_a_person_is_understood_who_makes_long_pauses(engines: SpeechEngines, kit: Any) -> None:
    clip = find_spec("moonshine_cpp")
    path = None if clip is None or clip.origin is None else Path(clip.origin).parent / "test-data" / "beckett.wav"
    if path is None or not path.is_file():
        pytest.skip("moonshine-cpp, which has the recording, is not installed")
    samples, rate = read_wav(path)
    heard = kit.words_of(await engines.transcriber.transcribe(samples, rate))
    assert " ".join(heard) == "ever tried ever failed no matter try again fail again fail better"


async def test_a_cancelled_recognition_stops_soon(engines: SpeechEngines, kit: Any) -> None:
    audio = np.concatenate([await kit.say(engines, sentence) for sentence in SENTENCES * 2])
    with trio.fail_after(20), trio.move_on_after(0.05) as scope:
        await engines.transcriber.transcribe(audio, VOICE_RATE)
    assert scope.cancelled_caught


# ---- turns ----------------------------------------------------------------------------------------------------------


async def test_a_turn_begins_with_speech_and_ends_after_the_silence(engines: SpeechEngines, kit: Any) -> None:
    speech = await kit.say(engines, SENTENCES[0])
    audio = np.concatenate([kit.silence(1), speech, kit.silence(1.5)])
    started, paused, stopped = detect(engines, audio, {"type": "server_vad", "silence_duration_ms": 600})
    assert isinstance(started, SpeechStarted)
    assert 1_000 <= started.at_ms <= 1_250
    assert started.audio_start_ms <= 1_000
    assert isinstance(paused, SpeechPaused)
    ends_ms = 1_000 + len(speech) * 1000 / VOICE_RATE
    assert abs(paused.audio_end_ms - ends_ms) < 400
    assert isinstance(stopped, SpeechStopped)
    assert 450 <= stopped.audio_end_ms - paused.audio_end_ms <= 650


@pytest.mark.parametrize("rms", [100, 2_000])
async def test_noise_is_not_speech(engines: SpeechEngines, rms: int) -> None:
    noise = np.random.default_rng(5).normal(scale=rms, size=5 * VOICE_RATE).astype(np.int16)
    assert detect(engines, noise, {"type": "server_vad"}) == []


async def test_the_cutting_of_the_audio_changes_nothing(engines: SpeechEngines, kit: Any) -> None:
    audio = np.concatenate([kit.silence(0.4), await kit.say(engines, SENTENCES[1]), kit.silence(1)])
    settings = {"type": "server_vad"}
    whole = detect(engines, audio, settings, chunk=len(audio))
    assert whole == detect(engines, audio, settings, chunk=477)
    assert len(whole) == 3


async def test_a_breath_is_a_pause_and_no_end(engines: SpeechEngines, kit: Any) -> None:
    first, second = [await kit.say(engines, text) for text in ("I would like a table", "for four people, please.")]
    audio = np.concatenate([kit.silence(0.5), first, kit.silence(0.3), second, kit.silence(1.2)])
    kinds = [type(event) for event in detect(engines, audio, {"type": "server_vad", "silence_duration_ms": 800})]
    assert kinds == [SpeechStarted, SpeechPaused, SpeechResumed, SpeechPaused, SpeechStopped]


@pytest.mark.parametrize(
    "words, ends",
    [("What is the weather?", True), ("I would like to", False), ("Well, um...", False), ("Yes.", True)],
)
async def test_a_semantic_turn_waits_for_the_end_of_a_sentence(
    engines: SpeechEngines, kit: Any, words: str, ends: bool
) -> None:
    detector = engines.turn_detector({"type": "semantic_vad", "eagerness": "high"})
    assert detector is not None
    events = detector.feed(np.concatenate([await kit.say(engines, SENTENCES[0]), kit.silence(0.3)]), VOICE_RATE)
    assert isinstance(events[-1], SpeechPaused)
    detector.understand(words)
    assert any(isinstance(event, SpeechStopped) for event in detector.feed(kit.silence(0.4), VOICE_RATE)) == ends
    assert any(isinstance(event, SpeechStopped) for event in detector.feed(kit.silence(2), VOICE_RATE)) != ends


async def test_a_reset_forgets_the_turn_and_keeps_the_place(engines: SpeechEngines, kit: Any) -> None:
    detector = engines.turn_detector({"type": "server_vad"})
    assert detector is not None
    speech = await kit.say(engines, SENTENCES[0])
    detector.feed(speech, VOICE_RATE)
    assert detector.is_speaking
    detector.reset()
    assert not detector.is_speaking
    events = detector.feed(np.concatenate([kit.silence(1), speech]), VOICE_RATE)
    assert isinstance(events[0], SpeechStarted)
    assert events[0].audio_start_ms >= len(speech) * 1000 / VOICE_RATE


async def test_the_models_are_loaded_once(engines: SpeechEngines) -> None:
    assert await load_speech() is engines
