"""The telemetry of one session: its events become spans and metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import attrs
import trio
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from trealtime._log import Log
from trealtime._version import __version__
from trealtime.events import RealtimeSessionEvent
from trealtime.observability.attributes import error_type
from trealtime.observability.instruments import Instruments
from trealtime.observability.settings import TelemetrySettings
from trealtime.observability.spans import SessionSpans, TurnPlace
from trealtime.transport.models import ConnectionTarget
from trealtime.transport.wire import Wire

__all__ = ["SessionTelemetry", "Subject", "TurnPlace"]

logger = Log("trealtime.observability")

SAMPLE_EVERY_S: Final = 1.0
"""How often the event loop is looked at."""

_QUEUES_EVERY: Final = 5
"""The queues are looked at with every fifth sample: it costs more than the rest together."""

_PASSED_BY: Final = frozenset({"audio", "raw_model_event", "history_updated", "history_added"})
"""By far the most events; they are in no span and no metric."""

T = TypeVar("T")

Connect = Callable[[ConnectionTarget], AbstractAsyncContextManager[Wire]]


@attrs.frozen(kw_only=True)
class Subject:
    """What telemetry asks a session for."""

    session_id: str
    agent: str
    provider: str
    """``gen_ai.provider.name``."""

    model: Callable[[], str | None]
    turn_of: Callable[[str | None, str | None], TurnPlace | None]
    waits_for_approval: Callable[[str], bool]
    depths: Callable[[], Mapping[str, float]]
    outcome: Callable[[], Any]


class SessionTelemetry:
    """Spans and metrics of one session. A failure of a provider is logged, and ends the telemetry of
    this session, not the session."""

    def __init__(self, settings: TelemetrySettings, subject: Subject) -> None:
        provider: Any = settings.tracer_provider or trace.get_tracer_provider()
        self._subject = subject
        self._propagates = settings.propagate
        self._passed_by = _PASSED_BY if settings.capture_content else _PASSED_BY | {"transcript_delta", "text_delta"}
        self._instruments = Instruments.of(settings.meter_provider)
        self._spans = SessionSpans(
            provider.get_tracer("trealtime", __version__),
            subject.session_id,
            subject.agent,
            subject.provider,
            settings.capture_content,
            subject.model,
            subject.turn_of,
            subject.waits_for_approval,
        )
        self._responses: dict[str, float] = {}
        self._works = True

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Watch a session in a block, from before it connects to after its end."""
        self._safely(self._begin)
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            self._safely(partial(self._end, failure))
            # The traceback of an exception holds this frame: without this they keep each other alive.
            del failure

    def _begin(self) -> None:
        self._spans.begin()
        self._instruments.sessions_open.add(1)

    def _end(self, failure: BaseException | None) -> None:
        self._instruments.sessions_open.add(-1)
        self._spans.end(self._subject.outcome(), failure)

    def connecting(self, connect: Connect) -> Connect:
        """Return `connect` with a span for each connection, and with the trace context in its handshake."""

        @asynccontextmanager
        async def connected(target: ConnectionTarget) -> AsyncIterator[Wire]:
            span = self._safely(partial(self._spans.connection_begins, target.url))
            if span is not None and self._propagates:
                carrier: dict[str, str] = {}
                TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span, Context()))
                target = attrs.evolve(target, trace_headers=carrier)
            async with AsyncExitStack() as stack:
                try:
                    wire = await stack.enter_async_context(connect(target))
                except BaseException as error:
                    if span is not None:
                        self._safely(partial(self._spans.connection_ends, span, error))
                    raise
                if span is not None:
                    self._safely(partial(self._spans.connection_ends, span, None))
                yield wire

        return connected

    def opened(self) -> None:
        """Note that the session is ready."""
        self._safely(self._spans.opened)

    def note(self, event: RealtimeSessionEvent) -> None:
        """Take in an event of the session."""
        if event.type not in self._passed_by:
            self._safely(partial(self._take, event))

    def _take(self, event: RealtimeSessionEvent) -> None:
        self._count(event)
        self._spans.note(event)

    async def sample(self) -> None:
        """Measure how late Trio wakes this task, and what waits in the queues, until cancelled."""
        samples = 0
        while self._works:
            samples += 1
            due = trio.current_time() + SAMPLE_EVERY_S
            await trio.sleep_until(due)
            self._safely(partial(self._instruments.loop_lag.record, max(0.0, trio.current_time() - due)))
            if samples % _QUEUES_EVERY == 0:
                self._safely(lambda: self._instruments.queues(self._subject.depths()))

    def _count(self, event: RealtimeSessionEvent) -> None:
        instruments = self._instruments
        if event.type == "agent_start":
            self._responses[event.response_id or ""] = trio.current_time()
        elif event.type == "agent_end":
            now = trio.current_time()
            instruments.response_ended(
                now - self._responses.pop(event.response_id or "", now),
                event.usage,
                provider=self._subject.provider,
                model=self._subject.model(),
                failure=(event.reason or "failed") if event.status == "failed" else None,
            )
        elif event.type == "turn_ended":
            instruments.turn_ended(event.metrics)
            for response_id in event.metrics.response_ids:
                self._responses.pop(response_id, None)
        elif event.type == "error":
            kind = {"error.type": error_type(event.error), "trealtime.error": type(event.error).__name__}
            instruments.errors.add(1, kind)
        elif event.type == "audio_dropped":
            instruments.audio_dropped.add(event.dropped_ms / 1000)
        elif str(event.type) in ("reconnected", "rolled_over"):
            instruments.reconnects.add(1, {"trealtime.reconnect.kind": event.type})

    def _safely(self, work: Callable[[], T]) -> T | None:
        """Call `work`, unless it has failed before: a provider of the app's must end no session."""
        if not self._works:
            return None
        try:
            return work()
        except Exception:
            self._works = False
            logger.exception("telemetry of a session failed, and ends", extra={"session_id": self._subject.session_id})
            return None
