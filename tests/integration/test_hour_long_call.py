"""A call of an hour in virtual time: the same seed gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import random

import numpy as np
import trio

from trealtime import RealtimeAgent, RealtimeRunner, function_tool, open_emulator
from trealtime.emulator import EmulatedSession, LoggedEvent, ScriptedTranscriber
from trealtime.testing import run_deterministically

MINUTES = 60
LINES = ["Count to five.", "What is the weather in Paris?", "Tell me a story", "Who are you?"]


@function_tool
async def get_weather(city: str) -> str:
    """The weather in a city."""
    await trio.sleep(2)
    return f"sunny in {city}"


async def _hour() -> tuple[str, int, int]:
    """A digest of every event that passed, how many there were, and how often the agent was interrupted."""
    digest, count, interrupts = hashlib.sha256(), 0, 0
    speech = (np.random.default_rng(1).normal(size=36_000) * 6_000).astype(np.int16)
    silence = np.zeros(24_000, np.int16)

    def note(session: EmulatedSession, logged: LoggedEvent) -> None:
        nonlocal count
        count += 1
        line = json.dumps([session.id, logged.direction, logged.at - began_at, logged.event], sort_keys=True)
        digest.update(line.encode())

    began_at = trio.current_time()
    async with open_emulator(
        listen=False,
        seed=60,
        unix_time_s=1_800_000_000.0,
        max_session_s=2 * 60 * MINUTES,
        transcriber=ScriptedTranscriber(LINES * MINUTES),
        on_event=note,
    ) as emulator:
        settings = {"turn_detection": {"type": "server_vad"}, "input_audio_transcription": {"model": "whisper-1"}}
        runner = RealtimeRunner(
            RealtimeAgent(name="Assistant", instructions="You are Otto.", tools=[get_weather]),
            model=emulator.memory_model(),
            config={"model_settings": settings},
            rng=random.Random(60),
        )
        async with (
            runner.session() as session,
            session.subscribe("audio", "audio_interrupted") as subscription,
            trio.open_nursery() as nursery,
        ):

            async def listen() -> None:
                nonlocal interrupts
                async for event in subscription:
                    interrupts += event.type == "audio_interrupted"

            nursery.start_soon(listen)
            for minute in range(MINUTES):
                await session.send_audio(speech)
                await session.send_audio(silence)
                if minute % 3 == 2:  # the story is spoken over
                    await trio.sleep(10)
                    await session.send_audio(speech)
                    await session.send_audio(silence)
                await trio.sleep_until(began_at + 60 * (minute + 1))
            nursery.cancel_scope.cancel()
    return digest.hexdigest(), count, interrupts


def test_an_hour_in_virtual_time_gives_the_same_bytes_again() -> None:
    first = run_deterministically(_hour, seed=1)
    assert first == run_deterministically(_hour, seed=1)
    _, events, interrupts = first
    assert events > MINUTES * 20
    assert interrupts >= MINUTES // 6
