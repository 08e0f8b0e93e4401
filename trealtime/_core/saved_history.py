"""History in and out: a conversation as JSON to keep, and kept items as wire items to seed another session with.

cattrs does the structuring (imported on first use: nothing else needs it while a session runs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import attrs

from trealtime.errors import SettingsError, SettingsProblem
from trealtime.items import (
    AssistantAudio,
    AssistantMessageItem,
    AssistantText,
    InputAudio,
    InputImage,
    InputText,
    OtherItem,
    RealtimeItem,
    RealtimeToolCallItem,
    SystemMessageItem,
    UserMessageItem,
)

if TYPE_CHECKING:
    from cattrs.preconf.msgspec import MsgspecJsonConverter

__all__ = ["dump_history", "load_history", "stored_items", "wire_items"]

_MESSAGES: Final[Mapping[str, type]] = {
    "system": SystemMessageItem,
    "user": UserMessageItem,
    "assistant": AssistantMessageItem,
}
_PARTS: Final[Mapping[str, type]] = {
    "input_text": InputText,
    "input_audio": InputAudio,
    "input_image": InputImage,
    "text": AssistantText,
    "audio": AssistantAudio,
}


def dump_history(items: Iterable[RealtimeItem]) -> str:
    """The items as JSON text: an array of objects with the fields of the item classes."""
    return _converter().dumps(list(items)).decode()


def load_history(text: str | bytes) -> list[RealtimeItem]:
    """The items that `dump_history` wrote. Fields that are not known are left out.

    Raises `SettingsError` naming the first item and field that cannot be read.
    """
    import cattrs
    import msgspec

    # msgspec raises its own errors for JSON, UnicodeError for lone surrogates, RecursionError for absurd nesting.
    try:
        found = msgspec.json.decode(text)
        if not isinstance(found, list):
            raise ValueError("not an array")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise SettingsError([SettingsProblem("$", text, "JSON text of an array of items")], what="history") from error
    try:
        return _converter().structure(found, list[RealtimeItem])
    except cattrs.BaseValidationError as error:
        problems = [
            SettingsProblem(path, message, "an item as dump_history writes it") for path, message in _problems(error)
        ]
        raise SettingsError(problems, what="history") from error


def wire_items(items: Iterable[RealtimeItem]) -> list[dict[str, Any]]:
    """The items as ``conversation.item.create`` takes them, to seed a new session with what was said in an old one.

    Speech becomes its transcript, because the server takes no audio of the assistant; interrupted speech becomes the
    words that the user heard. A tool call gives two items, the call and its output. Calls without an output are left
    out, as are items of other types and messages without any text or image.
    """
    wired: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, RealtimeToolCallItem):
            if item.output is not None and item.call_id is not None:
                call = {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
                wired.append({"type": "function_call", **call})
                wired.append({"type": "function_call_output", "call_id": item.call_id, "output": item.output})
        elif not isinstance(item, OtherItem):
            content = [part for each in item.content if (part := _wire_part(each)) is not None]
            if content:
                wired.append({"type": "message", "role": item.role, "content": content})
    return wired


def stored_items(item: RealtimeItem, new_id: Callable[[], str]) -> list[dict[str, Any]]:
    """An item as the history of a session stores it, with its id; a call with an output gives two, and `new_id` makes
    the id of the second."""
    if isinstance(item, OtherItem):
        return [{**item.data, "id": item.item_id, "type": item.type, "status": item.status}]
    if not isinstance(item, RealtimeToolCallItem):
        content = [attrs.asdict(part, filter=lambda _, value: value is not None) for part in item.content]
        status = item.status or "completed"  # one that the app has made
        return [{"id": item.item_id, "type": "message", "role": item.role, "status": status, "content": content}]
    call = {"id": item.item_id, "type": "function_call", "call_id": item.call_id, "status": item.status}
    call |= {"name": item.name, "arguments": item.arguments}
    if item.output is None:
        return [call]
    output = {"id": new_id(), "type": "function_call_output", "call_id": item.call_id, "output": item.output}
    return [call, output]


def _wire_part(part: InputText | InputAudio | InputImage | AssistantText | AssistantAudio) -> dict[str, Any] | None:
    if isinstance(part, InputImage):
        if not part.image_url:
            return None
        detail = {} if part.detail is None else {"detail": part.detail}
        return {"type": "input_image", "image_url": part.image_url, **detail}
    text = part.transcript if isinstance(part, InputAudio | AssistantAudio) else part.text
    if not text:
        return None
    return {"type": "output_text" if isinstance(part, AssistantText | AssistantAudio) else "input_text", "text": text}


@lru_cache(maxsize=1)
def _converter() -> MsgspecJsonConverter:
    from cattrs.preconf.msgspec import make_converter

    converter = make_converter()

    def pick_item(value: Any, _: object) -> Any:
        kind = value.get("type") if isinstance(value, Mapping) else None
        if kind == "message":
            return converter.structure(value, _MESSAGES.get(str(value.get("role")), OtherItem))
        if kind is None:
            raise ValueError(f"an item is an object with a type, this is {value!r:.80}")
        return converter.structure(value, RealtimeToolCallItem if kind == "function_call" else OtherItem)

    def pick_part(value: Any, _: object) -> Any:
        kind = str(value.get("type")) if isinstance(value, Mapping) else ""
        if kind not in _PARTS:
            raise ValueError(f"type of a content part: {kind!r:.80}, allowed: {', '.join(_PARTS)}")
        return converter.structure(value, _PARTS[kind])

    # Values that others put into an item stay as they are.
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    converter.register_structure_hook(RealtimeItem, pick_item)
    for union in (InputText | InputAudio | InputImage, AssistantText | AssistantAudio):
        converter.register_structure_hook(union, pick_part)
    return converter


def _problems(error: BaseException) -> list[tuple[str, str]]:
    """The first error and its place in the JSON (``$[3].content[0]``)."""
    from cattrs import transform_error
    from cattrs.v import format_exception

    def describe(error: BaseException, kind: type | None) -> str:
        return str(error) if type(error) is ValueError else format_exception(error, kind)

    texts = transform_error(error, path="$", format_exception=describe)
    return [(path, message) for message, _, path in (text.rpartition(" @ ") for text in texts)]
