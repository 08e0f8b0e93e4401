"""The WebSocket wire against peers that misbehave, frame by frame, over memory streams and the mock clock.

The peer is a bare wsproto connection driven by the test (`RawPeer`), so that it can do what no proper library would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from trealtime.errors import ConnectFailed
from trealtime.testing.schedules import CancelHere, cancel_at_each_checkpoint
from trealtime.testing.wires import open_websocket_wire_pair
from trealtime.transport import TransportConfig, Wire, WireClosed
from trealtime.transport.background import background_nursery
from trealtime.transport.websocket import accept_websocket_stream, wrap_websocket_stream

QUIET = TransportConfig(ping_interval=None)


class RawPeer:
    """The server's end of a WebSocket, one event at a time."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.ws = WSConnection(ConnectionType.SERVER)
        self._events: list[Event] = []

    async def next_event(self) -> Event | None:
        """What the client sends next, whole messages in one event; None at the end of the stream."""
        text = ""
        while True:
            while not self._events:
                data = await self.stream.receive_some(65536)
                if not data:
                    return None
                self.ws.receive_data(data)
                self._events.extend(self.ws.events())
            event = self._events.pop(0)
            if not isinstance(event, TextMessage):
                return event
            text += event.data
            if event.message_finished:
                return TextMessage(data=text)

    async def send(self, *events: Event) -> None:
        await self.stream.send_all(b"".join(self.ws.send(event) for event in events))

    async def accept(self) -> None:
        assert isinstance(await self.next_event(), Request)
        await self.send(AcceptConnection())


@asynccontextmanager
async def client_and_raw_peer(
    config: TransportConfig = QUIET,
    pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = trio.testing.memory_stream_pair,
) -> AsyncIterator[tuple[Wire, RawPeer]]:
    client_stream, server_stream = pair()
    peer = RawPeer(server_stream)
    async with background_nursery() as nursery:
        nursery.start_soon(peer.accept)
        async with wrap_websocket_stream(client_stream, config=config) as wire:
            yield wire, peer


async def closed(call: Callable[[], Awaitable[object]]) -> tuple[int, str, str]:
    with pytest.raises(WireClosed) as caught:
        await call()
    return caught.value.code, caught.value.reason, caught.value.closed_by


# ---- how a connection ends ------------------------------------------------------------------------------------------


async def test_a_peer_that_never_answers_close_is_dropped_after_exactly_the_close_timeout(
    autojump_clock: MockClock,
) -> None:
    async with client_and_raw_peer() as (wire, peer):
        started = trio.current_time()
        await wire.aclose(1000, "bye")
        assert trio.current_time() - started == 2.0
        event = await peer.next_event()
        assert isinstance(event, CloseConnection)
        assert (event.code, event.reason) == (1000, "bye")
        assert await peer.next_event() is None


async def test_a_cancelled_close_drops_the_connection_at_once(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer() as (wire, peer):
        with trio.move_on_after(0.5) as scope:
            await wire.aclose()
        assert scope.cancelled_caught
        assert trio.current_time() == 0.5
        assert isinstance(await peer.next_event(), CloseConnection)
        assert await peer.next_event() is None
        await wire.aclose()
        assert trio.current_time() == 0.5


async def test_a_close_without_a_status_is_1005_by_the_server(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer() as (wire, peer):
        await peer.stream.send_all(b"\x88\x00")
        assert await closed(wire.receive) == (1005, "", "server")
        assert await closed(lambda: wire.send("late")) == (1005, "", "server")


async def test_a_stream_that_ends_without_a_close_frame_is_1006_by_the_network(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer() as (wire, peer):
        await peer.send(TextMessage(data="last words"))
        await peer.stream.aclose()
        assert await wire.receive() == "last words"
        assert await closed(wire.receive) == (1006, "", "network")
        assert await closed(lambda: wire.send("late")) == (1006, "", "network")


async def test_a_ping_that_crosses_our_close_harms_nothing(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer() as (wire, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.aclose)
            assert isinstance(await peer.next_event(), CloseConnection)
            # wsproto itself would not send a ping here: the client cannot know when its close arrives.
            await peer.stream.send_all(b"\x89\x00")
            await peer.stream.send_all(b"\x88\x02\x03\xe8")
        assert trio.current_time() == 0
        assert await closed(wire.receive) == (1000, "", "client")


@pytest.mark.parametrize(
    "frame, code",
    [
        pytest.param(b"\x83\x00", 1002, id="reserved opcode"),
        pytest.param(b"\xc1\x01x", 1002, id="reserved bit"),
        pytest.param(b"\x80\x01x", 1002, id="continuation of nothing"),
        pytest.param(b"\x81\x02\xff\xff", 1007, id="text that is not UTF-8"),
    ],
)
async def test_a_frame_that_cannot_be_read_ends_the_wire_by_us_and_the_peer_is_told(
    frame: bytes, code: int, autojump_clock: MockClock
) -> None:
    async with client_and_raw_peer() as (wire, peer):
        await peer.send(TextMessage(data="good"))
        await peer.stream.send_all(frame)
        assert await wire.receive() == "good"
        ended_with, _, closed_by = await closed(wire.receive)
        assert (ended_with, closed_by) == (code, "client")
        event = await peer.next_event()
        assert isinstance(event, CloseConnection)
        assert event.code == code
        await wire.aclose()
        assert trio.current_time() == 0


async def test_a_message_past_the_limit_closes_with_1009_by_us(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer(TransportConfig(ping_interval=None, max_size=1000)) as (wire, peer):
        await peer.send(TextMessage(data="x" * 1000))
        assert await wire.receive() == "x" * 1000
        await peer.send(TextMessage(data="x" * 1001))
        code, reason, closed_by = await closed(wire.receive)
        assert (code, closed_by) == (1009, "client")
        assert "1000" in reason
        event = await peer.next_event()
        assert isinstance(event, CloseConnection)
        assert event.code == 1009
        assert await closed(lambda: wire.send("late")) == (code, reason, closed_by)


async def test_the_other_side_sees_an_oversized_message_as_closed_by_the_one_that_refused_it(
    autojump_clock: MockClock,
) -> None:
    async with open_websocket_wire_pair(config=TransportConfig(max_size=1000)) as (client, server):
        await client.send("x" * 2000)
        assert (await closed(server.receive))[::2] == (1009, "server")
        assert (await closed(client.receive))[::2] == (1009, "server")


async def test_without_a_limit_any_message_is_taken(autojump_clock: MockClock) -> None:
    async with open_websocket_wire_pair(config=TransportConfig(max_size=None)) as (client, server):
        await client.send("x" * (33 * 2**20))
        assert len(await server.receive()) == 33 * 2**20


async def test_a_binary_frame_is_received_as_bytes_and_the_wire_goes_on(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer() as (wire, peer):
        await peer.send(BytesMessage(data=b"\x00\xff"), TextMessage(data="next"))
        assert await wire.receive() == b"\x00\xff"
        assert await wire.receive() == "next"
        assert wire.statistics().bytes_received == 6


# ---- torn frames and stuck peers ------------------------------------------------------------------------------------


async def test_a_send_cancelled_midway_breaks_the_wire_and_nothing_follows_the_torn_frame(
    autojump_clock: MockClock,
) -> None:
    # A lockstep stream holds nothing: whatever the peer does not read blocks.
    async with client_and_raw_peer(pair=trio.testing.lockstep_stream_pair) as (wire, peer):
        received = b""
        with trio.move_on_after(1) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wire.send, "x" * 12_000_000)
                while len(received) < 100_000:
                    received += await peer.stream.receive_some(10_000)
        assert scope.cancelled_caught
        torn = (1006, "a send was cancelled midway", "client")
        for call in (lambda: wire.send("next"), wire.receive, lambda: wire.send("again")):
            assert await closed(call) == torn
        await wire.aclose()
        assert trio.current_time() == 1
        # What had been written of the frame, and then the end: no other message was written into it or after it.
        while data := await peer.stream.receive_some():
            received += data
        assert len(received) <= 14 + 12_000_000


async def test_a_send_cancelled_before_it_wrote_leaves_the_wire_whole(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer() as (wire, peer):
        with trio.CancelScope() as scope:
            scope.cancel()
            await wire.send("never")
        assert scope.cancelled_caught
        await wire.send("next")
        event = await peer.next_event()
        assert isinstance(event, Message)
        assert event.data == "next"


async def test_closing_against_a_peer_that_reads_nothing_is_bounded(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer(pair=trio.testing.lockstep_stream_pair) as (wire, _):
        started = trio.current_time()
        await wire.aclose()
        assert trio.current_time() - started == 2.0


async def test_a_peer_that_stops_reading_is_found_out_by_the_keepalive_behind_the_blocked_send(
    autojump_clock: MockClock,
) -> None:
    async with client_and_raw_peer(TransportConfig(), pair=trio.testing.lockstep_stream_pair) as (wire, _):
        code, reason, closed_by = await closed(lambda: wire.send("x" * 12_000_000))
        assert (code, reason, closed_by) == (1006, "keepalive timeout: no pong within 20 s", "network")
        assert trio.current_time() == 40


async def test_sending_anything_but_text_is_a_type_error_that_leaves_the_wire_whole(autojump_clock: MockClock) -> None:
    async with open_websocket_wire_pair() as (client, server):
        with pytest.raises(TypeError, match="a wire sends str, got bytes"):
            await client.send(b"x")  # type: ignore[arg-type]
        await client.send("x")
        assert await server.receive() == "x"


# ---- keep-alive -----------------------------------------------------------------------------------------------------


async def test_no_pong_in_time_ends_the_wire_as_a_loss_of_the_network(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer(TransportConfig()) as (wire, peer):
        lost = (1006, "keepalive timeout: no pong within 20 s", "network")
        assert await closed(wire.receive) == lost
        assert trio.current_time() == 40
        assert await closed(lambda: wire.send("late")) == lost
        assert isinstance(await peer.next_event(), Ping)
        assert await peer.next_event() is None


async def test_pongs_keep_a_silent_connection_alive(autojump_clock: MockClock) -> None:
    async with open_websocket_wire_pair() as (client, server):
        await trio.sleep(3600)
        await client.send("still here")
        assert await server.receive() == "still here"


async def test_no_pings_are_sent_when_switched_off(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer(TransportConfig(ping_interval=None)) as (wire, peer):
        await trio.sleep(3600)
        await wire.send("first frame of all")
        assert isinstance(await peer.next_event(), TextMessage)


async def test_without_a_pong_timeout_a_silent_peer_is_kept(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer(TransportConfig(ping_timeout=None)) as (wire, peer):
        await trio.sleep(3600)
        await wire.send("still here")
        assert isinstance(await peer.next_event(), Ping)
        assert isinstance(await peer.next_event(), TextMessage)


async def test_pings_are_answered_while_the_app_does_not_receive(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer() as (wire, peer):
        await peer.send(*(TextMessage(data=str(n)) for n in range(64)), Ping(payload=b"there?"))
        event = await peer.next_event()
        assert isinstance(event, Pong)
        assert event.payload == b"there?"
        assert [await wire.receive() for _ in range(64)] == [str(n) for n in range(64)]


async def test_an_app_that_does_not_receive_is_not_mistaken_for_a_dead_peer(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer(TransportConfig()) as (wire, peer):
        await peer.send(*(TextMessage(data=str(n)) for n in range(66)))
        ping = await peer.next_event()
        assert isinstance(ping, Ping)
        await peer.send(ping.response())
        await trio.sleep(300)
        assert [await wire.receive() for _ in range(66)] == [str(n) for n in range(66)]
        await wire.send("alive")
        assert isinstance(await peer.next_event(), TextMessage)


# ---- opening --------------------------------------------------------------------------------------------------------


async def refused(answer: bytes, *, close: bool = False, headers: dict[str, str] | None = None) -> ConnectFailed:
    """What a client gets that is answered with these bytes."""
    client_stream, server_stream = trio.testing.memory_stream_pair()

    async def serve() -> None:
        await server_stream.receive_some(65536)
        await server_stream.send_all(answer)
        if close:
            await server_stream.send_eof()

    url = "ws://service.example/v1/realtime?model=m&api-key=s3cret"
    async with background_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(ConnectFailed) as caught:
            async with wrap_websocket_stream(client_stream, url, headers=headers):
                pytest.fail("the handshake was not refused")
    assert trio.current_time() == 0
    assert "s3cret" not in str(caught.value)
    assert caught.value.url == "ws://service.example/v1/realtime?model=m&api-key=..."
    return caught.value


def http(status: str, body: str = "", *headers: str) -> bytes:
    length = [f"Content-Length: {len(body)}"]
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, *length, "", body]).encode()


@pytest.mark.parametrize(
    "status, hint",
    [("401 Unauthorized", "OPENAI_API_KEY"), ("404 Not Found", "call id"), ("400 Bad Request", "model name"),
     ("403 Forbidden", "project"), ("429 Too Many Requests", "quota"), ("503 Service Unavailable", "try again later")],
)  # fmt: skip
async def test_a_refused_handshake_tells_status_headers_body_and_what_to_try(
    status: str, hint: str, autojump_clock: MockClock
) -> None:
    body = '{"error": {"message": "this is why", "code": "x"}}'
    error = await refused(http(status, body, "X-Request-Id: req_1"))
    assert error.status == int(status[:3])
    assert error.headers["x-request-id"] == "req_1"
    assert error.body == body
    assert "this is why" in str(error)
    assert hint in str(error)
    assert error.__cause__ is not None


async def test_a_refusal_with_an_empty_or_unstructured_body_is_told_as_well(autojump_clock: MockClock) -> None:
    assert (await refused(http("401 Unauthorized"))).body == ""
    assert '"<h1> no' in str(await refused(http("500 Oops", "<h1>\n no </h1>" + "x" * 10_000)))
    assert "use the url that leads to wss://new.example" in str(
        await refused(http("307 Moved", "", "Location: wss://new.example"))
    )


async def test_a_refusal_whose_body_ends_with_the_connection_is_told(autojump_clock: MockClock) -> None:
    error = await refused(b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\nno such key", close=True)
    assert (error.status, error.body) == (401, "no such key")


@pytest.mark.parametrize("timeout_s", [10.0, 1.0])
async def test_a_refusal_whose_body_never_ends_is_told_in_time_and_not_kept(
    timeout_s: float, autojump_clock: MockClock
) -> None:
    for head, piece in (
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 900000000\r\n\r\nwhy", b""),
        (b"HTTP/1.1 403 Forbidden\r\n\r\nwhy", b"x" * 65536),
        (
            b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwhy\r\n",
            b"10000\r\n" + b"x" * 65536 + b"\r\n",
        ),
    ):
        client_stream, server_stream = trio.testing.memory_stream_pair()

        async def serve(stream: trio.abc.Stream = server_stream, head: bytes = head, piece: bytes = piece) -> None:
            await stream.receive_some(65536)
            await stream.send_all(head)
            while piece:
                await stream.send_all(piece)
                await trio.sleep(0.1)

        async with background_nursery() as nursery:
            nursery.start_soon(serve)
            began_at = trio.current_time()
            with pytest.raises(ConnectFailed) as caught:
                async with wrap_websocket_stream(client_stream, config=TransportConfig(handshake_timeout=timeout_s)):
                    pytest.fail("the handshake was not refused")
            assert trio.current_time() - began_at <= 2
        assert caught.value.status == 403
        assert caught.value.body.startswith("why")
        assert len(caught.value.body) <= 16 * 1024


async def test_a_key_that_a_server_repeats_in_its_refusal_is_not_shown(autojump_clock: MockClock) -> None:
    headers = {"Authorization": "Bearer sk-very-secret"}
    error = await refused(http("401 Unauthorized", "bad key sk-very-secret!"), headers=headers)
    assert error.body == "bad key ...!"
    assert "sk-very-secret" not in str(error)


@pytest.mark.parametrize(
    "answer, words",
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "not that of a WebSocket server"),
        (
            b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
            "not that of a WebSocket server",
        ),
        (b"", "closed before the handshake was over"),
        (b"HTTP/1.1 101 Swi", "closed before the handshake was over"),
    ],
)
async def test_an_answer_that_is_no_websocket_handshake_fails_at_once(
    answer: bytes, words: str, autojump_clock: MockClock
) -> None:
    error = await refused(answer, close=True)
    assert words in str(error)
    assert error.status is None


async def test_a_silent_server_fails_the_handshake_after_exactly_its_timeout(autojump_clock: MockClock) -> None:
    for timeout_s in (0.2, 10.0):
        started = trio.current_time()
        client_stream, server_stream = trio.testing.memory_stream_pair()
        with pytest.raises(ConnectFailed, match=f"no open WebSocket within {timeout_s:g} s"):
            async with wrap_websocket_stream(client_stream, config=TransportConfig(handshake_timeout=timeout_s)):
                pytest.fail("the handshake was never answered")
        assert trio.current_time() - started == pytest.approx(timeout_s)
        assert b"GET / HTTP/1.1" in await server_stream.receive_some()
        assert await server_stream.receive_some() == b""


async def test_a_server_that_answers_late_but_in_time_is_connected_to(autojump_clock: MockClock) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    peer = RawPeer(server_stream)

    async def serve() -> None:
        await trio.sleep(0.5)
        await peer.accept()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with wrap_websocket_stream(client_stream, config=TransportConfig(handshake_timeout=1.0)) as wire:
            await peer.send(TextMessage(data="hello"))
            assert await wire.receive() == "hello"


async def test_opening_cancelled_at_any_point_closes_the_stream_and_leaves_no_task(autojump_clock: MockClock) -> None:
    async def scenario(cancel_here: CancelHere) -> None:
        tasks_before = trio.lowlevel.current_statistics().tasks_living
        client_stream, server_stream = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_accept_until_end, server_stream)
            with cancel_here():
                async with wrap_websocket_stream(client_stream, config=QUIET):
                    pass
        with pytest.raises(trio.ClosedResourceError):
            await client_stream.send_all(b"x")
        assert trio.lowlevel.current_statistics().tasks_living == tasks_before

    assert await cancel_at_each_checkpoint(scenario) > 5


async def _accept_until_end(stream: trio.abc.Stream) -> None:
    peer = RawPeer(stream)
    while (event := await peer.next_event()) is not None:
        if isinstance(event, Request):
            with trio.move_on_after(1):
                try:
                    await peer.send(AcceptConnection())
                except trio.BrokenResourceError:
                    return


# ---- what comes out of the context manager --------------------------------------------------------------------------


async def test_an_error_of_the_body_comes_out_bare_and_the_same(autojump_clock: MockClock) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_accept_until_end, server_stream)
        for error in (ValueError("mine"), ExceptionGroup("mine", [ValueError("a"), KeyError("b")])):
            client_stream, server_stream = trio.testing.memory_stream_pair()
            nursery.start_soon(_accept_until_end, server_stream)
            with pytest.raises(type(error)) as caught:  # noqa: PT012
                async with wrap_websocket_stream(client_stream, config=QUIET) as wire:
                    assert isinstance(wire, Wire)
                    raise error
            assert caught.value is error
            assert error.__cause__ is None
        nursery.cancel_scope.cancel()


async def test_an_outer_cancellation_passes_through_and_is_absorbed_by_its_own_scope(autojump_clock: MockClock) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_accept_until_end, server_stream)
        with trio.move_on_after(5) as scope:
            async with wrap_websocket_stream(client_stream) as wire:
                try:
                    await wire.receive()
                except trio.Cancelled:
                    raise
        assert scope.cancelled_caught
        assert trio.current_time() == 5


async def test_a_lost_connection_does_not_disturb_a_body_that_is_not_looking(autojump_clock: MockClock) -> None:
    async with client_and_raw_peer() as (wire, peer):
        await peer.stream.aclose()
        await trio.sleep(100)
        assert await closed(wire.receive) == (1006, "", "network")


# ---- the server's side ----------------------------------------------------------------------------------------------


async def test_a_server_sees_the_request_and_may_reject_it(autojump_clock: MockClock) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()

    async def serve() -> None:
        async with accept_websocket_stream(server_stream) as upgrade:
            assert upgrade.resource == "/v1/realtime?model=m"
            assert upgrade.headers["authorization"] == "Bearer k"
            assert upgrade.headers["x"] == "1"
            assert upgrade.subprotocols == ()
            await upgrade.reject(401, headers={"x-request-id": "req_1"}, body='{"error": {"message": "who?"}}')

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(ConnectFailed, match="who") as caught:
            async with wrap_websocket_stream(
                client_stream, "ws://h/v1/realtime?model=m", headers={"Authorization": "Bearer k", "X": "1"}
            ):
                pytest.fail("accepted")
    assert (caught.value.status, caught.value.headers["x-request-id"]) == (401, "req_1")


@pytest.mark.parametrize("request_bytes", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01 not HTTP\r\n\r\n"])
async def test_a_client_that_asks_for_no_websocket_is_told_so(request_bytes: bytes, autojump_clock: MockClock) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    await client_stream.send_all(request_bytes)
    with pytest.raises(ConnectFailed):
        async with accept_websocket_stream(server_stream):
            pytest.fail("accepted")
    assert (await client_stream.receive_some()).startswith(b"HTTP/1.1 4")


async def test_a_client_that_asks_for_nothing_is_dropped_after_the_handshake_timeout(autojump_clock: MockClock) -> None:
    client_stream, server_stream = trio.testing.memory_stream_pair()
    with pytest.raises(ConnectFailed, match="within 3 s"):
        async with accept_websocket_stream(server_stream, config=TransportConfig(handshake_timeout=3)):
            pytest.fail("accepted")
    assert trio.current_time() == 3
    assert await client_stream.receive_some() == b""


async def test_a_client_that_has_gone_before_the_answer_is_a_lost_connection(autojump_clock: MockClock) -> None:
    for answer in ("accept", "reject"):
        client_stream, server_stream = trio.testing.memory_stream_pair()
        async with background_nursery() as nursery:
            nursery.start_soon(_ask_and_go, client_stream)
            async with accept_websocket_stream(server_stream) as upgrade:
                await trio.sleep(2)
                if answer == "reject":
                    await upgrade.reject(503)
                else:
                    assert await closed(upgrade.accept) == (1006, "", "network")


async def _ask_and_go(stream: trio.abc.Stream) -> None:
    with trio.move_on_after(1):
        async with wrap_websocket_stream(stream):
            pytest.fail("accepted")
