"""``session.model.send_event(...)``: how programs for the OpenAI Agents SDK send what its session has no method for.

Each of these events has a method of `RealtimeSession` that does the same; new programs call that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from trealtime._session.agent_settings import SettingsInput
from trealtime._session.outgoing import AudioData
from trealtime._value import Shown, Value
from trealtime.protocol.user_input import UserInput

if TYPE_CHECKING:
    from trealtime._session.session import RealtimeSession

__all__ = [
    "RealtimeModelSendAudio",
    "RealtimeModelSendEvent",
    "RealtimeModelSendInterrupt",
    "RealtimeModelSendRawMessage",
    "RealtimeModelSendSessionUpdate",
    "RealtimeModelSendUserInput",
    "SessionModel",
]


@attrs.frozen(eq=False, repr=False)
class RealtimeModelSendRawMessage(Value):
    """`RealtimeSession.send_raw`: ``{"type": ..., "other_data": {...}}``."""

    message: Mapping[str, Any]


@attrs.frozen(eq=False, repr=False)
class RealtimeModelSendUserInput(Value):
    """`RealtimeSession.send_message`."""

    user_input: UserInput


@attrs.frozen(eq=False, repr=False)
class RealtimeModelSendAudio(Value):
    """`RealtimeSession.send_audio`."""

    audio: AudioData
    commit: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeModelSendInterrupt(Value):
    """`RealtimeSession.interrupt`, or `RealtimeSession.cancel_response` when a response is named."""

    response_id: str | None = None
    force_response_cancel: bool = False
    """Ignored: an interrupt always cancels a response that the server does not cancel by itself."""


@attrs.frozen(eq=False, repr=False)
class RealtimeModelSendSessionUpdate(Value):
    """`RealtimeSession.update_settings`."""

    session_settings: SettingsInput


RealtimeModelSendEvent = (
    RealtimeModelSendRawMessage
    | RealtimeModelSendUserInput
    | RealtimeModelSendAudio
    | RealtimeModelSendInterrupt
    | RealtimeModelSendSessionUpdate
)


@attrs.frozen(eq=False, repr=False)
class SessionModel(Shown):
    """The part of a session's connection that programs for the SDK use."""

    _session: RealtimeSession[Any]

    async def send_event(self, event: RealtimeModelSendEvent) -> None:
        """Call the session's method for `event`; waits and raises as that does."""
        session = self._session
        match event:
            case RealtimeModelSendRawMessage():
                await session.send_raw(event.message)
            case RealtimeModelSendUserInput():
                await session.send_message(event.user_input)
            case RealtimeModelSendAudio():
                await session.send_audio(event.audio, commit=event.commit)
            case RealtimeModelSendInterrupt(response_id=None):
                await session.interrupt()
            case RealtimeModelSendInterrupt():
                await session.cancel_response(event.response_id)
            case RealtimeModelSendSessionUpdate():
                await session.update_settings(event.session_settings)
            case _:
                raise TypeError(f"send_event takes one of the RealtimeModelSend... values, got {event!r}")
