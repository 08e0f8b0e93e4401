"""The REST side of the service: accept, reject, transfer and end phone calls, and mint client secrets."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

import attrs

from trealtime._secrets import redacted_url
from trealtime._session.config import RealtimeModelConfig, RealtimeRunConfig
from trealtime.agents.agent import RealtimeAgent
from trealtime.calls.http import HttpRequests, http_base_url, open_http_client
from trealtime.calls.payload import build_initial_session_payload
from trealtime.errors import RequestFailed, SettingsError, SettingsProblem
from trealtime.protocol.settings import SessionSettings
from trealtime.transport.request import ApiKey

if TYPE_CHECKING:
    import httpx

__all__ = ["ClientSecret", "RealtimeRestClient"]

_SIP_URI: Final = re.compile(r"(?:tel|sips?):[!-~]+", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class ClientSecret:
    """A key for a browser: it opens sessions until `expires_at_unix_s`, and a session that has begun outlives it.

    `value` is not in the `repr`. `session` is the session as the service will make it.
    """

    value: str = attrs.field(repr=False)
    expires_at_unix_s: int
    session: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


def _is_call_id(value: object) -> bool:
    if not isinstance(value, str) or value in ("", ".", ".."):  # dots are steps in a path, and no escape changes that
        return False
    return value == value.encode(errors="replace").decode()


def _is_sip_uri(value: object) -> bool:
    return isinstance(value, str) and _SIP_URI.fullmatch(value) is not None


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class RealtimeRestClient:
    """Calls and client secrets, over HTTP: ``async with RealtimeRestClient() as rest``. Needs ``trealtime[http]``.

    `api_key` is a key or a callable that gives one (default: OPENAI_API_KEY), asked once for each request; `headers`,
    when given, are sent in place of it (Azure: ``{"api-key": ...}``). `base_url` defaults to OPENAI_BASE_URL, then to
    OpenAI's service; `organization` and `project` to OPENAI_ORG_ID and OPENAI_PROJECT_ID. `http_client` is an
    ``httpx.AsyncClient`` of yours, with its proxies and certificates; it is left open.

    A request is tried up to `attempts` times (see `trealtime.calls.http` for which failures), all of them within
    `timeout_s`. Every method raises `RequestFailed` with the service's status, code and request id, and
    `MissingApiKey`. If cancelled, the service may have acted or not.

    Entering opens the connection pool and no connection; it raises `MissingDependency` without httpx.
    """

    def __init__(
        self,
        *,
        api_key: ApiKey | None = None,
        headers: Mapping[str, str] | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        timeout_s: float = 10.0,
        attempts: int = 3,
        http_client: httpx.AsyncClient | None = None,
        rng: random.Random | None = None,
    ) -> None:
        problems = []
        if not timeout_s > 0:
            problems.append(SettingsProblem("timeout_s", timeout_s, "a positive number of seconds"))
        if not _whole(attempts) or attempts < 1:
            problems.append(SettingsProblem("attempts", attempts, "at least 1"))
        if problems:
            raise SettingsError(problems, what="REST client")
        self._api_key = api_key
        self._headers = headers
        self._base_url = http_base_url(base_url)
        optional = {
            "OpenAI-Organization": organization or os.environ.get("OPENAI_ORG_ID"),
            "OpenAI-Project": project or os.environ.get("OPENAI_PROJECT_ID"),
        }
        self._extra_headers = {name: value for name, value in optional.items() if value}
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._given_client = http_client
        self._rng = rng or random.Random()
        self._stack = AsyncExitStack()
        self._http: HttpRequests | None = None

    def __repr__(self) -> str:
        return f"RealtimeRestClient(base_url={redacted_url(self._base_url)!r})"

    async def __aenter__(self) -> Self:
        """Open the pool; see the class."""
        if self._http is not None:
            raise RuntimeError("this client is open already")
        client = self._given_client
        if client is None:
            client = await self._stack.enter_async_context(open_http_client(self._base_url))
        self._http = HttpRequests(
            client=client,
            base_url=self._base_url,
            api_key=self._api_key,
            headers=self._headers,
            extra_headers=self._extra_headers,
            timeout_s=self._timeout_s,
            attempts=self._attempts,
            rng=self._rng,
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the pool, unless it is yours."""
        self._http = None
        await self._stack.aclose()

    # ---- calls -------------------------------------------------------------------------------------------------

    async def accept_call(
        self,
        call_id: str,
        agent: RealtimeAgent[Any],
        *,
        context: object = None,
        model_config: RealtimeModelConfig | Mapping[str, Any] | None = None,
        run_config: RealtimeRunConfig | Mapping[str, Any] | None = None,
        overrides: SessionSettings | Mapping[str, object] | None = None,
    ) -> None:
        """Let the call ring through to `agent`: the service answers it with the agent's session.

        Give what the session of the call will be given (`context`, `run_config`, `model_config`); `overrides` are
        settings that go over all of it. Raises `CallGone` when the caller has hung up, and what
        `build_initial_session_payload` raises. Not repeated once the service may have acted on it.
        """
        payload = await build_initial_session_payload(
            agent, context=context, model_config=model_config, run_config=run_config, overrides=overrides
        )
        await self._call(call_id, "accept", payload, repeatable=False)

    async def reject_call(self, call_id: str, *, status_code: int = 603) -> None:
        """Turn the call away with a SIP status: 603 declines, 486 is busy. Raises `CallGone` when it is over, and
        `SettingsError` for a status outside 400 to 699."""
        if not _whole(status_code) or not 400 <= status_code <= 699:
            problem = SettingsProblem("status_code", status_code, "a SIP status that refuses a call: 400 to 699")
            raise SettingsError([problem], what="reject_call")
        await self._call(call_id, "reject", {"status_code": status_code}, repeatable=True)

    async def refer_call(self, call_id: str, target_uri: str) -> None:
        """Transfer the call to `target_uri`, ``tel:+14155550123`` or ``sip:agent@example.com``; returns when the
        service has passed it on. The session ends with the call. Raises `CallGone` when it is over, and `SettingsError`
        for another kind of address."""
        if not _is_sip_uri(target_uri):
            allowed = "tel:+14155550123, sip:agent@example.com or sips:..., without spaces"
            raise SettingsError([SettingsProblem("target_uri", target_uri, allowed)], what="refer_call")
        await self._call(call_id, "refer", {"target_uri": target_uri}, repeatable=False)

    async def hang_up_call(self, call_id: str) -> None:
        """End the call. Raises `CallGone` when it is over already, perhaps by an attempt of ours whose answer was
        lost."""
        await self._call(call_id, "hangup", None, repeatable=True)

    # ---- browsers ----------------------------------------------------------------------------------------------

    async def create_client_secret(
        self,
        agent: RealtimeAgent[Any] | None = None,
        *,
        expires_after_s: int = 600,
        context: object = None,
        model_config: RealtimeModelConfig | Mapping[str, Any] | None = None,
        run_config: RealtimeRunConfig | Mapping[str, Any] | None = None,
        overrides: SessionSettings | Mapping[str, object] | None = None,
    ) -> ClientSecret:
        """Make a key that a browser may hold, for sessions of `agent` (None: the client says which session it wants).

        It opens sessions for `expires_after_s` (10 to 7200). The client can override the session's settings, and reads
        the instructions: nothing in them is a secret. Raises `RequestFailed`, also for an answer without a secret, and
        `SettingsError` for a time out of range.
        """
        if not _whole(expires_after_s) or not 10 <= expires_after_s <= 7200:
            problem = SettingsProblem("expires_after_s", expires_after_s, "whole seconds from 10 to 7200")
            raise SettingsError([problem], what="create_client_secret")
        body: dict[str, Any] = {"expires_after": {"anchor": "created_at", "seconds": expires_after_s}}
        if agent is not None:
            body["session"] = await build_initial_session_payload(
                agent, context=context, model_config=model_config, run_config=run_config, overrides=overrides
            )
        request = "create client secret"
        answer = await self._requests().post("/realtime/client_secrets", body, request=request, repeatable=True)
        value, expires_at, session = answer.get("value"), answer.get("expires_at"), answer.get("session")
        if not isinstance(value, str) or not isinstance(expires_at, int):
            raise RequestFailed(f"{request}: the answer has no value and expires_at", request=request, status=200)
        return ClientSecret(
            value=value, expires_at_unix_s=expires_at, session=session if isinstance(session, Mapping) else {}
        )

    # ---- inside ------------------------------------------------------------------------------------------------

    async def _call(self, call_id: str, action: str, body: Mapping[str, Any] | None, *, repeatable: bool) -> None:
        if not _is_call_id(call_id):
            allowed = "the call id from the realtime.call.incoming webhook"
            raise SettingsError([SettingsProblem("call_id", call_id, allowed)], what=f"{action} call")
        path = f"/realtime/calls/{quote(call_id, safe='')}/{action}"
        await self._requests().post(path, body, request=f"{action} call {call_id}", repeatable=repeatable)

    def _requests(self) -> HttpRequests:
        if self._http is None:
            raise RuntimeError("this client is not open: use it inside `async with RealtimeRestClient() as rest:`")
        return self._http
