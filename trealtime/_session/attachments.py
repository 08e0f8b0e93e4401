"""The endpoints attached to one session: at most one that speaks and one that plays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from trealtime._core.interruption import BargeInPolicy
from trealtime._session.attaching import Attaching
from trealtime._session.attachment import Attachment, AttachmentStatistics
from trealtime._session.driver import Driver
from trealtime._session.lifetime import Lifetime
from trealtime._session.subscription import Subscription
from trealtime.endpoints.endpoint import Endpoint

__all__ = ["Attachments"]


class Attachments:
    """Attaches, and says whose turn it is. `tracked`: a playback tracker says what was heard."""

    def __init__(
        self,
        driver: Driver,
        lifetime: Lifetime,
        new_subscription: Callable[[], Subscription],
        *,
        close_timeout_s: float,
        tracked: bool,
    ) -> None:
        self._driver = driver
        self._lifetime = lifetime
        self._new_subscription = new_subscription
        self._close_timeout_s = close_timeout_s
        self._tracked = tracked
        self._open: list[Attaching] = []
        self._policies: list[BargeInPolicy] = []

    @asynccontextmanager
    async def attach(
        self, endpoint: Endpoint, *, coalesce_ms: float, barge_in: BargeInPolicy | None
    ) -> AsyncIterator[Attachment]:
        """See `RealtimeSession.attach`."""
        if not isinstance(endpoint, Endpoint):
            raise TypeError(f"endpoint must be an Endpoint, got {type(endpoint).__name__}")
        if not 0 <= coalesce_ms <= 1000:
            raise ValueError(f"coalesce_ms must be from 0 to 1000, got {coalesce_ms!r}")
        if any(each.endpoint is endpoint and each.active for each in self._open):
            raise RuntimeError(f"this {type(endpoint).__name__} is attached already")
        attaching = Attaching(
            self._driver,
            self._lifetime,
            endpoint,
            self._new_subscription,
            self._admit,
            coalesce_ms / 1000,
            self._close_timeout_s,
        )
        try:
            async with attaching.run() as attachment:
                with self._lent(barge_in):
                    yield attachment
        finally:
            if attaching in self._open:
                self._open.remove(attaching)

    @contextmanager
    def _lent(self, policy: BargeInPolicy | None) -> Iterator[None]:
        """Speech interrupts by this policy, if there is one."""
        if policy is None:
            yield
            return
        self._policies.append(policy)
        self._driver.do(self._driver.core.use_barge_in, policy)
        try:
            yield
        finally:
            self._policies.remove(policy)
            if self._lifetime.state == "open":
                self._driver.do(self._driver.core.use_barge_in, self.barge_in)

    @property
    def barge_in(self) -> BargeInPolicy | None:
        """The policy that holds while an endpoint is attached; None where none brought one."""
        return self._policies[-1] if self._policies else None

    def statistics(self) -> tuple[AttachmentStatistics, ...]:
        """Of those whose block has not ended, in the order in which they were opened."""
        return tuple(each.attachment.statistics() for each in self._open if each.attachment is not None)

    def _admit(self, attaching: Attaching) -> None:
        """An endpoint is open and its formats are known: it may stay, or RuntimeError says why not."""
        endpoint, others = attaching.endpoint, [each.endpoint for each in self._open if each.active]
        if endpoint.input_format is not None and any(other.input_format is not None for other in others):
            raise RuntimeError("this session has an endpoint that speaks: two at once would be noise to the server")
        if endpoint.output_format is not None:
            if any(other.output_format is not None for other in others):
                raise RuntimeError("this session has an endpoint that plays: only one can say what was heard")
            if self._tracked:
                raise RuntimeError("this session has a playback_tracker; an endpoint says itself what was heard")
        self._open.append(attaching)
