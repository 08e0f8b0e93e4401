"""Whole sessions: a runner and its session on one side, the emulator on the other, nothing in between replaced."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from trealtime._session.runner import RealtimeRunner
from trealtime._session.session import RealtimeSession
from trealtime.agents.agent import RealtimeAgent
from trealtime.emulator import EmulatedSession, Emulator, open_emulator
from trealtime.emulator.session import LoggedEvent
from trealtime.events import RealtimeSessionEvent
from trealtime.transport.memory import MemoryWire

PIECE_MS = 100
BYTES_PER_MS = 48
SERVER_VAD = {"type": "server_vad", "silence_duration_ms": 500}


def tone(ms: int, *, loud: bool = True) -> bytes:
    """PCM16 at 24 kHz: a tone that any detector takes for somebody speaking, or silence."""
    time_s = np.arange(24 * ms) / 24_000
    return (np.sin(2 * np.pi * 220 * time_s) * (8000 if loud else 0)).astype("<i2").tobytes()


async def speak(session: RealtimeSession[Any], speech_ms: int = 1500, quiet_ms: int = 1500) -> None:
    """Speak and fall silent, as a microphone does it: at the speed of speech."""
    for position_ms in range(0, speech_ms + quiet_ms, PIECE_MS):
        await session.send_audio(tone(PIECE_MS, loud=position_ms < speech_ms))
        await trio.sleep(PIECE_MS / 1000)


@attrs.define(eq=False)
class Talk:
    """A runner whose sessions reach an emulator, and all that passed between them."""

    emulator: Emulator
    runner: RealtimeRunner[Any]
    passed: list[tuple[EmulatedSession, LoggedEvent]]

    def of(self, *types: str, session: int = 0) -> list[Mapping[str, Any]]:
        """The wire's events of these types, both ways, in order, of the n-th session."""
        ids = list(dict.fromkeys(each.id for each, _entry in self.passed))
        return [
            entry.event for each, entry in self.passed if each.id == ids[session] and entry.event.get("type") in types
        ]

    def wire(self) -> MemoryWire:
        """The server's end of the latest session."""
        wire = self.emulator.sessions[-1]._wire
        assert isinstance(wire, MemoryWire)
        return wire

    def counts(self) -> Counter[str]:
        return Counter(entry.event.get("type", "") for _session, entry in self.passed)


@asynccontextmanager
async def open_talk(
    *,
    settings: Mapping[str, Any] | None = None,
    tools: Sequence[Any] = (),
    config: Mapping[str, Any] | None = None,
    seed: int = 7,
    **options: Any,
) -> AsyncIterator[Talk]:
    passed: list[tuple[EmulatedSession, LoggedEvent]] = []
    async with open_emulator(
        listen=False,
        seed=seed,
        unix_time_s=1_800_000_000.0,
        on_event=lambda session, entry: passed.append((session, entry)),
        **options,
    ) as emulator:
        agent = RealtimeAgent(name="Assistant", instructions="Be brief.", tools=list(tools))
        runner = RealtimeRunner(
            agent,
            model=emulator.memory_model(),
            config={"model_settings": settings or {}, **(config or {})},
            rng=random.Random(seed),
        )
        yield Talk(emulator, runner, passed)


@attrs.define(eq=False)
class Listener:
    """All that one consumer of a session saw, and when."""

    events: list[RealtimeSessionEvent] = attrs.Factory(list)
    times: list[float] = attrs.Factory(list)
    _news: trio.Event = attrs.Factory(trio.Event)

    async def listen(self, source: Any) -> None:
        async for event in source:
            self.events.append(event)
            self.times.append(trio.current_time())
            self._news.set()
            self._news = trio.Event()

    def of(self, *types: str) -> list[Any]:
        return [event for event in self.events if event.type in types]

    def time_of(self, type: str) -> float:
        return next(at for event, at in zip(self.events, self.times, strict=True) if event.type == type)

    async def expect(self, type: str, count: int = 1) -> Any:
        """The `count`-th event of this type, waiting for it."""
        with trio.fail_after(600):
            while len(self.of(type)) < count:
                await self._news.wait()
        return self.of(type)[count - 1]


@attrs.frozen
class Kit:
    """What the tests of this folder share; they cannot import from here (importlib mode)."""

    BYTES_PER_MS = BYTES_PER_MS
    SERVER_VAD = SERVER_VAD
    tone = staticmethod(tone)
    speak = staticmethod(speak)
    listener: Callable[[], Listener] = Listener
    talk: Callable[..., AbstractAsyncContextManager[Talk]] = open_talk


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()
