"""Rollover: before the server ends a connection of its own accord, another one takes over.

Theory of operation
1. The session object says when its connection ends (``expires_at``, Unix time). The time left is that minus the
   server's clock, which the answer to the handshake shows (its ``Date``): our clock may be wrong. A server that shows
   none is never rolled over, and its limit is a loss.
2. `rollover_margin_s` before the end a second connection, the *successor*, is opened. It is told everything that a
   new connection is told, but none of the user's audio: its own voice detection would answer. Where less than twice the
   margin is left from the beginning, half of the time is waited for.
3. The successor takes over at the first quiet moment after it has acknowledged the settings: no response, no request
   for one, no speech, no open call, nothing that is being checked. At the last moment it takes over in any case.
4. At the switch it gets what has changed since it was told, in the same step the user's audio since the last commit,
   and from then on everything. What the old connection sends after that is not read; it is closed.
5. The successor may refuse an item, as any new connection may (`told`). One that fails is dialled again, as long as
   there is time. One that is ready takes over at once when the old connection is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from trealtime._core.effects import DropSuccessor, OpenSuccessor, SendAhead
from trealtime._core.in_flight import opening_settings, replay_of, take_over
from trealtime._core.server_errors import can_be_about, is_passing, read_error
from trealtime._core.successor import Successor
from trealtime.events import RealtimeError, RealtimeExpiresSoon, RealtimeRolloverStarted
from trealtime.protocol import server_events as wire
from trealtime.protocol.lenient import as_text

if TYPE_CHECKING:
    from trealtime._core.state import State
    from trealtime.events import ServerErrorInfo

__all__ = ["receive_ahead", "roll_over", "successor_connected", "successor_failed"]

WARNING_S: Final = 120.0
"""How long before the end the app is told, where no policy says more."""


# ---- when -----------------------------------------------------------------------------------------------------------


def roll_over(state: State, now: float) -> float | None:
    """Begin a rollover, or end it, if it is time to; return when to look again."""
    link = state.link
    if link.recovering or state.opening is not None:
        return None
    policy = link.policy
    margin_s = policy.rollover_margin_s if policy is not None and not link.attached else None
    begins_at = link.expiry.begins_at(WARNING_S if margin_s is None else margin_s)
    if begins_at is None:
        return None
    if not link.expiry.warned:
        if now < begins_at:
            return begins_at
        assert link.expiry.ends_at is not None
        link.expiry.warn()
        state.emit(RealtimeExpiresSoon(in_s=max(0.0, link.expiry.ends_at - now), info=state.info))
        if margin_s is None:
            return None
        link.succeed_with(Successor(link.expiry.last_moment(margin_s)))
        state.emit(RealtimeRolloverStarted(info=state.info))
        state.do(OpenSuccessor(0.0, link.expiry.ends_at))
    successor = link.successor
    if successor is None:
        return None
    if successor.status == "ready" and (quiet(state) or now >= successor.last_moment):
        take_over(state, now, gap_ms=0.0)
        return roll_over(state, now)  # the time to follow this one may have come too
    return successor.last_moment if now < successor.last_moment else None


def quiet(state: State) -> bool:
    """Whether nothing is under way that a switch would cut."""
    turns = state.turns
    return not (
        state.live()
        or state.response_queue.busy
        or state.calls
        or turns.speech is not None
        or state.pending_interruption is not None
        or turns.records.unchecked
        or turns.records.ended_by_app
        or turns.records.due
        or turns.records.uncommitted
        or len(state.updates)
        or state.server_plays is not None
    )


# ---- the successor --------------------------------------------------------------------------------------------------


def successor_connected(state: State, now: float, *, server_time_s: float | None, summary: str | None) -> None:
    """See `Conversation.successor_connected`."""
    successor = state.link.successor
    if successor is None:  # it is not wanted any more
        state.do(DropSuccessor())
        return
    settings = opening_settings(state)
    successor.connect(now, server_time_s, settings)
    if settings is not None:
        successor.open_with(_send_ahead(state, {"type": "session.update", "session": settings}))
    replay = replay_of(state, summary)
    successor.tell(replay)
    previous_item_id: str | None = None
    for item in replay.items:
        _tell_ahead(state, successor, item, previous_item_id)
        previous_item_id = item["id"]


def _tell_ahead(state: State, successor: Successor, item: Mapping[str, Any], previous_item_id: str | None) -> None:
    before = "root" if previous_item_id is None else previous_item_id
    event = {"type": "conversation.item.create", "item": item, "previous_item_id": before}
    successor.tell_item(_send_ahead(state, event), event, previous_item_id)


def _send_ahead(state: State, event: Mapping[str, Any]) -> str:
    event_id = state.ids.next("evt")
    state.do(SendAhead({**event, "event_id": event_id}))
    return event_id


def receive_ahead(state: State, event: wire.AnyServerEvent, now: float) -> None:
    """See `Conversation.receive_ahead`."""
    successor = state.link.successor
    if successor is None:
        return
    match event:
        case wire.SessionCreated(session=session):
            successor.show(session, acknowledged=successor.opening_id is None)
        case wire.SessionUpdated(session=session):
            successor.show(session, acknowledged=True)
        case wire.ErrorEvent(error=error):
            _refused_ahead(state, successor, error, now)
        case wire.ConversationItemAdded(item=item) | wire.ConversationItemDone(item=item):
            successor.confirm(as_text(item.get("id")) or "")
        case _:
            pass


def _refused_ahead(state: State, successor: Successor, error: Mapping[str, Any], now: float) -> None:
    info = read_error(error, request="conversation.item.create")
    if _is_first_word(successor, info):
        event_id = successor.opening_id
    else:
        event_id = info.event_id if info.event_id is not None else _place(successor, info)
    if event_id is None:
        return
    if event_id == successor.opening_id:
        refused = read_error(error, request="session.update")
        state.emit(RealtimeError(error=refused, info=state.info))
        state.do(DropSuccessor())
        successor_failed(state, now)
    elif event_id in successor.creates:
        item = successor.refuse(event_id, passing=is_passing(info))
        if item is not None:
            _tell_ahead(state, successor, item, successor.told.place_of(item["id"]))
            return
        state.link.count_refused()
        state.emit(RealtimeError(error=info, info=state.info))


def _is_first_word(successor: Successor, info: ServerErrorInfo) -> bool:
    """Whether an error that names none of our events is the first word of the server about what it was told, and so
    about the settings (`requests`, rule 5)."""
    return (
        successor.status == "opening"
        and info.event_id not in (successor.opening_id, *successor.creates)
        and is_passing(info)
        and can_be_about(info, "session.update")
        and successor.told.untouched
    )


def _place(successor: Successor, info: ServerErrorInfo) -> str | None:
    """The event that an error without an id is about. The server takes events in order: an item that it refuses is the
    oldest that it has not shown."""
    about_settings = successor.status == "opening" and can_be_about(info, "session.update")
    about_item = can_be_about(info, "conversation.item.create")
    if about_settings:
        return None if about_item else successor.opening_id
    return next(iter(successor.creates), None) if about_item else None


def successor_failed(state: State, now: float, *, again: bool = True) -> None:
    """See `Conversation.successor_failed`."""
    link = state.link
    successor, policy = link.successor, link.policy
    if successor is None or policy is None:
        return
    delay_s = min(policy.max_delay_s, policy.base_delay_s * 2.0 ** min(successor.attempt, 60))
    ends_at = link.expiry.ends_at
    if not again or ends_at is None or now + delay_s >= ends_at:
        link.succeed_with(None)  # the end of the connection will be a loss like another
        return
    successor.retry()
    state.do(OpenSuccessor(delay_s, ends_at))
