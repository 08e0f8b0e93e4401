"""Dialling over real sockets on loopback: TCP, TLS, proxies, and what goes wrong there. Every test is bounded."""

from __future__ import annotations

import base64
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio_websocket
import trustme

from trealtime.errors import ConnectFailed
from trealtime.testing.schedules import CancelHere, cancel_at_each_checkpoint
from trealtime.testing.wires import check_wire
from trealtime.transport import (
    AzureRealtimeModel,
    ConnectionTarget,
    OpenAIRealtimeModel,
    TransportConfig,
    Wire,
    WireClosed,
)
from trealtime.transport.background import background_nursery
from trealtime.transport.dial import open_websocket_wire
from trealtime.transport.websocket import WebSocketUpgrade, accept_websocket_stream, wire_from_connection

LIMIT_S = 20

Handler = Callable[[WebSocketUpgrade], Awaitable[None]]


@asynccontextmanager
async def tcp_server(handler: Callable[[trio.SocketStream], Awaitable[object]]) -> AsyncIterator[int]:
    """Serve each connection with `handler`; gives the port."""
    with trio.fail_after(LIMIT_S):
        async with background_nursery() as nursery:
            serve = partial(trio.serve_tcp, handler, 0, host="127.0.0.1")
            listeners: list[trio.SocketListener] = await nursery.start(serve)
            yield listeners[0].socket.getsockname()[1]


@asynccontextmanager
async def websocket_server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def serve(stream: trio.abc.Stream) -> None:
        if tls is not None:
            stream = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        try:
            async with accept_websocket_stream(stream) as upgrade:
                await handler(upgrade)
        except ConnectFailed:
            pass  # a client that gave up, which is the subject of the test at the other end

    async with tcp_server(serve) as port:
        yield port


async def echo(upgrade: WebSocketUpgrade) -> None:
    wire = await upgrade.accept()
    try:
        while True:
            message = await wire.receive()
            assert isinstance(message, str)
            await wire.send(message)
    except WireClosed:
        pass


async def failure(url: str, config: TransportConfig | None = None) -> ConnectFailed:
    with pytest.raises(ConnectFailed) as caught:
        async with open_websocket_wire(url, config=config):
            pytest.fail("connected")
    assert caught.value.__cause__ is not None
    return caught.value


# ---- TCP ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_wires_over_sockets_keep_the_contract(scheme: str, authority: trustme.CA) -> None:
    tls = server_tls(authority) if scheme == "wss" else None
    config = TransportConfig(ssl_context=client_tls(authority))

    @asynccontextmanager
    async def pair() -> AsyncIterator[tuple[Wire, Wire]]:
        accepted = trio.Event()
        server_wires: list[Wire] = []

        async def keep(upgrade: WebSocketUpgrade) -> None:
            server_wires.append(await upgrade.accept())
            accepted.set()
            await trio.sleep_forever()

        async with (
            websocket_server(keep, tls) as port,
            open_websocket_wire(f"{scheme}://localhost:{port}/", config=config) as wire,
        ):
            await accepted.wait()
            yield wire, server_wires[0]

    with trio.fail_after(60):
        await check_wire(pair)


async def test_a_ctrl_c_waits_until_the_socket_is_in_hands_that_close_it(monkeypatch: pytest.MonkeyPatch) -> None:
    protected: list[bool] = []
    connect = trio.open_tcp_stream

    async def noted(host: str, port: int) -> trio.SocketStream:
        stream = await connect(host, port)
        protected.append(trio.lowlevel.currently_ki_protected())
        return stream

    monkeypatch.setattr(trio, "open_tcp_stream", noted)
    async with websocket_server(echo) as port, open_websocket_wire(f"ws://127.0.0.1:{port}/"):
        protected.append(trio.lowlevel.currently_ki_protected())
    assert protected == [True, False]


async def test_one_model_serves_many_connections_at_once() -> None:
    model = OpenAIRealtimeModel()

    async with websocket_server(echo) as port, trio.open_nursery() as nursery:

        async def call(number: int) -> None:
            target = ConnectionTarget(url=f"ws://127.0.0.1:{port}/v1/realtime", api_key="k")
            async with model.connect(target) as wire:
                await wire.send(f"call {number}")
                assert await wire.receive() == f"call {number}"
                await wire.aclose()

        for number in range(5):
            nursery.start_soon(call, number)


async def test_the_service_sees_the_resource_and_the_headers_of_the_model() -> None:
    seen: list[WebSocketUpgrade] = []

    async def look(upgrade: WebSocketUpgrade) -> None:
        seen.append(upgrade)
        await echo(upgrade)

    async with websocket_server(look) as port:
        model = OpenAIRealtimeModel(base_url=f"http://127.0.0.1:{port}/v1", safety_identifier="user-7")
        async with model.connect(ConnectionTarget(model_name="gpt-realtime-2", api_key="sk-1")) as wire:
            await wire.aclose()
    (upgrade,) = seen
    assert upgrade.resource == "/v1/realtime?model=gpt-realtime-2"
    assert upgrade.headers["authorization"] == "Bearer sk-1"
    assert upgrade.headers["openai-safety-identifier"] == "user-7"
    assert "openai-beta" not in upgrade.headers


async def test_an_azure_deployment_is_dialled_with_its_key(authority: trustme.CA) -> None:
    seen: list[WebSocketUpgrade] = []

    async def look(upgrade: WebSocketUpgrade) -> None:
        seen.append(upgrade)
        await echo(upgrade)

    async with websocket_server(look, server_tls(authority)) as port:
        model = AzureRealtimeModel(
            deployment="voice",
            endpoint=f"https://localhost:{port}",
            api_key="azure-key",
            transport_config={"ssl_context": client_tls(authority)},
        )
        async with model.connect(ConnectionTarget()) as wire:
            await wire.aclose()
    (upgrade,) = seen
    assert upgrade.resource == "/openai/v1/realtime?model=voice"
    assert upgrade.headers["api-key"] == "azure-key"


async def test_a_refused_tcp_connection_says_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await failure(f"ws://127.0.0.1:{unused.getsockname()[1]}/")
    assert "refused" in str(error).lower()
    assert error.status is None


async def test_a_host_name_that_does_not_resolve_says_so() -> None:
    class NoSuchHost(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *args: object) -> object:  # type: ignore[override]
            await trio.lowlevel.checkpoint()
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def getnameinfo(self, *args: object) -> object:  # type: ignore[override]
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(NoSuchHost())
    error = await failure("wss://api.example.invalid/v1")
    assert "cannot be resolved (Name or service not known)" in str(error)


async def test_a_tcp_reset_is_1006_by_the_network() -> None:
    async def reset(stream: trio.SocketStream) -> None:
        async with accept_websocket_stream(stream) as upgrade:
            wire = await upgrade.accept()
            assert await wire.receive() == "now"
            # RFC 9293 section 3.6: a close with nothing to linger for is an abort.
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with tcp_server(reset) as port, open_websocket_wire(f"ws://127.0.0.1:{port}/") as wire:
        await wire.send("now")
        for _ in range(2):
            with pytest.raises(WireClosed) as caught:
                await wire.receive()
            assert (caught.value.code, caught.value.closed_by) == (1006, "network")


async def test_a_connection_that_trio_websocket_serves_becomes_a_wire() -> None:
    async def serve(request: trio_websocket.WebSocketRequest) -> None:
        wire = wire_from_connection(await request.accept(), side="server")
        assert await wire.receive() == "hello"
        await wire.send("and bye")
        await wire.aclose(1001, "going")
        with pytest.raises(WireClosed) as caught:
            await wire.receive()
        assert (caught.value.code, caught.value.reason, caught.value.closed_by) == (1001, "going", "server")

    with trio.fail_after(LIMIT_S):
        async with background_nursery() as nursery:
            server = await nursery.start(trio_websocket.serve_websocket, serve, "127.0.0.1", 0, None)
            async with open_websocket_wire(f"ws://127.0.0.1:{server.port}/") as wire:
                await wire.send("hello")
                assert await wire.receive() == "and bye"
                with pytest.raises(WireClosed) as caught:
                    await wire.receive()
    assert (caught.value.code, caught.value.reason, caught.value.closed_by) == (1001, "going", "server")


async def test_a_torn_frame_is_the_last_thing_on_the_socket() -> None:
    wire_lost, stalled_stream_read = trio.Event(), trio.Event()
    received = bytearray()

    async def stall(stream: trio.SocketStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        await stream.send_all(_accept_by_hand(request))
        await wire_lost.wait()
        async for data in stream:
            received.extend(data)
        stalled_stream_read.set()

    async with tcp_server(stall) as port, open_websocket_wire(f"ws://127.0.0.1:{port}/") as wire:
        with trio.move_on_after(0.2) as scope:
            await wire.send("x" * 12_000_000)
        assert scope.cancelled_caught
        for call in (lambda: wire.send("next"), wire.receive):
            with pytest.raises(WireClosed, match="a send was cancelled midway") as caught:
                await call()
            assert (caught.value.code, caught.value.closed_by) == (1006, "client")
        wire_lost.set()
        await stalled_stream_read.wait()
    assert 0 < len(received) < 12_000_000
    assert received[0] == 0x81


async def test_dialling_cancelled_at_any_point_leaves_no_task_and_no_socket() -> None:
    async with websocket_server(echo) as port:

        async def scenario(cancel_here: CancelHere) -> None:
            tasks_before, files_before = trio.lowlevel.current_statistics().tasks_living, _open_files()
            with cancel_here():
                async with open_websocket_wire(f"ws://127.0.0.1:{port}/") as wire:
                    await wire.send("x")
                    await wire.receive()

            # The server's end of the connection goes when it sees ours gone, which nothing here is told of.
            def gone() -> bool:
                tasks = trio.lowlevel.current_statistics().tasks_living
                return tasks <= tasks_before and _open_files() <= files_before

            while not gone():  # noqa: ASYNC110
                await trio.sleep(0.001)

        assert await cancel_at_each_checkpoint(scenario) > 10


# ---- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_a_certificate_that_is_trusted_opens_a_wss_wire(authority: trustme.CA) -> None:
    config = TransportConfig(ssl_context=client_tls(authority))
    async with (
        websocket_server(echo, server_tls(authority)) as port,
        open_websocket_wire(f"wss://localhost:{port}/", config=config) as wire,
    ):
        await wire.send("x" * 100_000)
        assert await wire.receive() == "x" * 100_000
        assert wire.send_nowait(["without waiting"])
        assert await wire.receive() == "without waiting"
        await wire.aclose()


async def test_a_certificate_that_is_not_trusted_or_of_another_host_says_so(authority: trustme.CA) -> None:
    async with websocket_server(echo, server_tls(authority)) as port:
        assert "TLS certificate is not accepted" in str(await failure(f"wss://localhost:{port}/"))
    async with websocket_server(echo, server_tls(authority, "elsewhere.example")) as port:
        config = TransportConfig(ssl_context=client_tls(authority))
        assert "elsewhere" not in (text := str(await failure(f"wss://localhost:{port}/", config))), text
        assert "localhost" in text


async def test_tls_to_a_server_that_speaks_none_says_so() -> None:
    async with websocket_server(echo) as port:
        assert "TLS failed" in str(await failure(f"wss://localhost:{port}/"))


# ---- proxy ----------------------------------------------------------------------------------------------------------


class ConnectProxy:
    """An HTTP proxy that knows CONNECT, for one user."""

    def __init__(self, answer: bytes | None = None) -> None:
        self.requests: list[bytes] = []
        self.answer = answer

    async def __call__(self, client: trio.SocketStream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            if not (data := await client.receive_some()):
                return
            request += data
        self.requests.append(request)
        if self.answer is not None:
            await client.send_all(self.answer)
            return
        host, port = request.split()[1].decode().rsplit(":", 1)
        server = await trio.open_tcp_stream(host, int(port))
        # An interim response and a header or two, as real proxies have them.
        await client.send_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, client, server, nursery.cancel_scope)
            nursery.start_soon(self._pump, server, client, nursery.cancel_scope)

    async def _pump(self, source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope) -> None:
        async with target:
            try:
                async for data in source:
                    await target.send_all(data)
            except trio.BrokenResourceError:
                pass
            scope.cancel()


async def test_a_proxy_is_asked_for_a_tunnel_with_its_own_credentials_and_tls_goes_through(
    authority: trustme.CA,
) -> None:
    proxy = ConnectProxy()
    async with websocket_server(echo, server_tls(authority)) as port, tcp_server(proxy) as proxy_port:
        config = TransportConfig(
            ssl_context=client_tls(authority), proxy=f"http://us%40er:p%3Aw@127.0.0.1:{proxy_port}"
        )
        url = f"wss://localhost:{port}/"
        async with open_websocket_wire(url, headers={"Authorization": "Bearer sk-1"}, config=config) as wire:
            await wire.send("through the tunnel")
            assert await wire.receive() == "through the tunnel"
            await wire.aclose()
    (request,) = proxy.requests
    assert request.startswith(f"CONNECT localhost:{port} HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"us@er:p:w") in request
    assert b"sk-1" not in request


async def test_a_proxy_that_wants_credentials_says_how_to_give_them() -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\nX-Id: 7\r\n\r\nwho?"
    async with tcp_server(ConnectProxy(refusal)) as port:
        with pytest.raises(ConnectFailed, match=r"answered HTTP 407.*user:password@host") as caught:
            async with open_websocket_wire("wss://h/", config=TransportConfig(proxy=f"http://127.0.0.1:{port}")):
                pytest.fail("connected")
    assert (caught.value.status, caught.value.body, caught.value.headers["x-id"]) == (407, "who?", "7")


@pytest.mark.parametrize(
    "answer, words",
    [
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "answered HTTP 502"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "did not answer as an HTTP proxy does"),
        (b"", "closed the connection"),
    ],
)
async def test_a_proxy_that_makes_no_tunnel_is_named_without_its_password(answer: bytes, words: str) -> None:
    async with tcp_server(ConnectProxy(answer)) as port:
        config = TransportConfig(proxy=f"http://me:hunter2@127.0.0.1:{port}")
        with pytest.raises(ConnectFailed, match=words) as caught:
            async with open_websocket_wire("wss://h/", config=config):
                pytest.fail("connected")
    assert f"the proxy http://127.0.0.1:{port}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_a_proxy_that_cannot_be_reached_is_the_one_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = await failure("wss://h.example/", TransportConfig(proxy=f"http://me:hunter2@127.0.0.1:{port}"))
    assert f"http://127.0.0.1:{port}" in str(error)
    assert "h.example" not in str(error)
    assert "hunter2" not in str(error)


def _open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def _accept_by_hand(request: bytes) -> bytes:
    from wsproto.utilities import generate_accept_token

    key = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    token = generate_accept_token(key.partition(b":")[2].strip())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + token + b"\r\n\r\n"
    )
