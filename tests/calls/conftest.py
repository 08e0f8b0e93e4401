"""What tests of calls share: an emulator in memory, its REST side, and agents that answer its phone."""

from __future__ import annotations

import base64
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import numpy as np
import pytest
import trio
from numpy.typing import NDArray

from trealtime import ConnectFailed, RealtimeAgent, RealtimeRunner, RealtimeSession
from trealtime.calls import IncomingCall, RealtimeRestClient, RealtimeWebhooks
from trealtime.emulator import Emulator, LoggedEvent, open_emulator

SECRET = "whsec_" + base64.b64encode(b"a key of the service").decode()
BASE_URL = "http://localhost/v1"
NOW = 1_800_000_000.0
GREETING = 'Say "Hello and welcome, how can we help?"'


def noise(seconds: float) -> NDArray[np.int16]:
    """Sound that any detector takes for somebody speaking, at 24 kHz."""
    return (np.random.default_rng(1).normal(size=int(seconds * 24_000)) * 6_000).astype(np.int16)


@attrs.define(eq=False)
class Office:
    """Somebody who answers the phone of an emulator with `agent`, and talks in a session of each call."""

    emulator: Emulator
    rest: RealtimeRestClient
    agent: RealtimeAgent[Any]
    nursery: trio.Nursery
    passed: list[LoggedEvent]
    events: list[Any] = attrs.Factory(list)
    sessions: list[RealtimeSession[Any]] = attrs.Factory(list)
    webhooks: RealtimeWebhooks = attrs.field(init=False)
    greeting: str | None = None
    config: Mapping[str, Any] = attrs.Factory(dict)
    _news: trio.Event = attrs.Factory(trio.Event)

    def __attrs_post_init__(self) -> None:
        began = trio.current_time()
        self.webhooks = RealtimeWebhooks(SECRET, now=lambda: NOW + trio.current_time() - began)

    def ring(self, **options: Any) -> AbstractAsyncContextManager[Any]:
        return self.emulator.ring(self.answer, secret=SECRET, **options)

    async def answer(self, headers: Mapping[str, str], body: bytes) -> int:
        call = self.webhooks.receive(headers, body)
        if call is not None:
            await self.rest.accept_call(call.call_id, self.agent, run_config=self.config)
            self.nursery.start_soon(self.talk, call.call_id)
        return 200

    async def talk(self, call_id: str) -> None:
        with contextlib.suppress(ConnectFailed):  # the caller has hung up meanwhile
            await self._talk(call_id)

    async def _talk(self, call_id: str) -> None:
        runner = RealtimeRunner(
            self.agent, model=self.emulator.memory_model(), config=self.config, rng=random.Random(1)
        )
        async with runner.session(model_config={"call_id": call_id}) as session:
            self.sessions.append(session)
            self._tell()
            if self.greeting is not None:
                await session.create_response(instructions=self.greeting)
            async for event in session:
                self.events.append(event)
                self._tell()

    def of(self, *types: str) -> list[Any]:
        return [event for event in self.events if event.type in types]

    def wire(self, *types: str) -> list[Mapping[str, Any]]:
        """Events of the session on the wire, both ways."""
        return [entry.event for entry in self.passed if entry.event.get("type") in types]

    def on_the_line(self, *words: str) -> list[Mapping[str, Any]]:
        """What the session got from the service, of the types with one of these words in them."""
        raw = [event.data for event in self.of("raw_model_event") if event.data.type == "raw_server_event"]
        return [each.data for each in raw if any(word in each.data["type"] for word in words)]

    async def session(self) -> RealtimeSession[Any]:
        while not self.sessions:
            await self._news.wait()
        return self.sessions[-1]

    async def expect(self, type: str, count: int = 1) -> Any:
        with trio.fail_after(600):
            while len(self.of(type)) < count:
                await self._news.wait()
        return self.of(type)[count - 1]

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


@asynccontextmanager
async def open_office(
    *, config: Mapping[str, Any] | None = None, greeting: str | None = GREETING, **options: Any
) -> AsyncIterator[Office]:
    httpx = pytest.importorskip("httpx")
    passed: list[LoggedEvent] = []
    async with (
        open_emulator(
            **{
                "listen": False,
                "seed": 7,
                "unix_time_s": NOW,
                "on_event": lambda session, entry: passed.append(entry),
                **options,
            }
        ) as emulator,
        httpx.AsyncClient(transport=emulator.http_transport()) as http,
        RealtimeRestClient(api_key="sk-test", base_url=BASE_URL, http_client=http, rng=random.Random(1)) as rest,
        trio.open_nursery() as nursery,
    ):
        agent = RealtimeAgent(name="Desk", instructions="You are Otto.")
        settings = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 500}}
        run_config = {"model_settings": settings, **(config or {})}
        yield Office(emulator, rest, agent, nursery, passed, greeting=greeting, config=run_config)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def accepted(emulator: Emulator, **options: Any) -> AsyncIterator[Any]:
    """A call to an emulator with a socket, accepted and watched by nobody."""
    base_url = emulator.url.removesuffix("/realtime")
    async with RealtimeRestClient(api_key="sk-test", base_url=base_url) as rest:

        async def answer(headers: Mapping[str, str], body: bytes) -> int:
            event = RealtimeWebhooks(SECRET).receive(headers, body)
            assert isinstance(event, IncomingCall)
            await rest.accept_call(event.call_id, RealtimeAgent(name="Desk"))
            return 200

        async with emulator.ring(answer, secret=SECRET, **options) as call:
            assert await call.wait_answered()
            yield call


@attrs.frozen
class Kit:
    """What the tests of this folder share; they cannot import from here (importlib mode)."""

    SECRET = SECRET
    BASE_URL = BASE_URL
    NOW = NOW
    noise = staticmethod(noise)
    accepted = staticmethod(accepted)
    office: Callable[..., AbstractAsyncContextManager[Office]] = open_office


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()
