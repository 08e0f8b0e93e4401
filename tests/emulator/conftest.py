"""An emulator's client for tests: it speaks in events, and holds every event that it gets against the schema."""

from __future__ import annotations

import base64
import importlib.util
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from trealtime.emulator import open_emulator
from trealtime.emulator.core import SessionCore
from trealtime.emulator.event_buffer import Ids
from trealtime.protocol.codec import encode
from trealtime.transport import Wire

_VALIDATOR = Path(__file__).resolve().parents[2].parent / "shared" / "protocol" / "check_schema.py"

Event = dict[str, Any]


def _load_validator() -> Callable[[str, Event], list[str]]:
    if not _VALIDATOR.is_file():
        return lambda direction, event: []
    spec = importlib.util.spec_from_file_location("check_schema", _VALIDATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("check_schema", module)
    spec.loader.exec_module(module)
    validate: Callable[[str, Event], list[str]] = module.validate
    return validate


validate = _load_validator()


def pcm(ms: float, *, loud: bool = False, rate: int = 24_000) -> bytes:
    """Silence, or a tone that any detector takes for somebody speaking."""
    time_s = np.arange(int(ms * rate / 1000)) / rate
    return (np.sin(2 * np.pi * 220 * time_s) * (8000 if loud else 0)).astype("<i2").tobytes()


def b64(audio: bytes) -> str:
    return base64.b64encode(audio).decode()


class Client:
    """One end of a wire, in events."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.seen: list[Event] = []

    async def send(self, kind: str, fields: Event | None = None) -> None:
        await self.wire.send(json.dumps({"type": kind} | (fields or {})))

    async def append(self, audio: bytes, *, chunk_bytes: int = 9600) -> None:
        for start in range(0, len(audio), chunk_bytes):
            await self.send("input_audio_buffer.append", {"audio": b64(audio[start : start + chunk_bytes])})

    async def say(self, words: str) -> None:
        content = [{"type": "input_text", "text": words}]
        await self.send("conversation.item.create", {"item": {"type": "message", "role": "user", "content": content}})

    async def update(self, session: Event) -> None:
        await self.send("session.update", {"session": {"type": "realtime"} | session})

    async def next(self) -> Event:
        with trio.fail_after(600):
            event: Event = json.loads(await self.wire.receive())
        assert validate("server", event) == [], event
        self.seen.append(event)
        return event

    async def until(self, kind: str) -> list[Event]:
        """The events up to and with the next one of that type."""
        events = [await self.next()]
        while events[-1]["type"] != kind:
            events.append(await self.next())
        return events

    async def get(self, kind: str) -> Event:
        return (await self.until(kind))[-1]

    async def rest(self, quiet_s: float = 20) -> list[Event]:
        """What comes until there is nothing for a while."""
        events = []
        while True:
            with trio.move_on_after(quiet_s) as scope:
                events.append(await self.next())
            if scope.cancelled_caught:
                return events


def types(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def without_runs(events: list[Event]) -> list[str]:
    """The types, a run of one type shown once; the two delta types of speech count as one."""
    names = [kind.replace("_transcript.delta", ".delta") for kind in types(events)]
    return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]


@asynccontextmanager
async def _open_client(*, connect: Event | None = None, **options: Any) -> AsyncIterator[Client]:
    async with (
        open_emulator(**({"listen": False, "seed": 7, "unix_time_s": 1_000_000} | options)) as emulator,
        emulator.connect(**(connect or {})) as wire,
    ):
        client = Client(wire)
        assert (await client.next())["type"] == "session.created"
        yield client


@attrs.define
class Engine:
    """A core without a driver: calls in, events out, time by hand."""

    core: SessionCore
    clock: list[float]

    def __call__(self, kind: str, fields: Event | None = None) -> list[Event]:
        self.core.receive(json.dumps({"type": kind} | (fields or {})))
        return self.take()

    def raw(self, message: str | bytes) -> list[Event]:
        self.core.receive(message)
        return self.take()

    def take(self) -> list[Event]:
        events = self.core.event_buffer.take()
        for event in events:
            assert validate("server", event) == [], event
            encode(event)
        return events

    def refused(self, kind: str, fields: Event | None = None) -> Event:
        """Send an event that must be answered by one error and change nothing; the error."""
        before = json.dumps(self.core.settings.data)
        (event,) = self(kind, {"event_id": "mine"} | (fields or {}))
        assert event["type"] == "error"
        error: Event = event["error"]
        assert error["event_id"] == "mine"
        assert error["type"] == "invalid_request_error"
        assert json.dumps(self.core.settings.data) == before
        return error


def _make_engine(**options: Any) -> Engine:
    clock = [100.0]
    values = {
        "kind": "realtime",
        "model": "gpt-realtime",
        "default_model": "gpt-realtime",
        "call_id": None,
        "max_session_s": 3600.0,
        "expires_at": 1_003_600,
        "max_items": 5000,
        "max_audio_bytes": 2**20,
        "max_out_of_band": 2,
    }
    core = SessionCore(Ids(random.Random(1)), clock=lambda: clock[0], **(values | options))
    core.open()
    engine = Engine(core, clock)
    assert types(engine.take()) == ["session.created"]
    return engine


@attrs.frozen
class Kit:
    """What the tests of this folder share; they cannot import from here (importlib mode)."""

    pcm = staticmethod(pcm)
    b64 = staticmethod(b64)
    types = staticmethod(types)
    without_runs = staticmethod(without_runs)
    validate = staticmethod(validate)
    client: Callable[..., AbstractAsyncContextManager[Client]] = _open_client
    client_of: Callable[[Wire], Client] = Client
    engine: Callable[..., Engine] = _make_engine


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()
