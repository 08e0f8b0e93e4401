"""What a handshake asks for: the parts of a WebSocket URL, and headers that can be sent."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

from trealtime.errors import SettingsError, SettingsProblem
from trealtime.transport.failures import redacted_url

__all__ = ["Address", "check_headers", "is_loopback"]


@attrs.frozen
class Address:
    """A WebSocket URL in its parts."""

    host: str
    port: int
    tls: bool
    resource: str

    @classmethod
    def of(cls, url: str) -> Address:
        allowed = "ws://HOST[:PORT]/PATH or wss://..., percent-encoded, without user and password"
        if not re.fullmatch(r"[!-~]+", url):
            raise SettingsError([SettingsProblem("url", url, allowed)], what="model_config")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise SettingsError([SettingsProblem("url", redacted_url(url), allowed)], what="model_config") from exc
        if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.username is not None:
            near = {"http": "ws", "https": "wss"}.get(parts.scheme)
            suggestion = f"{near}://{redacted_url(url).partition('://')[2]}" if near else None
            problem = SettingsProblem("url", redacted_url(url), allowed, suggestion)
            raise SettingsError([problem], what="model_config")
        tls = parts.scheme == "wss"
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, port if port is not None else (443 if tls else 80), tls, resource)

    @property
    def host_header(self) -> str:
        """RFC 9110 section 7.2: brackets around an IPv6 address, no port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def check_headers(headers: Mapping[str, object]) -> None:
    """Raise `SettingsError` for headers that cannot be sent; values are not shown, since keys travel in them."""
    problems = []
    for name, value in headers.items():
        path = f"headers.{name}"
        if not _TOKEN.fullmatch(name):
            problems.append(SettingsProblem(path, name, "a header name: letters, digits and -"))
        elif name.lower() in _HANDSHAKE_HEADERS:
            problems.append(SettingsProblem(path, name, "any header but those of the WebSocket handshake itself"))
        elif not isinstance(value, str):
            problems.append(SettingsProblem(path, _Unshown(type(value).__name__), "a str"))
        elif not _FIELD_VALUE.fullmatch(value):
            allowed = "one line of printable Latin-1 text with no space around it (a key read from a file? strip it)"
            problems.append(SettingsProblem(path, _Unshown("text"), allowed))
    if problems:
        raise SettingsError(problems, what="headers")


def is_loopback(url: str) -> bool:
    """Whether the host of `url` is this machine, by its name or address alone."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


# RFC 9110 sections 5.1 and 5.5, without obsolete line folding.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]*[!-~\x80-\xff])?)?")
_HANDSHAKE_HEADERS = frozenset(
    {
        "connection",
        "host",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-version",
        "upgrade",
    }
)


@attrs.frozen
class _Unshown:
    """Stands in an error for a value that may be a secret."""

    kind: str

    def __repr__(self) -> str:
        return f"<{self.kind}, not shown>"
