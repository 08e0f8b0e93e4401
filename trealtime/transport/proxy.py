"""A tunnel through an HTTP proxy: CONNECT, RFC 9110 section 9.3.6."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit

import h11
import trio

from trealtime.errors import ConnectFailed
from trealtime.transport.failures import refusal
from trealtime.transport.request import redacted_url

__all__ = ["open_tunnel"]

_RECEIVE_BYTES = 4096
_BODY_LIMIT = 16 * 1024


async def open_tunnel(stream: trio.abc.Stream, proxy: str, host: str, port: int) -> None:
    """Ask the proxy at the other end of `stream` for a tunnel; `stream` then leads to `host` and `port`.

    `proxy` is the proxy's URL, for its user and password and for error texts. Raises `ConnectFailed` with the proxy's
    status when it refuses. If cancelled, the stream is of no more use.
    """
    shown = f"the proxy {redacted_url(proxy)}"
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    http = h11.Connection(h11.CLIENT)
    request = h11.Request(method="CONNECT", target=authority, headers=[("Host", authority), *_authorization(proxy)])
    await stream.send_all(http.send(request) or b"")
    try:
        response = await _next_event(http, stream)
        assert isinstance(response, h11.Response)  # nothing else comes first; at the end of the stream h11 raises
        if 200 <= response.status_code < 300:
            return
        body = await _read_body(http, stream)
    except h11.RemoteProtocolError as exc:
        _, ended = http.trailing_data
        how = "closed the connection in place of an answer" if ended else f"did not answer as an HTTP proxy does: {exc}"
        raise ConnectFailed(f"{shown} {how}", url=redacted_url(proxy)) from exc
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    hint = 'the proxy wants a user and password: proxy="http://user:password@host:port"'
    raise refusal(shown, response.status_code, headers, body, hint=hint if response.status_code == 407 else None)


def _authorization(proxy: str) -> list[tuple[str, str]]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return []
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return [("Proxy-Authorization", f"Basic {base64.b64encode(credentials).decode()}")]


async def _next_event(http: h11.Connection, stream: trio.abc.Stream) -> object:
    """What the proxy sends next, interim responses left out."""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(_RECEIVE_BYTES)))
        elif not isinstance(event, h11.InformationalResponse):
            return event


async def _read_body(http: h11.Connection, stream: trio.abc.Stream) -> str:
    body = bytearray()
    while len(body) < _BODY_LIMIT:
        event = await _next_event(http, stream)
        if not isinstance(event, h11.Data):
            break
        body += event.data
    return body.decode(errors="replace")
