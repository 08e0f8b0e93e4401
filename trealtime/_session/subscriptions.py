"""The feeds of one session: each bounded by the run config, told of playback, and dropped when it is closed."""

from __future__ import annotations

import attrs

from trealtime._session.driver import Carrier
from trealtime._session.config import RealtimeRunConfig
from trealtime._session.lifetime import Lifetime
from trealtime._session.subscription import Feed, Overflow

__all__ = ["Feeds"]


@attrs.frozen(eq=False)
class Feeds:
    """Makes feeds."""

    _carrier: Carrier
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
    ) -> Feed:
        """A feed of what comes from now on; see `Feed` for most of this.

        `playback`: who reads it plays it. `tells_loss`: its end may be where a lost connection is told.
        """
        feed = Feed(
            name=name,
            types=types,
            buffer_s=self._run.feed_buffer_s if buffer_s is None else buffer_s,
            buffer_events=self._run.feed_buffer_events,
            overflow=self._run.feed_overflow if overflow is None else overflow,
            unread_s=unread_s,
            responses=responses,
            audio_format=self._carrier.core.output_format,
            on_taken=self._carrier.handed_out if playback else None,
            on_shed=self._carrier.shed if playback else None,
            on_end=self._lifetime.end_of_feed if tells_loss else None,
            on_close=self._carrier.drop_feed,
        )
        self._carrier.feeds.append(feed)
        return feed
