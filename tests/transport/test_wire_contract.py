"""Every wire keeps the contract of `trealtime.transport.wire`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trio.testing import MockClock

from trealtime.testing.wires import check_wire, open_websocket_wire_pair
from trealtime.transport import Wire, memory_wire_pair


@asynccontextmanager
async def memory_pair() -> AsyncIterator[tuple[Wire, Wire]]:
    yield memory_wire_pair()


async def test_memory_wires_keep_the_contract(autojump_clock: MockClock) -> None:
    await check_wire(memory_pair, clogs=True)


async def test_websocket_wires_over_memory_streams_keep_the_contract(autojump_clock: MockClock) -> None:
    await check_wire(open_websocket_wire_pair)
