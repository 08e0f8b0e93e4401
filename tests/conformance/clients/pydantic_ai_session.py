"""pydantic-ai's realtime session: text, a tool, an interruption, speech, speech over a running answer."""

import asyncio
import json
import math
import struct
import sys

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.realtime.openai import OpenAIRealtimeModel

RATE = 24_000


def hum(seconds):
    return b"".join(
        struct.pack("<h", round(8_000 * math.sin(2 * math.pi * 220 * i / RATE))) for i in range(round(seconds * RATE))
    )


async def main(url):
    seen = {"outputs": [], "kinds": []}
    called = asyncio.Event()
    provider = OpenAIProvider(openai_client=AsyncOpenAI(api_key="any", base_url=url))
    agent = Agent(instructions="You are Otto.")

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Get the weather in a city."""
        seen["outputs"].append(city)
        called.set()
        return f"sunny in {city}"

    model = OpenAIRealtimeModel("gpt-realtime", provider=provider)
    async with agent.realtime(model).session() as session:
        turns = asyncio.Queue()
        speech = asyncio.Queue()

        async def listen():
            async for event in session:
                kind = type(event).__name__
                seen["kinds"].append(kind)
                if kind == "RealtimeTurnCompleteEvent":
                    turns.put_nowait(event)
                if kind == "RealtimeOutputSpeechStartEvent" or kind == "PartStartEvent":
                    speech.put_nowait(event)

        listening = asyncio.create_task(listen())
        await session.send("Count to five.")
        await turns.get()
        await session.send("What is the weather in Paris?")
        await turns.get()
        while not speech.empty():
            speech.get_nowait()
        await called.wait()
        await session.send("Tell me a story.")
        await speech.get()
        await asyncio.sleep(0.5)
        await session.interrupt(played_ms=100)
        await turns.get()
        seen["kinds"] = sorted(set(seen["kinds"]))
        await session.send_audio(hum(1.2) + bytes(2 * RATE))
        await turns.get()

        while not speech.empty():
            speech.get_nowait()
        before = len(session.all_messages())
        await session.send("Tell me another story.")
        await speech.get()
        await asyncio.sleep(0.3)
        await session.send_audio(hum(1.2) + bytes(2 * RATE))
        # Two requests and two answers more. The end of the story may or may not be a turn's end of its own.
        while len(session.all_messages()) < before + 4:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        listening.cancel()
        seen["messages"] = [type(message).__name__ for message in session.all_messages()]
    seen["kinds"] = sorted(set(seen["kinds"]))
    print(json.dumps(seen))


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 90))
