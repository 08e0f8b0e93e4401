"""A connection to an MCP server: one task that opens it, holds it and closes it.

Theory of operation
1. The task owns everything that the client of the `mcp` package opens, because the task that entered a nursery has to
   leave it. The task is shielded from cancellation: its owner ends it with `close`. Its start and its end have a limit.
2. The task raises nothing. It keeps a failure for callers that wait for the start or call a tool later.
3. A server that ends by itself makes the connection `lost` for good. Another connection can be opened.
4. The task lists the tools at the start and when the server says that they have changed: in a notification (MCP
   versions until 2025-11-25), or on a stream that the client has asked for (from 2026-07-28 on). A server that says so
   and has nothing new is asked less and less often: some say so whenever they are asked.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import attrs
import mcp_types
import trio
from mcp.client import Client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError

from trealtime._log import Log
from trealtime._secrets import without_secrets_in_addresses, without_values
from trealtime.errors import MCPServerFailed
from trealtime.mcp.listing import MendedStream
from trealtime.mcp.servers import MCPServer
from trealtime.mcp.stdio import ProgramEnded
from trealtime.terminal import text_of

__all__ = ["Connection"]

logger = Log("trealtime.mcp")

_MAX_PAGES: Final = 100
"""The most pages of a list of tools."""

_MAX_LISTED: Final = 10_000
"""The most tools in a list, before the filter."""

_MARGIN_S: Final = 1.0
"""Time to kill a program, on top of the grace."""

_SUBSCRIBE_AGAIN_S: Final = 5.0

_MOST_NAMED: Final = 5
"""The most tools that a message names."""

_SHORTEST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
"""The pause after a list that had nothing new, although the server had said so; it doubles each time."""


class _BadToolList(Exception):
    """The list of tools cannot be used; the text says why, in our words."""


@attrs.define(eq=False)
class Connection:
    """A connection to `server`, which has `tools`."""

    server: MCPServer
    _grace_s: float
    tools: tuple[mcp_types.Tool, ...] = attrs.field(default=(), init=False)
    on_change: list[Callable[[], None]] = attrs.field(factory=list, init=False)
    """Called when the tools have changed."""

    on_trouble: list[Callable[[MCPServerFailed], None]] = attrs.field(factory=list, init=False)
    """Called when the server ended by itself, or lists tools that cannot be offered."""

    left_out: MCPServerFailed | None = attrs.field(default=None, init=False)
    """Says which of the tools that the server lists are not among `tools`, and why; None: they all are."""

    done: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when nothing of the connection is left."""

    _client: Client | None = attrs.field(default=None, init=False)
    _failure: MCPServerFailed | None = attrs.field(default=None, init=False)
    _started: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when the tools are listed, or will not be."""

    _ready: bool = attrs.field(default=False, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    _end: trio.Event = attrs.field(factory=trio.Event, init=False)
    _stale: trio.Event = attrs.field(factory=trio.Event, init=False)
    _unusable: list[str] = attrs.field(factory=list, init=False)
    """A line for each tool that the last list had and that cannot be offered."""

    _scope: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True), init=False)

    @property
    def alive(self) -> bool:
        """Whether it stands, or is still starting."""
        return self._failure is None and not self._closing

    async def started(self) -> None:
        """Wait until the tools are listed. Raises `MCPServerFailed` when the start fails."""
        await self._started.wait()
        if self._failure is not None or not self._ready:
            raise self._failed()

    async def call(
        self, name: str, arguments: Mapping[str, Any], *, on_progress: Callable[[object], None] | None
    ) -> mcp_types.CallToolResult:
        """Call a tool and wait for its result; `on_progress` gets the server's notes meanwhile.

        If cancelled, it tells the server. Raises `MCPServerFailed` when the server is gone, and the server's error
        otherwise.
        """
        if self._client is None or not self.alive:
            raise self._failed()

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            assert on_progress is not None
            on_progress({"progress": progress, "total": total, "message": message})

        try:
            return await self._client.call_tool(
                name,
                dict(arguments),
                self.server.client_session_timeout_seconds or math.inf,
                tell if on_progress is not None else None,
            )
        except MCPError as error:
            if error.code == mcp_types.CONNECTION_CLOSED:
                # It is gone, and the connection's task may not know yet.
                raise self._failed() from None
            raise

    def close(self) -> None:
        """Begin to close; `done` is set at the end. Idempotent."""
        if self._closing:
            return
        self._closing = True
        if self._ready:
            self._scope.deadline = trio.current_time() + self._grace_s + _MARGIN_S
            self._end.set()
        else:
            self._scope.cancel()

    # ---- the task ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Open, hold and close the connection. Raises no Exception."""
        self._scope.deadline = trio.current_time() + self.server.startup_timeout_seconds
        try:
            with self._scope:
                await self._hold()
        except Exception as error:  # noqa: BLE001  (kept for the session, which decides what follows)
            self._fail(_why(error, headers=getattr(getattr(self.server, "params", None), "headers", None)))
        else:
            if self._scope.cancelled_caught and not self._closing:
                self._fail(f"it was not ready within {self.server.startup_timeout_seconds:g} s")
        finally:
            self._client = None
            self._started.set()
            self.done.set()
        if self._failure is not None and self._ready and not self._closing:
            for tell in self.on_trouble:
                tell(self._failure)

    async def _hold(self) -> None:
        target = self.server.streams(grace_s=self._grace_s)
        if isinstance(target, AbstractAsyncContextManager):  # and no server in this process
            target = self._mending(target)
        client = Client(target, message_handler=self._hear, cache=None)
        async with client, trio.open_nursery() as nursery:
            self._client = client
            self.tools = await self._list(client)
            self._ready = True
            self._scope.deadline = math.inf
            self._started.set()
            tools = client.server_capabilities.tools
            if not self.server.cache_tools_list:
                nursery.start_soon(self._follow, client)
                if client.session.discover_result is not None and tools is not None and tools.list_changed:
                    nursery.start_soon(self._subscribe, client)
            await self._end.wait()
            self._client = None
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def _mending(self, transport: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
        async with transport as (incoming, outgoing):
            yield MendedStream(incoming, self._unusable.extend), outgoing

    async def _list(self, client: Client) -> tuple[mcp_types.Tool, ...]:
        self._unusable.clear()
        tools = await self._pages(client)
        before, self.left_out = self.left_out, None
        if self._unusable:
            what = "; ".join(self._unusable[:_MOST_NAMED])
            if len(self._unusable) > _MOST_NAMED:
                what += f"; and {len(self._unusable) - _MOST_NAMED:,} more"
            message = (
                f"the MCP server {self.server.name!r} lists tools that cannot be offered, they are left out: {what}"
            )
            self.left_out = MCPServerFailed(message, server_name=self.server.name)
            if before is None or str(before) != message:
                logger.warning("%s", message)
                for tell in self.on_trouble:
                    tell(self.left_out)
        return tools

    async def _pages(self, client: Client) -> tuple[mcp_types.Tool, ...]:
        found: list[mcp_types.Tool] = []
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            page = await client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if len(found) > _MAX_LISTED:
                raise _BadToolList(f"it lists more than {_MAX_LISTED:,} tools")
            if cursor is None:
                return tuple(found)
            if cursor in seen:
                raise _BadToolList("its list of tools has no end: the same page follows again")
            seen.add(cursor)
            if len(seen) == _MAX_PAGES:
                raise _BadToolList(f"its list of tools has more than {_MAX_PAGES} pages")

    async def _hear(self, message: object) -> None:
        if isinstance(message, ProgramEnded):
            self._fail(str(message))
            self._end.set()
        elif isinstance(message, mcp_types.ToolListChangedNotification):
            self._stale.set()

    async def _subscribe(self, client: Client) -> None:
        while True:
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        self._stale.set()
                    return
            except (MCPError, SubscriptionLost, TimeoutError):
                await trio.sleep(_SUBSCRIBE_AGAIN_S)
                self._stale.set()  # the server does not say what changed meanwhile

    async def _follow(self, client: Client) -> None:
        pause_s = 0.0
        while True:
            await self._stale.wait()
            await trio.sleep(pause_s)
            pause_s = min(max(_SHORTEST_PAUSE_S, pause_s * 2), _LONGEST_PAUSE_S)
            self._stale = trio.Event()
            try:
                with trio.fail_after(self.server.client_session_timeout_seconds or math.inf):
                    tools = await self._list(client)
            except (MCPError, trio.TooSlowError, _BadToolList) as error:
                what = "the MCP server %s has other tools and does not list them, the old ones stay: %s"
                why = str(error) if isinstance(error, _BadToolList) else type(error).__name__
                logger.warning(what, self.server.name, why)
                continue
            if tools != self.tools:
                pause_s = 0.0
                self.tools = tools
                for tell in self.on_change:
                    tell()

    def _fail(self, why: str) -> None:
        if self._failure is None:
            name = self.server.name
            verb = "has ended" if self._ready else "did not start"
            self._failure = MCPServerFailed(f"the MCP server {name!r} {verb}: {why}", server_name=name)

    def _failed(self) -> MCPServerFailed:
        name = self.server.name
        message = str(self._failure) if self._failure is not None else f"the MCP server {name!r} is not connected"
        return MCPServerFailed(message, server_name=name)


def _why(error: BaseException, *, headers: Mapping[str, str] | None) -> str:
    """Return the first cause in a group, in words, without the secrets of the server's address and `headers`."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, _BadToolList):
        return str(error)
    text = without_values(without_secrets_in_addresses(text_of(error)), headers)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
