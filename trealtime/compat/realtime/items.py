"""Items of the conversation, with the methods of a pydantic model that programs call: ``item.model_dump()``.

They are dataclasses and need no pydantic. `content` is a list. Every event carries items of its own, so that changing
one changes nothing else.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal, Self, TypeAlias

import trealtime.items as native

__all__ = [
    "AssistantAudio",
    "AssistantMessageItem",
    "AssistantText",
    "InputAudio",
    "InputImage",
    "InputText",
    "RealtimeItem",
    "RealtimeMessageItem",
    "RealtimeResponse",
    "RealtimeToolCallItem",
    "SystemMessageItem",
    "UserMessageItem",
    "item_of",
    "message_of_wire",
]


class _Model:
    """The pydantic methods that programs call on the SDK's items."""

    def model_dump(
        self,
        *,
        mode: Literal["python", "json"] = "python",
        include: Collection[str] | None = None,
        exclude: Collection[str] | None = None,
        exclude_none: bool = False,
    ) -> dict[str, Any]:
        """Return the fields as a dict, nested values too. Every value has a JSON form, so both modes give the same."""
        assert dataclasses.is_dataclass(self)
        assert not isinstance(self, type)
        dumped: dict[str, Any] = dataclasses.asdict(self)
        wanted = [
            key for key in dumped if (include is None or key in include) and (exclude is None or key not in exclude)
        ]
        return {key: _without_none(dumped[key]) if exclude_none else dumped[key] for key in wanted
                if not (exclude_none and dumped[key] is None)}  # fmt: skip

    def model_dump_json(self, *, indent: int | None = None, exclude_none: bool = False) -> str:
        """Return the fields as JSON text."""
        return json.dumps(self.model_dump(exclude_none=exclude_none), indent=indent, ensure_ascii=False)

    @classmethod
    def model_validate(cls, obj: Mapping[str, Any]) -> Self:
        """Return the item or part of which `obj` has the fields, as `model_dump` gives them; unknown keys are left out.

        Raises TypeError for an `obj` that lacks a field, and ValueError for a part of unknown type.
        """
        assert dataclasses.is_dataclass(cls)
        known = {field.name for field in dataclasses.fields(cls)}
        values = {key: value for key, value in obj.items() if key in known}
        if "content" in values:
            values["content"] = [_part_of(part) for part in values["content"]]
        return cls(**values)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes) -> Self:
        """As `model_validate`, from JSON text."""
        return cls.model_validate(json.loads(json_data))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with the fields of `update`; `deep` copies parts of the content as well."""
        copied: Self = dataclasses.replace(self, **(update or {}))  # type: ignore[type-var]
        if deep and isinstance(getattr(copied, "content", None), list):
            copied.content = [dataclasses.replace(part) for part in copied.content]  # type: ignore[attr-defined]
        return copied


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_none(each) for each in value]
    return value


@dataclasses.dataclass(kw_only=True)
class InputText(_Model):
    """Text of the user or of the system."""

    type: Literal["input_text"] = "input_text"
    text: str | None = None


@dataclasses.dataclass(kw_only=True)
class InputAudio(_Model):
    """Speech of the user: base64 audio, where the server was asked for it, and the transcript once there is one."""

    type: Literal["input_audio"] = "input_audio"
    audio: str | None = None
    transcript: str | None = None


@dataclasses.dataclass(kw_only=True)
class InputImage(_Model):
    """An image of the user."""

    type: Literal["input_image"] = "input_image"
    image_url: str | None = None
    detail: str | None = None


@dataclasses.dataclass(kw_only=True)
class AssistantText(_Model):
    """Text that the agent wrote."""

    type: Literal["text"] = "text"
    text: str | None = None


@dataclasses.dataclass(kw_only=True)
class AssistantAudio(_Model):
    """Speech of the agent; after an interrupt `transcript` holds only what the user can have heard."""

    type: Literal["audio"] = "audio"
    audio: str | None = None
    transcript: str | None = None


_PARTS: Final[Mapping[str, type[_Model]]] = {
    "input_text": InputText,
    "input_audio": InputAudio,
    "input_image": InputImage,
    "text": AssistantText,
    "audio": AssistantAudio,
}


def _part_of(part: object) -> object:
    if not isinstance(part, Mapping):
        return part
    if part.get("type") not in _PARTS:
        raise ValueError(f"content: got a part of type {part.get('type')!r}, allowed: {', '.join(_PARTS)}")
    return _PARTS[part["type"]].model_validate(part)


@dataclasses.dataclass(kw_only=True)
class SystemMessageItem(_Model):
    """A message of the developer to the model."""

    item_id: str
    previous_item_id: str | None = None
    type: Literal["message"] = "message"
    role: Literal["system"] = "system"
    content: list[InputText]


@dataclasses.dataclass(kw_only=True)
class UserMessageItem(_Model):
    """A turn of the user."""

    item_id: str
    previous_item_id: str | None = None
    type: Literal["message"] = "message"
    role: Literal["user"] = "user"
    content: list[InputText | InputAudio | InputImage]


@dataclasses.dataclass(kw_only=True)
class AssistantMessageItem(_Model):
    """A message of the agent."""

    item_id: str
    previous_item_id: str | None = None
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    content: list[AssistantText | AssistantAudio]


@dataclasses.dataclass(kw_only=True)
class RealtimeToolCallItem(_Model):
    """A call of a tool, with its output once there is one; `arguments` is JSON text as the model wrote it."""

    item_id: str
    previous_item_id: str | None = None
    call_id: str | None
    type: Literal["function_call"] = "function_call"
    status: Literal["in_progress", "completed"]
    arguments: str
    name: str
    output: str | None = None


RealtimeMessageItem: TypeAlias = SystemMessageItem | UserMessageItem | AssistantMessageItem
"""A message, of any role."""

RealtimeItem: TypeAlias = SystemMessageItem | UserMessageItem | AssistantMessageItem | RealtimeToolCallItem
"""An item of the history."""


@dataclasses.dataclass(kw_only=True)
class RealtimeResponse(_Model):
    """A response and the messages that it made."""

    id: str
    output: list[RealtimeMessageItem]


# ---- from trealtime's own items -------------------------------------------------------------------------------------


def item_of(item: native.RealtimeItem) -> RealtimeItem | None:
    """Return `item` in the SDK's shape; None for kinds that the SDK does not have (tool outputs, MCP items)."""
    match item:
        case native.SystemMessageItem():
            return SystemMessageItem(
                item_id=item.item_id,
                previous_item_id=item.previous_item_id,
                content=[InputText(text=part.text) for part in item.content],
            )
        case native.UserMessageItem():
            return UserMessageItem(
                item_id=item.item_id,
                previous_item_id=item.previous_item_id,
                content=[_user_part(part) for part in item.content],
            )
        case native.AssistantMessageItem():
            return AssistantMessageItem(
                item_id=item.item_id,
                previous_item_id=item.previous_item_id,
                status=item.status,
                content=[_assistant_part(part) for part in item.content],
            )
        case native.RealtimeToolCallItem():
            return RealtimeToolCallItem(
                item_id=item.item_id,
                previous_item_id=item.previous_item_id,
                call_id=item.call_id,
                status="completed" if item.output is not None else "in_progress",
                arguments=item.arguments,
                name=item.name,
                output=item.output,
            )
        case _:
            return None


def _user_part(part: native.InputText | native.InputAudio | native.InputImage) -> InputText | InputAudio | InputImage:
    match part:
        case native.InputText():
            return InputText(text=part.text)
        case native.InputAudio():
            return InputAudio(audio=part.audio, transcript=part.transcript)
        case native.InputImage():
            return InputImage(image_url=part.image_url, detail=part.detail)


def _assistant_part(part: native.AssistantText | native.AssistantAudio) -> AssistantText | AssistantAudio:
    if isinstance(part, native.AssistantText):
        return AssistantText(text=part.text)
    return AssistantAudio(audio=part.audio, transcript=part.transcript)


# ---- from the wire --------------------------------------------------------------------------------------------------


def message_of_wire(item: Mapping[str, Any], previous_item_id: str | None = None) -> RealtimeMessageItem | None:
    """Return the message that a server event has as `item`; None for what is no message."""
    if item.get("type") != "message":
        return None
    item_id = str(item.get("id") or "")
    parts = [part for part in _list(item.get("content")) if isinstance(part, Mapping)]
    match item.get("role"):
        case "system":
            texts = [InputText(text=part.get("text")) for part in parts if part.get("type") == "input_text"]
            return SystemMessageItem(item_id=item_id, previous_item_id=previous_item_id, content=texts)
        case "user":
            said = [known for part in parts if (known := _user_part_of_wire(part)) is not None]
            return UserMessageItem(item_id=item_id, previous_item_id=previous_item_id, content=said)
        case "assistant":
            answered = [made for part in parts if (made := _assistant_part_of_wire(part)) is not None]
            status = item.get("status")
            return AssistantMessageItem(
                item_id=item_id,
                previous_item_id=previous_item_id,
                status=status if status in ("in_progress", "completed", "incomplete") else None,
                content=answered,
            )
        case _:
            return None


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _user_part_of_wire(part: Mapping[str, Any]) -> InputText | InputAudio | InputImage | None:
    match part.get("type"):
        case "input_text":
            return InputText(text=part.get("text"))
        case "input_audio":
            return InputAudio(audio=part.get("audio"), transcript=part.get("transcript"))
        case "input_image":
            return InputImage(image_url=part.get("image_url"), detail=part.get("detail"))
        case _:
            return None


def _assistant_part_of_wire(part: Mapping[str, Any]) -> AssistantText | AssistantAudio | None:
    match part.get("type"):
        case "output_text" | "text":
            return AssistantText(text=part.get("text"))
        case "output_audio" | "audio":
            return AssistantAudio(audio=part.get("audio"), transcript=part.get("transcript"))
        case _:
            return None
