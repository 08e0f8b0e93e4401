"""The Realtime API of Azure OpenAI, in its GA form (protocol reference section 11)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit, urlunsplit

import attrs

from trealtime.errors import MissingApiKey, SettingsError, SettingsProblem
from trealtime.transport.config import TransportConfig, transport_config
from trealtime.transport.credentials import ApiKey, refuse_cleartext, resolve_key, with_user_agent
from trealtime.transport.models import ConnectionTarget, Handshake
from trealtime.transport.request import check_headers, realtime_url, redacted_url
from trealtime.transport.wire import Wire

__all__ = ["AzureRealtimeModel"]

_GA_FORM = "wss://RESOURCE.openai.azure.com/openai/v1/realtime?model=DEPLOYMENT"


@attrs.frozen(kw_only=True)
class AzureRealtimeModel:
    """A realtime deployment on Azure.

    `deployment` is the name that you gave it there; it stands where others put a model's name. `endpoint` is the
    resource's address (``https://RESOURCE.openai.azure.com``), by default AZURE_OPENAI_ENDPOINT.

    Authentication is by key (the target's ``api_key``, `api_key`, or AZURE_OPENAI_API_KEY) in an ``api-key`` header, or
    by `token`, a callable (sync or async) that returns an Entra ID token for the scope
    ``https://cognitiveservices.azure.com/.default``. It is called once for each connection, because tokens expire.
    """

    deployment: str
    endpoint: str | None = None
    api_key: ApiKey | None = attrs.field(default=None, repr=False)
    token: ApiKey | None = attrs.field(default=None, repr=False)
    transport_config: TransportConfig = attrs.field(default=None, converter=transport_config)

    def __attrs_post_init__(self) -> None:
        if self.api_key is not None and self.token is not None:
            problem = SettingsProblem("token", "a value that is not shown", "either api_key or token, not both")
            raise SettingsError([problem], what="AzureRealtimeModel")

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        """A wire to the deployment; see `RealtimeModel.connect`. Without key and token: `MissingApiKey`.

        The target's ``url`` is used byte for byte and its ``headers`` are all that is sent, where given. The address of
        the preview API, which Azure has retired, is refused with `SettingsError`.
        """
        from trealtime.transport.dial import open_websocket_wire

        handshake = await self.handshake(target)
        async with open_websocket_wire(handshake.url, headers=handshake.headers, config=self.transport_config) as wire:
            yield wire

    async def handshake(self, target: ConnectionTarget) -> Handshake:
        """What `connect` would ask for, without connecting. Calls the key or token callable, if it has to."""
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
                raise MissingApiKey(_NO_KEY, url=redacted_url(url))
            headers = {"api-key": key}
        check_headers(headers)
        return Handshake(url, with_user_agent(headers))

    def _url(self, target: ConnectionTarget) -> str:
        if target.url is not None:
            _refuse_preview("url", target.url)
            return target.url
        endpoint = self.endpoint or os.environ.get("AZURE_OPENAI_ENDPOINT")
        if not endpoint:
            allowed = "https://RESOURCE.openai.azure.com, here or in AZURE_OPENAI_ENDPOINT"
            raise SettingsError([SettingsProblem("endpoint", self.endpoint, allowed)], what="AzureRealtimeModel")
        _refuse_preview("endpoint", endpoint)
        parts = urlsplit(endpoint)
        path = parts.path.rstrip("/").removesuffix("/realtime")
        base = urlunsplit((parts.scheme, parts.netloc, "/openai/v1" if path in ("", "/openai") else path, "", ""))
        return realtime_url(base, model=self.deployment, call_id=target.call_id)


def _refuse_preview(setting: str, url: str) -> None:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    if parts.path.rstrip("/").endswith("/openai/realtime") or "api-version" in query or "deployment" in query:
        allowed = f"the GA form, {_GA_FORM} (the preview API was retired on 2026-04-30; there is no api-version now)"
        raise SettingsError([SettingsProblem(setting, redacted_url(url), allowed)], what="AzureRealtimeModel")


_NO_KEY = (
    "no Azure key: set the environment variable AZURE_OPENAI_API_KEY, or pass api_key or token to AzureRealtimeModel. "
    "To try things out without one, run the emulator: `python -m trealtime emulate`, or open_emulator() in a program"
)
