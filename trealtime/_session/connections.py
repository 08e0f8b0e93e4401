"""The connections of one session: dialled, carried, and replaced when one is lost.

Theory of operation
1. Each connection is held by a task of its own, which opens it, reads it, and leaves it when it is let go. Its writer
   runs in a nursery of that task.
2. One connection is the current one: its frames go to the core, and its writer takes from the send queue. Frames of any
   other are dropped.
3. The core decides whether a lost connection is replaced, and when (`trealtime._core.reconnection`). Here it is dialled
   again, as often as the core says, and the new one is made the current one before anything is read from it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal

import attrs
import trio

from trealtime._core.effects import Dial, OpenSuccessor
from trealtime._core.reconnection import ReconnectPolicy
from trealtime._flag import Flag
from trealtime._session.driver import Driver
from trealtime._session.failures import Failures
from trealtime._session.send_queue import SendQueue, encode_outgoing
from trealtime._session.wakeup import Sleeper
from trealtime._value import Shown, Value
from trealtime.errors import ConnectFailed, MissingApiKey, SettingsError
from trealtime.items import RealtimeItem
from trealtime.terminal import text_of
from trealtime.tools.callables import answer_of
from trealtime.transport.wire import Wire, WireClosed, WireStatistics, immediate_sender, receiver, sender

__all__ = ["Connection", "ConnectionEnd", "Connections", "Dialler"]

_JOINED_BYTES: Final = 16 * 1024

Dialler = Callable[[], AbstractAsyncContextManager[Wire]]
"""Opens a connection of the session: called anew for each."""

Guard = Callable[..., Awaitable[None]]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConnectionEnd(Value):
    """How one connection of a session ended: the close frame (1006 where none came), and how long it had been open."""

    closed_by: Literal["server", "client", "network"]
    code: int
    reason: str = ""
    open_s: float = 0.0


@attrs.define(eq=False, repr=False)
class Connection(Shown):
    """One open wire, and what its holder, its writer and its end have to know of each other."""

    wire: Wire
    opened_at: float
    _held: trio.CancelScope
    """Around its reader and its writer."""

    turn: int = attrs.field(default=0, init=False)
    """The number under which its writer takes from the send queue."""

    reading: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    written: Flag = attrs.field(factory=Flag, init=False)
    """Set when its writer has ended."""

    left: Flag = attrs.field(factory=Flag, init=False)
    """Set when nothing of it is left."""

    ahead: SendQueue | None = attrs.field(default=None, init=False)
    """What a successor is told before it takes over."""

    _carried: bool = attrs.field(default=False, init=False)
    _holder: Sleeper = attrs.field(factory=Sleeper, init=False)

    def carry(self) -> None:
        """Read and write from now on."""
        self._carried = True
        self._holder.wake()

    async def wait_carried(self) -> None:
        """Wait until it is to be read and written. For its holder only."""
        while not self._carried:
            await self._holder.sleep()

    def let_go(self) -> None:
        """Read and write no more, and leave it. Idempotent."""
        self._held.cancel()

    @property
    def server_time_s(self) -> float | None:
        """The server's clock at the handshake, in Unix time; None where its answer has no date."""
        headers = getattr(self.wire, "response_headers", None)
        return http_date(headers.get("date")) if isinstance(headers, Mapping) else None


@attrs.define(eq=False, repr=False)
class _Dialled(Shown):
    """A connection that is being opened."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    connection: Connection | None = attrs.field(default=None, init=False)
    error: BaseException | None = attrs.field(default=None, init=False)
    settled: Flag = attrs.field(factory=Flag, init=False)


@attrs.define(eq=False, repr=False)
class Connections(Shown):
    """See the module's theory of operation. `guard` runs a service task, `keep` takes what one of them raises."""

    _driver: Driver
    _dial: Dialler
    _policy: ReconnectPolicy | None
    _failures: Failures
    _nursery: trio.Nursery
    _guard: Guard
    _keep: Callable[[BaseException], None]
    _on_lost: Callable[[WireClosed], bool]
    """Called when the current connection has ended; True: another one takes its place."""

    _wanted: Callable[[], bool]
    """Whether the session still wants another connection."""

    _close_timeout_s: float

    current: Connection | None = attrs.field(default=None, init=False)
    successor: Connection | None = attrs.field(default=None, init=False)
    """The connection that stands beside the current one, and will take over."""

    ends: list[ConnectionEnd] = attrs.field(factory=list, init=False)
    lost_as: WireClosed | None = attrs.field(default=None, init=False)
    """How the connection that is being replaced ended."""

    _ended_traffic: WireStatistics = attrs.field(factory=WireStatistics, init=False)

    # ---- opening ---------------------------------------------------------------------------------------------------

    async def open(self, dial: Dialler) -> Connection:
        """Open a connection, and raise what opening it raises. Nothing reads it until `adopt`."""
        dialled = _Dialled()
        self._nursery.start_soon(self._hold, dial, dialled)
        try:
            await dialled.settled.wait()
            await trio.lowlevel.checkpoint_if_cancelled()  # then its task may have been cancelled as well
        except BaseException:
            dialled.scope.cancel()
            raise
        if dialled.connection is None:
            assert dialled.error is not None
            raise dialled.error
        return dialled.connection

    async def _hold(self, dial: Dialler, dialled: _Dialled) -> None:
        """Hold one connection open until it is let go."""
        try:
            with dialled.scope:
                async with dial() as wire, trio.open_nursery() as nursery:
                    dialled.connection = connection = Connection(wire, trio.current_time(), nursery.cancel_scope)
                    dialled.settled.set()
                    await connection.wait_carried()
                    nursery.start_soon(self._guard, self._write, connection)
                    await self._guard(self._read, connection)
                    await trio.sleep_forever()  # until it is let go
        except trio.Cancelled:
            raise
        except BaseException as error:
            if isinstance(error, BaseExceptionGroup) and error.split(trio.Cancelled)[1] is None:
                raise
            if dialled.connection is None:
                dialled.error = error
            else:
                self._keep(error)
        finally:
            if dialled.connection is not None:
                self._ended_traffic = _sum(self._ended_traffic, dialled.connection.wire.statistics())
                dialled.connection.left.set()
            elif dialled.error is None:
                dialled.error = ConnectFailed("the attempt was given up")
            dialled.settled.set()

    def adopt(self, connection: Connection, tell: Callable[[float | None], None]) -> None:
        """Make this the current connection: `tell` it what it has to know, given the server's clock; then read and
        write."""
        self.current = connection
        self._driver.expired = False
        self._driver.clock = trio.lowlevel.current_clock().current_time
        connection.turn = self._driver.send_queue.begin_turn(immediate_sender(connection.wire))
        tell(connection.server_time_s)
        connection.carry()

    # ---- carrying --------------------------------------------------------------------------------------------------

    async def _read(self, connection: Connection) -> None:
        with connection.reading:
            try:
                # All frames of one read in one go: a turn of the scheduler costs as much as a frame.
                receive = receiver(connection.wire)
                while connection is self.current or connection is self.successor:
                    frames = iter(await receive())
                    while connection is self.successor and (frame := next(frames, None)) is not None:
                        self._driver.receive_ahead(frame)
                    current = self._frames_of(connection, frames)
                    while self._driver.receive(current):
                        # The end of the interrupted response comes next, and takes as long as all before it. Trio runs
                        # the tasks of a pass in the order in which they were woken, or in reverse: so the app, which
                        # has just been woken, comes before the second of two checkpoints (benchmark ``barge-in``).
                        await trio.lowlevel.cancel_shielded_checkpoint()
                        await trio.lowlevel.cancel_shielded_checkpoint()
            except WireClosed as closed:
                self._ended(connection, closed)

    def _frames_of(self, connection: Connection, frames: Iterable[str | bytes]) -> Iterator[str | bytes]:
        """Yield the frames for as long as the connection is the current one: one of them may end that."""
        for frame in frames:
            if connection is not self.current:
                return
            yield frame

    async def _write(self, connection: Connection) -> None:
        send_queue = self._driver.send_queue
        send = sender(connection.wire)
        try:
            if connection.ahead is not None:
                await self._write_ahead(connection.ahead, send)
            while True:
                messages = [encode_outgoing(await send_queue.receive(connection.turn))]
                # What waits goes out in one write, as long as an urgent message need not wait long for its end.
                size = len(messages[0])
                while send_queue and size < _JOINED_BYTES:
                    messages.append(encode_outgoing(send_queue.receive_nowait()))
                    size += len(messages[-1])
                await send(messages)
                del messages  # this task sleeps until there are others
        except trio.EndOfChannel:
            pass
        except WireClosed:
            # The reader gets the same, after the last message that came before the end, and notes it.
            if self._policy is None and connection is self.current:
                send_queue.break_off()
        finally:
            connection.written.set()

    async def _write_ahead(self, ahead: SendQueue, send: Callable[[Sequence[str | bytes]], Awaitable[None]]) -> None:
        """Write the messages for a successor, until it takes over."""
        with suppress(trio.EndOfChannel):
            while True:
                await send([encode_outgoing(await ahead.receive())])

    # ---- the end of one --------------------------------------------------------------------------------------------

    def _ended(self, connection: Connection, closed: WireClosed) -> None:
        if connection is self.successor:
            self.drop_successor()
            self._driver.do(self._driver.core.successor_failed)
        if connection is not self.current:
            return
        self.note_end(closed)
        if not self._on_lost(closed):
            return
        self._replace(connection, closed)

    def note_end(self, closed: WireClosed) -> None:
        """Note how the current connection has ended."""
        if self.current is not None:
            open_s = trio.current_time() - self.current.opened_at
            end = ConnectionEnd(closed_by=closed.closed_by, code=closed.code, reason=closed.reason, open_s=open_s)
            self.ends.append(end)

    def _replace(self, connection: Connection, closed: WireClosed) -> None:
        driver, core = self._driver, self._driver.core
        assert self._policy is not None
        self.current = None
        connection.let_go()
        if self.lost_as is None or not core.recovering:
            self.lost_as = closed
        driver.send_queue.hold(self._policy.resend_buffer_s, lambda: core.events_waiting)
        driver.do(core.connection_lost, code=closed.code, reason=closed.reason)

    def refused(self, error: ConnectFailed) -> None:
        """Note that the handshake of the first connection was refused, and is tried again."""
        driver, core = self._driver, self._driver.core
        assert self._policy is not None
        self.lost_as = WireClosed(1006, text_of(error), closed_by="network")
        driver.send_queue.hold(self._policy.resend_buffer_s, lambda: core.events_waiting)
        driver.do(core.not_connected, retry_after_s=_retry_after(error.headers))

    def drop(self, reason: str) -> None:
        """Drop the current connection, and treat it as lost."""
        connection = self.current
        if connection is not None:
            self._ended(connection, WireClosed(1006, reason, closed_by="network"))

    # ---- another one -----------------------------------------------------------------------------------------------

    def dial_again(self, effect: Dial) -> None:
        """Carry out a `Dial`."""
        self._nursery.start_soon(self._guard, self._dial_again, effect)

    async def _dial_again(self, effect: Dial) -> None:
        driver, core = self._driver, self._driver.core
        await trio.sleep(effect.delay_s)
        connection: Connection | None = None
        try:
            with trio.move_on_at(effect.until) as dialling:
                connection = await self.open(self._dial)
        except Exception as error:  # noqa: BLE001  (a callable of the app's may raise anything)
            self._failed(error)
            return
        if connection is None:
            assert dialling.cancelled_caught
            driver.do(core.dial_failed, "no connection within the time that the policy gives", final=True)
            return
        summary = await self.summary(core.folding())
        if not self._wanted():
            connection.let_go()
            return

        def tell(server_time_s: float | None) -> None:
            driver.send_queue.release()
            driver.do(core.connected, summary=summary, server_time_s=server_time_s)

        self.adopt(connection, tell)

    def _failed(self, error: Exception) -> None:
        driver, core = self._driver, self._driver.core
        why = f"{type(error).__name__}: {text_of(error)}"
        if isinstance(error, ConnectFailed):
            retry_after_s = _retry_after(error.headers)
            final = isinstance(error, MissingApiKey)
            driver.do(
                core.dial_failed,
                why,
                status=error.status,
                body=error.body,
                retry_after_s=retry_after_s,
                final=final,
            )
            return
        # A callable of the app's, such as one for credentials, may fail for the same reason as the connection did.
        self._failures.report("connection", error, summary="a connection could not be opened")
        driver.do(core.dial_failed, why, final=isinstance(error, SettingsError))

    # ---- a successor -----------------------------------------------------------------------------------------------

    def open_successor(self, effect: OpenSuccessor) -> None:
        """Carry out an `OpenSuccessor`."""
        self._nursery.start_soon(self._guard, self._open_successor, effect)

    async def _open_successor(self, effect: OpenSuccessor) -> None:
        driver, core = self._driver, self._driver.core
        await trio.sleep(effect.delay_s)
        connection: Connection | None = None
        try:
            with trio.move_on_at(effect.until):
                connection = await self.open(self._dial)
        except Exception as error:  # noqa: BLE001  (a callable of the app's may raise anything)
            if isinstance(error, ConnectFailed):
                self._failures.warn("connection", error, summary="the next connection could not be opened")
            else:
                self._failures.report("connection", error, summary="a connection could not be opened")
            driver.do(core.successor_failed, again=not isinstance(error, SettingsError | MissingApiKey))
            return
        if connection is None:
            driver.do(core.successor_failed, again=False)
            return
        summary = await self.summary(core.folding())
        if not self._wanted() or self.successor is not None:
            connection.let_go()
            return
        self.successor = connection
        connection.ahead = SendQueue()
        driver.do(core.successor_connected, summary=summary, server_time_s=connection.server_time_s)
        connection.carry()

    def send_ahead(self, event: Mapping[str, Any]) -> None:
        """Send an event on the successor."""
        if self.successor is not None and self.successor.ahead is not None:
            self.successor.ahead.put(event)

    def drop_successor(self) -> None:
        """Let go of the successor."""
        successor, self.successor = self.successor, None
        if successor is not None:
            successor.let_go()

    def switch(self) -> None:
        """Make the successor the current connection, and close the one before it."""
        successor, before = self.successor, self.current
        assert successor is not None
        assert successor.ahead is not None
        if before is not None:
            self.note_end(WireClosed(1000, "", closed_by="client"))
            self._nursery.start_soon(self._guard, self._retire, before)
        self.current, self.successor = successor, None
        self._driver.expired = False
        self._driver.send_queue.release()
        successor.turn = self._driver.send_queue.begin_turn(immediate_sender(successor.wire))
        successor.ahead.close()

    async def _retire(self, connection: Connection) -> None:
        """Close a connection that another one has followed, in order."""
        connection.reading.cancel()
        with trio.move_on_after(self._close_timeout_s):
            await connection.written.wait()
            await connection.wire.aclose(1000)
        connection.let_go()

    async def summary(self, items: Sequence[RealtimeItem]) -> str | None:
        """Return the app's summary of `items`; None if there is none, or it fails or takes too long."""
        policy = self._policy
        if not items or policy is None or policy.summarise is None:
            return None
        found: object = None
        try:
            with trio.move_on_after(policy.summarise_timeout_s) as waiting:
                found = await answer_of(policy.summarise(items))
            if waiting.cancelled_caught:
                raise TimeoutError(f"summarise took longer than {policy.summarise_timeout_s:g} s")
            if found is not None and not isinstance(found, str):
                raise TypeError(f"summarise must return a str or None, got {type(found).__name__}")
        except Exception as error:  # noqa: BLE001  (a callable of the app's may raise anything)
            self._failures.report("connection", error, summary="summarise failed, the oldest turns are left out")
            return None
        return found or None

    # ---- figures ---------------------------------------------------------------------------------------------------

    def statistics(self) -> WireStatistics:
        """Return the counters of all connections together, also after their end."""
        current = self.current
        if current is None or current.left.is_set():
            return self._ended_traffic
        return _sum(self._ended_traffic, current.wire.statistics())


def http_date(value: object) -> float | None:
    """Return an HTTP date (RFC 9110 section 5.6.7) in Unix time; None for anything else."""
    from email.utils import parsedate_to_datetime  # the package takes its time to import

    try:
        found = parsedate_to_datetime(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if found is None else found.replace(tzinfo=found.tzinfo or UTC).timestamp()


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110 section 10.2.3); None where it asks for nothing."""
    lowered = {name.lower(): value for name, value in headers.items()}
    value = lowered.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    at = http_date(value)
    if at is None:
        return None
    sent_at = http_date(lowered.get("date"))
    return max(0.0, at - (datetime.now(UTC).timestamp() if sent_at is None else sent_at))


def _sum(left: WireStatistics, right: WireStatistics) -> WireStatistics:
    both = zip(attrs.astuple(left), attrs.astuple(right), strict=True)
    return WireStatistics(*(mine + theirs for mine, theirs in both))
