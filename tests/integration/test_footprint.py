"""What a session takes while nothing happens: tasks, nurseries, objects. Bytes are for the benchmark ``idle``."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from trealtime import RealtimeAgent, RealtimeRunner, RealtimeSession, function_tool, open_emulator
from trealtime.emulator import Emulator
from trealtime.testing import open_manual_server
from trealtime.transport.client import wrap_websocket_stream
from trealtime.transport.config import TransportConfig
from trealtime.transport.models import ConnectionTarget
from trealtime.transport.wire import Wire

SESSIONS = 20

OBJECTS = 480
"""The most that one session may add to what the garbage collector tracks, its wire in memory included."""


@attrs.frozen
class _Framed:
    """The emulator behind real WebSocket frames, as on a socket."""

    _emulator: Emulator

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        client, server = trio.testing.memory_stream_pair()
        self._emulator._nursery.start_soon(self._emulator._serve, server, TransportConfig())
        async with wrap_websocket_stream(client, "ws://localhost/v1/realtime") as wire:
            yield wire


async def test_an_idle_session_is_four_tasks_in_four_nurseries(autojump_clock) -> None:
    async with open_emulator(listen=False) as emulator, trio.open_nursery() as app:
        runner = RealtimeRunner(RealtimeAgent(name="Idle"), model=_Framed(emulator))

        async def idle(*, task_status: trio.TaskStatus[trio.lowlevel.Task]) -> None:
            async with runner.session() as session:
                task_status.started(trio.lowlevel.current_task())
                async for _ in session:
                    pass

        body = await app.start(idle)
        await trio.sleep(2)
        tasks, nurseries = below(body)
        app.cancel_scope.cancel()
    assert tasks == [
        "ClientWire.keep_alive",  # pings
        "Connections._hold",  # opens the connection, reads it, and leaves it
        "Lifetime._guard",  # the writer
        "Lifetime._serve",  # keeps the deadlines, and ends the session
    ]
    # Around the body, around the service tasks, around reader and writer, and the wire's.
    assert nurseries == 4


async def test_what_the_server_repeats_of_an_agent_is_kept_once(autojump_clock) -> None:
    @function_tool
    async def find_order(order_id: int) -> str:
        """Find an order."""
        return ""

    async with open_emulator(listen=False) as emulator:
        agent = RealtimeAgent(name="Desk", instructions="Be brief. " * 100, tools=[find_order])
        async with RealtimeRunner(agent, model=_Framed(emulator)).session() as session:
            kept = session.settings
            assert kept["instructions"] is agent.instructions
            (tool,) = kept["tools"]
            assert tool["description"] is find_order.description
            assert tool["parameters"] == find_order.params_json_schema


def below(task: trio.lowlevel.Task) -> tuple[list[str], int]:
    """The names of the tasks below `task`, sorted, and the number of nurseries in which they are."""
    names: list[str] = []
    count, waiting = 0, [task]
    while waiting:
        for nursery in waiting.pop().child_nurseries:
            count += 1
            waiting += nursery.child_tasks
            names += [".".join(child.name.split(".")[-2:]) for child in nursery.child_tasks]
    return sorted(names), count


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts what CPython's garbage collector tracks")
async def test_an_idle_session_is_few_objects(autojump_clock) -> None:
    async with open_manual_server() as server, AsyncExitStack() as stack:
        runner = RealtimeRunner(RealtimeAgent(name="Idle"), model=server)

        async def objects_after(sessions: int) -> int:
            for _ in range(sessions):
                session: RealtimeSession[None] = await stack.enter_async_context(runner.session())
                await anext(aiter(session))
            await trio.testing.wait_all_tasks_blocked()
            gc.collect()
            return len(gc.get_objects())

        before = await objects_after(1)  # the first makes what all share
        assert (await objects_after(SESSIONS) - before) / SESSIONS <= OBJECTS
