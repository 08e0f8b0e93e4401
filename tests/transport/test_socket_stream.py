"""The TCP stream under a client's wire: whole transfers, ends, and how often it lets others run."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from trealtime.transport.socket_stream import SocketStream, open_stream

PATIENCE_S = 10


@pytest.fixture
async def pair() -> AsyncIterator[tuple[SocketStream, trio.SocketStream]]:
    with trio.fail_after(PATIENCE_S):
        (listener, *_) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener:
            ours = await open_stream("127.0.0.1", listener.socket.getsockname()[1])
            theirs = await listener.accept()
            async with ours, theirs:
                yield ours, theirs


async def test_much_more_than_the_socket_holds_goes_both_ways_at_once(pair) -> None:
    ours, theirs = pair
    data = bytes(range(256)) * 64 * 1024

    async def receive(stream: trio.abc.ReceiveStream, into: bytearray) -> None:
        while len(into) < len(data):
            into += await stream.receive_some(65536)

    there, back = bytearray(), bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, data)
        nursery.start_soon(theirs.send_all, data)
        nursery.start_soon(receive, theirs, there)
        nursery.start_soon(receive, ours, back)
    assert there == back == data


async def test_small_messages_go_at_once(pair) -> None:
    """Without the delay of Nagle's algorithm: `trio.open_tcp_stream` has set the option."""
    ours, _ = pair
    assert ours._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_send_that_finds_room_takes_no_turn_and_a_receive_takes_one(pair) -> None:
    ours, theirs = pair
    others = []
    trio.lowlevel.spawn_system_task(_note, others)
    await ours.send_all(b"x")
    assert not others
    assert await theirs.receive_some() == b"x"
    await theirs.send_all(b"y")
    await trio.testing.wait_all_tasks_blocked()
    with trio.testing.assert_checkpoints():
        assert await ours.receive_some() == b"y"


async def test_reads_of_all_that_there_is_of_a_part_and_of_the_rest(pair) -> None:
    ours, theirs = pair
    for sent, max_bytes, expected in ((b"a", 9, b"a"), (b"bcde", 2, b"bc"), (b"", 2, b"de"), (b"f", 9, b"f")):
        if sent:
            await theirs.send_all(sent)
        await trio.testing.wait_all_tasks_blocked()
        with trio.testing.assert_checkpoints():
            assert await ours.receive_some(max_bytes) == expected


async def test_after_a_read_of_all_that_there_was_the_next_one_waits_before_it_asks_the_system(pair) -> None:
    ours, theirs = pair
    calls = []

    class Counted(socket.socket):
        def recv(self, *args: int) -> bytes:
            calls.append(args)
            return super().recv(*args)

    received = []

    async def receive() -> None:
        received.append(await counted.receive_some(9))

    async with SocketStream(Counted(fileno=ours._socket.detach())) as counted:
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
                await theirs.send_all(b"some")
    assert received == [b"some"] * 3
    assert len(calls) == 3 + 1  # the first one could not know


async def test_what_the_socket_does_not_take_at_once_is_kept_and_leaves_before_all_that_follows(pair) -> None:
    ours, theirs = pair
    data = bytes(range(256)) * 64 * 1024
    assert ours.begin_send(b"small")
    assert not ours.begin_send(data)
    assert not ours.begin_send(b"more")
    got = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, b"last")
        while len(got) < 5 + len(data) + 4 + 4:
            got += await theirs.receive_some()
    assert got == b"small" + data + b"morelast"
    await ours.aclose()
    for nothing_or_more in (b"", b"x"):
        with pytest.raises(trio.ClosedResourceError):
            ours.begin_send(nothing_or_more)


async def _send_for_ever(stream: SocketStream) -> None:
    while True:
        await stream.send_all(bytes(65536))


async def _note(runs: list[None]) -> None:
    runs.append(None)


async def test_a_cancelled_task_neither_sends_nor_takes(pair) -> None:
    ours, theirs = pair
    await theirs.send_all(b"y")
    with trio.CancelScope() as scope:
        scope.cancel()
        await ours.send_all(b"never")
    assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel()
        await ours.receive_some()
    assert scope.cancelled_caught
    await ours.send_all(b"sent")
    assert await theirs.receive_some() == b"sent"
    assert await ours.receive_some() == b"y"


async def test_the_ends_of_a_stream(pair) -> None:
    ours, theirs = pair
    await theirs.send_eof()
    assert await ours.receive_some() == b""
    theirs.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await theirs.aclose()  # a reset
    with pytest.raises(trio.BrokenResourceError):
        await _send_for_ever(ours)
    await ours.aclose()
    await ours.aclose()
    for call in (ours.receive_some, ours.wait_send_all_might_not_block, lambda: ours.send_all(b"x")):
        with pytest.raises(trio.ClosedResourceError):
            await call()


async def test_closing_wakes_those_who_wait(pair) -> None:
    ours, _ = pair
    woken = []

    async def waits(call, *args) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await call(*args)
        woken.append(call)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits, ours.receive_some)
        nursery.start_soon(waits, ours.send_all, bytes(2**24))
        await trio.testing.wait_all_tasks_blocked()
        await ours.aclose()
    assert len(woken) == 2
