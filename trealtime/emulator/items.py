"""Conversation items: the rules for those that a client creates, and their stored form."""

from __future__ import annotations

from typing import Any, Literal

import attrs
import pybase64

from trealtime.audio.formats import AudioFormat
from trealtime.emulator.event_buffer import Ids
from trealtime.emulator.validation import (
    Check,
    Refusal,
    array,
    boolean,
    choice,
    integer,
    invalid_type,
    invalid_value,
    mapping,
    missing,
    nullable,
    one_of_types,
    record,
    text,
)
from trealtime.protocol.client_events import MAX_APPEND_BYTES

__all__ = ["Clip", "Item", "decode_audio", "new_message", "read_item"]


# ---- values ---------------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Clip:
    """The audio of one content part, as it went over the wire.

    `data` may be given up to save memory (`release`); its length stays known, which is all that a truncation needs.
    """

    format: AudioFormat
    data: bytearray = attrs.field(factory=bytearray, repr=False)
    n_bytes: int = attrs.field(init=False)
    released: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.n_bytes = len(self.data)

    @property
    def duration_ms(self) -> float:
        """How long the audio lasts."""
        return self.format.duration_ms(self.n_bytes)

    def append(self, audio: bytes) -> None:
        """Add to the end."""
        self.n_bytes += len(audio)
        if not self.released:
            self.data += audio

    def cut(self, end_ms: int) -> int:
        """Keep the first `end_ms`; return the number of bytes that this freed."""
        before = len(self.data)
        self.n_bytes = min(self.n_bytes, self.format.bytes_for_ms(end_ms))
        del self.data[self.n_bytes :]
        return before - len(self.data)

    def release(self) -> int:
        """Forget the bytes; return their number."""
        freed, self.data, self.released = len(self.data), bytearray(), True
        return freed


@attrs.define(eq=False)
class Item:
    """One item. `body` is its wire form without audio bytes; `clips` its audio by content index.

    `heard` is the emulator's transcript of the user's audio, whether or not the client asked for transcription.
    """

    body: dict[str, Any]
    clips: dict[int, Clip] = attrs.field(factory=dict)
    heard: dict[int, str] = attrs.field(factory=dict)
    truncated: bool = False
    from_buffer: bool = False

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self.body["id"])

    def wire(self) -> dict[str, Any]:
        """The wire form as it is now, no audio bytes in it."""
        body = dict(self.body)
        # Nothing below the parts ever changes.
        if "content" in body:
            body["content"] = [dict(part) for part in body["content"]]
        return body

    def wire_with_audio(self) -> dict[str, Any]:
        """The wire form with the audio that is still stored, in the format it was sent in."""
        body = self.wire()
        for index, clip in self.clips.items():
            if not clip.released:
                body["content"][index]["audio"] = pybase64.b64encode_as_string(clip.data)
        return body

    def as_heard(self) -> dict[str, Any]:
        """The wire form as the brain gets it: user audio with its words."""
        body = self.wire()
        for index, words in self.heard.items():
            body["content"][index]["transcript"] = words
        return body


# ---- items that a client may create ---------------------------------------------------------------------------------

_ID = text(non_empty=True, max_length=512)
_COMMON: dict[str, Check] = {
    "type": text(),
    "id": _ID,
    "object": choice("realtime.item"),
    "status": choice("completed", "incomplete", "in_progress"),
}
_INPUT_TEXT = record({"type": text(), "text": text()}, required=("text",))


def _image(value: Any, path: str) -> str:
    uri = str(text()(value, path))
    if not uri.startswith(("data:image/png;base64,", "data:image/jpeg;base64,", "https://")):
        raise invalid_value(path, uri, "a data URI with a PNG or JPEG image in base64, or an https address")
    return uri


_CONTENT: dict[str, Check] = {
    "system": one_of_types({"input_text": _INPUT_TEXT}),
    "user": one_of_types(
        {
            "input_text": _INPUT_TEXT,
            "input_audio": record(
                {"type": text(), "audio": text(), "transcript": nullable(text())}, required=("audio",)
            ),
            "input_image": record(
                {"type": text(), "image_url": _image, "detail": choice("auto", "low", "high")}, required=("image_url",)
            ),
        }
    ),
    # The service does not take the assistant's audio back, only its text.
    "assistant": one_of_types({"output_text": record({"type": text(), "text": text()}, required=("text",))}),
}


def _message(value: Any, path: str) -> Any:
    if "role" not in value:
        raise missing(f"{path}.role")
    role = choice(*_CONTENT)(value["role"], f"{path}.role")
    fields: dict[str, Check] = _COMMON | {"role": text(), "content": array(_CONTENT[role], at_most=1_000)}
    if role == "assistant":
        fields["phase"] = choice("commentary", "final_answer")
    return record(fields, required=("content",))(value, path)


_LISTED_TOOL = record(
    {"name": text(), "input_schema": mapping(), "description": nullable(text()), "annotations": nullable(mapping())},
    required=("name", "input_schema"),
)
_NUMBERED_ERROR = record({"type": text(), "code": integer(), "message": text()}, required=("code", "message"))
_MCP_ERROR = one_of_types(
    {
        "protocol_error": _NUMBERED_ERROR,
        "http_error": _NUMBERED_ERROR,
        "tool_execution_error": record({"type": text(), "message": text()}, required=("message",)),
    }
)
_MCP_NAMES: dict[str, Check] = _COMMON | {"server_label": text(), "name": text(), "arguments": text()}
_ITEM = one_of_types(
    {
        "message": _message,
        "function_call": record(
            _COMMON | {"call_id": text(non_empty=True), "name": text(non_empty=True), "arguments": text()},
            required=("name", "arguments"),
        ),
        "function_call_output": record(
            _COMMON | {"call_id": text(non_empty=True), "output": text()}, required=("call_id", "output")
        ),
        "mcp_list_tools": record(
            _COMMON | {"server_label": text(), "tools": array(_LISTED_TOOL)}, required=("server_label", "tools")
        ),
        "mcp_call": record(
            _MCP_NAMES
            | {
                "approval_request_id": nullable(text()),
                "output": nullable(text()),
                "error": nullable(_MCP_ERROR),
            },
            required=("server_label", "name", "arguments"),
        ),
        "mcp_approval_request": record(_MCP_NAMES, required=("server_label", "name", "arguments")),
        "mcp_approval_response": record(
            _COMMON | {"approval_request_id": text(), "approve": boolean, "reason": nullable(text())},
            required=("approval_request_id", "approve"),
        ),
    }
)


def _without_nulls(item: object) -> object:
    """`item` as if fields that are null had been left out, those of other types among them: some clients send one
    object with the fields of all items, and one with those of all content parts."""
    if not isinstance(item, dict) or str(item.get("type")).startswith("mcp_"):
        return item
    given = {key: value for key, value in item.items() if value is not None}
    if isinstance(given.get("content"), list):
        given["content"] = [_part_without_nulls(part) for part in given["content"]]
    return given


def _part_without_nulls(part: object) -> object:
    return {key: value for key, value in part.items() if value is not None} if isinstance(part, dict) else part


def read_item(value: object, path: str, *, ids: Ids, input_format: AudioFormat) -> Item:
    """The item that a client describes; audio in it is in `input_format`. Raises `Refusal`."""
    fields: dict[str, Any] = _ITEM(_without_nulls(value), path)
    body = {"id": fields.pop("id", None) or ids.new("item"), "object": "realtime.item", "status": "completed"} | fields
    item = Item(body)
    match body["type"]:
        case "function_call":
            body.setdefault("call_id", ids.new("call"))
        case "message":
            for index, part in enumerate(body["content"]):
                if part["type"] == "input_audio":
                    audio = decode_audio(part.pop("audio"), f"{path}.content[{index}].audio", input_format)
                    item.clips[index] = Clip(input_format, bytearray(audio))
                    part.setdefault("transcript", None)
                    if part["transcript"] is not None:
                        item.heard[index] = part["transcript"]
    return item


def decode_audio(value: object, path: str, fmt: AudioFormat) -> bytes:
    """Return the bytes of base64 audio in the format `fmt`. Raises `Refusal` for anything else."""
    if not isinstance(value, str):
        raise invalid_type(path, value, "a string of base64")
    # Four characters carry three bytes, and the limit is a multiple of three: it holds before anything is decoded.
    if len(value) > MAX_APPEND_BYTES // 3 * 4:
        raise _too_large(path)
    try:
        audio = pybase64.b64decode(value, validate=True)
    except ValueError:
        raise invalid_value(path, value, "standard base64 (RFC 4648 section 4)") from None
    if len(audio) % fmt.bytes_per_sample:
        raise invalid_value(path, value, f"whole samples of {fmt.bytes_per_sample} bytes, got {len(audio)} bytes")
    return audio


def _too_large(path: str) -> Refusal:
    return Refusal(f"'{path}' is too large: at most 15 MiB of audio in one event.", code="invalid_value", param=path)


Role = Literal["user", "assistant"]


def new_message(item_id: str, role: Role, *, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of a message that the server itself makes."""
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }
