"""Responses that the server does not name: which of them an event without the id of a response is about.

Theory of operation
1. Output and the end are of the response that has the item, or the request, that they name; else of the only one that
   lives, or the only one of the conversation. The beginning is that of a live one only where its output came first.
2. Else a response begins, under a name of ours. The server does not know that name, so a cancel names no response.
3. Where the server names a response later that has begun without a name, that is its name.
4. An end where nothing lives, is asked for, or has been made, is one that is told twice: it changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from trealtime._core.response_queue import METADATA_KEY
from trealtime.protocol import server_events as wire
from trealtime.protocol.lenient import as_text, within

if TYPE_CHECKING:
    from trealtime._core.response import Response
    from trealtime._core.state import State

__all__ = ["cancel_event", "named"]

_OF_RESPONSE: Final = "response."


def named(state: State, event: wire.AnyServerEvent) -> wire.AnyServerEvent | None:
    """Return the event with the name under which its response is known here; None: it changes nothing."""
    if not event.type.startswith(_OF_RESPONSE):
        return event
    whole = event.response if isinstance(event, wire.ResponseCreated | wire.ResponseDone) else None
    given = getattr(event, "response_id", None) if whole is None else as_text(whole.get("id")) or ""
    if given is None or (given and not state.unnamed):
        return event
    name = _known_as(state, event, given) if given else _find(state, event)
    if name is None or name == given:
        return None if name is None else event
    struct: Any = event  # to mypy it has another base (`trealtime._value.Struct`)
    changed: dict[str, Any] = {"response_id": name} if whole is None else {"response": {**whole, "id": name}}
    renamed: wire.AnyServerEvent = msgspec.structs.replace(struct, **changed)
    return renamed


def cancel_event(state: State, response_id: str) -> dict[str, Any]:
    """The event that cancels this response."""
    name = state.unnamed.get(response_id, response_id)
    return {"type": "response.cancel", **({"response_id": name} if name else {})}


def _known_as(state: State, event: wire.AnyServerEvent, given: str) -> str:
    """The name here of a response that the server names."""
    for ours, name in state.unnamed.items():
        if name == given:
            return ours
    without = [each for each in state.live() if state.unnamed.get(each.id) == ""]
    new = given not in state.responses and given not in state.finished
    if new and len(without) == 1 and not isinstance(event, wire.ResponseCreated):
        state.unnamed[without[0].id] = given
        return without[0].id
    return given


def _find(state: State, event: wire.AnyServerEvent) -> str | None:
    """The name here of a response that the server does not name; None: the event changes nothing."""
    live = state.live()
    if isinstance(event, wire.ResponseCreated):
        live = [each for each in live if not each.told and each.id in state.unnamed]
    found = _about(live, event)
    if found is not None:
        return found.id
    if isinstance(event, wire.ResponseDone) and not (
        event.response.get("output") or state.response_queue.oldest_sent_at is not None
    ):
        state.counters.unknown_events += 1
        return None
    ours = state.ids.next("unnamed")
    state.unnamed[ours] = ""
    return ours


def _about(live: list[Response], event: wire.AnyServerEvent) -> Response | None:
    """The one of these that an event is about."""
    item_id = as_text(getattr(event, "item_id", None)) or as_text(within(getattr(event, "item", None), "id"))
    key = within(getattr(event, "response", None), "metadata", METADATA_KEY)
    for response in live:
        asked_for = response.request is not None and response.request.key == key
        if asked_for or (item_id and (item_id in response.items or item_id in response.open_items)):
            return response
    if key is not None:
        return None
    inside = [each for each in live if each.in_conversation]
    return live[0] if len(live) == 1 else inside[0] if len(inside) == 1 else None
