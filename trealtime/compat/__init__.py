"""Programs written for the OpenAI Agents SDK: in their imports, replace ``agents`` by ``trealtime.compat``.

The modules have the SDK's paths (0.24) and its shapes: configurations are typed dictionaries, events are dataclasses,
agents can be changed until a session begins, and a session yields the SDK's fifteen kinds of events and no others. Only
its realtime layer is here. New programs use `trealtime` itself, and ``session.native`` leads there from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from trealtime.compat._setup import (
    enable_verbose_stdout_logging,
    set_default_openai_key,
    set_tracing_disabled,
)
from trealtime.compat.exceptions import (
    AgentsException,
    InputGuardrailTripwireTriggered,
    ModelBehaviorError,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
    ToolTimeoutError,
    UserError,
)
from trealtime.compat.guardrail import (
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailResult,
    OutputGuardrail,
    OutputGuardrailResult,
    input_guardrail,
    output_guardrail,
)
from trealtime.compat.handoffs import Handoff
from trealtime.compat.lifecycle import AgentHooks, RunHooks
from trealtime.compat.prompts import Prompt
from trealtime.compat.run_context import RunContextWrapper
from trealtime.compat.tool import FunctionTool, HostedMCPTool, Tool, default_tool_error_function, function_tool
from trealtime.compat.tool_context import ToolContext
from trealtime.compat.tool_guardrails import (
    ToolGuardrailFunctionOutput,
    ToolInputGuardrail,
    ToolInputGuardrailData,
    ToolOutputGuardrail,
    ToolOutputGuardrailData,
    tool_input_guardrail,
    tool_output_guardrail,
)
from trealtime.compat.usage import Usage
from trealtime.tools.invocation import ToolErrorFormatter, ToolErrorFormatterArgs

__all__ = [
    "AgentHooks",
    "AgentsException",
    "FunctionTool",
    "GuardrailFunctionOutput",
    "Handoff",
    "HostedMCPTool",
    "InputGuardrail",
    "InputGuardrailResult",
    "InputGuardrailTripwireTriggered",
    "ModelBehaviorError",
    "OutputGuardrail",
    "OutputGuardrailResult",
    "Prompt",
    "RunContextWrapper",
    "RunHooks",
    "Tool",
    "ToolContext",
    "ToolErrorFormatter",
    "ToolErrorFormatterArgs",
    "ToolGuardrailFunctionOutput",
    "ToolInputGuardrail",
    "ToolInputGuardrailData",
    "ToolInputGuardrailTripwireTriggered",
    "ToolOutputGuardrail",
    "ToolOutputGuardrailData",
    "ToolOutputGuardrailTripwireTriggered",
    "ToolTimeoutError",
    "Usage",
    "UserError",
    "default_tool_error_function",
    "enable_verbose_stdout_logging",
    "function_tool",
    "input_guardrail",
    "output_guardrail",
    "set_default_openai_key",
    "set_tracing_disabled",
    "tool_input_guardrail",
    "tool_output_guardrail",
]

_OF_TEXT = (
    "agents of text stay those of the SDK: import it from agents, and run them in a thread, as the porting page shows"
)
_NO_TRACE = "no trace is made on this side; the service makes one, by the `tracing` of the model settings"

_INSTEAD = {
    "Agent": "a realtime agent is a RealtimeAgent: from trealtime.compat.realtime import RealtimeAgent; " + _OF_TEXT,
    "Runner": "realtime agents are run by RealtimeRunner: from trealtime.compat.realtime import RealtimeRunner; "
    + _OF_TEXT,
    "handoff": "realtime agents hand over by realtime_handoff: from trealtime.compat.realtime import realtime_handoff",
    "ModelSettings": "realtime settings are RealtimeSessionModelSettings, in trealtime.compat.realtime",
    "RunConfig": "realtime runs are configured by RealtimeRunConfig, in trealtime.compat.realtime",
    "SQLiteSession": "a realtime conversation is kept with dump_history and load_history of trealtime.items",
    "set_default_openai_client": "no OpenAI client is used here; set_default_openai_key, OPENAI_API_KEY and "
    "OPENAI_BASE_URL say where to connect",
    "set_default_openai_api": "there is one API here, the Realtime API",
    **dict.fromkeys(("FileSearchTool", "ItemHelpers", "TResponseInputItem", "WebSearchTool"), _OF_TEXT),
    **dict.fromkeys(
        (
            "add_trace_processor",
            "custom_span",
            "gen_trace_id",
            "get_current_trace",
            "set_trace_processors",
            "set_tracing_export_api_key",
            "trace",
        ),
        _NO_TRACE,
    ),
}
"""Names of the SDK that realtime programs may import and that do not exist here."""

if not TYPE_CHECKING:  # checkers say themselves what does not exist

    def __getattr__(name: str) -> NoReturn:
        if name in _INSTEAD:
            raise ImportError(f"trealtime.compat has the realtime layer of the SDK: {_INSTEAD[name]}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
