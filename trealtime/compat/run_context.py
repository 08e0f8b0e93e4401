"""The run context, under the SDK's name."""

from trealtime.tools.context import RunContext as RunContextWrapper

__all__ = ["AgentHookContext", "RunContextWrapper"]

AgentHookContext = RunContextWrapper
"""What hooks get; here they get the run context itself."""
