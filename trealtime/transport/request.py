"""The request of a WebSocket handshake: the parts of its URL, its headers, and the key that goes into them.

A key is looked for in this order:

1. ``headers`` of the target, when given, are all that is sent: no key is looked for, no callable is called. Only a
   User-Agent is added, where they have none.
2. ``api_key`` of the target: a string, or a callable (sync or async) that is called once for each connection.
3. The environment variable.
"""

from __future__ import annotations

import inspect
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import attrs

from trealtime._secrets import Headers, parsed_url, redacted_url
from trealtime._value import Value
from trealtime._version import __version__
from trealtime.errors import MissingApiKey, SettingsError, SettingsProblem

__all__ = [
    "Address",
    "ApiKey",
    "check_headers",
    "get_api_key",
    "is_loopback",
    "realtime_url",
    "redirect_hint",
    "refuse_cleartext",
    "resolve_key",
    "with_user_agent",
]

# ---- addresses ------------------------------------------------------------------------------------------------------


@attrs.frozen(eq=False, repr=False)
class Address(Value):
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
        """The Host header (RFC 9110 section 7.2): IPv6 in brackets, the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def realtime_url(base_url: str, *, model: str, call_id: str | None, setting: str = "base_url") -> str:
    """Return the WebSocket address under the base URL of a REST API; a call id takes the place of the model.

    Raises `SettingsError` that names `setting`, where the base URL was found.
    """
    parts = parsed_url(base_url)
    if parts is None or parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        allowed = "https://HOST/PATH or wss://HOST/PATH, such as https://api.openai.com/v1"
        raise SettingsError([SettingsProblem(setting, redacted_url(base_url), allowed)], what="model")
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
            path = f"headers.{re.split('[:=]', name)[0]}"  # a whole line may be there, value and all
            problems.append(SettingsProblem(path, name, "a header name: letters, digits and -"))
        elif name.lower() in _HANDSHAKE_HEADERS:
            problems.append(SettingsProblem(path, name, "any header but those of the WebSocket handshake itself"))
        elif not isinstance(value, str):
            problems.append(SettingsProblem(path, value, "a str"))
        elif not _FIELD_VALUE.fullmatch(value):
            allowed = "one line of printable Latin-1 text with no space around it (a key read from a file? strip it)"
            problems.append(SettingsProblem(path, value, allowed))
    if problems:
        raise SettingsError(problems, what="headers")


def is_loopback(url: str) -> bool:
    """Return whether the host of `url` is this machine, by its name or address alone."""
    parts = parsed_url(url)
    host = (parts is not None and parts.hostname) or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def redirect_hint(status: int, headers: Mapping[str, str], *, setting: str) -> str | None:
    """Return the advice for an answer that redirects, None for any other. `headers` have names in lower case; `setting`
    is the one that holds the address."""
    if not 300 <= status < 400:
        return None
    address = redacted_url(headers["location"]) if "location" in headers else "the new address"
    return f"redirects are not followed: use the {setting} that leads to {address}"


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


# ---- credentials ----------------------------------------------------------------------------------------------------

ApiKey = str | Callable[[], str | Awaitable[str]]


async def get_api_key(key: ApiKey | None) -> str | None:
    """Return `key` as a string: itself, what it returns when called, or OPENAI_API_KEY where it is None.

    None where that is unset too. Waits for an async callable. Raises `MissingApiKey` for a key that is empty or not a
    string, and what a callable raises.
    """
    return await resolve_key(key, parameter="api_key", variable="OPENAI_API_KEY")


async def resolve_key(key: ApiKey | None, *, parameter: str, variable: str) -> str | None:
    """Return `key` as a string, or what the environment has under `variable`; error texts call it `parameter`."""
    if key is None:
        return os.environ.get(variable, "").strip() or None
    found: object = key
    if callable(key):
        found = key()
        if inspect.isawaitable(found):
            found = await found
    if not isinstance(found, str) or not found.strip():
        got = "an empty string" if isinstance(found, str) else f"a {type(found).__name__}"
        what = f"the callable given as {parameter} returned" if callable(key) else f"{parameter} is"
        raise MissingApiKey(f"{what} {got}, where a key is needed as a non-empty string")
    # A key read from a file ends with a line break more often than not, and no key has space around it.
    return found.strip()


def with_user_agent(headers: Mapping[str, str]) -> Headers:
    """Return `headers`, with a User-Agent of ours if they have none."""
    own = {} if any(name.lower() == "user-agent" for name in headers) else {"User-Agent": f"trealtime/{__version__}"}
    return Headers({**headers, **own})


def refuse_cleartext(url: str) -> None:
    """Raise `SettingsError` where a key would cross a network unencrypted."""
    if url.lower().startswith("ws://") and not is_loopback(url):
        allowed = (
            "wss:// (over ws:// the API key would cross the network in the clear; "
            "to mean it, give the headers to send in model_config['headers'])"
        )
        raise SettingsError([SettingsProblem("url", redacted_url(url), allowed)], what="model_config")
