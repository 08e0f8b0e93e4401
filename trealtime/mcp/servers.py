"""MCP servers as users declare them: programs and addresses, and what a session makes of their tools.

A server is a description, and may be given to any number of agents and sessions. Each session opens a connection of its
own (for a program: a process of its own), which ends with it. ``async with server:`` opens one that all sessions share
that run meanwhile.
"""

# ruff: noqa: RUF009  # `setting` makes an attrs field, as `attrs.field` does
from __future__ import annotations

import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypedDict, get_args
from urllib.parse import urlsplit

import attrs

from trealtime.errors import MissingDependency, SettingsError, SettingsProblem
from trealtime.mcp.connections import Connections
from trealtime.mcp.hosted import digest
from trealtime.protocol.validation import WrongValue, setting, structure
from trealtime.tools.context import RunContext
from trealtime.tools.function_tool import OnInterrupt, ToolErrorFunction, default_tool_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.client import Transport
    from mcp.server import Server
    from mcp.server.mcpserver import MCPServer as ServerInProcess
    from mcp_types import Tool

    from trealtime.agents.agent import RealtimeAgent
    from trealtime.mcp.connection import Connection

    MCPConnector = Transport | Server[Any] | ServerInProcess
    """What `mcp.Client` can connect to."""
else:
    Tool = Connection = Any  # They need the extra: annotations that are resolved at run time do without.

__all__ = [
    "MCPServerStreamableHttpParams",
    "MCPConfig",
    "MCPServer",
    "MCPServerStdio",
    "MCPServerStreamableHttp",
    "RequireApproval",
    "MCPServerStdioParams",
    "ToolFilter",
    "ToolFilterContext",
    "ToolFilterStatic",
    "mcp_config",
    "create_static_tool_filter",
]

GRACE_S: Final = 2.0
"""How long the connection of a server that the app has opened may take to close."""


@attrs.frozen(kw_only=True)
class ToolFilterContext:
    """For whom a filter decides: the run context, the agent that would be offered the tool, and whose tool it is."""

    run_context: RunContext[Any]
    agent: RealtimeAgent[Any]
    server_name: str


class ToolFilterStatic(TypedDict, total=False):
    """Names of tools: the only ones that are offered, and those that are not."""

    allowed_tool_names: Sequence[str]
    blocked_tool_names: Sequence[str]


ToolFilter = ToolFilterStatic | Callable[[ToolFilterContext, Tool], bool | Awaitable[bool]]
"""Which tools of a server are offered: by name, or as a sync or async callable that answers for each."""

RequireApproval = (
    bool
    | Literal["always", "never"]
    | Mapping[str, Any]
    | Callable[[RunContext[Any], "RealtimeAgent[Any]", Tool], bool | Awaitable[bool]]
)
"""Which calls the app has to approve: all, none, those of some tools, or what a sync or async callable says. A mapping
is one of tool names to ``"always"`` or ``"never"``, or ``{"always": {"tool_names": [...]}, "never": {...}}``; tools
that it does not name need no approval."""


def create_static_tool_filter(
    allowed_tool_names: Sequence[str] | None = None, blocked_tool_names: Sequence[str] | None = None
) -> ToolFilterStatic | None:
    """A filter by names; None when there is nothing to filter."""
    found: ToolFilterStatic = {}
    if allowed_tool_names is not None:
        found["allowed_tool_names"] = list(allowed_tool_names)
    if blocked_tool_names is not None:
        found["blocked_tool_names"] = list(blocked_tool_names)
    return found or None


@attrs.frozen(kw_only=True)
class MCPConfig:
    """How an agent offers the tools of its servers."""

    include_server_in_tool_names: bool = setting(default=False)
    """Whether a tool is called ``server__tool``, so that two servers may have tools of one name."""

    failure_error_function: ToolErrorFunction | None = setting(default=default_tool_error)
    """As of `FunctionTool`, for all tools of the servers."""

    convert_schemas_to_strict: bool = setting(default=False)
    """Taken for programs of the OpenAI Agents SDK. The Realtime API knows no strict schemas: they stay as they are."""


def mcp_config(value: MCPConfig | Mapping[str, object] | None) -> MCPConfig:
    """`value` checked. Raises `SettingsError` with every problem in it."""
    return structure(MCPConfig, {} if value is None else value, what="mcp_config")


@attrs.define(eq=False, kw_only=True)
class MCPServer(ABC):
    """A server of tools. `MCPServerStdio` and `MCPServerStreamableHttp` are the two that the protocol has; a subclass
    with `streams` of its own is another.

    Building one raises `MissingDependency` without ``trealtime[mcp]``, and `SettingsError` for wrong values.

    ``async with server:`` connects now and until the block is left, for all sessions meanwhile. It raises
    `MCPServerFailed` when the server does not start, and RuntimeError when it is open already. Leaving waits until the
    connection is closed, two seconds at the most and a second until a program is gone that had to be killed.
    """

    name: str = ""
    """What errors and ``server__tool`` names call it; when empty, the program or the address."""

    tool_filter: ToolFilter | None = None
    require_approval: RequireApproval | None = None
    cache_tools_list: bool = False
    """True: the list of tools of the opening stays, whatever the server says later. False: changes are picked up."""

    client_session_timeout_seconds: float | None = 5.0
    """How long one call of a tool may take, and one list; None: as long as it wants."""

    startup_timeout_seconds: float = 30.0
    """How long the server may take until its tools are listed."""

    on_failure: Literal["raise", "skip"] = "raise"
    """What follows when it does not start. ``"raise"``: the session does not begin, the handoff or the update is not
    made. ``"skip"``: the agent goes without its tools, and there is an ``error`` event."""

    on_interrupt: OnInterrupt = "keep"
    """As of `FunctionTool`, for all its tools. A call that is cancelled is cancelled on the server too."""

    use_structured_content: bool = False
    """True: the model reads the structured result where there is one, instead of the text that stands for it."""

    _opened: AbstractAsyncContextManager[None] | None = attrs.field(default=None, init=False)
    _shared: Connection | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if importlib.util.find_spec("mcp") is None:
            raise MissingDependency("MCP servers", extra="mcp")
        # Now, and not in a session that is on the air: it takes most of a second.
        importlib.import_module("trealtime.mcp.connection")
        self.name = self.name or self.described()
        problems = [SettingsProblem(field, value, allowed) for field, value, fits, allowed in self._rules() if not fits]
        if problems:
            raise SettingsError(problems, what=type(self).__name__)

    def _rules(self) -> Sequence[tuple[str, object, bool, str]]:
        """(field, value, whether it may be so, what is allowed)."""
        timeout, start = self.client_session_timeout_seconds, self.startup_timeout_seconds
        seconds = "a number of seconds above 0"
        names = "a mapping with lists of names as allowed_tool_names and blocked_tool_names, or a callable, or None"
        approvals = (
            "'always', 'never', a bool, a mapping of tool names to 'always' or 'never', a mapping of 'always' and "
            "'never' to {'tool_names': [...]}, a callable, or None"
        )
        return (
            ("name", self.name, isinstance(self.name, str), "a string"),
            ("tool_filter", self.tool_filter, _is_filter(self.tool_filter), names),
            ("require_approval", self.require_approval, _is_approval(self.require_approval), approvals),
            (
                "client_session_timeout_seconds",
                timeout,
                timeout is None or _is_seconds(timeout),
                f"{seconds}, or None",
            ),
            ("startup_timeout_seconds", start, _is_seconds(start), seconds),
            ("on_failure", self.on_failure, self.on_failure in ("raise", "skip"), "'raise', 'skip'"),
            (
                "on_interrupt",
                self.on_interrupt,
                self.on_interrupt in get_args(OnInterrupt),
                ", ".join(map(repr, get_args(OnInterrupt))),
            ),
        )

    @abstractmethod
    def described(self) -> str:
        """The name of a server that was given none."""

    def identity(self) -> Hashable:
        """What the server is, for approvals of its tools that were given for always: they hold for servers that are
        declared alike. Here: this object."""
        return self

    @abstractmethod
    def streams(self, *, grace_s: float) -> MCPConnector:
        """What `mcp.Client` is to connect to: its transport, an async context manager of a stream of messages that
        come and one of messages that go, or a server in this process.

        A transport is left when the connection closes, which may take up to `grace_s`.
        """

    @property
    def shared(self) -> Connection | None:
        """The connection that the app has opened, while it stands."""
        return self._shared if self._shared is not None and self._shared.alive else None

    async def __aenter__(self) -> Self:
        """Connect, for all sessions until the block is left."""
        if self._opened is not None:
            raise RuntimeError(f"the MCP server {self.name!r} is open already")
        self._opened = self._open()
        try:
            await self._opened.__aenter__()
        except BaseException:
            self._opened = None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Close the connection."""
        assert self._opened is not None
        opened, self._opened = self._opened, None
        return await opened.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        connections = Connections(GRACE_S)
        async with connections.open():
            self._shared = await connections.connect(self)
            try:
                yield
            finally:
                self._shared = None


@attrs.frozen(kw_only=True)
class MCPServerStdioParams:
    """A program: `command` is run with `args`, in the folder `cwd`. It gets the variables of `env`, and of those of
    this process only the harmless ones (PATH, HOME, and so on)."""

    command: str = setting(attrs.NOTHING, at_least=1)
    args: Sequence[str] = setting(default=())
    env: Mapping[str, str] | None = setting(default=None)
    cwd: str | Path | None = setting(default=None)


def _http_url(value: object) -> object:
    if isinstance(value, str) and value.startswith(("http://", "https://")) and urlsplit(value).hostname:
        return value
    raise WrongValue("an http:// or https:// URL")


@attrs.frozen(kw_only=True)
class MCPServerStreamableHttpParams:
    """An address: `url`, with `headers` in every request. `timeout` is that of a request, in seconds,
    `sse_read_timeout` that of a stream that the server keeps open."""

    url: str = setting(attrs.NOTHING, read=_http_url)
    headers: Mapping[str, str] | None = setting(default=None)
    proxy: str | None = setting(default=None)
    """``http://[user:password@]host:port``: reach the server through this HTTP proxy. The environment's are not read."""

    timeout: float = setting(default=30.0, at_least=0)
    sse_read_timeout: float = setting(default=300.0, at_least=0)
    terminate_on_close: bool = setting(default=True)


def _stdio_params(value: MCPServerStdioParams | Mapping[str, Any]) -> MCPServerStdioParams:
    return structure(MCPServerStdioParams, value, path="params", what="MCPServerStdio")


def _http_params(value: MCPServerStreamableHttpParams | Mapping[str, Any]) -> MCPServerStreamableHttpParams:
    return structure(MCPServerStreamableHttpParams, value, path="params", what="MCPServerStreamableHttp")


@attrs.define(eq=False)
class MCPServerStdio(MCPServer):
    """A program that speaks MCP: ``MCPServerStdio({"command": "uvx", "args": [...]})``.

    `params` are a `MCPServerStdioParams` or a mapping of its keys. Messages go over the program's standard input and
    output; what it writes to its standard error appears on that of this process. Every program is gone when its
    connection is: its input is closed, then it is asked to stop with SIGTERM, then killed, together with all that it
    has started.
    """

    params: MCPServerStdioParams = attrs.field(converter=_stdio_params, repr=False)

    def described(self) -> str:
        """The program."""
        return Path(self.params.command).name

    def identity(self) -> Hashable:
        """The name, the program, its arguments, its variables and its folder, as a digest."""
        given = self.params
        return digest("stdio", self.name, given.command, list(given.args), sorted((given.env or {}).items()), given.cwd)

    def streams(self, *, grace_s: float) -> MCPConnector:
        """The streams of a new process."""
        from trealtime.mcp.stdio import program_streams

        return program_streams(self.params, grace_s=grace_s)


@attrs.define(eq=False)
class MCPServerStreamableHttp(MCPServer):
    """A server at an address: ``MCPServerStreamableHttp({"url": "https://example.com/mcp", "headers": {...}})``.

    `params` are a `MCPServerStreamableHttpParams` or a mapping of its keys.
    """

    params: MCPServerStreamableHttpParams = attrs.field(converter=_http_params, repr=False)

    def described(self) -> str:
        """The address, without what may be secret in it."""
        url = urlsplit(self.params.url)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        return f"{url.scheme}://{host}{'' if url.port is None else f':{url.port}'}{url.path}"

    def identity(self) -> Hashable:
        """The name, the whole address and the headers, as a digest."""
        given = self.params
        return digest("http", self.name, given.url, sorted((given.headers or {}).items()))

    def streams(self, *, grace_s: float) -> MCPConnector:
        """The streams of a new connection."""
        from trealtime.mcp.http import http_streams

        return http_streams(self.params)


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_names(value: object) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(isinstance(name, str) for name in value)


def _is_filter(value: object) -> bool:
    if isinstance(value, Mapping):
        return value.keys() <= {"allowed_tool_names", "blocked_tool_names"} and all(map(_is_names, value.values()))
    return value is None or callable(value)


def _is_approval(value: object) -> bool:
    if isinstance(value, Mapping):
        groups = value.keys() <= {"always", "never"} and all(isinstance(each, Mapping) for each in value.values())
        if groups:
            return all(each.keys() == {"tool_names"} and _is_names(each["tool_names"]) for each in value.values())
        return all(each in ("always", "never") for each in value.values())
    return value is None or isinstance(value, bool) or value in ("always", "never") or callable(value)
