"""What a handshake asks for: the parts of a WebSocket URL, and headers that can be sent."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import attrs

from trealtime.errors import SettingsError, SettingsProblem

__all__ = ["Address", "check_headers", "is_loopback", "realtime_url", "redacted_url"]


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


def realtime_url(base_url: str, *, model: str, call_id: str | None) -> str:
    """The WebSocket address under the base URL of a REST API; a call id takes the place of the model."""
    parts = urlsplit(base_url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    wanted = f"call_id={quote(call_id, safe='')}" if call_id is not None else f"model={quote(model, safe='')}"
    query = f"{parts.query}&{wanted}" if parts.query else wanted
    return urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/realtime", query, ""))


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


def redacted_url(url: str) -> str:
    """`url` without user, password and the values of parameters that may be secret."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return "an unreadable URL"
    query = "&".join(f"{name}={value if name in _SHOWN_PARAMETERS else '...'}" for name, value in pairs)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


# Query parameters whose values help to understand a failure. The value of any other may be a secret (Azure takes its
# key as one) and is not shown.
_SHOWN_PARAMETERS = frozenset({"model", "call_id", "intent", "deployment", "api-version"})

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
