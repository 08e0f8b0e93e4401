"""The in-memory pair: what it does beyond the contract that test_wire_contract.py holds every wire to."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trealtime.transport import Wire, WireClosed, memory_wire_pair


def test_a_pair_without_room_for_one_message_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity must be at least 1"):
        memory_wire_pair(capacity=0)


async def test_both_ends_satisfy_the_wire_protocol() -> None:
    client, server = memory_wire_pair()
    assert isinstance(client, Wire)
    assert isinstance(server, Wire)


async def test_a_dropped_connection_is_1006_by_the_network_at_both_ends_after_what_had_arrived() -> None:
    client, server = memory_wire_pair()
    await client.send("to server")
    await server.send("to client")
    client.drop()
    assert await server.receive() == "to server"
    assert await client.receive() == "to client"
    for wire in (client, server):
        with pytest.raises(WireClosed) as caught:
            await wire.receive()
        assert (caught.value.code, caught.value.reason, caught.value.closed_by) == (1006, "", "network")
        with pytest.raises(WireClosed):
            await wire.send("too late")


async def test_a_send_blocks_at_capacity_until_the_peer_reads(autojump_clock: MockClock) -> None:
    client, server = memory_wire_pair(capacity=2)
    await client.send("1")
    await client.send("2")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send, "3")
        await wait_all_tasks_blocked()
        assert client.statistics().messages_sent == 2
        assert await server.receive() == "1"
    assert client.statistics().messages_sent == 3


async def test_a_drop_wakes_a_blocked_send(autojump_clock: MockClock) -> None:
    client, server = memory_wire_pair(capacity=1)
    await client.send("1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect_lost_send, client)
        await wait_all_tasks_blocked()
        server.drop()


async def _expect_lost_send(wire: Wire) -> None:
    with pytest.raises(WireClosed) as caught:
        await wire.send("never arrives")
    assert caught.value.closed_by == "network"


async def test_a_binary_message_arrives_as_bytes() -> None:
    client, server = memory_wire_pair()
    await server.send_binary(b"\x00\x01")
    assert await client.receive() == b"\x00\x01"


async def test_sending_anything_but_text_is_a_type_error_that_leaves_the_wire_whole() -> None:
    client, server = memory_wire_pair()
    with pytest.raises(TypeError, match="a wire sends str, got bytes"):
        await client.send(b"x")  # type: ignore[arg-type]
    await client.send("x")
    assert await server.receive() == "x"
