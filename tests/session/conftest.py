"""A server small enough to be read, for sessions over an in-memory wire under the mock clock."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.transport.memory import MemoryWire, memory_wire_pair
from trealtime.transport.models import ConnectionTarget
from trealtime.transport.wire import Wire, WireClosed

SECOND = 48_000
"""Bytes of one second of PCM16."""


@attrs.define(eq=False)
class Connection:
    """The server's end of one session: notes what it is told, answers what all servers answer, sends what tests say."""

    wire: MemoryWire
    target: ConnectionTarget
    answers: bool = True
    received: list[dict[str, Any]] = attrs.Factory(list)
    closed: WireClosed | None = None
    session: dict[str, Any] = attrs.Factory(dict)
    reading: trio.CancelScope = attrs.Factory(trio.CancelScope)
    """Cancel it, and the server reads no more."""

    _news: trio.Event = attrs.Factory(trio.Event)
    _count: int = 0

    async def run(self, greet: Callable[[Connection], Mapping[str, Any] | None]) -> None:
        with self.reading:
            try:
                greeting = greet(self)
                if greeting is not None:
                    await self.send(greeting)
                while True:
                    event = json.loads(await self.wire.receive())
                    self.received.append(event)
                    if self.answers:
                        await self.answer(event)
                    self.tell()
            except WireClosed as closed:
                self.closed = closed
                self.tell()

    def tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def answer(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "session.update":
                self.session |= event["session"]
                await self.send({"type": "session.updated", "session": self.session})
            case "conversation.item.create":
                item = {"object": "realtime.item", "status": "completed", **event["item"]}
                await self.send({"type": "conversation.item.added", "item": item})
                await self.send({"type": "conversation.item.done", "item": item})
            case "conversation.item.delete":
                await self.send({"type": "conversation.item.deleted", "item_id": event["item_id"]})

    async def send(self, event: Mapping[str, Any]) -> None:
        self._count += 1
        await self.wire.send(json.dumps({"event_id": f"event_{self._count}", **event}))

    async def error(self, *, code: str, about: Mapping[str, Any] | None = None, param: str | None = None) -> None:
        event_id = about["event_id"] if about is not None else None
        error = {"type": "invalid_request_error", "code": code, "message": code, "param": param, "event_id": event_id}
        await self.send({"type": "error", "error": error})

    # ---- responses -----------------------------------------------------------------------------------------------

    async def begin(self, request: Mapping[str, Any] | None = None, *, id: str = "resp_1") -> None:
        params = dict(request["response"]) if request is not None else {}
        response = {"id": id, "object": "realtime.response", "status": "in_progress", "output": []}
        out_of_band = params.get("conversation") == "none"
        response |= {"metadata": params.get("metadata"), "conversation_id": None if out_of_band else "conv_1"}
        await self.send({"type": "response.created", "response": response})

    async def begin_item(self, *, id: str = "resp_1", item_id: str = "item_a") -> None:
        item = {"id": item_id, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        await self.send({"type": "response.output_item.added", "response_id": id, "output_index": 0, "item": item})

    async def audio(
        self, seconds: float, *, id: str = "resp_1", item_id: str = "item_a", chunk_s: float = 0.2, fill: int = 1
    ) -> None:
        for _ in range(math.ceil(round(seconds / chunk_s, 6))):
            data = bytes([fill]) * int(SECOND * chunk_s)
            await self.send(
                {
                    "type": "response.output_audio.delta",
                    "response_id": id,
                    "item_id": item_id,
                    "output_index": 0,
                    "content_index": 0,
                    "delta": base64.b64encode(data).decode(),
                }
            )

    async def transcript(self, text: str, *, id: str = "resp_1", item_id: str = "item_a") -> None:
        place = {"response_id": id, "item_id": item_id, "output_index": 0, "content_index": 0}
        await self.send({"type": "response.output_audio_transcript.delta", "delta": text, **place})

    async def done(
        self,
        *,
        id: str = "resp_1",
        status: str = "completed",
        output: list[Any] | None = None,
        reason: str | None = None,
    ) -> None:
        response: dict[str, Any] = {"id": id, "object": "realtime.response", "status": status, "output": output or []}
        if reason is not None:
            response["status_details"] = {"type": status, "reason": reason}
        response["usage"] = {"total_tokens": 15, "input_tokens": 10, "output_tokens": 5}
        await self.send({"type": "response.done", "response": response})

    async def call(self, name: str, arguments: str, *, id: str = "resp_1", call_id: str = "call_1") -> None:
        item = {"id": f"item_{call_id}", "type": "function_call", "name": name, "call_id": call_id}
        item |= {"arguments": arguments, "status": "completed"}
        place = {"response_id": id, "output_index": 0}
        await self.send({"type": "response.output_item.added", "item": {**item, "status": "in_progress"}, **place})
        await self.send({"type": "response.output_item.done", "item": item, **place})

    async def reply(self, text: str = "Hello there.", *, seconds: float = 1.0, id: str = "resp_1") -> None:
        """A whole answer to the next ``response.create``."""
        request = await self.expect("response.create")
        item_id = f"item_{id}"
        await self.begin(request, id=id)
        await self.begin_item(id=id, item_id=item_id)
        await self.transcript(text, id=id, item_id=item_id)
        await self.audio(seconds, id=id, item_id=item_id)
        part = {"type": "output_audio", "transcript": text}
        item = {"id": item_id, "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        await self.send({"type": "response.output_item.done", "response_id": id, "output_index": 0, "item": item})
        await self.done(id=id, output=[item])

    # ---- what the client has said --------------------------------------------------------------------------------

    def of(self, *types: str) -> list[dict[str, Any]]:
        return [event for event in self.received if event["type"] in types]

    async def expect(self, type: str, *, count: int = 1) -> dict[str, Any]:
        """The `count`-th event of this type, waiting for it."""
        with trio.fail_after(100):
            while len(self.of(type)) < count:
                await self._news.wait()
        return self.of(type)[count - 1]

    async def expect_closed(self) -> WireClosed:
        with trio.fail_after(100):
            while self.closed is None:
                await self._news.wait()
        assert self.closed is not None
        return self.closed


def greeting(connection: Connection) -> Mapping[str, Any]:
    connection.session = {"type": "realtime", "id": "sess_1", "model": "gpt-realtime-2.1"}
    return {"type": "session.created", "session": connection.session}


class Service:
    """A `RealtimeModel` whose connections end at a `Connection` in this process."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.connections: list[Connection] = []
        self.greet: Callable[[Connection], Mapping[str, Any] | None] = greeting
        self.answers = True
        self.capacity = 64
        self.left = 0
        self.connected = trio.Event()

    @property
    def last(self) -> Connection:
        return self.connections[-1]

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        await trio.lowlevel.checkpoint()
        client, server = memory_wire_pair(capacity=self.capacity)
        connection = Connection(server, target, answers=self.answers)
        self.connections.append(connection)
        self.connected.set()
        self._nursery.start_soon(connection.run, self.greet)
        try:
            yield client
        finally:
            client.drop()
            self.left += 1


@pytest.fixture
def service(nursery: trio.Nursery) -> Service:
    return Service(nursery)


@pytest.fixture
def make_runner(service: Service) -> Callable[..., RealtimeRunner[Any]]:
    """``make_runner(tools=[...], **config)``: a runner whose sessions reach `service`."""

    def make(*, tools: Any = (), handoffs: Any = (), **config: Any) -> RealtimeRunner[Any]:
        agent = RealtimeAgent(name="Assistant", instructions="Be brief.", tools=list(tools), handoffs=list(handoffs))
        return RealtimeRunner(agent, model=service, config=config)

    return make


@pytest.fixture
def runner(make_runner: Callable[..., RealtimeRunner[Any]]) -> RealtimeRunner[Any]:
    return make_runner()
