"""A web app on FastAPI: a session for each page, audio and events as JSON over its WebSocket.

Changed beside the imports: tasks live in a nursery, and ``hypercorn --worker-class trio`` serves in place of uvicorn.
"""

from __future__ import annotations

import base64
import json
import logging
import struct
from dataclasses import asdict
from typing import Any, assert_never

import trio
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from trealtime.compat.realtime import RealtimeRunner, RealtimeSession, RealtimeSessionEvent
from trealtime.compat.realtime.config import RealtimeUserInputMessage
from trealtime.compat.realtime.items import RealtimeItem
from trealtime.compat.realtime.model import RealtimeModelConfig
from trealtime.compat.realtime.model_events import (
    RealtimeModelItemUpdatedEvent,
    RealtimeModelRawServerEvent,
    RealtimeModelUsageEvent,
)
from trealtime.compat.realtime.model_inputs import RealtimeModelSendRawMessage

from .airline import get_starting_agent

logger = logging.getLogger("browser_app")
app = FastAPI()


class Manager:
    """The sessions of all pages."""

    def __init__(self) -> None:
        self.sessions: dict[str, RealtimeSession] = {}

    async def serve(self, websocket: WebSocket, session_id: str) -> None:
        """Hold a session for one page until the page leaves."""
        model_config: RealtimeModelConfig = {
            "initial_model_settings": {
                "model_name": "gpt-realtime-2.1",
                "turn_detection": {
                    "type": "server_vad",
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "interrupt_response": True,
                    "create_response": True,
                },
            },
        }
        session = await RealtimeRunner(get_starting_agent()).run(model_config=model_config)
        async with session:
            self.sessions[session_id] = session
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.forward, websocket, session)
                    try:
                        while True:
                            await self.receive(session, json.loads(await websocket.receive_text()))
                    except WebSocketDisconnect:
                        nursery.cancel_scope.cancel()
            finally:
                del self.sessions[session_id]

    async def forward(self, websocket: WebSocket, session: RealtimeSession) -> None:
        """Send the page every event of its session."""
        async for event in session:
            self.log(event)
            await websocket.send_text(json.dumps(self.serialize(event)))

    async def receive(self, session: RealtimeSession, message: dict[str, Any]) -> None:
        """Do what the page says."""
        kind = message["type"]
        if kind == "audio":
            samples: list[int] = message["data"]
            await session.send_audio(struct.pack(f"<{len(samples)}h", *samples))
        elif kind == "commit_audio":
            await session.model.send_event(RealtimeModelSendRawMessage(message={"type": "input_audio_buffer.commit"}))
        elif kind == "text":
            await session.send_message(str(message["text"]))
        elif kind == "image":
            user_message: RealtimeUserInputMessage = {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": str(message["data_url"]), "detail": "high"},
                    {"type": "input_text", "text": str(message.get("text") or "What is this?")},
                ],
            }
            await session.send_message(user_message)
        elif kind == "tool_approval_decision" and message["approve"]:
            await session.approve_tool_call(message["call_id"], always=bool(message.get("always")))
        elif kind == "tool_approval_decision":
            await session.reject_tool_call(message["call_id"], always=bool(message.get("always")))
        elif kind == "interrupt":
            await session.interrupt()

    def log(self, event: RealtimeSessionEvent) -> None:
        """Write model events in short."""
        if event.type != "raw_model_event":
            return
        data = event.data
        if isinstance(data, RealtimeModelRawServerEvent):
            logger.debug("raw %s", data.data.get("type"))
        elif isinstance(data, RealtimeModelUsageEvent):
            total = event.info.context.usage
            details = None if data.input_tokens_details is None else asdict(data.input_tokens_details)
            logger.debug(
                "usage %s of %s, cached %s, %s",
                data.usage.total_tokens,
                total.total_tokens,
                total.input_tokens_details.cached_tokens,
                details,
            )
        elif isinstance(data, RealtimeModelItemUpdatedEvent):
            logger.debug("item %s", self.sanitized(data.item)["item_id"])

    def sanitized(self, item: RealtimeItem) -> dict[str, Any]:
        """Return an item without its audio."""
        dumped = item.model_dump()
        if isinstance(dumped.get("content"), list):
            parts: list[dict[str, Any]] = dumped["content"]
            for part in parts:
                if part.get("type") in {"audio", "input_audio"}:
                    part.pop("audio", None)
        return dumped

    def serialize(self, event: RealtimeSessionEvent) -> dict[str, Any]:
        """Return what the page is told of an event."""
        told: dict[str, Any] = {"type": event.type}
        if event.type == "agent_start" or event.type == "agent_end":
            told["agent"] = event.agent.name
        elif event.type == "handoff":
            told["from"], told["to"] = event.from_agent.name, event.to_agent.name
        elif event.type == "tool_start":
            told["tool"] = event.tool.name
        elif event.type == "tool_end":
            told["tool"], told["output"] = event.tool.name, str(event.output)
        elif event.type == "tool_approval_required":
            told.update(tool=event.tool.name, call_id=event.call_id, arguments=event.arguments, agent=event.agent.name)
        elif event.type == "audio":
            told["audio"] = base64.b64encode(event.audio.data).decode()
        elif event.type == "audio_interrupted" or event.type == "audio_end":
            told["item_id"] = event.item_id
        elif event.type == "history_updated":
            told["history"] = [self.sanitized(item) for item in event.history]
        elif event.type == "history_added":
            told["item"] = self.sanitized(event.item)
        elif event.type == "guardrail_tripped":
            told["guardrails"] = [result.guardrail.get_name() for result in event.guardrail_results]
        elif event.type == "raw_model_event":
            told["raw_model_event"] = {"type": event.data.type}
        elif event.type == "error":
            told["error"] = str(event.error)
        elif event.type == "input_audio_timeout_triggered":
            pass
        else:
            assert_never(event)
        return told


manager = Manager()


@app.websocket("/ws/{session_id}")
async def websocket_endpoint(websocket: WebSocket, session_id: str) -> None:
    """Serve one page."""
    await websocket.accept()
    await manager.serve(websocket, session_id)
