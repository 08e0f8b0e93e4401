"""HTTP beside the WebSockets of one port: a connection's first request says which of the two it is.

The head of the request is read here. A WebSocket handshake is handed on with what was read put back in front
(`ReplayedStream`); any other request is answered, once, and the connection closed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import h11
import trio

from trealtime.emulator.handshake import HandshakeRefused, refusal

__all__ = ["HttpAnswer", "HttpRequest", "ReplayedStream", "answer_request", "is_upgrade", "read_head"]

_MAX_HEAD: Final = 64 * 2**10
_MAX_BODY: Final = 2**20
_READ: Final = 2**16
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
        return cls(status=refused.status, body=json.loads(refused.body))

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        return b"" if self.body is None else json.dumps(self.body).encode()


async def read_head(stream: trio.abc.Stream) -> bytes:
    """What comes up to the empty line that ends a request's head, and maybe more; less if the client ends or the head
    is too long."""
    head = bytearray()
    while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD:
        data = await stream.receive_some(_READ)
        if not data:
            break
        head += data
    return bytes(head)


def is_upgrade(head: bytes) -> bool:
    """Whether this begins a WebSocket handshake."""
    return _UPGRADE.search(head) is not None


async def answer_request(stream: trio.abc.Stream, head: bytes, answer: Callable[[HttpRequest], HttpAnswer]) -> None:
    """Read the rest of the request that `head` begins, send what `answer` says, close the stream.

    What is no HTTP is answered with 400, a body of more than 1 MiB with 413. Raises what the stream raises.
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
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "Connection": "close",
        **found.headers,
    }
    # After a fault of the client's h11 still lets us answer.
    events = (h11.Response(status_code=found.status, headers=list(headers.items())), h11.Data(data=content))
    await stream.send_all(b"".join(connection.send(event) or b"" for event in (*events, h11.EndOfMessage())))
    await stream.aclose()


async def _read_request(connection: h11.Connection, stream: trio.abc.Stream, head: bytes) -> HttpRequest:
    connection.receive_data(head)
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
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
        """The rest of the head first, then what comes."""
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
