"""A conversation at a console: audio in and out, and a tracker that says what has been played.

Changed beside the imports: the microphone's task lives in a nursery.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import trio

from trealtime.compat.decorators import tool
from trealtime.compat.realtime import (
    RealtimeAgent,
    RealtimePlaybackTracker,
    RealtimeRunner,
    RealtimeSession,
    RealtimeSessionEvent,
)
from trealtime.compat.realtime.model import RealtimeModelConfig


class Sound(Protocol):
    """A microphone and a loudspeaker."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield what the microphone hears."""
        ...

    def play(self, data: bytes) -> None:
        """Play a piece."""
        ...

    def stop(self) -> None:
        """Be silent now."""
        ...


@tool
async def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"The weather in {city} is sunny."


agent = RealtimeAgent(name="Assistant", instructions="Greet the user first.", tools=[get_weather])


class Demo:
    """One conversation."""

    def __init__(self, sound: Sound) -> None:
        self.sound = sound
        self.playback_tracker = RealtimePlaybackTracker()
        self.lines: list[str] = []

    async def run(self, turns: int) -> None:
        """Talk until the agent has answered so many times."""
        model_config: RealtimeModelConfig = {
            "playback_tracker": self.playback_tracker,
            "initial_model_settings": {
                "turn_detection": {"type": "semantic_vad", "interrupt_response": True, "create_response": True}
            },
        }
        session = await RealtimeRunner(agent).run(model_config=model_config)
        async with session, trio.open_nursery() as nursery:
            nursery.start_soon(self.capture, session)
            async for event in session:
                self.on_event(event)
                turns -= event.type == "agent_end"
                if turns == 0:
                    break
            nursery.cancel_scope.cancel()

    async def capture(self, session: RealtimeSession) -> None:
        """Send what the microphone hears."""
        async for chunk in self.sound.chunks():
            await session.send_audio(chunk)

    def on_event(self, event: RealtimeSessionEvent) -> None:
        """Play, be silent, and write what happens."""
        if event.type == "agent_start":
            self.lines.append(f"{event.agent.name} starts")
        elif event.type == "tool_end":
            self.lines.append(f"{event.tool.name} -> {event.output}")
        elif event.type == "audio":
            self.sound.play(event.audio.data)
            self.playback_tracker.on_play_bytes(event.item_id, event.content_index, event.audio.data)
        elif event.type == "audio_interrupted":
            self.sound.stop()
        elif event.type == "error":
            self.lines.append(f"error: {event.error}")
        elif event.type == "history_added" and event.item.type == "message" and event.item.role == "user":
            self.lines.append("user: " + " ".join(part.text or "" for part in event.item.content
                                                  if part.type == "input_text"))  # fmt: skip
