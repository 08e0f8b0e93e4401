"""Open a WebSocket wire to a URL: checks, TCP or a proxy's tunnel, TLS, handshake."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

import h11
import trio

from trealtime._secrets import redacted_url
from trealtime.errors import ConnectFailed
from trealtime.transport.background import drop
from trealtime.transport.client import ClientWire, wrap_websocket_stream
from trealtime.transport.config import TransportConfig
from trealtime.transport.failures import explained_failures, read_refusal, refusal
from trealtime.transport.request import Address, check_headers
from trealtime.transport.socket_stream import open_stream
from trealtime.transport.tls_stream import TLSStream

__all__ = ["open_tunnel", "open_websocket_wire"]


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_websocket_wire(
    url: str, *, headers: Mapping[str, str] | None = None, config: TransportConfig | None = None
) -> AsyncIterator[ClientWire]:
    """Open a wire to the WebSocket server at `url`, which is used as it is, with `headers` added to the handshake.

    Entering connects within ``config.handshake_timeout``. It raises `SettingsError` for a URL or header that cannot be
    sent, before any socket is opened, and `ConnectFailed` for everything that goes wrong outside. If cancelled, no
    socket and no task is left. Leaving drops the connection (close it first with `Wire.aclose`); an exception of the
    body comes out as it is.
    """
    config = config or TransportConfig()
    address = Address.of(url)
    check_headers(headers or {})
    deadline = trio.current_time() + config.handshake_timeout
    with explained_failures(url, headers=headers, timeout_s=config.handshake_timeout), trio.fail_at(deadline):
        stream = await _open_stream(address, config)
    async with wrap_websocket_stream(stream, url, headers=headers, config=config, deadline=deadline) as wire:
        yield wire


@trio.lowlevel.enable_ki_protection
async def _open_stream(address: Address, config: TransportConfig) -> trio.abc.Stream:
    """Open a stream to `address`, through proxy and TLS as asked for. A failure or cancellation leaves no socket."""
    if config.proxy is not None:
        with explained_failures(config.proxy):
            proxy = urlsplit(config.proxy)
            assert proxy.hostname is not None  # TransportConfig has checked both
            assert proxy.port is not None
            plain = await open_stream(proxy.hostname, proxy.port)
    else:
        plain = await open_stream(address.host, address.port)
    stream: trio.abc.Stream = plain
    try:
        if config.proxy is not None:
            await open_tunnel(plain, config.proxy, address.host, address.port)
        if address.tls:
            # Reading the system's certificates takes tens of milliseconds: other calls' audio should not wait for it.
            context = config.ssl_context
            if context is None:
                context = await trio.to_thread.run_sync(ssl.create_default_context)
            stream = secure = TLSStream(plain, context, server_hostname=address.host)
            await secure.do_handshake()
    except BaseException:
        await drop(stream)
        raise
    return stream


# ---- through a proxy ------------------------------------------------------------------------------------------------


async def open_tunnel(stream: trio.abc.Stream, proxy: str, host: str, port: int) -> None:
    """Ask the HTTP proxy at the other end of `stream` for a tunnel (CONNECT, RFC 9110 section 9.3.6).

    `stream` then leads to `host` and `port`. `proxy` is the proxy's URL, for its user and password and for error texts.
    Raises `ConnectFailed` with the proxy's status when it refuses. If cancelled, the stream is of no more use.
    """
    shown = f"the proxy {redacted_url(proxy)}"
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    http = h11.Connection(h11.CLIENT)
    request = h11.Request(method="CONNECT", target=authority, headers=[("Host", authority), *_authorization(proxy)])
    await stream.send_all(http.send(request) or b"")
    try:
        response = await _response(http, stream)
    except h11.RemoteProtocolError as exc:
        _, ended = http.trailing_data
        how = "closed the connection in place of an answer" if ended else f"did not answer as an HTTP proxy does: {exc}"
        raise ConnectFailed(f"{shown} {how}", url=redacted_url(proxy)) from exc
    if 200 <= response.status_code < 300:
        return
    refused = await read_refusal(http, stream, response)
    hint = 'the proxy wants a user and password: proxy="http://user:password@host:port"'
    raise refusal(shown, refused.status, refused.headers, refused.body, hint=hint if refused.status == 407 else None)


def _authorization(proxy: str) -> list[tuple[str, str]]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return []
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return [("Proxy-Authorization", f"Basic {base64.b64encode(credentials).decode()}")]


async def _response(http: h11.Connection, stream: trio.abc.Stream) -> h11.Response:
    """Wait for the final answer; interim ones are left out."""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(4096)))
        elif isinstance(event, h11.Response):
            return event  # nothing but interim answers comes before it; at the end of the stream h11 raises
