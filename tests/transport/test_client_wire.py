"""What falls to us above the sans-IO layer of `websockets`: fragments, batches, who reads, who writes, compression."""

from __future__ import annotations

import json
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock
from trio_websocket import WebSocketConnection
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from trealtime.transport import BatchWire, TransportConfig, WireClosed, memory_wire_pair
from trealtime.transport.background import background_nursery
from trealtime.transport.client import QUEUE_SIZE, ClientWire, wrap_websocket_stream
from trealtime.transport.trio_websocket_internals import check_internals
from trealtime.transport.wire import receiver, sender

QUIET = TransportConfig(ping_interval=None)


class Counting:
    """A stream that counts the writes."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.writes: list[bytes] = []

    async def send_all(self, data: bytes) -> None:
        self.writes.append(bytes(data))
        await self._stream.send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


class Peer:
    """A server on the sans-IO layer of `websockets`, driven by the test."""

    def __init__(self, stream: trio.abc.Stream, protocol: ServerProtocol) -> None:
        self.stream = stream
        self.protocol = protocol
        self.request: Request | None = None

    async def accept(self, *, with_it: bytes = b"") -> None:
        """Answer the handshake, with these bytes in the same write."""
        (event,) = await self.events()
        assert isinstance(event, Request)
        self.request = event
        self.protocol.send_response(self.protocol.accept(event))
        await self.stream.send_all(b"".join(self.protocol.data_to_send()) + with_it)

    async def events(self) -> list[object]:
        while True:
            self.protocol.receive_data(await self.stream.receive_some(65536))
            if events := self.protocol.events_received():
                return list(events)

    async def send(self, *frames: Frame) -> None:
        data = b"".join(frame.serialize(mask=False, extensions=self.protocol.extensions) for frame in frames)
        await self.stream.send_all(data)


@asynccontextmanager
async def connected(
    config: TransportConfig = QUIET, *, with_it: bytes = b"", headers: dict[str, str] | None = None, **options: object
) -> AsyncIterator[tuple[ClientWire, Peer, Counting]]:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    peer = Peer(server_stream, ServerProtocol(**options))  # type: ignore[arg-type]
    counting = Counting(client_stream)
    async with background_nursery() as nursery:
        nursery.start_soon(lambda: peer.accept(with_it=with_it))
        async with wrap_websocket_stream(counting, "ws://h/p", headers=headers, config=config) as wire:  # type: ignore[arg-type]
            yield wire, peer, counting


def text(data: str | bytes, *, fin: bool = True) -> Frame:
    return Frame(Opcode.TEXT, data.encode() if isinstance(data, str) else data, fin)


def more(data: bytes, *, fin: bool = False) -> Frame:
    return Frame(Opcode.CONT, data, fin)


# ---- receiving ------------------------------------------------------------------------------------------------------


async def test_messages_of_one_read_come_in_one_batch_as_bytes(autojump_clock: MockClock) -> None:
    async with connected() as (wire, peer, _):
        assert isinstance(wire, BatchWire)
        await peer.send(text("one"), text("zwö"), Frame(Opcode.BINARY, b"\x00"), text(""))
        assert await wire.receive_many() == [b"one", "zwö".encode(), b"\x00", b""]
        await peer.send(text("zwö"), Frame(Opcode.BINARY, b"\x00"))
        assert [await wire.receive(), await wire.receive()] == ["zwö", b"\x00"]
        statistics = wire.statistics()
        assert (statistics.messages_received, statistics.bytes_received) == (6, 13)


async def test_messages_that_come_with_the_answer_to_the_handshake_are_received(autojump_clock: MockClock) -> None:
    first = text("first").serialize(mask=False) + text("second").serialize(mask=False)
    async with connected(with_it=first) as (wire, _, _counting):
        assert [await wire.receive(), await wire.receive()] == ["first", "second"]


async def test_fragments_are_joined_around_pings_and_at_any_place_in_a_character(autojump_clock: MockClock) -> None:
    whole = "ünïcödé 漢字 🎙".encode()
    async with connected() as (wire, peer, _):
        for cut in range(len(whole)):
            await peer.send(
                text(whole[:cut], fin=False), Frame(Opcode.PING, b"x"), more(whole[cut:]), more(b"", fin=True)
            )
            assert await wire.receive() == whole.decode()
        await peer.send(Frame(Opcode.BINARY, b"\xff", fin=False), *[more(b"")] * 1000, more(b"\xfe", fin=True))
        assert await wire.receive() == b"\xff\xfe"


@pytest.mark.parametrize(
    "frames", [[text(b"\xff")], [text(b"a", fin=False), more(b"\xff", fin=True)], [text(b"\xed\xa0\x80")]]
)
async def test_text_that_is_not_utf8_ends_the_wire_after_what_came_before_it(
    frames: list[Frame], autojump_clock: MockClock
) -> None:
    async with connected() as (wire, peer, _):
        await peer.send(text("good"), *frames, text("never"))
        assert await wire.receive_many() == [b"good"]
        for call in (wire.receive_many, wire.receive, lambda: wire.send("x")):
            with pytest.raises(WireClosed) as caught:
                await call()
            assert (caught.value.code, caught.value.closed_by) == (1007, "client")
        (close,) = await peer.events()
        assert isinstance(close, Frame)
        assert close.opcode is Opcode.CLOSE
        assert close.data[:2] == (1007).to_bytes(2)


async def test_fragments_past_the_limit_together_close_with_1009(autojump_clock: MockClock) -> None:
    async with connected(TransportConfig(ping_interval=None, max_size=1000)) as (wire, peer, _):
        await peer.send(text("x" * 600, fin=False), more(b"x" * 400, fin=True))
        assert len(await wire.receive()) == 1000
        await peer.send(text("x" * 600, fin=False), more(b"x" * 401, fin=True))
        with pytest.raises(WireClosed) as caught:
            await wire.receive()
        assert (caught.value.code, caught.value.closed_by) == (1009, "client")


async def test_a_task_that_stops_receiving_is_stood_in_for_by_the_background_within_a_second(
    autojump_clock: MockClock,
) -> None:
    async with connected() as (wire, peer, _):
        for round_ in range(3):
            await peer.send(text(str(round_)))
            assert await wire.receive() == str(round_)
            await peer.send(Frame(Opcode.PING, b"there?"))
            began_at = trio.current_time()
            with trio.fail_after(1.01):
                (pong,) = await peer.events()
            assert isinstance(pong, Frame)
            assert pong.opcode is Opcode.PONG
            assert trio.current_time() - began_at <= 1


async def test_the_background_keeps_no_more_than_its_queue_and_one_read(autojump_clock: MockClock) -> None:
    async with connected() as (wire, peer, _):
        for number in range(QUEUE_SIZE * 3):
            await peer.send(text(str(number)))
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(10)
        assert len(wire._messages) == QUEUE_SIZE
        received: list[bytes] = []
        while len(received) < QUEUE_SIZE * 3:
            received += [each for each in await wire.receive_many() if isinstance(each, bytes)]
        assert received == [str(number).encode() for number in range(QUEUE_SIZE * 3)]


async def test_a_wire_on_which_a_task_waits_has_no_timer(autojump_clock: MockClock) -> None:
    """A thousand sessions that wait for events must not wake up once a second each."""

    async def wait_for_messages(wire: ClientWire) -> None:
        while True:
            await wire.receive_many()

    async with connected() as (wire, peer, _), trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_messages, wire)
        await trio.testing.wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        await peer.send(text("one"))
        await trio.testing.wait_all_tasks_blocked()
        statistics = trio.lowlevel.current_statistics()
        assert (statistics.tasks_living, statistics.seconds_to_next_deadline) == (tasks, math.inf)
        nursery.cancel_scope.cancel()


async def test_a_task_that_took_all_messages_and_is_cancelled_is_stood_in_for(autojump_clock: MockClock) -> None:
    async with connected() as (wire, peer, _):
        await peer.send(text("one"))
        assert await wire.receive_many() == [b"one"]
        with trio.move_on_after(5):
            await wire.receive_many()
        await peer.send(Frame(Opcode.PING, b"there?"))
        with trio.fail_after(1.01):
            (pong,) = await peer.events()
        assert isinstance(pong, Frame)
        assert pong.opcode is Opcode.PONG
        await peer.send(text("two"))
        assert await wire.receive_many() == [b"two"]


# ---- sending --------------------------------------------------------------------------------------------------------


async def test_a_message_is_one_write_and_several_are_one_too(autojump_clock: MockClock) -> None:
    async with connected() as (wire, peer, stream):
        stream.writes.clear()
        await wire.send("one")
        assert len(stream.writes) == 1
        await wire.send_many(["two", "drei ü".encode(), "four"])
        assert len(stream.writes) == 2
        frames = [frame for frame in await peer.events() if isinstance(frame, Frame)]
        assert [bytes(frame.data).decode() for frame in frames] == ["one", "two", "drei ü", "four"]
        assert wire.statistics().messages_sent == 4


async def test_a_send_is_on_the_stream_in_the_very_step_of_the_call(autojump_clock: MockClock) -> None:
    async with connected() as (wire, _, stream):
        stream.writes.clear()
        writes_after_step: list[int] = []

        class Steps(trio.abc.Instrument):
            def after_task_step(self, task: trio.lowlevel.Task) -> None:
                writes_after_step.append(len(stream.writes))

        await trio.testing.wait_all_tasks_blocked()
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await wire.send_many([b"one"])
        trio.lowlevel.remove_instrument(steps)
        assert writes_after_step[0] == 1


async def test_pongs_go_out_between_the_messages_of_a_busy_sender_and_tear_nothing(autojump_clock: MockClock) -> None:
    async with connected() as (wire, peer, _):
        got: list[Frame] = []

        async def send_all() -> None:
            for number in range(200):
                await wire.send(str(number))
            await wire.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all)
            for number in range(50):
                await peer.send(Frame(Opcode.PING, str(number).encode()))
                await trio.lowlevel.checkpoint()
            while not any(frame.opcode is Opcode.CLOSE for frame in got):
                got += [frame for frame in await peer.events() if isinstance(frame, Frame)]
            await peer.stream.send_all(b"".join(peer.protocol.data_to_send()))
        assert [bytes(frame.data) for frame in got if frame.opcode is Opcode.TEXT] == [
            str(n).encode() for n in range(200)
        ]
        pongs = [int(bytes(frame.data)) for frame in got if frame.opcode is Opcode.PONG]
        assert pongs == sorted(pongs)
        assert got[-1].opcode is Opcode.CLOSE


# ---- opening --------------------------------------------------------------------------------------------------------


async def test_a_subprotocol_that_the_headers_offer_may_be_chosen(autojump_clock: MockClock) -> None:
    headers = {"Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key.k"}
    async with connected(headers=headers, subprotocols=["realtime"]) as (wire, peer, _):
        assert peer.request is not None
        assert peer.request.headers["Sec-WebSocket-Protocol"] == "realtime, openai-insecure-api-key.k"
        await peer.send(text("open"))
        assert await wire.receive() == "open"


async def test_compression_is_offered_where_it_is_asked_for_and_bounded_as_before(autojump_clock: MockClock) -> None:
    deflate = [ServerPerMessageDeflateFactory()]
    async with connected(extensions=deflate) as (_, peer, _counting):
        assert peer.request is not None
        assert "Sec-WebSocket-Extensions" not in peer.request.headers
    config = TransportConfig(ping_interval=None, compression="deflate", max_size=100_000)
    async with connected(config, extensions=deflate) as (wire, peer, stream):
        stream.writes.clear()
        await wire.send("x" * 50_000)
        assert sum(map(len, stream.writes)) < 1000
        await peer.send(text("y" * 50_000))
        assert await wire.receive() == "y" * 50_000
        await peer.send(text("bomb" * 1_000_000))
        with pytest.raises(WireClosed) as caught:
            await wire.receive()
        assert (caught.value.code, caught.value.closed_by) == (1009, "client")


async def test_the_key_is_not_in_the_debug_log(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with connected(headers={"Authorization": "Bearer sk-very-secret"}) as (_, peer, _counting):
        assert peer.request is not None
        assert peer.request.headers["Authorization"] == "Bearer sk-very-secret"
    client_side = [record.getMessage() for record in caplog.records if record.name != "websockets.server"]
    assert "sk-very-secret" not in "\n".join(client_side)


# ---- any wire has both ----------------------------------------------------------------------------------------------


class Plain:
    """A wire of a user: the four methods."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send(self, message: str) -> None:
        self.sent.append(message)

    async def receive(self) -> str:
        return json.dumps(len(self.sent))

    async def aclose(self, code: int = 1000, reason: str = "") -> None: ...

    def statistics(self) -> None: ...


async def test_a_wire_of_the_users_receives_and_sends_in_batches_of_one() -> None:
    wire = Plain()
    await sender(wire)(["a", b"b"])  # type: ignore[arg-type]
    assert wire.sent == ["a", "b"]
    assert await receiver(wire)() == ("2",)  # type: ignore[arg-type]


async def test_a_memory_wire_gives_what_waits(autojump_clock: MockClock) -> None:
    client, server = memory_wire_pair()
    await server.send_many(["a", b"b", "c"])
    assert await client.receive_many() == ["a", "b", "c"]
    await server.aclose(1001)
    with pytest.raises(WireClosed):
        await client.receive_many()


def test_a_trio_websocket_without_what_we_need_of_it_is_named_with_its_version() -> None:
    class Other:
        _stream = None

    with pytest.raises(ImportError, match=r"trio-websocket \d+\.\d+\S* has no _close_handshake, "):
        check_internals(Other())
    assert issubclass(WebSocketConnection, object)


def test_random_bytes_from_a_server_never_raise_anything_but_the_end_of_the_wire() -> None:
    async def one(seed: int) -> None:
        async with connected() as (wire, peer, _):
            await peer.stream.send_all(random.Random(seed).randbytes(200))
            await peer.stream.aclose()
            with pytest.raises(WireClosed):  # noqa: PT012  # some of it may be read as messages
                while True:
                    await wire.receive_many()

    for seed in range(200):
        trio.run(one, seed, clock=MockClock(autojump_threshold=0))
