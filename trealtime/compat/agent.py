"""The settings of an agent's MCP servers. Realtime agents are in `trealtime.compat.realtime`."""

from trealtime.mcp.servers import MCPConfig

__all__ = ["MCPConfig"]
