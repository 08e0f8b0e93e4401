"""Open a WebSocket wire to a URL: checks, TCP or a proxy's tunnel, TLS, handshake."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio

from trealtime.transport.config import TransportConfig
from trealtime.transport.failures import explained_failures
from trealtime.transport.proxy import open_tunnel
from trealtime.transport.request import Address, check_headers
from trealtime.transport.websocket import WebSocketWire, wrap_websocket_stream

__all__ = ["open_websocket_wire"]


@asynccontextmanager
async def open_websocket_wire(
    url: str, *, headers: Mapping[str, str] | None = None, config: TransportConfig | None = None
) -> AsyncIterator[WebSocketWire]:
    """A wire to the WebSocket server at `url`, which is used as it is, with `headers` added to the handshake.

    Entering connects within ``config.handshake_timeout``. It raises `SettingsError` for a URL or header that cannot be
    sent, before any socket is opened, and `ConnectFailed` for everything that goes wrong outside. If cancelled, no
    socket and no task is left. Leaving drops the connection (close it first with `Wire.aclose`); what the body raises
    comes out as it is.
    """
    config = config or TransportConfig()
    address = Address.of(url)
    check_headers(headers or {})
    deadline = trio.current_time() + config.handshake_timeout
    with explained_failures(url, headers=headers, timeout_s=config.handshake_timeout), trio.fail_at(deadline):
        stream = await _open_stream(address, config)
    async with wrap_websocket_stream(stream, url, headers=headers, config=config, deadline=deadline) as wire:
        yield wire


async def _open_stream(address: Address, config: TransportConfig) -> trio.abc.Stream:
    """A stream to `address`, through proxy and TLS as asked for. Whatever fails or is cancelled leaves no socket."""
    if config.proxy is not None:
        with explained_failures(config.proxy):
            proxy = urlsplit(config.proxy)
            assert proxy.hostname is not None  # TransportConfig has checked both
            assert proxy.port is not None
            stream: trio.abc.Stream = await trio.open_tcp_stream(proxy.hostname, proxy.port)
    else:
        stream = await trio.open_tcp_stream(address.host, address.port)
    try:
        if config.proxy is not None:
            await open_tunnel(stream, config.proxy, address.host, address.port)
        if address.tls:
            # Reading the system's certificates takes tens of milliseconds: other calls' audio should not wait for it.
            context = config.ssl_context
            if context is None:
                context = await trio.to_thread.run_sync(ssl.create_default_context)
            # Like every HTTPS client: servers close without TLS's goodbye, WebSocket has a close frame of its own.
            stream = trio.SSLStream(stream, context, server_hostname=address.host, https_compatible=True)
            await stream.do_handshake()
    except BaseException:
        with trio.CancelScope(deadline=-math.inf, shield=True):
            await stream.aclose()
        raise
    return stream
