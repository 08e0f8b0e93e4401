"""`Faults` on a connection: `FaultyWire` applies a `FaultPlan` to a wire, `FaultyStream` to the bytes under it.

They stand between a server and its client, so every personality of the emulator can have them, and the server itself
stays correct.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Final

import attrs
import trio

from trealtime.emulator.faults import Delivery, FaultPlan
from trealtime.transport.memory import MemoryWire
from trealtime.transport.wire import NETWORK_LOSS, Wire, WireClosed, WireStatistics

__all__ = ["FaultyStream", "FaultyWire", "cut_off"]

_QUEUED: Final = 256
_LONGEST_PIECE: Final = 700


@attrs.define(eq=False)
class FaultyWire:
    """A `Wire` that carries out a `FaultPlan`, on the server's side. A task runs `deliver`."""

    _wire: Wire
    _plan: FaultPlan
    _on_half_open: Callable[[], None] = lambda: None
    _deliveries: list[tuple[float, int, Delivery]] = attrs.field(factory=list, init=False)
    _numbers: itertools.count[int] = attrs.field(factory=itertools.count, init=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _timer: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _half_open: bool = attrs.field(default=False, init=False)
    _cutting: bool = attrs.field(default=False, init=False)
    _end: WireClosed | None = attrs.field(default=None, init=False)
    _idle: bool = attrs.field(default=True, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    async def send(self, message: str) -> None:
        """Queue the frames for `message`; waits while a few hundred frames are queued. Raises `WireClosed`."""
        await self._room()
        self._queue(self._plan.outgoing(message, trio.current_time()))

    async def receive(self) -> str | bytes:
        """Wait for the next message that passes; on a half-open connection none does. Raises `WireClosed`."""
        while True:
            message = await self._wire.receive()
            if self._half_open:
                await trio.sleep_forever()
            if self._cutting:
                continue  # on the way when the connection was cut
            speed = self._plan.faults.slow_drain_bytes_per_s
            if speed is not None:
                await trio.sleep(len(message) / speed)
            cut = self._plan.cut_of_incoming(message)
            if cut is not None:
                self._cutting = True
                self._queue([self._plan.ending(cut, trio.current_time())])
                if cut.when == "after":
                    return message
                continue
            refusal = self._plan.incoming(message)
            if refusal is None:
                return message
            await self._room()
            self._queue(self._plan.refusal_of_event(refusal, trio.current_time()))

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Send the queue, then close in order; a half-open connection is dropped."""
        try:
            while (self._deliveries or not self._idle) and self._end is None and not self._half_open:
                await self._changed.park()
        finally:
            try:
                await self._wire.aclose(code, reason)
            finally:
                self._closed = True
                self._timer.cancel()

    def statistics(self) -> WireStatistics:
        """The statistics of the wire beneath."""
        return self._wire.statistics()

    async def deliver(self) -> None:
        """Send each frame when it is due, until `aclose` is done."""
        while not self._closed:
            if not self._deliveries:
                self._idle = True
                self._changed.unpark_all()
            due = self._deliveries[0][0] if self._deliveries else float("inf")
            with trio.CancelScope(deadline=due) as self._timer:
                await trio.sleep_forever()
            while self._deliveries and self._deliveries[0][0] <= trio.current_time():
                self._idle = False
                await self._do(heapq.heappop(self._deliveries)[2])

    async def _room(self) -> None:
        """Wait until one more frame may be queued. Raises `WireClosed`."""
        await trio.lowlevel.checkpoint()
        while len(self._deliveries) >= _QUEUED and self._end is None:
            await self._changed.park()
        if self._end is not None:
            raise self._end

    async def _do(self, delivery: Delivery) -> None:
        if self._end is not None or self._half_open:
            return
        try:
            match delivery.ending:
                case None:
                    await self._wire.send(delivery.frame)
                case "half_open":
                    self._half_open = True
                    self._on_half_open()
                case "close":
                    await self._wire.aclose(delivery.code, "on purpose")
                    raise WireClosed(delivery.code, "on purpose", closed_by="server")
                case "drop":
                    await cut_off(self._wire)
                    raise NETWORK_LOSS.error()
        except WireClosed as end:
            self._end = end
            self._deliveries.clear()
        self._changed.unpark_all()

    def _queue(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            heapq.heappush(self._deliveries, (delivery.due, next(self._numbers), delivery))
            self._idle = False
        if self._deliveries and self._deliveries[0][0] < self._timer.deadline:
            self._timer.deadline = self._deliveries[0][0]


async def cut_off(wire: Wire) -> None:
    """Drop the connection without a close frame."""
    if isinstance(wire, FaultyWire):
        wire = wire._wire
    if isinstance(wire, MemoryWire):
        wire.drop()
        return
    # A cancelled close drops a socket.
    with trio.CancelScope() as scope:
        scope.cancel()
        await wire.aclose(1011)


class FaultyStream(trio.abc.Stream):
    """The bytes under a `FaultyWire`, from the server's side.

    With `split`, it sends in pieces of 1 to 700 bytes, and reads in pieces too. After `play_dead` it sends and reads
    nothing any more, not even pings; closing works.
    """

    def __init__(self, stream: trio.abc.Stream, rng: random.Random, *, split: bool = False) -> None:
        self._stream = stream
        self._rng = rng
        self._split = split
        self._dead = False

    def play_dead(self) -> None:
        """Act as a peer that has vanished without notice."""
        self._dead = True

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`."""
        view, start = memoryview(data), 0
        if self._dead:
            await trio.lowlevel.checkpoint()
            return
        while start < len(view):
            end = start + self._rng.randint(1, _LONGEST_PIECE) if self._split else len(view)
            await self._stream.send_all(view[start:end])
            start = end

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream beneath."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """The next bytes."""
        if self._split and self._rng.random() < 0.5:
            few = self._rng.randint(1, _LONGEST_PIECE)
            max_bytes = few if max_bytes is None else min(few, max_bytes)
        data = await self._stream.receive_some(max_bytes)
        if self._dead:
            await trio.sleep_forever()
        return data

    async def aclose(self) -> None:
        """Close the stream beneath."""
        await self._stream.aclose()
