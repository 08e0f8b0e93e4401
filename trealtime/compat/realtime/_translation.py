"""Events of a trealtime session, translated into those of the SDK.

One event may become several: the SDK tells each model event as a ``raw_model_event`` first, and then what follows from
it. Events that the SDK does not have become none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import trealtime.events as native
from trealtime.compat.realtime import events as sdk
from trealtime.compat.realtime import model_events as model
from trealtime.compat.realtime._overrides import EMITTED
from trealtime.compat.realtime.items import RealtimeItem, RealtimeToolCallItem, item_of, message_of_wire
from trealtime.errors import EndpointFailed, HookFailed, PlaybackTrackerFailed
from trealtime.events import ServerErrorInfo

__all__ = ["EventTranslator"]

_UNCHANGED: Final[Mapping[str, type[Any]]] = {
    str(cls.__dataclass_fields__["type"].default): cls
    for cls in (
        model.RealtimeModelAudioDoneEvent,
        model.RealtimeModelInputAudioTimeoutTriggeredEvent,
        model.RealtimeModelInputAudioTranscriptionCompletedEvent,
        model.RealtimeModelItemDeletedEvent,
        model.RealtimeModelOutputTextDeltaEvent,
        model.RealtimeModelTranscriptDeltaEvent,
        model.RealtimeModelTurnEndedEvent,
        model.RealtimeModelTurnStartedEvent,
    )
}
"""Model events whose fields are the same here and there, by their type."""

_WITH_AN_ITEM: Final = frozenset(
    {
        "conversation.item.added",
        "conversation.item.created",
        "conversation.item.retrieved",
        "response.output_item.added",
        "response.output_item.done",
    }
)
"""Server events that tell of an item."""


class EventTranslator:
    """Translates the events of one stream, in their order. It remembers the calls that have no output yet."""

    def __init__(self) -> None:
        self._info: sdk.RealtimeEventInfo | None = None
        self._open_calls: dict[str, RealtimeToolCallItem] = {}

    def translate(self, event: native.RealtimeSessionEvent) -> list[sdk.RealtimeSessionEvent]:
        """Return what the SDK would tell of `event`, in order."""
        if self._info is None:
            self._info = sdk.RealtimeEventInfo(event.info.context)
        raw = [sdk.RealtimeRawModelEvent(each, self._info) for each in self.model_events(event)]
        told = self._session_event(event, self._info)
        return [*raw] if told is None else [*raw, told]

    def model_events(self, event: native.RealtimeSessionEvent) -> Iterator[model.RealtimeModelEvent]:
        """Yield the model events of `event`, in order, as listeners get them."""
        match event:
            case native.RealtimeRawModelEvent():
                yield from self._of_model_event(event.data)
            case native.RealtimeAudio():
                yield _audio_of(event)
            case native.RealtimeAudioInterrupted():
                yield model.RealtimeModelAudioInterruptedEvent(event.item_id, event.content_index)
            case _:
                pass

    def end(self, failure: Exception | None) -> list[sdk.RealtimeSessionEvent]:
        """Return what the SDK tells of the end of a connection that the server has closed, or that has failed."""
        if self._info is None:
            return []
        return [sdk.RealtimeRawModelEvent(each, self._info) for each in end_of_connection(failure)]

    # ---- model events --------------------------------------------------------------------------------------------

    def _of_model_event(self, data: Any) -> Iterator[model.RealtimeModelEvent]:
        match data.type:
            case "raw_server_event" if data.data.get("type") == EMITTED:
                yield model.RealtimeModelRawServerEvent(data.data.get("event", {}))
            case "raw_server_event":
                yield model.RealtimeModelRawServerEvent(data.data)
                yield from self._of_frame(data.data)
            case "usage":
                yield model.RealtimeModelUsageEvent(
                    data.usage, _input_details(data.input_tokens_details), _output_details(data.output_tokens_details)
                )
            case "error":
                yield model.RealtimeModelErrorEvent(_server_error(data.error))
            case kind if (cls := _UNCHANGED.get(kind)) is not None:
                yield cls(**{field.name: getattr(data, field.name) for field in dataclasses.fields(cls)})
            case _:
                pass

    def _of_frame(self, frame: Mapping[str, Any]) -> Iterator[model.RealtimeModelEvent]:
        """Yield the SDK's events for a server event for which trealtime has none of its own."""
        kind, item = frame.get("type"), frame.get("item")
        if kind not in _WITH_AN_ITEM or not isinstance(item, Mapping):
            return
        if item.get("type") == "message":
            previous = frame.get("previous_item_id") if kind == "conversation.item.created" else None
            if (message := message_of_wire(item, previous)) is not None:
                yield model.RealtimeModelItemUpdatedEvent(message)
        elif kind == "response.output_item.done" and _is_whole_call(item):
            call = _call_of(item)
            self._open_calls[call.call_id or ""] = call
            yield model.RealtimeModelItemUpdatedEvent(call)
            yield model.RealtimeModelToolCallEvent(call.name, call.call_id or "", call.arguments, id=call.item_id)
        elif item.get("type") == "function_call_output" and kind == "conversation.item.added":
            answered = self._open_calls.pop(str(item.get("call_id")), None)
            if answered is not None:
                output = dataclasses.replace(answered, status="completed", output=str(item.get("output")))
                yield model.RealtimeModelItemUpdatedEvent(output)

    # ---- session events ------------------------------------------------------------------------------------------

    def _session_event(
        self, event: native.RealtimeSessionEvent, info: sdk.RealtimeEventInfo
    ) -> sdk.RealtimeSessionEvent | None:
        translate = _SESSION_EVENTS.get(event.type)
        return None if translate is None else translate(event, info)


def end_of_connection(failure: Exception | None) -> list[model.RealtimeModelEvent]:
    """Return the model events at the end of a connection: closed in order by the server, or failed."""
    if failure is not None:
        return [model.RealtimeModelExceptionEvent(failure, "the connection was lost")]
    return [model.RealtimeModelConnectionStatusEvent("disconnected"), model.RealtimeModelEndOfStreamEvent()]


def _audio_of(event: native.RealtimeAudio) -> model.RealtimeModelAudioEvent:
    chunk = event.audio
    return model.RealtimeModelAudioEvent(chunk.data, chunk.response_id, chunk.item_id, chunk.content_index)


def _is_whole_call(item: Mapping[str, Any]) -> bool:
    return item.get("type") == "function_call" and item.get("status", "completed") == "completed"


def _call_of(item: Mapping[str, Any]) -> RealtimeToolCallItem:
    return RealtimeToolCallItem(
        item_id=str(item.get("id") or ""),
        call_id=str(item.get("call_id") or ""),
        status="in_progress",
        arguments=str(item.get("arguments") or ""),
        name=str(item.get("name") or ""),
    )


def _server_error(error: Mapping[str, Any]) -> ServerErrorInfo:
    return ServerErrorInfo(
        message=str(error.get("message", "")),
        type=error.get("type"),
        code=error.get("code"),
        param=error.get("param"),
        event_id=error.get("event_id"),
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _input_details(details: Mapping[str, Any] | None) -> model.RealtimeModelInputTokensDetails | None:
    if details is None:
        return None
    cached = details.get("cached_tokens_details")
    return model.RealtimeModelInputTokensDetails(
        text_tokens=_number(details.get("text_tokens")),
        audio_tokens=_number(details.get("audio_tokens")),
        image_tokens=_number(details.get("image_tokens")),
        cached_tokens=_number(details.get("cached_tokens")),
        cached_tokens_details=model.RealtimeModelCachedTokensDetails(
            text_tokens=_number(cached.get("text_tokens")),
            audio_tokens=_number(cached.get("audio_tokens")),
            image_tokens=_number(cached.get("image_tokens")),
        )
        if isinstance(cached, Mapping)
        else None,
    )


def _output_details(details: Mapping[str, Any] | None) -> model.RealtimeModelOutputTokensDetails | None:
    if details is None:
        return None
    return model.RealtimeModelOutputTokensDetails(
        text_tokens=_number(details.get("text_tokens")), audio_tokens=_number(details.get("audio_tokens"))
    )


def _history_added(event: native.RealtimeHistoryAdded, info: sdk.RealtimeEventInfo) -> sdk.RealtimeHistoryAdded | None:
    item = item_of(event.item)
    return None if item is None else sdk.RealtimeHistoryAdded(item, info)


def _history(event: native.RealtimeHistoryUpdated, info: sdk.RealtimeEventInfo) -> sdk.RealtimeHistoryUpdated:
    items: list[RealtimeItem] = [item for each in event.history if (item := item_of(each)) is not None]
    return sdk.RealtimeHistoryUpdated(items, info)


def _error(event: native.RealtimeError, info: sdk.RealtimeEventInfo) -> sdk.RealtimeError | None:
    error = event.error
    if isinstance(error, HookFailed | EndpointFailed | PlaybackTrackerFailed):
        return None  # the SDK has no event for these
    return sdk.RealtimeError(sdk.ErrorMessage(error) if isinstance(error, Exception) else error, info)


def _guardrail_tripped(event: Any, info: sdk.RealtimeEventInfo) -> sdk.RealtimeGuardrailTripped:
    return sdk.RealtimeGuardrailTripped(list(event.guardrail_results), event.message, info)


_SESSION_EVENTS: Final[Mapping[str, Callable[[Any, sdk.RealtimeEventInfo], sdk.RealtimeSessionEvent | None]]] = {
    "agent_start": lambda event, info: sdk.RealtimeAgentStartEvent(event.agent, info),
    "agent_end": lambda event, info: sdk.RealtimeAgentEndEvent(event.agent, info),
    "handoff": lambda event, info: sdk.RealtimeHandoffEvent(event.from_agent, event.to_agent, info),
    "tool_start": lambda event, info: sdk.RealtimeToolStart(event.agent, event.tool, event.arguments, info),
    "tool_end": lambda event, info: sdk.RealtimeToolEnd(event.agent, event.tool, event.arguments, event.output, info),
    "tool_approval_required": lambda event, info: sdk.RealtimeToolApprovalRequired(
        event.agent, event.tool, event.call_id, event.arguments, info
    ),
    "audio": lambda event, info: sdk.RealtimeAudio(_audio_of(event), event.item_id, event.content_index, info),
    "audio_end": lambda event, info: sdk.RealtimeAudioEnd(info, event.item_id, event.content_index),
    "audio_interrupted": lambda event, info: sdk.RealtimeAudioInterrupted(info, event.item_id, event.content_index),
    "error": _error,
    "history_updated": _history,
    "history_added": _history_added,
    "guardrail_tripped": _guardrail_tripped,
    "input_audio_timeout_triggered": lambda _event, info: sdk.RealtimeInputAudioTimeoutTriggered(info),
}
"""Session events by type; the SDK has no others."""
