"""Which credentials travel, and where they may.

In this order (peer behaviours B001 to B005):

1. ``headers`` of the target, when given, are all that is sent: no key is looked for, no callable is called. Only a
   User-Agent is added, where they have none.
2. ``api_key`` of the target: a string, or a callable (sync or async) that is called once for each connection.
3. The environment variable.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Mapping

from trealtime._version import __version__
from trealtime.errors import MissingApiKey, SettingsError, SettingsProblem
from trealtime.transport.request import is_loopback, redacted_url

__all__ = ["ApiKey", "get_api_key", "refuse_cleartext", "resolve_key", "with_user_agent"]

ApiKey = str | Callable[[], str | Awaitable[str]]


async def get_api_key(key: ApiKey | None) -> str | None:
    """`key` as a string: itself, what it returns when called, or OPENAI_API_KEY where it is None.

    None where that is unset too.
    Waits for an async callable. Raises `MissingApiKey` for a key that is empty or not a string, and whatever a callable
    raises.
    """
    return await resolve_key(key, parameter="api_key", variable="OPENAI_API_KEY")


async def resolve_key(key: ApiKey | None, *, parameter: str, variable: str) -> str | None:
    """`key` as a string, or what the environment has under `variable`; error texts call it `parameter`."""
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


def with_user_agent(headers: Mapping[str, str]) -> dict[str, str]:
    """`headers`, and a User-Agent of ours if they have none."""
    own = {} if any(name.lower() == "user-agent" for name in headers) else {"User-Agent": f"trealtime/{__version__}"}
    return {**headers, **own}


def refuse_cleartext(url: str) -> None:
    """Raise `SettingsError` where a key would cross a network unencrypted."""
    if url.lower().startswith("ws://") and not is_loopback(url):
        allowed = (
            "wss:// (over ws:// the API key would cross the network in the clear; "
            "to mean it, give the headers to send in model_config['headers'])"
        )
        raise SettingsError([SettingsProblem("url", redacted_url(url), allowed)], what="model_config")
