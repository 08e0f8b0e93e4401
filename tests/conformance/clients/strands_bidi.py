"""The bidirectional agent of Strands on its realtime model: a tool, sound, a spoken turn, speech over an answer."""

import asyncio
import base64
import json
import math
import struct
import sys

from strands import tool
from strands.bidi import BidiAgent
from strands.bidi.models.openai import realtime
from strands.bidi.types.media import AudioDelta

RATE = 24_000


def hum(seconds):
    return b"".join(
        struct.pack("<h", round(8_000 * math.sin(2 * math.pi * 220 * i / RATE))) for i in range(round(seconds * RATE))
    )


@tool
def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"sunny in {city}"


async def main(url):
    realtime.OPENAI_REALTIME_URL = f"{url}/realtime"
    seen = {"kinds": [], "audio_s": 0.0, "told": ""}
    sounds, changed = asyncio.Event(), asyncio.Condition()
    model = realtime.OpenAIRealtimeModel(transcription_model_id="whisper-1", api_key="any", model_id="gpt-realtime")
    agent = BidiAgent(model=model, tools=[get_weather], system_prompt="You are Otto.")

    async def listen():
        async for event in agent.receive():
            kind = event.get("type", "other")
            if kind != "bidi_audio_delta":
                seen["kinds"].append(kind)
            else:
                seen["audio_s"] += len(base64.b64decode(event["audio"])) / 2 / RATE
                sounds.set()
            if kind == "bidi_transcript_block":
                seen["told" if event["role"] == "assistant" else "heard"] = event["transcript"]
            async with changed:
                changed.notify_all()

    async def until(kind, count):
        async with changed:
            await changed.wait_for(lambda: seen["kinds"].count(kind) >= count)

    async def speak():
        speech = hum(1.2) + bytes(2 * RATE)
        for at in range(0, len(speech), 4800):
            await agent.send(AudioDelta(format="pcm", source={"bytes": speech[at : at + 4800]}))

    async with agent:
        listening = asyncio.create_task(listen())
        await agent.send("What is the weather in Paris?")
        await until("bidi_response_stop", 2)
        seen["weather"] = seen["told"]
        sounds.clear()
        await speak()
        await sounds.wait()
        await speak()
        await until("bidi_response_stop", 4)
        listening.cancel()
    seen["messages"] = [message["role"] for message in agent.messages]
    print(json.dumps(seen))


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 60))
