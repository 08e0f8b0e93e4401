"""The deadlines of a conversation: when to look again, and a net for one that nothing ends.

Theory of operation
1. A rule that waits for a time has a deadline, a line of the table below. At that time the core ticks, and the rule
   ends its wait or moves it on. So no deadline is left at or before the time of a tick.
2. One that is left is a fault of the rule that owns it, and without more the session would tick for ever. The core
   reports it under the rule's name and looks again after `AGAIN_S`, then after twice that, up to `AT_MOST_S`. The
   session goes on: every other deadline keeps its time.
3. The rule is trusted again once its deadline is in order at the time to look again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trealtime._core.input_guardrails import input_deadline
from trealtime._core.interruption import pending_until
from trealtime._core.responses import next_overdue
from trealtime._core.turn_answers import playback_deadline
from trealtime._value import Shown
from trealtime.errors import StuckDeadline
from trealtime.events import RealtimeError

if TYPE_CHECKING:
    from trealtime._core.state import State

__all__ = ["AGAIN_S", "AT_MOST_S", "DEADLINES", "Deadlines"]

AGAIN_S: Final = 1.0
AT_MOST_S: Final = 64.0

DEADLINES: Final = (
    "request for a response",
    "pending interruption",
    "turn",
    "playback of a turn",
    "playback by the server",
    "cleared audio",
    "limit of the session",
    "check of a turn",
    "approval",
    "listener",
    "request",
    "update of the settings",
    "connection",
    "rollover",
    "answer to a request for a response",
    "response",
)
"""The names of the deadlines, in the order of `_times`."""


@attrs.define(eq=False, repr=False)
class _Stuck(Shown):
    until: float
    """The time to look at it again."""

    wait_s: float


def _times(state: State, now: float, rollover: float | None) -> list[float | None]:
    """The deadline of each rule, in the order of `DEADLINES`; None: it waits for nothing."""
    sent_at = state.response_queue.oldest_sent_at
    overdue = [time for time in next_overdue(state) if time is not None] if state.responses else None
    return [
        state.response_queue.due_at,
        pending_until(state),
        state.turns.records.deadline(state.response_timeout_s),
        playback_deadline(state, now) if state.turns.records.playing else None,
        state.server_plays_until,
        state.turns.cleared_at,
        state.limits.deadline,
        input_deadline(state),
        state.approvals.deadline,
        state.listening.deadline(state.response_timeout_s),
        state.requests.deadline,
        state.updates.deadline,
        state.link.deadline,
        rollover,
        None if sent_at is None else sent_at + state.response_timeout_s,
        min(overdue) if overdue else None,
    ]


@attrs.define(eq=False, repr=False)
class Deadlines(Shown):
    """When to look again."""

    next: float | None = attrs.field(default=None, init=False)
    """The nearest deadline; None: nothing waits for a time."""

    _rollover: float | None = attrs.field(default=None, init=False)
    _stuck: dict[str, _Stuck] = attrs.field(factory=dict, init=False)
    """Those that a tick has left, by name."""

    def look(self, state: State, now: float, rollover: float | None) -> None:
        """An input ends: find the nearest deadline. `rollover`: that of the rollover."""
        self._rollover = rollover
        times = _times(state, now, rollover)
        if self._stuck:
            times = self._put_off(times, now)
        self.next = min([time for time in times if time is not None], default=None)

    def bring_nearer(self, at: float) -> bool:
        """Take the time of a deadline; return whether it is the nearest now."""
        if "playback of a turn" in self._stuck or (self.next is not None and self.next <= at):
            return False
        self.next = at
        return True

    def check(self, state: State, now: float) -> None:
        """A tick ends: report the deadlines that it has left, and put them off."""
        if self.next is None or self.next > now:
            return
        times = self._put_off(_times(state, now, self._rollover), now)
        for name, time in zip(DEADLINES, times, strict=True):
            if time is None or time > now:
                continue
            before = self._stuck.get(name)
            wait_s = AGAIN_S if before is None else min(2 * before.wait_s, AT_MOST_S)
            self._stuck[name] = _Stuck(now + wait_s, wait_s)
            state.counters.stuck_deadlines += 1
            state.emit(RealtimeError(error=StuckDeadline(name, overdue_s=now - time), info=state.info))
        self.look(state, now, self._rollover)

    def _put_off(self, times: list[float | None], now: float) -> list[float | None]:
        """The times, with those that are stuck moved to when they are looked at again."""
        times = list(times)
        for index, name in enumerate(DEADLINES):
            stuck, time = self._stuck.get(name), times[index]
            if stuck is None:
                continue
            if now >= stuck.until and (time is None or time > now):
                del self._stuck[name]
            elif time is not None and now < stuck.until:
                times[index] = time if time > stuck.until else stuck.until
        return times
