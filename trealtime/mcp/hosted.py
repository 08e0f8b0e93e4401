"""MCP servers that the service itself connects to. Their tools run there, not in this process."""

# ruff: noqa: RUF009  # `setting` makes an attrs field, as `attrs.field` does
from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from trealtime._value import Value
from trealtime.errors import SettingsError, SettingsProblem
from trealtime.protocol.validation import NotSet, setting, structure

__all__ = ["HostedMCPTool", "HostedTool", "digest"]

_WHERE = ("server_url", "connector_id", "tunnel_id")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _ToolNames(Value):
    tool_names: Sequence[str] | NotSet = setting()
    read_only: bool | NotSet = setting()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _Approvals(Value):
    always: _ToolNames | NotSet = setting()
    never: _ToolNames | NotSet = setting()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _Config(Value):
    """The tool on the wire: "MCP tool" in OpenAI's reference of the Realtime API."""

    type: Literal["mcp"] = setting(default="mcp")
    server_label: str = setting(attrs.NOTHING, at_least=1)
    server_url: str | NotSet = setting(at_least=1)
    connector_id: str | NotSet = setting(at_least=1)
    tunnel_id: str | NotSet = setting(at_least=1)
    server_description: str | NotSet = setting()
    authorization: str | NotSet = setting()
    headers: Mapping[str, str] | NotSet | None = setting()
    allowed_tools: Sequence[str] | _ToolNames | NotSet | None = setting()
    allowed_callers: Sequence[Literal["direct", "programmatic"]] | NotSet | None = setting()
    require_approval: Literal["always", "never"] | _Approvals | NotSet | None = setting()
    defer_loading: bool | NotSet = setting()


class HostedMCPTool(dict[str, Any]):
    """The tools of an MCP server that the service connects to, as one of an agent's `tools`.

    `tool_config` is the tool as on the wire: ``{"server_label": ..., "server_url": ...}``, with `connector_id` or
    `tunnel_id` in place of the URL; `authorization` and `headers` for the server; `server_description` for the model;
    `allowed_tools`, a list of names or ``{"tool_names": [...], "read_only": True}``; and `require_approval`,
    ``"always"`` (the service's default), ``"never"``, or ``{"always": {...}, "never": {...}}`` with such filters. It is
    a dict of that, and stands wherever a tool may be a mapping.

    Raises `SettingsError` with every problem of it.
    """

    def __init__(self, tool_config: Mapping[str, Any]) -> None:
        structure(_Config, tool_config, path="tool_config", what="HostedMCPTool")
        given = [key for key in _WHERE if tool_config.get(key) is not None]
        if len(given) != 1:
            allowed = f"one of {', '.join(_WHERE)}"
            problem = SettingsProblem("tool_config", given or "none of them", allowed)
            raise SettingsError([problem], what=f"HostedMCPTool {tool_config['server_label']!r}")
        super().__init__({"type": "mcp"} | dict(tool_config))

    def identity(self) -> str:
        """Return a digest of the server's place and of the credentials that it gets."""
        return digest("hosted", *(self.get(key) for key in (*_WHERE, "authorization", "headers")))

    def __repr__(self) -> str:
        # Headers and authorization are secrets.
        return f"HostedMCPTool({self['server_label']!r})"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HostedTool(Value):
    """A tool that the server runs: `name`, of the MCP server `server_label`.

    `identity` says which server has that label, for approvals that were given for always: two agents may use one label
    for two servers.
    """

    name: str
    server_label: str
    identity: str = attrs.field(default="", repr=False, eq=False)


def digest(*declared: object) -> str:
    """A text that is the same for the same declaration, and does not show the secrets in it."""
    return hashlib.sha256(repr(declared).encode(errors="replace")).hexdigest()
