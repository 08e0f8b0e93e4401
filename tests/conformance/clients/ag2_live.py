"""AG2's live agent: a spoken turn with its transcript, audio back, and speech over a running answer."""

import asyncio
import json
import math
import struct
import sys

from ag2.events import ModelResponse, RecordedAudioEvent, SynthesizedAudioEvent, TranscriptionCompletedEvent
from ag2.live import LiveAgent
from ag2.live.openai import InputConfig, RealTimeConfig
from openai import AsyncOpenAI

RATE = 24_000


def hum(seconds):
    return b"".join(
        struct.pack("<h", round(8_000 * math.sin(2 * math.pi * 220 * i / RATE))) for i in range(round(seconds * RATE))
    )


def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"sunny in {city}"


async def main(url):
    seen = {"heard": 0, "answers": [], "audio_s": 0.0}
    answered, sounds = asyncio.Condition(), asyncio.Event()
    config = RealTimeConfig(
        "gpt-realtime",
        input=InputConfig(
            turn_detection={"type": "server_vad", "silence_duration_ms": 300},
            transcription={"model": "whisper-1"},
        ),
        client=AsyncOpenAI(api_key="any", websocket_base_url=url),
    )
    agent = LiveAgent("Otto", "You are Otto.", config=config, tools=[get_weather])

    async def note(event: ModelResponse) -> None:
        seen["answers"].append(event.message.content if event.message else None)
        async with answered:
            answered.notify_all()

    def play(event: SynthesizedAudioEvent) -> None:
        seen["audio_s"] += len(event.content) / 2 / RATE
        sounds.set()

    def transcribe(event: TranscriptionCompletedEvent) -> None:
        seen["heard"] += bool(event.content)

    async def until(count):
        async with answered:
            await answered.wait_for(lambda: len(seen["answers"]) >= count)

    async with agent.run() as context:
        context.stream.where(ModelResponse).subscribe(note)
        context.stream.where(SynthesizedAudioEvent).subscribe(play)
        context.stream.where(TranscriptionCompletedEvent).subscribe(transcribe)

        async def speak():
            speech = hum(1.2) + bytes(2 * RATE)
            for at in range(0, len(speech), 4800):
                await context.send(RecordedAudioEvent(speech[at : at + 4800]))

        await speak()
        await until(1)
        sounds.clear()
        await speak()
        await sounds.wait()
        await speak()
        await until(3)
    print(json.dumps(seen))


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 60))
