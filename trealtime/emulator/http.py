"""HTTP beside the WebSockets of one port: a connection's first request says which of the two it is.

The head of the request is read here. A WebSocket handshake is handed on with what was read put back in front
(`ReplayedStream`); any other request is answered, once, and the connection closed.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit

import attrs
import h11
import trio

from trealtime.errors import MissingDependency

if TYPE_CHECKING:
    import httpx


__all__ = [
    "Callers",
    "HandshakeRefused",
    "HttpAnswer",
    "HttpRequest",
    "ReplayedStream",
    "answer_request",
    "busy",
    "check_key",
    "is_upgrade",
    "memory_transport",
    "offered_keys",
    "read_head",
    "refusal",
    "target_of",
]

_MAX_HEAD: Final = 64 * 2**10
_MAX_BODY: Final = 2**20
_READ: Final = 2**16
_MOST_UNREAD: Final = 2**26
_UNREAD_S: Final = 1.0
_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_UPGRADE: Final = re.compile(rb"^upgrade:[ \t]*websocket", re.IGNORECASE | re.MULTILINE)


@attrs.frozen(kw_only=True)
class HttpRequest:
    """A whole request; header names are in lower case."""

    method: str
    resource: str
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen(kw_only=True)
class HttpAnswer:
    """A status, and a JSON `body` or none."""

    status: int
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def of(cls, refused: HandshakeRefused) -> HttpAnswer:
        """The answer that refuses."""
        return cls(status=refused.status, body=json.loads(refused.body), headers=refused.headers)

    @property
    def content_type(self) -> dict[str, str]:
        """The content type of the body; none where there is no body, so that clients parse none."""
        return {} if self.body is None else {"Content-Type": "application/json"}

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        return b"" if self.body is None else json.dumps(self.body).encode()


async def read_head(stream: trio.abc.Stream) -> bytes:
    """Read up to the empty line that ends a request's head, and maybe more; less if the client ends or the head is too
    long."""
    head = bytearray()
    while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD:
        data = await stream.receive_some(_READ)
        if not data:
            break
        head += data
    return bytes(head)


def is_upgrade(head: bytes) -> bool:
    """Whether this is the whole head of a WebSocket handshake, maybe with more behind it."""
    lines, end, _ = head.partition(b"\r\n\r\n")
    return bool(end) and _UPGRADE.search(lines) is not None


async def answer_request(stream: trio.abc.Stream, head: bytes, answer: Callable[[HttpRequest], HttpAnswer]) -> None:
    """Read the rest of the request that `head` begins, send what `answer` says, close the stream.

    Input that is not HTTP is answered with 400, a head of more than 64 KiB with 431, a body of more than 1 MiB with
    413. Raises what the stream raises.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
    try:
        found = answer(await _read_request(connection, stream, head))
    except HandshakeRefused as refused:
        found = HttpAnswer.of(refused)
    except h11.RemoteProtocolError as error:
        found = HttpAnswer.of(refusal(error.error_status_hint, f"This is not HTTP: {error}", code="invalid_request"))
    content = found.content
    headers = {
        **found.content_type,
        "Content-Length": str(len(content)),
        "Connection": "close",
        **found.headers,
    }
    # h11 lets a server answer after a fault of the client's, and refuses a body in the answer to HEAD.
    body = [] if connection.their_state is not h11.ERROR and head.startswith(b"HEAD ") else [h11.Data(data=content)]
    events = (h11.Response(status_code=found.status, headers=list(headers.items())), *body, h11.EndOfMessage())
    await stream.send_all(b"".join(connection.send(event) or b"" for event in events))
    if connection.their_state is not h11.DONE:
        await _discard_rest(stream)
    await stream.aclose()


async def _discard_rest(stream: trio.abc.Stream) -> None:
    """Read on for a while: closing a socket with unread input resets it, and the client would not see the answer."""
    unread = _MOST_UNREAD
    with trio.move_on_after(_UNREAD_S):
        while unread > 0 and (data := await stream.receive_some(_READ)):
            unread -= len(data)


async def _read_request(connection: h11.Connection, stream: trio.abc.Stream, head: bytes) -> HttpRequest:
    connection.receive_data(head)
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                proceed = h11.InformationalResponse(status_code=100, headers=[])
                await stream.send_all(connection.send(proceed) or b"")
            connection.receive_data(bytes(await stream.receive_some(_READ)))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_BODY:
                raise refusal(413, f"A body may have {_MAX_BODY} bytes.", code="request_too_large")
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return HttpRequest(
                method=request.method.decode(),
                resource=request.target.decode("latin-1"),
                headers={name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers},
                body=bytes(body),
            )
        else:
            raise trio.BrokenResourceError("the client left before its request was whole")


class ReplayedStream(trio.abc.Stream):
    """A stream that begins with `head`, which has been read from it already."""

    def __init__(self, stream: trio.abc.Stream, head: bytes) -> None:
        self._stream = stream
        self._head = head

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return the rest of the head first, then bytes of the stream."""
        if not self._head:
            return await self._stream.receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        size = len(self._head) if max_bytes is None else max_bytes
        data, self._head = self._head[:size], self._head[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As the stream below."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream below."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """As the stream below."""
        await self._stream.aclose()


_KEY_PROTOCOL = "openai-insecure-api-key."


class HandshakeRefused(Exception):
    """The request is answered with an HTTP `status` and a JSON `body`."""

    def __init__(self, status: int, body: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.body = body
        self.headers: dict[str, str] = dict(headers or {})
        super().__init__(f"{status}: {body}")


def target_of(resource: str) -> SplitResult:
    """Return the parts of a request's target. Raises `HandshakeRefused` for one that is no URL."""
    try:
        return urlsplit(resource)
    except ValueError as error:
        raise refusal(400, f"The target of the request is no URL: {error}.", code="invalid_request") from None


@attrs.frozen(kw_only=True)
class Callers:
    """The pages and names from which an emulator takes requests.

    A browser sends an ``Origin`` with each WebSocket and each request of a page of any site. The emulator refuses pages
    unless their origin is in `origins` (``"*"``: all), or clients need an API key, which a page of another site does
    not know. `hosts` are the allowed names of a loopback address; any other name comes from a page whose own name
    points here (DNS rebinding). None: any name will do.
    """

    origins: frozenset[str] = frozenset()
    hosts: frozenset[str] | None = None

    @classmethod
    def of(cls, *, bound_host: str, origins: Iterable[str], hosts: Iterable[str]) -> Callers:
        """The rules for an emulator bound to `bound_host`; names are checked on loopback addresses alone."""
        allowed = frozenset(name.lower() for name in hosts)
        names = frozenset({bound_host.lower(), *_LOOPBACK_NAMES}) | allowed
        return cls(origins=frozenset(origins), hosts=names if _is_loopback(bound_host) and "*" not in allowed else None)

    def check(self, headers: Mapping[str, str], *, needs_key: bool) -> None:
        """Raise `HandshakeRefused` for a request that may come from a page of another site."""
        origin, host = headers.get("origin"), headers.get("host")
        if origin is not None and not needs_key and not self.origins & {origin, "*"}:
            message = f"Pages of {origin} are not allowed to use this emulator: allow_origins, or --allow-origin."
            raise refusal(403, message, code="origin_not_allowed")
        if host is not None and self.hosts is not None and _name_of(host) not in self.hosts:
            message = f"This emulator does not go by the name {host}: allow_hosts, or --allow-host."
            raise refusal(403, message, code="host_not_allowed")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _name_of(host: str) -> str:
    """The name in a ``Host`` header, without its port and brackets."""
    name = host.strip().lower()
    return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


def busy(max_sessions: int) -> HandshakeRefused:
    """The emulator has as many sessions as it allows."""
    return refusal(503, f"This emulator serves {max_sessions} sessions at a time.", code="server_overloaded")


def check_key(keys: Sequence[str], api_key: str | None) -> None:
    """Raise `HandshakeRefused` where a key is asked for and `keys` does not have it."""
    if api_key is None or any(hmac.compare_digest(key.encode(), api_key.encode()) for key in keys):
        return
    message = "Incorrect API key provided." if keys else "No API key provided."
    raise refusal(401, message, code="invalid_api_key")


def offered_keys(headers: Mapping[str, str], query: Mapping[str, str], subprotocols: Sequence[str]) -> list[str]:
    """The keys that a request carries, in any of the possible places."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    keys = [token.strip()] if scheme.lower() == "bearer" else []
    keys += [source["api-key"] for source in (headers, query) if "api-key" in source]
    keys += [name.removeprefix(_KEY_PROTOCOL) for name in subprotocols if name.startswith(_KEY_PROTOCOL)]
    return keys


def refusal(
    status: int, message: str, *, code: str, param: str | None = None, headers: Mapping[str, str] | None = None
) -> HandshakeRefused:
    """An answer with the service's error object."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return HandshakeRefused(status, json.dumps({"error": error}), headers)


def memory_transport(answer: Callable[[HttpRequest], HttpAnswer]) -> httpx.AsyncBaseTransport:
    """Return a transport for ``httpx.AsyncClient`` that asks `answer`, without a socket.

    Each request is one checkpoint. Raises `MissingDependency` where httpx is not installed.
    """
    try:
        import httpx
    except ModuleNotFoundError:
        raise MissingDependency("REST requests to an emulator in memory", extra="http") from None

    class MemoryTransport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            body = await request.aread()
            await trio.lowlevel.checkpoint()
            resource = request.url.raw_path.decode("ascii")
            headers = {name.lower(): value for name, value in request.headers.items()}
            found = answer(HttpRequest(method=request.method, resource=resource, headers=headers, body=body))
            headers = {**found.content_type, **found.headers}
            return httpx.Response(found.status, headers=headers, content=found.content)

    return MemoryTransport()
