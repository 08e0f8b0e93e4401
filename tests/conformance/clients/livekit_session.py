"""livekit-agents' realtime session for OpenAI: text, sound, a tool, an interruption, an update, a barge-in."""

import asyncio
import json
import math
import struct
import sys

from livekit import rtc
from livekit.agents import function_tool, llm
from livekit.plugins import openai

RATE = 24_000


@function_tool
async def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"sunny in {city}"


def frame(seconds, loud):
    n = round(seconds * RATE)
    data = b"".join(struct.pack("<h", round(loud * math.sin(2 * math.pi * 220 * i / RATE))) for i in range(n))
    return rtc.AudioFrame(data=data, sample_rate=RATE, num_channels=1, samples_per_channel=n)


async def read(generation):
    text, audio, calls = "", 0, []

    async def messages():
        nonlocal text, audio
        async for message in generation.message_stream:

            async def words(message=message):
                nonlocal text
                async for piece in message.text_stream:
                    text += piece

            async def sound(message=message):
                nonlocal audio
                async for piece in message.audio_stream:
                    audio += piece.samples_per_channel

            await asyncio.gather(words(), sound())

    async def functions():
        async for call in generation.function_stream:
            calls.append(call)

    await asyncio.gather(messages(), functions())
    return text, audio / RATE, calls


async def main(url):
    seen = {"events": []}
    model = openai.realtime.RealtimeModel(base_url=url, api_key="any", model="gpt-realtime")
    session = model.session()
    session.on("input_speech_started", lambda _: seen["events"].append("input_speech_started"))
    session.on("input_speech_stopped", lambda _: seen["events"].append("input_speech_stopped"))
    errors = []
    session.on("error", lambda error: errors.append(str(error)))
    generations = asyncio.Queue()
    session.on("generation_created", generations.put_nowait)
    await session.update_instructions("You are Otto.")
    await session.update_tools([get_weather])
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="Count to five.")
    await session.update_chat_ctx(context)
    seen["text"], seen["audio_s"], _ = await read(await session.generate_reply())

    context = session.chat_ctx.copy()
    context.add_message(role="user", content="What is the weather in Paris?")
    await session.update_chat_ctx(context)
    _, _, calls = await read(await session.generate_reply())
    seen["calls"] = [[call.name, json.loads(call.arguments)] for call in calls]
    context = session.chat_ctx.copy()
    context.items.append(
        llm.FunctionCallOutput(call_id=calls[0].call_id, name=calls[0].name, output="sunny in Paris", is_error=False)
    )
    await session.update_chat_ctx(context)
    seen["told"], _, _ = await read(await session.generate_reply())

    context = session.chat_ctx.copy()
    context.add_message(role="user", content="Tell me a story.")
    await session.update_chat_ctx(context)
    whole = await session.generate_reply()
    await asyncio.sleep(0.3)
    session.interrupt()
    seen["cut"], _, _ = await read(whole)

    while not generations.empty():
        generations.get_nowait()
    session.push_audio(frame(1.2, 8_000))
    session.push_audio(frame(1.0, 0))
    answer = await asyncio.wait_for(generations.get(), 20)
    seen["spoken"], _, _ = await read(answer)

    await session.update_instructions("You are Anna. Be brief.")
    context = session.chat_ctx.copy()
    context.add_message(role="user", content="Tell me another story.")
    await session.update_chat_ctx(context)
    story = await session.generate_reply()
    while not generations.empty():
        generations.get_nowait()
    reading = asyncio.create_task(read(story))
    await asyncio.sleep(0.3)
    session.push_audio(frame(1.2, 8_000))
    session.push_audio(frame(1.0, 0))
    seen["spoken_over"], _, _ = await reading
    answer = await asyncio.wait_for(generations.get(), 20)
    seen["after"], _, _ = await read(answer)
    seen["errors"] = errors
    await session.aclose()
    print(json.dumps(seen))


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 90))
