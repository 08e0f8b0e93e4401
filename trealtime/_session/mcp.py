"""The MCP servers of one session: opened when an agent is put in charge that has them, closed when the session ends.

Theory of operation
1. A server that the app has opened is used as it is; any other gets a connection of the session's own, which then
   stays until the end, whoever is in charge. One that was lost is opened again when an agent that has it comes.
2. Nothing is told before the session is open: its first event is its history. What goes wrong earlier waits.
3. Connections are closed when no tool runs any more, while the session takes its leave of the service.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs

from trealtime._session.driver import Driver
from trealtime._session.lifetime import Lifetime
from trealtime.errors import MCPServerFailed
from trealtime.events import EventInfo, RealtimeError
from trealtime.mcp.connections import Connections
from trealtime.mcp.tools import function_tools
from trealtime.tools.function_tool import FunctionTool

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.mcp.connection import Connection
    from trealtime.mcp.servers import MCPServer

__all__ = ["SessionMCPServers"]


@attrs.define(eq=False)
class SessionMCPServers:
    """Connects, and says which tools there are. `on_change` is awaited when a server has other tools than before."""

    _driver: Driver
    _lifetime: Lifetime
    _info: EventInfo
    _connections: Connections
    on_change: Callable[[], Awaitable[None]] = attrs.field(init=False)
    _used: dict[MCPServer, Connection] = attrs.field(factory=dict, init=False)
    """Those that tell us of changes."""

    _opened: bool = attrs.field(default=False, init=False)
    _changed: bool = attrs.field(default=False, init=False)
    _early: list[MCPServerFailed] = attrs.field(factory=list, init=False)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Servers can be connected in the block; leaving it closes those that the session has opened."""
        try:
            async with self._connections.open():
                yield
        finally:
            for server in list(self._used):
                self._use(server, None)

    def opened(self) -> None:
        """The session is open: what has happened meanwhile is told."""
        self._opened = True
        while self._early:
            self._report(self._early.pop(0))
        if self._changed:
            self._tools_changed()

    def close(self) -> None:
        """Begin to close what the session has opened."""
        self._opened = False
        self._connections.close()

    async def tools_of(self, agent: RealtimeAgent[Any]) -> tuple[FunctionTool, ...]:
        """The tools of all servers of `agent`, in their order. Waits until they are connected.

        Raises `MCPServerFailed` for one that does not start and may not be skipped, and what a filter raises.
        """
        begun = {server: server.shared or self._connections.begin(server) for server in agent.mcp_servers}
        for server, connection in begun.items():
            try:
                await connection.started()
            except MCPServerFailed as failure:
                if server.on_failure == "raise":
                    raise
                self._report(failure)
                self._use(server, None)
            else:
                self._use(server, connection)
        return await self.known_tools_of(agent)

    async def known_tools_of(self, agent: RealtimeAgent[Any]) -> tuple[FunctionTool, ...]:
        """As `tools_of`, without connecting anything: of a server that was lost, the tools that it had."""
        found: list[FunctionTool] = []
        for server in agent.mcp_servers:
            connection = self._used.get(server)
            if connection is not None:
                found += await function_tools(connection, agent.mcp_config, self._info.context, agent)
        return tuple(found)

    def _use(self, server: MCPServer, connection: Connection | None) -> None:
        before = self._used.pop(server, None)
        if before is not None:
            before.on_change.remove(self._tools_changed)
            before.on_lost.remove(self._report)
        if connection is not None:
            self._used[server] = connection
            connection.on_change.append(self._tools_changed)
            connection.on_lost.append(self._report)

    def _tools_changed(self) -> None:
        if self._opened:
            self._lifetime.start_tool(self._tell)
        else:
            self._changed = True

    async def _tell(self) -> None:
        try:
            await self.on_change()
        except Exception as error:  # noqa: BLE001  (what was offered before stands)
            if self._opened:
                self._driver.emit(RealtimeError(error=error, info=self._info))

    def _report(self, failure: MCPServerFailed) -> None:
        if self._opened:
            self._driver.emit(RealtimeError(error=failure, info=self._info))
        else:
            self._early.append(failure)
