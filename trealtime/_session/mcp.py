"""The MCP servers of one session: opened for the first agent that has them, closed when the session ends.

Theory of operation
1. A server that the app has opened is used as it is. Any other gets a connection of the session's own, which stays open
   until the session ends, also while an agent without that server is in charge. A lost one is opened again for the next
   agent that has it. The servers of the first agent are connected before the session is; they get a nursery around all
   else. Where that agent has none, those of later agents run in the session's outer nursery.
2. Failures before the session is open are emitted when it is: the first event of a session is its history.
3. Connections are closed once no tool runs any more, while the session closes its connection to the service.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import attrs

from trealtime._session.failures import Failures
from trealtime._session.lifetime import Lifetime
from trealtime._value import Shown
from trealtime.errors import MCPServerFailed
from trealtime.events import EventInfo
from trealtime.mcp.connections import Connections
from trealtime.mcp.tools import function_tools
from trealtime.tools.function_tool import FunctionTool

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.mcp.connection import Connection
    from trealtime.mcp.servers import MCPServer

__all__ = ["SessionMCPServers"]


@attrs.define(eq=False, repr=False)
class SessionMCPServers(Shown):
    """Connects to servers and lists their tools. `on_change` is awaited when the tools of a server have changed."""

    _lifetime: Lifetime
    _failures: Failures
    _info: EventInfo
    _connections: Connections
    on_change: Callable[[], Awaitable[None]] = attrs.field(init=False)
    _used: dict[MCPServer, Connection] = attrs.field(factory=dict, init=False)
    """Connections whose changes this session follows."""

    _opened: bool = attrs.field(default=False, init=False)
    _changed: bool = attrs.field(default=False, init=False)
    _early: list[MCPServerFailed] = attrs.field(factory=list, init=False)

    def open(self, agent: RealtimeAgent[Any]) -> AbstractAsyncContextManager[None]:
        """Let the servers of `agent`, the first one, be connected in a block; leaving it closes those that the session
        has opened."""
        return self._holding() if agent.mcp_servers else nullcontext()

    @asynccontextmanager
    async def _holding(self) -> AsyncIterator[None]:
        try:
            async with self._connections.open():
                yield
        finally:
            self._let_go()

    def opened(self, agent: RealtimeAgent[Any]) -> None:
        """Note that the session is open with `agent`, and emit what has failed until now."""
        if not agent.mcp_servers:
            self._connections.run_in(self._lifetime.outer_nursery)
        self._opened = True
        while self._early:
            self._report(self._early.pop(0))
        if self._changed:
            self._tools_changed()

    def close(self) -> None:
        """Begin to close the connections that the session has opened. Idempotent."""
        self._opened = False
        self._connections.close()
        self._let_go()

    async def tools_of(self, agent: RealtimeAgent[Any]) -> tuple[FunctionTool, ...]:
        """Wait until all servers of `agent` are connected and return their tools, in their order.

        Raises `MCPServerFailed` for a server that does not start, or whose tools cannot be offered, and that may not be
        skipped; and what a filter raises.
        """
        begun = {server: server.shared or self._connections.begin(server) for server in agent.mcp_servers}
        found: list[FunctionTool] = []
        for server, connection in begun.items():
            try:
                await connection.started()
                self._use(server, connection)
                found += await self._tools(connection, agent)
            except MCPServerFailed as failure:
                if server.on_failure == "raise":
                    raise
                self._report(failure)
                self._use(server, None)
        return tuple(found)

    async def known_tools_of(self, agent: RealtimeAgent[Any]) -> tuple[FunctionTool, ...]:
        """Return the tools of the servers that are connected already. A lost server gives the tools that it had.

        Raises `MCPServerFailed` for tools that cannot be offered, and what a filter raises.
        """
        found: list[FunctionTool] = []
        for server in agent.mcp_servers:
            connection = self._used.get(server)
            if connection is not None:
                found += await self._tools(connection, agent)
        return tuple(found)

    async def _tools(self, connection: Connection, agent: RealtimeAgent[Any]) -> list[FunctionTool]:
        return await function_tools(connection, agent.mcp_config, self._info.context, agent)

    def _let_go(self) -> None:
        for server in list(self._used):
            self._use(server, None)

    def _use(self, server: MCPServer, connection: Connection | None) -> None:
        before = self._used.pop(server, None)
        if before is not None:
            before.on_change.remove(self._tools_changed)
            before.on_trouble.remove(self._report)
        if connection is not None:
            self._used[server] = connection
            connection.on_change.append(self._tools_changed)
            connection.on_trouble.append(self._report)
            if connection.left_out is not None:
                self._report(connection.left_out)

    def _tools_changed(self) -> None:
        if self._opened:
            self._lifetime.start_tool(self._tell)
        else:
            self._changed = True

    async def _tell(self) -> None:
        try:
            await self.on_change()
        except Exception as error:  # noqa: BLE001  (the model keeps the tools that it had)
            if self._opened:
                summary = f"the tools of an MCP server could not be renewed: {type(error).__name__}"
                self._failures.report("mcp_server", error, summary=summary)

    def _report(self, failure: MCPServerFailed) -> None:
        if self._opened:
            summary = f"the MCP server {failure.server_name} failed"
            self._failures.report("mcp_server", failure, summary=summary)
        else:
            self._early.append(failure)
