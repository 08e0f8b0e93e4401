"""The `openai` package's asynchronous realtime client: a typed turn, a spoken one, an interruption,
speech over a running answer, and a refused setting.

Run by the conformance tests in an environment of its own; prints one JSON object.
"""

import asyncio
import base64
import json
import math
import struct
import sys

from openai import AsyncOpenAI

RATE = 24_000


def hum(seconds: float) -> bytes:
    """A tone that the emulator's ears take for a voice."""
    return b"".join(
        struct.pack("<h", round(8_000 * math.sin(2 * math.pi * 220 * index / RATE)))
        for index in range(round(seconds * RATE))
    )


async def main(base_url: str) -> None:
    seen = {}
    client = AsyncOpenAI(api_key="any", websocket_base_url=base_url)
    async with client.realtime.connect(model="gpt-realtime") as connection:
        first = await connection.recv()
        seen["first"] = first.type
        await connection.session.update(
            session={"type": "realtime", "instructions": "You are Otto.", "output_modalities": ["text"]}
        )
        seen["modalities"] = (await connection.recv()).session.output_modalities

        words = {"role": "user", "type": "message", "content": [{"type": "input_text", "text": "Count to five."}]}
        await connection.conversation.item.create(item=words)
        await connection.response.create(response={"metadata": {"mark": "one"}})
        seen["text"] = ""
        async for event in connection:
            if event.type == "response.output_text.delta":
                seen["text"] += event.delta
            elif event.type == "response.done":
                seen["metadata"] = event.response.metadata
                seen["total_tokens"] = event.response.usage.total_tokens
                break

        detection = {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 300}
        await connection.session.update(
            session={
                "type": "realtime",
                "output_modalities": ["audio"],
                "audio": {"input": {"turn_detection": detection}},
            }
        )
        speech = hum(1.2) + bytes(RATE)
        for start in range(0, len(speech), 9_600):
            await connection.input_audio_buffer.append(audio=base64.b64encode(speech[start : start + 9_600]).decode())
        kinds, audio_bytes = [], 0
        async for event in connection:
            kinds.append(event.type)
            if event.type == "response.output_audio.delta":
                audio_bytes += len(base64.b64decode(event.delta))
            elif event.type == "response.done":
                seen["spoken_status"] = event.response.status
                break
        seen["turn"] = [kind for kind in kinds if kind.startswith("input_audio_buffer.")]
        seen["audio_s"] = audio_bytes / 2 / RATE

        async def story() -> str:
            """Ask for a story, and return the id of the item in which it is told, once it is."""
            words = {"role": "user", "type": "message", "content": [{"type": "input_text", "text": "Tell me a story."}]}
            await connection.conversation.item.create(item=words)
            await connection.response.create()
            async for event in connection:
                if event.type == "response.output_audio.delta":
                    return event.item_id
            raise AssertionError("the connection has ended")

        async def ends(count: int) -> list[str]:
            """The statuses of the next responses that end, and what is truncated meanwhile."""
            found = []
            async for event in connection:
                if event.type == "response.done":
                    found.append(event.response.status)
                elif event.type == "conversation.item.truncated":
                    found.append(f"truncated at {event.audio_end_ms}")
                if len(found) == count:
                    break
            return found

        item_id = await story()
        await connection.response.cancel()
        await connection.conversation.item.truncate(item_id=item_id, content_index=0, audio_end_ms=50)
        seen["interrupted"] = await ends(2)

        await story()
        for start in range(0, len(speech), 9_600):
            await connection.input_audio_buffer.append(audio=base64.b64encode(speech[start : start + 9_600]).decode())
        seen["spoken_over"] = await ends(2)

        await connection.session.update(session={"type": "realtime", "audio": {"output": {"voice": ""}}})
        async for event in connection:
            if event.type == "error":
                seen["error"] = {"type": event.error.type, "param": event.error.param}
                break
    print(json.dumps(seen))


asyncio.run(main(sys.argv[1]))
