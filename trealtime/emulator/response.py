"""One response while it is made: the events of its items and parts, in the service's order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs
import pybase64

from trealtime.audio.formats import AudioFormat
from trealtime.emulator.brain import BrainRequest
from trealtime.emulator.conversation import Conversation
from trealtime.emulator.event_buffer import EventBuffer, Ids
from trealtime.emulator.hosted_mcp import HostedCall, McpTool, OfferedTool
from trealtime.emulator.items import Clip, Item, new_message
from trealtime.emulator.usage import InputTokens, OutputTokens

__all__ = ["Response"]

ItemStatus = Literal["completed", "incomplete"]


@attrs.define(kw_only=True, eq=False)
class Response:
    """A response and its open item.

    The methods that add to it do nothing once it is `over`: its task may have been woken in the very step in which it
    was cancelled. `conversation` is None out of band; no ``conversation.item`` events then (OpenAI's
    reference of ``response.create``).
    """

    id: str
    conversation: Conversation | None
    modality: Literal["audio", "text"]
    audio_format: AudioFormat
    format: Mapping[str, Any]
    voice: str
    speed: float
    max_output_tokens: int | str
    metadata: Mapping[str, str] | None
    context: tuple[Item, ...]
    request: BrainRequest
    hosted: Mapping[str, OfferedTool]
    approved: tuple[HostedCall, ...]
    """Calls of the server's own tools that the client has approved since the last response: they come first."""

    read: InputTokens
    item_first: bool = False
    """Whether the conversation's event of an item comes before the response's: both orders are allowed."""

    ids: Ids = attrs.field(repr=False)
    event_buffer: EventBuffer = attrs.field(repr=False)
    on_over: Callable[[], None] | None = None
    speech_began_at: float | None = None
    over: bool = attrs.field(init=False, default=False)
    made: OutputTokens = attrs.field(init=False, factory=OutputTokens)
    _output: list[Item] = attrs.field(init=False, factory=list)
    _open: Item | None = attrs.field(init=False, default=None)
    _text: str = attrs.field(init=False, default="")  # of the open part, or the arguments of the open call

    @property
    def in_conversation(self) -> bool:
        """Whether it writes to the default conversation."""
        return self.conversation is not None

    @property
    def playback_ends_at(self) -> float:
        """The time at which a client that plays as soon as it can has played all of it; minus infinity without
        speech."""
        return float("-inf") if self.speech_began_at is None else self.speech_began_at + self.made.audio_ms / 1000

    def has_room(self, *, characters: int = 0, audio_ms: float = 0.0) -> bool:
        """Whether ``max_output_tokens`` allows that much more."""
        more = OutputTokens(self.made.characters + characters, self.made.audio_ms + audio_ms)
        return isinstance(self.max_output_tokens, str) or more.total <= self.max_output_tokens

    # ---- making it ---------------------------------------------------------------------------------------------

    def announce(self) -> None:
        """``response.created``."""
        self.event_buffer.emit("response.created", {"response": self._object("in_progress", None, None)})

    def open_message(self) -> None:
        """Begin a message item with one part, of text or of audio."""
        if self.over:
            return
        self._open_item(new_message(self.ids.new("item"), "assistant", status="in_progress", content=[]))
        part = {"type": "text", "text": ""} if self.modality == "text" else {"type": "audio", "transcript": ""}
        self._emit_in_part("response.content_part.added", {"part": part})

    def add_text(self, delta: str) -> None:
        """More text in a message of a text response, more transcript in one of an audio response."""
        if self.over:
            return
        item = self._item()
        self._text += delta
        self.made.characters += len(delta)
        if self.modality == "text":
            self._set_content(item, {"type": "output_text", "text": self._text})
            self._emit_in_part("response.output_text.delta", {"delta": delta})
        else:
            if not item.truncated:
                self._set_content(item, {"type": "output_audio", "transcript": self._text})
            self._emit_in_part("response.output_audio_transcript.delta", {"delta": delta})

    def add_audio(self, audio: bytes) -> None:
        """More speech, in `audio_format`."""
        if self.over:
            return
        item = self._item()
        if not item.body["content"]:
            self._set_content(item, {"type": "output_audio", "transcript": self._text})
        self.made.audio_ms += self.audio_format.duration_ms(len(audio))
        # A truncated item keeps what was heard; a deleted one, or one out of band, can never be asked for.
        if self.conversation is not None and not item.truncated and self.conversation.get(item.id) is item:
            clip = item.clips.setdefault(0, Clip(self.audio_format))
            clip.append(audio)
            if not clip.released:
                self.conversation.keep_audio(len(audio))
        self._emit_in_part("response.output_audio.delta", {"delta": pybase64.b64encode_as_string(audio)})

    def open_call(self, name: str) -> None:
        """Begin a function call item."""
        if self.over:
            return
        self._open_item(
            {
                "id": self.ids.new("item"),
                "object": "realtime.item",
                "type": "function_call",
                "status": "in_progress",
                "name": name,
                "call_id": self.ids.new("call"),
                "arguments": "",
            }
        )

    def add_arguments(self, delta: str) -> None:
        """More of the arguments of the open call."""
        if self.over:
            return
        self._text += delta
        self.made.characters += len(delta)
        body = self._item().body
        if body["type"] == "mcp_call":
            self._emit_in_item("response.mcp_call_arguments.delta", {"delta": delta})
        else:
            call = {"call_id": body["call_id"], "delta": delta}
            self._emit_in_item("response.function_call_arguments.delta", call)

    def open_mcp_call(self, tool: McpTool, *, approval_request_id: str | None = None) -> None:
        """Begin the item of a call that the server itself makes."""
        if self.over:
            return
        names = {"server_label": tool.server_label, "name": tool.name, "arguments": ""}
        outcome = {"approval_request_id": approval_request_id, "output": None, "error": None}
        self._open_item({"id": self.ids.new("mcp"), "type": "mcp_call", **names, **outcome})

    def begin_mcp_call(self) -> None:
        """The arguments of the open call are whole, and it is being made."""
        if self.over:
            return
        self._item().body["arguments"] = self._text
        self._emit_in_item("response.mcp_call_arguments.done", {"arguments": self._text})
        self._emit_mcp_call("in_progress")

    def end_mcp_call(self, output: str | None, error: Mapping[str, Any] | None) -> None:
        """End the open call with an output, or an error."""
        if self.over:
            return
        self._item().body.update(output=output, error=error)
        self._emit_mcp_call("completed" if error is None else "failed")
        self.close_item()

    def ask_approval(self, tool: McpTool, arguments: str) -> str:
        """Add an item that asks the client for approval of a call; return its id."""
        request_id = self.ids.new("mcpr")
        if not self.over:
            names = {"server_label": tool.server_label, "name": tool.name, "arguments": arguments}
            self._open_item({"id": request_id, "type": "mcp_approval_request", **names})
            self.close_item()
        return request_id

    @property
    def output(self) -> tuple[Item, ...]:
        """The items so far."""
        return tuple(self._output)

    def close_item(self, status: ItemStatus = "completed") -> None:
        """End the open item; every ``done`` of it comes, with any status."""
        if self.over or self._open is None:
            return
        item = self._open
        if item.body["type"] in ("message", "function_call"):
            item.body["status"] = status
        if item.body["type"] == "function_call":
            item.body["arguments"] = self._text
            call = {"call_id": item.body["call_id"], "name": item.body["name"], "arguments": self._text}
            self._emit_in_item("response.function_call_arguments.done", call)
        elif item.body["type"] == "message":
            self._close_part()
        self._in_order(
            lambda: self._emit_item("response.output_item.done", item),
            lambda: self.conversation.finish(item) if self.conversation is not None else None,
        )
        self._open = None

    def finish(self, status: str, details: Mapping[str, Any] | None, usage: Mapping[str, Any]) -> None:
        """End the open item as incomplete, if there is one, then emit ``response.done``. For `ResponseManager` only."""
        self.close_item("incomplete")
        self.over = True
        self.event_buffer.emit("response.done", {"response": self._object(status, details, usage)})
        if self.on_over is not None:
            self.on_over()

    # ---- inside ------------------------------------------------------------------------------------------------

    def _item(self) -> Item:
        assert self._open is not None, "the engine adds only to an item that it has opened"
        return self._open

    def _open_item(self, body: dict[str, Any]) -> None:
        item = Item(body)
        self._open, self._text = item, ""
        self._output.append(item)
        self._in_order(
            lambda: self._emit_item("response.output_item.added", item),
            lambda: self.conversation.add(item) if self.conversation is not None else None,
        )

    def _in_order(self, tell_response: Callable[[], None], tell_conversation: Callable[[], None]) -> None:
        steps = (tell_conversation, tell_response) if self.item_first else (tell_response, tell_conversation)
        for step in steps:
            step()

    def _close_part(self) -> None:
        if self.modality == "text":
            self._set_content(self._item(), {"type": "output_text", "text": self._text})
            self._emit_in_part("response.output_text.done", {"text": self._text})
            part = {"type": "text", "text": self._text}
        else:
            self._emit_in_part("response.output_audio.done", {})
            self._emit_in_part("response.output_audio_transcript.done", {"transcript": self._text})
            part = {"type": "audio", "transcript": self._text}
        self._emit_in_part("response.content_part.done", {"part": part})

    @staticmethod
    def _set_content(item: Item, part: dict[str, Any]) -> None:
        item.body["content"] = [part]

    def _emit_item(self, kind: str, item: Item) -> None:
        index = len(self._output) - 1
        self.event_buffer.emit(kind, {"response_id": self.id, "output_index": index, "item": item.wire()})

    def _emit_in_item(self, kind: str, fields: Mapping[str, Any]) -> None:
        place = {"response_id": self.id, "item_id": self._item().id, "output_index": len(self._output) - 1}
        self.event_buffer.emit(kind, place | dict(fields))

    def _emit_mcp_call(self, state: str) -> None:
        place = {"item_id": self._item().id, "output_index": len(self._output) - 1}
        self.event_buffer.emit(f"response.mcp_call.{state}", place)

    def _emit_in_part(self, kind: str, fields: Mapping[str, Any]) -> None:
        self._emit_in_item(kind, {"content_index": 0} | dict(fields))

    def _object(
        self, status: str, details: Mapping[str, Any] | None, usage: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": [item.wire() for item in self._output],
            "conversation_id": None if self.conversation is None else self.conversation.id,
            "output_modalities": [self.modality],
            "max_output_tokens": self.max_output_tokens,
            "audio": {"output": {"format": dict(self.format), "voice": self.voice}},
            "usage": usage,
            "metadata": self.metadata,
        }
