"""What the server says of the items of the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trealtime._core.effects import Effects
from trealtime._core.state import State
from trealtime.protocol import server_events as wire
from trealtime.protocol.lenient import as_text

__all__ = ["item_added", "item_done", "item_created", "item_retrieved", "item_deleted", "item_truncated"]


def item_added(state: State, event: wire.ConversationItemAdded, now: float, fx: Effects) -> None:
    _put_item(state, event.item, event.previous_item_id, fx, final=False)


def item_done(state: State, event: wire.ConversationItemDone, now: float, fx: Effects) -> None:
    _put_item(state, event.item, event.previous_item_id, fx, final=True)


def item_created(state: State, event: wire.ConversationItemCreated, now: float, fx: Effects) -> None:
    """The beta's one event for added and done: an item of the agent is only beginning."""
    _put_item(state, event.item, event.previous_item_id, fx, final=event.item.get("role") != "assistant")


def item_retrieved(state: State, event: wire.ConversationItemRetrieved, now: float, fx: Effects) -> None:
    _put_item(state, event.item, None, fx, final=False)
    item_id = as_text(event.item.get("id")) or ""
    reply_id = state.requests.answered("conversation.item.retrieve", item_id)
    if reply_id is not None:
        known = state.history.item(item_id) if item_id in state.history else None
        state.settle(fx, reply_id, known)


def item_deleted(state: State, event: wire.ConversationItemDeleted, now: float, fx: Effects) -> None:
    state.deleted_items.add(event.item_id)
    if state.history.remove(event.item_id):
        state.emit_history(fx, "updated", event.item_id)
    state.settle(fx, state.requests.answered("conversation.item.delete", event.item_id))


def item_truncated(state: State, event: wire.ConversationItemTruncated, now: float, fx: Effects) -> None:
    """Ours have been cut when we sent them; this is news where somebody else truncates (a telephone call's server)."""
    received_ms = state.ledger.received_ms(event.item_id, event.content_index)
    if state.history.cut(event.item_id, event.content_index, event.audio_end_ms, received_ms):
        state.emit_history(fx, "updated", event.item_id)
    state.settle(fx, state.requests.answered("conversation.item.truncate", event.item_id))


def _put_item(state: State, item: Mapping[str, Any], previous_item_id: str | None, fx: Effects, *, final: bool) -> None:
    item_id = as_text(item.get("id")) or ""
    state.items.confirm(item_id)
    first = state.first_items.take(item_id) and previous_item_id is None
    state.deleted_items.take(item_id)
    sent = state.sent_content.pop(item_id, None)
    if sent is not None:
        item = {**item, "content": _with_images(item.get("content"), sent)}
    change = state.history.put(
        item, previous_item_id=previous_item_id, first=first, status="completed" if final else "in_progress"
    )
    state.emit_history(fx, change, item_id)
    if item_id in state.history:
        reply_id = state.requests.answered("conversation.item.create", item_id)
        state.settle(fx, reply_id, state.history.item(item_id))


def _with_images(echoed: object, sent: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The content that the server echoes, with the images that it leaves out put back in their places (B161)."""
    rest = [part for part in echoed if isinstance(part, Mapping)] if isinstance(echoed, list) else []
    if any(part.get("type") == "input_image" and part.get("image_url") for part in rest):
        return rest
    texts = iter([part for part in rest if part.get("type") != "input_image"])
    return [part if part.get("type") == "input_image" else next(texts, part) for part in sent]
