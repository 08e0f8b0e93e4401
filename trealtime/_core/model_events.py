"""Model events: what ``raw_model_event`` carries in `data`.

Programs written for the OpenAI Agents SDK look at two layers there: the frame as the server sent it, and events derived
from it under names of the SDK's own. Both come, the frame first. Audio deltas are the exception: they come only as the
session's own ``audio`` events, so that their bytes are not held several times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import attrs

from trealtime._core.usage import parse_usage
from trealtime._value import Value
from trealtime.protocol import server_events as wire
from trealtime.usage import Usage

__all__ = [
    "RealtimeModelAudioDoneEvent",
    "RealtimeModelErrorEvent",
    "RealtimeModelInputAudioTimeoutTriggeredEvent",
    "RealtimeModelInputAudioTranscriptionCompletedEvent",
    "RealtimeModelItemDeletedEvent",
    "RealtimeModelOutputTextDeltaEvent",
    "RealtimeModelRawServerEvent",
    "RealtimeModelTranscriptDeltaEvent",
    "RealtimeModelTurnEndedEvent",
    "RealtimeModelTurnStartedEvent",
    "RealtimeModelUsageEvent",
    "model_events",
]


@attrs.frozen(eq=False, repr=False)
class RealtimeModelRawServerEvent(Value):
    """One frame as the server sent it, decoded."""

    data: Mapping[str, Any]
    type: Literal["raw_server_event"] = "raw_server_event"


@attrs.frozen(eq=False, repr=False)
class RealtimeModelTurnStartedEvent(Value):
    """A response has begun; `response_id` is None where the server names none."""

    response_id: str | None
    type: Literal["turn_started"] = "turn_started"


@attrs.frozen(eq=False, repr=False)
class RealtimeModelUsageEvent(Value):
    """The tokens of one response, before its `RealtimeModelTurnEndedEvent`; details are None where the server sends
    none."""

    usage: Usage
    input_tokens_details: Mapping[str, Any] | None = None
    output_tokens_details: Mapping[str, Any] | None = None
    type: Literal["usage"] = "usage"


@attrs.frozen(eq=False, repr=False)
class RealtimeModelTurnEndedEvent(Value):
    """A response is over, however it ended."""

    response_id: str | None
    type: Literal["turn_ended"] = "turn_ended"


@attrs.frozen(eq=False, repr=False)
class RealtimeModelTranscriptDeltaEvent(Value):
    """More words of what the agent says."""

    item_id: str
    delta: str
    response_id: str
    type: Literal["transcript_delta"] = "transcript_delta"


@attrs.frozen(eq=False, repr=False)
class RealtimeModelOutputTextDeltaEvent(Value):
    """More of what the agent writes."""

    item_id: str
    delta: str
    response_id: str
    type: Literal["output_text_delta"] = "output_text_delta"


@attrs.frozen(eq=False, repr=False)
class RealtimeModelInputAudioTranscriptionCompletedEvent(Value):
    """The words of a spoken turn of the user, whole."""

    item_id: str
    transcript: str
    type: Literal["input_audio_transcription_completed"] = "input_audio_transcription_completed"


@attrs.frozen(eq=False, repr=False)
class RealtimeModelInputAudioTimeoutTriggeredEvent(Value):
    """The user has said nothing for ``idle_timeout_ms``; times are milliseconds of the user's audio."""

    item_id: str | None
    audio_start_ms: int | None
    audio_end_ms: int | None
    type: Literal["input_audio_timeout_triggered"] = "input_audio_timeout_triggered"


@attrs.frozen(eq=False, repr=False)
class RealtimeModelAudioDoneEvent(Value):
    """All audio of a content part has come."""

    item_id: str
    content_index: int
    type: Literal["audio_done"] = "audio_done"


@attrs.frozen(eq=False, repr=False)
class RealtimeModelItemDeletedEvent(Value):
    """An item was deleted from the conversation."""

    item_id: str
    type: Literal["item_deleted"] = "item_deleted"


@attrs.frozen(eq=False, repr=False)
class RealtimeModelErrorEvent(Value):
    """The ``error`` object of an error of the server, as it came."""

    error: Mapping[str, Any]
    type: Literal["error"] = "error"


ModelEvent = (
    RealtimeModelRawServerEvent
    | RealtimeModelTurnStartedEvent
    | RealtimeModelUsageEvent
    | RealtimeModelTurnEndedEvent
    | RealtimeModelTranscriptDeltaEvent
    | RealtimeModelOutputTextDeltaEvent
    | RealtimeModelInputAudioTranscriptionCompletedEvent
    | RealtimeModelInputAudioTimeoutTriggeredEvent
    | RealtimeModelAudioDoneEvent
    | RealtimeModelItemDeletedEvent
    | RealtimeModelErrorEvent
)


def _response_id(response: Mapping[str, Any]) -> str | None:
    value = response.get("id")
    return value if isinstance(value, str) else None


_DERIVED: Final[Mapping[type, Callable[[Any], ModelEvent]]] = {
    wire.ResponseCreated: lambda event: RealtimeModelTurnStartedEvent(_response_id(event.response)),
    wire.ResponseDone: lambda event: RealtimeModelTurnEndedEvent(_response_id(event.response)),
    wire.ResponseOutputAudioTranscriptDelta: lambda event: RealtimeModelTranscriptDeltaEvent(
        event.item_id, event.delta, event.response_id
    ),
    wire.ResponseOutputTextDelta: lambda event: RealtimeModelOutputTextDeltaEvent(
        event.item_id, event.delta, event.response_id
    ),
    wire.ResponseOutputAudioDone: lambda event: RealtimeModelAudioDoneEvent(event.item_id, event.content_index),
    wire.ConversationItemInputAudioTranscriptionCompleted: lambda event: (
        RealtimeModelInputAudioTranscriptionCompletedEvent(event.item_id, event.transcript)
    ),
    wire.InputAudioBufferTimeoutTriggered: lambda event: RealtimeModelInputAudioTimeoutTriggeredEvent(
        event.item_id, event.audio_start_ms, event.audio_end_ms
    ),
    wire.ConversationItemDeleted: lambda event: RealtimeModelItemDeletedEvent(event.item_id),
    wire.ErrorEvent: lambda event: RealtimeModelErrorEvent(event.error),
}


def model_events(event: wire.AnyServerEvent, data: Mapping[str, Any]) -> list[ModelEvent]:
    """The frame `data` and what is derived from the `event` read from it; nothing for an audio delta."""
    if isinstance(event, wire.ResponseOutputAudioDelta):
        return []
    found: list[ModelEvent] = [RealtimeModelRawServerEvent(data)]
    if isinstance(event, wire.ResponseDone) and (usage := parse_usage(event.response.get("usage"))) is not None:
        found.append(RealtimeModelUsageEvent(usage, usage.input_token_details, usage.output_token_details))
    if (derive := _DERIVED.get(type(event))) is not None:
        found.append(derive(event))
    return found
