"""A phone call over Twilio's media streams, on FastAPI.

Changed beside the imports: the three loops of a call live in a nursery, the session is entered with ``async with``, and
``hypercorn --worker-class trio`` serves in place of uvicorn.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import trio
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from trealtime.compat.decorators import tool
from trealtime.compat.realtime import (
    RealtimeAgent,
    RealtimePlaybackTracker,
    RealtimeRunner,
    RealtimeSession,
    RealtimeSessionEvent,
)

CHUNK_BYTES = 400  # 50 ms of G.711 at 8 kHz
FLUSH_S = 0.05


@tool
async def get_current_time() -> str:
    """Get the current time."""
    return "noon"


agent = RealtimeAgent(name="Phone Assistant", instructions="Be brief: this is a phone call.", tools=[get_current_time])


class Call:
    """One call: audio between Twilio and the model."""

    def __init__(self, websocket: WebSocket) -> None:
        self.websocket = websocket
        self.playback_tracker = RealtimePlaybackTracker()
        self.stream_sid = ""
        self.buffer = bytearray()
        self.marks: dict[str, tuple[str, int, int]] = {}

    async def serve(self) -> None:
        """Hold the call until Twilio leaves."""
        api_key = os.getenv("OPENAI_API_KEY")
        if not api_key:
            raise ValueError("OPENAI_API_KEY is required")
        session = await RealtimeRunner(agent).run(
            model_config={
                "api_key": api_key,
                "initial_model_settings": {
                    "model_name": "gpt-realtime-2.1",
                    "input_audio_format": "g711_ulaw",
                    "output_audio_format": "g711_ulaw",
                    "turn_detection": {"type": "semantic_vad", "interrupt_response": True, "create_response": True},
                },
                "playback_tracker": self.playback_tracker,
            }
        )
        async with session, trio.open_nursery() as nursery:
            nursery.start_soon(self.session_loop, session)
            nursery.start_soon(self.flush_loop, session)
            await self.twilio_loop(session)
            nursery.cancel_scope.cancel()

    async def session_loop(self, session: RealtimeSession) -> None:
        """Play what the agent says to the caller."""
        async for event in session:
            await self.on_event(event)

    async def on_event(self, event: RealtimeSessionEvent) -> None:
        """Send audio with a mark behind it, and stop it at an interrupt."""
        if event.type == "audio":
            payload = base64.b64encode(event.audio.data).decode()
            await self.send({"event": "media", "media": {"payload": payload}})
            mark = str(len(self.marks) + 1)
            self.marks[mark] = (event.audio.item_id, event.audio.content_index, len(event.audio.data))
            await self.send({"event": "mark", "mark": {"name": mark}})
        elif event.type == "audio_interrupted":
            await self.send({"event": "clear"})

    async def send(self, message: dict[str, Any]) -> None:
        """Send Twilio a message of this stream."""
        await self.websocket.send_text(json.dumps({**message, "streamSid": self.stream_sid}))

    async def twilio_loop(self, session: RealtimeSession) -> None:
        """Take what Twilio sends until the stream ends."""
        try:
            while True:
                message = json.loads(await self.websocket.receive_text())
                if message["event"] == "start":
                    self.stream_sid = message["start"]["streamSid"]
                elif message["event"] == "media":
                    self.buffer += base64.b64decode(message["media"]["payload"])
                    if len(self.buffer) >= CHUNK_BYTES:
                        await self.flush(session)
                elif message["event"] == "mark":
                    item_id, content_index, count = self.marks[message["mark"]["name"]]
                    self.playback_tracker.on_play_bytes(item_id, content_index, b"\0" * count)
                elif message["event"] == "stop":
                    return
        except WebSocketDisconnect:
            return

    async def flush(self, session: RealtimeSession) -> None:
        """Send what the caller has said so far."""
        data = bytes(self.buffer)
        self.buffer.clear()
        await session.send_audio(data)

    async def flush_loop(self, session: RealtimeSession) -> None:
        """Let no audio get old."""
        while True:
            await trio.sleep(FLUSH_S)
            if self.buffer:
                await self.flush(session)


app = FastAPI()


@app.websocket("/media-stream")
async def media_stream(websocket: WebSocket) -> None:
    """Serve one call."""
    await websocket.accept()
    await Call(websocket).serve()
