"""Conversation items as `session.history` holds them, and the parts of messages that a program sends.

Names and fields follow the realtime layer of the OpenAI Agents SDK (content types ``text`` and ``audio`` for the
assistant where the wire says ``output_text`` and ``output_audio``). Fields that the SDK does not have are marked
"ours". Ours too are the `text` of messages, and ``str(item)``, which is one line to read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import attrs

from trealtime import _lazy
from trealtime._value import Value
from trealtime.terminal import print_short

if TYPE_CHECKING:
    from trealtime._core.saved_history import dump_history as dump_history
    from trealtime._core.saved_history import load_history as load_history
    from trealtime._core.saved_history import wire_items as wire_items
    from trealtime.protocol.user_input import AudioPart as AudioPart
    from trealtime.protocol.user_input import ImagePart as ImagePart
    from trealtime.protocol.user_input import TextPart as TextPart
    from trealtime.protocol.user_input import UserMessage as UserMessage
    from trealtime.protocol.user_input import image_part as image_part

__all__ = [
    "AssistantAudio",
    "AssistantMessageItem",
    "AssistantText",
    "InputAudio",
    "InputImage",
    "InputText",
    "ItemStatus",
    "OtherItem",
    "OtherItemType",
    "RealtimeItem",
    "RealtimeToolCallItem",
    "SystemMessageItem",
    "UserMessageItem",
]

if not TYPE_CHECKING:
    _shown, __getattr__, __dir__ = _lazy.namespace(__name__)
    __all__ += _shown


ItemStatus = Literal["in_progress", "completed", "incomplete"]

OtherItemType = Literal[
    "",
    "function_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
]
"""The known types of `OtherItem`. A type that is newer than this library comes as it is. Checkers know these alone, so
that ``item.type == "message"`` leaves the messages."""


@attrs.frozen(eq=False, repr=False)
class InputText(Value):
    """Text from the user or the system."""

    text: str | None = None
    type: Literal["input_text"] = attrs.field(default="input_text", kw_only=True)


@attrs.frozen(eq=False, repr=False)
class InputAudio(Value):
    """Speech from the user. `audio` is base64 and present only after `retrieve_item`; `transcript` may come late."""

    audio: str | None = None
    transcript: str | None = None
    type: Literal["input_audio"] = attrs.field(default="input_audio", kw_only=True)


@attrs.frozen(eq=False, repr=False)
class InputImage(Value):
    """An image from the user: a data URI with PNG or JPEG."""

    image_url: str | None = None
    detail: str | None = None
    type: Literal["input_image"] = attrs.field(default="input_image", kw_only=True)


@attrs.frozen(eq=False, repr=False)
class AssistantText(Value):
    """Text that the agent wrote."""

    text: str | None = None
    type: Literal["text"] = attrs.field(default="text", kw_only=True)


@attrs.frozen(eq=False, repr=False)
class AssistantAudio(Value):
    """Speech of the agent. After an interrupt `transcript` holds only what the user can have heard (an estimate, cut
    at a word), and `heard_ms` (ours) the position of the cut; None means that it was not cut."""

    audio: str | None = None
    transcript: str | None = None
    heard_ms: int | None = None
    type: Literal["audio"] = attrs.field(default="audio", kw_only=True)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SystemMessageItem(Value):
    """A message of the developer to the model."""

    item_id: str
    previous_item_id: str | None = None
    content: tuple[InputText, ...] = ()
    status: ItemStatus | None = None
    type: Literal["message"] = "message"
    role: Literal["system"] = "system"

    @property
    def text(self) -> str:
        """The words of the message."""
        return _text(self.content)

    def __str__(self) -> str:
        return _line(self.role, self.content)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class UserMessageItem(Value):
    """A turn of the user."""

    item_id: str
    previous_item_id: str | None = None
    content: tuple[InputText | InputAudio | InputImage, ...] = ()
    status: ItemStatus | None = None
    type: Literal["message"] = "message"
    role: Literal["user"] = "user"

    @property
    def text(self) -> str:
        """The user's written words, and the transcript of the spoken ones so far."""
        return _text(self.content)

    def __str__(self) -> str:
        return _line(self.role, self.content)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AssistantMessageItem(Value):
    """A message of the agent."""

    item_id: str
    previous_item_id: str | None = None
    content: tuple[AssistantText | AssistantAudio, ...] = ()
    status: ItemStatus | None = None
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"

    @property
    def text(self) -> str:
        """The agent's words, written or spoken, so far."""
        return _text(self.content)

    def __str__(self) -> str:
        return _line(self.role, self.content)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RealtimeToolCallItem(Value):
    """A call of a tool, with its output once there is one. `arguments` is JSON text as the model wrote it."""

    item_id: str
    previous_item_id: str | None = None
    call_id: str | None = None
    name: str = ""
    arguments: str = ""
    output: str | None = None
    status: ItemStatus | None = None
    type: Literal["function_call"] = "function_call"

    def __str__(self) -> str:
        return f"{self.name}({self.arguments}) -> {'...' if self.output is None else self.output}"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OtherItem(Value):
    """Ours: any other item of the conversation (tool outputs, MCP items, types that are newer than this library), as
    the server sent it."""

    item_id: str
    previous_item_id: str | None = None
    type: OtherItemType = ""
    status: ItemStatus | None = None
    data: Mapping[str, object] = attrs.field(factory=dict)

    def __str__(self) -> str:
        return f"{self.type} {self.item_id}"


RealtimeItem = SystemMessageItem | UserMessageItem | AssistantMessageItem | RealtimeToolCallItem | OtherItem

_Part = InputText | InputAudio | InputImage | AssistantText | AssistantAudio

print_short(RealtimeItem, _Part)


def _words(part: _Part) -> str:
    match part:
        case InputText() | AssistantText():
            return part.text or ""
        case InputAudio() | AssistantAudio():
            return part.transcript or ""
        case InputImage():
            return ""


def _text(content: Sequence[_Part]) -> str:
    return " ".join(words for part in content if (words := _words(part).strip()))


def _line(role: str, content: Sequence[_Part]) -> str:
    """Return the words of all parts, and in brackets the types of parts that have none yet."""
    shown = [_words(part).strip() or f"({part.type.removeprefix('input_')})" for part in content]
    return f"{role}: {' '.join(shown) or '...'}"
