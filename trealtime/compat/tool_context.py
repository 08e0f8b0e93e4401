"""The run context of one call of a tool."""

from trealtime.tools.context import ToolContext

__all__ = ["ToolContext"]
