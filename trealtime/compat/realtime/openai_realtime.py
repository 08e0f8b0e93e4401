"""Models that connect to OpenAI's service, or to anything that speaks like it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from trealtime.agents.agent import RealtimeAgent as NativeAgent
from trealtime.compat import _defaults
from trealtime.compat.exceptions import UserError, user_errors
from trealtime.compat.realtime._leniency import known_model_config, known_run_config, known_settings
from trealtime.compat.realtime._sending import send_event
from trealtime.compat.realtime.config import RealtimeRunConfig, RealtimeSessionModelSettings
from trealtime.compat.realtime.model import RealtimeModel, RealtimeModelConfig, RealtimeModelListener
from trealtime.compat.realtime.model_inputs import RealtimeModelSendEvent
from trealtime.tools.callables import answer_of
from trealtime.transport.config import TransportConfig
from trealtime.transport.models import OpenAIRealtimeSIPModel as NativeSIPModel
from trealtime.transport.models import OpenAIRealtimeWebSocketModel as NativeWebSocketModel
from trealtime.transport.models import RealtimeModel as NativeModel

if TYPE_CHECKING:
    from trealtime.compat.realtime.session import RealtimeSession

__all__ = [
    "DEFAULT_MODEL_SETTINGS",
    "OpenAIRealtimeSIPModel",
    "OpenAIRealtimeWebSocketModel",
    "SessionPayload",
    "TransportConfig",
    "get_api_key",
]

DEFAULT_MODEL_SETTINGS: Final[RealtimeSessionModelSettings] = {
    "voice": "ash",
    "modalities": ["audio"],
    "input_audio_format": "pcm16",
    "output_audio_format": "pcm16",
    "input_audio_transcription": {"model": "gpt-4o-mini-transcribe"},
    "turn_detection": {"type": "semantic_vad", "interrupt_response": True},
}
"""The default settings of a session."""


async def get_api_key(key: str | Callable[[], str | Awaitable[str]] | None) -> str | None:
    """Return `key`, or what it returns, or that of `set_default_openai_key`, or OPENAI_API_KEY; None without any."""
    if isinstance(key, str):
        return key
    if key is not None:
        made: str = await answer_of(key())
        return made
    return _defaults.api_key or os.environ.get("OPENAI_API_KEY")


class SessionModel(RealtimeModel):
    """The connection of a session: sends through it, and keeps its listeners."""

    def __init__(self, native: NativeModel, *, custom: RealtimeModel | None = None) -> None:
        self.native = native
        self.custom = custom
        self.listeners: list[RealtimeModelListener] = []
        self._session: RealtimeSession | None = None

    async def connect(self, options: RealtimeModelConfig) -> None:
        """Raise `UserError`: a session connects, and holds the tasks of the connection in its nursery."""
        raise UserError(
            "a session connects its model: `async with await RealtimeRunner(agent, model=model).run() as session:`"
        )

    def add_listener(self, listener: RealtimeModelListener) -> None:
        """Give every model event from now on to `listener`. Each listener has a task of its own."""
        if listener not in self.listeners:
            self.listeners.append(listener)
            if self._session is not None:
                self._session.begin_listening(listener)

    def remove_listener(self, listener: RealtimeModelListener) -> None:
        """Give no more events to `listener`."""
        if listener in self.listeners:
            self.listeners.remove(listener)
            if self._session is not None:
                self._session.end_listening(listener)

    async def send_event(self, event: RealtimeModelSendEvent) -> None:
        """Do what `event` says. Raises `UserError` where no session is open."""
        if self._session is None:
            raise UserError("this model has no open session")
        await send_event(self._session.native, event)

    async def close(self) -> None:
        """End the session that is open on this model, if one is."""
        if self._session is not None:
            await self._session.close()

    def opened(self, session: RealtimeSession) -> None:
        """Serve `session` from now on. Raises `UserError` while another one is open."""
        if self._session is not None:
            raise UserError(
                "this model object is connected already: give each session a model of its own, or none to the runner"
            )
        self._session = session

    def closed(self) -> None:
        """Serve no session any more."""
        self._session = None


class OpenAIRealtimeWebSocketModel(SessionModel):
    """The OpenAI Realtime service over its WebSocket, or anything that speaks like it.

    The address is the ``url`` of the model config, else OPENAI_BASE_URL, else the service's own.
    """

    def __init__(self, *, transport_config: TransportConfig | Mapping[str, Any] | None = None) -> None:
        with user_errors():
            super().__init__(self._connector(cast("TransportConfig", transport_config)))

    @staticmethod
    def _connector(transport_config: TransportConfig) -> NativeModel:
        return NativeWebSocketModel(transport_config=transport_config)


class SessionPayload(dict[str, Any]):
    """The ``session`` object of a call that is to be accepted: a dict, which is also read as in the SDK."""

    def model_dump(self, *, exclude_none: bool = False, **_options: object) -> dict[str, Any]:
        """Return a plain dict of it; `exclude_none` leaves out what is null at the top."""
        return {key: value for key, value in self.items() if not (exclude_none and value is None)}

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class OpenAIRealtimeSIPModel(OpenAIRealtimeWebSocketModel):
    """A phone call that the service has accepted, by the ``call_id`` of the model config."""

    @staticmethod
    def _connector(transport_config: TransportConfig) -> NativeModel:
        return NativeSIPModel(transport_config=transport_config)

    @staticmethod
    async def build_initial_session_payload(
        agent: NativeAgent[Any],
        *,
        context: object = None,
        model_config: RealtimeModelConfig | None = None,
        run_config: RealtimeRunConfig | None = None,
        overrides: RealtimeSessionModelSettings | None = None,
    ) -> SessionPayload:
        """Return the session object to accept a call with; `overrides` go over the rest.

        Waits for `instructions` and `is_enabled` that are async, and raises what they raise; `UserError` for settings
        that cannot be sent.
        """
        with user_errors():
            payload = await NativeSIPModel.build_initial_session_payload(
                agent,
                context=context,
                model_config=known_model_config(model_config or {}),
                run_config=known_run_config(run_config or {}),
                overrides=None if overrides is None else known_settings(overrides),
            )
        return SessionPayload(payload)
