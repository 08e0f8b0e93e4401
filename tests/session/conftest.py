"""`trealtime.testing.open_manual_server`, with the words of these tests."""

from __future__ import annotations

import base64
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.testing import ManualServer, ServerConnection, open_manual_server
from trealtime.transport.wire import WireClosed

SECOND = 48_000
"""Bytes of one second of PCM16."""


class Connection(ServerConnection):
    """`ServerConnection`, with the ids that these tests assert and the answers that they give most."""

    async def error(self, *, code: str, about: Mapping[str, Any] | None = None, param: str | None = None) -> None:
        event_id = about["event_id"] if about is not None else None
        await self.emit("error", error={"code": code, "message": code, "param": param, "event_id": event_id})

    async def begin(self, request: Mapping[str, Any] | None = None, *, id: str = "resp_1") -> None:
        await self.begin_response(request, response_id=id)

    async def begin_item(self, *, id: str = "resp_1", item_id: str = "item_a") -> None:
        item = {"id": item_id, "role": "assistant"}
        await self.emit("response.output_item.added", response_id=id, item=item)

    async def audio(
        self, seconds: float, *, id: str = "resp_1", item_id: str = "item_a", chunk_s: float = 0.2, fill: int = 1
    ) -> None:
        for _ in range(math.ceil(round(seconds / chunk_s, 6))):
            delta = base64.b64encode(bytes([fill]) * int(SECOND * chunk_s)).decode()
            await self.emit("response.output_audio.delta", response_id=id, item_id=item_id, delta=delta)

    async def transcript(self, text: str, *, id: str = "resp_1", item_id: str = "item_a") -> None:
        await self.emit("response.output_audio_transcript.delta", response_id=id, item_id=item_id, delta=text)

    async def done(
        self,
        *,
        id: str = "resp_1",
        status: str = "completed",
        output: list[Any] | None = None,
        reason: str | None = None,
    ) -> None:
        details = None if reason is None else {"type": status, "reason": reason}
        usage = {"total_tokens": 15, "input_tokens": 10, "output_tokens": 5}
        usage |= {"input_token_details": None, "output_token_details": None}
        response = {"id": id, "status": status, "output": output or [], "status_details": details, "usage": usage}
        await self.emit("response.done", response=response)

    async def call(self, name: str, arguments: str, *, id: str = "resp_1", call_id: str = "call_1") -> None:
        item = {"id": f"item_{call_id}", "type": "function_call", "name": name, "call_id": call_id}
        item |= {"arguments": arguments}
        await self.emit("response.output_item.added", response_id=id, item=item)
        await self.emit("response.output_item.done", response_id=id, item=item)

    async def calls(self, *names: str, arguments: str = "{}", id: str = "resp_1", **done: Any) -> None:
        """A response that calls functions, with the ids ``resp_1_call_1``, ``resp_1_call_2``, ... by its own."""
        await self.begin(id=id)
        for number, name in enumerate(names, 1):
            await self.call(name, arguments, id=id, call_id=f"{id}_call_{number}")
        await self.done(id=id, **done)

    async def reply(self, text: str = "Hello there.", *, seconds: float = 1.0, id: str = "resp_1") -> None:
        """A whole answer to the next ``response.create``."""
        request = await self.expect("response.create")
        item_id = f"item_{id}"
        await self.begin(request, id=id)
        await self.begin_item(id=id, item_id=item_id)
        await self.transcript(text, id=id, item_id=item_id)
        await self.audio(seconds, id=id, item_id=item_id)
        item = {"id": item_id, "role": "assistant", "content": [{"type": "output_audio", "transcript": text}]}
        event = await self.emit("response.output_item.done", response_id=id, item=item)
        await self.done(id=id, output=[event["item"]])

    # ---- what the client has said --------------------------------------------------------------------------------

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The session objects of the client's ``session.update`` events."""
        return [event["session"] for event in self.of("session.update")]

    @property
    def outputs(self) -> dict[str, str]:
        """What the client has told of function calls, by their ids."""
        items = [event["item"] for event in self.of("conversation.item.create")]
        return {item["call_id"]: item["output"] for item in items if item["type"] == "function_call_output"}

    async def output(self, call_id: str = "resp_1_call_1") -> str:
        """What the client tells of this call, waiting for it."""
        count = 0
        while call_id not in self.outputs:
            count += 1
            await self.expect("conversation.item.create", count=count)
        return self.outputs[call_id]

    def of(self, *types: str) -> list[dict[str, Any]]:
        return self.received_of(*types)

    async def expect(self, type: str, *, count: int = 1) -> dict[str, Any]:
        """The `count`-th event of this type, waiting for it."""
        with trio.fail_after(100):
            return await self.wait_received(type, count=count)

    async def expect_closed(self) -> WireClosed:
        with trio.fail_after(100):
            return await self.wait_closed()


Service = ManualServer[Connection]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with open_manual_server(Connection) as server:
        yield server


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


@pytest.fixture
def run(service: Service) -> Callable[..., RealtimeRunner[Any]]:
    """``run(agent, **config)``: a runner whose sessions reach `service`."""

    def make(agent: RealtimeAgent[Any], **config: Any) -> RealtimeRunner[Any]:
        return RealtimeRunner(agent, model=service, config=config)

    return make


@pytest.fixture
def dial(service, monkeypatch):
    """``dial.refuse(...)``: what the next attempts to connect raise."""

    class Dial:
        def __init__(self) -> None:
            self.errors: list[BaseException] = []
            self.times: list[float] = []
            self.hangs = False

        def refuse(self, *errors: BaseException) -> None:
            self.errors += errors

    dial = Dial()
    connect = service.connect

    @asynccontextmanager
    async def connecting(target):
        dial.times.append(trio.current_time())
        if dial.hangs:
            await trio.sleep_forever()
        if dial.errors:
            raise dial.errors.pop(0)
        async with connect(target) as wire:
            yield wire

    monkeypatch.setattr(service, "connect", connecting)
    return dial
