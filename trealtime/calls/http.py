"""One REST request: credentials, a deadline, retries where they do no harm, and one table of failures.

Theory of operation
1. A request that the service has certainly not acted on is sent again: the connection was not made, or the answer is
   429 or 503. A request that it may have acted on (any other 5xx, a connection that broke) is sent again only if twice
   is as good as once (`repeatable`).
2. Waits are 0.5 s, doubling, less up to a quarter at random; a ``Retry-After`` of the service (seconds or a date) or a
   ``retry-after-ms`` counts where it is longer. All attempts and waits together end at the deadline of the request.
3. The status says what the service did. A body that does not end is waited for in half of the time that is left; what
   has come of it by then is the body.
4. The result is the JSON object of the answer, or one `RequestFailed`.
"""

from __future__ import annotations

import json
import os
import random
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlunsplit

import attrs
import trio

from trealtime._secrets import Headers, parsed_url, redacted_url, without_values
from trealtime.errors import (
    CallGone,
    MissingApiKey,
    MissingDependency,
    RateLimited,
    RequestFailed,
    SettingsError,
    SettingsProblem,
)
from trealtime.protocol.lenient import as_text
from trealtime.terminal import printable
from trealtime.transport.request import ApiKey, check_headers, get_api_key, is_loopback, redirect_hint, with_user_agent

if TYPE_CHECKING:
    import httpx

__all__ = ["HttpRequests", "asked_wait_s", "http_base_url", "open_http_client"]

_OPENAI_BASE_URL: Final = "https://api.openai.com/v1"
_FIRST_WAIT_S: Final = 0.5
_NOT_ACTED_ON: Final = frozenset({429, 503})
_SHOWN_BODY_CHARS: Final = 4000
_LONGEST_BODY: Final = 2**20
"""Bytes of an answer that are read, before and after decompression. The service's longest has some 20 KB."""


def http_base_url(base_url: str | None) -> str:
    """Return `base_url`, or OPENAI_BASE_URL, or the service's own, as http.

    Raises `SettingsError` where it is no address, and where a key would cross a network in the clear.
    """
    url = base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI_BASE_URL
    setting = "base_url" if base_url else "OPENAI_BASE_URL"
    parts = parsed_url(url)
    if parts is None:
        problem = SettingsProblem(setting, redacted_url(url), "https://HOST/PATH, such as https://api.openai.com/v1")
        raise SettingsError([problem], what="REST client")
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    if scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        allowed = "https://HOST/PATH, such as https://api.openai.com/v1, without user and password"
        raise SettingsError([SettingsProblem(setting, redacted_url(url), allowed)], what="REST client")
    found = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
    if scheme == "http" and not is_loopback(found):
        allowed = "https:// (over http:// the API key would cross the network in the clear)"
        raise SettingsError([SettingsProblem(setting, found, allowed)], what="REST client")
    return found


@asynccontextmanager
async def open_http_client(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client of our own: no proxies from the environment, no time-outs beside ours.

    Raises `MissingDependency`.
    """
    httpx = _import_httpx()
    # Reading the system's certificates takes tens of milliseconds: calls that are under way should not wait for it.
    verify = await trio.to_thread.run_sync(ssl.create_default_context) if base_url.startswith("https") else True
    async with httpx.AsyncClient(timeout=None, trust_env=False, verify=verify) as client:
        yield client


def _import_httpx() -> Any:
    try:
        import httpx
    except ModuleNotFoundError:
        raise MissingDependency("the REST side of calls and client secrets", extra="http") from None
    return httpx


@attrs.frozen(kw_only=True)
class HttpRequests:
    """Sends the requests of one REST client."""

    client: httpx.AsyncClient
    base_url: str
    api_key: ApiKey | None = attrs.field(repr=False)
    headers: Mapping[str, str] | None = attrs.field(repr=False)
    """When given, all that is sent as headers."""

    extra_headers: Mapping[str, str]
    timeout_s: float
    attempts: int
    rng: random.Random
    now: Callable[[], float] = time.time
    """The wall clock, for a date to wait for in an answer that has no date of its own."""

    async def post(
        self, path: str, body: Mapping[str, Any] | None, *, request: str, repeatable: bool
    ) -> Mapping[str, Any]:
        """Send the request and return the answer's JSON object ({} where it has none). `request` names it in errors."""
        headers = await self._headers()
        deadline = trio.current_time() + self.timeout_s
        with trio.move_on_at(deadline):
            attempt = 1
            while True:
                try:
                    return await self._once(path, body, headers, deadline, request=request)
                except RequestFailed as failed:
                    again = failed.not_acted_on or (repeatable and _may_pass(failed))
                    wait_s = _FIRST_WAIT_S * 2 ** (attempt - 1) * self.rng.uniform(0.75, 1)
                    wait_s = max(wait_s, failed.retry_after_s or 0.0)
                    late = trio.current_time() + wait_s >= deadline
                    if attempt == self.attempts or late or not again:
                        raise
                await trio.sleep(wait_s)
                attempt += 1
        raise RequestFailed(f"{request}: no answer within {self.timeout_s:g} s", request=request)

    async def _once(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        deadline: float,
        *,
        request: str,
    ) -> Mapping[str, Any]:
        httpx = _import_httpx()
        content = None if body is None else json.dumps(body).encode()
        try:
            # A client of the user's may follow redirects, and would show another host the key.
            async with self.client.stream(
                "POST", f"{self.base_url}{path}", content=content, headers=headers, follow_redirects=False
            ) as answer:
                text = await _body(answer, (trio.current_time() + deadline) / 2)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            message = f"{request}: cannot connect to {self.base_url}: {error}"
            raise RequestFailed(message, request=request, not_acted_on=True) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = without_values(str(error), headers) or type(error).__name__  # it may quote the server
            raise RequestFailed(
                f"{request}: the connection to {self.base_url} failed: {why}", request=request
            ) from error
        if answer.is_success:
            return _json_object(text) or {}
        answered = {name.lower(): without_values(value, headers) for name, value in answer.headers.items()}
        retry_after_s = asked_wait_s(answered, self.now)
        text = without_values(text, headers)
        raise _failure(answer.status_code, answered, text, path, request=request, retry_after_s=retry_after_s)

    async def _headers(self) -> Headers:
        own: Mapping[str, str]
        if self.headers is not None:
            own = self.headers
        else:
            key = await get_api_key(self.api_key)
            if key is None:
                raise MissingApiKey("no API key: set the environment variable OPENAI_API_KEY, or pass api_key")
            own = {"Authorization": f"Bearer {key}", **self.extra_headers}
        check_headers(own)
        # Answers are short: a compressed one saves nothing, and could be made to grow to any size here.
        headers = with_user_agent(own)
        headers.update({"Content-Type": "application/json", "Accept-Encoding": "identity"})
        return headers


async def _body(answer: httpx.Response, until: float) -> str:
    """Read the beginning of the body, decompressed if it comes compressed all the same, until it ends or that time."""
    if answer.is_stream_consumed:  # by a transport of the user's that answers from memory
        return answer.text
    raw = bytearray()
    # Leaving the loop would leave httpx's generators behind, unclosed; a cancellation ends each of them.
    with trio.CancelScope(deadline=until) as enough:
        async for chunk in answer.aiter_raw(65536):
            raw += chunk
            if len(raw) >= _LONGEST_BODY:
                enough.cancel()
    data = bytes(raw[:_LONGEST_BODY])
    if answer.headers.get("content-encoding", "").strip().lower() in ("gzip", "deflate"):
        try:
            data = zlib.decompressobj(wbits=47).decompress(data, _LONGEST_BODY)  # 47: either header
        except zlib.error:
            data = b""
    return data.decode(errors="replace")


def _may_pass(failed: RequestFailed) -> bool:
    """Return whether the same again may go better: the connection broke, the request did not come through in time, or
    the service was in trouble."""
    return failed.status is None or failed.status == 408 or failed.status >= 500


def _failure(
    status: int, headers: Mapping[str, str], body: str, path: str, *, request: str, retry_after_s: float | None
) -> RequestFailed:
    whole = _json_object(body) or {}
    found = whole.get("error")
    error = found if isinstance(found, Mapping) else {}
    kind, hint = _KINDS.get(status, (RequestFailed, ""))
    hint = redirect_hint(status, headers, setting="base_url") or hint
    if status == 404 and "/calls/" in path:
        kind, hint = CallGone, "the caller has hung up, or there never was such a call"
    # Gateways in front of the service have shapes of their own.
    messages = (error.get("message"), found, whole.get("message"), whole.get("detail"))
    said = printable(next((each for each in messages if isinstance(each, str)), ""))
    return kind(
        "; ".join([f"{request}: HTTP {status}", *([f'"{said}"'] if said else []), *([hint] if hint else [])]),
        request=request,
        status=status,
        code=as_text(error.get("code")),
        type=as_text(error.get("type")),
        param=as_text(error.get("param")),
        request_id=headers.get("x-request-id"),
        body=body[:_SHOWN_BODY_CHARS],
        not_acted_on=status in _NOT_ACTED_ON,
        retry_after_s=retry_after_s,
    )


_KINDS: Final[Mapping[int, tuple[type[RequestFailed], str]]] = {
    401: (RequestFailed, "the key was not accepted: check OPENAI_API_KEY or api_key"),
    403: (RequestFailed, "the key is known but may not do this: check its project"),
    429: (RateLimited, "too many requests, or the quota is used up"),
}


def asked_wait_s(headers: Mapping[str, str], now: Callable[[], float]) -> float | None:
    """Return how long the service asks to wait; None where it does not, or not in a way that can be read."""
    value = headers.get("retry-after", "")
    ms, seconds, at = _number(headers.get("retry-after-ms", "")), _number(value), _unix_s(value)
    if ms is not None:  # the same, more exactly
        seconds = ms / 1000
    elif seconds is None and at is not None:
        # By the clock that wrote the date.
        answered_at = _unix_s(headers.get("date", ""))
        seconds = max(0.0, at - (now() if answered_at is None else answered_at))
    return seconds if seconds is not None and 0 <= seconds < 86_400 else None


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _unix_s(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # the parser raises any of these
        return None


def _json_object(text: str) -> Mapping[str, Any] | None:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
