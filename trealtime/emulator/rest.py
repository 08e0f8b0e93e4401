"""The REST side of the emulator: calls and client secrets (protocol reference 1 and 10)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from trealtime.emulator.fields import integer, record, text
from trealtime.emulator.handshake import HandshakeRefused, check_key, offered_keys, refusal
from trealtime.emulator.http import HttpAnswer, HttpRequest
from trealtime.emulator.phone import PhoneCall
from trealtime.emulator.refusals import Refusal
from trealtime.emulator.secrets import ClientSecrets, initial_settings
from trealtime.emulator.settings import SessionSettings

__all__ = ["RestDesk"]

_CALL: Final = re.compile(r"/realtime/calls/([^/]+)/(accept|reject|refer|hangup)$")
_REJECT = record({"status_code": integer(400, 699)})
_REFER = record({"target_uri": text(non_empty=True)}, required=("target_uri",))


class RestDesk:
    """Answers requests. `find_call` knows the calls; `accept` starts the session of one, and may refuse."""

    def __init__(
        self,
        *,
        api_key: str | None,
        default_model: str,
        secrets: ClientSecrets,
        find_call: Callable[[str], PhoneCall | None],
        accept: Callable[[PhoneCall, SessionSettings], None],
    ) -> None:
        self._api_key = api_key
        self._default_model = default_model
        self._secrets = secrets
        self._find_call = find_call
        self._accept = accept

    def answer(self, request: HttpRequest) -> HttpAnswer:
        """What the service would say. Raises nothing."""
        try:
            return self._answer(request)
        except HandshakeRefused as refused:
            return HttpAnswer.of(refused)
        except Refusal as refused:
            error = {name: value for name, value in refused.as_error(None).items() if name != "event_id"}
            return HttpAnswer(status=400, body={"error": error})

    def _answer(self, request: HttpRequest) -> HttpAnswer:
        url = urlsplit(request.resource)
        path = url.path.rstrip("/")
        call = _CALL.search(path)
        minting = path.endswith("/realtime/client_secrets")
        if call is None and not minting:
            if path.endswith("/realtime"):
                raise refusal(426, "The Realtime API is a WebSocket: ask for an upgrade.", code="upgrade_required")
            raise refusal(404, f"Nothing is here: {url.path}.", code="not_found")
        if request.method != "POST":
            raise refusal(405, f"{url.path} takes POST, not {request.method}.", code="method_not_allowed")
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
