"""MCP servers, at the SDK's other path."""

from trealtime.compat.mcp import MCPServer, MCPServerStdio, MCPServerStdioParams, MCPServerStreamableHttp

__all__ = ["MCPServer", "MCPServerStdio", "MCPServerStdioParams", "MCPServerStreamableHttp"]
