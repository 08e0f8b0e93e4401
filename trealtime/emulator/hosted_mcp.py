"""MCP servers that the emulator reaches: plain functions, under the labels by which clients ask for them.

The service reaches a server at its ``server_url`` or connector; the emulator looks it up by its ``server_label``. An
unknown label is a server that cannot be reached.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from trealtime.terminal import text_of

__all__ = ["HostedCall", "HostedServers", "McpServers", "McpTool", "OfferedTool", "as_functions", "mcp_tools"]

McpServers = Mapping[str, Mapping[str, Callable[..., object]]]
"""Label -> name of a tool -> its function, sync or async."""

_INVALID_PARAMS: Final = -32602
_MOST_WAITING: Final = 64


@attrs.frozen(kw_only=True)
class McpTool:
    """A function as a tool of an MCP server."""

    name: str
    server_label: str
    description: str
    arguments: type[Any]
    input_schema: Mapping[str, Any]
    """JSON Schema of its arguments."""

    function: Callable[..., object]

    async def call(self, arguments: str) -> tuple[str | None, dict[str, Any] | None]:
        """Return (output, error), one of which is None. Raises no Exception."""
        try:
            values = msgspec.json.decode(arguments or "{}", type=self.arguments)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return None, {"type": "protocol_error", "code": _INVALID_PARAMS, "message": str(error)}
        try:
            result = self.function(**{name: getattr(values, name) for name in values.__struct_fields__})
            value = await result if inspect.isawaitable(result) else result
            return value if isinstance(value, str) else msgspec.json.encode(value).decode(), None
        except Exception as error:  # noqa: BLE001  (a tool's failure is its answer)
            return None, {"type": "tool_execution_error", "message": text_of(error) or type(error).__name__}


def mcp_tools(servers: McpServers) -> dict[str, dict[str, McpTool]]:
    """`servers` with the signatures read. Raises TypeError for a function that has no JSON Schema, naming it."""
    return {
        label: {name: _tool(label, name, function) for name, function in tools.items()}
        for label, tools in servers.items()
    }


def _tool(label: str, name: str, function: Callable[..., object]) -> McpTool:
    try:
        fields = [_field(parameter) for parameter in inspect.signature(function, eval_str=True).parameters.values()]
        arguments = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
        _, definitions = msgspec.json.schema_components([arguments])
    except (NameError, TypeError, ValueError) as error:
        raise TypeError(f"mcp_servers[{label!r}][{name!r}]: its signature cannot be a tool's: {error}") from error
    schema = definitions.pop("Arguments")
    return McpTool(
        name=name,
        server_label=label,
        description=inspect.getdoc(function) or "",
        arguments=arguments,
        input_schema=schema | ({"$defs": definitions} if definitions else {}),
        function=function,
    )


def _field(parameter: inspect.Parameter) -> Any:
    kind = Any if parameter.annotation is parameter.empty else parameter.annotation
    return (parameter.name, kind) if parameter.default is parameter.empty else (parameter.name, kind, parameter.default)


@attrs.frozen(kw_only=True)
class OfferedTool:
    """A tool that the model may call, perhaps only when the client approves."""

    tool: McpTool
    needs_approval: bool


@attrs.frozen(kw_only=True)
class HostedCall:
    """A call that the client has approved."""

    tool: McpTool
    arguments: str
    approval_request_id: str


@attrs.define
class HostedServers:
    """The MCP servers of one session: which it may use, and the calls that wait for approval."""

    _servers: Mapping[str, Mapping[str, McpTool]]
    _definitions: dict[str, Mapping[str, Any]] = attrs.field(factory=dict, init=False)
    """By label: the first full definition, to which a bare label refers later."""

    _waiting: dict[str, HostedCall] = attrs.field(factory=dict, init=False)
    _approved: list[HostedCall] = attrs.field(factory=list, init=False)

    def new_definitions(self, tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return those of `tools` whose servers this session has not listed yet, and mark them as listed."""
        found = [tool for tool in tools if tool["type"] == "mcp" and tool["server_label"] not in self._definitions]
        for tool in found:
            self._definitions.setdefault(tool["server_label"], tool)
        return found

    def listed(self, definition: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """Return the tools of a server, as in its list; None when it cannot be reached."""
        if definition["server_label"] not in self._servers:
            return None
        return [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": dict(tool.input_schema),
                "annotations": None,
            }
            for tool in self._allowed(definition)
        ]

    def offered(self, tools: Sequence[Mapping[str, Any]]) -> dict[str, OfferedTool]:
        """Return the MCP tools that the model may call, by name; a function of the client takes precedence."""
        own = {tool.get("name") for tool in tools if tool["type"] == "function"}
        found: dict[str, OfferedTool] = {}
        for tool in tools:
            if tool["type"] == "mcp":
                definition = {**self._definitions.get(tool["server_label"], {}), **tool}
                for each in self._allowed(definition):
                    if each.name not in own:
                        found.setdefault(each.name, OfferedTool(tool=each, needs_approval=_asks(definition, each.name)))
        return found

    def _allowed(self, definition: Mapping[str, Any]) -> list[McpTool]:
        allowed = definition.get("allowed_tools")
        names = allowed.get("tool_names") if isinstance(allowed, Mapping) else allowed
        tools = self._servers.get(definition["server_label"], {})
        return [tool for name, tool in tools.items() if names is None or name in names]

    # ---- approvals ---------------------------------------------------------------------------------------------

    def wait(self, call: HostedCall) -> None:
        """Let `call` wait for the client; of very many the oldest can no longer be approved."""
        self._waiting[call.approval_request_id] = call
        if len(self._waiting) > _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]

    def answered(self, item: Mapping[str, Any]) -> bool:
        """Return whether `item` decides about a call that waits; if it approves the call, `take` returns it."""
        if item["type"] != "mcp_approval_response" or item["approval_request_id"] not in self._waiting:
            return False
        call = self._waiting.pop(item["approval_request_id"])
        if item["approve"]:
            self._approved.append(call)
        return True

    def take(self) -> tuple[HostedCall, ...]:
        """Take the approved calls that have not been made yet."""
        taken, self._approved = tuple(self._approved), []
        return taken


def _asks(definition: Mapping[str, Any], name: str) -> bool:
    """Read ``require_approval``; the service's default is to ask."""
    rule = definition.get("require_approval")
    if isinstance(rule, Mapping):
        return name not in (rule.get("never") or {}).get("tool_names", ())
    return rule != "never"


def as_functions(offered: Mapping[str, OfferedTool]) -> list[dict[str, Any]]:
    """Return the tools in the form for a brain: functions like any other, with the label of their server."""
    return [
        {
            "type": "function",
            "name": name,
            "description": each.tool.description,
            "parameters": dict(each.tool.input_schema),
            "server_label": each.tool.server_label,
        }
        for name, each in offered.items()
    ]
