"""Whole sessions against a server that spoils its events: they go on or end in order, and answer what comes whole.

Each has a consumer, tools, approvals, a handoff, guardrails, and some an endpoint, a recording and connections that are
lost. A run has some 300 events and belongs to a seed, which a failure names.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing
from hostile import Server, Spoiler, naming

from trealtime._session.runner import RealtimeRunner
from trealtime._session.session import RealtimeSession
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.guardrails import GuardrailFunctionOutput, InputGuardrail, OutputGuardrail
from trealtime.errors import TrealtimeError
from trealtime.testing import MemoryEndpoint, memory_wire_pair
from trealtime.tools.function_tool import function_tool
from trealtime.transport.wire import Wire, WireClosed

TIMES = int(os.environ.get("TREALTIME_TIMES", "1"))
EVENTS = 300
RUNS = 20 * TIMES
PAUSES = (0.0, 0.0, 0.01, 0.3, 5.0, 35.0)
MOST_STEPS = 100_000
"""Steps of tasks at one moment of virtual time: a session that takes more spins."""

Validate = Callable[[dict[str, Any]], list[str]]


@function_tool
async def look(place: str = "") -> str:
    """Look somewhere."""
    await trio.sleep(0.5)
    return "42"


@function_tool(needs_approval=True)
async def risk() -> str:
    """Do something that has to be asked about."""
    return "done"


def zebra(*arguments: Any) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(None, tripwire_triggered="zebra" in str(arguments[-1]))


class Watch(trio.abc.Instrument):
    """Cancels a run that spins: whose clock stands still while its tasks take step after step."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self.scope, self.at, self.steps, self.spins = scope, -1.0, 0, False

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        now = trio.current_time()
        self.steps = self.steps + 1 if now == self.at else 0
        self.at = now
        if self.steps > MOST_STEPS:
            self.spins = True
            self.scope.cancel()


class Service:
    """A model whose server spoils its events, until it has sent so many."""

    def __init__(self, rng: random.Random, validate: Validate) -> None:
        self.rng, self.validate = rng, validate
        self.rate = rng.choice((0.02, 0.1, 0.1, 0.5))
        self.spoils_openings = rng.random() < 0.2
        self.sent = self.connections = 0
        self.answered = False
        self.wrong: list[Any] = []
        self.over = trio.Event()
        """It keeps to the protocol from here on."""

    @asynccontextmanager
    async def connect(self, target: Any) -> AsyncIterator[Wire]:
        client, wire = memory_wire_pair(capacity=10_000)
        self.connections += 1
        server = Server(self.rng, prefix=f"{self.connections}_")
        server.open()
        heard = trio.Event()
        opened = self.spoils_openings

        async def read() -> None:
            nonlocal heard
            with suppress(WireClosed):
                while True:
                    event = json.loads(await wire.receive())
                    self.wrong += [(problem, event) for problem in self.validate(event)]
                    if self.over.is_set() or not opened or self.rng.random() > self.rate / 5:
                        server.hear(event)
                    heard.set()

        async def write() -> None:
            nonlocal heard, opened
            spoiler = Spoiler(self.rng, 0.0)
            with suppress(WireClosed):
                while True:
                    if self.over.is_set():
                        spoiler.rate, server.plain = 0.0, True
                    elif opened:
                        spoiler.rate = self.rate
                    if not server.down and (self.over.is_set() or not opened or self.rng.random() < 0.3):
                        heard = trio.Event()
                        with trio.move_on_after(0.5):
                            await heard.wait()
                        continue
                    if not server.down:
                        server.begin()
                    if not server.down:
                        continue
                    event = server.down.popleft()
                    opened = opened or event["type"] == "session.updated"
                    for frame in spoiler.frames(event):
                        if frame == "\ud83d":
                            continue  # no wire takes it
                        self.sent += 1
                        await (wire.send_binary(frame) if isinstance(frame, bytes) else wire.send(frame))
                    if self.sent >= EVENTS:
                        self.over.set()
                    elif self.rng.random() < 0.15:
                        await trio.sleep(self.rng.choice(PAUSES))
                    elif self.rng.random() < 0.001:
                        await wire.aclose(self.rng.choice((1000, 1011, 4000)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(write)
            yield client
            nursery.cancel_scope.cancel()


async def wishes(session: RealtimeSession[Any], rng: random.Random) -> None:
    """The app asks for this and that."""
    while True:
        await trio.sleep(rng.choice((0.01, 1.0, 10.0)))
        with suppress(TrealtimeError), trio.move_on_after(20):
            match rng.randrange(10):
                case 0:
                    await session.send_message("Hi")
                case 1:
                    await session.interrupt()
                case 2:
                    await session.send_audio(bytes(4800), commit=rng.random() < 0.3)
                case 3:
                    await session.ask("And now?")
                case 4 | 5:
                    for request in session.pending_approvals:
                        await session.approve_tool_call(request.call_id, always=rng.random() < 0.2)
                case 6:
                    repr((session.history, session.turns, session.statistics()))
                    session.export()
                case 7:
                    async with session.respond("Go on") as response:
                        async for _ in response:
                            if rng.random() < 0.2:
                                break
                case 8:
                    async with session.attach(MemoryEndpoint()):
                        await trio.sleep(rng.choice((0.5, 15.0)))
                case 9:
                    await session.update_settings({"instructions": "Be brief."})


async def converse(seed: int, validate: Validate) -> Service:
    """One session, until it has answered a last question or ended in order."""
    rng = random.Random(seed)
    service = Service(rng, validate)
    second = RealtimeAgent(name="b", tools=[look])
    agent = RealtimeAgent(name="a", tools=[look, risk], handoffs=[second])
    config: dict[str, Any] = {"reconnect": rng.choice((None, {}, {"on_cut": "continue"}))}
    if rng.random() < 0.3:
        config["record"] = {"path": None, "memory_bytes": 1 << 24}
    if rng.random() < 0.4:
        config["output_guardrails"] = [OutputGuardrail(zebra)]
        config["input_guardrails"] = [InputGuardrail(zebra)]
    if rng.random() < 0.3:
        config["barge_in"] = {"min_speech_ms": 300, "while_unsure": "hold", "dismiss": "fillers"}
    runner = RealtimeRunner(agent, model=service, config=config)

    async def consume(session: RealtimeSession[Any]) -> None:
        try:
            async for event in session:
                if rng.random() < 0.05:
                    repr(event)
        finally:
            service.over.set()

    with suppress(TrealtimeError):
        async with runner.session() as session:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(consume, session)
                    async with trio.open_nursery() as busy:
                        busy.start_soon(wishes, session, rng)
                        await service.over.wait()
                        busy.cancel_scope.cancel()
                    await trio.sleep(200)
                    for request in session.pending_approvals:
                        await session.reject_tool_call(request.call_id)
                    turn = await session.ask("Is all well?")
                    assert turn.status == "completed", turn
                    service.answered = True
                    await trio.sleep(200)
                    counted = session.statistics()
                    assert counted.conversation.live_responses == counted.conversation.queued_requests == 0
                    assert counted.questions_open == counted.tools_active == 0
                    failures = counted.failures
                    assert failures.deadlines == failures.hooks == failures.endpoints == failures.recordings == 0
                    nursery.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                typed, rest = group.split(TrealtimeError)
                if rest is not None:
                    raise
                assert typed is not None
    assert service.wrong == []
    return service


def run(seed: int, validate: Validate = lambda event: []) -> Service:
    """One session, in virtual time."""

    async def watched() -> Service:
        with trio.CancelScope() as scope:
            watch = Watch(scope)
            trio.lowlevel.add_instrument(watch)
            return await converse(seed, validate)
        raise AssertionError("it spins" if watch.spins else "cancelled")

    return trio.run(watched, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("part", range(5))
def test_a_session_stands_whatever_a_server_sends(part: int, validate: Validate) -> None:
    answered = 0
    for seed in range(part, RUNS, 5):
        with naming(f"seed {seed}"):
            answered += run(seed, validate).answered
    assert answered, "none came to its end"
