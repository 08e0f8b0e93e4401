"""The lifetime of a session: one nursery, opened and left in an order that holds through every failure.

Theory of operation
1. A session runs in one service task, in a scope that is shielded once the connection is open. So an outer cancellation
   reaches the body first, and its ``finally`` blocks still have a working session. Leaving the body gives the scope a
   deadline, so exit is bounded.
2. The service tasks never raise into the nursery. A guard keeps the first failure, and the body's own exception is kept
   aside as well. After the nursery has closed one of the two is raised, bare: no exception of this library is ever in a
   group.
3. A lost connection ends the subscriptions and is raised once, by the first of these: a consumer at the end of its
   subscription, a call that needs the connection, the exit. Any other failure of a service task is a bug of the library
   or of a user's callable: it cancels the body and comes out of the exit.
4. On the way out, in this order: refuse new calls, cancel tools, stop the reader, cancel a running response, write the
   send queue out, exchange the close frames, drop the connection, end the subscriptions.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import attrs
import trio

from trealtime._core.reconnection import ReconnectPolicy
from trealtime._core.usage import session_over
from trealtime._flag import Flag
from trealtime._session.connections import ConnectionEnd, Connections, Dialler
from trealtime._session.driver import Driver
from trealtime._session.failures import Failures
from trealtime._value import Shown, Value
from trealtime.errors import ConnectFailed, ConnectionLost, SessionClosed, SessionNotOpen
from trealtime.events import LimitUse
from trealtime.terminal import printable
from trealtime.transport.wire import WireClosed, WireStatistics

__all__ = ["CloseOutcome", "Lifetime"]

State = Literal["new", "opening", "open", "closing", "closed"]

_MARGIN_S = 1.0
"""How long past the close timeout the service task may run before it is cancelled."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CloseOutcome(Value):
    """How a session's connection ended."""

    closed_by: Literal["server", "client", "network"]
    """The side that ended it. ``"network"``: no close frame came."""

    code: int
    """The code of the close frame (RFC 6455 section 7.4.1), 1006 where none came."""

    reason: str = ""
    """The reason in the close frame."""

    response_cut: bool = False
    """Whether the server was making an answer at that moment."""

    expired: bool = False
    """Whether the session had reached the longest duration that the server allows; OpenAI's allows 60 minutes."""

    limit: LimitUse | None = None
    """The limit of the run config that the session had reached."""

    connections: tuple[ConnectionEnd, ...] = attrs.field(default=(), eq=False)
    """Every connection that the session has had, oldest first, the last one included."""

    attempts: tuple[str, ...] = ()
    """What became of the attempts to replace the last one, one line each."""

    @classmethod
    def of(
        cls,
        closed: WireClosed,
        *,
        response_cut: bool,
        expired: bool,
        limit: LimitUse | None = None,
        connections: tuple[ConnectionEnd, ...] = (),
        attempts: tuple[str, ...] = (),
    ) -> CloseOutcome:
        """Return the outcome of a connection that this side did not end."""
        return cls(
            closed_by=closed.closed_by,
            code=closed.code,
            reason=closed.reason,
            response_cut=response_cut,
            expired=expired or (closed.code == 1001 and "maximum duration" in closed.reason.lower()),
            limit=limit,
            connections=connections,
            attempts=attempts,
        )

    @property
    def clean(self) -> bool:
        """Whether this side closed it, or the server did with 1000 or 1001 while it owed no answer."""
        if self.closed_by == "server":
            return self.code in (1000, 1001) and not self.response_cut
        return self.closed_by == "client" and self.code == 1000

    def as_error(self) -> ConnectionLost:
        """Return a new exception that says the same; each place that raises it has its own."""
        cut = ", an answer was cut" if self.response_cut else ""
        expired = ", the session had reached its longest duration" if self.expired else ""
        why = f" ({printable(self.reason)})" if self.reason else ""
        error = ConnectionLost(
            f"connection lost: ended by the {self.closed_by} with code {self.code}{why}{cut}{expired}",
            code=self.code,
            reason=self.reason,
            closed_by=self.closed_by,
            response_cut=self.response_cut,
        )
        for attempt in self.attempts:
            error.add_note(attempt)
        return error


@attrs.define(eq=False, repr=False)
class Lifetime(Shown):
    """Carries one session from entry to exit."""

    _driver: Driver
    _failures: Failures
    _close_timeout_s: float
    _limit_grace_s: float = 10.0
    _policy: ReconnectPolicy | None = None
    state: State = attrs.field(default="new", init=False)
    outcome: CloseOutcome | None = attrs.field(default=None, init=False)
    on_wind_down: Callable[[float], None] = attrs.field(default=lambda _deadline: None, init=False)
    """Called when the session begins to end, with the time until which tools may finish."""

    on_tools_ended: Callable[[], None] = attrs.field(default=lambda: None, init=False)
    """Called when it ends and no tool runs any more, or has run on for too long. It may be called twice."""

    limit: LimitUse | None = attrs.field(default=None, init=False)
    """The limit of the run config that the session has reached."""

    entering: trio.CancelScope | None = attrs.field(default=None, init=False)
    """The wait for the first connection to be ready, while there is one."""

    _refusal: ConnectFailed | None = attrs.field(default=None, init=False)
    """Why the first connection could not be opened, if it is dialled again."""

    _connections: Connections | None = attrs.field(default=None, init=False)
    _lost: bool = attrs.field(default=False, init=False)
    _unseen: bool = attrs.field(default=False, init=False)
    """The loss has not been raised yet."""

    _disconnected: bool = attrs.field(default=False, init=False)
    _bug: BaseException | None = attrs.field(default=None, init=False)
    _body: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _outer: trio.Nursery | None = attrs.field(default=None, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    """That of the service task."""

    _ends_by: float = attrs.field(default=math.inf, init=False)
    """When the service task is cancelled, however far it is."""

    _tools: frozenset[trio.CancelScope] = attrs.field(default=frozenset(), init=False)
    """A scope for each tool that runs."""

    _tools_done: trio.Event | None = attrs.field(default=None, init=False)
    """Set when the session ends and no tool runs any more."""

    _stopping: trio.Event = attrs.field(factory=trio.Event, init=False)
    _finished: Flag = attrs.field(factory=Flag, init=False)

    # ---- the body's side -----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def run(
        self,
        dial: Dialler,
        opening: Callable[[float | None], None],
        become_ready: Callable[[], Awaitable[None]],
    ) -> AsyncIterator[None]:
        """Open, hold and close the session around a body.

        `dial` is called for each connection. `opening` gives the core its first input, before the first message is
        read, with the server's clock. `become_ready` runs when the connection is open; the body begins when it has
        returned.
        """
        self.state = "opening"
        error: BaseException | None = None
        async with trio.open_nursery() as self._outer:
            try:
                with self._body:
                    await self._outer.start(self._serve, dial, opening)
                    await become_ready()
                    # They hold the entry, which is over, and this frame lives as long as the session.
                    del opening, become_ready
                    self._refusal = None
                    # The connection may have gone in the very step that made the session ready: then it is not open.
                    self.state = "closing" if self._stopping.is_set() else "open"
                    self._driver.note_change()
                    yield
            except BaseException as raised:  # noqa: BLE001
                # Kept aside, raised again below: raised in here it would come out in a group.
                error = raised
            if self.state == "opening" and isinstance(error, trio.Cancelled) and self._nursery is not None:
                self._nursery.cancel_scope.cancel()
            self.stop()
            # Bounded: `stop` has given the services a deadline. Nothing but them can be waited for here.
            with trio.CancelScope(shield=True):
                await self._finished.wait()
            self.on_tools_ended()  # again, where the services have not come to it
        self.state = "closed"
        try:
            self._raise(error)
        finally:
            # The traceback of an exception holds this frame: without this they keep each other alive.
            del error

    def _raise(self, error: BaseException | None) -> None:
        """Raise the one exception that the lifetime ends with, bare, or none."""
        lost = self._take_loss()
        if self._bug is not None and (error is None or isinstance(error, trio.Cancelled)):
            raise self._bug
        if self._bug is not None and isinstance(error, Exception) and not isinstance(self._bug, Exception):
            raise self._bug from error  # a Ctrl-C: the body's error may be no more than its consequence
        if error is None:
            if lost is not None:
                raise lost
            return
        other = lost if self._bug is None else self._bug
        if other is not None and not isinstance(error, trio.Cancelled):
            error.add_note(f"Meanwhile the session had failed: {type(other).__name__}: {other}")
        raise error

    def stop(self) -> None:
        """Begin to end the session and accept nothing new. Idempotent."""
        if self._stopping.is_set():
            return
        if self.state == "open":
            self.state = "closing"
        self._ends_by = trio.current_time() + self._close_timeout_s + _MARGIN_S
        if self._nursery is not None:
            self._nursery.cancel_scope.deadline = self._ends_by
        self._stopping.set()

    async def stop_at_limit(self, limit: LimitUse) -> None:
        """End the session when the user has heard the agent, at the latest after the grace time of the limits."""
        self.limit = limit
        with trio.move_on_after(self._limit_grace_s):
            await self._driver.wait_for_playback()
        self.stop()

    async def wait_finished(self) -> None:
        """Wait until the connection is closed and every service task has ended."""
        await self._finished.wait()

    # ---- what others ask -----------------------------------------------------------------------------------------

    @property
    def disconnected(self) -> bool:
        """Whether the connection has gone: no event comes any more."""
        return self._disconnected

    def check_open(self) -> None:
        """Raise `SessionNotOpen`, `SessionClosed`, or `ConnectionLost`, unless the session is open."""
        if self.state == "open":
            return
        if self.state in ("new", "opening"):
            raise SessionNotOpen("this session is not open: use it inside `async with session:`")
        if self._lost and self.state != "closed":
            raise self._loss()
        raise self._closed_error()

    def check_entered(self) -> None:
        """Raise `SessionNotOpen` if the session was never entered: then it has no end to wait for."""
        if self.state == "new":
            raise SessionNotOpen("this session was never entered, there is nothing to close")

    def end_of_subscription(self) -> Exception | None:
        """Return the loss for the consumer that comes first to the end of its subscription, None for the others."""
        return self._take_loss()

    def own(self, error: Exception) -> Exception:
        """Return the exception to raise from a call whose reply was settled with `error`.

        Every call that a lost connection has left without an answer raises, each an exception of its own.
        """
        return self._loss() if self._lost and isinstance(error, ConnectionLost) else error

    def start_tool(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Run `work` as a tool of the session. False: the session is ending, and `work` does not run."""
        if self._stopping.is_set():
            return False
        assert self._nursery is not None
        scope = trio.CancelScope()
        self._tools |= {scope}
        self._nursery.start_soon(self._run_tool, work, scope)
        return True

    def wire_statistics(self) -> WireStatistics:
        """Return the counters of all connections together, also after their end."""
        return self._connections.statistics() if self._connections is not None else WireStatistics()

    @property
    def outer_nursery(self) -> trio.Nursery:
        """The nursery around the body, once the session is being opened. Its tasks must not raise; `on_tools_ended`
        has to end them, because a cancellation from outside may come at any time."""
        assert self._outer is not None
        return self._outer

    @property
    def connections(self) -> Connections:
        """The connections of the session, once it is being opened."""
        assert self._connections is not None
        return self._connections

    # ---- the service task ----------------------------------------------------------------------------------------

    async def _serve(
        self,
        dial: Dialler,
        opening: Callable[[float | None], None],
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        opened = False
        failed: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.cancel_scope.deadline = self._ends_by
                self._connections = connections = self._open_connections(dial, nursery)
                try:
                    first = await connections.open(dial)
                except trio.Cancelled:
                    raise
                except BaseException as error:  # noqa: BLE001  (raised bare below: in here it would be in a group)
                    if not self._tries_again(error, opening):
                        failed = error
                        nursery.cancel_scope.cancel()
                        await trio.sleep_forever()
                else:
                    connections.adopt(first, opening)
                    del first
                task_status.started()
                opened = True
                # As in `run`.
                del opening, task_status
                # Not before, because a cancelled entry has to give up connecting. One that was cancelled in this
                # very step has not taken this task over: shielded, this would run for ever.
                nursery.cancel_scope.shield = trio.current_effective_deadline() > -math.inf
                await self._guard(self._driver.keep_deadlines, self._stopping)
                nursery.start_soon(self._guard, self._driver.keep_deadlines, self._finished)
                await self._guard(self._wind_down)
                nursery.cancel_scope.cancel()
            if failed is not None:
                raise failed
        except BaseException as error:
            if not opened or isinstance(error, trio.Cancelled):
                raise
            self._keep(error)
        finally:
            # A Ctrl-C may land here too, and a tracker of the app's is asked: without the flag, leaving would hang.
            try:
                self._disconnect()
            except BaseException as error:  # noqa: BLE001  (raised bare, by `run`)
                self._keep(error)
            finally:
                self._finished.set()

    def _tries_again(self, error: BaseException, opening: Callable[[float | None], None]) -> bool:
        """Dial again if the server has refused the first connection and asks for patience. Return whether it does."""
        if not isinstance(error, ConnectFailed) or error.status is None:
            return False
        if not self._driver.core.retries(error.status, error.body):
            return False
        self._refusal = error
        opening(None)
        self.connections.refused(error)
        return True

    async def _run_tool(self, work: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        try:
            with scope:
                await self._guard(work)
        finally:
            self._tools -= {scope}
            if self._tools_done is not None and not self._tools:
                self._tools_done.set()

    async def _end_tools(self) -> None:
        """Cancel all tools and wait until none runs. Nothing has begun one since the session began to end."""
        for scope in self._tools:
            scope.cancel()
        self._tools_done = trio.Event()
        if not self._tools:
            self._tools_done.set()
        await self._tools_done.wait()  # a checkpoint in any case: the writer takes what the body has left

    def _open_connections(self, dial: Dialler, nursery: trio.Nursery) -> Connections:
        return Connections(
            self._driver,
            dial,
            self._policy,
            self._failures,
            nursery,
            self._guard,
            self._keep,
            self._ended,
            lambda: self.state in ("opening", "open"),
            self._close_timeout_s,
        )

    async def _guard(self, work: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a service task, and keep every exception but cancellation from the nursery."""
        try:
            await work(*args)
        except trio.Cancelled:
            raise
        except BaseException as error:
            kept: BaseException | None = error
            if isinstance(error, BaseExceptionGroup):  # a nursery of the task's own makes one of its cancellation
                kept = error.split(trio.Cancelled)[1]
            if kept is None:
                raise
            self._keep(kept)

    def _keep(self, error: BaseException) -> None:
        if self._bug is None:
            self._bug = error
        self._body.cancel()
        self.stop()

    # ---- the end -------------------------------------------------------------------------------------------------

    def _ended(self, closed: WireClosed) -> bool:
        """Note that the connection has ended and this side did not end it. True: another one takes its place."""
        entering = self.state == "opening" and not self._stopping.is_set()
        if (entering or self.state == "open") and self._driver.core.recovers(closed.code, closed.closed_by):
            if self.entering is not None:  # from now on the policy says how long entering may take
                self.entering.deadline = math.inf
            return True
        self._set_outcome(closed, attempts=())
        assert self.outcome is not None
        self._end_lost(lost=self.state == "opening" or not self.outcome.clean)
        return False

    def give_up(self, attempts: tuple[str, ...]) -> None:
        """End the session: no other connection has taken the place of the lost one."""
        closed = self.connections.lost_as
        if closed is None or self._stopping.is_set():
            return
        self._set_outcome(closed, attempts=attempts)
        self._end_lost(lost=True)

    def _set_outcome(self, closed: WireClosed, *, attempts: tuple[str, ...]) -> None:
        self.outcome = CloseOutcome.of(
            closed,
            response_cut=self._driver.core.response_active,
            expired=self._driver.expired,
            limit=self.limit,
            connections=tuple(self.connections.ends),
            attempts=attempts,
        )

    def _end_lost(self, *, lost: bool) -> None:
        self._lost = self._unseen = lost
        self.stop()
        self._disconnect()

    async def _wind_down(self) -> None:
        """Close in order within the close timeout, then drop the connection."""
        with trio.move_on_after(self._close_timeout_s) as closing:
            # Tools get half of the time. Past it closing goes on; the nursery still waits for those that take longer.
            with trio.move_on_after(self._close_timeout_s / 2) as grace:
                self.on_wind_down(grace.deadline)
                await self._end_tools()
            self.on_tools_ended()
            connection = self.connections.current
            if connection is None:  # the session ends while its connection is away
                self._left_away()
                return
            connection.reading.cancel()
            if self.outcome is None:
                response_cut = self._driver.core.response_active
                if response_cut:
                    self._driver.do(self._driver.core.cancel_response)
                self._close_by_client(1000, response_cut=response_cut)
            self._driver.send_queue.close()
            await connection.written.wait()
            await connection.wire.aclose(1000)
            connection.let_go()
            await connection.left.wait()
        if closing.cancelled_caught and self.outcome is not None and self.outcome.closed_by == "client":
            reason = f"the server took nothing within {self._close_timeout_s:g} s, the connection was dropped"
            self._close_by_client(1006, reason, response_cut=self.outcome.response_cut)

    def _left_away(self) -> None:
        if self.outcome is None:
            reason = "the session was closed while its connection was away"
            self.outcome = CloseOutcome(
                closed_by="client", code=1006, reason=reason, connections=tuple(self.connections.ends)
            )

    def _close_by_client(self, code: int, reason: str = "", *, response_cut: bool) -> None:
        ends = self.connections.ends[: -1 if self.outcome is not None else None]
        self.connections.ends[:] = ends
        self.connections.note_end(WireClosed(code, reason, closed_by="client"))
        self.outcome = CloseOutcome(
            closed_by="client",
            code=code,
            reason=reason,
            response_cut=response_cut,
            limit=self.limit,
            connections=tuple(self.connections.ends),
        )

    def _disconnect(self) -> None:
        """Settle every open reply with the end of the connection, and end the subscriptions. Idempotent."""
        if self._disconnected:
            return
        self._disconnected = True
        self._driver.send_queue.break_off()
        lost = self.outcome.as_error() if self.outcome is not None and self._lost else None
        self._driver.do(self._driver.core.disconnect, lost or self._closed_error())
        for subscription in self._driver.subscriptions:
            subscription.end()

    def _closed_error(self) -> SessionClosed:
        outcome = self.outcome
        if outcome is not None and outcome.closed_by == "server":
            why = f": {outcome.reason}" if outcome.reason else ""
            return SessionClosed(f"this session is over: the server closed it with code {outcome.code}{why}")
        if self.limit is not None:
            return session_over(self.limit)
        return SessionClosed("this session is closed")

    def _loss(self) -> ConnectionLost | ConnectFailed:
        """Return the loss to be raised now."""
        assert self.outcome is not None
        self._unseen = False
        if self.state == "opening" and self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            for attempt in self.outcome.attempts:
                refusal.add_note(attempt)
            return refusal
        return self.outcome.as_error()

    def _take_loss(self) -> ConnectionLost | ConnectFailed | None:
        return self._loss() if self._unseen else None
