"""Streamable HTTP: an MCP server at an address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

if TYPE_CHECKING:
    from trealtime.mcp.kinds import MCPServerStreamableHttpParams

__all__ = ["http_streams"]


@asynccontextmanager
async def http_streams(params: MCPServerStreamableHttpParams) -> AsyncIterator[Any]:
    """Yield the two streams of messages for `mcp.Client`. Leaving ends the server's session, where it has one."""
    timeout = httpx2.Timeout(params.timeout, read=params.sse_read_timeout)
    async with (
        # The environment's proxies are not read, as nowhere in the library: they would see every call and its result.
        httpx2.AsyncClient(headers=params.headers, timeout=timeout, trust_env=False, proxy=params.proxy) as client,
        streamable_http_client(params.url, http_client=client, terminate_on_close=params.terminate_on_close) as streams,
    ):
        yield streams
