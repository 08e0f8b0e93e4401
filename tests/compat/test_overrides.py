"""Subclasses of the WebSocket model that override what the SDK's model calls, as public programs do."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import trio

from trealtime.compat import UserError
from trealtime.compat.realtime import (
    OpenAIRealtimeWebSocketModel,
    RealtimeAgent,
    RealtimeModelErrorEvent,
    RealtimeModelListener,
    RealtimeModelSendRawMessage,
    RealtimeRunner,
    RealtimeSession,
)
from trealtime.compat.realtime.openai_realtime import RealtimeModelRawServerEvent
from trealtime.emulator import Emulator, ScriptedBrain, open_emulator
from trealtime.errors import ConnectionLost

ASSISTANT = RealtimeAgent(name="Assistant", instructions="You are brief.")
STORY = "Once upon a time there was a very long story. " * 10


@asynccontextmanager
async def talking(
    model: Any, replies: list[Any], **model_config: Any
) -> AsyncIterator[tuple[RealtimeSession, Emulator]]:
    """A session of `model` whose connection is one in memory."""
    async with open_emulator(listen=False, brain=ScriptedBrain(replies)) as emulator:
        model.native = emulator.memory_model()
        run = RealtimeRunner(ASSISTANT, model=model).run
        async with await run(model_config=model_config) as session:  # type: ignore[arg-type]
            yield session, emulator


async def speak(session: RealtimeSession) -> None:
    """Say something for a second, and fall silent."""
    time_s = np.arange(960) / 24_000
    tone = (np.sin(2 * np.pi * 220 * time_s) * 8000).astype("<i2").tobytes()
    for piece in [tone] * 25 + [bytes(1920)] * 40:
        await session.send_audio(piece)
        await trio.sleep(0.04)


class OwnInterrupts(OpenAIRealtimeWebSocketModel):
    """The session is not told that the user speaks; the program is."""

    async def _handle_ws_event(self, event: dict[str, Any]) -> None:
        if event.get("type") == "input_audio_buffer.speech_started":
            await self._emit_event(RealtimeModelRawServerEvent(event))
            return
        await super()._handle_ws_event(event)


class Listener(RealtimeModelListener):
    def __init__(self) -> None:
        self.raw: list[str] = []

    async def on_event(self, event: Any) -> None:
        if event.type == "raw_server_event":
            self.raw.append(event.data["type"])


@pytest.mark.parametrize("kind, interrupted", [(OwnInterrupts, False), (OpenAIRealtimeWebSocketModel, True)])
async def test_a_model_may_keep_an_event_from_the_session_and_give_it_to_the_app(
    autojump_clock: Any, kind: Any, interrupted: bool
) -> None:
    model, listener = kind(), Listener()
    seen: list[str] = []
    manual = {"turn_detection": {"type": "server_vad", "interrupt_response": False, "create_response": False}}
    async with talking(model, [STORY], initial_model_settings=manual) as (session, _emulator):
        model.add_listener(listener)
        await session.send_message("Tell me a story.")
        async with trio.open_nursery() as nursery:
            async for event in session:
                if event.type == "audio" and "audio" not in seen:
                    nursery.start_soon(speak, session)
                seen.append(event.type)
                if event.type == "raw_model_event" and event.data.type == "raw_server_event":
                    seen.append(event.data.data["type"])
                if seen[-1] == "input_audio_buffer.committed":
                    break
    assert "input_audio_buffer.speech_started" in seen
    assert "input_audio_buffer.speech_started" in listener.raw
    assert "trealtime.compat.emitted" not in {*seen, *listener.raw}
    assert ("audio_interrupted" in seen) is interrupted


async def test_a_model_may_change_events_and_make_new_ones(autojump_clock: Any, turn: Any) -> None:
    class Shouting(OpenAIRealtimeWebSocketModel):
        async def _handle_ws_event(self, event: dict[str, Any]) -> None:
            if event["type"] == "response.output_text.delta":
                event = {**event, "delta": event["delta"].upper()}
            await super()._handle_ws_event(event)

    async with talking(Shouting(), ["Hello."], initial_model_settings={"output_modalities": ["text"]}) as (session, _):
        await session.send_message("Hi")
        events = await turn(session)
    deltas = [
        each.data.delta for each in events if each.type == "raw_model_event" and each.data.type == "output_text_delta"
    ]
    assert "".join(deltas) == "HELLO."


async def test_a_failure_of_the_model_ends_the_session_and_is_in_the_log(autojump_clock: Any, caplog: Any) -> None:
    class Broken(OpenAIRealtimeWebSocketModel):
        async def _handle_ws_event(self, event: dict[str, Any]) -> None:
            if event["type"] == "response.created":
                raise LookupError("no such turn")
            await super()._handle_ws_event(event)

    async with talking(Broken(), ["Hello."]) as (session, _emulator):
        await session.send_message("Hi")
        with pytest.raises(ConnectionLost, match="no such turn"):
            async for _ in session:
                pass
    assert "_handle_ws_event of Broken failed: LookupError" in caplog.text


async def test_only_server_events_can_be_emitted(autojump_clock: Any, caplog: Any) -> None:
    class Odd(OpenAIRealtimeWebSocketModel):
        async def _handle_ws_event(self, event: dict[str, Any]) -> None:
            await self._emit_event(RealtimeModelErrorEvent("x"))

    caplog.set_level(logging.CRITICAL + 1)
    with pytest.raises(ConnectionLost, match="takes a RealtimeModelRawServerEvent here"):
        async with talking(Odd(), []):
            raise AssertionError("the session has opened")


async def test_a_model_sees_and_may_hold_back_what_the_session_sends(
    autojump_clock: Any, turn: Any, caplog: Any
) -> None:
    class Filter(OpenAIRealtimeWebSocketModel):
        def __init__(self) -> None:
            super().__init__()
            self.sent: list[str] = []

        async def send_event(self, event: Any) -> None:
            self.sent.append(type(event).__name__)
            if getattr(event, "user_input", None) != "secret":
                await super().send_event(event)

    model = Filter()
    async with talking(model, ["Hello."]) as (session, emulator):
        await session.send_message("secret")
        await session.send_audio(bytes(960))
        await session.interrupt()
        await session.send_message("Hi")
        await turn(session)
        created = [each for each in emulator.sessions[0].log if each.event["type"] == "conversation.item.create"]
    assert model.sent == [f"RealtimeModelSend{kind}" for kind in ("UserInput", "Audio", "Interrupt", "UserInput")]
    assert len(created) == 1
    assert "outputs of tools" in caplog.text


async def test_connect_and_close_of_a_model_are_called_around_the_session(autojump_clock: Any) -> None:
    class Noting(OpenAIRealtimeWebSocketModel):
        def __init__(self) -> None:
            super().__init__()
            self.noted: list[str] = []

        async def connect(self, options: Any) -> None:
            self.noted.append(f"connect {options['initial_model_settings']['voice']}")
            await super().connect(options)

        async def close(self) -> None:
            await super().close()
            self.noted.append("close")

    model = Noting()
    async with talking(model, [], initial_model_settings={"voice": "ash"}) as (session, _emulator):
        assert model.noted == ["connect ash"]
        assert not session._closed
    assert model.noted == ["connect ash", "close"]


async def test_connect_cannot_change_the_options(autojump_clock: Any) -> None:
    class Elsewhere(OpenAIRealtimeWebSocketModel):
        async def connect(self, options: Any) -> None:
            await super().connect(options | {"url": "ws://localhost:1"})

    with pytest.raises(UserError, match="model_config"):
        async with talking(Elsewhere(), []):
            raise AssertionError("the session has opened")


def test_methods_that_nothing_calls_are_told_in_the_log(caplog: Any) -> None:
    class Deep(OpenAIRealtimeWebSocketModel):
        async def _send_raw_message(self, event: Any) -> None: ...

    OpenAIRealtimeWebSocketModel()
    assert caplog.text == ""
    Deep()
    assert "model Deep: nothing calls _send_raw_message here" in caplog.text


async def test_an_ordinary_model_has_no_hook(autojump_clock: Any) -> None:
    async with talking(OpenAIRealtimeWebSocketModel(), []) as (session, _emulator):
        assert session.model.connector is session.model.native  # type: ignore[attr-defined]
        await session.model.send_event(RealtimeModelSendRawMessage({"type": "input_audio_buffer.clear"}))
