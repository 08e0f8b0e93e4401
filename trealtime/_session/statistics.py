"""Numbers about one session."""

from __future__ import annotations

import warnings
from typing import TypeVar

import attrs

from trealtime._core.guardrails import GuardrailCounters
from trealtime._core.state import ConversationCounters
from trealtime._session.attachment import AttachmentStatistics
from trealtime._session.send_queue import SendQueueStatistics
from trealtime._session.subscription import SubscriptionStatistics
from trealtime._value import Value
from trealtime.metrics import ConnectionCounters, FailureCounters, RecordingStatistics, TurnStatistics
from trealtime.transport.wire import WireStatistics

__all__ = ["SessionStatistics"]

_T = TypeVar("_T")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionStatistics(Value):
    """Counts of a session, so far and now.

    `subscriptions` are those open now, the session's own first; `attachments` those of the endpoints attached now.
    """

    conversation: ConversationCounters
    send_queue: SendQueueStatistics
    subscriptions: tuple[SubscriptionStatistics, ...]
    wire: WireStatistics
    """All connections together."""

    connections: ConnectionCounters
    guardrails: GuardrailCounters
    attachments: tuple[AttachmentStatistics, ...]
    turns: TurnStatistics
    tools_active: int
    """Calls that run or wait to run, handoffs included."""

    failures: FailureCounters
    """Failures of the app's callables, of responses and of the server."""

    approvals_pending: int
    """Calls that wait for approval."""

    questions_open: int
    """Calls of the app that wait for an answer of the server."""

    recording: RecordingStatistics | None = None
    """The recording, where the run config asks for one."""

    @property
    def feeds(self) -> tuple[SubscriptionStatistics, ...]:
        """Deprecated since 0.2: read `subscriptions`."""
        return _renamed("feeds", "subscriptions", self.subscriptions)

    @property
    def outbox(self) -> SendQueueStatistics:
        """Deprecated since 0.2: read `send_queue`."""
        return _renamed("outbox", "send_queue", self.send_queue)


def _renamed(old: str, new: str, value: _T) -> _T:
    message = f"SessionStatistics.{old} is called {new!r} since trealtime 0.2; the old name goes with 1.0"
    warnings.warn(message, DeprecationWarning, stacklevel=3)
    return value
