"""The default conversation: its items in order, and the client events that change them."""

from __future__ import annotations

import math
from typing import Any

from trealtime.audio.formats import AudioFormat
from trealtime.emulator.event_buffer import EventBuffer, Ids
from trealtime.emulator.items import Clip, Item, read_item
from trealtime.emulator.validation import Refusal, integer, invalid_value, nullable, record, text

__all__ = ["Conversation"]

_EVENT = {"type": text(), "event_id": nullable(text())}
_CREATE = record(
    _EVENT | {"previous_item_id": nullable(text(non_empty=True)), "item": lambda value, path: value},
    required=("item",),
)
_ITEM_ID = record(_EVENT | {"item_id": text(non_empty=True)}, required=("item_id",))
_TRUNCATE = record(
    _EVENT | {"item_id": text(non_empty=True), "content_index": integer(0), "audio_end_ms": integer(0)},
    required=("item_id", "content_index", "audio_end_ms"),
)


class Conversation:
    """The items of one session.

    Bounded: past `max_items` the oldest item is forgotten, past `max_audio_bytes` the oldest audio; as on the
    service, where the oldest items drop out of the model's context, no event says so.
    """

    def __init__(self, event_buffer: EventBuffer, ids: Ids, *, max_items: int, max_audio_bytes: int) -> None:
        self.id: str = ids.new("conv")
        self._event_buffer = event_buffer
        self._ids = ids
        self._max_items = max_items
        self._max_audio_bytes = max_audio_bytes
        self._audio_bytes = 0
        self._items: dict[str, Item] = {}
        self._order: list[str] = []

    @property
    def items(self) -> list[Item]:
        """All items, oldest first."""
        return [self._items[item_id] for item_id in self._order]

    @property
    def last_item_id(self) -> str | None:
        """The id of the newest item."""
        return self._order[-1] if self._order else None

    def get(self, item_id: str) -> Item | None:
        """The item with that id."""
        return self._items.get(item_id)

    # ---- the server's own moves --------------------------------------------------------------------------------

    def add(self, item: Item, *, index: int | None = None) -> None:
        """Put `item` at `index` (None: the end) and say so."""
        self._items[item.id] = item
        self._order.insert(len(self._order) if index is None else index, item.id)
        self._event_buffer.emit(
            "conversation.item.added", {"previous_item_id": self._previous(item.id), "item": item.wire()}
        )
        self.keep_audio(sum(len(clip.data) for clip in item.clips.values()))
        if len(self._order) > self._max_items:
            self._forget(self._order[0])

    def finish(self, item: Item) -> None:
        """Say that `item` is final, unless it has been deleted."""
        if item.id in self._items:
            self._event_buffer.emit(
                "conversation.item.done", {"previous_item_id": self._previous(item.id), "item": item.wire()}
            )

    def note(self, body: dict[str, Any]) -> None:
        """An item that the client has been told of already: add it at the end, or replace its body. Emits nothing."""
        known = self._items.get(body["id"])
        if known is not None:
            known.body = dict(body)
            return
        self._items[body["id"]] = Item(dict(body))
        self._order.append(body["id"])
        if len(self._order) > self._max_items:
            self._forget(self._order[0])

    def keep_audio(self, n_bytes: int) -> None:
        """Account for `n_bytes` more of stored audio; the oldest is let go when that is too much."""
        self._audio_bytes += n_bytes
        if self._audio_bytes <= self._max_audio_bytes:
            return
        for item_id in self._order:
            for clip in self._items[item_id].clips.values():
                self._audio_bytes -= clip.release()
                if self._audio_bytes <= self._max_audio_bytes:
                    return

    # ---- client events -----------------------------------------------------------------------------------------

    def create(self, event: dict[str, Any], *, input_format: AudioFormat) -> None:
        """``conversation.item.create``."""
        fields = _CREATE(event, "")
        item = read_item(fields["item"], "item", ids=self._ids, input_format=input_format)
        if item.id in self._items:
            raise Refusal(
                f"The conversation already has an item with id '{item.id}'.",
                code="item_create_duplicate_item_id",
                param="item.id",
            )
        previous_id = fields.get("previous_item_id")
        if previous_id is None:
            index = None
        elif previous_id == "root":
            index = 0
        elif previous_id in self._items:
            index = self._order.index(previous_id) + 1
        else:
            raise _no_such_item(previous_id, "creating", code="item_create_invalid_previous_item_id")
        self.add(item, index=index)
        self.finish(item)

    def retrieve(self, event: dict[str, Any]) -> None:
        """``conversation.item.retrieve``."""
        item = self._find(_ITEM_ID(event, "")["item_id"], "retrieving", code="item_retrieve_invalid_item_id")
        self._event_buffer.emit("conversation.item.retrieved", {"item": item.wire_with_audio()})

    def delete(self, event: dict[str, Any]) -> None:
        """``conversation.item.delete``."""
        item = self._find(_ITEM_ID(event, "")["item_id"], "deleting", code="item_delete_invalid_item_id")
        self._forget(item.id)
        self._event_buffer.emit("conversation.item.deleted", {"item_id": item.id})

    def truncate(self, event: dict[str, Any]) -> None:
        """``conversation.item.truncate``: keep the audio that was heard, and no transcript: its end cannot be known."""
        fields = _TRUNCATE(event, "")
        item = self._find(fields["item_id"], "truncating", code="item_truncate_invalid_item_id")
        index, end_ms = fields["content_index"], fields["audio_end_ms"]
        clip = self._model_audio(item, index)
        # A client that counts in whole milliseconds may round the last one up.
        if end_ms > math.ceil(clip.duration_ms):
            raise Refusal(
                f"Audio content of {math.floor(clip.duration_ms)}ms is already shorter than {end_ms}ms",
                code="invalid_value",
                param="audio_end_ms",
            )
        self._audio_bytes -= clip.cut(end_ms)
        item.truncated = True
        item.body["content"][index].pop("transcript", None)
        self._event_buffer.emit(
            "conversation.item.truncated", {"item_id": item.id, "content_index": index, "audio_end_ms": end_ms}
        )

    # ---- inside ------------------------------------------------------------------------------------------------

    def _find(self, item_id: str, doing: str, *, code: str) -> Item:
        item = self._items.get(item_id)
        if item is None:
            raise _no_such_item(item_id, doing, code=code)
        return item

    def _model_audio(self, item: Item, index: int) -> Clip:
        if item.body.get("role") != "assistant" or not item.clips:
            # An answer that has not made a sound yet counts as one without audio.
            raise Refusal("Only model output audio messages can be truncated", code="invalid_value", param="item_id")
        if index not in item.clips:
            indexes = ", ".join(map(str, item.clips))
            raise invalid_value("content_index", index, f"the index of an audio part of this item: {indexes}")
        return item.clips[index]

    def _previous(self, item_id: str) -> str | None:
        index = len(self._order) - 1 if self._order[-1] == item_id else self._order.index(item_id)
        return self._order[index - 1] if index > 0 else None

    def _forget(self, item_id: str) -> None:
        item = self._items.pop(item_id)
        self._order.remove(item_id)
        self._audio_bytes -= sum(clip.release() for clip in item.clips.values())


def _no_such_item(item_id: str, doing: str, *, code: str) -> Refusal:
    param = "previous_item_id" if doing == "creating" else "item_id"
    return Refusal(f"Error {doing} item: the conversation has no item with id '{item_id}'.", code=code, param=param)
