"""Failures to connect: one table from the exceptions of the layers below to the text of `ConnectFailed`."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import h11
import trio
from websockets.exceptions import InvalidHandshake

from trealtime._secrets import redacted_url, without_values
from trealtime.errors import ConnectFailed
from trealtime.terminal import printable
from trealtime.transport.request import redirect_hint

__all__ = ["NoHandshake", "RefusedByServer", "explained_failures", "read_refusal", "refusal"]

_SHOWN_BODY_CHARS = 4000
_BODY_LIMIT = 16 * 1024
_BODY_TIMEOUT_S = 2.0

_STATUS_HINTS = {
    400: "the server understood the request and refuses it: look at the model name and the URL",
    401: "the key was not accepted: check OPENAI_API_KEY, or api_key in model_config",
    403: "the key is known but may not do this: check its project and its access to the model",
    404: "no such model, deployment or call id at this URL (a call may be gone, or not be ready yet)",
    429: "too many requests, or the quota is used up",
}


class NoHandshake(Exception):
    """The peer's part of the opening handshake is wrong; the text says how."""


@attrs.frozen
class RefusedByServer(Exception):
    """An HTTP answer in place of an open WebSocket. Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)  # the peer may repeat there what was sent
    body: str = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"HTTP {self.status}"


@contextmanager
def explained_failures(
    url: str, *, headers: Mapping[str, str] | None = None, timeout_s: float | None = None
) -> Iterator[None]:
    """Turn what goes wrong while connecting to `url` into `ConnectFailed`, whose cause is the original error.

    Secrets in `url` and `headers` are kept out of it. Errors that are not about connecting pass through.
    """
    try:
        yield
    except RefusedByServer as refused:
        body = without_values(refused.body, headers, url)
        answered = {name: without_values(value, headers, url) for name, value in refused.headers.items()}
        raise refusal(redacted_url(url), refused.status, answered, body) from refused
    except tuple(_EXPLANATIONS) as exc:
        shown = redacted_url(url)
        explain = next(explain for kind, explain in _EXPLANATIONS.items() if isinstance(exc, kind))
        in_time = timeout_s is not None and isinstance(exc, trio.TooSlowError)
        limit = f" within {timeout_s:g} s" if in_time else ""
        raise ConnectFailed(f"cannot connect to {shown}: {explain(exc)}{limit}", url=shown) from exc


def refusal(url: str, status: int, headers: Mapping[str, str], body: str, *, hint: str | None = None) -> ConnectFailed:
    """Return the error for an HTTP answer that refuses, with the server's own words and what to try."""
    hint = hint or _STATUS_HINTS.get(status)
    hint = hint or redirect_hint(status, headers, setting="url")
    if hint is None and status >= 500:
        hint = "the server is in trouble: try again later"
    said = printable(_error_message(body))
    parts = [f"{url} answered HTTP {status}", *([f'"{said}"'] if said else []), *([hint] if hint else [])]
    return ConnectFailed("; ".join(parts), url=url, status=status, headers=headers, body=body[:_SHOWN_BODY_CHARS])


async def read_refusal(http: h11.Connection, stream: trio.abc.Stream, response: h11.Response) -> RefusedByServer:
    """Read the body of a refusal: at most 16 KiB, for at most two seconds, whether it ends or not."""
    body = bytearray()
    # Half of the time that is left for the handshake, so that the caller sees the refusal and no timeout.
    left_s = trio.current_effective_deadline() - trio.current_time()
    with trio.move_on_after(min(_BODY_TIMEOUT_S, left_s / 2)):
        try:
            while len(body) < _BODY_LIMIT:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(bytes(await stream.receive_some(4096)))
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    break
        except (h11.RemoteProtocolError, trio.BrokenResourceError):
            pass  # the part of the body that came is enough
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    return RefusedByServer(response.status_code, headers, body[:_BODY_LIMIT].decode(errors="replace"))


def _explain_name(exc: Exception) -> str:
    return f"the host name cannot be resolved ({exc.args[-1] if exc.args else exc})"


def _explain_timeout(exc: Exception) -> str:
    return "no open WebSocket"


def _explain_broken_stream(exc: Exception) -> str:
    cause = exc.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not accepted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        wrong = " (does the server speak plain ws:// here?)" if "WRONG_VERSION" in str(cause.reason) else ""
        return f"TLS failed: {cause.reason or cause}{wrong}"
    return "the connection was closed before the handshake was over"


def _explain_no_handshake(exc: Exception) -> str:
    return str(exc)


def _explain_other_answer(exc: Exception) -> str:
    return "its answer is not that of a WebSocket server"


def _explain_os_error(exc: Exception) -> str:
    # trio tries every address of a host and raises one error with the attempts as its cause.
    leaves = _leaves(exc.__cause__) if isinstance(exc.__cause__, BaseExceptionGroup | OSError) else [exc]
    texts = [leaf.strerror or str(leaf) if isinstance(leaf, OSError) else str(leaf) for leaf in leaves]
    return ", ".join(dict.fromkeys(texts))


def _leaves(exc: BaseException) -> list[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        return [leaf for inner in exc.exceptions for leaf in _leaves(inner)]
    return [exc]


# In this order: the first kind that fits explains.
_EXPLANATIONS: dict[type[Exception], Callable[[Exception], str]] = {
    trio.TooSlowError: _explain_timeout,
    NoHandshake: _explain_no_handshake,
    InvalidHandshake: _explain_other_answer,
    h11.RemoteProtocolError: _explain_other_answer,
    trio.BrokenResourceError: _explain_broken_stream,
    trio.ClosedResourceError: _explain_broken_stream,
    ssl.SSLError: _explain_broken_stream,
    socket.gaierror: _explain_name,
    OSError: _explain_os_error,
}


def _error_message(body: str) -> str:
    """Return what the body says in the form of the API's errors, or its beginning where it has none."""
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict):
        error = parsed.get("error", parsed)
        message = error.get("message") if isinstance(error, dict) else error
        if isinstance(message, str):
            return message
    text = " ".join(body.split())
    return text if len(text) <= 200 else f"{text[:200]}..."
