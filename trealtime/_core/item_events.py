"""Items of the conversation: the app's requests about them, and the events by which the server shows them.

How the items stand in order, and what they say, is in `history`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trealtime._core.approvals import drop_approval
from trealtime._core.effects import CancelTool
from trealtime._core.input_guardrails import message_said
from trealtime._core.playback_ledger import whole_ms
from trealtime._core.tool_calls import end_call
from trealtime._core.turns import item_shown
from trealtime.protocol import server_events as wire
from trealtime.protocol.lenient import as_text

if TYPE_CHECKING:
    from trealtime._core.state import State
    from trealtime.items import ItemStatus

__all__ = [
    "answered_by_app",
    "create_item",
    "item_added",
    "item_created",
    "item_deleted",
    "item_done",
    "item_retrieved",
    "item_truncated",
    "truncate_item",
]


# ---- what the app asks for ------------------------------------------------------------------------------------------


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
            state.first_items[item_id] = None
    content = item.get("content")
    if isinstance(content, list) and any(part.get("type") == "input_image" for part in content):
        state.sent_content[item_id] = content
    state.send(event, reply_id=reply_id)
    if said:
        message_said(state, item, now)
    answered_by_app(state, item)


def answered_by_app(state: State, item: Mapping[str, Any]) -> None:
    """The app has sent this item. If it answers a function call, the call has its output now, and the app asks for a
    response by itself. If it answers a call of a hosted tool, the call no longer waits for a decision."""
    call_id = item.get("call_id")
    if item.get("type") == "function_call_output" and isinstance(call_id, str) and call_id in state.calls:
        state.do(CancelTool(call_id))
        end_call(state, call_id, respond=False)
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
    state.send(event, reply_id=reply_id)


# ---- what the server shows ------------------------------------------------------------------------------------------


def item_added(state: State, event: wire.ConversationItemAdded, now: float) -> None:
    _put_item(state, event.item, event.previous_item_id, now, final=False)


def item_done(state: State, event: wire.ConversationItemDone, now: float) -> None:
    _put_item(state, event.item, event.previous_item_id, now, final=True)


def item_created(state: State, event: wire.ConversationItemCreated, now: float) -> None:
    """``conversation.item.created``, the beta's one event for added and done: an item of the agent is only
    beginning."""
    _put_item(state, event.item, event.previous_item_id, now, final=event.item.get("role") != "assistant")


def item_retrieved(state: State, event: wire.ConversationItemRetrieved, now: float) -> None:
    _put_item(state, event.item, None, now, final=False, asked=True)
    item_id = as_text(event.item.get("id")) or ""
    reply_id = state.requests.answered("conversation.item.retrieve", item_id)
    if reply_id is not None:
        known = state.history.item(item_id) if item_id in state.history else None
        state.settle(reply_id, known)


def item_deleted(state: State, event: wire.ConversationItemDeleted, now: float) -> None:
    asked = state.requests.oldest("conversation.item.delete", event.item_id)
    reply_id = state.requests.answered("conversation.item.delete", event.item_id)
    told_anew = state.link.was_replaced(event.item_id) and (asked is None or asked.own)  # perhaps it is said twice
    if not told_anew:
        state.deleted_items[event.item_id] = None
        if state.history.remove(event.item_id):
            state.emit_history("updated", event.item_id)
    state.settle(reply_id)


def item_truncated(state: State, event: wire.ConversationItemTruncated, now: float) -> None:
    """We trim items when we send a truncation; this one is news when another truncates, as the server of a phone call
    does."""
    received_ms = state.ledger.received_ms(event.item_id, event.content_index)
    if state.history.cut(event.item_id, event.content_index, event.audio_end_ms, received_ms):
        state.emit_history("updated", event.item_id)
    cut = {"content_index": event.content_index, "audio_end_ms": event.audio_end_ms}
    reply_id = state.requests.answered(
        "conversation.item.truncate", event.item_id, fits=lambda sent: {key: sent.get(key) for key in cut} == cut
    )
    state.settle(reply_id)


def _put_item(
    state: State,
    item: Mapping[str, Any],
    previous_item_id: str | None,
    now: float,
    *,
    final: bool,
    asked: bool = False,
) -> None:
    item_id = as_text(item.get("id")) or ""
    if any(each.too_early and (item_id in each.open_items or item_id in each.dropped) for each in state.live()):
        return  # it is deleted as soon as it is whole
    ours = asked or state.items.confirm(item_id)
    if item_id in state.link.told:  # we know it better than the server, which has it as text
        state.link.told.confirm(item_id)
        known = state.history.item(item_id) if item_id in state.history else None
        state.settle(state.requests.answered("conversation.item.create", item_id), known)
        return
    place, named = state.link.places.get(item_id), previous_item_id
    # Only the first word of its place says what was the last item when the server made it.
    present = () if ours or state.history.placed(item_id) else state.history
    previous_item_id = place if place in state.history else state.link.local(previous_item_id, present=present)
    first = state.first_items.discard(item_id) and previous_item_id is None
    if first and (before := state.link.told.last_after(None)) is not None:
        previous_item_id, first = before, False
    state.deleted_items.discard(item_id)
    sent = state.sent_content.pop(item_id, None)
    if sent is not None:
        item = {**item, "content": _with_images(item.get("content"), sent)}
    status: ItemStatus = "completed" if final else "in_progress"
    change = state.history.put(item, previous_item_id=previous_item_id, named=named, first=first, status=status)
    state.emit_history(change, item_id)
    item_shown(state, item_id, now, of_server=change == "added" and not ours and _is_speech(state, item))
    if item_id in state.history:
        # One that is new may be ours under an id of the server's; later sights of an item answer no other request.
        fits = (lambda sent: _is_alike(sent.get("item"), item)) if change == "added" else None
        reply_id = state.requests.answered("conversation.item.create", item_id, fits=fits)
        state.settle(reply_id, state.history.item(item_id))


def _is_speech(state: State, item: Mapping[str, Any]) -> bool:
    """Whether an item is speech of the user that we have not sent."""
    content = item.get("content")
    parts = [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []
    said = item.get("role") == "user" and any(part.get("type") == "input_audio" for part in parts)
    return said and not any(_is_alike(sent, item) for sent in state.requests.items())


def _is_alike(sent: object, shown: Mapping[str, Any]) -> bool:
    """Whether two items say the same under different ids."""
    if not isinstance(sent, Mapping):
        return False
    keys = ("type", "role", "call_id", "output", "approval_request_id")
    return all(sent.get(key) == shown.get(key) for key in keys) and _texts(sent) == _texts(shown)


def _texts(item: Mapping[str, Any]) -> list[object]:
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    return [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("text")]


def _with_images(echoed: object, sent: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The content that the server echoes, with the images that it leaves out put back in their places."""
    rest = [part for part in echoed if isinstance(part, Mapping)] if isinstance(echoed, list) else []
    if any(part.get("type") == "input_image" and part.get("image_url") for part in rest):
        return rest
    texts = iter([part for part in rest if part.get("type") != "input_image"])
    return [part if part.get("type") == "input_image" else next(texts, part) for part in sent]
