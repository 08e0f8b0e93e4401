"""Realtime models: values that know how to reach a service. They hold no connection, so one serves many sessions."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable
from urllib.parse import parse_qs, urlunsplit

import attrs
import trio

from trealtime._secrets import names_only, parsed_url, redacted_url, shown
from trealtime._value import Value
from trealtime.errors import ConnectFailed, MissingApiKey, SettingsError, SettingsProblem
from trealtime.transport.config import TransportConfig, transport_config
from trealtime.transport.request import (
    ApiKey,
    check_headers,
    get_api_key,
    realtime_url,
    refuse_cleartext,
    resolve_key,
    with_user_agent,
)
from trealtime.transport.wire import Wire

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.settings import RealtimeModelConfig, RealtimeRunConfig, SessionSettings

__all__ = [
    "DEFAULT_MODEL_NAME",
    "AzureRealtimeModel",
    "ConnectionTarget",
    "Handshake",
    "OpenAIRealtimeModel",
    "OpenAIRealtimeSIPModel",
    "OpenAIRealtimeWebSocketModel",
    "RealtimeModel",
]

DEFAULT_MODEL_NAME = "gpt-realtime-2.1"

_OPENAI_BASE_URL = "https://api.openai.com/v1"
_LONGEST_ATTACH_DELAY_S = 2.0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConnectionTarget(Value):
    """The target of one session: the keys of ``model_config`` about connecting, and the model's name."""

    model_name: str | None = None
    """The name that the session's settings give, or None where they give none."""

    api_key: ApiKey | None = attrs.field(default=None, repr=False)
    url: str | None = attrs.field(default=None, repr=lambda url: repr(url and redacted_url(url)))
    headers: Mapping[str, str] | None = attrs.field(default=None, repr=names_only)
    call_id: str | None = None
    trace_headers: Mapping[str, str] = attrs.field(factory=dict)
    """The trace context of the caller, sent where `headers` are not given."""


@attrs.frozen(eq=False, repr=False)
class Handshake(Value):
    """The address and headers of a connection."""

    url: str = attrs.field(repr=redacted_url)
    headers: Mapping[str, str] = attrs.field(repr=names_only)


@runtime_checkable
class RealtimeModel(Protocol):
    """A way to connect for sessions. It keeps nothing of a connection, so that one model makes many.

    A session whose connection is lost calls `connect` again, if its run config says so (``reconnect``). A model may
    have an attribute `reconnects`: True makes that the default for its sessions, False says that it cannot connect
    again for the same session.
    """

    def connect(self, target: ConnectionTarget) -> AbstractAsyncContextManager[Wire]:
        """Connect on entering, drop what is left of the connection on leaving.

        Entering raises `SettingsError` for a target that makes no sense and `ConnectFailed` for anything that goes
        wrong on the way; if cancelled, it leaves nothing behind.
        """
        ...


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OpenAIRealtimeWebSocketModel(Value):
    """The OpenAI Realtime service over its WebSocket, or anything that speaks like it.

    The address is the target's ``url``, byte for byte; else `base_url`, or OPENAI_BASE_URL, or the service's own, with
    ``/realtime`` and the model or call id added. `organization` and `project` default to OPENAI_ORG_ID and
    OPENAI_PROJECT_ID.

    A key is never sent in the clear by itself: over ``ws://`` to another machine, say what to send in ``headers``.
    """

    reconnects: ClassVar[bool | None] = True
    transport_config: TransportConfig = attrs.field(default=None, converter=transport_config)
    organization: str | None = None
    project: str | None = None
    safety_identifier: str | None = None
    """Identifies the end user to the service's abuse checks, as a hash, not by name."""

    base_url: str | None = attrs.field(default=None, repr=shown)

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        """Open a wire to `target`; see `RealtimeModel.connect`. Raises `MissingApiKey` without any key."""
        from trealtime.transport.dial import open_websocket_wire

        handshake = await self.handshake(target)
        async with open_websocket_wire(handshake.url, headers=handshake.headers, config=self.transport_config) as wire:
            yield wire

    async def handshake(self, target: ConnectionTarget) -> Handshake:
        """Return what `connect` would ask for, without connecting. Calls the target's key callable if needed, and
        raises what that raises; `MissingApiKey` without any key."""
        url = self._url(target)
        if target.headers is not None:
            return Handshake(url, with_user_agent(target.headers))
        refuse_cleartext(url)
        key = await get_api_key(target.api_key)
        if key is None:
            raise MissingApiKey(_NO_KEY, url=redacted_url(url))
        optional = {
            "OpenAI-Organization": self.organization or os.environ.get("OPENAI_ORG_ID"),
            "OpenAI-Project": self.project or os.environ.get("OPENAI_PROJECT_ID"),
            "OpenAI-Safety-Identifier": self.safety_identifier,
        }
        headers = {"Authorization": f"Bearer {key}", **{name: value for name, value in optional.items() if value}}
        check_headers(headers)
        return Handshake(url, with_user_agent({**headers, **target.trace_headers}))

    def _url(self, target: ConnectionTarget) -> str:
        if target.call_id is not None and target.model_name is not None:
            allowed = "a call id without model_name: the call has the model that it was accepted with"
            raise SettingsError([SettingsProblem("call_id", target.call_id, allowed)], what="model_config")
        if target.url is not None:
            return target.url
        base = self.base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI_BASE_URL
        setting = "base_url" if self.base_url else "OPENAI_BASE_URL"
        model = target.model_name or DEFAULT_MODEL_NAME
        return realtime_url(base, model=model, call_id=target.call_id, setting=setting)


OpenAIRealtimeModel = OpenAIRealtimeWebSocketModel


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OpenAIRealtimeSIPModel(OpenAIRealtimeWebSocketModel):
    """A phone call that the service has accepted: attaches to it by the target's ``call_id``, which must be given.

    A call that has just been accepted may not be there yet (the service answers 404): it is tried `attach_attempts`
    times, with waits of `attach_delay_s`, doubling up to 2 s: 0.25, 0.5, 1, 2 and 2 s by default. Any other refusal,
    and the last one, is raised at once.
    """

    reconnects: ClassVar[bool | None] = None
    attach_attempts: int = attrs.field(default=6, validator=attrs.validators.ge(1))
    attach_delay_s: float = attrs.field(default=0.25, validator=attrs.validators.ge(0))

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        """Open a wire to the call; see `RealtimeModel.connect`. Waits between attempts."""
        async with AsyncExitStack() as stack:
            yield await self._attach(stack, target)

    async def _attach(self, stack: AsyncExitStack, target: ConnectionTarget) -> Wire:
        delay_s = self.attach_delay_s
        for _ in range(self.attach_attempts - 1):
            try:
                return await stack.enter_async_context(super().connect(target))
            except ConnectFailed as failed:
                if failed.status != 404:
                    raise
            await trio.sleep(delay_s)
            delay_s = min(delay_s * 2, _LONGEST_ATTACH_DELAY_S)
        return await stack.enter_async_context(super().connect(target))

    @staticmethod
    async def build_initial_session_payload(
        agent: RealtimeAgent[Any],
        *,
        context: object = None,
        model_config: RealtimeModelConfig | Mapping[str, Any] | None = None,
        run_config: RealtimeRunConfig | Mapping[str, Any] | None = None,
        overrides: SessionSettings | Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        """Return the session object to accept a call with, for an HTTP client of your own; `RealtimeRestClient` has it
        built in. `overrides` are settings that go over the rest. Waits and raises as entering a session does."""
        # The one way from here to the rooms above, for the sake of programs that call it where the SDK has it.
        from trealtime.calls.payload import build_initial_session_payload

        return await build_initial_session_payload(
            agent, context=context, model_config=model_config, run_config=run_config, overrides=overrides
        )

    def _url(self, target: ConnectionTarget) -> str:
        if target.call_id is None:
            allowed = "the call id from the realtime.call.incoming webhook"
            raise SettingsError([SettingsProblem("call_id", None, allowed)], what="model_config")
        return super()._url(target)


_NO_KEY = (
    "no API key: set the environment variable OPENAI_API_KEY, or pass api_key in model_config. "
    "To try things out without one, run the emulator: `python -m trealtime emulate`, or open_emulator() in a program"
)


# ---- Azure ----------------------------------------------------------------------------------------------------------

_GA_FORM = "wss://RESOURCE.openai.azure.com/openai/v1/realtime?model=DEPLOYMENT"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AzureRealtimeModel(Value):
    """A realtime deployment on Azure.

    `deployment` is the name that you gave it there; it stands where others put a model's name. `endpoint` is the
    resource's address (``https://RESOURCE.openai.azure.com``), by default AZURE_OPENAI_ENDPOINT.

    Authentication is by key (the target's ``api_key``, `api_key`, or AZURE_OPENAI_API_KEY) in an ``api-key`` header, or
    by `token`, a callable (sync or async) that returns an Entra ID token for the scope
    ``https://cognitiveservices.azure.com/.default``. It is called once for each connection, because tokens expire.
    """

    reconnects: ClassVar[bool | None] = True
    deployment: str
    endpoint: str | None = attrs.field(default=None, repr=shown)
    api_key: ApiKey | None = attrs.field(default=None, repr=False)
    token: ApiKey | None = attrs.field(default=None, repr=False)
    transport_config: TransportConfig = attrs.field(default=None, converter=transport_config)

    def __attrs_post_init__(self) -> None:
        if self.api_key is not None and self.token is not None:
            problem = SettingsProblem("token", self.token, "either api_key or token, not both")
            raise SettingsError([problem], what="AzureRealtimeModel")

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        """Open a wire to the deployment; see `RealtimeModel.connect`. Without key and token: `MissingApiKey`.

        The target's ``url``, where given, is used byte for byte, and its ``headers`` replace all others. The address of
        the preview API, which Azure has retired, is refused with `SettingsError`.
        """
        from trealtime.transport.dial import open_websocket_wire

        handshake = await self.handshake(target)
        async with open_websocket_wire(handshake.url, headers=handshake.headers, config=self.transport_config) as wire:
            yield wire

    async def handshake(self, target: ConnectionTarget) -> Handshake:
        """Return what `connect` would ask for, without connecting. Calls the key or token callable if needed, and
        raises what that raises; `MissingApiKey` without key and token."""
        url = self._url(target)
        if target.headers is not None:
            return Handshake(url, with_user_agent(target.headers))
        refuse_cleartext(url)
        if self.token is not None and target.api_key is None:
            token = await resolve_key(self.token, parameter="token", variable="")
            headers = {"Authorization": f"Bearer {token}"}
        else:
            key = await resolve_key(
                target.api_key or self.api_key, parameter="api_key", variable="AZURE_OPENAI_API_KEY"
            )
            if key is None:
                raise MissingApiKey(_NO_AZURE_KEY, url=redacted_url(url))
            headers = {"api-key": key}
        check_headers(headers)
        return Handshake(url, with_user_agent({**headers, **target.trace_headers}))

    def _url(self, target: ConnectionTarget) -> str:
        if target.url is not None:
            _refuse_preview("url", target.url)
            return target.url
        endpoint = self.endpoint or os.environ.get("AZURE_OPENAI_ENDPOINT")
        if not endpoint:
            allowed = "https://RESOURCE.openai.azure.com, here or in AZURE_OPENAI_ENDPOINT"
            raise SettingsError([SettingsProblem("endpoint", self.endpoint, allowed)], what="AzureRealtimeModel")
        _refuse_preview("endpoint", endpoint)
        parts = parsed_url(endpoint)
        if parts is None:
            problem = SettingsProblem("endpoint", redacted_url(endpoint), "https://RESOURCE.openai.azure.com")
            raise SettingsError([problem], what="AzureRealtimeModel")
        path = parts.path.rstrip("/").removesuffix("/realtime")
        base = urlunsplit((parts.scheme, parts.netloc, "/openai/v1" if path in ("", "/openai") else path, "", ""))
        return realtime_url(base, model=self.deployment, call_id=target.call_id)


def _refuse_preview(setting: str, url: str) -> None:
    parts = parsed_url(url)
    if parts is None:
        return  # it is refused where it is used
    query = parse_qs(parts.query)
    if parts.path.rstrip("/").endswith("/openai/realtime") or "api-version" in query or "deployment" in query:
        allowed = f"the GA form, {_GA_FORM} (the preview API was retired on 2026-04-30; there is no api-version now)"
        raise SettingsError([SettingsProblem(setting, redacted_url(url), allowed)], what="AzureRealtimeModel")


_NO_AZURE_KEY = (
    "no Azure key: set the environment variable AZURE_OPENAI_API_KEY, or pass api_key or token to AzureRealtimeModel. "
    "To try things out without one, run the emulator: `python -m trealtime emulate`, or open_emulator() in a program"
)
