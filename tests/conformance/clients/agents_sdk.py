"""The realtime layer of `openai-agents`: its own runner with a tool, a handoff, an interrupt, a
spoken turn, an update and speech over a running answer.

Run by the conformance tests in an environment of its own; prints one JSON object.
"""

import asyncio
import json
import math
import struct
import sys

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner, realtime_handoff

RATE = 24_000


@function_tool
async def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def hum(seconds: float) -> bytes:
    """A tone that the emulator's ears take for a voice."""
    return b"".join(
        struct.pack("<h", round(8_000 * math.sin(2 * math.pi * 220 * index / RATE)))
        for index in range(round(seconds * RATE))
    )


async def main(url: str) -> None:
    seen: dict[str, object] = {"errors": []}
    billing = RealtimeAgent(name="Billing", instructions="You are Billing.", handoff_description="Refunds and bills")
    agent = RealtimeAgent(
        name="Assistant", instructions="You are Otto.", tools=[get_weather], handoffs=[realtime_handoff(billing)]
    )
    settings = {"audio": {"input": {"turn_detection": {"type": "server_vad", "interrupt_response": True}}}}
    runner = RealtimeRunner(agent, config={"model_settings": settings})
    session = await runner.run(model_config={"url": url, "api_key": "any"})
    async with session:

        async def turns(count: int) -> list:
            events = []
            async for event in session:
                events.append(event)
                if event.type == "error":
                    seen["errors"].append(str(event.error))
                count -= event.type == "agent_end"
                if not count:
                    break
            return events

        await session.send_message("What is the weather in Paris?")
        events = await turns(2)
        seen["tool_outputs"] = [event.output for event in events if event.type == "tool_end"]
        seen["audio_s"] = sum(len(event.audio.data) for event in events if event.type == "audio") / 2 / RATE

        await session.send_message("Please transfer me to Billing")
        events = await turns(2)
        seen["handoffs"] = [[event.from_agent.name, event.to_agent.name] for event in events if event.type == "handoff"]

        await session.send_message("Tell me a story")
        async for event in session:
            if event.type == "audio":
                await session.interrupt()
                break
        seen["interrupted"] = [event.type for event in await turns(1)].count("audio_interrupted")

        await session.send_audio(hum(1.0))
        await session.send_audio(bytes(RATE * 2))
        history = [event.history for event in await turns(1) if event.type == "history_updated"][-1]
        seen["roles"] = [getattr(item, "role", item.type) for item in history]

        await session.update_agent(agent)
        await session.send_message("Tell me another story")
        async for event in session:
            if event.type == "audio":
                break
        await session.send_audio(hum(1.0))
        await session.send_audio(bytes(RATE * 2))
        events = await turns(2)
        seen["barged_in"] = [event.type for event in events].count("audio_interrupted")
        seen["after"] = [event.agent.name for event in events if event.type == "agent_end"][-1]
    print(json.dumps(seen))


asyncio.run(main(sys.argv[1]))
