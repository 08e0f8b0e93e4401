"""One protocol, whatever the ears and the voice: random conversations with each set of engines, event by event."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from trealtime.audio.formats import PCM16_24K
from trealtime.audio.pcm import from_int16
from trealtime.emulator import SpeechEngines, open_emulator
from trealtime.emulator.local import load_speech, missing_packages
from trealtime.emulator.voice import tones

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
SPOKEN_ANSWER = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


@attrs.frozen
class Scene:
    """A client of a session, and what its user sounds like."""

    kit: Any
    client: Any
    speech: bytes
    rng: random.Random

    async def typed(self) -> None:
        await self.client.say("Count to five.")
        await self.client.send("response.create", {"response": {"metadata": {"mark": "1"}}})
        events = await self.client.until("response.done")
        names = [name for name in self.kit.without_runs(events) if not name.endswith("transcript.delta")]
        start = names.index("response.output_item.added")
        assert names[start:] == SPOKEN_ANSWER
        assert events[-1]["response"]["metadata"] == {"mark": "1"}

    async def spoken(self) -> None:
        for start in range(0, len(self.speech), 9_600):
            await self.client.append(self.speech[start : start + 9_600])
        events = await self.client.until("response.done")
        turn = [event["type"].rpartition(".")[2] for event in events if event["type"].startswith("input_audio_buffer.")]
        assert turn == ["speech_started", "speech_stopped", "committed"]
        started, stopped = (event for event in events if "audio_start_ms" in event or "audio_end_ms" in event)
        assert started["item_id"] == stopped["item_id"]
        assert stopped["audio_end_ms"] > started["audio_start_ms"]
        assert events[-1]["response"]["status"] == "completed"

    async def called(self) -> None:
        await self.client.update({"tools": [WEATHER]})
        await self.client.say("What is the weather in Paris?")
        await self.client.send("response.create")
        (call,) = (await self.client.get("response.done"))["response"]["output"]
        assert call["name"] == "get_weather"
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        await self.client.send("conversation.item.create", {"item": output})
        await self.client.send("response.create")
        assert "sunny" in (await self.client.get("response.done"))["response"]["output"][0]["content"][0]["transcript"]
        await self.client.update({"tools": []})

    async def cancelled(self) -> None:
        await self.client.say("Tell me a story")
        await self.client.send("response.create")
        item_id = (await self.client.get("response.output_audio.delta"))["item_id"]
        await self.client.send("response.cancel")
        # It may have been made to its end before the server read that.
        assert (await self.client.get("response.done"))["response"]["status"] in ("cancelled", "completed")
        end_ms = self.rng.choice([0, 100])
        await self.client.send(
            "conversation.item.truncate", {"item_id": item_id, "content_index": 0, "audio_end_ms": end_ms}
        )
        await self.client.get("conversation.item.truncated")
        await self.client.send("conversation.item.retrieve", {"item_id": item_id})
        await self.client.get("conversation.item.retrieved")

    async def beside(self) -> None:
        await self.client.send("response.create", {"response": {"conversation": "none", "output_modalities": ["text"]}})
        response = (await self.client.get("response.done"))["response"]
        assert response["conversation_id"] is None
        assert response["output"][0]["content"][0]["type"] == "output_text"

    async def by_hand(self) -> None:
        await self.client.update({"audio": {"input": {"turn_detection": None}}})
        await self.client.append(self.speech)
        await self.client.send("input_audio_buffer.commit")
        await self.client.get("input_audio_buffer.committed")
        await self.client.send("response.create")
        assert (await self.client.get("response.done"))["response"]["status"] == "completed"
        await self.client.update({"audio": {"input": {"turn_detection": {"type": "server_vad"}}}})


STEPS: list[Callable[[Scene], Awaitable[None]]] = [
    Scene.typed,
    Scene.spoken,
    Scene.called,
    Scene.cancelled,
    Scene.beside,
    Scene.by_hand,
]


@pytest.fixture(params=["numpy", "local"])
async def speech(request: pytest.FixtureRequest) -> SpeechEngines:
    if request.param == "numpy":
        return SpeechEngines()
    missing = missing_packages()
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: pip install trealtime[local]")
    return await load_speech()


async def _voice_of_a_user(speech: SpeechEngines) -> bytes:
    """A sentence and the silence after it, as these ears take for speech."""
    if isinstance(speech.voice, type(SpeechEngines().voice)):
        chunks = list(tones("What is the weather like?", voice="ash", speed=1.0))
    else:
        chunks = [chunk async for chunk in speech.voice.speak("How are you today?", voice="ash", speed=1.0)]
    return from_int16(np.concatenate([*(chunk.samples for chunk in chunks), np.zeros(24_000, np.int16)]), PCM16_24K)


@pytest.mark.parametrize("seed", range(5))
async def test_a_random_conversation_keeps_to_the_protocol(kit: Any, speech: SpeechEngines, seed: int) -> None:
    rng = random.Random(seed)
    user = await _voice_of_a_user(speech)
    with trio.fail_after(120):
        async with (
            open_emulator(listen=False, speech=speech, seed=seed, realtime_factor=math.inf) as emulator,
            emulator.connect() as wire,
        ):
            scene = Scene(kit, kit.client_of(wire), user, rng)
            await scene.client.next()
            await scene.client.update({"audio": {"input": {"turn_detection": {"type": "server_vad"}}}})
            for step in rng.sample(STEPS, k=len(STEPS)):
                await step(scene)
    assert not [event for event in scene.client.seen if event["type"] == "error"]
