"""Tools of an MCP server as function tools of an agent, and their results as text for the model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trealtime.errors import MCPServerFailed, MCPToolError
from trealtime.mcp.servers import MCPConfig, MCPServer, RequireApproval, ToolFilterContext
from trealtime.terminal import one_line
from trealtime.tools.callables import answer_of
from trealtime.tools.context import RunContext, ToolContext
from trealtime.tools.function_tool import FunctionTool, NeedsApproval

if TYPE_CHECKING:
    from mcp_types import CallToolResult, Tool

    from trealtime.agents.agent import RealtimeAgent
    from trealtime.mcp.connection import Connection

__all__ = ["MAX_TOOLS", "function_tools", "result_text"]

_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME: Final = 64

MAX_TOOLS: Final = 512
"""The most tools that one server offers a model. The service has a limit that it does not publish, and every tool is
part of the prompt of every answer."""


async def function_tools(
    connection: Connection, config: MCPConfig, context: RunContext[Any], agent: RealtimeAgent[Any]
) -> list[FunctionTool]:
    """Return the tools that pass the server's filter.

    Raises `MCPServerFailed` where those tools cannot be offered: too many, one without a name, two of one name. Passes
    exceptions of a filter callable on, and raises TypeError when it returns anything but a bool.
    """
    server = connection.server
    asked = ToolFilterContext(run_context=context, agent=agent, server_name=server.name)
    passed = [tool for tool in connection.tools if await _passes(server, tool, asked)]
    if (problem := _problem(server, passed, config)) is not None:
        message = f"the tools of the MCP server {server.name!r} cannot be offered: {problem}"
        raise MCPServerFailed(message, server_name=server.name)
    return [_function_tool(connection, tool, config, agent) for tool in passed]


def _problem(server: MCPServer, tools: Sequence[Tool], config: MCPConfig) -> str | None:
    """Return what keeps the model from being offered these, None if nothing does."""
    if len(tools) > MAX_TOOLS:
        return f"it has {len(tools):,} of them, allowed: at most {MAX_TOOLS}, which a tool_filter can choose"
    owners: dict[str, str] = {}
    for index, tool in enumerate(tools):
        if not (name := _name(server, tool, config)):
            return f"tool {index} has no name"
        if (owner := owners.setdefault(name, tool.name)) != tool.name:
            return f"the names {one_line(owner)} and {one_line(tool.name)} both become {name!r}"
        if len(owners) <= index:
            return f"two of them have the name {one_line(tool.name)}"
    return None


async def _passes(server: MCPServer, tool: Tool, context: ToolFilterContext) -> bool:
    rule = server.tool_filter
    if rule is None:
        return True
    if isinstance(rule, Mapping):
        allowed = rule.get("allowed_tool_names")
        return (allowed is None or tool.name in allowed) and tool.name not in rule.get("blocked_tool_names", ())
    passes = await answer_of(rule(context, tool))
    if not isinstance(passes, bool):
        raise TypeError(f"tool_filter of the MCP server {server.name!r} must return a bool, got {passes!r}")
    return passes


def _name(server: MCPServer, tool: Tool, config: MCPConfig) -> str:
    name = f"{server.name}__{tool.name}" if config.include_server_in_tool_names else tool.name
    # Names of functions allow fewer characters than names of MCP tools.
    return _NOT_IN_A_NAME.sub("_", name)[:_LONGEST_NAME]


def _function_tool(connection: Connection, tool: Tool, config: MCPConfig, agent: RealtimeAgent[Any]) -> FunctionTool:
    server = connection.server
    return FunctionTool(
        _name(server, tool, config),
        tool.description or tool.title or "",
        params_json_schema={"properties": {}, **tool.input_schema, "type": "object"},
        on_invoke_tool=partial(_call, connection, tool.name),
        timeout=server.client_session_timeout_seconds,
        failure_error_function=config.failure_error_function,
        on_interrupt=server.on_interrupt,
        needs_approval=_needs_approval(server.require_approval, tool, agent),
        namespace=server.name,
        # Two tools of a server may have one name here, once it is shortened.
        identity=(server.identity(), tool.name),
    )


def _needs_approval(rule: RequireApproval | None, tool: Tool, agent: RealtimeAgent[Any]) -> NeedsApproval:
    if callable(rule):
        return lambda context, _arguments, _call_id: rule(context, agent, tool)
    if isinstance(rule, Mapping):
        always = rule.get("always")
        return tool.name in always["tool_names"] if isinstance(always, Mapping) else rule.get(tool.name) == "always"
    return rule in (True, "always")


async def _call(connection: Connection, name: str, context: ToolContext[Any], arguments: str) -> str:
    result = await connection.call(name, msgspec.json.decode(arguments), on_progress=context.on_progress)
    text = result_text(result, structured_first=connection.server.use_structured_content)
    if result.is_error:
        raise MCPToolError(text or "it failed and did not say why", server_name=connection.server.name, tool_name=name)
    return text


def result_text(result: CallToolResult, *, structured_first: bool = False) -> str:
    """Return a result as text: its text parts, else its structured content. Other parts become their kind and size.

    `structured_first` takes the structured content where there is one.
    """
    structured = result.structured_content
    if structured is not None and (structured_first or not result.content):
        return msgspec.json.encode(structured).decode()
    return "\n".join(_part_text(part) for part in result.content)


def _part_text(part: Any) -> str:
    match part.type:
        case "text":
            return str(part.text)
        case "resource" if hasattr(part.resource, "text"):
            return str(part.resource.text)
        case "resource":
            return f"[resource: {part.resource.uri}, {_of(part.resource.mime_type, part.resource.blob)}]"
        case "resource_link":
            return f"[resource: {part.name}, {part.uri}]"
        case kind:
            return f"[{kind}: {_of(part.mime_type, part.data)}]"


def _of(mime_type: str | None, base64: str) -> str:
    return f"{mime_type or 'of unknown type'}, {len(base64) * 3 // 4} bytes"
