"""Hooks. The SDK takes them for realtime agents and never calls them; here they are called."""

from trealtime.agents.hooks import RealtimeAgentHooks as AgentHooks
from trealtime.agents.hooks import RealtimeRunHooks as RunHooks

__all__ = ["AgentHooks", "AgentHooksBase", "RunHooks", "RunHooksBase"]

AgentHooksBase = AgentHooks
RunHooksBase = RunHooks
