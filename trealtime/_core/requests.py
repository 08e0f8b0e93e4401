"""Requests on their way: to which of them the server's answers and errors belong.

Theory of operation
1. A request is open until its answer comes, an ``error`` refuses it, or its deadline passes: then its caller gets
   `RequestTimedOut`. Requests for a response have a deadline of their own (`response_queue`).
2. Answers carry no id of ours. An answer belongs to the oldest open request of its type for the item that it names;
   where it says more (the position of a truncation), to the request that asked for exactly that. An answer that names
   no item, or an item that it was not asked about, belongs to the only open request that it can fit by type and
   content.
3. An error belongs to the request whose ``event_id`` it names. The real service often names none: then the error
   belongs to the only open request that it can fit, by its code and its param (`server_errors`), and by the item or the
   response that its message names. Where two fit, neither takes it, and the deadline decides. An error that fits none
   is an event.
4. A request whose deadline has passed is not open, so that a lost answer does not shift the matching of later ones. Its
   id is remembered for a while, to put a name to a late error.
5. Entering the session raises an error that comes before the session is ready, unless that refuses something else, or
   the server refuses for its own sake: then another connection is dialled (`reconnection`). A server takes events in
   order, so that its first word on a connection is about the settings. Where that is an error for its own sake which
   names none of our events, it does not have the settings, and another connection is dialled too.
6. A request for a response that the session makes by itself goes again, a few times, where the server refuses it for
   its own sake, or fails before any of the response is there (`Response.goes_again`): its messages say so, and no one
   else would ask. A caller who asks by hand decides that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from trealtime._core.effects import DropConnection
from trealtime._core.handoffs import take_back
from trealtime._core.ids import Recent
from trealtime._core.in_flight import item_refused, opening_refused
from trealtime._core.input_guardrails import turn_refused
from trealtime._core.responses import ask_again, retry_request
from trealtime._core.server_errors import (
    can_be_about,
    is_about_session,
    is_collision,
    is_harmless,
    is_passing,
    names,
    read_error,
)
from trealtime._core.settings import settle_update, update_refused
from trealtime._value import Shown
from trealtime.errors import ProtocolError, RequestTimedOut, ServerRefused, SettingsRefused
from trealtime.events import RealtimeError

if TYPE_CHECKING:
    from trealtime._core.settings import SettingsUpdate
    from trealtime._core.state import State
    from trealtime.events import ServerErrorInfo
    from trealtime.protocol import server_events as wire

__all__ = ["OpenRequests", "Sent", "error", "expire_requests", "unknown_event"]

_REMEMBERED: Final = 512
"""The number of sent events that are remembered, to put a name to a late error; errors come about a second late at
worst."""

_SUBJECTS: Final[Mapping[str, str | None]] = {
    "conversation.item.create": None,
    "conversation.item.delete": "item_id",
    "conversation.item.retrieve": "item_id",
    "conversation.item.truncate": "item_id",
    "input_audio_buffer.commit": None,
    "input_audio_buffer.clear": None,
    "output_audio_buffer.clear": None,
    "response.cancel": "response_id",
}
"""Requests that the server answers, and where they name their subject; those for a response and of settings are kept
elsewhere."""


@attrs.define(eq=False, repr=False)
class Sent(Shown):
    """One event on its way. The core has sent an `own` one by itself, so that a harmless refusal concerns no caller."""

    event: Mapping[str, Any]
    type: str
    subject: str = ""
    """The id of the item or response that it is about."""

    reply_id: str | None = None
    own: bool = False
    follows: str | None = None
    """The last item of the history when it was sent."""

    deadline: float | None = None
    """Set when the input that sent it has ended."""

    overdue: bool = False
    """That is over, and no caller has heard of it: only the server knows what became of it."""

    @classmethod
    def of(cls, event: Mapping[str, Any], *, reply_id: str | None, own: bool, follows: str | None = None) -> Sent:
        """Return the entry for an event that leaves, after this item."""
        kind = str(event.get("type"))
        item, name = event.get("item"), _SUBJECTS.get(kind)
        subject = item.get("id") if isinstance(item, Mapping) else event.get(name or "")
        subject = subject if isinstance(subject, str) else ""
        return cls(event, kind, subject, reply_id=reply_id, own=own, follows=follows)


@attrs.define(eq=False, repr=False)
class OpenRequests(Shown):
    """Remembers what is on its way; bounded."""

    _sent: dict[str, Sent] = attrs.field(factory=dict, init=False)
    """By event id, also those that are answered or overdue."""

    _open: dict[tuple[str, str], deque[str]] = attrs.field(factory=dict, init=False)
    """(event type, subject) to the event ids that wait for that answer, oldest first."""

    _awaited: dict[str, None] = attrs.field(factory=dict, init=False)
    """The event ids of open requests that a caller waits for, oldest first."""

    _new: list[str] = attrs.field(factory=list, init=False)
    """Without a deadline yet."""

    _due: list[tuple[float, str]] = attrs.field(factory=list, init=False)
    """(deadline, event id) of those that no caller waits for, in order."""

    _answered: Recent[str, Sent] = attrs.field(factory=partial(Recent, 64), init=False)
    """Event ids that an answer was taken for: a refusal of one may still come."""

    def __contains__(self, event_id: object) -> bool:
        return event_id in self._sent

    def sent(
        self,
        event_id: str,
        event: Mapping[str, Any],
        *,
        reply_id: str | None,
        own: bool,
        follows: str | None = None,
    ) -> None:
        """An event leaves, when this is the last item."""
        entry = self._sent[event_id] = Sent.of(event, reply_id=reply_id, own=own, follows=follows)
        kind = entry.type
        if kind in _SUBJECTS:
            self._open.setdefault((kind, entry.subject), deque()).append(event_id)
            self._new.append(event_id)
            if reply_id is not None:
                self._awaited[event_id] = None
        if len(self._sent) > _REMEMBERED:
            old = next((each for each in self._sent if each not in self._awaited), None)
            if old is not None:
                self._close(old, self._sent.pop(old))

    def set_deadlines(self, now: float, timeout_s: float) -> list[str]:
        """The input that sent the new ones has ended. Those that no caller waits for are closed without a word when
        their time is over: return their event ids."""
        closed = []
        for event_id in self._new:
            entry = self._sent.get(event_id)
            if entry is not None:
                entry.deadline = now + timeout_s
                if entry.reply_id is None:
                    self._due.append((entry.deadline, event_id))
        self._new.clear()
        while self._due and self._due[0][0] <= now:
            _, event_id = self._due.pop(0)
            if (overdue := self._sent.get(event_id)) is not None:
                overdue.overdue = event_id in self._open.get((overdue.type, overdue.subject), ())
                self._close(event_id, overdue)
                closed.append(event_id)
        return closed

    @property
    def deadline(self) -> float | None:
        """The time at which the request that a caller has waited for longest is overdue."""
        oldest = next(iter(self._awaited), None)
        return self._sent[oldest].deadline if oldest is not None else None

    def expire(self, now: float) -> list[Sent]:
        """Close the requests that a caller waits for and whose time is over, and return them."""
        late = []
        for event_id in list(self._awaited):
            entry = self._sent[event_id]
            if entry.deadline is None or entry.deadline > now:
                break
            late.append(attrs.evolve(entry))
            self._close(event_id, entry)
            entry.reply_id = None
        return late

    def answered(
        self, type: str, subject: str, *, fits: Callable[[Mapping[str, Any]], bool] | None = None
    ) -> str | None:
        """The answer to a request of this type about this subject has come; return its reply id, if a caller waits.

        Of several it is the one that `fits`, else the oldest. Where none is about this subject, an answer without one
        is that of the only one of its type, and any other that of the only one that fits.
        """
        waiting = self._open.get((type, subject))
        if waiting:
            event_id = next((each for each in waiting if fits is not None and fits(self._sent[each].event)), waiting[0])
        else:
            others = [
                each
                for each, entry in self._each_open()
                if entry.type == type and (not subject if fits is None else (not subject or fits(entry.event)))
            ]
            if len(others) != 1:
                return None
            event_id = others[0]
        entry = self._sent[event_id]
        self._close(event_id, entry)
        self._answered[event_id] = entry
        reply_id, entry.reply_id = entry.reply_id, None
        return reply_id

    def oldest(self, type: str, subject: str) -> Sent | None:
        """The request of this type about this subject that is answered next; None: there is none."""
        waiting = self._open.get((type, subject))
        return self._sent[waiting[0]] if waiting else None

    def items(self) -> list[object]:
        """The items that we have sent and the server has not shown."""
        return [entry.event.get("item") for _, entry in self._each_open() if entry.type == "conversation.item.create"]

    def refused_late(self, event_id: str | None) -> tuple[str, str | None] | None:
        """An error names an event of ours that seemed to be answered. That was the answer to the next one of its type
        for that item: return the item id, and the reply id of that next one."""
        entry = self._answered.pop(event_id or "", None)
        if entry is None or (entry.type, entry.subject) not in self._open:
            return None
        return entry.subject, self.answered(entry.type, entry.subject)

    def refused(self, event_id: str | None) -> Sent | None:
        """An error names an event: return the request, None if it is not one of ours."""
        entry = self._sent.pop(event_id or "", None)
        if entry is not None and event_id is not None:
            self._close(event_id, entry)
        return entry

    def candidates(self, error: ServerErrorInfo) -> list[tuple[str, Sent]]:
        """The open requests that an error without an id can be about."""
        return [(event_id, entry) for event_id, entry in self._each_open() if can_be_about(error, entry.type)]

    def drain(self) -> list[str]:
        """The connection has ended: return the open replies."""
        reply_ids = [entry.reply_id for entry in self._sent.values() if entry.reply_id is not None]
        for entries in (self._sent, self._open, self._answered, self._awaited, self._new, self._due):
            entries.clear()
        return reply_ids

    def lose(self, updates: Collection[str]) -> list[tuple[str, Sent]]:
        """The connection is lost: return the requests without an answer, with their event ids, in the order of sending,
        those of `updates` among them, and items of which the server has said nothing in time. What the core sends by
        itself is about the connection, and left out."""
        unanswered = {event_id for waiting in self._open.values() for event_id in waiting} | set(updates)
        unanswered |= {
            event_id
            for event_id, entry in self._sent.items()
            if entry.overdue and entry.type == "conversation.item.create"
        }
        found = [
            (event_id, attrs.evolve(entry, deadline=None))
            for event_id, entry in self._sent.items()
            if event_id in unanswered
            and (not entry.own or entry.reply_id is not None or entry.type == "input_audio_buffer.commit")
        ]
        self.drain()
        return found

    def _each_open(self) -> Iterator[tuple[str, Sent]]:
        return iter([(event_id, self._sent[event_id]) for waiting in self._open.values() for event_id in waiting])

    def _close(self, event_id: str, entry: Sent) -> None:
        self._awaited.pop(event_id, None)
        waiting = self._open.get((entry.type, entry.subject))
        if waiting is not None and event_id in waiting:
            waiting.remove(event_id)
            if not waiting:
                del self._open[entry.type, entry.subject]


def expire_requests(state: State, now: float) -> None:
    """Tell the callers whose requests the server has not answered in time."""
    for entry in state.requests.expire(now):
        state.settle(entry.reply_id, error=RequestTimedOut(request=entry.type, timeout_s=state.request_timeout_s))
    for update in state.updates.expire(now):
        if update.ignored:
            settle_update(state, [update])
            continue
        failure = RequestTimedOut(request="session.update", timeout_s=state.request_timeout_s)
        if update.reply_id is not None:
            state.settle(update.reply_id, error=failure)
        else:
            state.emit(RealtimeError(error=failure, info=state.info))
        if update.switch is not None:
            take_back(state, update)


# ---- errors ---------------------------------------------------------------------------------------------------------


def error(state: State, event: wire.ErrorEvent, now: float) -> None:
    """Find out which request was refused. The caller who waits for it gets the error; without one it is an event."""
    info = read_error(event.error)
    if _is_first_word(state, info) and _opens_again(state, info, now):
        if state.opening is None:
            _emit_error(state, event, "session.update")
        return
    event_id = info.event_id if info.event_id is not None else _place(state, info)
    if event_id is None:
        _unplaced(state, event, info, now)
        return
    if (update := state.updates.refused(event_id)) is not None:
        state.requests.refused(event_id)
        _update_refused(state, event, info, update, now)
        return
    collision = is_collision(info)
    refused = state.response_queue.refused(event_id, collision=collision, passing=is_passing(info), now=now)
    if refused is not None:
        request, again = refused
        state.requests.refused(event_id)
        if again and collision:
            retry_request(state, request)
        elif again:
            ask_again(state, request)
        else:
            request.fail(state, ServerRefused(**_refusal(info, "response.create")))
            if info.event_id is None:
                state.response_queue.give_up(request)
        return
    sent = state.requests.refused(event_id)
    if sent is not None and item_refused(state, sent, info):
        return
    if (late := state.requests.refused_late(event_id)) is not None:
        item_id, reply_id = late
        state.settle(reply_id, state.history.item(item_id) if item_id in state.history else None)
    turn_refused(state, event_id)
    state.turns.forget_commit(event_id, "not_taken")
    state.audio.forget_commit(event_id)
    if sent is None:
        _emit_error(state, event, None)
        return
    if sent.type == "conversation.item.create" and info.event_id is not None:
        state.sent_content.pop(sent.subject, None)
    elif sent.type == "session.update":
        update_refused(state)
    if sent.own and is_harmless(info, sent.type):
        state.counters.harmless_errors += 1
    elif sent.reply_id is not None:
        state.settle(sent.reply_id, error=ServerRefused(**_refusal(info, sent.type)))
    else:
        _emit_error(state, event, sent.type)


def _place(state: State, info: ServerErrorInfo) -> str | None:
    """The id of the only open request that an error without an id can be about; None: there is none, or another."""
    if state.opening is not None or is_about_session(info):
        return None
    candidates = state.requests.candidates(info)
    told = all(each.own and each.subject in state.link.told for _, each in candidates)
    about_place = info.param == "previous_item_id"  # it names the item before the one that is refused
    named = [
        (event_id, each.type)
        for event_id, each in candidates
        if names(info, str(each.event.get("previous_item_id") or "") if about_place else each.subject)
    ]
    if len({kind for _, kind in named}) == 1 and not told:  # of two the same, the server has read the older one first
        return named[0][0]
    found = [event_id for event_id, _ in candidates]
    if can_be_about(info, "session.update"):
        found += state.updates.open_ids(info.param or "")
    if can_be_about(info, "response.create"):
        found += state.response_queue.open_ids(collision=is_collision(info))
    if found == [state.link.opening_id] and not _is_about_settings(info):
        return None  # to take it for the refusal of the settings would end the session: their deadline decides
    # The server takes events in order: what it refuses of a replay is the oldest item that it has not shown.
    return found[0] if len(found) == 1 or (told and len(found) == len(candidates) > 0) else None


def _is_first_word(state: State, info: ServerErrorInfo) -> bool:
    """Whether an error that names none of our events is the first word of the server about what it was told
    (rule 5)."""
    return (
        state.updates.opening_first
        and (info.event_id is None or info.event_id not in state.requests)
        and can_be_about(info, "session.update")
        and state.link.told.untouched
        and not state.responses
    )


def _is_about_settings(info: ServerErrorInfo) -> bool:
    """Whether an error that names no event is about a setting, beyond doubt."""
    return (info.param or "").startswith("session")


def _unplaced(state: State, event: wire.ErrorEvent, info: ServerErrorInfo, now: float) -> None:
    about_history = bool(state.link.told) and (info.param or "").startswith("item")
    if state.opening is not None and not about_history:
        update = state.updates.take_opening()
        if update is not None and _is_about_settings(info):
            _update_refused(state, event, info, update, now)
            return
        if _opens_again(state, info, now):
            return
        if (opening := state.take_opening()) is not None:
            state.settle(opening.reply_id, error=ServerRefused(**_refusal(info, "connecting")))
        return
    own = [entry for _, entry in state.requests.candidates(info) if entry.own]
    if own and all(is_harmless(info, entry.type) for entry in own):
        state.counters.harmless_errors += 1  # about any one of ours
        return
    _emit_error(state, event, None)


def _opens_again(state: State, info: ServerErrorInfo, now: float) -> bool:
    """The server does not take the first settings. Where it refuses for its own sake, and lost connections are
    replaced, the attempt has failed, and another follows."""
    link = state.link
    if link.policy is None or link.attached or not is_passing(info):
        return False
    if not link.recovering:
        link.begin_anew(now)
    link.wait_no_longer()
    state.do(DropConnection(f"the settings were refused: {info.message}"))
    return True


def _update_refused(
    state: State, event: wire.ErrorEvent, info: ServerErrorInfo, update: SettingsUpdate, now: float
) -> None:
    if update.opening and state.opening is not None and _opens_again(state, info, now):
        return
    refusal = SettingsRefused(**_refusal(info, "session.update"))
    if update.opening and state.link.recovering and state.opening is None:
        opening_refused(state, info)
    if update.opening and (opening := state.take_opening()) is not None:
        state.settle(opening.reply_id, error=refusal)
    elif update.reply_id is not None and not update.late:
        state.settle(update.reply_id, error=refusal)
    else:
        _emit_error(state, event, "session.update")


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
