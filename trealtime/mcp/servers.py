"""MCP servers as users declare them, and options for their tools. `trealtime.mcp.kinds` has the two kinds.

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
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypedDict, get_args

import attrs

from trealtime._value import Shown, Value
from trealtime.errors import MissingDependency, SettingsError, SettingsProblem
from trealtime.mcp.connections import Connections
from trealtime.protocol.validation import setting, structure
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
    """A server that `mcp.Client` can connect to."""
else:
    Tool = Connection = Any  # They need the extra: annotations that are resolved at run time do without.

__all__ = [
    "MCPConfig",
    "MCPServer",
    "RequireApproval",
    "ToolFilter",
    "ToolFilterContext",
    "ToolFilterStatic",
    "mcp_config",
    "create_static_tool_filter",
]

GRACE_S: Final = 2.0
"""Time to close the connection of a server that the app opened."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolFilterContext(Value):
    """The run context, the agent that may be offered the tool, and the name of the tool's server, for a filter."""

    run_context: RunContext[Any]
    agent: RealtimeAgent[Any]
    server_name: str


class ToolFilterStatic(TypedDict, total=False):
    """Names of tools: the only ones to offer, and those to leave out."""

    allowed_tool_names: Sequence[str]
    blocked_tool_names: Sequence[str]


ToolFilter = ToolFilterStatic | Callable[[ToolFilterContext, Tool], bool | Awaitable[bool]]
"""Which tools of a server are offered: names, or a sync or async callable that decides on each."""

RequireApproval = (
    bool
    | Literal["always", "never"]
    | Mapping[str, Any]
    | Callable[[RunContext[Any], "RealtimeAgent[Any]", Tool], bool | Awaitable[bool]]
)
"""Which calls the app has to approve: all, none, those of some tools, or a sync or async callable that decides. A
mapping has tool names with ``"always"`` or ``"never"``, or is ``{"always": {"tool_names": [...]}, "never": {...}}``;
tools that it does not name need no approval."""


def create_static_tool_filter(
    allowed_tool_names: Sequence[str] | None = None, blocked_tool_names: Sequence[str] | None = None
) -> ToolFilterStatic | None:
    """Make a filter by names; None when there is nothing to filter."""
    found: ToolFilterStatic = {}
    if allowed_tool_names is not None:
        found["allowed_tool_names"] = list(allowed_tool_names)
    if blocked_tool_names is not None:
        found["blocked_tool_names"] = list(blocked_tool_names)
    return found or None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class MCPConfig(Value):
    """How an agent offers the tools of its servers."""

    include_server_in_tool_names: bool = setting(default=False)
    """Whether a tool is named ``server__tool``, so that two servers may have tools of one name."""

    failure_error_function: ToolErrorFunction | None = setting(default=default_tool_error)
    """As in `FunctionTool`, for all tools of the servers."""

    convert_schemas_to_strict: bool = setting(default=False)
    """Accepted for programs of the OpenAI Agents SDK. The Realtime API has no strict schemas, so it changes nothing."""


def mcp_config(value: MCPConfig | Mapping[str, object] | None) -> MCPConfig:
    """Return `value` checked. Raises `SettingsError` with every problem in it."""
    return structure(MCPConfig, {} if value is None else value, what="mcp_config")


@attrs.define(eq=False, kw_only=True, repr=False)
class MCPServer(Shown, ABC):
    """A server of tools. `MCPServerStdio` and `MCPServerStreamableHttp` are the two kinds of the protocol; a subclass
    with `streams` of its own is another.

    Raises `MissingDependency` without ``trealtime[mcp]``, and `SettingsError` for wrong values.

    ``async with server:`` keeps one connection open for the length of the block, for all sessions. Entering raises
    `MCPServerFailed` when the server does not start, and RuntimeError when it is open already. Leaving waits until the
    connection is closed: at most two seconds, and a second more where a program must be killed.
    """

    name: str = ""
    """The name in errors and in ``server__tool`` names; when empty, the program or the address."""

    tool_filter: ToolFilter | None = None
    require_approval: RequireApproval | None = None
    cache_tools_list: bool = False
    """True: keep the first list of tools. False: list them again when the server says that they have changed."""

    client_session_timeout_seconds: float | None = 5.0
    """The limit of one call of a tool, and of one list; None: no limit."""

    startup_timeout_seconds: float = 30.0
    """The limit until the tools are listed."""

    on_failure: Literal["raise", "skip"] = "raise"
    """When the server does not start or its tools cannot be offered: ``"raise"`` fails the session, the
    handoff or the update; ``"skip"`` goes on without its tools, with an ``error`` event."""

    on_interrupt: OnInterrupt = "keep"
    """As in `FunctionTool`, for all its tools. A cancelled call is cancelled on the server too."""

    use_structured_content: bool = False
    """True: the model reads the structured result where there is one, in place of the text."""

    _opened: AbstractAsyncContextManager[None] | None = attrs.field(default=None, init=False)
    _shared: Connection | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if importlib.util.find_spec("mcp") is None:
            raise MissingDependency("MCP servers", extra="mcp")
        # Now, not in a running session: it takes most of a second.
        importlib.import_module("trealtime.mcp.connection")
        self.name = self.name or self.described()
        problems = [SettingsProblem(field, value, allowed) for field, value, fits, allowed in self._rules() if not fits]
        if problems:
            raise SettingsError(problems, what=type(self).__name__)

    def _rules(self) -> Sequence[tuple[str, object, bool, str]]:
        """Return (field, value, whether it fits, allowed values) for each."""
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
        """Return the name for a server that was given none."""

    def identity(self) -> Hashable:
        """Return a hashable value that is the same for servers that are declared alike.

        An approval that was given for always holds for such servers. By default it is this object.
        """
        return self

    @abstractmethod
    def streams(self, *, grace_s: float) -> MCPConnector:
        """Return the target for `mcp.Client`: a server in this process, or a transport.

        A transport is an async context manager that yields a stream of incoming and one of outgoing messages. Leaving
        it may take up to `grace_s`.
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
