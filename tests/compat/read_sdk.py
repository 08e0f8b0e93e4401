"""Write the names and fields of the installed openai-agents as JSON: ``python tests/compat/read_sdk.py > shapes.json``.

Run it where the SDK is installed; the tests need only what it wrote.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import sys
import typing
from importlib.metadata import version
from typing import Any

MODULES = [
    "agents.decorators",
    "agents.realtime",
    "agents.realtime.agent",
    "agents.realtime.config",
    "agents.realtime.events",
    "agents.realtime.items",
    "agents.realtime.model",
    "agents.realtime.model_events",
    "agents.realtime.model_inputs",
    "agents.realtime.runner",
    "agents.realtime.session",
    "agents.realtime.testing",
]
"""Modules that are here whole."""

IMPORTED = {
    "agents": """
        AgentHooks AgentsException FunctionTool GuardrailFunctionOutput Handoff HostedMCPTool InputGuardrail
        InputGuardrailTripwireTriggered ModelBehaviorError OutputGuardrail OutputGuardrailResult Prompt
        RunContextWrapper RunHooks Tool ToolErrorFormatter ToolErrorFormatterArgs ToolGuardrailFunctionOutput
        ToolInputGuardrail ToolInputGuardrailData ToolInputGuardrailTripwireTriggered ToolOutputGuardrail
        ToolOutputGuardrailData ToolOutputGuardrailTripwireTriggered ToolTimeoutError Usage UserError
        default_tool_error_function enable_verbose_stdout_logging function_tool input_guardrail output_guardrail
        set_default_openai_key set_tracing_disabled tool_input_guardrail tool_output_guardrail
    """,
    "agents.exceptions": """
        AgentsException InputGuardrailTripwireTriggered ModelBehaviorError ToolInputGuardrailTripwireTriggered
        ToolOutputGuardrailTripwireTriggered ToolTimeoutError UserError
    """,
    "agents.extensions.handoff_prompt": "RECOMMENDED_PROMPT_PREFIX prompt_with_handoff_instructions",
    "agents.guardrail": """
        GuardrailFunctionOutput InputGuardrail InputGuardrailResult OutputGuardrail OutputGuardrailResult
        input_guardrail output_guardrail
    """,
    "agents.handoffs": "Handoff",
    "agents.lifecycle": "AgentHooks AgentHooksBase RunHooks RunHooksBase",
    "agents.mcp": """
        MCPServer MCPServerStdio MCPServerStdioParams MCPServerStreamableHttp MCPServerStreamableHttpParams ToolFilter
        ToolFilterContext ToolFilterStatic create_static_tool_filter
    """,
    "agents.prompts": "Prompt",
    "agents.realtime.handoffs": "realtime_handoff",
    "agents.realtime.openai_realtime": """
        DEFAULT_MODEL_SETTINGS OpenAIRealtimeSIPModel OpenAIRealtimeWebSocketModel TransportConfig get_api_key
    """,
    "agents.run_context": "AgentHookContext RunContextWrapper",
    "agents.tool": "FunctionTool HostedMCPTool Tool default_tool_error_function function_tool",
    "agents.tool_context": "ToolContext",
    "agents.tool_guardrails": """
        ToolGuardrailFunctionOutput ToolInputGuardrail ToolInputGuardrailData ToolOutputGuardrail
        ToolOutputGuardrailData tool_input_guardrail tool_output_guardrail
    """,
    "agents.usage": "RequestUsage Usage",
}
"""Names that realtime programs import from elsewhere."""

METHODS = ["RealtimeAgent", "RealtimePlaybackTracker", "RealtimeModel", "RealtimeRunner", "RealtimeSession"]


def shape(value: Any) -> dict[str, Any]:
    """Return the kind of a public value and the names of its fields, keys or parameters."""
    if dataclasses.is_dataclass(value):
        return {"kind": "dataclass", "fields": [field.name for field in dataclasses.fields(value)]}
    if typing.is_typeddict(value):
        return {"kind": "typed dict", "fields": sorted(value.__annotations__)}
    if inspect.isclass(value) and hasattr(value, "model_fields"):
        return {"kind": "model", "fields": list(value.model_fields)}
    if inspect.isfunction(value):
        return {"kind": "function", "fields": list(inspect.signature(value).parameters)}
    if inspect.isclass(value):
        return {"kind": "class", "fields": []}
    if arms := typing.get_args(value):
        return {"kind": "union", "fields": sorted(getattr(arm, "__name__", str(arm)) for arm in arms)}
    return {"kind": "value", "fields": sorted(value) if isinstance(value, dict) else []}


def methods(cls: type[Any]) -> dict[str, list[str]]:
    """Return the parameters of the public methods that `cls` defines, and of its constructor."""
    found = {
        name: list(inspect.signature(method).parameters)[1:]
        for name, method in vars(cls).items()
        if inspect.isfunction(method) and (not name.startswith("_") or name == "__init__")
    }
    return {"__init__": list(inspect.signature(cls).parameters), **found}


def names(module: Any) -> list[str]:
    """Return the public names that `module` defines or exports."""
    exported = getattr(module, "__all__", None)
    if exported is not None:
        return sorted(exported)
    return sorted(
        name for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )  # fmt: skip


def imported(module: Any, wanted: str) -> list[str]:
    """Return the names in `wanted`, all of which `module` has."""
    for name in wanted.split():
        getattr(module, name)
    return sorted(wanted.split())


def main() -> None:
    """Write everything to standard output."""
    realtime = importlib.import_module("agents.realtime")
    json.dump(
        {
            "version": version("openai-agents"),
            "modules": {name: names(importlib.import_module(name)) for name in MODULES}
            | {name: imported(importlib.import_module(name), of) for name, of in IMPORTED.items()},
            "shapes": {name: shape(getattr(realtime, name)) for name in sorted(realtime.__all__)},
            "methods": {name: methods(getattr(realtime, name)) for name in METHODS},
        },
        sys.stdout,
        indent=1,
        sort_keys=True,
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
