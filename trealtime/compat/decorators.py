"""The decorators that make tools and guardrails of functions."""

from trealtime.compat.guardrail import input_guardrail, output_guardrail
from trealtime.compat.tool import function_tool
from trealtime.compat.tool_guardrails import tool_input_guardrail, tool_output_guardrail

__all__ = [
    "function_tool",
    "input_guardrail",
    "output_guardrail",
    "tool",
    "tool_input_guardrail",
    "tool_output_guardrail",
]

tool = function_tool
