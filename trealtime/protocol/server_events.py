"""The 46 events that a Realtime server sends, one class each.

A class carries the wire's own field names. Objects that other modules read (session, item, response, part, usage,
error) stay JSON mappings, so nothing in them is lost. Fields that the session can do without have defaults, because
servers other than the official one leave them out; a field without a default is essential to the event.

A frame that cannot be read as one of these becomes a `RawServerEvent`, and never ends the session.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import attrs
import msgspec

from trealtime._value import Struct, Value

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
    "WireField",
    "wire_fields",
]


class _Event(Struct, frozen=True, kw_only=True, weakref=True):
    """The common base of all events.

    Structs, where the values of other modules are attrs classes: msgspec makes a class in a tenth of the time, which is
    felt when 50 of them are imported, and an event too.
    """

    event_id: str | None = None

    def __repr__(self) -> str:
        values = ((name, getattr(self, name)) for name in self.__struct_fields__ if name != "type")
        shown = ", ".join(
            f"{name}=<{len(value)} bytes>" if isinstance(value, bytes) else f"{name}={value!r}"
            for name, value in values
        )
        return f"{type(self).__name__}({shown})"


class _OutputEvent(_Event, frozen=True, kw_only=True):
    """About one output item of a response."""

    response_id: str
    item_id: str
    output_index: int = 0


class _ContentEvent(_OutputEvent, frozen=True, kw_only=True):
    """About one content part of an output item."""

    content_index: int = 0


class _McpCallEvent(_Event, frozen=True, kw_only=True):
    item_id: str
    output_index: int = 0


@attrs.frozen(eq=False, repr=False)
class RawServerEvent(Value):
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


class ErrorEvent(_Event, frozen=True, kw_only=True):
    """Something was refused; most errors leave the session open. `error` has ``type``, ``message``, ``code``, ``param``
    and ``event_id``, the client's event that caused it."""

    error: Mapping[str, Any]
    type: Literal["error"] = "error"


class SessionCreated(_Event, frozen=True, kw_only=True):
    """First event of a connection: the session with the server's defaults."""

    session: Mapping[str, Any]
    type: Literal["session.created"] = "session.created"


class SessionUpdated(_Event, frozen=True, kw_only=True):
    """Answer to ``session.update``: the whole session as it is in force now."""

    session: Mapping[str, Any]
    type: Literal["session.updated"] = "session.updated"


class RateLimitsUpdated(_Event, frozen=True, kw_only=True):
    """Each limit: ``name``, ``limit``, ``remaining``, ``reset_seconds``."""

    rate_limits: Sequence[Mapping[str, Any]]
    type: Literal["rate_limits.updated"] = "rate_limits.updated"


# ---- conversation ---------------------------------------------------------------------------------------------------


class ConversationCreated(_Event, frozen=True, kw_only=True):
    """In the specification, but the service does not send it: never wait for it."""

    conversation: Mapping[str, Any]
    type: Literal["conversation.created"] = "conversation.created"


class ConversationItemAdded(_Event, frozen=True, kw_only=True):
    """An item entered the default conversation after `previous_item_id` (None: first, or not known)."""

    item: Mapping[str, Any]
    previous_item_id: str | None = None
    type: Literal["conversation.item.added"] = "conversation.item.added"


class ConversationItemDone(_Event, frozen=True, kw_only=True):
    """An item is final."""

    item: Mapping[str, Any]
    previous_item_id: str | None = None
    type: Literal["conversation.item.done"] = "conversation.item.done"


class ConversationItemCreated(_Event, frozen=True, kw_only=True):
    """The beta's form of added and done; servers that copy the beta still send it."""

    item: Mapping[str, Any]
    previous_item_id: str | None = None
    type: Literal["conversation.item.created"] = "conversation.item.created"


class ConversationItemRetrieved(_Event, frozen=True, kw_only=True):
    """Answer to ``conversation.item.retrieve``, with audio as base64 inside `item`."""

    item: Mapping[str, Any]
    type: Literal["conversation.item.retrieved"] = "conversation.item.retrieved"


class ConversationItemTruncated(_Event, frozen=True, kw_only=True):
    """Assistant audio was cut at `audio_end_ms`; its transcript is gone on the server."""

    item_id: str
    audio_end_ms: int
    content_index: int = 0
    type: Literal["conversation.item.truncated"] = "conversation.item.truncated"


class ConversationItemDeleted(_Event, frozen=True, kw_only=True):
    """An item left the conversation."""

    item_id: str
    type: Literal["conversation.item.deleted"] = "conversation.item.deleted"


class ConversationItemInputAudioTranscriptionDelta(_Event, frozen=True, kw_only=True):
    """A piece of the user's words, to append; may come before the item's commit."""

    item_id: str
    delta: str = ""
    content_index: int = 0
    logprobs: Sequence[Mapping[str, Any]] | None = None
    type: Literal["conversation.item.input_audio_transcription.delta"] = (
        "conversation.item.input_audio_transcription.delta"
    )


class ConversationItemInputAudioTranscriptionCompleted(_Event, frozen=True, kw_only=True):
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


class ConversationItemInputAudioTranscriptionSegment(_Event, frozen=True, kw_only=True):
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


class ConversationItemInputAudioTranscriptionFailed(_Event, frozen=True, kw_only=True):
    """The user's audio was not transcribed; the model heard it all the same."""

    item_id: str
    error: Mapping[str, Any] = msgspec.field(default_factory=dict)
    content_index: int = 0
    type: Literal["conversation.item.input_audio_transcription.failed"] = (
        "conversation.item.input_audio_transcription.failed"
    )


# ---- input audio buffer ---------------------------------------------------------------------------------------------


class InputAudioBufferCommitted(_Event, frozen=True, kw_only=True):
    """The buffer became the user item `item_id`."""

    item_id: str
    previous_item_id: str | None = None
    type: Literal["input_audio_buffer.committed"] = "input_audio_buffer.committed"


class InputAudioBufferCleared(_Event, frozen=True, kw_only=True):
    """The buffer was thrown away."""

    type: Literal["input_audio_buffer.cleared"] = "input_audio_buffer.cleared"


class InputAudioBufferSpeechStarted(_Event, frozen=True, kw_only=True):
    """The user began to speak. `item_id` is that of the item to come (empty where a server leaves it out: the barge-in
    counts all the same); `audio_start_ms` counts all audio appended in this session, prefix padding included."""

    item_id: str = ""
    audio_start_ms: int = 0
    type: Literal["input_audio_buffer.speech_started"] = "input_audio_buffer.speech_started"


class InputAudioBufferSpeechStopped(_Event, frozen=True, kw_only=True):
    """The user stopped speaking; `audio_end_ms` includes the silence that ended the turn."""

    item_id: str = ""
    audio_end_ms: int = 0
    type: Literal["input_audio_buffer.speech_stopped"] = "input_audio_buffer.speech_stopped"


class InputAudioBufferTimeoutTriggered(_Event, frozen=True, kw_only=True):
    """The user was silent for ``idle_timeout_ms``."""

    item_id: str | None = None
    audio_start_ms: int | None = None
    audio_end_ms: int | None = None
    type: Literal["input_audio_buffer.timeout_triggered"] = "input_audio_buffer.timeout_triggered"


class InputAudioBufferDtmfEventReceived(_Event, frozen=True, kw_only=True):
    """A key of a phone (SIP): `event` is one of ``0-9 * # A-D``, `received_at` in Unix seconds. Has no ``event_id``."""

    event: str
    received_at: int | None = None
    type: Literal["input_audio_buffer.dtmf_event_received"] = "input_audio_buffer.dtmf_event_received"


# ---- output audio buffer (WebRTC and SIP) ---------------------------------------------------------------------------


class OutputAudioBufferStarted(_Event, frozen=True, kw_only=True):
    """The server began to play a response."""

    response_id: str
    type: Literal["output_audio_buffer.started"] = "output_audio_buffer.started"


class OutputAudioBufferStopped(_Event, frozen=True, kw_only=True):
    """The server has played all of a response; comes after ``response.done``."""

    response_id: str
    type: Literal["output_audio_buffer.stopped"] = "output_audio_buffer.stopped"


class OutputAudioBufferCleared(_Event, frozen=True, kw_only=True):
    """The rest of a response will not be played."""

    response_id: str
    type: Literal["output_audio_buffer.cleared"] = "output_audio_buffer.cleared"


# ---- responses ------------------------------------------------------------------------------------------------------


class ResponseCreated(_Event, frozen=True, kw_only=True):
    """A response is being made."""

    response: Mapping[str, Any]
    type: Literal["response.created"] = "response.created"


class ResponseDone(_Event, frozen=True, kw_only=True):
    """A response is over, with any outcome. The service always sends it: it is the only sure end."""

    response: Mapping[str, Any]
    type: Literal["response.done"] = "response.done"


class ResponseOutputItemAdded(_Event, frozen=True, kw_only=True):
    """A response has begun an item."""

    response_id: str
    item: Mapping[str, Any]
    output_index: int = 0
    type: Literal["response.output_item.added"] = "response.output_item.added"


class ResponseOutputItemDone(_Event, frozen=True, kw_only=True):
    """An item of a response is finished, also by an interruption."""

    response_id: str
    item: Mapping[str, Any]
    output_index: int = 0
    type: Literal["response.output_item.done"] = "response.output_item.done"


class ResponseContentPartAdded(_ContentEvent, frozen=True, kw_only=True):
    """An item has got a part; its types are ``audio`` and ``text``, other than those of item content."""

    part: Mapping[str, Any]
    type: Literal["response.content_part.added"] = "response.content_part.added"


class ResponseContentPartDone(_ContentEvent, frozen=True, kw_only=True):
    """A part is finished."""

    part: Mapping[str, Any]
    type: Literal["response.content_part.done"] = "response.content_part.done"


class ResponseOutputTextDelta(_ContentEvent, frozen=True, kw_only=True):
    """A piece of text."""

    delta: str
    type: Literal["response.output_text.delta"] = "response.output_text.delta"


class ResponseOutputTextDone(_ContentEvent, frozen=True, kw_only=True):
    """All text of a part."""

    text: str
    type: Literal["response.output_text.done"] = "response.output_text.done"


class ResponseOutputAudioDelta(_ContentEvent, frozen=True, kw_only=True):
    """A piece of speech: `delta` is decoded audio in the session's output format (base64 on the wire)."""

    delta: bytes
    type: Literal["response.output_audio.delta"] = "response.output_audio.delta"


class ResponseOutputAudioDone(_ContentEvent, frozen=True, kw_only=True):
    """All speech of a part has been sent."""

    type: Literal["response.output_audio.done"] = "response.output_audio.done"


class ResponseOutputAudioTranscriptDelta(_ContentEvent, frozen=True, kw_only=True):
    """A piece of the words that are being spoken."""

    delta: str
    type: Literal["response.output_audio_transcript.delta"] = "response.output_audio_transcript.delta"


class ResponseOutputAudioTranscriptDone(_ContentEvent, frozen=True, kw_only=True):
    """All words of a part."""

    transcript: str
    type: Literal["response.output_audio_transcript.done"] = "response.output_audio_transcript.done"


class ResponseFunctionCallArgumentsDelta(_OutputEvent, frozen=True, kw_only=True):
    """A piece of the JSON text of a call's arguments."""

    delta: str
    call_id: str = ""
    type: Literal["response.function_call_arguments.delta"] = "response.function_call_arguments.delta"


class ResponseFunctionCallArgumentsDone(_OutputEvent, frozen=True, kw_only=True):
    """The whole JSON text of a call's arguments. `call_id` is empty and `name` None where a server leaves them out: the
    item has both."""

    arguments: str
    call_id: str = ""
    name: str | None = None
    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"


# ---- MCP ------------------------------------------------------------------------------------------------------------


class ResponseMcpCallArgumentsDelta(_OutputEvent, frozen=True, kw_only=True):
    """A piece of the JSON text of an MCP call's arguments."""

    delta: str
    obfuscation: str | None = None
    type: Literal["response.mcp_call_arguments.delta"] = "response.mcp_call_arguments.delta"


class ResponseMcpCallArgumentsDone(_OutputEvent, frozen=True, kw_only=True):
    """The whole JSON text of an MCP call's arguments."""

    arguments: str
    type: Literal["response.mcp_call_arguments.done"] = "response.mcp_call_arguments.done"


class ResponseMcpCallInProgress(_McpCallEvent, frozen=True, kw_only=True):
    """The server has begun an MCP call."""

    type: Literal["response.mcp_call.in_progress"] = "response.mcp_call.in_progress"


class ResponseMcpCallCompleted(_McpCallEvent, frozen=True, kw_only=True):
    """An MCP call has its output; see the item."""

    type: Literal["response.mcp_call.completed"] = "response.mcp_call.completed"


class ResponseMcpCallFailed(_McpCallEvent, frozen=True, kw_only=True):
    """An MCP call failed; the item says why."""

    type: Literal["response.mcp_call.failed"] = "response.mcp_call.failed"


class McpListToolsInProgress(_Event, frozen=True, kw_only=True):
    """The server is asking an MCP server for its tools."""

    item_id: str
    type: Literal["mcp_list_tools.in_progress"] = "mcp_list_tools.in_progress"


class McpListToolsCompleted(_Event, frozen=True, kw_only=True):
    """The tools are in the item `item_id`."""

    item_id: str
    type: Literal["mcp_list_tools.completed"] = "mcp_list_tools.completed"


class McpListToolsFailed(_Event, frozen=True, kw_only=True):
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


class WireField(NamedTuple):
    """A field of an event: its name, its annotation as written, whether an event must have it."""

    name: str
    annotation: str
    required: bool


def wire_fields(cls: type[ServerEvent]) -> tuple[WireField, ...]:
    """Return the fields of an event but `type`."""
    # `msgspec.structs.fields` would evaluate annotations, for 46 classes as long as the rest of the import.
    written: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        written |= inspect.get_annotations(base)
    defaults = zip(
        cls.__struct_fields__, cls.__struct_defaults__, strict=True
    )  # of fields by keyword, each has an entry
    return tuple(WireField(name, written[name], each is msgspec.NODEFAULT) for name, each in defaults if name != "type")


SERVER_EVENT_TYPES: Final[Mapping[str, type[ServerEvent]]] = {
    str(cls.__struct_defaults__[cls.__struct_fields__.index("type")]): cls for cls in get_args(ServerEvent)
}
"""Wire type -> class, all 46."""
