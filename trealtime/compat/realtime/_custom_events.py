"""Model events of a user's own model, translated to the server events that a session understands.

A custom model knows responses, items and audio, and not all the events that a server sends around them. Missing events
are filled in: a response that begins with its first audio, an item that is announced by its first piece, and the ends
of both.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from trealtime.compat.realtime import items as sdk_items
from trealtime.compat.realtime import model_events as model

__all__ = ["EventWriter", "Frame"]

Frame = dict[str, Any]

_PARTS: Final[Mapping[str, str]] = {"audio": "transcript", "text": "text"}
_DELTAS: Final[Mapping[str, str]] = {
    "audio": "response.output_audio.delta",
    "transcript": "response.output_audio_transcript.delta",
    "text": "response.output_text.delta",
}


@attrs.define
class _Item:
    """An item of the assistant that a response is making."""

    item_id: str
    content_index: int
    kind: str
    words: str = ""

    def content(self) -> list[dict[str, Any]]:
        return [{"type": f"output_{self.kind}", _PARTS[self.kind]: self.words}]

    def wire(self, status: str) -> dict[str, Any]:
        made: dict[str, Any] = {"id": self.item_id, "object": "realtime.item", "type": "message", "status": status}
        return {**made, "role": "assistant", "content": [] if status == "in_progress" else self.content()}


@attrs.define
class EventWriter:
    """Makes server events of model events. It knows the response that is running and what that has made so far."""

    response_id: str | None = None
    named: str | None = None
    """The model's own id of that response, which a `turn_started` may leave out and its audio bring."""

    items: dict[str, _Item] = attrs.field(factory=dict)
    done: list[dict[str, Any]] = attrs.field(factory=list)
    known: set[str] = attrs.field(factory=set)
    usage: dict[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    """Of the response that the session has asked for; a server sends it back, and the session knows its own by it."""

    count: int = 0

    def frames(self, event: model.RealtimeModelEvent) -> Iterator[Frame]:
        """Yield the server events that say what `event` says, in order."""
        match event:
            case model.RealtimeModelTurnStartedEvent():
                yield from self._begin(event.response_id)
            case model.RealtimeModelAudioEvent():
                data = base64.b64encode(event.data).decode("ascii")
                yield from self._delta(event.item_id, event.response_id, "audio", data, event.content_index)
            case model.RealtimeModelTranscriptDeltaEvent():
                yield from self._delta(event.item_id, event.response_id, "transcript", event.delta)
            case model.RealtimeModelOutputTextDeltaEvent():
                yield from self._delta(event.item_id, event.response_id, "text", event.delta)
            case model.RealtimeModelAudioDoneEvent():
                where = {"response_id": self.response_id or "", "item_id": event.item_id, "output_index": 0}
                yield {"type": "response.output_audio.done", **where, "content_index": event.content_index}
            case model.RealtimeModelToolCallEvent():
                yield from self._call(event)
            case model.RealtimeModelItemUpdatedEvent():
                yield from self._updated(event.item)
            case model.RealtimeModelItemDeletedEvent():
                yield {"type": "conversation.item.deleted", "item_id": event.item_id}
            case model.RealtimeModelUsageEvent():
                self.usage = _usage(event)
            case model.RealtimeModelTurnEndedEvent():
                yield from self._end()
            case model.RealtimeModelInputAudioTranscriptionCompletedEvent():
                yield from self._heard(event)
            case model.RealtimeModelInputAudioTimeoutTriggeredEvent():
                span = {"audio_start_ms": event.audio_start_ms, "audio_end_ms": event.audio_end_ms}
                yield {"type": "input_audio_buffer.timeout_triggered", "item_id": event.item_id, **span}
            case model.RealtimeModelAudioInterruptedEvent():
                spoken = self._new_id("item")
                yield {"type": "input_audio_buffer.speech_started", "item_id": spoken, "audio_start_ms": 0}
                yield {"type": "input_audio_buffer.speech_stopped", "item_id": spoken, "audio_end_ms": 0}
            case model.RealtimeModelErrorEvent():
                yield {"type": "error", "error": _error(event.error)}
            case _:
                pass

    def added(self, item: Mapping[str, Any]) -> Iterator[Frame]:
        """Yield how a server confirms an item of the client's."""
        self.known.add(str(item.get("id")))
        whole = {"object": "realtime.item", "status": "completed", **item}
        yield {"type": "conversation.item.added", "previous_item_id": None, "item": whole}
        yield {"type": "conversation.item.done", "previous_item_id": None, "item": whole}

    # ---- responses -----------------------------------------------------------------------------------------------

    def _new_id(self, kind: str) -> str:
        self.count += 1
        return f"{kind}_custom_{self.count}"

    def _response(self, status: str) -> dict[str, Any]:
        return {
            "id": self.response_id,
            "object": "realtime.response",
            "status": status,
            "status_details": None,
            "output": self.done,
            "usage": self.usage,
            "metadata": self.metadata,
        }

    def _begin(self, response_id: str | None) -> Iterator[Frame]:
        if self.response_id is not None:
            self.named = self.named or response_id
            if response_id in (None, self.named):
                return
        yield from self._end()
        self.response_id, self.named = response_id or self._new_id("resp"), response_id
        self.done, self.usage = [], None
        yield {"type": "response.created", "response": self._response("in_progress")}

    def _end(self) -> Iterator[Frame]:
        if self.response_id is None:
            return
        for item in list(self.items.values()):
            yield from self._finish(item)
        yield {"type": "response.done", "response": self._response("completed")}
        self.response_id, self.metadata = None, None

    def _delta(
        self, item_id: str, response_id: str, what: str, delta: str, content_index: int | None = None
    ) -> Iterator[Frame]:
        yield from self._begin(response_id)
        item = self.items.get(item_id)
        if item is None:
            kind = "text" if what == "text" else "audio"
            item = self.items[item_id] = _Item(item_id, content_index or 0, kind)
            self.known.add(item_id)
            made = item.wire("in_progress")
            where = {"response_id": self.response_id, "output_index": len(self.done)}
            yield {"type": "response.output_item.added", **where, "item": made}
            yield {"type": "conversation.item.added", "previous_item_id": None, "item": made}
            part = {"type": kind, _PARTS[kind]: ""}
            place = {"item_id": item_id, "content_index": item.content_index}
            yield {"type": "response.content_part.added", **where, **place, "part": part}
        if what != "audio":
            item.words += delta
        place = {"item_id": item_id, "content_index": item.content_index}
        where = {"response_id": self.response_id, "output_index": len(self.done)}
        yield {"type": _DELTAS[what], **where, **place, "delta": delta}

    def _finish(self, item: _Item) -> Iterator[Frame]:
        del self.items[item.item_id]
        whole = item.wire("completed")
        where = {"response_id": self.response_id, "output_index": len(self.done)}
        place = {"item_id": item.item_id, "content_index": item.content_index}
        if item.kind == "audio":
            yield {"type": "response.output_audio_transcript.done", **where, **place, "transcript": item.words}
        else:
            yield {"type": "response.output_text.done", **where, **place, "text": item.words}
        yield {"type": "response.output_item.done", **where, "item": whole}
        yield {"type": "conversation.item.done", "previous_item_id": None, "item": whole}
        self.done.append(whole)

    def _call(self, event: model.RealtimeModelToolCallEvent) -> Iterator[Frame]:
        yield from self._begin(self.response_id)
        item = {
            "id": event.id or self._new_id("item"),
            "object": "realtime.item",
            "type": "function_call",
            "status": "completed",
            "name": event.name,
            "call_id": event.call_id,
            "arguments": event.arguments,
        }
        self.known.add(str(item["id"]))
        where = {"response_id": self.response_id, "output_index": len(self.done)}
        begun = {**item, "status": "in_progress", "arguments": ""}
        yield {"type": "response.output_item.added", **where, "item": begun}
        yield {"type": "conversation.item.added", "previous_item_id": None, "item": begun}
        yield {"type": "response.output_item.done", **where, "item": item}
        yield {"type": "conversation.item.done", "previous_item_id": None, "item": item}
        self.done.append(item)

    # ---- items ---------------------------------------------------------------------------------------------------

    def _updated(self, item: sdk_items.RealtimeItem) -> Iterator[Frame]:
        if isinstance(item, sdk_items.RealtimeToolCallItem):
            return  # `function_call` tells of the call, and the session itself of its output
        if (making := self.items.get(item.item_id)) is not None and isinstance(item, sdk_items.AssistantMessageItem):
            words = " ".join(_words_of(part) for part in item.content)
            making.words = words or making.words
            return
        whole = {
            "id": item.item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": item.role,
            "content": [_part(part) for part in item.content],
        }
        if item.item_id not in self.known:
            self.known.add(item.item_id)
            yield {"type": "conversation.item.added", "previous_item_id": item.previous_item_id, "item": whole}
        yield {"type": "conversation.item.done", "previous_item_id": item.previous_item_id, "item": whole}

    def _heard(self, event: model.RealtimeModelInputAudioTranscriptionCompletedEvent) -> Iterator[Frame]:
        if event.item_id not in self.known:
            content = [{"type": "input_audio", "transcript": None}]
            yield from self.added({"id": event.item_id, "type": "message", "role": "user", "content": content})
        kind = "conversation.item.input_audio_transcription.completed"
        yield {"type": kind, "item_id": event.item_id, "content_index": 0, "transcript": event.transcript}


def _words_of(part: sdk_items.AssistantText | sdk_items.AssistantAudio) -> str:
    return (part.text if isinstance(part, sdk_items.AssistantText) else part.transcript) or ""


def _part(part: Any) -> dict[str, Any]:
    dumped: dict[str, Any] = part.model_dump(exclude_none=True)
    return {**dumped, "type": {"text": "output_text", "audio": "output_audio"}.get(dumped["type"], dumped["type"])}


def _usage(event: model.RealtimeModelUsageEvent) -> dict[str, Any]:
    usage = event.usage
    return {
        "total_tokens": usage.total_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "input_token_details": dict(usage.input_token_details or {}),
        "output_token_details": dict(usage.output_token_details or {}),
    }


def _error(error: Any) -> dict[str, Any]:
    if isinstance(error, Mapping):
        return {"type": "server_error", "message": "", **error}
    return {
        "type": getattr(error, "type", None) or "server_error",
        "code": getattr(error, "code", None),
        "message": str(getattr(error, "message", error)),
    }
