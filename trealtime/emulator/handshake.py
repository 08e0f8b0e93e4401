"""The HTTP side: who may open which session (protocol reference 1)."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

import attrs

from trealtime.emulator.settings import SessionType

__all__ = ["HandshakeRefused", "SessionRequest", "busy", "read_request"]

_KEY_PROTOCOL = "openai-insecure-api-key."


class HandshakeRefused(Exception):
    """The request is answered with an HTTP `status` and a JSON `body`."""

    def __init__(self, status: int, body: str) -> None:
        self.status = status
        self.body = body
        super().__init__(f"{status}: {body}")


@attrs.frozen(kw_only=True)
class SessionRequest:
    """What the URL asks for; unknown query arguments and headers mean nothing here."""

    kind: SessionType = "realtime"
    model: str | None = None
    call_id: str | None = None
    subprotocol: str | None = None


def read_request(
    resource: str, *, headers: Mapping[str, str], subprotocols: Sequence[str], api_key: str | None
) -> SessionRequest:
    """The session that a client asks for. `headers` have lower-case names. Raises `HandshakeRefused`.

    Where the emulator has an `api_key`, the client gives it in any of the ways that the service and Azure know: a
    bearer token, the header ``api-key``, the query argument of that name, or a subprotocol.
    """
    url = urlsplit(resource)
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    if not url.path.rstrip("/").endswith("/realtime"):
        raise _refused(
            404, f"Nothing is here. The Realtime API is at /v1/realtime, not at {url.path}.", code="not_found"
        )
    if api_key is not None:
        keys = _offered_keys(headers, query, subprotocols)
        if not any(hmac.compare_digest(key.encode(), api_key.encode()) for key in keys):
            message = "Incorrect API key provided." if keys else "No API key provided."
            raise _refused(401, message, code="invalid_api_key")
    return SessionRequest(
        kind="transcription" if query.get("intent") == "transcription" else "realtime",
        model=query.get("model"),
        call_id=query.get("call_id"),
        subprotocol="realtime" if "realtime" in subprotocols else None,
    )


def busy(max_sessions: int) -> HandshakeRefused:
    """There are as many sessions as there may be."""
    return _refused(503, f"This emulator serves {max_sessions} sessions at a time.", code="server_overloaded")


def _offered_keys(headers: Mapping[str, str], query: Mapping[str, str], subprotocols: Sequence[str]) -> list[str]:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    keys = [token.strip()] if scheme.lower() == "bearer" else []
    keys += [source["api-key"] for source in (headers, query) if "api-key" in source]
    keys += [name.removeprefix(_KEY_PROTOCOL) for name in subprotocols if name.startswith(_KEY_PROTOCOL)]
    return keys


def _refused(status: int, message: str, *, code: str) -> HandshakeRefused:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return HandshakeRefused(status, json.dumps({"error": error}))
