"""What we have sent, and what the server's answers and errors are about.

Successes carry no id of ours, so an open request is closed in one of two ways: by the event that answers its kind, or
by an ``error`` that names its ``event_id``.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from trealtime._core.ids import Recent
from trealtime._core.input_guardrails import turn_refused
from trealtime._core.responses import retry_request
from trealtime._core.server_errors import is_collision, is_harmless, is_refused_create, read_error
from trealtime._core.settings import settle_update
from trealtime.errors import ProtocolError, ServerRefused, SettingsRefused
from trealtime.events import RealtimeError

if TYPE_CHECKING:
    from trealtime._core.state import State
    from trealtime.events import ServerErrorInfo
    from trealtime.protocol import server_events as wire

__all__ = ["OpenRequests", "Sent", "error", "unknown_event"]

_REMEMBERED: Final = 512
"""How many sent events are remembered to put a name to a late error; errors come about a second late at worst."""


@attrs.frozen
class Sent:
    """One event on its way: its wire type, the caller who waits for it, and the item that it is about. The core has
    sent an `own` one by itself, so that a harmless refusal concerns no caller."""

    type: str
    reply_id: str | None = None
    item_id: str | None = None
    own: bool = False


@attrs.define
class OpenRequests:
    """Remembers what is on its way; bounded."""

    _sent: dict[str, Sent] = attrs.field(factory=dict, init=False)
    _waiting: dict[tuple[str, str], deque[str]] = attrs.field(factory=dict, init=False)
    """(event type, item id) to the event ids that wait for that answer, oldest first."""

    _answered: Recent[str, tuple[str, str]] = attrs.field(factory=partial(Recent, 64), init=False)
    """Event ids that an answer was taken for, and which: a refusal of one may still come."""

    def sent(self, event_id: str, kind: str, *, reply_id: str | None, item_id: str | None, own: bool) -> None:
        """An event leaves."""
        entry = self._sent[event_id] = Sent(kind, reply_id, item_id, own)
        if entry.reply_id is not None and entry.item_id is not None:
            self._waiting.setdefault((entry.type, entry.item_id), deque()).append(event_id)
        if len(self._sent) > _REMEMBERED:
            for old in self._sent:
                if self._sent[old].reply_id is None:  # no caller waits for it
                    del self._sent[old]
                    break

    def answered(self, type: str, item_id: str) -> str | None:  # named after the wire field
        """The answer to the oldest open request of this type for this item has come; return its reply id."""
        waiting = self._waiting.get((type, item_id))
        if not waiting:
            return None
        event_id = waiting.popleft()
        if not waiting:
            del self._waiting[type, item_id]
        entry = self._sent.pop(event_id, None)
        self._answered[event_id] = type, item_id
        return entry.reply_id if entry is not None else None

    def refused_late(self, event_id: str | None) -> tuple[str, str | None] | None:
        """An error names an event of ours that seemed to be answered. That was the answer to the next one of its type
        for that item: return the item id, and the reply id of that next one."""
        key = self._answered.pop(event_id or "", None)
        return (key[1], self.answered(*key)) if key is not None else None

    def refused(self, event_id: str | None) -> Sent | None:
        """An error names an event: return what it was, None if it is none of ours."""
        if event_id is None:
            return None
        entry = self._sent.pop(event_id, None)
        if entry is not None and entry.reply_id is not None and entry.item_id is not None:
            waiting = self._waiting.get((entry.type, entry.item_id))
            if waiting is not None and event_id in waiting:
                waiting.remove(event_id)
                if not waiting:
                    del self._waiting[entry.type, entry.item_id]
        return entry

    def drain(self) -> list[str]:
        """The connection has ended: return the replies that are still waited for."""
        reply_ids = [entry.reply_id for entry in self._sent.values() if entry.reply_id is not None]
        self._sent.clear()
        self._waiting.clear()
        self._answered.clear()
        return reply_ids


# ---- errors ---------------------------------------------------------------------------------------------------------


def error(state: State, event: wire.ErrorEvent, now: float) -> None:
    """Find out which request was refused. The caller who waits for it gets the error; without one it is an event."""
    info = read_error(event.error)
    if (update := state.updates.refused(info.event_id, param=info.param)) is not None:
        refusal = SettingsRefused(**_refusal(info, "session.update"))
        state.requests.refused(update.event_id)
        if update.opening and state.opening is not None:
            opening, state.opening = state.opening, None
            state.settle(opening.reply_id, error=refusal)
        elif update.reply_id is not None:
            state.settle(update.reply_id, error=refusal)
        else:
            _emit_error(state, event, "session.update")
        return
    if info.event_id is not None or is_refused_create(info):
        refused = state.response_queue.refused(info.event_id, collision=is_collision(info), now=now)
        if refused is not None:
            request, again = refused
            state.requests.refused(info.event_id)
            if again:
                retry_request(state, request)
            else:
                request.fail(state, ServerRefused(**_refusal(info, "response.create")))
            return
    sent = state.requests.refused(info.event_id)
    if (late := state.requests.refused_late(info.event_id)) is not None:
        item_id, reply_id = late
        state.settle(reply_id, state.history.item(item_id) if item_id in state.history else None)
    turn_refused(state, info.event_id)
    state.turns.commits.discard(info.event_id or "")
    if sent is not None and sent.type == "conversation.item.create":
        state.sent_content.pop(sent.item_id or "", None)
    if sent is not None and sent.type == "session.update":
        # This refusal comes late: the acknowledgement that was taken for this update's was the next one's.
        settle_update(state)
    if sent is not None and sent.own and is_harmless(info, sent.type):
        state.counters.harmless_errors += 1
        return
    if sent is not None and sent.reply_id is not None:
        state.settle(sent.reply_id, error=ServerRefused(**_refusal(info, sent.type)))
        return
    if info.fatal and state.opening is not None:
        opening, state.opening = state.opening, None
        state.settle(opening.reply_id, error=ServerRefused(**_refusal(info, "connecting")))
        return
    _emit_error(state, event, sent.type if sent is not None else None)


def unknown_event(state: State, event: wire.RawServerEvent, now: float) -> None:
    """An event newer than us is shown raw and otherwise left alone; a frame that is no event at all is an error."""
    state.counters.unknown_events += 1
    if not event.type:
        state.emit(RealtimeError(error=ProtocolError(event.problem or "unreadable frame"), info=state.info))


def _emit_error(state: State, event: wire.ErrorEvent, request: str | None) -> None:
    state.emit(RealtimeError(error=read_error(event.error, request=request), info=state.info))


def _refusal(info: ServerErrorInfo, request: str) -> dict[str, Any]:
    return {
        "message": info.message,
        "code": info.code,
        "type": info.type,
        "param": info.param,
        "event_id": info.event_id,
        "request": request,
    }
