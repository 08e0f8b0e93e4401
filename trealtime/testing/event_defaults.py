"""Server events with every field that the protocol asks for, from the few that a test is about.

The table gives the fields of each type and their defaults. Objects (a session, an item, a response) are merged with the
given ones; an object of another ``type`` replaces the default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from trealtime.emulator.event_buffer import Ids
from trealtime.protocol.server_events import SERVER_EVENT_TYPES, wire_fields

__all__ = ["EventDefaults", "merged"]

_UNIX_TIME: Final = 1_800_000_000
_SILENCE: Final = "AAAAAAAA"
_ERROR: Final = {
    "type": "invalid_request_error",
    "code": "invalid_value",
    "message": "Something is not right.",
    "param": None,
    "event_id": None,
}
_USAGE: Final = {
    "total_tokens": 15,
    "input_tokens": 10,
    "output_tokens": 5,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 5, "audio_tokens": 0},
}
_RATE_LIMITS: Final = [{"name": "requests", "limit": 1_000, "remaining": 999, "reset_seconds": 0.06}]
_TRANSCRIPTION_USAGE: Final = {"type": "duration", "seconds": 1}
_BEGINS_RESPONSE: Final = frozenset({"response.created"})
_BEGINS_ITEM: Final = frozenset({"response.output_item.added", "input_audio_buffer.speech_started"})
_ITEMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "message": {"object": "realtime.item", "status": "completed"},
    "function_call": {
        "object": "realtime.item",
        "status": "completed",
        "name": "look_up",
        "arguments": "{}",
    },
    "function_call_output": {"object": "realtime.item", "status": "completed", "output": "done"},
    "mcp_list_tools": {"server_label": "server", "tools": []},
    "mcp_call": {"server_label": "server", "name": "look_up", "arguments": "{}", "output": None, "error": None},
    "mcp_approval_request": {"server_label": "server", "name": "look_up", "arguments": "{}"},
    "mcp_approval_response": {"approval_request_id": "mcpr_1", "approve": True},
}
_CONTENT: Final[Mapping[str, Any]] = {
    "system": [{"type": "input_text", "text": "Be brief."}],
    "user": [{"type": "input_text", "text": "Hello."}],
    "assistant": [{"type": "output_text", "text": "Hello."}],
}


def _in(*places: str, **own: object) -> tuple[tuple[str, ...], Mapping[str, object]]:
    return places, own


_OUTPUT: Final = ("response_id", "item_id", "output_index")
_PART: Final = (*_OUTPUT, "content_index")

# For each type: the fields that say where, then its own.
_FIELDS: Final[Mapping[str, tuple[tuple[str, ...], Mapping[str, object]]]] = {
    "error": _in(error=_ERROR),
    "session.created": _in("session"),
    "session.updated": _in("session"),
    "rate_limits.updated": _in(rate_limits=_RATE_LIMITS),
    "conversation.created": _in(conversation={"id": "conv_1", "object": "realtime.conversation"}),
    "conversation.item.added": _in("previous_item_id", "item"),
    "conversation.item.done": _in("previous_item_id", "item"),
    "conversation.item.created": _in("previous_item_id", "item"),
    "conversation.item.retrieved": _in("item"),
    "conversation.item.truncated": _in("item_id", "content_index", audio_end_ms=0),
    "conversation.item.deleted": _in("item_id"),
    "conversation.item.input_audio_transcription.delta": _in("item_id", "content_index", delta="Hello."),
    "conversation.item.input_audio_transcription.completed": _in(
        "item_id", "content_index", transcript="Hello.", usage=_TRANSCRIPTION_USAGE
    ),
    "conversation.item.input_audio_transcription.segment": _in(
        "item_id", "content_index", id="seg_1", text="Hello.", speaker="A", start=0.0, end=1.0
    ),
    "conversation.item.input_audio_transcription.failed": _in(
        "item_id", "content_index", error={**_ERROR, "type": "transcription_error", "code": "audio_unintelligible"}
    ),
    "input_audio_buffer.committed": _in("previous_item_id", "item_id"),
    "input_audio_buffer.cleared": _in(),
    "input_audio_buffer.speech_started": _in("item_id", audio_start_ms=0),
    "input_audio_buffer.speech_stopped": _in("item_id", audio_end_ms=1_000),
    "input_audio_buffer.timeout_triggered": _in("item_id", audio_start_ms=0, audio_end_ms=5_000),
    "input_audio_buffer.dtmf_event_received": _in(event="5", received_at=_UNIX_TIME),
    "output_audio_buffer.started": _in("response_id"),
    "output_audio_buffer.stopped": _in("response_id"),
    "output_audio_buffer.cleared": _in("response_id"),
    "response.created": _in("response"),
    "response.done": _in("response"),
    "response.output_item.added": _in("response_id", "output_index", "item"),
    "response.output_item.done": _in("response_id", "output_index", "item"),
    "response.content_part.added": _in(*_PART, part={"type": "audio", "transcript": ""}),
    "response.content_part.done": _in(*_PART, part={"type": "audio", "transcript": "Hello."}),
    "response.output_text.delta": _in(*_PART, delta="Hello."),
    "response.output_text.done": _in(*_PART, text="Hello."),
    "response.output_audio.delta": _in(*_PART, delta=_SILENCE),
    "response.output_audio.done": _in(*_PART),
    "response.output_audio_transcript.delta": _in(*_PART, delta="Hello."),
    "response.output_audio_transcript.done": _in(*_PART, transcript="Hello."),
    "response.function_call_arguments.delta": _in(*_OUTPUT, "call_id", delta="{}"),
    "response.function_call_arguments.done": _in(*_OUTPUT, "call_id", name="look_up", arguments="{}"),
    "response.mcp_call_arguments.delta": _in(*_OUTPUT, delta="{}"),
    "response.mcp_call_arguments.done": _in(*_OUTPUT, arguments="{}"),
    "response.mcp_call.in_progress": _in("item_id", "output_index"),
    "response.mcp_call.completed": _in("item_id", "output_index"),
    "response.mcp_call.failed": _in("item_id", "output_index"),
    "mcp_list_tools.in_progress": _in("item_id"),
    "mcp_list_tools.completed": _in("item_id"),
    "mcp_list_tools.failed": _in("item_id"),
}


@attrs.define(eq=False)
class EventDefaults:
    """Completes events of one connection: the default response and item are the newest ones.

    `session` returns the current session object.
    """

    ids: Ids
    session: Callable[[], Mapping[str, Any]]
    _response: dict[str, Any] | None = attrs.field(default=None, init=False)
    _item: dict[str, Any] | None = attrs.field(default=None, init=False)
    _item_id: str | None = attrs.field(default=None, init=False)
    _previous_item_id: str | None = attrs.field(default=None, init=False)

    def complete(self, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the event of type `kind` with the fields in `given`. Raises `ValueError` for fields that the type does
        not have."""
        if kind not in _FIELDS:
            raise ValueError(f"a server sends no {kind!r}; its events are: {', '.join(SERVER_EVENT_TYPES)}")
        places, own = _FIELDS[kind]
        allowed = {"event_id", *places, *own, *(f.name for f in wire_fields(SERVER_EVENT_TYPES[kind]))}
        unknown = given.keys() - allowed
        if unknown:
            raise ValueError(
                f"{kind} has no {', '.join(sorted(unknown))}; its fields are: {', '.join(sorted(allowed))}"
            )
        self._begin(kind)
        fields = {place: self._place(kind, place, given.get(place)) for place in places} | dict(own)
        event = {"type": kind, "event_id": self.ids.new("event"), **merged(fields, given)}
        if kind == "input_audio_buffer.dtmf_event_received" and "event_id" not in given:
            del event["event_id"]  # the one type that has none
        self.note(event)
        return event

    def note(self, event: Mapping[str, Any]) -> None:
        """`event` was sent: later ones are about its response and its item. One that is wrong on purpose is skipped."""
        response, item = event.get("response"), event.get("item")
        if isinstance(response, Mapping) and "id" in response:
            self._response = dict(response)
        if isinstance(item, Mapping) and "id" in item:
            self._item = dict(item)
            self._new_item(str(item["id"]))
        elif event.get("type") == "input_audio_buffer.speech_started" and "item_id" in event:
            self._new_item(event["item_id"])

    def _begin(self, kind: str) -> None:
        if kind in _BEGINS_RESPONSE:
            self._response = None
        if kind in _BEGINS_ITEM:
            self._item = None
            self._new_item(self.ids.new("item"))

    def _new_item(self, item_id: str) -> None:
        if item_id != self._item_id:
            self._previous_item_id, self._item_id = self._item_id, item_id

    def _place(self, kind: str, place: str, given: Any) -> object:
        match place:
            case "session":
                return dict(self.session())
            case "response_id":
                return self._response_object("in_progress")["id"]
            case "response":
                named = given.get("id") if isinstance(given, Mapping) else None
                if self._response is not None and named not in (None, self._response["id"]):
                    self._response = None  # an event about another response has nothing of the newest
                return self._response_object("in_progress" if kind == "response.created" else "completed")
            case "item":
                return self._item_object(kind, given if isinstance(given, Mapping) else {})
            case "item_id":
                return self._newest_item_id()
            case "previous_item_id":
                return self._previous_item_id
            case "call_id":
                return (self._item or {}).get("call_id") or "call_1"
            case _:
                return 0  # output_index and content_index

    def _newest_item_id(self) -> str:
        if self._item_id is None:
            self._new_item(self.ids.new("item"))
        assert self._item_id is not None
        return self._item_id

    def _response_object(self, status: str) -> dict[str, Any]:
        if self._response is None:
            self._response = {
                "object": "realtime.response",
                "id": self.ids.new("resp"),
                "status": status,
                "status_details": None,
                "output": [],
                "conversation_id": "conv_1",
                "output_modalities": ["audio"],
                "max_output_tokens": "inf",
                "usage": None,
                "metadata": None,
            }
        return self._response | {"status": status, "usage": dict(_USAGE) if status == "completed" else None}

    def _item_object(self, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
        newest = self._item
        same = newest is not None and all(given.get(key, newest.get(key)) == newest.get(key) for key in _IDENTITY)
        if newest is not None and same:
            item = dict(newest)
        else:
            item_type = given.get("type", "message")
            item = {"id": self._newest_item_id(), "type": item_type, **_ITEMS.get(item_type, {})}
            if item_type == "message":
                role = given.get("role", "assistant" if kind.startswith("response.") else "user")
                item |= {"role": role, "content": _CONTENT.get(role, [])}
            if item_type in ("function_call", "function_call_output"):
                item["call_id"] = self.ids.new("call")
        if kind == "response.output_item.added" and item["type"] in ("message", "function_call"):
            empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
            item |= {"status": "in_progress", **empty}
        elif "status" in item:
            item["status"] = "completed"
        return item


_IDENTITY: Final = ("id", "type", "role")


def merged(default: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `given` into `default`, objects inside too; an object of another ``type`` takes the default's place."""
    result = dict(default)
    for key, value in given.items():
        before = result.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        same_kind = both and value.get("type", before.get("type")) == before.get("type")  # type: ignore[union-attr]
        result[key] = merged(before, value) if same_kind else value  # type: ignore[arg-type]
    return result
