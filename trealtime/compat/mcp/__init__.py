"""MCP servers, with the SDK's parameters in its order. They need ``trealtime[mcp]``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, NotRequired, TypedDict, TypeVar

from trealtime.compat.exceptions import UserError, user_errors
from trealtime.mcp.kinds import MCPServerStdio as NativeStdio
from trealtime.mcp.kinds import MCPServerStreamableHttp as NativeStreamableHttp
from trealtime.mcp.servers import (
    MCPServer,
    RequireApproval,
    ToolFilter,
    ToolFilterContext,
    ToolFilterStatic,
    create_static_tool_filter,
)
from trealtime.tools.function_tool import ToolErrorFunction

if TYPE_CHECKING:
    from mcp_types import CallToolResult, Tool

    from trealtime.mcp.connection import Connection

__all__ = [
    "MCPServer",
    "MCPServerStdio",
    "MCPServerStdioParams",
    "MCPServerStreamableHttp",
    "MCPServerStreamableHttpParams",
    "ToolFilter",
    "ToolFilterContext",
    "ToolFilterStatic",
    "create_static_tool_filter",
]

_INSTEAD = {
    "MCPServerSse": "servers over SSE alone are not supported: MCPServerStreamableHttp is what followed them",
    "MCPServerManager": "each session opens the servers of its agents by itself, and closes them",
    "MCPUtil": "tools of servers are made by the session; `await server.list_tools()` shows them",
}


class MCPServerStdioParams(TypedDict):
    """A program and how to run it. Text is UTF-8."""

    command: str
    args: NotRequired[list[str]]
    env: NotRequired[dict[str, str]]
    cwd: NotRequired[str | Path]


class MCPServerStreamableHttpParams(TypedDict):
    """An address; times in seconds, or as timedelta."""

    url: str
    headers: NotRequired[dict[str, str]]
    timeout: NotRequired[timedelta | float]
    sse_read_timeout: NotRequired[timedelta | float]
    terminate_on_close: NotRequired[bool]


_Params = TypeVar("_Params", bound=Mapping[str, object])


class _SdkServer(Generic[_Params]):
    """The SDK's parameters, in its order, and what its servers have besides while ``async with server:`` is open. The
    class behind this one among the bases is the server itself."""

    name: str

    if TYPE_CHECKING:  # the server has it

        @property
        def shared(self) -> Connection | None: ...

    def __init__(
        self,
        params: _Params,
        cache_tools_list: bool = False,  # noqa: FBT001, FBT002  (positional in the SDK)
        name: str | None = None,
        client_session_timeout_seconds: float | None = 5,
        tool_filter: ToolFilter | None = None,
        use_structured_content: bool = False,  # noqa: FBT001, FBT002
        max_retry_attempts: int = 0,
        retry_backoff_seconds_base: float = 1.0,
        message_handler: object = None,
        require_approval: RequireApproval | None = None,
        failure_error_function: ToolErrorFunction | None = None,
        tool_meta_resolver: object = None,
        custom_data_extractor: object = None,
        retry_backoff_seconds_max: float | None = None,
    ) -> None:
        if failure_error_function is not None:
            raise UserError("failure_error_function: give it to the agent, mcp_config={'failure_error_function': ...}")
        absent = {
            "message_handler": message_handler,
            "tool_meta_resolver": tool_meta_resolver,
            "custom_data_extractor": custom_data_extractor,
        }
        for key, value in absent.items():
            if value is not None:
                raise UserError(f"{key}: there is nothing like it here, leave it out")
        server: Any = super()
        with user_errors():
            server.__init__(
                self._own(params),
                name=name or "",
                cache_tools_list=cache_tools_list,
                client_session_timeout_seconds=client_session_timeout_seconds or None,
                tool_filter=tool_filter,
                use_structured_content=use_structured_content,
                require_approval=require_approval,
            )

    @staticmethod
    def _own(params: Mapping[str, object]) -> dict[str, object]:
        """The parameters of the SDK as the server takes them."""
        raise NotImplementedError

    async def connect(self) -> NoReturn:
        """Raise RuntimeError with what to write: a connection has tasks, which end with a block."""
        raise RuntimeError(
            f"write `async with server:` in place of connect() and cleanup() of {self.name!r}; without it, each "
            "session connects by itself"
        )

    cleanup = connect

    async def list_tools(self, run_context: object = None, agent: object = None) -> list[Tool]:
        """Return the tools of the server, without a filter. Raises `UserError` while it is not open."""
        return list(self._connection().tools)

    async def call_tool(
        self, tool_name: str, arguments: Mapping[str, Any] | None, meta: Mapping[str, Any] | None = None
    ) -> CallToolResult:
        """Call a tool and wait for its result. Raises `UserError` while the server is not open."""
        return await self._connection().call(tool_name, arguments or {}, on_progress=None)

    def _connection(self) -> Connection:
        if self.shared is None:
            raise UserError(f"the MCP server {self.name!r} is not open: write `async with server:` around this")
        return self.shared


class MCPServerStdio(_SdkServer[MCPServerStdioParams], NativeStdio):
    """A program that speaks MCP over its standard input and output; `trealtime.MCPServerStdio`.

    Calls are not repeated here, so the parameters for that are taken and have no effect. Raises `UserError` for wrong
    values, and for parameters that stand for something that is not here.
    """

    @staticmethod
    def _own(params: Mapping[str, object]) -> dict[str, object]:
        return {key: value for key, value in params.items() if key not in ("encoding", "encoding_error_handler")}


class MCPServerStreamableHttp(_SdkServer[MCPServerStreamableHttpParams], NativeStreamableHttp):
    """A server at an address; `trealtime.MCPServerStreamableHttp`. Otherwise as `MCPServerStdio`."""

    @staticmethod
    def _own(params: Mapping[str, object]) -> dict[str, object]:
        return {key: _seconds(value) for key, value in params.items()}


def _seconds(value: object) -> object:
    return value.total_seconds() if isinstance(value, timedelta) else value


if not TYPE_CHECKING:  # checkers say themselves what does not exist

    def __getattr__(name: str) -> NoReturn:
        if name in _INSTEAD:
            raise ImportError(f"trealtime.compat.mcp has no {name}: {_INSTEAD[name]}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
