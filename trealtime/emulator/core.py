"""One session's engine: client messages and time in, server events and work out. No Trio in here.

How it is driven. The driver calls `open` once, then `receive` for each message and `tick` when `deadline` has come.
After every call, and after every step of a response that it makes, it takes

* `event_buffer.take`: events to send, in order;
* `responses.started`: responses to make (the methods of `Response` write the events, `responses.end` ends it);
* `input.committed`: items of user audio to listen to (`transcribed`, `transcription_failed`);
* `input.stretches`: what may be recognised before the turn is over (`input.understood`);
* `ending`: the code and reason to close the connection with, once it is to be closed.

A message that cannot be obeyed changes nothing and is answered with an ``error`` event; the session lives on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from trealtime.audio.formats import parse_audio_format
from trealtime.emulator.conversation import Conversation
from trealtime.emulator.event_buffer import EventBuffer, Ids
from trealtime.emulator.hosted_mcp import HostedServers, McpTool
from trealtime.emulator.input_audio import InputAudio
from trealtime.emulator.items import Item
from trealtime.emulator.options import EventOrder, Expiry
from trealtime.emulator.received_audio import ReceivedAudio
from trealtime.emulator.response import Response
from trealtime.emulator.response_manager import ResponseManager
from trealtime.emulator.settings import SessionSettings, SessionType, merge
from trealtime.emulator.turn_detection import TurnDetectorFactory, make_turn_detector
from trealtime.emulator.usage import USER_MS_PER_TOKEN, text_tokens
from trealtime.emulator.validation import Refusal, invalid_value, nullable, record, text
from trealtime.protocol.client_events import MAX_EVENT_ID_CHARS
from trealtime.protocol.lenient import json_kind

__all__ = ["SessionCore", "read_event"]

_UPDATE = record(
    {"type": text(), "event_id": nullable(text()), "session": lambda value, path: value}, required=("session",)
)
_PLAIN = record({"type": text(), "event_id": nullable(text())})
_event_id = nullable(text(max_length=MAX_EVENT_ID_CHARS))
_MAX_DEPTH = 100  # an object that is read must also be written back, within the recursion limit
_BILLED_BY_TIME = frozenset({"whisper-1", "gpt-realtime-whisper"})


class SessionCore:
    """The state of one session, and every rule of it.

    `model` is the model that the client named when it connected, or None; `call_id` marks a session of a call;
    `settings` are those of a call or a client secret. `clock` is monotonic and in seconds; `expires_at` is the Unix
    time told to the client.
    """

    def __init__(
        self,
        ids: Ids,
        *,
        kind: SessionType,
        model: str | None,
        default_model: str,
        call_id: str | None,
        settings: SessionSettings | None = None,
        clock: Callable[[], float],
        max_session_s: float,
        expires_at: int,
        max_items: int,
        max_audio_bytes: int,
        max_input_audio_bytes: int = 32 * 2**20,
        max_out_of_band: int,
        mcp_servers: Mapping[str, Mapping[str, McpTool]] = MappingProxyType({}),
        make_detector: TurnDetectorFactory = make_turn_detector,
        event_order: EventOrder = "usual",
        queue_turns: bool = False,
        expiry: Expiry = "close",
        received_audio: ReceivedAudio | None = None,
        hears_in_stages: bool = False,
    ) -> None:
        self.id: str = ids.new("sess")
        self.settings: SessionSettings = settings or SessionSettings.default(kind, model=model or default_model)
        self.event_buffer: EventBuffer = EventBuffer(ids)
        self.conversation: Conversation = Conversation(
            self.event_buffer, ids, max_items=max_items, max_audio_bytes=max_audio_bytes
        )
        self.hosted: HostedServers = HostedServers(mcp_servers)
        self.responses: ResponseManager = ResponseManager(
            self.event_buffer,
            ids,
            self.conversation,
            clock=clock,
            ended=self._response_ended,
            max_out_of_band=max_out_of_band,
            hosted=self.hosted,
            event_order=event_order,
        )
        self.input: InputAudio = InputAudio(
            self.event_buffer,
            ids,
            self.conversation,
            self,
            self.settings,
            make_detector=make_detector,
            max_bytes=max_input_audio_bytes,
            received=received_audio,
            in_stages=hears_in_stages,
        )
        self.ending: tuple[int, str] | None = None
        self.input_audio: ReceivedAudio | None = received_audio
        self._queue_turns = queue_turns
        self._expiry = expiry
        self._ids = ids
        self._model_fixed = model is not None
        self._call_id = call_id
        self._clock = clock
        self._expires_at = expires_at
        self._ends_at = clock() + max_session_s
        self._max_session_s = max_session_s
        self._idle_since: float | None = None
        self._idle_from_ms = 0.0
        self._handlers: Mapping[str, Callable[[dict[str, Any]], None]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self.input.append,
            "input_audio_buffer.commit": self.input.commit,
            "input_audio_buffer.clear": self.input.clear,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self.conversation.retrieve,
            "conversation.item.delete": self.conversation.delete,
            "conversation.item.truncate": self.conversation.truncate,
            "response.create": self._create_response,
            "response.cancel": self._cancel_response,
            "output_audio_buffer.clear": self._clear_output,
        }

    # ---- messages ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """``session.created``."""
        self.event_buffer.emit("session.created", {"session": self.session_object()})

    def receive(self, message: str | bytes) -> dict[str, Any] | None:
        """One message of the client; returns the event that it was, if it was one.

        Never raises for anything that a client can send.
        """
        event: dict[str, Any] | None = None
        event_id: str | None = None
        try:
            event = read_event(message)
            if "event_id" in event:
                event_id = _event_id(event["event_id"], "event_id")
            if "type" not in event:
                raise Refusal("The 'type' field is missing.", code="invalid_event")
            handler = self._handlers.get(event["type"]) if isinstance(event["type"], str) else None
            if handler is None:
                raise invalid_value("type", event["type"], ", ".join(f"'{kind}'" for kind in self._handlers))
            handler(event)
        except Refusal as refusal:
            self.event_buffer.emit("error", {"error": refusal.as_error(event_id)})
        return event

    def _update(self, event: dict[str, Any]) -> None:
        update = _UPDATE(event, "")["session"]
        settings = merge(self.settings, update, voice_locked=self.responses.spoken, model_fixed=self._model_fixed)
        self._model_fixed = self._model_fixed or "model" in update
        self.settings = settings
        self.input.configure(settings)
        self.event_buffer.emit("session.updated", {"session": self.session_object()})
        self._list_mcp_tools()

    def _create_item(self, event: dict[str, Any]) -> None:
        self.conversation.create(event, input_format=parse_audio_format(self.settings.input_format))
        if self.hosted.answered(event["item"]):
            # The service goes on by itself, after a rejection too.
            self.responses.answer_turn(self.settings, queued=True)

    def _create_response(self, event: dict[str, Any]) -> None:
        self._refuse_in_transcription("response.create")
        self.responses.create(event, self.settings)

    def _cancel_response(self, event: dict[str, Any]) -> None:
        self._refuse_in_transcription("response.cancel")
        self.responses.cancel(event)

    def _clear_output(self, event: dict[str, Any]) -> None:
        _PLAIN(event, "")
        response_id = self.responses.active.id if self.responses.active is not None else self.responses.last_ended_id
        if self._call_id is None or response_id is None:
            raise Refusal(
                "output_audio_buffer.clear is for WebRTC and SIP calls, where the server plays the audio; on a "
                "WebSocket, stop playing and send conversation.item.truncate.",
                code="invalid_value",
                param="type",
            )
        self.event_buffer.emit("output_audio_buffer.cleared", {"response_id": response_id})

    def _refuse_in_transcription(self, kind: str) -> None:
        if self.settings.type == "transcription":
            raise Refusal(f"A transcription session makes no responses: no {kind}.", code="invalid_value", param="type")

    # ---- turns -------------------------------------------------------------------------------------------------

    def user_began(self) -> None:
        """The detector heard the user begin; see `TurnListener`."""
        self._idle_since = None
        detection = self.settings.turn_detection
        if detection is not None and detection["interrupt_response"]:
            self.responses.interrupt()

    def user_ended(self) -> None:
        """The detector heard the user end; see `TurnListener`."""
        detection = self.settings.turn_detection
        if detection is not None and detection["create_response"] and self.settings.type == "realtime":
            self.responses.answer_turn(self.settings, queued=self._queue_turns)

    def _response_ended(self, response: Response) -> None:
        if response.in_conversation:
            self._idle_since = max(self._clock(), response.playback_ends_at)
            self._idle_from_ms = self.input.position_ms
            self.responses.next_turn(self.settings)

    # ---- time --------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """The time at which to call `tick`, if nothing happens before."""
        return min(self._ends_at, self._idle_deadline)

    def tick(self) -> None:
        """Do what is due."""
        now = self._clock()
        if now >= self._ends_at:
            reason = f"Your session hit the maximum duration of {self._max_session_s / 60:g} minutes."
            if self._expiry == "error" and self.ending is None:
                expired = Refusal(reason, code="session_expired")
                self.event_buffer.emit("error", {"error": expired.as_error(None)})
            self.ending = (1001, reason)
        elif now >= self._idle_deadline:
            idle_ms = (self.settings.turn_detection or {})["idle_timeout_ms"]
            self._idle_since = None
            self.input.time_out(since_ms=max(self._idle_from_ms, self.input.position_ms - idle_ms))
            self.responses.answer_turn(self.settings, queued=True)

    @property
    def _idle_deadline(self) -> float:
        idle_ms = (self.settings.turn_detection or {}).get("idle_timeout_ms")
        if idle_ms is None or self._idle_since is None or self.responses.active is not None or self.input.user_speaks:
            return math.inf
        return float(self._idle_since + idle_ms / 1000)

    # ---- transcription -----------------------------------------------------------------------------------------

    def transcribed(self, item: Item, index: int, words: str) -> None:
        """Keep `words` as the transcript of part `index` of `item`, for the brain; send them if the client asked for
        transcription.

        Only audio of the input audio buffer has such events.
        """
        item.heard[index] = words
        transcription = self.settings.transcription
        if transcription is None or not item.from_buffer:
            return
        item.body["content"][index]["transcript"] = words
        place = {"item_id": item.id, "content_index": index}
        # whisper-1 gives its result in one piece; the others as they go.
        pieces = [words] if transcription["model"] == "whisper-1" else _pieces(words)
        logprobs = [_logprob(piece) for piece in pieces] if self.settings.wants_logprobs else None
        for number, piece in enumerate(pieces):
            extra = {} if logprobs is None else {"logprobs": [logprobs[number]]}
            self.event_buffer.emit(
                "conversation.item.input_audio_transcription.delta", place | {"delta": piece} | extra
            )
        extra = {} if logprobs is None else {"logprobs": logprobs}
        usage = _transcription_usage(transcription["model"], item.clips[index].duration_ms, words)
        self.event_buffer.emit(
            "conversation.item.input_audio_transcription.completed",
            place | {"transcript": words, "usage": usage} | extra,
        )

    def transcription_failed(self, item: Item, index: int, message: str) -> None:
        """The transcription of part `index` of `item` has failed."""
        item.heard[index] = ""
        if self.settings.transcription is not None and item.from_buffer:
            error = {"type": "transcription_error", "code": "audio_unintelligible", "message": message, "param": None}
            self.event_buffer.emit(
                "conversation.item.input_audio_transcription.failed",
                {"item_id": item.id, "content_index": index, "error": error},
            )

    # ---- inside ------------------------------------------------------------------------------------------------

    def session_object(self) -> dict[str, Any]:
        """The session object of ``session.created`` and ``session.updated``."""
        kind = self.settings.type
        return {
            "type": kind,
            "object": "realtime.session" if kind == "realtime" else "realtime.transcription_session",
            "id": self.id,
            "expires_at": self._expires_at,
            **self.settings.data,
        }

    def _list_mcp_tools(self) -> None:
        for definition in self.hosted.new_definitions(self.settings.data.get("tools", ())):
            item_id = self._ids.new("mcpl")
            self.event_buffer.emit("mcp_list_tools.in_progress", {"item_id": item_id})
            tools = self.hosted.listed(definition)
            if tools is None:
                self.event_buffer.emit("mcp_list_tools.failed", {"item_id": item_id})
                continue
            label = definition["server_label"]
            item = Item({"id": item_id, "type": "mcp_list_tools", "server_label": label, "tools": tools})
            self.conversation.add(item)
            self.event_buffer.emit("mcp_list_tools.completed", {"item_id": item_id})
            self.conversation.finish(item)


def read_event(message: str | bytes) -> dict[str, Any]:
    """The event in `message`; raises `Refusal`."""
    if isinstance(message, bytes):
        raise Refusal("Events are JSON in text frames; this was a binary frame.", code="invalid_event")
    try:
        event = msgspec.json.decode(message)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Refusal(f"This message is not JSON: {error}", code="invalid_event") from None
    if not isinstance(event, dict):
        raise Refusal(f"An event is a JSON object; this message is {json_kind(event)}.", code="invalid_event")
    if _deeper_than(_MAX_DEPTH, event):
        raise Refusal(f"This event is nested more than {_MAX_DEPTH} levels deep.", code="invalid_event")
    return event


def _deeper_than(levels: int, value: object) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    return levels == 0 or any(
        _deeper_than(levels - 1, inner) for inner in (value.values() if isinstance(value, dict) else value)
    )


def _pieces(words: str) -> list[str]:
    """`words` cut before each space, so that the pieces joined are the whole."""
    first, *rest = words.split(" ")
    return [first, *(f" {word}" for word in rest)]


def _logprob(token: str) -> dict[str, Any]:
    # Nothing was estimated: zero is the logarithm of certainty.
    return {"token": token, "logprob": 0.0, "bytes": list(token.encode())}


def _transcription_usage(model: str, duration_ms: float, words: str) -> dict[str, Any]:
    if model in _BILLED_BY_TIME:
        return {"type": "duration", "seconds": math.ceil(duration_ms / 1000)}
    audio, made = math.ceil(duration_ms / USER_MS_PER_TOKEN), text_tokens(words)
    return {
        "type": "tokens",
        "total_tokens": audio + made,
        "input_tokens": audio,
        "input_token_details": {"text_tokens": 0, "audio_tokens": audio},
        "output_tokens": made,
    }
