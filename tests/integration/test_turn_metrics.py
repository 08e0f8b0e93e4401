"""Figures of turns, end to end: they equal what is measured from the audio that was said and heard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trealtime import RealtimePlaybackTracker, RealtimeRunner, function_tool
from trealtime.emulator import ScriptedTranscriber
from trealtime.metrics import TurnMetrics
from trealtime.testing import MemoryEndpoint

STORY = "Tell me a story."
QUESTIONS = ["What is 2 plus 3?", STORY, "Who are you?"]


class Ears(MemoryEndpoint):
    """A user who notes when each piece is heard, and who can be asked to speak as a microphone does."""

    live = True

    def __init__(self) -> None:
        super().__init__()
        self.began: list[float] = []
        self.ended: list[float] = []

    def _hear(self, audio: bytes, began_at: float, position_ms: float) -> None:
        self.began.append(began_at)
        self.ended.append(began_at + len(audio) / 48_000)
        super()._hear(audio, began_at, position_ms)

    async def speak(self, kit: Any, ms: int, *, quiet_ms: int) -> tuple[float, float]:
        """Return the times at which the voice began and ended."""
        began = trio.current_time()
        for position_ms in range(0, ms + quiet_ms, 20):
            await trio.sleep(0.02)
            await self.say(kit.tone(20, loud=position_ms < ms))
        return began, began + ms / 1000


@asynccontextmanager
async def call(kit: Any, **options: Any) -> AsyncIterator[tuple[Any, Ears, Any]]:
    """A session, the user's ears, and the turns as they end."""
    async with (
        kit.talk(settings={"turn_detection": kit.SERVER_VAD}, **options) as talk,
        talk.runner.session() as session,
        session.subscribe("turn_ended") as ended,
    ):
        ears = Ears()
        async with session.attach(ears):
            yield session, ears, ended


async def turn_of(ended: Any, source: str) -> TurnMetrics:
    with trio.fail_after(120):
        while True:
            turn: TurnMetrics = (await ended.receive()).metrics
            if turn.source == source:
                return turn


async def test_figures_of_a_spoken_turn_are_those_of_the_sound(autojump_clock, kit) -> None:
    async with call(kit, transcriber=ScriptedTranscriber(QUESTIONS)) as (session, ears, ended):
        await trio.sleep(3)
        began, fell_silent = await ears.speak(kit, 1200, quiet_ms=1500)
        turn = await turn_of(ended, "speech")
        assert turn.speech_started_at == pytest.approx(began, abs=0.05)
        assert turn.speech_ended_at == pytest.approx(fell_silent, abs=0.05)
        assert turn.first_heard_at == pytest.approx(ears.began[0], abs=0.02)
        assert turn.heard_until_at == pytest.approx(ears.ended[-1], abs=0.02)
        assert turn.heard_s == pytest.approx(len(ears.heard()) / 48_000, abs=0.02)
        assert turn.response_latency_s == pytest.approx(ears.began[0] - fell_silent, abs=0.05)
        assert (turn.status, turn.interruption) == ("completed", None)
        assert turn.transcribed_at is not None
        assert turn.usage is not None
        assert session.turns == (turn,)
        statistics = session.statistics().turns
        assert (statistics.ended, statistics.open) == (1, 0)
        assert statistics.response_latency_s.p50 == pytest.approx(turn.response_latency_s, rel=0.011)


async def test_figures_of_an_interrupt_are_those_of_the_sound(autojump_clock, kit) -> None:
    async with call(kit, transcriber=ScriptedTranscriber(QUESTIONS)) as (session, ears, ended):
        await session.send_message(STORY)
        await trio.sleep(5)
        onset, _ = await ears.speak(kit, 1200, quiet_ms=1500)
        turn = await turn_of(ended, "text")
        assert turn.status == "interrupted"
        told = turn.interruption
        assert told is not None
        assert (told.cause, told.onset_at) == ("speech", pytest.approx(onset, abs=0.05))
        heard_before = [at for at in ears.ended if at <= told.told_at + 0.02]
        assert told.silent_at == pytest.approx(heard_before[-1], abs=0.02)
        assert turn.silence_latency_s == pytest.approx(heard_before[-1] - onset, abs=0.05)
        assert turn.heard_until_at == told.silent_at


async def test_without_an_endpoint_taking_is_hearing(autojump_clock, kit) -> None:
    async with kit.talk() as talk, talk.runner.session() as session, trio.open_nursery() as nursery:
        seen = kit.listener()
        nursery.start_soon(seen.listen, session)
        asked_at = trio.current_time()
        await session.send_message("What is 2 plus 3?")
        turn = (await seen.expect("turn_ended")).metrics
        audio_s = sum(len(event.audio.data) for event in seen.of("audio")) / 48_000
        first = seen.time_of("audio")
        assert trio.current_time() == pytest.approx(first + audio_s)
        assert (turn.requested_at, turn.first_heard_at) == (asked_at, pytest.approx(first))
        assert turn.heard_until_at == pytest.approx(first + audio_s)
        assert turn.response_latency_s == pytest.approx(first - asked_at)
        assert session.statistics().turns.request_latency_s.count == 1
        nursery.cancel_scope.cancel()


async def test_a_tracker_ends_the_turn_though_it_tells_nothing_by_itself(autojump_clock, kit) -> None:
    tracker = RealtimePlaybackTracker()
    async with kit.talk() as talk:
        runner = RealtimeRunner(talk.runner._agent, model=talk.emulator.memory_model())
        async with runner.session(model_config={"playback_tracker": tracker}) as session:
            async with session.subscribe("audio", "agent_end", playback=False) as feed:
                await session.send_message("What is 2 plus 3?")
                chunks = []
                async for event in feed:
                    if event.type == "agent_end":
                        break
                    chunks.append(event)
            async with session.subscribe("turn_ended") as ended:
                began = trio.current_time()
                for event in chunks:
                    await trio.sleep(len(event.audio.data) / 48_000)
                    tracker.on_play_bytes(event.item_id, event.content_index, event.audio.data)
                played = trio.current_time()
                turn = (await ended.receive()).metrics
            assert turn.first_heard_at == pytest.approx(began, abs=0.25)
            assert played - 1e-6 <= turn.heard_until_at <= played + 0.5


@function_tool
async def look_up(what: str) -> str:
    """Look something up.

    Args:
        what: What to look up.
    """
    await trio.sleep(2)
    return "found"


@function_tool
async def broken(what: str) -> str:
    """Break.

    Args:
        what: Anything.
    """
    raise KeyError(what)


@pytest.mark.parametrize("name, status, duration_s", [("look_up", "completed", 2.0), ("broken", "failed", 0.0)])
async def test_spans_of_tools(autojump_clock, kit, name, status, duration_s) -> None:
    async with kit.talk(tools=[look_up, broken]) as talk, talk.runner.session() as session:
        with session.subscribe("turn_ended") as ended:
            await session.ask(f'Call {name} with {{"what": "it"}}.', tool_choice={"type": "function", "name": name})
            turn = (await ended.receive()).metrics
        (tool,) = turn.tools
        assert (tool.name, tool.status, tool.agent) == (name, status, "Assistant")
        assert tool.duration_s == pytest.approx(duration_s)
        assert len(turn.response_ids) == 2


async def test_the_last_turn_of_a_session_is_there_when_it_has_ended(autojump_clock, kit) -> None:
    async with kit.talk() as talk:
        async with talk.runner.session() as session:
            ended = session.subscribe("turn_ended")
            await session.send_message(STORY)
            await trio.sleep(1)
        (turn,) = session.turns
        assert (turn.status, turn.source) == ("cancelled", "text")
        assert [event.metrics async for event in ended] == [turn]
        assert session.statistics().turns.ended == 1
