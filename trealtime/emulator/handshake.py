"""The HTTP side: who may open which session (protocol reference 1)."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

import attrs

from trealtime.emulator.secrets import ClientSecrets
from trealtime.emulator.settings import SessionSettings, SessionType

__all__ = ["HandshakeRefused", "SessionRequest", "busy", "check_key", "offered_keys", "read_request", "refusal"]

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
    settings: SessionSettings | None = None
    """What the session begins with, where a client secret or a call says so."""


def read_request(
    resource: str,
    *,
    headers: Mapping[str, str],
    subprotocols: Sequence[str],
    api_key: str | None,
    secrets: ClientSecrets | None = None,
) -> SessionRequest:
    """The session that a client asks for. `headers` have lower-case names. Raises `HandshakeRefused`.

    Where the emulator has an `api_key`, the client gives it in any of the ways that the service and Azure know: a
    bearer token, the header ``api-key``, the query argument of that name, or a subprotocol. One of `secrets` will do as
    well, and decides the session, of which the URL may still name another model.
    """
    url = urlsplit(resource)
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    if not url.path.rstrip("/").endswith("/realtime"):
        raise refusal(
            404, f"Nothing is here. The Realtime API is at /v1/realtime, not at {url.path}.", code="not_found"
        )
    keys = offered_keys(headers, query, subprotocols)
    secret = next((found for key in keys if secrets is not None and (found := secrets.find(key))), None)
    if secret is None:
        check_key(keys, api_key)
    elif secret.expired:
        raise refusal(401, "This client secret has expired.", code="invalid_api_key")
    settings = None if secret is None else secret.settings
    if settings is not None and "model" in query:
        settings = attrs.evolve(settings, data={**settings.data, "model": query["model"]})
    kind: SessionType = "realtime" if settings is None else settings.type
    return SessionRequest(
        kind="transcription" if query.get("intent") == "transcription" else kind,
        settings=settings,
        model=query.get("model"),
        call_id=query.get("call_id"),
        subprotocol="realtime" if "realtime" in subprotocols else None,
    )


def busy(max_sessions: int) -> HandshakeRefused:
    """There are as many sessions as there may be."""
    return refusal(503, f"This emulator serves {max_sessions} sessions at a time.", code="server_overloaded")


def check_key(keys: Sequence[str], api_key: str | None) -> None:
    """Raise `HandshakeRefused` where a key is asked for and `keys` does not have it."""
    if api_key is None or any(hmac.compare_digest(key.encode(), api_key.encode()) for key in keys):
        return
    message = "Incorrect API key provided." if keys else "No API key provided."
    raise refusal(401, message, code="invalid_api_key")


def offered_keys(headers: Mapping[str, str], query: Mapping[str, str], subprotocols: Sequence[str]) -> list[str]:
    """The keys that a request carries, in any of the ways that there are."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    keys = [token.strip()] if scheme.lower() == "bearer" else []
    keys += [source["api-key"] for source in (headers, query) if "api-key" in source]
    keys += [name.removeprefix(_KEY_PROTOCOL) for name in subprotocols if name.startswith(_KEY_PROTOCOL)]
    return keys


def refusal(status: int, message: str, *, code: str, param: str | None = None) -> HandshakeRefused:
    """An answer with the service's error object."""
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return HandshakeRefused(status, json.dumps({"error": error}))
