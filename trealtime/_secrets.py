"""Recognize secrets, and show values without them.

Keys end up in logs in three ways: by the `repr` of a configuration, by the text of an error, and by files. All of them
ask this module. A name decides (``api_key``, ``x-auth-token``, ``headers``), in any spelling. In addresses, user and
password and the values of all but a few parameters are hidden.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

__all__ = [
    "REMOVED",
    "hidden",
    "is_secret_name",
    "names_only",
    "redacted",
    "redacted_url",
    "shown",
    "without_keys",
    "without_secrets_in_addresses",
    "without_values",
]

REMOVED: Final = "<removed>"

_SHOWN_PARAMETERS: Final = frozenset({"model", "call_id", "intent", "deployment", "api-version"})
"""Query parameters that help to understand a failure. Any other may be a secret: Azure takes its key as one."""

_SECRET_WORDS: Final = frozenset(
    {"auth", "bearer", "cookie", "cookies", "credential", "credentials", "env", "environment", "header", "headers"}
    | {"passphrase", "passwd", "password", "passwords", "pwd", "secret", "secrets"}
)
_SECRET_STEMS: Final = ("apikey", "authent", "authoris", "authoriz", "clientsecret", "password", "secretkey")
_KEYS: Final = frozenset({"access", "api", "ephemeral", "private", "secret", "service", "signing", "webhook"})
"""Words that make a key a secret: ``api_key``, but not ``key`` or ``sort_key``."""

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_USER_AND_PASSWORD: Final = re.compile(r"[^\s:@]*:[^\s@]*@")
_KEY: Final = re.compile(r"\b(?:sk|ek|rk|pk|whsec)[-_][A-Za-z0-9_-]{8,}|(?i:\b(bearer|basic)\s+)[^\s'\",]+")
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


@functools.lru_cache(4096)
def is_secret_name(name: str) -> bool:
    """Return whether a value of this name may open a door. Misspelt names count: they come from users."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words:
        return False
    joined = "".join(words)
    return (
        not _SECRET_WORDS.isdisjoint(words)
        or words[-1] == "token"
        or (words[-1] in ("key", "keys") and not _KEYS.isdisjoint(words))
        or any(stem in joined for stem in _SECRET_STEMS)
    )


def redacted_url(url: str) -> str:
    """Return `url` without user, password and the values of parameters that may be secret."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return "an unreadable URL"
    query = "&".join(f"{name}={value if name in _SHOWN_PARAMETERS else '...'}" for name, value in pairs)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def redacted(value: Any, name: str = "") -> Any:
    """Return a copy of JSON-like `value`, which is called `name`, with `REMOVED` in place of secrets.

    Values of any kind under secret names go whole; addresses under names such as ``server_url`` keep what tells
    where they lead.
    """
    if value is not None and is_secret_name(name):
        return REMOVED
    if isinstance(value, Mapping):
        if name == "properties" and all(isinstance(each, Mapping) for each in value.values()):
            return {key: redacted(each) for key, each in value.items()}  # a JSON Schema, whose keys are no values
        # The tokens of log probabilities are pieces of what was said.
        return {key: each if key == "logprobs" else redacted(each, str(key)) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(each, name) for each in value]
    if isinstance(value, str) and "://" in value and name.lower().endswith(("url", "uri")):
        return redacted_url(value)
    return value


def hidden(value: object) -> str:
    """The `repr` of a secret: its type. None and enum members, which say that there is none, are shown."""
    if value is None or type(value).__name__ == "NotSet":
        return repr(value)
    return f"<{type(value).__name__}, not shown>"


def names_only(headers: object) -> str:
    """The `repr` of headers or environment variables: their names."""
    if isinstance(headers, Mapping):
        return f"<{', '.join(map(str, headers)) or 'none'}; values not shown>"
    return hidden(headers)


def shown(value: object, path: str = "") -> str:
    """The `repr` of any value found at a dotted `path`, without secrets."""
    if any(is_secret_name(name) for name in path.split(".")):
        return names_only(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {shown(each, str(key))}' for key, each in value.items())}}}"
    if isinstance(value, (list, tuple)):
        inside = ", ".join(shown(each) for each in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    if isinstance(value, str) and "://" in value:
        # A scheme may be what is misspelt, so the part in front of an @ goes from any address.
        return repr(without_secrets_in_addresses(value))
    if isinstance(value, str) and (found := _USER_AND_PASSWORD.match(value)):
        return repr(f"...@{value[found.end() :]}")
    return repr(value)


def without_secrets_in_addresses(text: str) -> str:
    """Return `text` with every address in it as `redacted_url` shows it."""
    return _ADDRESS.sub(lambda found: redacted_url(found[0]), text)


def without_keys(text: str) -> str:
    """Return `text` without what looks like a key of the service or the credentials of an HTTP header, and with
    addresses as `redacted_url` shows them."""
    return _KEY.sub(
        lambda found: f"{found[1] or ''}{' ' if found[1] else ''}{REMOVED}", without_secrets_in_addresses(text)
    )


def without_values(text: str, headers: Mapping[str, str] | None) -> str:
    """Return `text` without what we sent in `headers`, which some servers and gateways repeat in their error pages."""
    for value in (headers or {}).values():
        for secret in (value, value.rpartition(" ")[2]):
            if len(secret) >= 8:
                text = text.replace(secret, "...")
    return text
