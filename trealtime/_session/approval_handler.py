"""The approval handler: a callable of the app that decides about calls that wait for approval.

It runs for each call in the session's nursery, in a scope of its own, until it has decided. A decision by
`RealtimeSession.approve_tool_call` or `RealtimeSession.reject_tool_call`, and the end of the wait, cancel it. A handler
that fails has rejected the call, and the app gets an ``error`` event; one that returns anything but a decision has
failed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property, partial

import attrs
import trio

from trealtime._core.effects import ApprovalRequest
from trealtime._session.driver import Driver
from trealtime._session.failures import Failures
from trealtime._session.lifetime import Lifetime
from trealtime._value import Value
from trealtime.errors import ToolFailed
from trealtime.terminal import repr_of, text_of
from trealtime.tools.callables import call_anywhere

__all__ = ["ApprovalDecision", "ApprovalHandler", "ApprovalRunner", "Approve", "Reject"]


@attrs.frozen(eq=False, repr=False)
class Approve(Value):
    """Make the call. `always`: make later calls of this tool in this session too, without asking."""

    always: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen(eq=False, repr=False)
class Reject(Value):
    """Do not make the call. Its output is `message`, or with None the text of the ``tool_error_formatter``.

    `always`: reject later calls of this tool in this session too, without asking.
    """

    message: str | None = None
    always: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.message is not None and not isinstance(self.message, str):
            raise TypeError(f"the message of a rejection must be a str or None, got {self.message!r}")


ApprovalDecision = Approve | Reject | bool
"""True is ``Approve()``, False is ``Reject()``."""

ApprovalHandler = Callable[[ApprovalRequest], ApprovalDecision | Awaitable[ApprovalDecision]]
"""``handler(request)``, sync or async. A sync one runs in a worker thread, so it may block."""


class ApprovalRunner:
    """Asks the handler about the calls of one session; a sync one runs in at most `threads` threads."""

    def __init__(
        self, driver: Driver, lifetime: Lifetime, failures: Failures, handler: ApprovalHandler | None, *, threads: int
    ) -> None:
        self._driver = driver
        self._lifetime = lifetime
        self._failures = failures
        self._handler = handler
        self._concurrency = threads
        self._scopes: dict[str, trio.CancelScope] = {}

    @cached_property
    def _threads(self) -> trio.CapacityLimiter:
        return trio.CapacityLimiter(self._concurrency)

    def start(self, request: ApprovalRequest) -> None:
        """Ask the handler about a call, if there is a handler."""
        if self._handler is None:
            return
        scope = trio.CancelScope()
        if self._lifetime.start_tool(partial(self._work, self._handler, request, scope)):
            self._scopes[request.call_id] = scope

    def cancel(self, call_id: str) -> None:
        """Stop asking about a call."""
        scope = self._scopes.pop(call_id, None)
        if scope is not None:
            scope.cancel()

    async def _work(self, handler: ApprovalHandler, request: ApprovalRequest, scope: trio.CancelScope) -> None:
        with scope:
            decision = await self._ask(handler, request)
            self._driver.do(
                self._driver.core.decide_approval,
                request.call_id,
                approve=isinstance(decision, Approve),
                always=decision.always,
                message=decision.message if isinstance(decision, Reject) else None,
            )

    async def _ask(self, handler: ApprovalHandler, request: ApprovalRequest) -> Approve | Reject:
        """Return the decision of the handler; a handler that fails, or decides nothing, rejects."""
        try:
            decision = await call_anywhere(handler, request, thread_limiter=self._threads)
        except Exception as error:  # noqa: BLE001  (a user's callable: a failure is no approval)
            self._report(request, error, f"failed for {request.tool.name}: {type(error).__name__}")
            return Reject()
        if isinstance(decision, bool):
            return Approve() if decision else Reject()
        if isinstance(decision, Approve | Reject):
            return decision
        allowed = "it must return Approve(...), Reject(...), True or False"
        wrong = TypeError(f"{allowed}, got {repr_of(decision)}")
        self._report(request, wrong, f"returned {type(decision).__name__} for {request.tool.name}, {allowed}")
        return Reject()

    def _report(self, request: ApprovalRequest, error: Exception, what: str) -> None:
        failure = ToolFailed(
            f"the approval_handler failed for {request.tool.name}: {type(error).__name__}: {text_of(error)}",
            tool_name=request.tool.name,
            call_id=request.call_id,
        )
        failure.__cause__ = error
        self._failures.report(
            "approval_handler",
            failure,
            summary=f"the approval_handler {what}; the call was rejected",
            agent=request.agent.name,
            call_id=request.call_id,
            response_id=request.response_id,
        )
