"""Every wire keeps the contract of `trealtime.transport.wire`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from trealtime.testing.wires import check_wire, open_websocket_wire_pair
from trealtime.transport import Wire, WireClosed, memory_wire_pair

Pair = Callable[[], AbstractAsyncContextManager[tuple[Wire, Wire]]]


@asynccontextmanager
async def memory_pair() -> AsyncIterator[tuple[Wire, Wire]]:
    yield memory_wire_pair()


async def test_memory_wires_keep_the_contract(autojump_clock: MockClock) -> None:
    await check_wire(memory_pair, clogs=True)


async def test_websocket_wires_over_memory_streams_keep_the_contract(autojump_clock: MockClock) -> None:
    await check_wire(open_websocket_wire_pair)


@asynccontextmanager
async def turned(pair: Pair) -> AsyncIterator[tuple[Wire, Wire]]:
    """The pair with its server's end first."""
    async with pair() as (client, server):
        yield server, client


ENDS = [memory_pair, open_websocket_wire_pair, partial(turned, memory_pair), partial(turned, open_websocket_wire_pair)]


@pytest.mark.parametrize("pair", ENDS)
@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, True])
async def test_a_code_that_may_not_be_sent_is_refused_and_the_wire_goes_on(pair, code, autojump_clock) -> None:
    async with pair() as (closes, other):
        with pytest.raises(ValueError, match=f"3000 to 4999; got {code}"):
            await closes.aclose(code)
        await closes.send("hello")
        assert await other.receive() == "hello"


@pytest.mark.parametrize("pair", ENDS)
@pytest.mark.parametrize("reason, told", [("x" * 200, "x" * 123), ("é" * 100, "é" * 61), ("漢" * 41, "漢" * 41)])
async def test_a_reason_is_cut_to_what_a_close_frame_holds(pair, reason, told, autojump_clock) -> None:
    async with pair() as (closes, other):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(closes.aclose, 4000, reason)
            with pytest.raises(WireClosed) as caught:
                await other.receive()
        assert (caught.value.code, caught.value.reason) == (4000, told)
