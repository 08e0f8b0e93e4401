"""MCP: tools of other programs, which the session itself connects to, and of servers that the service connects to."""
