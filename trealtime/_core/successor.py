"""When a connection ends, and the connection that is to follow it; the rules are in `rollover`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

from trealtime._core.replay import Replay
from trealtime._core.told import ToldItems
from trealtime._value import Shown

__all__ = ["Expiry", "Successor"]

_LAST_MOMENT: Final = 0.25
"""The part of the margin that is left when the switch cannot wait for a quiet moment any longer."""

_LONGEST_S: Final = 7 * 24 * 3600.0
"""An end that is further away than this does not count: the connection has none."""


@attrs.define(eq=False, repr=False)
class Successor(Shown):
    """The second connection."""

    last_moment: float
    attempt: int = 1
    status: Literal["dialling", "opening", "ready"] = attrs.field(default="dialling", init=False)
    settings: Mapping[str, Any] | None = attrs.field(default=None, init=False)
    """The settings that it was told; None: none."""

    opening_id: str | None = attrs.field(default=None, init=False)
    session: Mapping[str, Any] | None = attrs.field(default=None, init=False)
    """The session as it has shown it."""

    replay: Replay = attrs.field(factory=Replay, init=False)
    told: ToldItems = attrs.field(factory=ToldItems, init=False)
    creates: dict[str, Mapping[str, Any]] = attrs.field(factory=dict, init=False)
    """By event id, the events by which it was told items that it has neither shown nor refused."""

    expiry: Expiry = attrs.field(init=False)

    def connect(self, now: float, server_time_s: float | None, settings: Mapping[str, Any] | None) -> None:
        """It is there, and is being told these settings."""
        self.status, self.settings, self.expiry = "opening", settings, Expiry(now, server_time_s)

    def open_with(self, event_id: str) -> None:
        """Its first update leaves under this id."""
        self.opening_id = event_id

    def tell(self, replay: Replay) -> None:
        """It is told these items."""
        self.replay = replay

    def tell_item(self, event_id: str, event: Mapping[str, Any], previous_item_id: str | None) -> None:
        """One of them leaves."""
        self.creates[event_id] = event
        self.told.tell(event["item"]["id"], previous_item_id)

    def show(self, session: Mapping[str, Any], *, acknowledged: bool) -> None:
        """It has shown its session; `acknowledged`: with our settings."""
        self.session = session
        self.expiry.read(session)
        if acknowledged:
            self.status = "ready"

    def confirm(self, item_id: str) -> None:
        """It has shown this item."""
        self.told.confirm(item_id)
        for event_id in [each for each, event in self.creates.items() if event["item"]["id"] == item_id]:
            del self.creates[event_id]

    def refuse(self, event_id: str, *, passing: bool) -> Mapping[str, Any] | None:
        """It has not taken the item of this event; return the item if it goes again. `passing`: the item is not the
        reason."""
        item: Mapping[str, Any] = self.creates.pop(event_id)["item"]
        return item if self.told.refuse(item["id"], passing=passing) else None

    def retry(self) -> None:
        """It has failed: another attempt follows."""
        self.attempt += 1
        self.status = "dialling"
        self.told, self.creates = ToldItems(), {}
        self.opening_id = self.session = None


@attrs.define(eq=False, repr=False)
class Expiry(Shown):
    """When the server ends a connection: `opened_at` in the time of the core, `server_time_s` at that moment in Unix
    time (None: unknown)."""

    opened_at: float = 0.0
    server_time_s: float | None = None
    ends_at: float | None = attrs.field(default=None, init=False)
    warned: bool = attrs.field(default=False, init=False)

    def read(self, session: Mapping[str, Any]) -> None:
        """The server has shown its session."""
        given = session.get("expires_at")
        if self.server_time_s is None or isinstance(given, bool) or not isinstance(given, int | float):
            return
        left_s = given - self.server_time_s
        if 0 < left_s < _LONGEST_S:
            self.ends_at = self.opened_at + left_s

    def warn(self) -> None:
        """The app is told."""
        self.warned = True

    def begins_at(self, margin_s: float) -> float | None:
        """The time to begin, so long before the end; None: it does not end."""
        if self.ends_at is None:
            return None
        return max(self.ends_at - margin_s, (self.opened_at + self.ends_at) / 2)

    def last_moment(self, margin_s: float) -> float:
        """The time at which the switch cannot wait any longer."""
        if self.ends_at is None:
            return math.inf
        begins_at = self.begins_at(margin_s)
        assert begins_at is not None
        return self.ends_at - (self.ends_at - begins_at) * _LAST_MOMENT
