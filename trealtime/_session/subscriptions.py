"""The subscriptions of one session: each bounded by the run config, told of playback, and dropped when it is closed."""

from __future__ import annotations

import attrs

from trealtime._session.config import RealtimeRunConfig
from trealtime._session.driver import Driver
from trealtime._session.lifetime import Lifetime
from trealtime._session.subscription import Overflow, Subscription

__all__ = ["Subscriptions"]


@attrs.frozen(eq=False)
class Subscriptions:
    """Makes subscriptions."""

    _driver: Driver
    _lifetime: Lifetime
    _run: RealtimeRunConfig

    def new(
        self,
        name: str,
        *,
        types: frozenset[str] | None = None,
        buffer_s: float | None = None,
        overflow: Overflow | None = None,
        unread_s: float | None = None,
        responses: list[str] | None = None,
        playback: bool = True,
        tells_loss: bool = True,
    ) -> Subscription:
        """A subscription of what comes from now on; see `Subscription` for most of this.

        `playback`: who reads it plays it. `tells_loss`: its end may be where a lost connection is told.
        """
        subscription = Subscription(
            name=name,
            types=types,
            buffer_s=self._run.subscription_buffer_s if buffer_s is None else buffer_s,
            buffer_events=self._run.subscription_buffer_events,
            overflow=self._run.subscription_overflow if overflow is None else overflow,
            unread_s=unread_s,
            responses=responses,
            audio_format=self._driver.core.output_format,
            on_taken=self._driver.handed_out if playback else None,
            on_shed=self._driver.shed if playback else None,
            on_end=self._lifetime.end_of_subscription if tells_loss else None,
            on_close=self._driver.drop_subscription,
        )
        self._driver.subscriptions.append(subscription)
        return subscription
