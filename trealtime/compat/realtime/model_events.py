"""Model events: dataclasses that come as `RealtimeRawModelEvent.data`, and that model listeners get."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias

from trealtime.compat.realtime.items import RealtimeItem
from trealtime.usage import Usage

__all__ = [
    "RealtimeConnectionStatus",
    "RealtimeModelAudioDoneEvent",
    "RealtimeModelAudioEvent",
    "RealtimeModelAudioInterruptedEvent",
    "RealtimeModelCachedTokensDetails",
    "RealtimeModelConnectionStatusEvent",
    "RealtimeModelEndOfStreamEvent",
    "RealtimeModelErrorEvent",
    "RealtimeModelEvent",
    "RealtimeModelExceptionEvent",
    "RealtimeModelInputAudioTimeoutTriggeredEvent",
    "RealtimeModelInputAudioTranscriptionCompletedEvent",
    "RealtimeModelInputTokensDetails",
    "RealtimeModelItemDeletedEvent",
    "RealtimeModelItemUpdatedEvent",
    "RealtimeModelOtherEvent",
    "RealtimeModelOutputTextDeltaEvent",
    "RealtimeModelOutputTokensDetails",
    "RealtimeModelRawServerEvent",
    "RealtimeModelToolCallEvent",
    "RealtimeModelTranscriptDeltaEvent",
    "RealtimeModelTurnEndedEvent",
    "RealtimeModelTurnStartedEvent",
    "RealtimeModelUsageEvent",
]

RealtimeConnectionStatus: TypeAlias = Literal["connecting", "connected", "disconnected"]
"""The states of a connection; only ``"disconnected"`` is ever reported."""


@dataclasses.dataclass
class RealtimeModelErrorEvent:
    """The server has sent an ``error``: its ``error`` object."""

    error: Any
    type: Literal["error"] = "error"


@dataclasses.dataclass
class RealtimeModelToolCallEvent:
    """The model calls a tool; `arguments` is JSON text, `id` the item of the call."""

    name: str
    call_id: str
    arguments: str
    id: str | None = None
    previous_item_id: str | None = None
    type: Literal["function_call"] = "function_call"


@dataclasses.dataclass
class RealtimeModelAudioEvent:
    """A piece of the agent's audio, decoded, in the output format."""

    data: bytes
    response_id: str
    item_id: str
    content_index: int
    type: Literal["audio"] = "audio"


@dataclasses.dataclass
class RealtimeModelAudioInterruptedEvent:
    """Playback of this item is to stop now."""

    item_id: str
    content_index: int
    type: Literal["audio_interrupted"] = "audio_interrupted"


@dataclasses.dataclass
class RealtimeModelAudioDoneEvent:
    """All audio of one content part has arrived."""

    item_id: str
    content_index: int
    type: Literal["audio_done"] = "audio_done"


@dataclasses.dataclass
class RealtimeModelInputAudioTranscriptionCompletedEvent:
    """The user's words in one item, as the server transcribed them."""

    item_id: str
    transcript: str
    type: Literal["input_audio_transcription_completed"] = "input_audio_transcription_completed"


@dataclasses.dataclass
class RealtimeModelInputAudioTimeoutTriggeredEvent:
    """The user was silent for ``idle_timeout_ms``; the item and its span of input audio."""

    item_id: str
    audio_start_ms: int
    audio_end_ms: int
    type: Literal["input_audio_timeout_triggered"] = "input_audio_timeout_triggered"


@dataclasses.dataclass
class RealtimeModelTranscriptDeltaEvent:
    """A piece of what the agent says, in words."""

    item_id: str
    delta: str
    response_id: str
    type: Literal["transcript_delta"] = "transcript_delta"


@dataclasses.dataclass
class RealtimeModelOutputTextDeltaEvent:
    """A piece of text that the agent writes."""

    item_id: str
    delta: str
    response_id: str
    type: Literal["output_text_delta"] = "output_text_delta"


@dataclasses.dataclass
class RealtimeModelItemUpdatedEvent:
    """An item of the conversation is new or has changed."""

    item: RealtimeItem
    type: Literal["item_updated"] = "item_updated"


@dataclasses.dataclass
class RealtimeModelItemDeletedEvent:
    """An item was taken out of the conversation."""

    item_id: str
    type: Literal["item_deleted"] = "item_deleted"


@dataclasses.dataclass
class RealtimeModelConnectionStatusEvent:
    """The server has closed the connection in order."""

    status: RealtimeConnectionStatus
    type: Literal["connection_status"] = "connection_status"


@dataclasses.dataclass
class RealtimeModelEndOfStreamEvent:
    """No event of the server follows."""

    type: Literal["end_of_stream"] = "end_of_stream"


@dataclasses.dataclass
class RealtimeModelTurnStartedEvent:
    """A response has begun."""

    type: Literal["turn_started"] = "turn_started"
    response_id: str | None = None


@dataclasses.dataclass
class RealtimeModelCachedTokensDetails:
    """Cached input tokens by kind; None where the server does not say."""

    text_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


@dataclasses.dataclass
class RealtimeModelInputTokensDetails:
    """Input tokens of one response by kind; None where the server does not say."""

    text_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cached_tokens: int | None = None
    cached_tokens_details: RealtimeModelCachedTokensDetails | None = None


@dataclasses.dataclass
class RealtimeModelOutputTokensDetails:
    """Output tokens of one response by kind; None where the server does not say."""

    text_tokens: int | None = None
    audio_tokens: int | None = None


@dataclasses.dataclass
class RealtimeModelUsageEvent:
    """The usage of one response; comes before its `RealtimeModelTurnEndedEvent`."""

    usage: Usage
    input_tokens_details: RealtimeModelInputTokensDetails | None = None
    output_tokens_details: RealtimeModelOutputTokensDetails | None = None
    type: Literal["usage"] = "usage"


@dataclasses.dataclass
class RealtimeModelTurnEndedEvent:
    """A response is over, with any outcome."""

    type: Literal["turn_ended"] = "turn_ended"
    response_id: str | None = None


@dataclasses.dataclass
class RealtimeModelOtherEvent:
    """An event of a model of your own. Never sent by those here."""

    data: Any
    type: Literal["other"] = "other"


@dataclasses.dataclass
class RealtimeModelExceptionEvent:
    """The connection has failed; `context` says at what."""

    exception: Exception
    context: str | None = None
    type: Literal["exception"] = "exception"


@dataclasses.dataclass
class RealtimeModelRawServerEvent:
    """One event of the server as it came, decoded. Audio deltas do not come this way: see `RealtimeModelAudioEvent`."""

    data: Any
    type: Literal["raw_server_event"] = "raw_server_event"


RealtimeModelEvent: TypeAlias = (
    RealtimeModelErrorEvent
    | RealtimeModelToolCallEvent
    | RealtimeModelAudioEvent
    | RealtimeModelAudioInterruptedEvent
    | RealtimeModelAudioDoneEvent
    | RealtimeModelInputAudioTimeoutTriggeredEvent
    | RealtimeModelInputAudioTranscriptionCompletedEvent
    | RealtimeModelTranscriptDeltaEvent
    | RealtimeModelOutputTextDeltaEvent
    | RealtimeModelItemUpdatedEvent
    | RealtimeModelItemDeletedEvent
    | RealtimeModelConnectionStatusEvent
    | RealtimeModelEndOfStreamEvent
    | RealtimeModelTurnStartedEvent
    | RealtimeModelUsageEvent
    | RealtimeModelTurnEndedEvent
    | RealtimeModelOtherEvent
    | RealtimeModelExceptionEvent
    | RealtimeModelRawServerEvent
)
"""An event for a listener."""
