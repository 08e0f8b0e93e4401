"""Transcribers without words, and transcription that begins at a pause, before the turn is over."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import attrs
import numpy as np
import pytest
import trio
from numpy.typing import NDArray
from trio.testing import MockClock

from trealtime.emulator import PlaceholderTranscriber, ScriptedTranscriber, open_emulator
from trealtime.emulator.turn_detection import SpeechPaused, SpeechResumed, SpeechStarted, SpeechStopped, TurnEvent

STARTED, STOPPED = SpeechStarted(0, 100), SpeechStopped(1_000)
PAUSED = SpeechPaused(500)


@attrs.define
class ScriptedDetector:
    """Tells, at each append, what comes next in its script."""

    script: list[list[TurnEvent]]
    understood: list[str] = attrs.Factory(list)
    is_speaking: bool = False

    def feed(self, samples: NDArray[np.int16], rate: int) -> list[TurnEvent]:
        return self.script.pop(0) if self.script else []

    def understand(self, words: str) -> None:
        self.understood.append(words)

    def reset(self) -> None:
        pass


@attrs.define
class SlowTranscriber:
    """Takes its time, and says how much audio it was given; fails the first `failures` times."""

    seconds: float = 0.5
    failures: int = 0
    begun: list[float] = attrs.Factory(list)

    async def transcribe(
        self, samples: NDArray[np.int16], rate: int, *, language: str | None = None, prompt: str | None = None
    ) -> str:
        self.begun.append(len(samples) / rate)
        await trio.sleep(self.seconds)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("not today")
        return f"{len(samples) / rate:g} s of words"


@attrs.define
class Scene:
    client: Any
    detector: ScriptedDetector
    transcriber: Any

    async def append(self, kit: Any, *, seconds: float = 0.5) -> None:
        await self.client.send("input_audio_buffer.append", {"audio": kit.b64(bytes(round(seconds * 24_000) * 2))})

    async def words(self) -> str:
        event = await self.client.get("conversation.item.input_audio_transcription.completed")
        words: str = event["transcript"]
        return words


async def _scene(kit: Any, script: list[list[TurnEvent]], transcriber: SlowTranscriber, then: Any) -> None:
    detector = ScriptedDetector(script)
    async with (
        open_emulator(
            listen=False, transcriber=transcriber, turn_detector=lambda settings, *, start_ms=0: detector, seed=1
        ) as emulator,
        emulator.connect() as wire,
    ):
        client = kit.client_of(wire)
        await client.next()
        await client.update(
            {"audio": {"input": {"transcription": {"model": "whisper-1"}, "turn_detection": {"type": "server_vad"}}}}
        )
        await then(Scene(client, detector, transcriber))


async def test_the_words_are_there_when_the_turn_ends_after_the_pause(kit: Any, autojump_clock: MockClock) -> None:
    async def then(scene: Scene) -> None:
        await scene.append(kit)
        await scene.append(kit)
        await trio.sleep(0.5)
        await scene.append(kit)
        stopped_at = trio.current_time()
        assert await scene.words() == "0.5 s of words"
        assert trio.current_time() - stopped_at < 0.01
        assert scene.transcriber.begun == [0.5]
        assert scene.detector.understood == ["0.5 s of words"]

    await _scene(kit, [[STARTED], [PAUSED], [STOPPED]], SlowTranscriber(0.4), then)


async def test_recognition_under_way_when_the_turn_ends_is_waited_for(kit: Any, autojump_clock: MockClock) -> None:
    async def then(scene: Scene) -> None:
        await scene.append(kit)
        began_at = trio.current_time()
        await scene.append(kit)
        await trio.sleep(0.3)
        await scene.append(kit)
        assert await scene.words() == "0.5 s of words"
        assert trio.current_time() - began_at == pytest.approx(0.5, abs=0.05)
        assert len(scene.transcriber.begun) == 1

    await _scene(kit, [[STARTED], [PAUSED], [STOPPED]], SlowTranscriber(0.5), then)


async def test_a_pause_that_was_none_is_forgotten(kit: Any, autojump_clock: MockClock) -> None:
    async def then(scene: Scene) -> None:
        for _ in range(4):
            await scene.append(kit)
            await trio.sleep(0.1)
        assert await scene.words() == "1 s of words"
        assert scene.transcriber.begun == [0.5, 1.0]
        assert scene.detector.understood == []

    await _scene(kit, [[STARTED], [PAUSED], [SpeechResumed()], [STOPPED]], SlowTranscriber(0.5), then)


async def test_where_listening_early_failed_the_turn_is_listened_to_again(
    kit: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def then(scene: Scene) -> None:
        for _ in range(3):
            await scene.append(kit)
            await trio.sleep(0.2)
        assert await scene.words() == "1 s of words"
        assert scene.transcriber.begun == [0.5, 1.0]

    await _scene(kit, [[STARTED], [PAUSED], [STOPPED]], SlowTranscriber(0.1, failures=1), then)
    assert "recognising a turn early failed" in caplog.text


@pytest.mark.parametrize("ending", ["input_audio_buffer.clear", "input_audio_buffer.commit"])
async def test_a_turn_that_the_client_ends_forgets_what_was_heard(
    kit: Any, autojump_clock: MockClock, ending: str
) -> None:
    async def then(scene: Scene) -> None:
        await scene.append(kit)
        await scene.append(kit)
        await trio.sleep(0.1)
        await scene.client.send(ending)
        if ending.endswith("commit"):
            assert await scene.words() == "1 s of words"
        await trio.sleep(2)
        assert scene.detector.understood == []

    await _scene(kit, [[STARTED], [PAUSED]], SlowTranscriber(0.5), then)


# ---- in stages -------------------------------------------------------------------------------------------------------


@attrs.define
class Stages:
    """One stretch: it says how much of it was heard, and takes its time."""

    owner: StagedEar
    number: int

    async def recognise(self, samples: NDArray[np.int16], rate: int) -> str:
        self.owner.asked.append((self.number, len(samples) / rate))
        await trio.sleep(self.owner.seconds)
        return f"{self.number}: {len(samples) / rate:g} s."


@attrs.define
class StagedEar(SlowTranscriber):
    """A transcriber that hears stretches."""

    asked: list[tuple[int, float]] = attrs.Factory(list)
    stretches: int = 0

    def begin(self, *, language: str | None = None, prompt: str | None = None) -> Stages:
        self.stretches += 1
        return Stages(self, self.stretches)


async def test_what_came_before_a_pause_is_kept_and_only_the_rest_is_left(kit: Any, autojump_clock: MockClock) -> None:
    async def then(scene: Scene) -> None:
        await scene.append(kit, seconds=1.5)
        await scene.append(kit, seconds=0.5)
        await trio.sleep(1)
        for _ in range(3):
            await scene.append(kit, seconds=0.4)
        assert await scene.words() == "1: 1.4 s. 2: 0.9 s."
        assert scene.transcriber.asked == [(1, 1.5), (1, 1.4), (2, 1.0), (2, 0.9)]
        assert scene.detector.understood == ["1: 1.4 s."]

    ended: list[TurnEvent] = [SpeechPaused(2_300), SpeechStopped(2_900)]
    script: list[list[TurnEvent]] = [[STARTED], [SpeechPaused(1_400)], [SpeechResumed(300)], [], ended]
    await _scene(kit, script, StagedEar(0.1), then)


@pytest.mark.parametrize("silence_ms, paused_ms", [(200, 1_400), (300, 900)], ids=["a breath", "a short stretch"])
async def test_a_breath_or_a_mere_word_closes_no_stretch(
    kit: Any, autojump_clock: MockClock, silence_ms: int, paused_ms: int
) -> None:
    async def then(scene: Scene) -> None:
        await scene.append(kit, seconds=1.6)
        await scene.append(kit)
        await scene.append(kit)
        await trio.sleep(1)
        await scene.append(kit)
        assert await scene.words() == "1: 2.6 s."
        assert scene.transcriber.stretches == 1

    paused: list[list[TurnEvent]] = [[SpeechPaused(paused_ms)], [SpeechResumed(silence_ms), SpeechPaused(2_600)]]
    await _scene(kit, [[STARTED], *paused, [STOPPED]], StagedEar(0.1), then)


async def test_a_turn_without_a_pause_is_heard_from_its_last_stretch_on(kit: Any, autojump_clock: MockClock) -> None:
    async def then(scene: Scene) -> None:
        await scene.append(kit, seconds=1.5)
        await scene.append(kit)
        await scene.append(kit)
        await trio.sleep(1)
        await scene.client.send("input_audio_buffer.commit")
        assert await scene.words() == "1: 1.4 s. 2: 1.1 s."
        assert scene.transcriber.begun == []

    await _scene(kit, [[STARTED], [SpeechPaused(1_400)], [SpeechResumed(300)]], StagedEar(0.1), then)


async def test_a_turn_that_is_cleared_is_forgotten(kit: Any, autojump_clock: MockClock) -> None:
    async def then(scene: Scene) -> None:
        await scene.append(kit, seconds=1.5)
        await scene.client.send("input_audio_buffer.clear")
        await trio.sleep(1)
        await scene.append(kit, seconds=0.7)
        await scene.append(kit)
        assert await scene.words() == "2: 0.5 s."

    started_again = SpeechStarted(1_500, 1_600)
    ended: list[TurnEvent] = [SpeechPaused(2_000), SpeechStopped(2_700)]
    await _scene(kit, [[STARTED], [started_again], ended], StagedEar(0.1), then)


# ---- transcribers ----------------------------------------------------------------------------------------------------

RATE = 24_000


def buzz(seconds: float) -> np.ndarray:
    return np.rint(3_000 * np.sin(2 * np.pi * 140 * np.arange(round(seconds * RATE)) / RATE)).astype(np.int16)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.int16)


@pytest.mark.parametrize(
    "samples, expected",
    [(buzz(1.8), "(speech, 1.8 s)"), (silence(5), "(silence, 5.0 s)"), (silence(0), "(silence, 0.0 s)")],
)
async def test_the_placeholder_does_not_pretend_to_know_words(samples: np.ndarray, expected: str) -> None:
    assert await PlaceholderTranscriber().transcribe(samples, RATE) == expected


async def test_a_script_is_heard_line_by_line_and_then_by_the_next() -> None:
    script = ScriptedTranscriber(["one", "two"])
    heard = [await script.transcribe(buzz(1), RATE, language="en", prompt="numbers") for _ in range(3)]
    assert heard == ["one", "two", "(speech, 1.0 s)"]
    chained = ScriptedTranscriber(["one"], then=ScriptedTranscriber(["uno"]))
    assert [await chained.transcribe(buzz(1), RATE) for _ in range(2)] == ["one", "uno"]


def test_the_former_module_warns_and_has_the_same_classes() -> None:
    sys.modules.pop("trealtime.emulator.ears", None)
    with pytest.warns(DeprecationWarning, match="trealtime.emulator.turn_detection"):
        ears = importlib.import_module("trealtime.emulator.ears")
    assert ears.ScriptedTranscriber is ScriptedTranscriber
    assert ears.SpeechPaused is SpeechPaused
