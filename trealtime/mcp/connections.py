"""The connections of one owner (a session, or a server that the app opened): one for each server, in its nursery."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from trealtime._value import Shown
from trealtime.errors import MCPServerFailed

if TYPE_CHECKING:
    from trealtime.mcp.connection import Connection
    from trealtime.mcp.servers import MCPServer

__all__ = ["Connections"]


@attrs.define(eq=False, repr=False)
class Connections(Shown):
    """Connections by server. Closing them takes up to `grace_s`, and a second more where a program must be killed."""

    _grace_s: float
    _held: dict[MCPServer, Connection] = attrs.field(factory=dict, init=False)
    _all: list[Connection] = attrs.field(factory=list, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Allow connections within the block, in a nursery of its own, and close them at its end. The block's exception
        comes out bare."""
        error: BaseException | None = None
        async with trio.open_nursery() as self._nursery:
            try:
                yield
            except BaseException as raised:  # noqa: BLE001
                # Kept aside, raised again below: raised in here it would come out in a group.
                error = raised
            self.close()
            # Bounded: each has a deadline now.
            with trio.CancelScope(shield=True):
                for connection in self._all:
                    await connection.done.wait()
        try:
            if error is not None:
                raise error
        finally:
            # The traceback of an exception holds this frame: without this they keep each other alive.
            del error

    def run_in(self, nursery: trio.Nursery) -> None:
        """Allow connections in a nursery of the owner's, who calls `close` before leaving it."""
        self._nursery = nursery

    async def connect(self, server: MCPServer) -> Connection:
        """Return the connection to `server`, a new one if there is none or it was lost. Waits until its tools are
        listed.

        If cancelled, the connection opens all the same. Raises `MCPServerFailed`, also after `close`.
        """
        connection = self.begin(server)
        await connection.started()
        return connection

    def begin(self, server: MCPServer) -> Connection:
        """As `connect`, without waiting."""
        from trealtime.mcp.connection import Connection  # building a server imported it; others need not

        connection = self._held.get(server)
        if connection is None or not connection.alive:
            if self._closed or self._nursery is None:
                raise MCPServerFailed(f"the MCP server {server.name!r} is not connected", server_name=server.name)
            connection = self._held[server] = Connection(server, self._grace_s)
            # A server that ends again and again leaves nothing behind here.
            self._all = [*(each for each in self._all if not each.done.is_set()), connection]
            self._nursery.start_soon(connection.run)
        return connection

    def close(self) -> None:
        """Begin to close all, and refuse new ones. Idempotent."""
        self._closed = True
        for connection in self._all:
            connection.close()
