"""MCP servers: those that a session connects to, and those that the service connects to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trealtime import _lazy

if TYPE_CHECKING:
    from trealtime.mcp.hosted import HostedTool as HostedTool
    from trealtime.mcp.servers import MCPServer as MCPServer
    from trealtime.mcp.servers import ToolFilterContext as ToolFilterContext
    from trealtime.mcp.servers import ToolFilterStatic as ToolFilterStatic
    from trealtime.mcp.servers import create_static_tool_filter as create_static_tool_filter
else:
    __all__, __getattr__, __dir__ = _lazy.namespace(__name__)
