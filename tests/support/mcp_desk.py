"""MCP servers to test with: one in this process, and the programs in tests/session."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio
from mcp.server.mcpserver import Context, Image
from mcp.server.mcpserver import MCPServer as Program

from trealtime import (
    MCPServerStdio,
    RealtimeAgent,
    RealtimeRunner,
)
from trealtime.mcp import MCPServer

FOLDER = Path(__file__).parents[1] / "session"
OLD_TOOLS = ["whoami", "learn", "hang", "die", "garbage"]


@attrs.define(eq=False)
class InProcess(MCPServer):
    """A server in this process: no clock but Trio's."""

    program: Program

    def described(self) -> str:
        return "here"

    def streams(self, *, grace_s: float) -> Any:
        return self.program


def program(*words: str, file: str = "old_mcp_program.py", **options: Any) -> MCPServerStdio:
    return MCPServerStdio({"command": sys.executable, "args": [str(FOLDER / file), *words]}, **options)


def desk(**options: Any) -> InProcess:
    """Its tools are async: a thread would be slower than the clock, which jumps."""
    server = Program("desk")

    @server.tool()
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool(structured_output=False)
    async def draw() -> list[str | Image]:
        """Draw something."""
        return ["a circle", Image(data=b"x" * 30, format="png")]

    @server.tool()
    async def find(order_id: int) -> dict[str, int]:
        """Find an order."""
        return {"order": order_id}

    @server.tool()
    async def wait(seconds: float, context: Context) -> str:
        """Take a while."""
        await context.report_progress(1, 2, "half of it")
        await trio.sleep(seconds)
        return "waited"

    @server.tool()
    async def learn(name: str, context: Context) -> str:
        """Have one more tool."""

        async def learnt() -> str:
            return f"{name} done"

        server.add_tool(learnt, name=name, description="Learnt.")
        await context.notify_tools_changed()
        return "learnt"

    return InProcess(server, **options)


@asynccontextmanager
async def talk(service: Any, *servers: MCPServer, config: Any = None, **fields: Any) -> AsyncIterator[Any]:
    agent = RealtimeAgent(name="Assistant", mcp_servers=list(servers), **fields)
    async with RealtimeRunner(agent, model=service, config=config).session() as session:
        yield session


def offered(service: Any) -> list[str]:
    return [tool["name"] for tool in service.last.session["tools"]]


async def call(service: Any, name: str, id: str = "1", /, **arguments: Any) -> str:
    """What the model reads when it calls this."""
    server = service.last
    count = len(server.of("conversation.item.create")) + 1
    await server.begin(id=f"resp_{id}")
    await server.call(name, json.dumps(arguments), id=f"resp_{id}", call_id=f"call_{id}")
    await server.done(id=f"resp_{id}")
    item = (await server.expect("conversation.item.create", count=count))["item"]
    assert item["call_id"] == f"call_{id}"
    return str(item["output"])
