"""A caller's WebSocket as the app's web server has it: real sockets of Quart-Trio and trio-websocket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio_websocket import WebSocketRequest, serve_websocket

from trealtime.endpoints.browser import accept_browser_stream
from trealtime.endpoints.sockets import QuartWire, ServerSocket, close_behind, close_with_reason, server_wire
from trealtime.endpoints.twilio import accept_twilio_stream
from trealtime.testing import memory_wire_pair, open_fake_page, open_fake_twilio
from trealtime.transport.dial import open_websocket_wire
from trealtime.transport.wire import Wire, WireClosed

Handler = Callable[[ServerSocket], Awaitable[None]]


@asynccontextmanager
async def served_by_trio_websocket(handler: Handler) -> AsyncIterator[str]:
    async def answer(request: WebSocketRequest) -> None:
        await handler(await request.accept())

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, answer, "127.0.0.1", 0, ssl_context=None))
        yield f"ws://127.0.0.1:{server.port}/"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def served_by_quart(handler: Handler) -> AsyncIterator[str]:
    quart_trio = pytest.importorskip("quart_trio")
    from hypercorn.config import Config
    from hypercorn.trio import serve
    from quart import websocket

    app = quart_trio.QuartTrio("calls")

    @app.websocket("/")
    async def answer() -> None:
        await handler(websocket)

    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.graceful_timeout = 0.1
    over = trio.Event()
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(partial(serve, app, config, shutdown_trigger=over.wait))
        yield f"{address.replace('http', 'ws')}/"
        over.set()


SERVERS = [served_by_trio_websocket, served_by_quart]


@pytest.mark.parametrize("served", SERVERS)
async def test_messages_pass_both_ways_and_are_counted(served) -> None:
    counts: list[Any] = []

    async def echo(socket: ServerSocket) -> None:
        wire = server_wire(socket)
        assert isinstance(wire, Wire)
        for _ in range(3):
            message = await wire.receive()
            assert isinstance(message, str)
            await wire.send(message)
        counts.append(wire.statistics())
        await wire.aclose(4000, "enough")

    with trio.fail_after(20):
        async with served(echo) as url, open_websocket_wire(url) as client:
            for message in ("a", "ü", "b" * 70_000):
                await client.send(message)
                assert await client.receive() == message
            with pytest.raises(WireClosed) as closed:
                await client.receive()
            assert (closed.value.code, closed.value.reason, closed.value.closed_by) == (4000, "enough", "server")
            await client.aclose()
    [count] = counts
    assert (count.messages_received, count.messages_sent) == (3, 3)
    assert count.bytes_sent == 1 + 2 + 70_000


@pytest.mark.parametrize("served", SERVERS)
async def test_a_wire_may_be_used_in_other_tasks_than_the_handlers(served) -> None:
    async def handler(socket: ServerSocket) -> None:
        wire = server_wire(socket)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.send, "from another task")
        with suppress(WireClosed):
            await wire.receive()

    with trio.fail_after(20):
        async with served(handler) as url, open_websocket_wire(url) as client:
            assert await client.receive() == "from another task"
            await client.aclose()


@pytest.mark.parametrize("served", SERVERS)
async def test_a_wire_that_this_side_has_closed_stays_closed(served) -> None:
    over = trio.Event()

    async def handler(socket: ServerSocket) -> None:
        wire = server_wire(socket)
        await wire.receive()
        await wire.aclose()
        await wire.aclose(4000)
        for call in (wire.receive, partial(wire.send, "late")):
            with pytest.raises(WireClosed, match="1000"):
                await call()
        over.set()

    with trio.fail_after(20):
        async with served(handler) as url, open_websocket_wire(url) as client:
            await client.send("hello")
            with pytest.raises(WireClosed, match="1000"):
                await client.receive()
            await client.aclose()
            await over.wait()


async def test_when_the_peer_leaves_trio_websocket_says_so_and_quart_says_so_or_cancels_the_handler() -> None:
    ends: list[str] = []
    over = trio.Event()

    async def handler(socket: ServerSocket) -> None:
        try:
            await server_wire(socket).receive()
        except WireClosed as closed:
            ends.append(f"{closed.code} {closed.closed_by}")
        except trio.Cancelled:
            ends.append("cancelled")
            raise
        finally:
            over.set()

    with trio.fail_after(20):
        for served in SERVERS:
            over = trio.Event()
            async with served(handler) as url, open_websocket_wire(url) as client:
                await client.aclose()
                await over.wait()
    assert ends[0] == "1000 client"
    assert ends[1:] in (["cancelled"], ["1005 client"])  # Quart up to 0.22, and from 0.23 on


@attrs.frozen
class NoLink:
    def heard(self, position_ms: float) -> None:
        """Nobody asks here."""

    def dtmf(self, digit: str) -> None:
        """Nor here."""


@pytest.mark.parametrize("served", SERVERS)
async def test_a_telephone_call_over_a_real_socket(served) -> None:
    heard = bytearray()
    over = trio.Event()

    async def handler(socket: ServerSocket) -> None:
        try:
            endpoint = await accept_twilio_stream(socket)
            async with endpoint.open(NoLink()):
                await endpoint.play(b"\1" * 1600, 200)
                while True:
                    heard.extend(await endpoint.receive())
        except trio.EndOfChannel:
            pass
        finally:
            over.set()

    with trio.fail_after(20):
        async with served(handler) as url:
            async with open_fake_twilio(url) as twilio:
                twilio.say(b"\2" * 480)
                await twilio.said()
                await twilio.wait_heard(200)
                await twilio.hang_up()
            await over.wait()
    assert bytes(heard)[:480] == b"\2" * 480
    assert twilio.heard_audio == b"\1" * 1600


class StubWebsocket:
    """Quart's `websocket` that does as it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def accept(self) -> None:
        self._raise()

    async def receive(self) -> str:
        self._raise()
        return "x"

    async def send(self, data: str) -> None:
        self._raise()
        await trio.sleep_forever()

    async def close(self, code: int, reason: str = "") -> None:
        self._raise()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error


async def test_a_send_that_was_cancelled_in_the_middle_ends_the_wire(autojump_clock) -> None:
    wire = server_wire(StubWebsocket())
    assert isinstance(wire, QuartWire)
    with trio.move_on_after(1):
        await wire.send("x")
    for call in (wire.receive, partial(wire.send, "late")):
        with pytest.raises(WireClosed, match="1006"):
            await call()


@pytest.mark.parametrize("error", [trio.BrokenResourceError(), trio.ClosedResourceError()])
async def test_a_connection_that_the_web_server_has_lost_is_a_closed_wire(error) -> None:
    for method in ("receive", "send"):
        wire = server_wire(StubWebsocket(error))
        with pytest.raises(WireClosed, match="1006"):
            await getattr(wire, method)(*(["x"] if method == "send" else []))
    await server_wire(StubWebsocket(error)).aclose()


async def test_a_code_that_may_not_be_sent_is_refused_by_the_wire_on_quart_too() -> None:
    with pytest.raises(ValueError, match="got 1006"):
        await server_wire(StubWebsocket()).aclose(1006)


class TalkingPeer(StubWebsocket):
    """A peer that sends audio all the time, and answers a close frame after `answers_after_s`."""

    def __init__(self, answers_after_s: float) -> None:
        super().__init__()
        self.answers_at = float("inf")
        self.answers_after_s = answers_after_s

    async def receive(self) -> str:
        await trio.sleep(0.02)
        if trio.current_time() >= self.answers_at:
            raise trio.EndOfChannel
        return "x"

    async def close(self, code: int, reason: str = "") -> None:
        self.answers_at = trio.current_time() + self.answers_after_s


@pytest.mark.parametrize("answers_after_s, takes_s", [(0.5, 0.5), (60, 2)])
async def test_the_handler_stays_until_the_peer_has_answered_the_close_frame_or_two_seconds(
    autojump_clock, answers_after_s: float, takes_s: float
) -> None:
    for close in (
        lambda wire: close_behind(wire, set_event()),
        lambda wire: close_with_reason(wire, "enough"),
    ):
        began = trio.current_time()
        await close(server_wire(TalkingPeer(answers_after_s)))
        assert trio.current_time() - began == pytest.approx(takes_s, abs=0.03)


async def test_a_handler_that_is_cancelled_does_not_wait_for_the_peers_answer(autojump_clock) -> None:
    peer = TalkingPeer(60)
    with trio.move_on_after(0.1):
        await close_behind(server_wire(peer), set_event())
    assert trio.current_time() == pytest.approx(0.1)
    assert peer.answers_at < 61, "the close frame has been sent"


@pytest.mark.parametrize("nested", [False, True], ids=["handler", "a task of the handler's"])
async def test_the_wait_for_the_answer_ends_when_quart_cancels_the_handler_though_a_session_waits(
    autojump_clock, nested: bool
) -> None:
    began, ended = trio.Event(), trio.Event()

    async def session(wire: Wire) -> None:
        with trio.CancelScope(shield=True):
            await close_behind(wire, set_event())
        ended.set()

    async def handler(sessions: trio.Nursery) -> None:
        sessions.start_soon(session, server_wire(TalkingPeer(60)))
        began.set()
        await trio.sleep_forever()

    async def outer_handler(sessions: trio.Nursery) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(handler, sessions)

    async with trio.open_nursery() as sessions, trio.open_nursery() as quart:
        quart.start_soon(outer_handler if nested else handler, sessions)
        await began.wait()
        await trio.sleep(0.51)
        assert not ended.is_set()
        now = trio.current_time()
        quart.cancel_scope.cancel()  # as Quart up to 0.22 does when the peer has answered, or has left by itself
        await ended.wait()
        assert trio.current_time() == now


async def test_there_is_no_wait_for_the_answer_once_the_handler_has_ended(autojump_clock) -> None:
    wires: list[Wire] = []

    async def handler() -> None:
        wires.append(server_wire(TalkingPeer(60)))

    async with trio.open_nursery() as quart:
        quart.start_soon(handler)
    await close_behind(wires[0], set_event())
    assert trio.current_time() == 0


async def test_an_error_while_waiting_for_the_answer_is_raised_and_leaves_no_task_behind(autojump_clock) -> None:
    async def fail() -> None:
        wire = server_wire(StubWebsocket(RuntimeError("broken")))
        assert isinstance(wire, QuartWire)
        with pytest.raises(RuntimeError, match="broken"):
            await wire.wait_for_peer()

    async with trio.open_nursery() as quart:
        quart.start_soon(fail)


def set_event() -> trio.Event:
    event = trio.Event()
    event.set()
    return event


@pytest.mark.parametrize("served", SERVERS)
async def test_a_peer_that_is_talking_reads_the_close_frame_and_its_reason(served) -> None:
    async def hang_up(socket: ServerSocket) -> None:
        wire = server_wire(socket)
        await wire.receive()
        await close_with_reason(wire, "enough", code=4000)

    with trio.fail_after(30):
        async with served(hang_up) as url:
            for _ in range(10):
                async with open_websocket_wire(url) as client, trio.open_nursery() as nursery:
                    nursery.start_soon(talk, client)
                    with pytest.raises(WireClosed) as caught:
                        await client.receive()
                assert (caught.value.code, caught.value.reason) == (4000, "enough")


async def talk(client: Wire) -> None:
    with suppress(WireClosed):
        while True:
            await client.send("x" * 2_000)


def test_a_wire_is_taken_as_it_is() -> None:
    wire, _ = memory_wire_pair()
    assert server_wire(wire) is wire


@pytest.mark.parametrize("socket", [None, "ws://127.0.0.1", object()])
def test_what_is_no_websocket_is_refused_by_name(socket) -> None:
    with pytest.raises(TypeError) as caught:
        server_wire(socket)
    assert str(caught.value) == (
        "socket: expected a trio_websocket.WebSocketConnection, Quart's websocket, or a trealtime Wire, "
        f"got {type(socket).__name__}"
    )


@pytest.mark.parametrize("served", SERVERS)
async def test_a_page_over_a_real_socket(served) -> None:
    heard = bytearray()
    over = trio.Event()

    async def handler(socket: ServerSocket) -> None:
        try:
            endpoint = await accept_browser_stream(socket)
            async with endpoint.open(NoLink()):
                await endpoint.play(b"\1\0" * 1_600, 200)
                await endpoint.send({"type": "caption", "text": "ü"})
                while True:
                    heard.extend(await endpoint.receive())
        except trio.EndOfChannel:
            pass
        finally:
            over.set()

    with trio.fail_after(20):
        async with served(handler) as url:
            async with open_fake_page(url, rate=8_000) as page:
                await page.say(b"\2\0" * 480)
                assert (await page.wait_received("caption"))["text"] == "ü"
                await page.wait_heard(200)
                await page.leave()
            await over.wait()
    assert bytes(heard) == b"\2\0" * 480
    assert page.heard() == b"\1\0" * 1_600
