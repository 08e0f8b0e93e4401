"""A small MCP server for tests: over standard input and output, or with a port as its argument over HTTP."""

from __future__ import annotations

import os
import sys

import anyio
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("desk", log_level="ERROR")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def find(order_id: int) -> dict[str, str]:
    """Find an order."""
    if order_id < 0:
        raise ValueError("there are no such orders")
    return {"status": "shipped"}


@server.tool()
async def learn(name: str, context: Context) -> str:
    """Have one more tool."""
    server.add_tool(lambda: f"{name} done", name=name, description="Learnt.")
    await context.session.send_tool_list_changed()
    await context.notify_tools_changed()
    return "learnt"


@server.tool()
def die() -> str:
    """End."""
    os._exit(3)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        anyio.run(lambda: server.run_streamable_http_async(port=int(sys.argv[1])))
    else:
        server.run()
