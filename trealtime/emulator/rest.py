"""The REST side of the emulator: sessions, calls and client secrets."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import attrs
import msgspec

from trealtime.emulator.event_buffer import Ids
from trealtime.emulator.http import (
    Callers,
    HandshakeRefused,
    HttpAnswer,
    HttpRequest,
    check_key,
    offered_keys,
    refusal,
    target_of,
)
from trealtime.emulator.options import EmulatorOptions
from trealtime.emulator.phone import PhoneCall, Webhook
from trealtime.emulator.phone_line import PhoneLine
from trealtime.emulator.settings import SessionSettings, SessionType, merge
from trealtime.emulator.validation import Refusal, choice, integer, invalid_type, mapping, record, text

__all__ = ["ClientSecrets", "SipRegistry", "RestApi", "Secret", "initial_settings", "SessionRequest", "read_request"]

_CALL: Final = re.compile(r"/realtime/calls/([^/]+)/(accept|reject|refer|hangup)$")
_REJECT = record({"status_code": integer(400, 699)})
_REFER = record({"target_uri": text(non_empty=True)}, required=("target_uri",))


class RestApi:
    """Answers requests. `find_call` knows the calls; `accept` starts the session of one, and may refuse."""

    def __init__(
        self,
        *,
        api_key: str | None,
        default_model: str,
        secrets: ClientSecrets,
        find_call: Callable[[str], PhoneCall | None],
        accept: Callable[[PhoneCall, SessionSettings], None],
        callers: Callers,
    ) -> None:
        self._api_key = api_key
        self._callers = callers
        self._default_model = default_model
        self._secrets = secrets
        self._find_call = find_call
        self._accept = accept

    def answer(self, request: HttpRequest) -> HttpAnswer:
        """Return the service's answer. Raises nothing."""
        try:
            return self._answer(request)
        except HandshakeRefused as refused:
            return HttpAnswer.of(refused)
        except Refusal as refused:
            error = {name: value for name, value in refused.as_error(None).items() if name != "event_id"}
            return HttpAnswer(status=400, body={"error": error})

    def _answer(self, request: HttpRequest) -> HttpAnswer:
        url = target_of(request.resource)
        path = url.path.rstrip("/")
        call = _CALL.search(path)
        minting = path.endswith("/realtime/client_secrets")
        if call is None and not minting:
            if path.endswith("/realtime"):
                raise refusal(426, "The Realtime API is a WebSocket: ask for an upgrade.", code="upgrade_required")
            raise refusal(404, f"Nothing is here: {url.path}.", code="not_found")
        if request.method != "POST":
            raise refusal(405, f"{url.path} takes POST, not {request.method}.", code="method_not_allowed")
        self._callers.check(request.headers, needs_key=self._api_key is not None)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        check_key(offered_keys(request.headers, query, ()), self._api_key)
        body = _json_body(request)
        if call is None:
            return HttpAnswer(status=200, body=self._secrets.mint(body))
        self._act(unquote(call[1]), call[2], body)
        return HttpAnswer(status=200)

    def _act(self, call_id: str, action: str, body: object) -> None:
        call = self._find_call(call_id)
        if call is None or call.over:
            raise refusal(404, f"No call with id '{call_id}' is there.", code="call_id_not_found", param="call_id")
        if action == "hangup":
            call.end("service")
        elif action == "refer":
            target = _REFER(body, "")["target_uri"]
            self._need(call, "active", action)
            call.refer(target)
        else:
            self._need(call, "ringing", action)
            if action == "reject":
                call.reject(_REJECT(body, "").get("status_code", 603))
            else:
                self._accept(call, initial_settings(body, default_model=self._default_model))

    @staticmethod
    def _need(call: PhoneCall, state: str, action: str) -> None:
        if call.state != state:
            raise refusal(409, f"This call is {call.state}: it cannot {action}.", code="call_state_conflict")


def _json_body(request: HttpRequest) -> object:
    if not request.body:
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise refusal(415, f"Bodies are application/json, not {kind or 'of no type'}.", code="unsupported_media_type")
    try:
        body = msgspec.json.decode(request.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise refusal(400, f"The body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise refusal(400, "The body must be a JSON object.", code="invalid_json")
    return body


_MOST: Final = 1_000
_DEFAULT_S: Final = 600
_BODY = record(
    {
        "expires_after": record({"anchor": choice("created_at"), "seconds": integer(10, 7_200)}),
        "session": mapping(),
    }
)


@attrs.frozen(kw_only=True)
class Secret:
    """A client secret that was minted; `settings` None: the client says which session it wants."""

    value: str = attrs.field(repr=False)
    expires_at: float
    settings: SessionSettings | None
    expired: bool = False


class ClientSecrets:
    """The secrets of an emulator, the latest 1000 of them. `now` gives Unix seconds."""

    def __init__(self, ids: Ids, *, default_model: str, now: Callable[[], float]) -> None:
        self._ids = ids
        self._default_model = default_model
        self._now = now
        self._minted: dict[str, Secret] = {}

    def mint(self, body: object) -> dict[str, Any]:
        """The answer to ``POST /realtime/client_secrets``; raises `Refusal`."""
        if not isinstance(body, dict):
            raise invalid_type("", body, "an object")
        asked = _BODY(body, "")
        seconds = asked.get("expires_after", {}).get("seconds", _DEFAULT_S)
        wanted = asked.get("session")
        settings = None if wanted is None else initial_settings(wanted, default_model=self._default_model)
        expires_at = math.floor(self._now()) + seconds
        secret = Secret(value=self._ids.new("ek"), expires_at=expires_at, settings=settings)
        self._minted[secret.value] = secret
        if len(self._minted) > _MOST:
            del self._minted[next(iter(self._minted))]
        shown = settings or SessionSettings.default("realtime", model=self._default_model)
        kind = "realtime.session" if shown.type == "realtime" else "realtime.transcription_session"
        session = {"type": shown.type, "object": kind, "id": self._ids.new("sess"), "expires_at": 0, **shown.data}
        return {"value": secret.value, "expires_at": expires_at, "session": session}

    def find(self, key: str) -> Secret | None:
        """The secret of that value, expired or not; None for any other key."""
        secret = self._minted.get(key)
        return None if secret is None else attrs.evolve(secret, expired=self._now() >= secret.expires_at)


def initial_settings(session: object, *, default_model: str) -> SessionSettings:
    """The settings of a session that is to begin with the wire object `session`; raises `Refusal`."""
    kind = session.get("type") if isinstance(session, dict) else None
    base: SessionType = "transcription" if kind == "transcription" else "realtime"
    default = SessionSettings.default(base, model=default_model)
    return merge(default, session, voice_locked=False, model_fixed=False)


class SipRegistry:
    """The calls and secrets that the sessions of one emulator share.

    `accept` starts the session of a call with settings, or refuses; `unix_now` is the emulator's wall clock.
    """

    def __init__(
        self,
        ids: Ids,
        options: EmulatorOptions,
        *,
        api_key: str | None,
        unix_now: Callable[[], float],
        accept: Callable[[PhoneCall, SessionSettings], None],
        callers: Callers,
    ) -> None:
        self.secrets: ClientSecrets = ClientSecrets(ids, default_model=options.default_model, now=unix_now)
        self.rest: RestApi = RestApi(
            api_key=api_key,
            default_model=options.default_model,
            secrets=self.secrets,
            find_call=self.find,
            accept=accept,
            callers=callers,
        )
        self._ids = ids
        self._options = options
        self._unix_now = unix_now
        self._calls: dict[str, PhoneCall] = {}
        self._has_rung = False

    def new_call(
        self, webhook: Webhook, *, secret: str, sip_headers: Mapping[str, str], ready_after_s: float
    ) -> PhoneCall:
        """A call that rings."""
        self._has_rung = True
        limits = self._options.limits
        line = PhoneLine(
            self._ids,
            queued_events=limits.queued_events,
            queued_bytes=limits.queued_bytes,
            close_timeout_s=self._options.close_timeout_s,
        )
        call = PhoneCall(
            line,
            self._ids,
            webhook=webhook,
            secret=secret,
            sip_headers=sip_headers,
            ready_after_s=ready_after_s,
            unix_now=self._unix_now,
        )
        self._calls[call.call_id] = call
        return call

    def forget(self, call: PhoneCall) -> None:
        """The caller has gone for good."""
        call.hang_up()
        del self._calls[call.call_id]

    def find(self, call_id: str) -> PhoneCall | None:
        """The call of that id."""
        return self._calls.get(call_id)

    def line(self, call_id: str | None) -> PhoneLine | None:
        """The line that a sideband connection to `call_id` attaches to; None for a session of its own.

        Raises `HandshakeRefused` for a call that is not there, not accepted, or not ready yet. Where no phone has ever
        rung, any call id is taken, and makes a session of its own.
        """
        call = None if call_id is None else self.find(call_id)
        if call is not None and call.ready:
            return call.line
        if call_id is not None and self._has_rung:
            raise refusal(404, f"No call with id '{call_id}' is there.", code="call_id_not_found", param="call_id")
        return None


# ---- sessions ----


@attrs.frozen(kw_only=True)
class SessionRequest:
    """The session that a client asks for with its URL and its key."""

    kind: SessionType = "realtime"
    model: str | None = None
    call_id: str | None = None
    subprotocol: str | None = None
    settings: SessionSettings | None = None
    """The settings of a client secret or a call, with which the session begins."""


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
    well, and decides the session; the URL may still name another model.
    """
    url = target_of(resource)
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
