"""How connections end and messages break, as a program sees it: real WebSocket frames, bytes in memory or on loopback.

Each test shows one or more rows of the tables in docs/reference/errors.md; `SHOWN_BY` at the end says which, and is
held to the page.
"""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Request, TextMessage

from trealtime._session.lifetime import CloseOutcome
from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.emulator import open_emulator
from trealtime.errors import ConnectFailed, ConnectionLost, ProtocolError, SessionClosed
from trealtime.events import ServerErrorInfo
from trealtime.transport.background import background_nursery
from trealtime.transport.config import TransportConfig
from trealtime.transport.models import ConnectionTarget, OpenAIRealtimeWebSocketModel
from trealtime.transport.websocket import wrap_websocket_stream
from trealtime.transport.wire import Wire

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md"
LIMIT_S = 20
"""For the tests that use real sockets, and so the real clock."""

CREATED = {"type": "session.created", "session": {"type": "realtime", "id": "sess_1", "model": "gpt-realtime"}}


@attrs.define(eq=False)
class Peer:
    """The server's end of one connection, frame by frame: it creates a session, acknowledges settings, and answers
    pings and closes, until a test takes one of these from it."""

    stream: Any
    creates: bool = True
    pongs: bool = True
    answers_close: bool = True
    heard: list[dict[str, Any]] = attrs.Factory(list)
    closed: CloseConnection | None = None
    ended: trio.Event = attrs.Factory(trio.Event)
    reading: trio.CancelScope = attrs.Factory(trio.CancelScope)
    """Cancel it, and the peer is stuck."""

    _ws: WSConnection = attrs.Factory(partial(WSConnection, ConnectionType.SERVER))

    async def run(self) -> None:
        text = ""
        with self.reading:
            try:
                async for data in self.stream:
                    self._ws.receive_data(data)
                    for event in self._ws.events():
                        if isinstance(event, TextMessage):
                            text += event.data
                            if event.message_finished:
                                await self._hear(json.loads(text))
                                text = ""
                        else:
                            await self._answer(event)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            self.ended.set()

    async def _answer(self, event: Event) -> None:
        match event:
            case Request():
                await self.frames(AcceptConnection())
                if self.creates:
                    await self.send(CREATED)
            case Ping() if self.pongs:
                await self.frames(event.response())
            case CloseConnection():
                self.closed = event
                if self._ws.state is ConnectionState.REMOTE_CLOSING and self.answers_close:
                    await self.frames(event.response())
                if self._ws.state is ConnectionState.CLOSED:
                    await self.stream.aclose()

    async def _hear(self, event: dict[str, Any]) -> None:
        self.heard.append(event)
        if event["type"] == "session.update" and self.creates:
            await self.send({"type": "session.updated", "session": {**CREATED["session"], **event["session"]}})

    async def frames(self, *events: Event) -> None:
        await self.stream.send_all(b"".join(self._ws.send(event) for event in events))

    async def send(self, event: dict[str, Any]) -> None:
        await self.frames(TextMessage(data=json.dumps({"event_id": "event_x", **event})))

    async def begin_response(self) -> None:
        response = {"id": "resp_1", "object": "realtime.response", "status": "in_progress", "output": []}
        await self.send({"type": "response.created", "response": response})

    async def close(self, code: int, reason: str = "") -> None:
        await self.frames(CloseConnection(code=code, reason=reason))


@attrs.define(eq=False)
class Framed:
    """A `RealtimeModel`: the handshake and frames of a real connection, over streams in memory."""

    nursery: trio.Nursery
    config: TransportConfig = attrs.Factory(TransportConfig)
    pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = trio.testing.memory_stream_pair
    creates: bool = True
    peers: list[Peer] = attrs.Factory(list)

    @property
    def peer(self) -> Peer:
        return self.peers[-1]

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        client, server = self.pair()
        self.peers.append(Peer(server, creates=self.creates))
        self.nursery.start_soon(self.peer.run)
        async with wrap_websocket_stream(client, config=self.config) as wire:
            yield wire


@pytest.fixture
def framed(nursery: trio.Nursery) -> Framed:
    return Framed(nursery)


def runner_of(model: Any, **config: Any) -> RealtimeRunner[Any]:
    return RealtimeRunner(RealtimeAgent(name="Assistant"), model=model, config={"reconnect": None, **config})


@asynccontextmanager
async def tcp_server(handler: Callable[[trio.SocketStream], Any]) -> AsyncIterator[int]:
    """Serve each connection with `handler`; gives the port. Bounded, since the clock is the real one."""
    with trio.fail_after(LIMIT_S):
        async with background_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
            yield listeners[0].socket.getsockname()[1]


@asynccontextmanager
async def tcp_peers() -> AsyncIterator[tuple[dict[str, str], list[Peer]]]:
    """How to connect to a server on loopback, and its connections, which stay open until the block ends."""
    peers: list[Peer] = []

    async def serve(stream: trio.SocketStream) -> None:
        peers.append(Peer(stream))
        await peers[-1].run()
        await trio.sleep_forever()

    async with tcp_server(serve) as port:
        yield {"url": f"ws://127.0.0.1:{port}/v1/realtime", "api_key": "sk-1"}, peers


# ---- the end of a connection ----------------------------------------------------------------------------------------


async def server_closes(peer: Peer, code: int, reason: str = "why") -> None:
    await peer.close(code, reason)


async def close_frame_without_a_code(peer: Peer) -> None:
    await peer.stream.send_all(b"\x88\x00")


async def stream_ends(peer: Peer) -> None:
    await peer.stream.aclose()


async def protocol_broken(peer: Peer, data: bytes) -> None:
    await peer.stream.send_all(data)


async def too_long(peer: Peer) -> None:
    await peer.send({"type": "response.text.delta", "delta": "x" * 20_000})


async def stays_silent(peer: Peer) -> None:
    peer.pongs = False


@attrs.frozen
class Loss:
    """An end that is no clean one, and what a program is told of it."""

    cause: Callable[[Peer], Any]
    closed_by: str
    code: int
    reason: str = ""


LOSSES = {
    "1011": Loss(partial(server_closes, code=1011), "server", 1011, "why"),
    "another code": Loss(partial(server_closes, code=4000), "server", 4000, "why"),
    "no code": Loss(close_frame_without_a_code, "server", 1005),
    "no close frame": Loss(stream_ends, "network", 1006),
    "keep-alive": Loss(stays_silent, "network", 1006, "keepalive timeout: no pong within 20 s"),
    "oversized message": Loss(too_long, "client", 1009),
    "reserved opcode": Loss(partial(protocol_broken, data=b"\x83\x00"), "client", 1002),
    "text that is not UTF-8": Loss(partial(protocol_broken, data=b"\x81\x01\xff"), "client", 1007),
}


@pytest.mark.parametrize("in_flight", [False, True], ids=["idle", "amid an answer"])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seen_by", ["a consumer", "a call", "the exit"])
async def test_a_loss_is_told_once_and_says_all_there_is_to_know(
    autojump_clock, framed, name, in_flight, seen_by
) -> None:
    loss = LOSSES[name]
    framed.config = TransportConfig(max_size=10_000)
    errors: list[ConnectionLost] = []
    try:
        async with runner_of(framed, request_timeout_s=100, response_timeout_s=100).session() as session:
            peer = framed.peer
            if in_flight:
                await peer.begin_response()
                await trio.testing.wait_all_tasks_blocked()
            await loss.cause(peer)
            if seen_by == "a consumer":
                with pytest.raises(ConnectionLost) as caught:
                    async for _event in session:
                        pass
                errors.append(caught.value)
                assert [event async for event in session] == []
            elif seen_by == "a call":
                with pytest.raises(ConnectionLost) as caught:
                    await session.retrieve_item("item_x")
                errors.append(caught.value)
            else:
                await session.wait_closed()
    except ConnectionLost as error:
        errors.append(error)
    (error,) = errors
    expected = (loss.closed_by, loss.code, in_flight)
    assert (error.closed_by, error.code, error.response_cut) == expected
    outcome = session.outcome
    assert (outcome.closed_by, outcome.code, outcome.response_cut) == expected
    assert not outcome.clean
    assert loss.reason in error.reason == outcome.reason
    assert str(loss.code) in str(error)
    if loss.closed_by == "client":
        await peer.ended.wait()
        assert peer.closed.code == loss.code
    with pytest.raises(SessionClosed):
        await session.send_message("after the end")


async def test_the_keep_alive_ends_a_silent_connection_after_interval_and_timeout(autojump_clock, framed) -> None:
    with pytest.raises(ConnectionLost, match="keepalive timeout"):  # noqa: PT012  (what a whole session raises)
        async with runner_of(framed).session() as session:
            framed.peer.pongs = False
            began = trio.current_time()
            await session.wait_closed()
            assert trio.current_time() - began == pytest.approx(40, abs=0.1)


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_clean_close_by_the_server_ends_iteration_and_raises_nothing(autojump_clock, framed, code) -> None:
    async with runner_of(framed).session() as session:
        await framed.peer.close(code, "bye")
        assert [event.type async for event in session] == ["history_updated", "raw_model_event", "raw_model_event"]
        assert session.outcome == CloseOutcome(closed_by="server", code=code, reason="bye")
        assert session.outcome.clean
        with pytest.raises(SessionClosed, match=f"{code}.*bye"):
            await session.send_message("too late")
    await framed.peer.ended.wait()
    assert framed.peer.closed.code == code  # the frame was answered with its own code


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_clean_close_that_cuts_an_answer_is_a_loss(autojump_clock, framed, code) -> None:
    async with runner_of(framed).session() as session:
        await framed.peer.begin_response()
        await trio.testing.wait_all_tasks_blocked()
        await framed.peer.close(code)
        with pytest.raises(ConnectionLost, match="an answer was cut") as caught:
            async for _event in session:
                pass
    assert (caught.value.closed_by, caught.value.code, caught.value.response_cut) == ("server", code, True)
    assert session.outcome.response_cut


async def test_the_longest_duration_of_a_session_is_told_apart(autojump_clock, framed) -> None:
    async with runner_of(framed).session() as session, session.subscribe("error") as errors:
        error = {"type": "invalid_request_error", "code": "session_expired", "message": "Time is up.", "param": None}
        await framed.peer.send({"type": "error", "error": error})
        await framed.peer.close(1001, "Your session hit the maximum duration of 60 minutes.")
        (event,) = [event async for event in errors]
        assert isinstance(event.error, ServerErrorInfo)
        assert (event.error.code, event.error.fatal) == ("session_expired", True)
    assert (session.outcome.expired, session.outcome.clean) == (True, True)


async def test_leaving_closes_with_1000_after_everything_that_was_said(autojump_clock, framed) -> None:
    async with runner_of(framed).session() as session:
        await session.send_message("Hi")
        await session.send_audio(bytes(960))
    await framed.peer.ended.wait()
    assert [event["type"] for event in framed.peer.heard] == [
        "session.update", "conversation.item.create", "response.create", "input_audio_buffer.append",
    ]  # fmt: skip
    assert framed.peer.closed.code == 1000
    assert session.outcome == CloseOutcome(closed_by="client", code=1000)


async def test_a_limit_closes_with_1000_and_is_told(autojump_clock, framed) -> None:
    async with runner_of(framed, limits={"max_duration_s": 5, "warn_at": None}).session() as session:
        events = [event async for event in session]
        assert events[-1].type == "limit_reached"
        assert session.outcome == CloseOutcome(closed_by="client", code=1000, limit=events[-1].limit)
        with pytest.raises(SessionClosed, match="max_duration_s: 5"):
            await session.send_message("too late")
    await framed.peer.ended.wait()
    assert framed.peer.closed.code == 1000


async def test_a_peer_that_never_answers_our_close_frame_costs_two_seconds(autojump_clock, framed) -> None:
    async with runner_of(framed).session() as session:
        framed.peer.answers_close = False
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(2.0, abs=0.01)
    assert session.outcome == CloseOutcome(closed_by="client", code=1000)
    await framed.peer.ended.wait()
    assert framed.peer.closed.code == 1000


async def test_calls_wait_for_a_stuck_peer_until_the_keep_alive_finds_it_out(autojump_clock, framed) -> None:
    # A lockstep stream holds nothing: whatever the peer does not read blocks.
    framed.pair = trio.testing.lockstep_stream_pair
    with pytest.raises(ConnectionLost, match="keepalive timeout") as caught:  # noqa: PT012
        async with runner_of(framed).session() as session:
            framed.peer.reading.cancel()
            began = trio.current_time()
            sent = 0
            with trio.move_on_after(1) as patience:
                while True:
                    await session.send_raw({"type": "input_audio_buffer.clear"})
                    sent += 1
            assert patience.cancelled_caught
            queued = session.statistics().send_queue.events_queued
            assert 256 <= queued <= 257
            assert sent - queued < 10  # with the writer, in the write that is stuck
            while True:
                await session.send_raw({"type": "input_audio_buffer.clear"})
    assert (caught.value.closed_by, caught.value.code) == ("network", 1006)
    assert trio.current_time() - began == pytest.approx(40, abs=0.5)


async def test_leaving_a_stuck_peer_takes_the_close_timeout_and_raises_nothing(autojump_clock, framed) -> None:
    framed.pair = trio.testing.lockstep_stream_pair
    async with runner_of(framed, close_timeout_s=3.0).session() as session:
        framed.peer.reading.cancel()
        await session.send_audio(bytes(1_000_000))
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(3.0, abs=0.01)
    outcome = session.outcome
    assert (outcome.closed_by, outcome.code, outcome.clean) == ("client", 1006, False)
    assert outcome.reason == "the server took nothing within 3 s, the connection was dropped"


async def test_an_outer_cancellation_while_the_peer_is_stuck_is_bounded_too(autojump_clock, framed) -> None:
    framed.pair = trio.testing.lockstep_stream_pair
    with trio.move_on_after(5) as scope:
        async with runner_of(framed).session() as session:
            framed.peer.reading.cancel()
            while True:
                await session.send_audio(bytes(48_000))
    assert scope.cancelled_caught
    assert trio.current_time() <= 5 + 3 + 1


async def test_a_tcp_reset_is_a_loss_of_the_network() -> None:
    runner = runner_of(OpenAIRealtimeWebSocketModel())
    async with tcp_peers() as (target, peers), runner.session(model_config=target) as session:
        # RFC 9293 section 3.6: a close with nothing to linger for is an abort.
        peers[0].stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peers[0].stream.socket.close()
        with pytest.raises(ConnectionLost) as caught:
            async for _event in session:
                pass
    assert (caught.value.closed_by, caught.value.code) == ("network", 1006)


async def test_nothing_follows_a_torn_frame() -> None:
    runner = runner_of(OpenAIRealtimeWebSocketModel(), close_timeout_s=0.3)
    frame = bytearray()
    async with tcp_peers() as (target, peers):
        async with runner.session(model_config=target) as session:
            peers[0].reading.cancel()
            await session.send_audio(bytes(8_000_000))
        async for data in peers[0].stream:
            frame.extend(data)
    # A masked text frame with a length of 64 bits (RFC 6455 section 5.2), of which not all came before the end.
    assert frame[:2] == bytes([0x81, 0x80 | 127])
    assert len(frame) < 14 + int.from_bytes(frame[2:10], "big")


# ---- messages that break, and sessions that do not ------------------------------------------------------------------


@pytest.mark.parametrize(
    "message", ['{"type": "response.', "[]", '"text"', "null", '{"event_id": "event_1"}', '{"type": 7}', ""]
)
async def test_a_message_that_is_no_event_is_an_error_event_and_the_session_goes_on(
    autojump_clock, framed, message
) -> None:
    async with runner_of(framed).session() as session, session.subscribe("error", "agent_start") as subscription:
        await framed.peer.frames(TextMessage(data=message))
        await framed.peer.begin_response()
        event = await subscription.receive()
        assert isinstance(event.error, ProtocolError)
        assert (await subscription.receive()).type == "agent_start"
        await session.create_response(out_of_band=True)
    assert framed.peer.heard[-2]["type"] == "response.create"


async def test_a_binary_frame_is_read_as_text_and_is_an_error_event_if_it_is_no_event(autojump_clock, framed) -> None:
    response = {"id": "resp_1", "object": "realtime.response", "status": "in_progress", "output": []}
    created = {"type": "response.created", "event_id": "event_1", "response": response}
    async with runner_of(framed).session() as session, session.subscribe("error", "agent_start") as subscription:
        await framed.peer.frames(BytesMessage(data=b"\x00\xff\xfe"))
        await framed.peer.frames(BytesMessage(data=json.dumps(created).encode()))
        assert isinstance((await subscription.receive()).error, ProtocolError)
        assert (await subscription.receive()).response_id == "resp_1"


async def test_an_event_newer_than_us_is_a_raw_event_and_no_error(autojump_clock, framed) -> None:
    async with runner_of(framed).session() as session, session.subscribe("error", "raw_model_event") as subscription:
        await framed.peer.send({"type": "response.of.tomorrow", "delta": None})
        event = await subscription.receive()
        assert event.type == "raw_model_event"
        assert event.data.data["type"] == "response.of.tomorrow"
        assert session.statistics().conversation.unknown_events == 1


# ---- no connection at all -------------------------------------------------------------------------------------------


async def failed_entry(url: str, model: Any = None, **config: Any) -> ConnectFailed:
    runner = runner_of(model or OpenAIRealtimeWebSocketModel(), **config)
    with pytest.raises(ConnectFailed) as caught:
        async with runner.session(model_config={"url": url, "api_key": "sk-secret-0123456789"}) as session:
            pytest.fail(f"the body must not run: {session}")
    assert "sk-secret" not in f"{caught.value}{caught.value!r}{caught.value.body}{caught.value.headers}"
    return caught.value


async def test_a_key_that_is_not_accepted() -> None:
    with trio.fail_after(LIMIT_S):
        async with open_emulator(api_key="another") as emulator:
            error = await failed_entry(emulator.url)
    assert error.status == 401
    assert "invalid_api_key" in error.body
    assert error.headers["content-type"] == "application/json"
    assert "Incorrect API key provided." in str(error)
    assert "OPENAI_API_KEY" in str(error)


async def test_an_address_where_nothing_is() -> None:
    with trio.fail_after(LIMIT_S):
        async with open_emulator() as emulator:
            error = await failed_entry(emulator.url.replace("realtime", "realtme"))
    assert error.status == 404
    assert "no such model" in str(error)
    assert "/v1/realtme" in str(error)


async def test_a_port_that_nobody_listens_on() -> None:
    with trio.fail_after(LIMIT_S), socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/v1/realtime"
        error = await failed_entry(url)
    assert error.status is None
    assert error.url == url
    assert "refused" in str(error).lower()
    assert isinstance(error.__cause__, OSError)


def answering(answer: bytes) -> Callable[[trio.SocketStream], Any]:
    async def serve(stream: trio.SocketStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        await stream.send_all(answer)

    return serve


async def test_a_redirect_is_not_followed() -> None:
    answer = b"HTTP/1.1 301 Moved\r\nLocation: wss://elsewhere.example/\r\nContent-Length: 0\r\n\r\n"
    async with tcp_server(answering(answer)) as port:
        error = await failed_entry(f"ws://127.0.0.1:{port}/")
    assert error.status == 301
    assert "wss://elsewhere.example/" in str(error)


async def test_a_proxy_that_makes_no_tunnel() -> None:
    async with tcp_server(answering(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")) as port:
        proxy = f"http://user:pass-word@127.0.0.1:{port}"
        model = OpenAIRealtimeWebSocketModel(transport_config={"proxy": proxy})
        error = await failed_entry("wss://api.example.invalid/v1/realtime", model)
    assert f"127.0.0.1:{port}" in str(error)
    assert "pass-word" not in str(error)


async def test_a_server_that_does_not_answer_the_handshake() -> None:
    async def ponder(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with tcp_server(ponder) as port:
        model = OpenAIRealtimeWebSocketModel(transport_config={"handshake_timeout": 0.2})
        error = await failed_entry(f"ws://127.0.0.1:{port}/", model)
    assert error.status is None
    assert "within 0.2 s" in str(error)


async def test_a_server_that_connects_and_makes_no_session(autojump_clock, framed) -> None:
    framed.creates = False
    began = trio.current_time()
    error = await failed_entry("ws://nowhere/", framed, ready_timeout_s=4.0)
    assert trio.current_time() - began == pytest.approx(4, abs=0.01)
    assert "ready within 4 s" in str(error)
    await framed.peer.ended.wait()
    assert framed.peer.closed.code == 1000


# ---- the page -------------------------------------------------------------------------------------------------------

ENDS: dict[str, Callable[..., Any]] = {
    "you left the block, or called `close()`": test_leaving_closes_with_1000_after_everything_that_was_said,
    "a [limit](usage.md#limits) was reached": test_a_limit_closes_with_1000_and_is_told,
    "the server closed with 1000 or 1001, no answer in the making": (
        test_a_clean_close_by_the_server_ends_iteration_and_raises_nothing
    ),
    "the same, amid an answer": test_a_clean_close_that_cuts_an_answer_is_a_loss,
    "the server closed with 1001 at its longest duration (60 minutes on OpenAI's)": (
        test_the_longest_duration_of_a_session_is_told_apart
    ),
    "the server closed with 1011, or any other code": test_a_loss_is_told_once_and_says_all_there_is_to_know,
    "TCP reset, or the connection ended without a close frame": test_a_tcp_reset_is_a_loss_of_the_network,
    "no pong within `ping_timeout`": test_the_keep_alive_ends_a_silent_connection_after_interval_and_timeout,
    "a stuck peer: connected, but reads nothing": (test_calls_wait_for_a_stuck_peer_until_the_keep_alive_finds_it_out),
    "a stuck peer while you leave": test_leaving_a_stuck_peer_takes_the_close_timeout_and_raises_nothing,
    "a frame torn by that: half of it was written": test_nothing_follows_a_torn_frame,
    "no answer to our close frame": test_a_peer_that_never_answers_our_close_frame_costs_two_seconds,
    "a message longer than `max_size`": test_a_loss_is_told_once_and_says_all_there_is_to_know,
    "a frame that breaks the WebSocket protocol": test_a_loss_is_told_once_and_says_all_there_is_to_know,
    "malformed JSON, JSON that is no object, an object without a type": (
        test_a_message_that_is_no_event_is_an_error_event_and_the_session_goes_on
    ),
    "a binary frame": test_a_binary_frame_is_read_as_text_and_is_an_error_event_if_it_is_no_event,
    "an event newer than this library": test_an_event_newer_than_us_is_a_raw_event_and_no_error,
}

FAILURES: dict[str, Callable[..., Any]] = {
    "401, 403, 404, 429 or another status instead of a WebSocket": test_a_key_that_is_not_accepted,
    "a redirect": test_a_redirect_is_not_followed,
    "TCP refused, no such host, a TLS certificate that does not fit": test_a_port_that_nobody_listens_on,
    "a proxy that makes no tunnel": test_a_proxy_that_makes_no_tunnel,
    "nothing within `handshake_timeout`": test_a_server_that_does_not_answer_the_handshake,
    "connected, but the session was not ready within `ready_timeout_s`": (
        test_a_server_that_connects_and_makes_no_session
    ),
}


@pytest.mark.parametrize(
    "header, shown_by",
    [("| What happened | Outcome | In your program |", ENDS), ("| What happened | `ConnectFailed` |", FAILURES)],
)
def test_every_row_of_the_page_is_shown_by_a_test(header, shown_by) -> None:
    table = PAGE.read_text(encoding="utf-8").partition(header)[2].partition("\n\n")[0]
    rows = [re.split(r"\s*\|\s*", line)[1] for line in table.strip().splitlines()[1:]]
    assert rows == list(shown_by)
