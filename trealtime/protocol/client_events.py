"""The 11 events that a client sends, and the limits that the protocol puts on them.

A client event is the JSON object of the wire, written as a dict. Annotate it with the class of its type and the type
checker holds its keys and values to the protocol::

    event: ConversationItemDelete = {"type": "conversation.item.delete", "item_id": item_id}

Only an ``error`` event echoes `event_id`: set it where you want to know which event was refused.

Source: https://developers.openai.com/api/reference (Realtime, client events).
"""

# No `from __future__ import annotations`: under it a TypedDict does not see which of its keys are NotRequired.
from collections.abc import Mapping
from typing import Any, Final, Literal, NotRequired, TypedDict

__all__ = [
    "CLIENT_EVENT_TYPES",
    "MAX_APPEND_BYTES",
    "MAX_EVENT_ID_CHARS",
    "ClientEvent",
    "ConversationItemCreate",
    "ConversationItemDelete",
    "ConversationItemRetrieve",
    "ConversationItemTruncate",
    "InputAudioBufferAppend",
    "InputAudioBufferClear",
    "InputAudioBufferCommit",
    "OutputAudioBufferClear",
    "ResponseCancel",
    "ResponseCreate",
    "SessionUpdate",
]

MAX_APPEND_BYTES: Final = 15 * 1024 * 1024
"""The most audio that one ``input_audio_buffer.append`` may carry."""

MAX_EVENT_ID_CHARS: Final = 512
"""The longest ``event_id`` that a client may choose."""


class SessionUpdate(TypedDict):
    """Change the session: only the fields present change; ``""``, ``[]`` and None inside `session` clear."""

    type: Literal["session.update"]
    session: Mapping[str, Any]
    event_id: NotRequired[str]


class InputAudioBufferAppend(TypedDict):
    """Give the server audio of the user: `audio` is base64 in the session's input format."""

    type: Literal["input_audio_buffer.append"]
    audio: str
    event_id: NotRequired[str]


class InputAudioBufferCommit(TypedDict):
    """Make a user item of the buffer; this creates no response."""

    type: Literal["input_audio_buffer.commit"]
    event_id: NotRequired[str]


class InputAudioBufferClear(TypedDict):
    """Throw the buffer away."""

    type: Literal["input_audio_buffer.clear"]
    event_id: NotRequired[str]


class ConversationItemCreate(TypedDict):
    """Add an item after `previous_item_id` (absent: at the end, ``"root"``: first)."""

    type: Literal["conversation.item.create"]
    item: Mapping[str, Any]
    previous_item_id: NotRequired[str]
    event_id: NotRequired[str]


class ConversationItemRetrieve(TypedDict):
    """Ask for an item with its audio."""

    type: Literal["conversation.item.retrieve"]
    item_id: str
    event_id: NotRequired[str]


class ConversationItemTruncate(TypedDict):
    """Cut assistant audio at `audio_end_ms`; the server refuses more than it made."""

    type: Literal["conversation.item.truncate"]
    item_id: str
    content_index: int
    audio_end_ms: int
    event_id: NotRequired[str]


class ConversationItemDelete(TypedDict):
    """Take an item out of the conversation."""

    type: Literal["conversation.item.delete"]
    item_id: str
    event_id: NotRequired[str]


class ResponseCreate(TypedDict):
    """Ask for a response; without `response`, with the session's own settings."""

    type: Literal["response.create"]
    response: NotRequired[Mapping[str, Any]]
    event_id: NotRequired[str]


class ResponseCancel(TypedDict):
    """Stop a response; without `response_id`, the one in the default conversation. Nothing to cancel is harmless."""

    type: Literal["response.cancel"]
    response_id: NotRequired[str]
    event_id: NotRequired[str]


class OutputAudioBufferClear(TypedDict):
    """Stop the server's playback (WebRTC and SIP); send ``response.cancel`` first."""

    type: Literal["output_audio_buffer.clear"]
    event_id: NotRequired[str]


ClientEvent = (
    SessionUpdate
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | ConversationItemCreate
    | ConversationItemRetrieve
    | ConversationItemTruncate
    | ConversationItemDelete
    | ResponseCreate
    | ResponseCancel
    | OutputAudioBufferClear
)

CLIENT_EVENT_TYPES: Final[Mapping[str, type[Any]]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": InputAudioBufferAppend,
    "input_audio_buffer.commit": InputAudioBufferCommit,
    "input_audio_buffer.clear": InputAudioBufferClear,
    "conversation.item.create": ConversationItemCreate,
    "conversation.item.retrieve": ConversationItemRetrieve,
    "conversation.item.truncate": ConversationItemTruncate,
    "conversation.item.delete": ConversationItemDelete,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
    "output_audio_buffer.clear": OutputAudioBufferClear,
}
"""Wire type -> class, all 11."""
