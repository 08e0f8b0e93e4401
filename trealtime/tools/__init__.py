"""Function tools: schema, docstring, invocation, output, guardrails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trealtime import _lazy

if TYPE_CHECKING:
    from trealtime.tools.function_tool import default_tool_error as default_tool_error
    from trealtime.tools.invocation import ToolErrorFormatterArgs as ToolErrorFormatterArgs
else:
    __all__, __getattr__, __dir__ = _lazy.namespace(__name__)
