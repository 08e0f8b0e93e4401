"""Settings for opening a connection, keeping it alive and closing it."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Mapping
from typing import Literal
from urllib.parse import urlsplit

import attrs

from trealtime._secrets import shown
from trealtime._value import Value
from trealtime.errors import SettingsError, SettingsProblem

__all__ = ["TransportConfig", "transport_config"]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TransportConfig(Value):
    """Settings of one connection. Times are in seconds.

    Every bad value of one construction is reported in one `SettingsError`.
    """

    ping_interval: float | None = 20.0
    """A ping goes out this long after the last one was answered; None sends none."""

    ping_timeout: float | None = 20.0
    """A connection whose ping has had no pong for this long is lost (close code 1006); None waits for ever."""

    handshake_timeout: float = 10.0
    """Everything up to an open WebSocket together: name, TCP, proxy, TLS and upgrade."""

    close_timeout: float = 2.0
    """Seconds that `Wire.aclose` waits for the peer's close frame before it drops the connection."""

    max_size: int | None = 32 * 2**20
    """The longest message taken, in bytes (of UTF-8, for text), or None; a longer one closes with 1009.

    The default holds the longest audio that the service returns in one `conversation.item.retrieved`, and bounds what a
    broken server can make us hold.
    """

    compression: Literal["deflate"] | None = None
    """Offer permessage-deflate (RFC 7692) to the server; None does not. Base64 audio compresses by a quarter and costs
    more CPU than everything else on the way, so it is off. `max_size` bounds the message as it was before."""

    ssl_context: ssl.SSLContext | None = attrs.field(default=None, repr=False)
    """For ``wss://``; None uses `ssl.create_default_context`."""

    proxy: str | None = attrs.field(default=None, repr=shown)
    """``http://[user:password@]host:port``: reach the server through this HTTP proxy (CONNECT, RFC 9110 section 9.3.6).

    The proxy variables of the environment are not read, so that the way of a call's audio is visible in the program.
    """

    def __attrs_post_init__(self) -> None:
        values = attrs.asdict(self, recurse=False)
        problems = [problem for name, value in values.items() if (problem := _check(name, value)) is not None]
        if problems:
            raise SettingsError(problems, what="transport_config")

    @classmethod
    def from_value(cls, value: TransportConfig | Mapping[str, object] | None) -> TransportConfig:
        """Return a config from what users write: None (the defaults), a mapping with some of the keys, or a config.

        Raises `SettingsError` with every unknown key and wrong value.
        """
        if value is None:
            return cls()
        if isinstance(value, TransportConfig):
            return value
        if not isinstance(value, Mapping):
            problem = SettingsProblem("transport_config", value, "a mapping or TransportConfig")
            raise SettingsError([problem], what="transport_config")
        problems = [_unknown_key(key, item) for key, item in value.items() if key not in _CHECKS]
        known = {key: item for key, item in value.items() if key in _CHECKS}
        problems += [problem for key, item in known.items() if (problem := _check(key, item)) is not None]
        if problems:
            raise SettingsError(problems, what="transport_config")
        return cls(**known)  # type: ignore[arg-type]  # each value has just passed the check of its own field


def transport_config(value: TransportConfig | Mapping[str, object] | None) -> TransportConfig:
    """`TransportConfig.from_value`, in the form that attrs takes as a converter."""
    return TransportConfig.from_value(value)


def _unknown_key(key: object, value: object) -> SettingsProblem:
    import difflib

    near = difflib.get_close_matches(str(key), _CHECKS, n=1)
    allowed = f"one of the keys {', '.join(_CHECKS)}"
    return SettingsProblem(str(key), value, allowed, suggestion=near[0] if near else None)


def _check(name: str, value: object) -> SettingsProblem | None:
    accepts, allowed = _CHECKS[name]
    if accepts(value):
        return None
    return SettingsProblem(name, value, allowed)


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_proxy_url(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme == "http" and bool(parts.hostname) and parts.port is not None
    except ValueError:
        return False


_SECONDS = "a positive, finite number of seconds"

_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "ping_interval": (lambda value: value is None or _is_duration(value), f"{_SECONDS}, or None (no pings)"),
    "ping_timeout": (lambda value: value is None or _is_duration(value), f"{_SECONDS}, or None (no limit)"),
    "handshake_timeout": (_is_duration, _SECONDS),
    "close_timeout": (_is_duration, _SECONDS),
    "max_size": (lambda value: value is None or _is_size(value), "a positive number of bytes, or None (no limit)"),
    "compression": (lambda value: value is None or value == "deflate", '"deflate", or None (no compression)'),
    "ssl_context": (lambda value: value is None or isinstance(value, ssl.SSLContext), "an ssl.SSLContext, or None"),
    "proxy": (lambda value: value is None or _is_proxy_url(value), '"http://[user:password@]host:port", or None'),
}
