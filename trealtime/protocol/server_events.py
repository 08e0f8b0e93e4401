"""The 46 events that a Realtime server sends, one class each.

A class carries the wire's own field names. Objects that other modules read (session, item, response, part, usage,
error) stay JSON mappings, so nothing in them is lost. Fields that the session can do without have defaults, because
servers other than the official one leave them out; a field without a default is essential to the event.

A frame that cannot be read as one of these becomes a `RawServerEvent`, and never ends the session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

import attrs

__all__ = [
    "SERVER_EVENT_TYPES",
    "AnyServerEvent",
    "ConversationCreated",
    "ConversationItemAdded",
    "ConversationItemCreated",
    "ConversationItemDeleted",
    "ConversationItemDone",
    "ConversationItemInputAudioTranscriptionCompleted",
    "ConversationItemInputAudioTranscriptionDelta",
    "ConversationItemInputAudioTranscriptionFailed",
    "ConversationItemInputAudioTranscriptionSegment",
    "ConversationItemRetrieved",
    "ConversationItemTruncated",
    "ErrorEvent",
    "InputAudioBufferCleared",
    "InputAudioBufferCommitted",
    "InputAudioBufferDtmfEventReceived",
    "InputAudioBufferSpeechStarted",
    "InputAudioBufferSpeechStopped",
    "InputAudioBufferTimeoutTriggered",
    "McpListToolsCompleted",
    "McpListToolsFailed",
    "McpListToolsInProgress",
    "OutputAudioBufferCleared",
    "OutputAudioBufferStarted",
    "OutputAudioBufferStopped",
    "RateLimitsUpdated",
    "RawServerEvent",
    "ResponseContentPartAdded",
    "ResponseContentPartDone",
    "ResponseCreated",
    "ResponseDone",
    "ResponseFunctionCallArgumentsDelta",
    "ResponseFunctionCallArgumentsDone",
    "ResponseMcpCallArgumentsDelta",
    "ResponseMcpCallArgumentsDone",
    "ResponseMcpCallCompleted",
    "ResponseMcpCallFailed",
    "ResponseMcpCallInProgress",
    "ResponseOutputAudioDelta",
    "ResponseOutputAudioDone",
    "ResponseOutputAudioTranscriptDelta",
    "ResponseOutputAudioTranscriptDone",
    "ResponseOutputItemAdded",
    "ResponseOutputItemDone",
    "ResponseOutputTextDelta",
    "ResponseOutputTextDone",
    "ServerEvent",
    "SessionCreated",
    "SessionUpdated",
]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _Event:
    """The common base of all events.

    Comparing and showing are written once, here: generated for each of 46 classes they are half the time that this
    module takes to import.
    """

    event_id: str | None = None

    def __eq__(self, other: object) -> bool:
        return _values(self) == _values(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *_values(self).values()))

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}=<{len(value)} bytes>" if isinstance(value, bytes) else f"{name}={value!r}"
            for name, value in _values(self).items()
            if name != "type"
        )
        return f"{type(self).__name__}({shown})"


def _values(event: Any) -> dict[str, Any]:
    return {field.name: getattr(event, field.name) for field in attrs.fields(type(event))}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _OutputEvent(_Event):
    """About one output item of a response."""

    response_id: str
    item_id: str
    output_index: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _ContentEvent(_OutputEvent):
    """About one content part of an output item."""

    content_index: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _McpCallEvent(_Event):
    item_id: str
    output_index: int = 0


@attrs.frozen
class RawServerEvent:
    """A frame that is no known event: an unknown `type`, or a known one that lacks an essential field.

    `data` is the frame as decoded (empty when it was not a JSON object, and then `type` is ``""``); `problem` says in
    words why it was not read as an event of its type.
    """

    type: str
    data: Mapping[str, Any]
    problem: str = attrs.field(default="", kw_only=True)

    @property
    def event_id(self) -> str | None:
        """The server's id of the event, where it has one."""
        event_id = self.data.get("event_id")
        return event_id if isinstance(event_id, str) else None


# ---- session and errors ---------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ErrorEvent(_Event):
    """Something was refused; most errors leave the session open. `error` has ``type``, ``message``, ``code``, ``param``
    and ``event_id``, the client's event that caused it."""

    error: Mapping[str, Any]
    type: Literal["error"] = "error"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionCreated(_Event):
    """First event of a connection: the session with the server's defaults."""

    session: Mapping[str, Any]
    type: Literal["session.created"] = "session.created"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionUpdated(_Event):
    """Answer to ``session.update``: the whole session as it is in force now."""

    session: Mapping[str, Any]
    type: Literal["session.updated"] = "session.updated"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RateLimitsUpdated(_Event):
    """Each limit: ``name``, ``limit``, ``remaining``, ``reset_seconds``."""

    rate_limits: Sequence[Mapping[str, Any]]
    type: Literal["rate_limits.updated"] = "rate_limits.updated"


# ---- conversation ---------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationCreated(_Event):
    """In the specification, but the service does not send it: never wait for it."""

    conversation: Mapping[str, Any]
    type: Literal["conversation.created"] = "conversation.created"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemAdded(_Event):
    """An item entered the default conversation after `previous_item_id` (None: first, or not known)."""

    item: Mapping[str, Any]
    previous_item_id: str | None = None
    type: Literal["conversation.item.added"] = "conversation.item.added"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemDone(_Event):
    """An item is final."""

    item: Mapping[str, Any]
    previous_item_id: str | None = None
    type: Literal["conversation.item.done"] = "conversation.item.done"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemCreated(_Event):
    """The beta's form of added and done; servers that copy the beta still send it."""

    item: Mapping[str, Any]
    previous_item_id: str | None = None
    type: Literal["conversation.item.created"] = "conversation.item.created"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemRetrieved(_Event):
    """Answer to ``conversation.item.retrieve``, with audio as base64 inside `item`."""

    item: Mapping[str, Any]
    type: Literal["conversation.item.retrieved"] = "conversation.item.retrieved"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemTruncated(_Event):
    """Assistant audio was cut at `audio_end_ms`; its transcript is gone on the server."""

    item_id: str
    audio_end_ms: int
    content_index: int = 0
    type: Literal["conversation.item.truncated"] = "conversation.item.truncated"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemDeleted(_Event):
    """An item left the conversation."""

    item_id: str
    type: Literal["conversation.item.deleted"] = "conversation.item.deleted"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemInputAudioTranscriptionDelta(_Event):
    """A piece of the user's words, to append; may come before the item's commit."""

    item_id: str
    delta: str = ""
    content_index: int = 0
    logprobs: Sequence[Mapping[str, Any]] | None = None
    type: Literal["conversation.item.input_audio_transcription.delta"] = (
        "conversation.item.input_audio_transcription.delta"
    )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemInputAudioTranscriptionCompleted(_Event):
    """All words of the user in one item; items may finish in any order. `usage` counts tokens or seconds."""

    item_id: str
    transcript: str
    content_index: int = 0
    usage: Mapping[str, Any] | None = None
    languages: Sequence[Mapping[str, Any]] | None = None
    logprobs: Sequence[Mapping[str, Any]] | None = None
    type: Literal["conversation.item.input_audio_transcription.completed"] = (
        "conversation.item.input_audio_transcription.completed"
    )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemInputAudioTranscriptionSegment(_Event):
    """A span of one speaker, from a diarizing model; `start` and `end` in seconds."""

    item_id: str
    text: str
    content_index: int = 0
    id: str = ""
    speaker: str = ""
    start: float = 0.0
    end: float = 0.0
    type: Literal["conversation.item.input_audio_transcription.segment"] = (
        "conversation.item.input_audio_transcription.segment"
    )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemInputAudioTranscriptionFailed(_Event):
    """The user's audio was not transcribed; the model heard it all the same."""

    item_id: str
    error: Mapping[str, Any] = attrs.field(factory=dict)
    content_index: int = 0
    type: Literal["conversation.item.input_audio_transcription.failed"] = (
        "conversation.item.input_audio_transcription.failed"
    )


# ---- input audio buffer ---------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputAudioBufferCommitted(_Event):
    """The buffer became the user item `item_id`."""

    item_id: str
    previous_item_id: str | None = None
    type: Literal["input_audio_buffer.committed"] = "input_audio_buffer.committed"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputAudioBufferCleared(_Event):
    """The buffer was thrown away."""

    type: Literal["input_audio_buffer.cleared"] = "input_audio_buffer.cleared"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputAudioBufferSpeechStarted(_Event):
    """The user began to speak. `item_id` is that of the item to come (empty where a server leaves it out: the barge-in
    counts all the same); `audio_start_ms` counts all audio appended in this session, prefix padding included."""

    item_id: str = ""
    audio_start_ms: int = 0
    type: Literal["input_audio_buffer.speech_started"] = "input_audio_buffer.speech_started"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputAudioBufferSpeechStopped(_Event):
    """The user stopped speaking; `audio_end_ms` includes the silence that ended the turn."""

    item_id: str = ""
    audio_end_ms: int = 0
    type: Literal["input_audio_buffer.speech_stopped"] = "input_audio_buffer.speech_stopped"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputAudioBufferTimeoutTriggered(_Event):
    """The user was silent for ``idle_timeout_ms``."""

    item_id: str | None = None
    audio_start_ms: int | None = None
    audio_end_ms: int | None = None
    type: Literal["input_audio_buffer.timeout_triggered"] = "input_audio_buffer.timeout_triggered"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputAudioBufferDtmfEventReceived(_Event):
    """A key of a phone (SIP): `event` is one of ``0-9 * # A-D``, `received_at` in Unix seconds. Has no ``event_id``."""

    event: str
    received_at: int | None = None
    type: Literal["input_audio_buffer.dtmf_event_received"] = "input_audio_buffer.dtmf_event_received"


# ---- output audio buffer (WebRTC and SIP) ---------------------------------------------------------------------------


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OutputAudioBufferStarted(_Event):
    """The server began to play a response."""

    response_id: str
    type: Literal["output_audio_buffer.started"] = "output_audio_buffer.started"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OutputAudioBufferStopped(_Event):
    """The server has played all of a response; comes after ``response.done``."""

    response_id: str
    type: Literal["output_audio_buffer.stopped"] = "output_audio_buffer.stopped"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OutputAudioBufferCleared(_Event):
    """The rest of a response will not be played."""

    response_id: str
    type: Literal["output_audio_buffer.cleared"] = "output_audio_buffer.cleared"


# ---- responses ------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseCreated(_Event):
    """A response is being made."""

    response: Mapping[str, Any]
    type: Literal["response.created"] = "response.created"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseDone(_Event):
    """A response is over, with any outcome. The service always sends it: it is the only sure end."""

    response: Mapping[str, Any]
    type: Literal["response.done"] = "response.done"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseOutputItemAdded(_Event):
    """A response has begun an item."""

    response_id: str
    item: Mapping[str, Any]
    output_index: int = 0
    type: Literal["response.output_item.added"] = "response.output_item.added"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseOutputItemDone(_Event):
    """An item of a response is finished, also by an interruption."""

    response_id: str
    item: Mapping[str, Any]
    output_index: int = 0
    type: Literal["response.output_item.done"] = "response.output_item.done"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseContentPartAdded(_ContentEvent):
    """An item has got a part; its types are ``audio`` and ``text``, other than those of item content."""

    part: Mapping[str, Any]
    type: Literal["response.content_part.added"] = "response.content_part.added"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseContentPartDone(_ContentEvent):
    """A part is finished."""

    part: Mapping[str, Any]
    type: Literal["response.content_part.done"] = "response.content_part.done"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseOutputTextDelta(_ContentEvent):
    """A piece of text."""

    delta: str
    type: Literal["response.output_text.delta"] = "response.output_text.delta"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseOutputTextDone(_ContentEvent):
    """All text of a part."""

    text: str
    type: Literal["response.output_text.done"] = "response.output_text.done"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseOutputAudioDelta(_ContentEvent):
    """A piece of speech: `delta` is decoded audio in the session's output format (base64 on the wire)."""

    delta: bytes
    type: Literal["response.output_audio.delta"] = "response.output_audio.delta"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseOutputAudioDone(_ContentEvent):
    """All speech of a part has been sent."""

    type: Literal["response.output_audio.done"] = "response.output_audio.done"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseOutputAudioTranscriptDelta(_ContentEvent):
    """A piece of the words that are being spoken."""

    delta: str
    type: Literal["response.output_audio_transcript.delta"] = "response.output_audio_transcript.delta"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseOutputAudioTranscriptDone(_ContentEvent):
    """All words of a part."""

    transcript: str
    type: Literal["response.output_audio_transcript.done"] = "response.output_audio_transcript.done"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseFunctionCallArgumentsDelta(_OutputEvent):
    """A piece of the JSON text of a call's arguments."""

    delta: str
    call_id: str = ""
    type: Literal["response.function_call_arguments.delta"] = "response.function_call_arguments.delta"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseFunctionCallArgumentsDone(_OutputEvent):
    """The whole JSON text of a call's arguments. `call_id` is empty and `name` None where a server leaves them out: the
    item has both."""

    arguments: str
    call_id: str = ""
    name: str | None = None
    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"


# ---- MCP ------------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseMcpCallArgumentsDelta(_OutputEvent):
    """A piece of the JSON text of an MCP call's arguments."""

    delta: str
    obfuscation: str | None = None
    type: Literal["response.mcp_call_arguments.delta"] = "response.mcp_call_arguments.delta"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseMcpCallArgumentsDone(_OutputEvent):
    """The whole JSON text of an MCP call's arguments."""

    arguments: str
    type: Literal["response.mcp_call_arguments.done"] = "response.mcp_call_arguments.done"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseMcpCallInProgress(_McpCallEvent):
    """The server has begun an MCP call."""

    type: Literal["response.mcp_call.in_progress"] = "response.mcp_call.in_progress"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseMcpCallCompleted(_McpCallEvent):
    """An MCP call has its output; see the item."""

    type: Literal["response.mcp_call.completed"] = "response.mcp_call.completed"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseMcpCallFailed(_McpCallEvent):
    """An MCP call failed; the item says why."""

    type: Literal["response.mcp_call.failed"] = "response.mcp_call.failed"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class McpListToolsInProgress(_Event):
    """The server is asking an MCP server for its tools."""

    item_id: str
    type: Literal["mcp_list_tools.in_progress"] = "mcp_list_tools.in_progress"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class McpListToolsCompleted(_Event):
    """The tools are in the item `item_id`."""

    item_id: str
    type: Literal["mcp_list_tools.completed"] = "mcp_list_tools.completed"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class McpListToolsFailed(_Event):
    """An MCP server gave no list of tools."""

    item_id: str
    type: Literal["mcp_list_tools.failed"] = "mcp_list_tools.failed"


ServerEvent = (
    ErrorEvent
    | SessionCreated
    | SessionUpdated
    | RateLimitsUpdated
    | ConversationCreated
    | ConversationItemAdded
    | ConversationItemDone
    | ConversationItemCreated
    | ConversationItemRetrieved
    | ConversationItemTruncated
    | ConversationItemDeleted
    | ConversationItemInputAudioTranscriptionDelta
    | ConversationItemInputAudioTranscriptionCompleted
    | ConversationItemInputAudioTranscriptionSegment
    | ConversationItemInputAudioTranscriptionFailed
    | InputAudioBufferCommitted
    | InputAudioBufferCleared
    | InputAudioBufferSpeechStarted
    | InputAudioBufferSpeechStopped
    | InputAudioBufferTimeoutTriggered
    | InputAudioBufferDtmfEventReceived
    | OutputAudioBufferStarted
    | OutputAudioBufferStopped
    | OutputAudioBufferCleared
    | ResponseCreated
    | ResponseDone
    | ResponseOutputItemAdded
    | ResponseOutputItemDone
    | ResponseContentPartAdded
    | ResponseContentPartDone
    | ResponseOutputTextDelta
    | ResponseOutputTextDone
    | ResponseOutputAudioDelta
    | ResponseOutputAudioDone
    | ResponseOutputAudioTranscriptDelta
    | ResponseOutputAudioTranscriptDone
    | ResponseFunctionCallArgumentsDelta
    | ResponseFunctionCallArgumentsDone
    | ResponseMcpCallArgumentsDelta
    | ResponseMcpCallArgumentsDone
    | ResponseMcpCallInProgress
    | ResponseMcpCallCompleted
    | ResponseMcpCallFailed
    | McpListToolsInProgress
    | McpListToolsCompleted
    | McpListToolsFailed
)
AnyServerEvent = ServerEvent | RawServerEvent

SERVER_EVENT_TYPES: Final[Mapping[str, type[ServerEvent]]] = {
    str(attrs.fields_dict(cls)["type"].default): cls for cls in get_args(ServerEvent)
}
"""Wire type -> class, all 46."""
