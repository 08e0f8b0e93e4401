"""pipecat's realtime service in a pipeline: a tool, sound, a spoken turn, an update, speech over a running answer."""

import asyncio
import json
import math
import struct
import sys

from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMUpdateSettingsFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService

RATE = 24_000


def hum(seconds):
    return b"".join(
        struct.pack("<h", round(8_000 * math.sin(2 * math.pi * 220 * i / RATE))) for i in range(round(seconds * RATE))
    )


class Ear(FrameProcessor):
    def __init__(self):
        super().__init__()
        self.words, self.audio_bytes, self.interrupted = "", 0, 0
        self.ends = asyncio.Queue()
        self.sounds = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection):
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSTextFrame):
            self.words += frame.text
        elif isinstance(frame, TTSAudioRawFrame):
            self.audio_bytes += len(frame.audio)
            self.sounds.set()
        elif isinstance(frame, InterruptionFrame):
            self.interrupted += 1
        elif isinstance(frame, LLMFullResponseEndFrame):
            self.ends.put_nowait(self.words)
            self.words = ""
        await self.push_frame(frame, direction)


async def main(url):
    seen = {"calls": []}
    service = OpenAIRealtimeLLMService(api_key="any", base_url=url)

    async def get_weather(params):
        seen["calls"].append(dict(params.arguments))
        await params.result_callback({"sky": "sunny"})

    service.register_function("get_weather", get_weather)
    schema = FunctionSchema(
        name="get_weather",
        description="Get the weather in a city.",
        properties={"city": {"type": "string"}},
        required=["city"],
    )
    context = LLMContext(
        [{"role": "user", "content": "What is the weather in Paris?"}], ToolsSchema(standard_tools=[schema])
    )
    pair = LLMContextAggregatorPair(context)
    ear = Ear()
    task = PipelineTask(Pipeline([pair.user(), service, ear, pair.assistant()]))
    runner = PipelineRunner(handle_sigint=False)
    running = asyncio.create_task(runner.run(task))
    await task.queue_frame(LLMContextFrame(context))
    while "sunny" not in (told := (await ear.ends.get()).lower()):
        pass
    seen["text"] = told
    seen["audio_s"] = ear.audio_bytes / 2 / RATE

    speech = hum(1.2) + bytes(2 * RATE)
    for at in range(0, len(speech), 4800):
        await task.queue_frame(InputAudioRawFrame(audio=speech[at : at + 4800], sample_rate=RATE, num_channels=1))
    while "speak" not in (spoken := await ear.ends.get()):
        pass
    seen["spoken"], seen["interrupted"] = spoken, ear.interrupted

    await task.queue_frame(LLMUpdateSettingsFrame(delta=service.Settings(system_instruction="You are Anna.")))
    # Later messages of a context do not reach the service, so the answer that is spoken over is one to speech.
    for _ in range(2):
        ear.sounds.clear()
        for at in range(0, len(speech), 4800):
            await task.queue_frame(InputAudioRawFrame(audio=speech[at : at + 4800], sample_rate=RATE, num_channels=1))
        await ear.sounds.wait()
    while "speak" not in (after := await ear.ends.get()) or not ear.ends.empty():
        pass
    seen["after"], seen["barged_in"] = after, ear.interrupted - seen["interrupted"]
    await task.queue_frame(EndFrame())
    await running
    print(json.dumps(seen))


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 90))
