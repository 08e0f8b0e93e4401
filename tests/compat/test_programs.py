"""The ported programs run: on the emulator, over real sockets, and on FastAPI under Hypercorn's Trio worker."""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from trealtime.audio.g711 import encode_ulaw
from trealtime.emulator import CallFunction, Emulator, ScriptedBrain, open_emulator

HERE = Path(__file__).parent


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``program(name)``: a program of the folder, freshly imported."""
    monkeypatch.syspath_prepend(str(HERE))

    def load(name: str) -> Any:
        for module in ("programs.airline", f"programs.{name}"):
            monkeypatch.delitem(importlib.sys.modules, module, raising=False)  # type: ignore[attr-defined]
        return importlib.import_module(f"programs.{name}")

    return load


@asynccontextmanager
async def emulated(monkeypatch: pytest.MonkeyPatch, replies: list[Any], **options: Any) -> AsyncIterator[Emulator]:
    """An emulator that programs find through the environment, as they find the service."""
    async with open_emulator(brain=ScriptedBrain(replies), **options) as emulator:
        monkeypatch.setenv("OPENAI_BASE_URL", emulator.url.replace("ws", "http", 1).removesuffix("/realtime"))
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        yield emulator


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """The address of `app` under Hypercorn's Trio worker, as ``http://127.0.0.1:port``."""
    hypercorn_config = pytest.importorskip("hypercorn.config")
    from hypercorn.trio import serve

    config = hypercorn_config.Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.graceful_timeout = 0.1
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(partial(serve, app, config, shutdown_trigger=over.wait))
        yield address
        over.set()


@asynccontextmanager
async def connected(app: Any, path: str) -> AsyncIterator[WebSocketConnection]:
    """A WebSocket of `app`."""
    async with served(app) as address, open_websocket_url(f"{address.replace('http', 'ws')}{path}") as websocket:
        yield websocket


async def received(websocket: WebSocketConnection, until: str, key: str = "type") -> list[dict[str, Any]]:
    messages = []
    with trio.fail_after(30):
        while not messages or messages[-1].get(key) != until:
            messages.append(json.loads(await websocket.get_message()))
    return messages


# ---- the console ----------------------------------------------------------------------------------------------------


class FakeSound:
    def __init__(self) -> None:
        self.played = b""
        self.stops = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        time_s = np.arange(960) / 24_000
        for _ in range(25):
            yield (np.sin(2 * np.pi * 220 * time_s) * 8000).astype("<i2").tobytes()
            await trio.sleep(0.04)
        while True:
            yield bytes(1920)
            await trio.sleep(0.04)

    def play(self, data: bytes) -> None:
        self.played += data

    def stop(self) -> None:
        self.stops += 1


async def test_the_console_hears_answers_and_calls_its_tool(program, monkeypatch):
    console = program("console")
    sound = FakeSound()
    async with emulated(monkeypatch, [CallFunction("get_weather", '{"city": "Oslo"}'), "It is sunny."]):
        demo = console.Demo(sound)
        with trio.fail_after(30):
            await demo.run(turns=2)
    assert demo.lines == [
        "user: ", "Assistant starts", "get_weather -> The weather in Oslo is sunny.", "Assistant starts"
    ]  # fmt: skip
    assert len(sound.played) > 4_800
    assert demo.playback_tracker.get_state()["elapsed_ms"] == pytest.approx(len(sound.played) / 48)


# ---- the web app ----------------------------------------------------------------------------------------------------


async def test_the_web_app_serves_a_page(program, monkeypatch):
    pytest.importorskip("fastapi")
    replies = [
        CallFunction("transfer_to_seat_agent"),
        CallFunction("update_seat", '{"confirmation_number": "AB12", "new_seat": "9C"}'),
        "You sit in 9C.",
        "A red square.",
    ]
    async with emulated(monkeypatch, replies), connected(program("browser_app").app, "/ws/one") as page:
        await page.send_message(json.dumps({"type": "text", "text": "Seat 9C, please."}))
        told = await received(page, "tool_approval_required")
        decision = {"type": "tool_approval_decision", "call_id": told[-1]["call_id"], "approve": True}
        await page.send_message(json.dumps(decision))
        told += await received(page, "tool_end")
        told += await received(page, "agent_end")
        image = {"type": "image", "data_url": "data:image/png;base64,iVBORw0KGgo=", "text": "And this?"}
        await page.send_message(json.dumps(image))
        told += await received(page, "agent_end")
    kinds = {message["type"] for message in told}
    assert kinds >= {"agent_start", "agent_end", "handoff", "tool_start", "tool_end", "history_added", "audio"}
    raw = {message["raw_model_event"]["type"] for message in told if message["type"] == "raw_model_event"}
    assert raw >= {"raw_server_event", "item_updated", "function_call", "usage", "turn_started", "turn_ended", "audio"}
    handoff = next(message for message in told if message["type"] == "handoff")
    assert (handoff["from"], handoff["to"]) == ("Triage Agent", "Seat Agent")
    assert next(message["output"] for message in told if message["type"] == "tool_end") == "AB12 now sits in 9C"
    history = [message for message in told if message["type"] == "history_updated"][-1]["history"]
    assert [part["type"] for part in history[-2]["content"]] == ["input_image", "input_text"]


async def test_the_web_app_ends_the_session_of_a_page_that_leaves(program, monkeypatch):
    pytest.importorskip("fastapi")
    module = program("browser_app")
    async with emulated(monkeypatch, ["Hello."]) as emulator, served(module.app) as address:
        async with open_websocket_url(f"{address.replace('http', 'ws')}/ws/one") as page:
            await page.send_message(json.dumps({"type": "text", "text": "Hi"}))
            await received(page, "agent_end")
            assert len(emulator.sessions) == 1
        with trio.fail_after(30):
            while emulator.sessions:  # noqa: ASYNC110
                await trio.sleep(0.01)
    assert module.manager.sessions == {}


# ---- telephones -----------------------------------------------------------------------------------------------------


async def test_a_call_over_media_streams_is_answered(program, monkeypatch):
    pytest.importorskip("fastapi")
    module = program("twilio_media")
    async with emulated(monkeypatch, ["Good day to you."]), connected(module.app, "/media-stream") as twilio:
        await twilio.send_message(json.dumps({"event": "start", "start": {"streamSid": "MZ1"}}))
        time_s = np.arange(160) / 8_000
        voice = encode_ulaw((np.sin(2 * np.pi * 220 * time_s) * 8000).astype(np.int16))
        silence = encode_ulaw(np.zeros(160, dtype=np.int16))
        heard: list[dict[str, Any]] = []

        async def speak() -> None:
            for frame in [voice] * 40 + [silence] * 200:
                payload = base64.b64encode(bytes(frame)).decode()
                await twilio.send_message(json.dumps({"event": "media", "media": {"payload": payload}}))
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak)
            heard += await received(twilio, "mark", key="event")
            await twilio.send_message(json.dumps({"event": "mark", "mark": heard[-1]["mark"]}))
            nursery.cancel_scope.cancel()
        await twilio.send_message(json.dumps({"event": "stop"}))
    assert {message["streamSid"] for message in heard} == {"MZ1"}
    assert any(len(base64.b64decode(message["media"]["payload"])) >= 160 for message in heard if "media" in message)


async def test_a_call_over_sip_is_accepted_and_greeted(program, monkeypatch, caplog):
    pytest.importorskip("fastapi")
    pytest.importorskip("openai")
    secret = "whsec_" + base64.b64encode(b"a secret of the test").decode()
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", secret)
    async with emulated(monkeypatch, ["Good day."]) as emulator:
        module = program("twilio_sip")
        caplog.set_level("INFO", "twilio_sip")
        async with served(module.app) as address:
            async with emulator.ring(f"{address}/openai/webhook", secret=secret) as call:
                with trio.fail_after(30):
                    assert await call.wait_answered()
                    while "Good day." not in caplog.text:  # noqa: ASYNC110  # the program sets no event
                        await trio.sleep(0.01)
            with trio.fail_after(30):
                while module.calls.active:  # noqa: ASYNC110
                    await trio.sleep(0.01)
    assert module.calls.active == set()
