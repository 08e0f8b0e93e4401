"""The telemetry of a session, where its run config or `trealtime.instrument` asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import attrs

from trealtime._session.driver import Driver
from trealtime._session.lifetime import Lifetime
from trealtime._value import Shown
from trealtime.observability.settings import TelemetrySettings
from trealtime.transport.models import AzureRealtimeModel, RealtimeModel

if TYPE_CHECKING:
    from trealtime.observability.telemetry import Connect, SessionTelemetry, TurnPlace

__all__ = ["Telemetry"]


@attrs.define(eq=False, repr=False)
class Telemetry(Shown):
    """Joins a session to its spans and metrics, and costs nothing where there are none."""

    _driver: Driver
    _lifetime: Lifetime
    _model: RealtimeModel
    _settings: TelemetrySettings | None
    _made: SessionTelemetry | None = attrs.field(default=None, init=False)

    def hold(self, session_id: str) -> AbstractContextManager[None]:
        """Watch the session in a block."""
        settings = self._settings
        return nullcontext() if settings is None or not settings.enabled else self._watch(session_id, settings)

    @contextmanager
    def _watch(self, session_id: str, settings: TelemetrySettings) -> Iterator[None]:
        # Here, because it imports OpenTelemetry.
        from trealtime.observability.telemetry import SessionTelemetry, Subject

        subject = Subject(
            session_id=session_id,
            agent=self._driver.core.agent.name,
            provider="azure.ai.openai" if isinstance(self._model, AzureRealtimeModel) else "openai",
            model=lambda: self._driver.core.model,
            turn_of=self._turn_of,
            waits_for_approval=self._waits_for_approval,
            depths=self._depths,
            outcome=lambda: self._lifetime.outcome,
        )
        self._made = SessionTelemetry(settings, subject)
        self._driver.watchers = (*self._driver.watchers, self._made.note)
        with self._made.hold():
            yield

    def connecting(self, connect: Connect) -> Connect:
        """Return `connect` with a span around each connection."""
        return connect if self._made is None else self._made.connecting(connect)

    def opened(self) -> None:
        """Note that the session is ready, and begin to take samples."""
        if self._made is not None:
            self._made.opened()
            self._lifetime.start_tool(self._made.sample)

    def _turn_of(self, response_id: str | None, call_id: str | None) -> TurnPlace | None:
        from trealtime.observability.telemetry import TurnPlace

        found = self._driver.core.turn_of(response_id=response_id, call_id=call_id)
        return None if found is None else TurnPlace(*found)

    def _waits_for_approval(self, call_id: str) -> bool:
        return any(request.call_id == call_id for request in self._driver.core.pending_approvals)

    def _depths(self) -> Mapping[str, float]:
        queue = self._driver.send_queue.statistics()
        subscriptions = [each.statistics() for each in self._driver.subscriptions]
        found: dict[str, float] = {
            "send.audio_s": queue.audio_queued_s,
            "send.events": queue.events_queued,
            "subscriptions.audio_s": max((each.audio_queued_s for each in subscriptions), default=0.0),
            "subscriptions.events": max((each.events_queued for each in subscriptions), default=0),
        }
        if self._driver.output is not None:
            found["endpoint.audio_s"] = self._driver.output.queue_s
        return found
