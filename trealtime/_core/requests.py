"""What we have sent and what its refusal would mean.

Successes carry no id of ours (protocol reference 2), so an open request is closed in one of two ways: by the event that
answers its kind, or by an ``error`` that names its ``event_id``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from trealtime._core.handoffs import AgentSwitch
    from trealtime._core.tool_calls import ToolOffer
    from trealtime._core.turn_settings import RequestedTurns

__all__ = ["OpenRequests", "Sent", "SettingsUpdate"]

_REMEMBERED: Final = 512
"""How many sent events are remembered to put a name to a late error; errors come about a second late at worst."""


_REMEMBERED_ANSWERS: Final = 64


@attrs.frozen
class Sent:
    """One event on its way: its wire type, the caller who waits for it, and whether we sent it by ourselves (then
    nobody asked for it and a harmless refusal is nobody's business)."""

    type: str
    reply_id: str | None = None
    item_id: str | None = None
    own: bool = False


@attrs.frozen
class SettingsUpdate:
    """A ``session.update`` on its way."""

    event_id: str
    session: Mapping[str, Any]
    reply_id: str | None = None
    opening: bool = False
    """The first one: whoever waits for it waits for the whole opening."""

    switch: AgentSwitch | None = None
    """Who is in charge once it is acknowledged."""

    offer: ToolOffer | None = None
    """What the model may call then."""

    requested: RequestedTurns | None = None
    """What the app wants of turns, where this says so."""


@attrs.define
class OpenRequests:
    """Remembers what is on its way; bounded."""

    _sent: dict[str, Sent] = attrs.field(factory=dict, init=False)
    _waiting: dict[tuple[str, str], deque[str]] = attrs.field(factory=dict, init=False)
    """(event type, item id) to the event ids that wait for that answer, oldest first."""

    _answered: dict[str, tuple[str, str]] = attrs.field(factory=dict, init=False)
    """The last few event ids that an answer was taken for, and which: a refusal of one may still come."""

    updates: deque[SettingsUpdate] = attrs.field(factory=deque, init=False)
    """Updates in the order of sending; acknowledgements come in that order."""

    def sent(self, event_id: str, entry: Sent) -> None:
        """An event leaves."""
        self._sent[event_id] = entry
        if entry.reply_id is not None and entry.item_id is not None:
            self._waiting.setdefault((entry.type, entry.item_id), deque()).append(event_id)
        if len(self._sent) > _REMEMBERED:
            for old in self._sent:
                if self._sent[old].reply_id is None:  # nobody waits for it
                    del self._sent[old]
                    break

    def answered(self, type: str, item_id: str) -> str | None:  # named after the wire field
        """The answer to the oldest open request of this type for this item has come: its reply_id."""
        waiting = self._waiting.get((type, item_id))
        if not waiting:
            return None
        event_id = waiting.popleft()
        if not waiting:
            del self._waiting[type, item_id]
        entry = self._sent.pop(event_id, None)
        self._answered[event_id] = type, item_id
        if len(self._answered) > _REMEMBERED_ANSWERS:
            del self._answered[next(iter(self._answered))]
        return entry.reply_id if entry is not None else None

    def refused_late(self, event_id: str | None) -> tuple[str, str | None] | None:
        """An error names an event of ours that seemed to be answered: that was the answer to the next one of its type
        for that item. The item id, and the reply_id of that next one."""
        key = self._answered.pop(event_id or "", None)
        return (key[1], self.answered(*key)) if key is not None else None

    def refused(self, event_id: str | None) -> Sent | None:
        """An error names this event of ours."""
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

    def acknowledged(self) -> SettingsUpdate | None:
        """A ``session.updated`` has come: the update it answers, None if somebody else made it."""
        return self.updates.popleft() if self.updates else None

    def refused_update(self, event_id: str | None, *, param: str | None) -> SettingsUpdate | None:
        """The update that an error is about: by event id; without one only if a single update is open and the error is
        about a setting."""
        for update in self.updates:
            if update.event_id == event_id:
                self.updates.remove(update)
                return update
        if event_id is None and len(self.updates) == 1 and (param or "").startswith("session"):
            return self.updates.popleft()
        return None

    def drain(self) -> list[str]:
        """The connection has ended: the reply_ids of all who still wait."""
        reply_ids = [entry.reply_id for entry in self._sent.values() if entry.reply_id is not None]
        reply_ids += [update.reply_id for update in self.updates if update.reply_id is not None]
        self._sent.clear()
        self._waiting.clear()
        self._answered.clear()
        self.updates.clear()
        return reply_ids
