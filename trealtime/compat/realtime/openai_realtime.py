"""Models that connect to OpenAI's service, or to anything that speaks like it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from trealtime.agents.agent import RealtimeAgent as NativeAgent
from trealtime.compat import _defaults
from trealtime.compat.exceptions import UserError, user_errors
from trealtime.compat.realtime._leniency import known_model_config, known_run_config, known_settings
from trealtime.compat.realtime._overrides import EMITTED, EventHook, notice_overrides, overrides
from trealtime.compat.realtime._sending import send_event
from trealtime.compat.realtime.config import RealtimeRunConfig, RealtimeSessionModelSettings
from trealtime.compat.realtime.model import RealtimeModel, RealtimeModelConfig, RealtimeModelListener
from trealtime.compat.realtime.model_events import RealtimeModelEvent, RealtimeModelRawServerEvent
from trealtime.compat.realtime.model_inputs import RealtimeModelSendEvent
from trealtime.tools.callables import answer_of
from trealtime.transport.config import TransportConfig
from trealtime.transport.models import OpenAIRealtimeSIPModel as NativeSIPModel
from trealtime.transport.models import OpenAIRealtimeWebSocketModel as NativeWebSocketModel
from trealtime.transport.models import RealtimeModel as NativeModel

if TYPE_CHECKING:
    from trealtime.compat.realtime.session import RealtimeSession

_SPEECH: Final = "input_audio_buffer.speech_started"

_CLOSE_S: Final = 3.0
"""How long the `close` of a subclass may take."""

__all__ = [
    "DEFAULT_MODEL_SETTINGS",
    "OpenAIRealtimeSIPModel",
    "OpenAIRealtimeWebSocketModel",
    "RealtimeModelRawServerEvent",
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
        self._options: RealtimeModelConfig | None = None
        self._taken: list[Mapping[str, Any]] = []

    async def connect(self, options: RealtimeModelConfig) -> None:
        """Raise `UserError`: a session connects, and holds the tasks of the connection in its nursery.

        A session calls the `connect` of a subclass that has one, as it opens, with its model config. Then this returns,
        and the session connects. Raises `UserError` for other options than those.
        """
        if self._options is None:
            raise UserError(
                "a session connects its model: `async with await RealtimeRunner(agent, model=model).run() as session:`"
            )
        if options != self._options:
            raise UserError("connect() was given other options than the session has: give them as its model_config")

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

    # ---- for subclasses ------------------------------------------------------------------------------------------

    async def _handle_ws_event(self, event: dict[str, Any]) -> None:
        """Take an event of the server. A subclass may look at it, change it, or keep it from the session."""
        self._taken.append(event)

    async def _emit_event(self, event: RealtimeModelEvent) -> None:
        """Give a server event to the app and to listeners, and not to the session; from within `_handle_ws_event`."""
        if not isinstance(event, RealtimeModelRawServerEvent):
            raise UserError(f"_emit_event takes a RealtimeModelRawServerEvent here, got {type(event).__name__}")
        self._taken.append({"type": EMITTED, "event": event.data})

    async def _take(self, event: dict[str, Any]) -> list[Mapping[str, Any]]:
        await self._handle_ws_event(event)
        taken, self._taken = self._taken, []
        if (
            event.get("type") == _SPEECH
            and self._session is not None
            and all(each.get("type") != _SPEECH for each in taken)
        ):
            # The model decides about interruptions. The session still has to know of the turn.
            self._session.let_speech_pass()
            taken = [event, *(each for each in taken if each.get("event") != event)]
        return taken

    # ---- for the session -----------------------------------------------------------------------------------------

    @property
    def connector(self) -> NativeModel:
        """What a session connects through."""
        if not overrides(self, "_handle_ws_event", SessionModel):
            return self.native
        return EventHook(self.native, self._take, of=type(self).__name__)

    @property
    def sends(self) -> bool:
        """Whether a subclass wants to see what a session sends."""
        return overrides(self, "send_event", SessionModel)

    async def begin(self, options: RealtimeModelConfig) -> None:
        """Call the `connect` of a subclass."""
        if overrides(self, "connect", SessionModel):
            self._options = options
            try:
                await self.connect(options)
            finally:
                self._options = None

    async def end(self) -> None:
        """Call the `close` of a subclass."""
        if overrides(self, "close", SessionModel):
            with trio.move_on_after(_CLOSE_S, shield=True):
                await self.close()

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
        notice_overrides(self, OpenAIRealtimeWebSocketModel)

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
