"""An httpx transport that asks an emulator in this process, without a socket. Imports httpx: only `Emulator` does."""

from __future__ import annotations

from collections.abc import Callable

import trio

from trealtime.emulator.http import HttpAnswer, HttpRequest
from trealtime.errors import MissingDependency

try:
    import httpx
except ModuleNotFoundError:
    raise MissingDependency("REST requests to an emulator in memory", extra="http") from None

__all__ = ["MemoryTransport"]


class MemoryTransport(httpx.AsyncBaseTransport):
    """Answers what an ``httpx.AsyncClient`` asks with `answer`."""

    def __init__(self, answer: Callable[[HttpRequest], HttpAnswer]) -> None:
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One checkpoint, then the answer."""
        body = await request.aread()
        await trio.lowlevel.checkpoint()
        resource = request.url.raw_path.decode("ascii")
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = self._answer(HttpRequest(method=request.method, resource=resource, headers=headers, body=body))
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.content)
