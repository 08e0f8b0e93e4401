"""The run context, under the SDK's name."""

from trealtime.tools.context import ContextT as TContext
from trealtime.tools.context import RunContext as RunContextWrapper

__all__ = ["AgentHookContext", "RunContextWrapper", "TContext"]

AgentHookContext = RunContextWrapper
"""The context of hooks, which here is the run context itself."""
