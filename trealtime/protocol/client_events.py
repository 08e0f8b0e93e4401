"""The 11 events that a client sends, one class each (protocol reference 2).

`event_id` is echoed only by an ``error`` event, so whoever wants an answer sets it. A field that is None is left out of
the wire form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import attrs

__all__ = [
    "CLIENT_EVENT_TYPES",
    "ClientEvent",
    "ConversationItemCreate",
    "ConversationItemDelete",
    "ConversationItemRetrieve",
    "ConversationItemTruncate",
    "InputAudioBufferAppend",
    "InputAudioBufferClear",
    "InputAudioBufferCommit",
    "OutputAudioBufferClear",
    "RawClientEvent",
    "ResponseCancel",
    "ResponseCreate",
    "SessionUpdate",
]


@attrs.frozen
class SessionUpdate:
    """Change the session: only the fields present change; ``""``, ``[]`` and None inside `session` clear."""

    session: Mapping[str, Any]
    event_id: str | None = None
    type: Literal["session.update"] = attrs.field(default="session.update", kw_only=True)


@attrs.frozen
class InputAudioBufferAppend:
    """Give the server audio of the user: `audio` is raw bytes in the session's input format (base64 on the wire)."""

    audio: bytes
    event_id: str | None = None
    type: Literal["input_audio_buffer.append"] = attrs.field(default="input_audio_buffer.append", kw_only=True)


@attrs.frozen
class InputAudioBufferCommit:
    """Make an item of the buffer; creates no response."""

    event_id: str | None = None
    type: Literal["input_audio_buffer.commit"] = attrs.field(default="input_audio_buffer.commit", kw_only=True)


@attrs.frozen
class InputAudioBufferClear:
    """Throw the buffer away."""

    event_id: str | None = None
    type: Literal["input_audio_buffer.clear"] = attrs.field(default="input_audio_buffer.clear", kw_only=True)


@attrs.frozen
class ConversationItemCreate:
    """Add an item after `previous_item_id` (None: at the end, ``"root"``: first)."""

    item: Mapping[str, Any]
    previous_item_id: str | None = None
    event_id: str | None = attrs.field(default=None, kw_only=True)
    type: Literal["conversation.item.create"] = attrs.field(default="conversation.item.create", kw_only=True)


@attrs.frozen
class ConversationItemRetrieve:
    """Ask for an item with its audio."""

    item_id: str
    event_id: str | None = None
    type: Literal["conversation.item.retrieve"] = attrs.field(default="conversation.item.retrieve", kw_only=True)


@attrs.frozen
class ConversationItemTruncate:
    """Cut assistant audio at `audio_end_ms`; refused when that is beyond what the server made."""

    item_id: str
    content_index: int = 0
    audio_end_ms: int = attrs.field(kw_only=True)
    event_id: str | None = attrs.field(default=None, kw_only=True)
    type: Literal["conversation.item.truncate"] = attrs.field(default="conversation.item.truncate", kw_only=True)


@attrs.frozen
class ConversationItemDelete:
    """Take an item out of the conversation."""

    item_id: str
    event_id: str | None = None
    type: Literal["conversation.item.delete"] = attrs.field(default="conversation.item.delete", kw_only=True)


@attrs.frozen
class ResponseCreate:
    """Ask for a response; None: with the session's own settings."""

    response: Mapping[str, Any] | None = None
    event_id: str | None = None
    type: Literal["response.create"] = attrs.field(default="response.create", kw_only=True)


@attrs.frozen
class ResponseCancel:
    """Stop a response; None: the one in the default conversation. Nothing to cancel is a harmless error."""

    response_id: str | None = None
    event_id: str | None = None
    type: Literal["response.cancel"] = attrs.field(default="response.cancel", kw_only=True)


@attrs.frozen
class OutputAudioBufferClear:
    """Stop the server's playback (WebRTC and SIP); send `ResponseCancel` first."""

    event_id: str | None = None
    type: Literal["output_audio_buffer.clear"] = attrs.field(default="output_audio_buffer.clear", kw_only=True)


@attrs.frozen
class RawClientEvent:
    """A frame that is no client event we know; see `trealtime.protocol.server_events.RawServerEvent`."""

    type: str
    data: Mapping[str, Any]
    problem: str = attrs.field(default="", kw_only=True)


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

CLIENT_EVENT_TYPES: Final[Mapping[str, type[ClientEvent]]] = {
    str(attrs.fields_dict(cls)["type"].default): cls for cls in get_args(ClientEvent)
}
"""Wire type -> class, all 11."""
