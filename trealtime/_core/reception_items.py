"""What the server says of the items of the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trealtime._core.approvals import drop_approval
from trealtime._core.effects import CancelTool
from trealtime._core.input_guardrails import message_said
from trealtime._core.playback_ledger import whole_ms
from trealtime._core.requests import Sent
from trealtime._core.state import State
from trealtime._core.tool_calls import end_call
from trealtime.protocol import server_events as wire
from trealtime.protocol.lenient import as_text

__all__ = [
    "create_item",
    "truncate_item",
    "item_added",
    "item_done",
    "item_created",
    "item_retrieved",
    "item_deleted",
    "item_truncated",
]


def create_item(
    state: State,
    given: Mapping[str, Any],
    now: float,
    *,
    previous_item_id: str | None,
    reply_id: str | None,
    said: bool,
) -> None:
    """See `Conversation.create_item`."""
    item = dict(given)
    item_id = item["id"] = item.get("id") or state.ids.new("item")
    event: dict[str, Any] = {"type": "conversation.item.create", "item": item}
    if previous_item_id is not None:
        event["previous_item_id"] = previous_item_id
        if previous_item_id == "root":
            state.first_items.add(item_id)
    content = item.get("content")
    if isinstance(content, list) and any(part.get("type") == "input_image" for part in content):
        state.sent_content[item_id] = content
        if len(state.sent_content) > 256:  # items that a server never answers must not add up
            del state.sent_content[next(iter(state.sent_content))]
    state.send(event, Sent("conversation.item.create", reply_id, item_id))
    if said:
        message_said(state, item, now)
    if item.get("type") == "function_call_output" and item.get("call_id") in state.calls:
        # The app answers a call by itself; whether it wants a response it says by itself too.
        state.do(CancelTool(item["call_id"]))
        end_call(state, item["call_id"], respond=False)
    elif item.get("type") == "mcp_approval_response":
        drop_approval(state, str(item.get("approval_request_id")), "answered")


def truncate_item(state: State, item_id: str, content_index: int, audio_end_ms: int, *, reply_id: str | None) -> None:
    """See `Conversation.truncate_item`."""
    received_ms = state.ledger.received_ms(item_id, content_index)
    end_ms = max(0, audio_end_ms)
    event = {
        "type": "conversation.item.truncate",
        "item_id": item_id,
        "content_index": content_index,
        "audio_end_ms": end_ms if received_ms is None else min(end_ms, whole_ms(received_ms)),
    }
    state.send(event, Sent("conversation.item.truncate", reply_id, item_id))


def item_added(state: State, event: wire.ConversationItemAdded, now: float) -> None:
    _put_item(state, event.item, event.previous_item_id, final=False)


def item_done(state: State, event: wire.ConversationItemDone, now: float) -> None:
    _put_item(state, event.item, event.previous_item_id, final=True)


def item_created(state: State, event: wire.ConversationItemCreated, now: float) -> None:
    """The beta's one event for added and done: an item of the agent is only beginning."""
    _put_item(state, event.item, event.previous_item_id, final=event.item.get("role") != "assistant")


def item_retrieved(state: State, event: wire.ConversationItemRetrieved, now: float) -> None:
    _put_item(state, event.item, None, final=False)
    item_id = as_text(event.item.get("id")) or ""
    reply_id = state.requests.answered("conversation.item.retrieve", item_id)
    if reply_id is not None:
        known = state.history.item(item_id) if item_id in state.history else None
        state.settle(reply_id, known)


def item_deleted(state: State, event: wire.ConversationItemDeleted, now: float) -> None:
    state.deleted_items.add(event.item_id)
    if state.history.remove(event.item_id):
        state.emit_history("updated", event.item_id)
    state.settle(state.requests.answered("conversation.item.delete", event.item_id))


def item_truncated(state: State, event: wire.ConversationItemTruncated, now: float) -> None:
    """Ours have been cut when we sent them; this is news where somebody else truncates (a telephone call's server)."""
    received_ms = state.ledger.received_ms(event.item_id, event.content_index)
    if state.history.cut(event.item_id, event.content_index, event.audio_end_ms, received_ms):
        state.emit_history("updated", event.item_id)
    state.settle(state.requests.answered("conversation.item.truncate", event.item_id))


def _put_item(state: State, item: Mapping[str, Any], previous_item_id: str | None, *, final: bool) -> None:
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
    state.emit_history(change, item_id)
    if item_id in state.history:
        reply_id = state.requests.answered("conversation.item.create", item_id)
        state.settle(reply_id, state.history.item(item_id))


def _with_images(echoed: object, sent: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The content that the server echoes, with the images that it leaves out put back in their places (B161)."""
    rest = [part for part in echoed if isinstance(part, Mapping)] if isinstance(echoed, list) else []
    if any(part.get("type") == "input_image" and part.get("image_url") for part in rest):
        return rest
    texts = iter([part for part in rest if part.get("type") != "input_image"])
    return [part if part.get("type") == "input_image" else next(texts, part) for part in sent]
