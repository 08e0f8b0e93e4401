"""Conversation items as the app sees them: what `session.history` holds.

Names and fields follow the realtime layer of the OpenAI Agents SDK (content types ``text`` and ``audio`` for the
assistant where the wire says ``output_text`` and ``output_audio``). Fields it does not have are marked "ours".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

__all__ = [
    "AssistantAudio",
    "AssistantMessageItem",
    "AssistantText",
    "InputAudio",
    "InputImage",
    "InputText",
    "ItemStatus",
    "OtherItem",
    "RealtimeItem",
    "RealtimeToolCallItem",
    "SystemMessageItem",
    "UserMessageItem",
]

ItemStatus = Literal["in_progress", "completed", "incomplete"]


@attrs.frozen
class InputText:
    """Text from the user or the system."""

    text: str | None = None
    type: Literal["input_text"] = attrs.field(default="input_text", kw_only=True)


@attrs.frozen
class InputAudio:
    """Speech from the user. `audio` is base64 and present only after `retrieve_item`; `transcript` may come late."""

    audio: str | None = None
    transcript: str | None = None
    type: Literal["input_audio"] = attrs.field(default="input_audio", kw_only=True)


@attrs.frozen
class InputImage:
    """An image from the user: a data URI with PNG or JPEG."""

    image_url: str | None = None
    detail: str | None = None
    type: Literal["input_image"] = attrs.field(default="input_image", kw_only=True)


@attrs.frozen
class AssistantText:
    """Text that the agent wrote."""

    text: str | None = None
    type: Literal["text"] = attrs.field(default="text", kw_only=True)


@attrs.frozen
class AssistantAudio:
    """Speech of the agent. After an interrupt `transcript` holds only what the user can have heard (an estimate, cut
    at a word), and `heard_ms` (ours) the position of the cut; None means that it was not cut."""

    audio: str | None = None
    transcript: str | None = None
    heard_ms: int | None = None
    type: Literal["audio"] = attrs.field(default="audio", kw_only=True)


@attrs.frozen(kw_only=True)
class SystemMessageItem:
    """A message of the developer to the model."""

    item_id: str
    previous_item_id: str | None = None
    content: tuple[InputText, ...] = ()
    status: ItemStatus | None = None
    type: Literal["message"] = "message"
    role: Literal["system"] = "system"


@attrs.frozen(kw_only=True)
class UserMessageItem:
    """A turn of the user."""

    item_id: str
    previous_item_id: str | None = None
    content: tuple[InputText | InputAudio | InputImage, ...] = ()
    status: ItemStatus | None = None
    type: Literal["message"] = "message"
    role: Literal["user"] = "user"


@attrs.frozen(kw_only=True)
class AssistantMessageItem:
    """A message of the agent."""

    item_id: str
    previous_item_id: str | None = None
    content: tuple[AssistantText | AssistantAudio, ...] = ()
    status: ItemStatus | None = None
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"


@attrs.frozen(kw_only=True)
class RealtimeToolCallItem:
    """A call of a tool, with its output once there is one. `arguments` is JSON text as the model wrote it."""

    item_id: str
    previous_item_id: str | None = None
    call_id: str | None = None
    name: str = ""
    arguments: str = ""
    output: str | None = None
    status: ItemStatus | None = None
    type: Literal["function_call"] = "function_call"


@attrs.frozen(kw_only=True)
class OtherItem:
    """Ours: any other item of the conversation (tool outputs, MCP items, types newer than us), as the server sent
    it."""

    item_id: str
    previous_item_id: str | None = None
    type: str = ""
    status: ItemStatus | None = None
    data: Mapping[str, object] = attrs.field(factory=dict)


RealtimeItem = SystemMessageItem | UserMessageItem | AssistantMessageItem | RealtimeToolCallItem | OtherItem
