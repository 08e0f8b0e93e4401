"""Numbers about one session."""

from __future__ import annotations

import attrs

from trealtime._core.conversation import ConversationCounters
from trealtime._core.guardrail_state import GuardrailCounters
from trealtime._session.attachment import AttachmentStatistics
from trealtime._session.send_queue import SendQueueStatistics
from trealtime._session.subscription import SubscriptionStatistics
from trealtime.transport.wire import WireStatistics

__all__ = ["SessionStatistics"]


@attrs.frozen(kw_only=True)
class SessionStatistics:
    """What a session has done and holds now; see the parts. `subscriptions` are those open now, the session's own first;
    `attachments` those of the endpoints attached now."""

    conversation: ConversationCounters
    send_queue: SendQueueStatistics
    subscriptions: tuple[SubscriptionStatistics, ...]
    wire: WireStatistics
    guardrails: GuardrailCounters
    attachments: tuple[AttachmentStatistics, ...]
    tools_active: int
    """Calls that run or wait to run, and handoffs that are being made."""

    approvals_pending: int
    """Calls that wait for approval."""

    questions_open: int
    """Calls that wait for an answer of the server."""
