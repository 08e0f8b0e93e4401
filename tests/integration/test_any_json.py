"""Any JSON that a server sends: a session lives, or ends with a typed error."""

from __future__ import annotations

import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trealtime import RealtimeAgent, RealtimeRunner
from trealtime.errors import TrealtimeError
from trealtime.protocol.server_events import SERVER_EVENT_TYPES
from trealtime.tools.function_tool import function_tool
from trealtime.transport import ConnectionTarget, MemoryWire, WireClosed, memory_wire_pair

EVENTS = int(os.environ.get("TREALTIME_FUZZ_EVENTS", "12000"))
A_SESSION = 200
"""Events that one session gets, so that what an event left behind meets many others."""

IDS = ("a", "b", "resp_1", "resp_2", "item_1", "item_2", "call_1", "root", "")
WORDS = (
    "type", "id", "role", "status", "content", "name", "arguments", "call_id", "usage", "output", "error", "code",
    "message", "metadata", "audio", "input", "format", "turn_detection", "tools", "server_label", "expires_at", "model",
    "total_tokens", "input_token_details", "text", "transcript", "status_details", "previous_item_id",
)  # fmt: skip
TEXTS = (
    *IDS, *SERVER_EVENT_TYPES, "message", "function_call", "function_call_output", "mcp_call", "mcp_list_tools",
    "mcp_approval_request", "user", "assistant", "system", "input_text", "input_audio", "output_audio", "output_text",
    "in_progress", "completed", "cancelled", "failed", "incomplete", "AAAA", "{}", '{"a": 1}', "echo", "\ud83d", "\x00",
)  # fmt: skip
NUMBERS = (0, 1, -1, 7, 1.5, -0.0, 1e308, -1e308, 2**53, 2**63, -(2**63), 10**30, 10**400, True, False)


def anything(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 4 else 5)
    if kind == 0:
        return None
    if kind in (1, 2):
        return rng.choice(NUMBERS)
    if kind in (3, 4):
        return rng.choice(TEXTS)
    if kind == 5:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {rng.choice(WORDS): anything(rng, depth + 1) for _ in range(rng.randrange(6))}


def item(rng: random.Random) -> Any:
    parts = [{"type": "input_text", "text": "x"}, {"type": "output_audio", "transcript": "x"}]
    return {
        "id": rng.choice(IDS),
        "object": "realtime.item",
        "type": rng.choice(("message", "function_call", "mcp_call", "mcp_list_tools", "mcp_approval_request")),
        "role": rng.choice(("user", "assistant", "system")),
        "status": rng.choice(("in_progress", "completed", "incomplete")),
        "content": parts[: rng.randrange(3)],
        "call_id": "call_1",
        "name": "echo",
        "arguments": '{"text": "x"}',
    }


def event(rng: random.Random) -> dict[str, Any]:
    """An event of the protocol, with a few of its values, at any depth, replaced by others."""
    response = {"id": rng.choice(IDS), "status": "completed", "output": [item(rng)], "usage": {"total_tokens": 5}}
    session = {
        "type": "realtime",
        "model": "m",
        "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}}, "input": {"turn_detection": None}},
        "tools": [{"type": "mcp", "server_label": "a"}],
    }
    made = {
        "type": rng.choice(list(SERVER_EVENT_TYPES)),
        "event_id": "e",
        "response_id": rng.choice(IDS),
        "item_id": rng.choice(IDS),
        "previous_item_id": rng.choice(IDS),
        "output_index": 0,
        "content_index": 0,
        "delta": "AAAA",
        "text": "x",
        "transcript": "x",
        "arguments": "{}",
        "call_id": "call_1",
        "audio_start_ms": 0,
        "audio_end_ms": 10,
        "event": "5",
        "part": {"type": "audio"},
        "item": item(rng),
        "response": response,
        "session": session,
        "error": {"type": "x", "message": "x", "code": None},
        "rate_limits": [{"name": "tokens", "limit": 1}],
    }
    for _ in range(rng.randrange(4)):
        mutate(rng, made)
    return made


def mutate(rng: random.Random, value: dict[str, Any]) -> None:
    key = rng.choice(list(value) or ["x"])
    inner = value.get(key)
    if isinstance(inner, dict) and inner and rng.random() < 0.7:
        mutate(rng, inner)
    elif isinstance(inner, list) and inner and isinstance(inner[0], dict) and rng.random() < 0.5:
        mutate(rng, inner[0])
    elif rng.random() < 0.2:
        value.pop(key, None)
    else:
        value[key] = anything(rng)


class OneWire:
    """A model that connects through one end of a memory pair."""

    def __init__(self) -> None:
        self.client, self.server = memory_wire_pair(capacity=A_SESSION + 10)

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[MemoryWire]:
        yield self.client


@function_tool
async def echo(text: str) -> str:
    """Say it again."""
    return text


async def one_session(frames: list[str]) -> int:
    """The number of events that the app saw, one for each frame among them."""
    seen = 0
    model = OneWire()
    session_object = {"id": "sess_1", "type": "realtime", "model": "m"}

    async def serve() -> None:
        for kind in ("session.created", "session.updated"):
            await model.server.send(json.dumps({"type": kind, "event_id": "e", "session": session_object}))
        try:
            for frame in frames:
                await model.server.send_binary(frame.encode("utf-8", "surrogatepass"))
            while True:
                await model.server.receive()
        except WireClosed:
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        agent = RealtimeAgent(name="A", instructions="x", tools=[echo])
        runner = RealtimeRunner(agent, model=model, config={"raw_events": True})
        try:
            async with runner.session() as session, session.subscribe() as feed:
                with trio.move_on_after(20):
                    async for each in feed:
                        seen += each.type == "raw_model_event"
        except TrealtimeError:
            pass
        nursery.cancel_scope.cancel()
    return seen


@pytest.mark.parametrize("seed", range(EVENTS // A_SESSION))
async def test_a_session_lives_or_ends_with_a_typed_error(seed: int, autojump_clock: MockClock) -> None:
    rng = random.Random(seed)
    assert await one_session([json.dumps(event(rng)) for _ in range(A_SESSION)]) > 0
