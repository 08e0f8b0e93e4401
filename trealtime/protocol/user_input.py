"""Messages of an app, in any of their forms, to conversation items of the wire.

A message is a string, a typed `UserMessage`, or the wire's own mapping. Everything is checked here: a part that the
server would not take raises an error that names it, and is never left out in silence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import attrs
import pybase64

from trealtime._value import Value
from trealtime.errors import SettingsError, SettingsProblem

__all__ = [
    "AudioPart",
    "ImagePart",
    "MessagePart",
    "TextPart",
    "UserInput",
    "UserMessage",
    "image_part",
    "input_items",
    "message_item",
]

Role = Literal["user", "system", "assistant"]
ImageDetail = Literal["auto", "low", "high"]


@attrs.frozen(eq=False, repr=False)
class TextPart(Value):
    """Text; the assistant's words if the message is the assistant's."""

    text: str


@attrs.frozen(eq=False, repr=False)
class ImagePart(Value):
    """An image of the user: `image_url` is a data URI with a PNG or JPEG (`image_part` makes one), or an ``https:``
    address that the service fetches."""

    image_url: str
    detail: ImageDetail | None = None


@attrs.frozen(eq=False, repr=False)
class AudioPart(Value):
    """Speech of the user: raw bytes in the session's input format."""

    audio: bytes
    transcript: str | None = None


MessagePart = TextPart | ImagePart | AudioPart


@attrs.frozen(eq=False, repr=False)
class UserMessage(Value):
    """One message of one or more parts. `role` is the user's, unless you repeat an earlier conversation."""

    content: Sequence[MessagePart]
    role: Role = attrs.field(default="user", kw_only=True)


UserInput = str | UserMessage | Mapping[str, Any]


def image_part(image: bytes | str | os.PathLike[str], *, detail: ImageDetail | None = None) -> ImagePart:
    """An image as a message part: `image` is the bytes of a PNG or JPEG file, or the path of one.

    A path is read at once, blocking. Raises `SettingsError` when the bytes do not begin as a PNG or JPEG does.
    """
    data = image if isinstance(image, bytes) else Path(image).read_bytes()
    for signature, media_type in _SIGNATURES.items():
        if data.startswith(signature):
            return ImagePart(f"data:{media_type};base64,{pybase64.b64encode_as_string(data)}", detail=detail)
    raise SettingsError([SettingsProblem("image", data[:16], "the bytes of a PNG or JPEG file")], what="image")


_SIGNATURES: Final = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


# ---- items ----------------------------------------------------------------------------------------------------------


def message_item(message: UserInput, *, role: Role = "user", item_id: str | None = None) -> dict[str, Any]:
    """Return `message` as a wire item of type ``message``.

    A string becomes one text part (``output_text`` for the assistant) of `role`; typed messages and mappings say their
    own role. `item_id` is set as the item's ``id`` when the message has none. Raises `SettingsError` naming every part
    that cannot be sent, and the types that can.
    """
    if isinstance(message, str):
        message = UserMessage([TextPart(message)], role=role)
    problems: list[SettingsProblem] = []
    if isinstance(message, UserMessage):
        item = _message(message.role, [_wire_part(part, message.role) for part in message.content], problems)
    elif isinstance(message, Mapping):
        item = _mapped_message(message, role, problems)
    else:
        problems.append(SettingsProblem("message", message, "a string, a UserMessage or a mapping of type 'message'"))
        item = {}
    if problems:
        raise SettingsError(problems, what="message")
    if item_id is not None:
        item.setdefault("id", item_id)
    return item


def input_items(value: UserInput | Sequence[UserInput]) -> list[dict[str, Any]]:
    """Return the ``input`` of a response: one message or several.

    Mappings of other types (references, calls, outputs) go as they are. An empty list means no context at all. Raises
    `SettingsError` as `message_item` does.
    """
    several = [value] if isinstance(value, (str, UserMessage, Mapping)) else value
    return [
        dict(each) if isinstance(each, Mapping) and each.get("type", "message") != "message" else message_item(each)
        for each in several
    ]


def _mapped_message(message: Mapping[str, Any], role: Role, problems: list[SettingsProblem]) -> dict[str, Any]:
    if message.get("type", "message") != "message":
        problems.append(SettingsProblem("type", message["type"], "'message'"))
        return {}
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": _text_type(message.get("role", role)), "text": content}]
    if not isinstance(content, Sequence):
        problems.append(SettingsProblem("content", content, "a list of parts, or a string"))
        return {}
    parts = [_wire_part(part, message.get("role", role)) for part in content]
    rest = {key: value for key, value in message.items() if key not in ("type", "role", "content")}
    return {**_message(message.get("role", role), parts, problems), **rest}


def _message(role: Any, parts: Sequence[Any], problems: list[SettingsProblem]) -> dict[str, Any]:
    if not isinstance(role, str) or role not in _PARTS_OF_ROLE:
        problems.append(SettingsProblem("role", role, ", ".join(map(repr, _PARTS_OF_ROLE))))
    else:
        for index, part in enumerate(parts):
            problems.extend(_part_problems(part, f"content[{index}]", _PARTS_OF_ROLE[role]))
    return {"type": "message", "role": role, "content": list(parts)}


# The assistant's audio cannot be given back to the server, so its turns go as text.
_PARTS_OF_ROLE: Final[Mapping[str, tuple[str, ...]]] = {
    "user": ("input_text", "input_image", "input_audio"),
    "system": ("input_text",),
    "assistant": ("output_text",),
}


def _text_type(role: object) -> str:
    return "output_text" if role == "assistant" else "input_text"


def _wire_part(part: Any, role: object) -> Any:
    """Return a part as its wire mapping, None left out; any other value stays as it is, for the check to judge."""
    if isinstance(part, TextPart):
        return {"type": _text_type(role), "text": part.text}
    if isinstance(part, ImagePart):
        image = {"type": "input_image", "image_url": part.image_url}
        return image if part.detail is None else {**image, "detail": part.detail}
    if isinstance(part, AudioPart):
        audio = {"type": "input_audio", "audio": pybase64.b64encode_as_string(part.audio)}
        return audio if part.transcript is None else {**audio, "transcript": part.transcript}
    if isinstance(part, Mapping):
        return {key: value for key, value in part.items() if value is not None}
    return part


def _part_problems(part: Any, path: str, allowed: Sequence[str]) -> list[SettingsProblem]:
    if not isinstance(part, Mapping):
        return [SettingsProblem(path, part, "a mapping with a 'type', a TextPart, an ImagePart or an AudioPart")]
    kind = part.get("type")
    if kind not in allowed:
        return [SettingsProblem(f"{path}.type", kind, ", ".join(map(repr, allowed)))]
    if kind == "input_image":
        return _image_problems(part, path)
    field = "audio" if kind == "input_audio" else "text"
    value = part.get(field)
    if not isinstance(value, str) or (field == "audio" and not value):
        return [SettingsProblem(f"{path}.{field}", value, "base64 text" if field == "audio" else "a string")]
    if not _is_unicode(value):
        return [SettingsProblem(f"{path}.{field}", value, "text without lone surrogates, which UTF-8 cannot carry")]
    return []


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _image_problems(part: Mapping[str, Any], path: str) -> list[SettingsProblem]:
    problems: list[SettingsProblem] = []
    url = part.get("image_url")
    if not isinstance(url, str) or not url.lower().startswith(_IMAGE_URIS):
        problems.append(
            SettingsProblem(
                f"{path}.image_url",
                url,
                "a data URI with a PNG or JPEG (data:image/png;base64,...; see image_part), or an https: address",
            )
        )
    if "detail" in part and part["detail"] not in ("auto", "low", "high"):
        problems.append(SettingsProblem(f"{path}.detail", part["detail"], "'auto', 'low', 'high'"))
    return problems


_IMAGE_URIS: Final = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/jpg;base64,", "https://")
