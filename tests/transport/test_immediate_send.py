"""`ClientWire.send_nowait`: what leaves in the step of the caller, what the socket does not take at once, and when
nothing leaves."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress

import pytest
import trio
import trio.testing
from tight_stream import TightStream, tight_stream_pair
from trio.testing import MockClock
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from trealtime.testing.schedules import cancel_at_each_checkpoint
from trealtime.testing.wires import check_wire
from trealtime.transport import ImmediateWire, TransportConfig, Wire, WireClosed, memory_wire_pair
from trealtime.transport.background import background_nursery
from trealtime.transport.client import ClientWire, wrap_websocket_stream
from trealtime.transport.socket_stream import ImmediateStream, SocketStream
from trealtime.transport.tls_stream import TLSStream
from trealtime.transport.websocket import accept_websocket_stream
from trealtime.transport.wire import immediate_sender

QUIET = TransportConfig(ping_interval=None)
MESSAGE = "x" * 100
FRAME_BYTES = 106
"""A masked frame of `MESSAGE`."""


class Peer:
    """A server that keeps what it is sent."""

    def __init__(self, stream: TightStream) -> None:
        self.stream = stream
        self.protocol = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()])
        self.frames: list[Frame] = []

    async def run(self) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await self.stream.receive_some():
                self.protocol.receive_data(data)
                for event in self.protocol.events_received():
                    if isinstance(event, Request):
                        self.protocol.send_response(self.protocol.accept(event))
                    else:
                        assert isinstance(event, Frame)
                        self.frames.append(event)
                if answer := b"".join(self.protocol.data_to_send()):
                    await self.stream.send_all(answer)

    @property
    def texts(self) -> list[str]:
        return [bytes(frame.data).decode() for frame in self.frames if frame.opcode is Opcode.TEXT]


@asynccontextmanager
async def connected(config: TransportConfig = QUIET) -> AsyncIterator[tuple[ClientWire, TightStream, Peer]]:
    stream, far = tight_stream_pair()
    peer = Peer(far)
    async with background_nursery() as nursery:
        nursery.start_soon(peer.run)
        async with wrap_websocket_stream(stream, config=config) as wire:
            await trio.testing.wait_all_tasks_blocked()
            stream.writes.clear()
            yield wire, stream, peer


async def test_a_message_is_on_the_stream_when_the_call_returns(autojump_clock: MockClock) -> None:
    async with connected() as (wire, stream, peer):
        assert isinstance(wire, ImmediateWire)
        assert wire.send_nowait([MESSAGE])
        assert len(stream.writes) == 1
        assert wire.send_nowait(["zwö", b"three"])
        assert len(stream.writes) == 2
        assert wire.statistics().messages_sent == 3
        assert wire.statistics().bytes_sent == 100 + 4 + 5
        await trio.testing.wait_all_tasks_blocked()
        assert peer.texts == [MESSAGE, "zwö", "three"]


async def test_messages_of_a_compressed_connection_are_compressed(autojump_clock: MockClock) -> None:
    async with connected(TransportConfig(ping_interval=None, compression="deflate")) as (wire, stream, peer):
        assert wire.send_nowait([MESSAGE, "zwö"])
        await wire.send("after")
        assert wire.send_nowait([MESSAGE])
        await trio.testing.wait_all_tasks_blocked()
        assert peer.texts == [MESSAGE, "zwö", "after", MESSAGE]
        assert len(stream.writes[0]) < 100


async def test_without_the_compiled_part_of_websockets_it_writes_the_frames_itself(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trealtime.transport.client.MASKED_FRAMES", None)
    async with connected() as (wire, stream, peer):
        assert wire.send_nowait([MESSAGE, b"three"])
        assert len(stream.writes) == 1
        await trio.testing.wait_all_tasks_blocked()
        assert peer.texts == [MESSAGE, "three"]


@pytest.mark.parametrize("room", [0, 1, 6, 50, FRAME_BYTES - 1])
async def test_what_the_socket_does_not_take_at_once_follows_before_anything_else(
    room: int, autojump_clock: MockClock
) -> None:
    async with connected() as (wire, stream, peer), trio.open_nursery() as nursery:
        stream.room = room
        assert wire.send_nowait([MESSAGE])
        assert not wire.send_nowait(["never"])
        nursery.start_soon(wire.send, "after")
        await peer.stream.send_all(Frame(Opcode.PING, b"there?").serialize(mask=False))
        with trio.move_on_after(1) as scope:
            await wire.receive()  # reads the ping, whose answer has to wait too
        assert scope.cancelled_caught
        assert not wire.send_nowait(["never"])
        assert peer.frames == []
        assert wire.statistics().messages_sent == 0
        stream.give_room()
        await trio.testing.wait_all_tasks_blocked()
        assert peer.texts == [MESSAGE, "after"]
        assert [frame.opcode for frame in peer.frames].count(Opcode.PONG) == 1
        assert wire.statistics().messages_sent == 2
        assert wire.send_nowait(["next"])


@pytest.mark.parametrize("step", [1, 7, 105])
async def test_a_message_that_leaves_in_many_pieces_is_whole(step: int, autojump_clock: MockClock) -> None:
    async with connected() as (wire, stream, peer):
        stream.room = 0
        for number in range(3):
            assert wire.send_nowait([f"{number}{MESSAGE}"])
            while len(peer.texts) <= number:
                stream.give_room(step)
                await trio.testing.wait_all_tasks_blocked()
            stream.room = 0
        assert peer.texts == [f"{number}{MESSAGE}" for number in range(3)]


async def test_nothing_is_sent_while_another_task_sends(autojump_clock: MockClock) -> None:
    async with connected() as (wire, stream, peer), trio.open_nursery() as nursery:
        stream.room = 10
        nursery.start_soon(wire.send, MESSAGE)
        await trio.testing.wait_all_tasks_blocked()
        assert not wire.send_nowait(["never"])
        stream.give_room()
        await trio.testing.wait_all_tasks_blocked()
        assert peer.texts == [MESSAGE]


async def _close(wire: ClientWire, stream: TightStream, peer: Peer) -> None:
    await wire.aclose(1000)


async def _be_closed(wire: ClientWire, stream: TightStream, peer: Peer) -> None:
    peer.protocol.send_close(1001)
    await stream_out(peer)
    with pytest.raises(WireClosed):
        await wire.receive()


async def _lose(wire: ClientWire, stream: TightStream, peer: Peer) -> None:
    await peer.stream.aclose()
    with pytest.raises(WireClosed):
        await wire.receive()


async def _break(wire: ClientWire, stream: TightStream, peer: Peer) -> None:
    stream.broken = True


async def _drop(wire: ClientWire, stream: TightStream, peer: Peer) -> None:
    await stream.aclose()


async def stream_out(peer: Peer) -> None:
    await peer.stream.send_all(b"".join(peer.protocol.data_to_send()))


@pytest.mark.parametrize("end", [_close, _be_closed, _lose, _break, _drop])
async def test_on_a_wire_that_has_ended_nothing_is_sent_or_raised_and_sending_says_how_it_ended(
    end: Callable[[ClientWire, TightStream, Peer], Awaitable[object]], autojump_clock: MockClock
) -> None:
    async with connected() as (wire, stream, peer):
        await end(wire, stream, peer)
        for _ in range(2):
            assert not wire.send_nowait([MESSAGE])
        with pytest.raises(WireClosed):
            await wire.send(MESSAGE)
        assert peer.texts == []
        assert wire.statistics().messages_sent == 0


async def test_a_stream_that_breaks_under_the_rest_is_found_out_by_those_who_receive_and_send(
    autojump_clock: MockClock,
) -> None:
    async with connected() as (wire, stream, peer), trio.open_nursery() as nursery:
        stream.room = 10
        assert wire.send_nowait([MESSAGE])
        nursery.start_soon(_fails, wire.send, "after")
        await trio.testing.wait_all_tasks_blocked()
        stream.broken = True
        stream.give_room()
        await peer.stream.aclose()
        await _fails(wire.receive)
        assert not wire.send_nowait(["never"])
        assert wire.statistics().messages_sent == 0


async def _fails(call: Callable[..., Awaitable[object]], *args: object) -> None:
    with pytest.raises(WireClosed):
        await call(*args)


async def test_a_close_comes_after_the_rest(autojump_clock: MockClock) -> None:
    async with connected() as (wire, stream, peer), trio.open_nursery() as nursery:
        stream.room = 10
        assert wire.send_nowait([MESSAGE])
        nursery.start_soon(wire.aclose)
        await trio.testing.wait_all_tasks_blocked()
        stream.give_room()
        await trio.testing.wait_all_tasks_blocked()
        assert peer.texts == [MESSAGE]
        assert peer.frames[-1].opcode is Opcode.CLOSE


async def test_a_close_behind_a_peer_that_takes_nothing_ends_with_its_timeout(autojump_clock: MockClock) -> None:
    async with connected(TransportConfig(ping_interval=None, close_timeout=3)) as (wire, stream, _):
        stream.room = 10
        assert wire.send_nowait([MESSAGE])
        began_at = trio.current_time()
        await wire.aclose()
        assert trio.current_time() - began_at == pytest.approx(3)


async def test_a_wire_that_is_left_in_the_middle_of_the_rest_sends_nothing_after_it(autojump_clock: MockClock) -> None:
    async def leave(cancel_here: Callable[[], AbstractContextManager[object]]) -> None:
        stream, far = tight_stream_pair()
        peer = Peer(far)
        late: list[bool] = []
        async with background_nursery() as nursery:
            nursery.start_soon(peer.run)
            with cancel_here():
                async with wrap_websocket_stream(stream, config=QUIET) as wire:
                    stream.room = 10
                    assert wire.send_nowait([MESSAGE])
                    await trio.lowlevel.checkpoint()
                    stream.give_room(50)
                    await trio.sleep(1)
                late.append(wire.send_nowait(["late"]))
                with pytest.raises(WireClosed):
                    await wire.send("late")
            stream.give_room()
            await trio.testing.wait_all_tasks_blocked()
        assert not any(late)
        assert peer.texts == []

    assert await cancel_at_each_checkpoint(leave) > 5


async def test_a_task_that_waits_behind_the_rest_of_a_wire_that_is_left_writes_nothing_after_half_a_frame(
    autojump_clock: MockClock,
) -> None:
    stream, far = tight_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Peer(far).run)
        async with wrap_websocket_stream(stream, config=QUIET) as wire:
            stream.room = 10
            assert wire.send_nowait([MESSAGE])
            nursery.start_soon(_fails, wire.send, "after")
            await trio.testing.wait_all_tasks_blocked()
            stream.writes.clear()
            stream.room = math.inf
        await trio.testing.wait_all_tasks_blocked()
        assert stream.writes == []
        await far.aclose()


async def test_while_a_wire_is_left_it_begins_nothing_that_it_could_not_finish(autojump_clock: MockClock) -> None:
    async def ask_again_and_again(wire: ClientWire, answers: list[bool]) -> None:
        while True:
            answers.append(wire.send_nowait([MESSAGE]))
            await trio.lowlevel.checkpoint()

    for _ in range(20):  # the tasks of a pass run in any order
        answers: list[bool] = []
        stream, far = tight_stream_pair()
        async with background_nursery() as nursery:
            nursery.start_soon(Peer(far).run)
            async with wrap_websocket_stream(stream, config=QUIET) as wire:
                nursery.start_soon(ask_again_and_again, wire, answers)
                while not answers:
                    await trio.lowlevel.checkpoint()
                assert all(answers)
                answers.clear()
                stream.room = 0
            await trio.lowlevel.checkpoint()
            assert answers
            assert not any(answers)


async def test_pings_of_the_wire_go_after_the_rest(autojump_clock: MockClock) -> None:
    async with connected(TransportConfig(ping_interval=1, ping_timeout=None)) as (wire, stream, peer):
        stream.room = 10
        assert wire.send_nowait([MESSAGE])
        await trio.sleep(1.5)
        stream.give_room()
        await trio.testing.wait_all_tasks_blocked()
        assert [frame.opcode for frame in peer.frames] == [Opcode.TEXT, Opcode.PING]


def test_the_streams_of_dialled_wires_are_immediate_streams_and_trios_own_are_not() -> None:
    for stream_class in (SocketStream, TLSStream):
        assert issubclass(stream_class, ImmediateStream)
    for stream_class in (trio.SSLStream, trio.SocketStream):
        assert not issubclass(stream_class, ImmediateStream)


async def test_over_a_stream_that_cannot_nothing_is_sent(autojump_clock: MockClock) -> None:
    stream, far_stream = trio.testing.memory_stream_pair()
    async with background_nursery() as nursery:

        async def serve() -> None:
            async with accept_websocket_stream(far_stream) as upgrade:
                far = await upgrade.accept()
                assert await far.receive() == "first"

        nursery.start_soon(serve)
        async with wrap_websocket_stream(stream, config=QUIET) as wire:
            assert not wire.send_nowait(["never"])
            await wire.send("first")


def test_wires_without_it_send_nothing_without_waiting() -> None:
    client, _ = memory_wire_pair()
    assert not isinstance(client, ImmediateWire)
    assert immediate_sender(client)(["never"]) is False


@pytest.mark.parametrize("room", [math.inf, 0])
async def test_wires_over_such_streams_keep_the_contract(room: float, autojump_clock: MockClock) -> None:
    """Also where the socket is always full, and empties in pieces of 10,000 bytes."""

    @asynccontextmanager
    async def pair() -> AsyncIterator[tuple[Wire, Wire]]:
        stream, far_stream = tight_stream_pair()
        accepted = trio.Event()
        servers: list[Wire] = []

        async def serve() -> None:
            async with accept_websocket_stream(far_stream) as upgrade:
                servers.append(await upgrade.accept())
                accepted.set()
                await trio.sleep_forever()

        async def empty() -> None:
            while True:
                await trio.sleep(0.001)
                stream.give_room(10_000)

        async with background_nursery() as nursery:
            nursery.start_soon(serve)
            async with wrap_websocket_stream(stream, config=QUIET) as client:
                await accepted.wait()
                stream.room = room
                if not room:
                    nursery.start_soon(empty)
                yield client, servers[0]

    await check_wire(pair)
