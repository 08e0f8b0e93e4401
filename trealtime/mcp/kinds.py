"""The two kinds of MCP servers: programs, and servers at an address.

A module of their own, because most programs declare no server.
"""

# ruff: noqa: RUF009  # `setting` makes an attrs field, as `attrs.field` does
from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from trealtime._secrets import names_only, parsed_url, shown
from trealtime._value import Value
from trealtime.mcp.hosted import digest
from trealtime.mcp.servers import MCPServer
from trealtime.protocol.validation import WrongValue, setting, structure

if TYPE_CHECKING:
    from trealtime.mcp.servers import MCPConnector

__all__ = [
    "MCPServerStdio",
    "MCPServerStdioParams",
    "MCPServerStreamableHttp",
    "MCPServerStreamableHttpParams",
]


def _counted(args: Sequence[str]) -> str:
    # Programs take keys as arguments too, and nothing tells those from other arguments.
    return f"<{len(args)}; values not shown>"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class MCPServerStdioParams(Value):
    """A program: `command` with `args`, in the folder `cwd`. It gets the variables of `env`, and of those of this
    process only harmless ones such as PATH and HOME."""

    command: str = setting(attrs.NOTHING, at_least=1)
    args: Sequence[str] = setting(default=(), repr=_counted)
    env: Mapping[str, str] | None = setting(default=None, repr=names_only)
    cwd: str | Path | None = setting(default=None)


def _http_url(value: object) -> object:
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        parts = parsed_url(value)
        if parts is not None and parts.hostname:
            return value
    raise WrongValue("an http:// or https:// URL")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class MCPServerStreamableHttpParams(Value):
    """An address: `url`, with `headers` in every request. `timeout` is the limit of a request, in seconds,
    `sse_read_timeout` the longest silence of a stream that the server keeps open."""

    url: str = setting(attrs.NOTHING, read=_http_url, repr=shown)
    headers: Mapping[str, str] | None = setting(default=None, repr=names_only)
    proxy: str | None = setting(default=None, repr=shown)
    """``http://[user:password@]host:port``: reach the server through this HTTP proxy. The environment's are not
    read."""

    timeout: float = setting(default=30.0, at_least=0)
    sse_read_timeout: float = setting(default=300.0, at_least=0)
    terminate_on_close: bool = setting(default=True)


def _stdio_params(value: MCPServerStdioParams | Mapping[str, Any]) -> MCPServerStdioParams:
    return structure(MCPServerStdioParams, value, path="params", what="MCPServerStdio")


def _http_params(value: MCPServerStreamableHttpParams | Mapping[str, Any]) -> MCPServerStreamableHttpParams:
    return structure(MCPServerStreamableHttpParams, value, path="params", what="MCPServerStreamableHttp")


@attrs.define(eq=False, repr=False)
class MCPServerStdio(MCPServer):
    """A program that speaks MCP: ``MCPServerStdio({"command": "uvx", "args": [...]})``.

    `params` are an `MCPServerStdioParams` or a mapping of its keys. Messages go over the program's standard input and
    output; its standard error is that of this process. A program ends with its connection: its input is closed, then it
    gets SIGTERM, then it is killed, together with all processes that it started.
    """

    params: MCPServerStdioParams = attrs.field(converter=_stdio_params, repr=False)

    def described(self) -> str:
        """Return the name of the program."""
        return Path(self.params.command).name

    def identity(self) -> Hashable:
        """Return a digest of name, program, arguments, variables and folder."""
        given = self.params
        return digest("stdio", self.name, given.command, list(given.args), sorted((given.env or {}).items()), given.cwd)

    def streams(self, *, grace_s: float) -> MCPConnector:
        """Return the streams of a new process."""
        from trealtime.mcp.stdio import program_streams

        return program_streams(self.params, grace_s=grace_s)


@attrs.define(eq=False, repr=False)
class MCPServerStreamableHttp(MCPServer):
    """A server at an address: ``MCPServerStreamableHttp({"url": "https://example.com/mcp", "headers": {...}})``.

    `params` are an `MCPServerStreamableHttpParams` or a mapping of its keys.
    """

    params: MCPServerStreamableHttpParams = attrs.field(converter=_http_params, repr=False)

    def described(self) -> str:
        """Return the address without its user, password and query, which may be secret."""
        url = urlsplit(self.params.url)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        return f"{url.scheme}://{host}{'' if url.port is None else f':{url.port}'}{url.path}"

    def identity(self) -> Hashable:
        """Return a digest of name, whole address and headers."""
        given = self.params
        return digest("http", self.name, given.url, sorted((given.headers or {}).items()))

    def streams(self, *, grace_s: float) -> MCPConnector:
        """Return the streams of a new connection."""
        from trealtime.mcp.http import http_streams

        return http_streams(self.params)
