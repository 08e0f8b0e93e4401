"""Limits on what a session may use, and on how long it may last.

Theory of operation
1. What is used is looked at after every step: tokens and cost change when a response is done or a turn of the user has
   been transcribed, time when a deadline has passed (`Limits.deadline`).
2. At the share `warn_at` of a limit the app is told, once for each limit.
3. At the limit the app is told, once, and nothing new begins: requests for a response fail, and a response that the
   server begins by itself is cancelled. The answer that is being made goes on. Whoever carries the session ends it when
   that answer has been heard, or after `grace_s` (`EndAtLimit`).
"""

# ruff: noqa: RUF009  # `setting` makes an attrs field, as `attrs.field` does
from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

import attrs

from trealtime._core.effects import EndAtLimit
from trealtime._core.prices import read_amount
from trealtime.errors import SessionClosed
from trealtime.events import LimitName, LimitUse, RealtimeLimitApproached, RealtimeLimitReached
from trealtime.protocol.validation import setting

if TYPE_CHECKING:
    from trealtime._core.state import State
    from trealtime.usage import Cost, Usage

__all__ = ["Limits", "SessionLimits", "check_limits", "session_over"]


@attrs.frozen(kw_only=True)
class SessionLimits:
    """What ends a session, however well it goes. None: no such limit."""

    max_tokens: int | None = setting(default=None, at_least=1)
    """Tokens of all responses, input and output."""

    max_cost: Decimal | None = setting(default=None, read=read_amount)
    """What responses and transcriptions may cost, in the unit of `prices`. Where a cost is a range, its upper end
    counts."""

    max_duration_s: float | None = setting(default=None, at_least=0)
    """Seconds since the session was ready."""

    warn_at: float | None = setting(default=0.8, at_least=0, at_most=1)
    """The share of a limit at which ``limit_approached`` comes. None: it does not."""

    grace_s: float = setting(default=10.0, at_least=0)
    """How long, once a limit is reached, the answer that is being made may go on until it has been heard."""


@attrs.define
class Limits:
    """Where a session stands against its limits."""

    policy: SessionLimits = attrs.field(factory=SessionLimits)
    began_at: float | None = attrs.field(default=None, init=False)
    """When the session was ready."""

    reached: LimitUse | None = attrs.field(default=None, init=False)
    _approached: set[LimitName] = attrs.field(factory=set, init=False)

    def uses(self, usage: Usage, cost: Cost | None, now: float) -> Iterator[LimitUse]:
        """What is used of each limit that there is."""
        policy = self.policy
        if policy.max_tokens is not None:
            yield LimitUse("max_tokens", usage.total_tokens, policy.max_tokens)
        if policy.max_cost is not None and cost is not None:
            yield LimitUse("max_cost", cost.at_most, policy.max_cost)
        if policy.max_duration_s is not None and self.began_at is not None:
            yield LimitUse("max_duration_s", _whole_us(now - self.began_at), policy.max_duration_s)

    def approaches(self, use: LimitUse) -> bool:
        """Whether to tell the app now that this limit is near; True once."""
        share = self.policy.warn_at
        if share is None or use.name in self._approached:
            return False
        if float(use.used) < _whole_us(share * float(use.allowed)):
            return False
        self._approached.add(use.name)
        return True

    @property
    def deadline(self) -> float | None:
        """When to look at the duration again."""
        allowed, share = self.policy.max_duration_s, self.policy.warn_at
        if allowed is None or self.began_at is None or self.reached is not None:
            return None
        warns = share is not None and "max_duration_s" not in self._approached
        return self.began_at + (_whole_us(share * allowed) if share is not None and warns else allowed)


def check_limits(state: State, now: float) -> None:
    """Tell the app what it has come near to, and what it has reached."""
    limits = state.limits
    if limits.reached is not None:
        return
    for use in limits.uses(state.meter.usage, state.meter.cost, now):
        if use.used >= use.allowed:
            limits.reached = use
            state.emit(RealtimeLimitReached(limit=use, info=state.info))
            state.do(EndAtLimit(use))
            return
        if limits.approaches(use):
            state.emit(RealtimeLimitApproached(limit=use, info=state.info))


def session_over(limit: LimitUse) -> SessionClosed:
    """The error for what comes too late, one for each place where it is raised."""
    return SessionClosed(f"this session is over: it has reached its limit, {limit}")


def _whole_us(seconds: float) -> float:
    """Without the error of adding floats: a deadline that has passed has been reached."""
    return round(seconds, 6)
