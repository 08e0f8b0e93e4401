"""The values for ``session.model.send_event(...)``. Each has a method of the session that does the same."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

from trealtime.compat.realtime.config import RealtimeSessionModelSettings
from trealtime.compat.realtime.model_events import RealtimeModelToolCallEvent

__all__ = [
    "RealtimeModelInputImageContent",
    "RealtimeModelInputTextContent",
    "RealtimeModelRawClientMessage",
    "RealtimeModelSendAudio",
    "RealtimeModelSendEvent",
    "RealtimeModelSendInterrupt",
    "RealtimeModelSendRawMessage",
    "RealtimeModelSendSessionUpdate",
    "RealtimeModelSendToolOutput",
    "RealtimeModelSendUserInput",
    "RealtimeModelUserInput",
    "RealtimeModelUserInputMessage",
]


class RealtimeModelRawClientMessage(TypedDict):
    """A client event as it goes to the server: `type`, and its other fields in `other_data`."""

    type: str
    other_data: NotRequired[dict[str, Any]]


class RealtimeModelInputTextContent(TypedDict):
    """Text of the user."""

    type: Literal["input_text"]
    text: str


class RealtimeModelInputImageContent(TypedDict):
    """An image of the user: a data URI, or an ``https:`` address that the service fetches."""

    type: Literal["input_image"]
    image_url: str
    detail: NotRequired[str]


class RealtimeModelUserInputMessage(TypedDict):
    """A message of the user in parts."""

    type: Literal["message"]
    role: Literal["user"]
    content: list[RealtimeModelInputTextContent | RealtimeModelInputImageContent]


RealtimeModelUserInput: TypeAlias = str | RealtimeModelUserInputMessage
"""The user's message, as text or in parts."""


@dataclasses.dataclass
class RealtimeModelSendRawMessage:
    """Send a client event as it is."""

    message: RealtimeModelRawClientMessage


@dataclasses.dataclass
class RealtimeModelSendUserInput:
    """Say something as the user and have it answered; `RealtimeSession.send_message`."""

    user_input: RealtimeModelUserInput


@dataclasses.dataclass
class RealtimeModelSendAudio:
    """Send microphone audio in the input format; `commit` ends the user's turn. `RealtimeSession.send_audio`."""

    audio: bytes
    commit: bool = False


@dataclasses.dataclass
class RealtimeModelSendToolOutput:
    """Give the model the output of a call; `start_response` asks it to answer."""

    tool_call: RealtimeModelToolCallEvent
    output: str
    start_response: bool


@dataclasses.dataclass
class RealtimeModelSendInterrupt:
    """Stop the agent; `RealtimeSession.interrupt`.

    With `response_id`, only that response is cancelled. `cancel_response_only` cancels on the server and leaves
    playback alone. `playback_only` stops playback, and with it the response, since the user would not hear the rest.
    `force_response_cancel` is taken and not needed: a response that the server does not cancel by itself is always
    cancelled.
    """

    force_response_cancel: bool = False
    response_id: str | None = None
    cancel_response_only: bool = False
    playback_only: bool = False


@dataclasses.dataclass
class RealtimeModelSendSessionUpdate:
    """Change settings of the session."""

    session_settings: RealtimeSessionModelSettings


RealtimeModelSendEvent: TypeAlias = (
    RealtimeModelSendRawMessage
    | RealtimeModelSendUserInput
    | RealtimeModelSendAudio
    | RealtimeModelSendToolOutput
    | RealtimeModelSendInterrupt
    | RealtimeModelSendSessionUpdate
)
"""A value for ``send_event``."""
