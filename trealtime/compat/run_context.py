"""The run context, under the SDK's name."""

from trealtime.tools.context import RunContext as RunContextWrapper

__all__ = ["AgentHookContext", "RunContextWrapper"]

AgentHookContext = RunContextWrapper
"""The context of hooks, which here is the run context itself."""
