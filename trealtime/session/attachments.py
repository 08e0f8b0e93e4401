"""The endpoints attached to one session: at most one that speaks and one that plays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from trealtime.endpoints.endpoint import Endpoint
from trealtime.session.attachment import Attachment, AttachmentStatistics
from trealtime.session.carrier import Carrier
from trealtime.session.lifetime import Lifetime
from trealtime.session.mailbox import Feed

__all__ = ["Attachments"]


class Attachments:
    """Makes attachments and keeps them apart."""

    def __init__(
        self,
        carrier: Carrier,
        lifetime: Lifetime,
        new_feed: Callable[[], Feed],
        *,
        close_timeout_s: float,
        tracked: bool,
    ) -> None:
        self._carrier = carrier
        self._lifetime = lifetime
        self._new_feed = new_feed
        self._close_timeout_s = close_timeout_s
        self._tracked = tracked
        self._open: list[Attachment] = []

    @asynccontextmanager
    async def attach(self, endpoint: Endpoint, *, coalesce_ms: float) -> AsyncIterator[Attachment]:
        """See `RealtimeSession.attach`."""
        if not isinstance(endpoint, Endpoint):
            raise TypeError(f"endpoint must be an Endpoint, got {type(endpoint).__name__}")
        if not 0 <= coalesce_ms <= 1000:
            raise ValueError(f"coalesce_ms must be from 0 to 1000, got {coalesce_ms!r}")
        attachment = Attachment(
            self._carrier,
            self._lifetime,
            endpoint,
            self._new_feed,
            on_open=self._begin,
            on_end=self._end,
            coalesce_s=coalesce_ms / 1000,
            close_timeout_s=self._close_timeout_s,
        )
        async with attachment.run():
            yield attachment

    def statistics(self) -> tuple[AttachmentStatistics, ...]:
        """Of those that are open, in the order in which they were opened."""
        return tuple(attachment.statistics() for attachment in self._open)

    def _begin(self, attachment: Attachment) -> None:
        """An endpoint is open; its formats are known."""
        endpoint = attachment.endpoint
        if endpoint.input_format is not None and any(each.endpoint.input_format is not None for each in self._open):
            raise RuntimeError("this session has an endpoint that speaks already: two at once would be noise")
        if endpoint.output_format is not None:
            if any(each.endpoint.output_format is not None for each in self._open):
                raise RuntimeError("this session has an endpoint that plays already: only one can say what was heard")
            if self._tracked:
                raise RuntimeError(
                    "this session has a playback_tracker, and the endpoint says what was heard: leave the tracker out"
                )
        self._open.append(attachment)

    def _end(self, attachment: Attachment) -> None:
        if attachment in self._open:
            self._open.remove(attachment)
