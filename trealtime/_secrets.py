"""Recognize secrets, and show values without them; exceptions without what they may quote.

Keys end up in logs in three ways: by the `repr` of a configuration, by the text of an error, and by files. All of them
ask this module. A name decides (``api_key``, ``x-auth-token``, ``headers``), in any spelling. In addresses, user and
password and the values of all but a few parameters are hidden.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final
from urllib.parse import SplitResult, parse_qsl, unquote, unquote_plus, urlsplit, urlunsplit

from trealtime.terminal import repr_of

__all__ = [
    "Headers",
    "REMOVED",
    "hidden",
    "is_secret_name",
    "names_only",
    "open_private",
    "parsed_url",
    "redacted",
    "redacted_url",
    "said",
    "shown",
    "stand_in",
    "withheld",
    "without_keys",
    "without_quotes",
    "without_secrets_in_addresses",
    "without_values",
]

REMOVED: Final = "<removed>"

_SHOWN_PARAMETERS: Final = frozenset({"model", "call_id", "intent", "deployment", "api-version"})
"""Query parameters that help to understand a failure. Any other may be a secret: Azure takes its key as one."""

_SECRET_WORDS: Final = frozenset(
    {"args", "auth", "bearer", "cookie", "cookies", "credential", "credentials", "env", "environment", "header"}
    | {"headers", "jwt", "passcode", "passphrase", "passwd", "password", "passwords", "pwd", "secret", "secrets"}
)
_PLAIN_WORDS: Final = frozenset({"args", "env", "environment", "header", "headers"})
"""Those of them that ordinary sentences have in front of a colon."""

_SECRET_STEMS: Final = ("apikey", "authent", "authoris", "authoriz", "clientsecret", "password", "secretkey")
_KEYS: Final = frozenset(
    {"access", "account", "admin", "api", "app", "application", "client", "consumer", "encryption", "ephemeral"}
    | {"function", "functions", "master", "private", "root", "secret", "service", "session", "shared", "signing"}
    | {"ssh", "subscription", "user", "webhook"}
)
"""Words that make a key a secret: ``api_key``, but not ``key`` or ``sort_key``."""

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_USER_AND_PASSWORD: Final = re.compile(r"[^\s:@]*:[^\s@]*@")
_WITHHELD: Final = "(text withheld: log_content)"
_LONGEST_CHAIN: Final = 50
"""Causes and contexts of an exception that its stand-in has."""

_SERVICE_KEY: Final = re.compile(r"\b(?:sk|ek|rk|pk|whsec)[-_][A-Za-z0-9_-]{8,}")
_KEY: Final = re.compile(_SERVICE_KEY.pattern + r"|(?i:\b(bearer|basic)\s+)[^\s'\",]+")
_NAMED: Final = re.compile(r"""(?<![\w.-])(?:(?![A-Za-z])[\w.-])*([A-Za-z][\w.-]*)["']?\s*[:=]\s*""")
"""The name in front of a value, as command lines, JSON and the `repr` of objects have it. A run of letters is looked at
from its beginning alone: from each of its letters, a long one would take minutes."""

_VALUE: Final = re.compile(r"""[ub]?"(?:[^"\\]|\\.)*"|[ub]?'(?:[^'\\]|\\.)*'|[^\s,;)}\]'"]+""")
_HIDDEN: Final = ("<", "...")
"""The beginnings of what stands in place of a secret."""

_FLAG: Final = re.compile(r"-{0,2}[\w.-]+")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/\s@]+@")
_ADDRESS_NAMES: Final = ("url", "uri", "proxy", "endpoint", "address", "href", "location", "webhook")
_PATH_SECRET: Final = re.compile(
    r"(?<=/)(?:(?:sk|ek|rk|pk|whsec)[-_][^/]{8,}|(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{20,}|[\da-fA-F]{8}(?:-[\da-fA-F]{4,12}){4})(?=/|$)"
)
"""Segments of paths such as those of hosted MCP servers, where who knows the address may use it."""

_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,40}://[^\s'\"<>]+")


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
        or words[-1].endswith("token")
        or (words[-1] in ("key", "keys") and not _KEYS.isdisjoint(words))
        or (words[-1].endswith("key") and words[-1].removesuffix("key") in _KEYS)
        or any(stem in joined for stem in _SECRET_STEMS)
    )


def open_private(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to write what people say: one that is made is its owner's alone, one that is there is emptied and
    keeps its mode. Raises `OSError`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def parsed_url(url: str) -> SplitResult | None:
    """Return the parts of `url`; None for one that cannot be read. The errors of `urlsplit` may quote a password."""
    try:
        parts = urlsplit(url)
        _ = parts.hostname, parts.port
    except ValueError:
        return None
    return parts


def redacted_url(url: str) -> str:
    """Return `url` without user, password and the values of parameters that may be secret."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return "an unreadable URL"
    query = "&".join(f"{name}={value if name in _SHOWN_PARAMETERS else '...'}" for name, value in pairs)
    # With a slash too few or too many, user and password are taken for a path.
    path = parts.path if parts.netloc else parts.path.rpartition("@")[2]
    path = _PATH_SECRET.sub("...", path)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, query, ""))


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
    return _text_without_secrets(value, name) if isinstance(value, str) else value


def _text_without_secrets(text: str, name: str) -> str:
    if "://" in text:
        text = redacted_url(text) if name.lower().endswith(_ADDRESS_NAMES) else _CREDENTIALS.sub("", text)
    # Base64, by far the most of a recording, has neither character. Servers repeat a key that they refuse.
    return _SERVICE_KEY.sub(REMOVED, text) if "-" in text or "_" in text else text


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


class Headers(dict[str, str]):
    """Headers that show their names alone: tools that report errors with local variables would show a key."""

    def __repr__(self) -> str:
        return names_only(self)


def shown(value: object, path: str = "") -> str:
    """The `repr` of any value found at a dotted `path`, without secrets."""
    if any(is_secret_name(name) for name in path.split(".")):
        return names_only(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{shown(key)}: {shown(each, str(key))}' for key, each in value.items())}}}"
    if isinstance(value, (list, tuple)):
        inside = ", ".join(_elements(value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    if isinstance(value, (set, frozenset)) and value:
        return f"{{{', '.join(map(shown, value))}}}"
    if isinstance(value, bytes):
        return f"b{shown(value.decode('ascii', 'backslashreplace'))}"
    if isinstance(value, str) and "://" not in value and (found := _USER_AND_PASSWORD.match(value)):
        return repr(f"...@{value[found.end() :]}")
    if not isinstance(value, str):
        return without_keys(repr_of(value))
    # A scheme may be what is misspelt, so the part in front of an @ goes from any address.
    return repr(without_keys(value)) if without_keys(value) != value else repr(value)


def _elements(values: Sequence[object]) -> Iterator[str]:
    """The elements of a list, which may be pairs of names and values, or the arguments of a program."""
    of_secret = False
    for each in values:
        yield hidden(each) if of_secret else shown(each)
        of_secret = isinstance(each, str) and _FLAG.fullmatch(each) is not None and is_secret_name(each)


def without_secrets_in_addresses(text: str) -> str:
    """Return `text` with every address in it as `redacted_url` shows it."""
    return _ADDRESS.sub(lambda found: redacted_url(found[0]), text)


def without_keys(text: str) -> str:
    """Return `text` without what looks like a key of the service or the credentials of an HTTP header, without the
    values of secret names (``password=...``), and with addresses as `redacted_url` shows them."""
    text = _KEY.sub(
        lambda found: f"{found[1] or ''}{' ' if found[1] else ''}{REMOVED}", without_secrets_in_addresses(text)
    )
    kept: list[str] = []
    begin = position = 0
    while (named := _NAMED.search(text, position)) is not None:
        position = named.end()
        value = _VALUE.match(text, position) if is_secret_name(named[1]) else None
        plain = named[1].lower() in _PLAIN_WORDS
        if value is None or value[0].startswith(_HIDDEN) or (plain and value[0][0].isalnum()):
            continue
        kept += [text[begin:position], REMOVED]
        if value[0][0] in "[({":  # its end cannot be told
            return "".join(kept)
        begin = position = value.end()
    return "".join([*kept, text[begin:]])


def without_values(text: str, headers: Mapping[str, str] | None, url: str = "") -> str:
    """Return `text` without what we sent in `headers` and in the hidden parts of `url`, which some servers and gateways
    repeat in their error pages."""
    for value in (*(headers or {}).values(), *_hidden_values(url)):
        for secret in (value, value.rpartition(" ")[2]):
            if len(secret) >= 8:
                text = text.replace(secret, "...")
    return text


def _hidden_values(url: str) -> list[str]:
    """What `redacted_url` hides, as it stands there and decoded."""
    found: list[str] = []
    parts = parsed_url(url)
    if parts is None:
        return []
    if parts.password:
        found += [parts.password, unquote(parts.password)]
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        found += [] if name in _SHOWN_PARAMETERS else [value, unquote_plus(value)]
    return found


# ---- exceptions to be logged ----------------------------------------------------------------------------------------


def stand_in(error: BaseException, *, text_of: Callable[[BaseException], str]) -> BaseException:
    """Return an exception to log in place of `error`: its types, tracebacks, causes and contexts, with other texts."""
    known: dict[int, BaseException] = {}

    def of(error: BaseException, depth: int) -> BaseException:
        if id(error) in known:
            return known[id(error)]
        text = text_of(error)
        if isinstance(error, BaseExceptionGroup):
            other: BaseException = BaseExceptionGroup(text, [of(each, depth + 1) for each in error.exceptions])
        else:
            shape = {"__module__": type(error).__module__, "__qualname__": type(error).__qualname__}
            other = type(type(error).__name__, (Exception,), shape)(*([text] if text else []))
        known[id(error)] = other
        other.__traceback__ = error.__traceback__
        if depth < _LONGEST_CHAIN:
            other.__cause__ = None if error.__cause__ is None else of(error.__cause__, depth + 1)
            other.__context__ = None if error.__context__ is None else of(error.__context__, depth + 1)
        other.__suppress_context__ = error.__suppress_context__
        return other

    return of(error, 0)


def said(error: BaseException) -> str:
    """Return the text of an exception, without keys."""
    return without_keys(_text(error))


def withheld(error: BaseException) -> str:
    """Return a note that the text of an exception is withheld, if it has one."""
    return _WITHHELD if _text(error) else ""


def without_quotes(error: BaseException) -> str:
    """Return the text of an error of ours about a message up to the place where it quotes that message."""
    return str(error).partition(", got ")[0]


def _text(error: BaseException) -> str:
    try:
        return error.message if isinstance(error, BaseExceptionGroup) else str(error)
    except Exception:  # noqa: BLE001  (a text that cannot be made is none that could be shown)
        return ""
