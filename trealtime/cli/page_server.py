"""The web server of ``trealtime demo``: the page, its WebSocket, and the recordings of ended calls.

It needs nothing but the base installation, and serves one person, or a few. Pages of other origins are refused, and so
are names that could point here from elsewhere (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from trealtime._log import Log
from trealtime._secrets import parsed_url
from trealtime.emulator.http import HttpAnswer, HttpRequest, ReplayedStream, answer_request, is_upgrade, read_head
from trealtime.endpoints.browser.endpoint import BrowserEndpoint, accept_browser_stream
from trealtime.endpoints.browser.page import PAGE_FILES
from trealtime.errors import BrowserStreamError, ConnectFailed, RecordingError
from trealtime.terminal import printable, shortened
from trealtime.timeline import read_timeline
from trealtime.transport.config import TransportConfig
from trealtime.transport.websocket import accept_websocket_stream
from trealtime.transport.wire import Wire, WireClosed

__all__ = ["Calls", "PageServer"]

logger = Log("trealtime.cli")

_MAX_MESSAGE_BYTES: Final = 4 * 2**20
_MAX_PAGES: Final = 8
_KEPT_CALLS: Final = 20
_HEAD_TIMEOUT_S: Final = 10.0
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".gz": "application/gzip",
}
_TIMELINE_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "media-src data: blob:; frame-ancestors 'self'"
)


@attrs.frozen(kw_only=True)
class PageAnswer(HttpAnswer):
    """An answer with a file, or with words."""

    data: bytes
    media_type: str = "text/plain; charset=utf-8"

    @property
    def content_type(self) -> dict[str, str]:
        """The type of the file."""
        return {"Content-Type": self.media_type, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

    @property
    def content(self) -> bytes:
        """The file."""
        return self.data


@attrs.define
class Calls:
    """The recordings of ended calls in a folder, and their timelines; the newest 20."""

    folder: Path
    _files: dict[str, dict[str, bytes]] = attrs.field(factory=dict, init=False)

    async def add(self, session_id: str) -> None:
        """Draw the timeline of a call that has ended, in a thread."""
        try:
            self._files[session_id] = await trio.to_thread.run_sync(self._read, session_id)
        except (OSError, RecordingError) as error:
            logger.warning("no timeline of %s: %s", session_id, error)
        while len(self._files) > _KEPT_CALLS:
            del self._files[next(iter(self._files))]

    def file(self, session_id: str, name: str) -> bytes | None:
        """Return a file of a call; None where there is none, or none yet."""
        return self._files.get(session_id, {}).get(name)

    def _read(self, session_id: str) -> dict[str, bytes]:
        path = self.folder / f"{session_id}.jsonl.gz"
        timeline = read_timeline(path)
        return {"recording.jsonl.gz": path.read_bytes(), "timeline.html": timeline.html(title="This call").encode()}


@attrs.frozen(eq=False)
class PageServer:
    """Serves the page to browsers; `converse` runs the conversation of each, and returns the id of its session."""

    converse: Callable[[BrowserEndpoint], Awaitable[str | None]]
    calls: Calls
    texts: Mapping[str, str]
    """Words of the page, and what stands in their place."""

    names: frozenset[str] = frozenset()
    """Host names, besides localhost and addresses, by which it may be called."""

    origins: frozenset[str] = frozenset()
    """Origins whose pages may talk, besides its own."""

    _pages: trio.CapacityLimiter = attrs.field(factory=partial(trio.CapacityLimiter, _MAX_PAGES), init=False)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection. No error of a browser leaves this function."""
        try:
            head = b""
            with trio.move_on_after(_HEAD_TIMEOUT_S) as reading:
                head = await read_head(stream)
                if not is_upgrade(head):
                    await answer_request(stream, head, self._answer)
                    return
            if reading.cancelled_caught:
                return
            config = TransportConfig(max_size=_MAX_MESSAGE_BYTES, ping_interval=20)
            async with accept_websocket_stream(ReplayedStream(stream, head), config=config) as upgrade:
                wire = await upgrade.accept()
                why = self._refusal(_headers_of(head))
                if why is None and self._pages.available_tokens == 0:
                    why = "Everybody is busy: try again later."
                if why is not None:
                    print(printable(f"Refused: {why}"), flush=True)
                    await wire.aclose(1008, why)
                    return
                async with self._pages:
                    session_id = await self._talk(wire)
            if session_id is not None:
                await self.calls.add(session_id)
        except (ConnectFailed, WireClosed, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            logger.debug("a connection ended: %s", error)
        except Exception:  # one page must not end the others
            logger.exception("a connection failed")

    async def _talk(self, wire: Wire) -> str | None:
        try:
            page = await accept_browser_stream(wire, max_message_bytes=_MAX_MESSAGE_BYTES)
        except BrowserStreamError as error:
            print(printable(f"Refused: {error}"), flush=True)
            return None
        return await self.converse(page)

    def _refusal(self, headers: Mapping[str, str]) -> str | None:
        """Return the reason why a page may not talk; None: it may. A close frame holds 123 bytes of it."""
        origin, host = headers.get("origin", ""), headers.get("host", "")
        if origin in self.origins:
            return None
        if not self._is_ours(host):
            return f"this server does not go by the name {shortened(host, 48)}: --allow-host NAME"
        parts = parsed_url(origin)
        if parts is None or parts.netloc != host:
            return f"pages of {shortened(origin, 48)} may not talk here: --allow-origin ORIGIN"
        return None

    def _is_ours(self, host: str) -> bool:
        """Return whether a page by this name is ours. An address cannot be made to point elsewhere, a name can."""
        parts = parsed_url(f"//{host}")
        name = (parts is not None and parts.hostname) or ""
        if name == "localhost" or name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _answer(self, request: HttpRequest) -> HttpAnswer:
        """Answer a request for a file."""
        host = request.headers.get("host", "")
        if not self._is_ours(host):
            return PageAnswer(status=403, data=f"This server does not go by the name {host}: --allow-host".encode())
        if request.method not in ("GET", "HEAD"):
            return PageAnswer(status=405, data=b"GET only")
        target = parsed_url(request.resource)
        if target is None:
            return PageAnswer(status=400, data=b"The target of the request is no URL.")
        match target.path.strip("/").split("/"):
            case ["calls", session_id, name]:
                return self._call_file(session_id, name)
            case [name]:
                return self._page_file(name or "index.html", host)
        return _NOT_FOUND

    def _page_file(self, name: str, host: str) -> HttpAnswer:
        path = PAGE_FILES / name
        if path.name != name or path.suffix not in _TYPES or path not in PAGE_FILES.iterdir():
            return _NOT_FOUND  # a name may be too long, or no name, for the file system
        data = path.read_bytes()
        if name == "index.html":
            text = data.decode()
            for key, value in self.texts.items():
                text = text.replace(key, value)
            data = text.encode()
        # Some browsers do not take 'self' for the page's WebSocket.
        policy = (
            f"default-src 'self'; connect-src 'self' ws://{host} wss://{host}; img-src 'self' data: blob:; "
            "frame-src 'self'; frame-ancestors 'none'"
        )
        headers = {"Content-Security-Policy": policy, "Permissions-Policy": "microphone=(self)"}
        return PageAnswer(status=200, data=data, media_type=_TYPES[path.suffix], headers=headers)

    def _call_file(self, session_id: str, name: str) -> HttpAnswer:
        data = self.calls.file(session_id, name)
        if data is None:
            return _NOT_YET
        headers = {"Content-Security-Policy": _TIMELINE_POLICY}
        return PageAnswer(status=200, data=data, media_type=_TYPES[Path(name).suffix], headers=headers)


_NOT_YET: Final = PageAnswer(status=202, data=b"There is no such file, or not yet.")
_NOT_FOUND: Final = PageAnswer(status=404, data=b"There is nothing here.")


def _headers_of(head: bytes) -> dict[str, str]:
    """Return the headers of a request, by lower-case name; the library keeps ``Host`` of a handshake to itself."""
    lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
