"""Faults on purpose: the failures of networks and servers on a bad day, seeded and reproducible.

`Faults` gives the shares; `FaultPlan` decides event by event, from a seeded source and without a clock of its own;
`FaultyWire` applies the faults to a wire, `FaultyStream` to the bytes under it. They stand between a server and its
client, so every personality of the emulator can have them, and the server itself stays correct.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar

import attrs
import msgspec
import trio

from trealtime.errors import SettingsError, SettingsProblem
from trealtime.protocol.codec import encode
from trealtime.transport.memory import MemoryWire
from trealtime.transport.wire import Wire, WireClosed, WireStatistics

__all__ = ["Delivery", "FaultPlan", "Faults", "FaultyStream", "FaultyWire"]

_QUEUED: Final = 256
_LONGEST_PIECE: Final = 700
_RUMOUR: Final = "rumour.heard"
"""A type that the protocol does not have."""

_NONSENSE: Final = ('{"type": "response.do', "null", "[]", "", "42", "{}")
_SHARES: Final = (
    "duplicates",
    "reordered",
    "malformed",
    "unknown",
    "lost",
    "late_acknowledgements",
    "doubled_acknowledgements",
    "errors_without_ids",
    "errors_with_other_ids",
    "stalls",
    "half_open",
    "drops",
)
_ACKNOWLEDGEMENTS: Final = frozenset(
    {
        "session.updated",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.deleted",
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "input_audio_buffer.committed",
        "input_audio_buffer.cleared",
        "output_audio_buffer.cleared",
    }
)
_ANSWERS: Final = _ACKNOWLEDGEMENTS | {"error", "response.created", "response.done"}


@attrs.frozen(kw_only=True)
class Faults:
    """The faults of a connection; none by default. Shares are from 0 to 1, of the events that the server sends.

    Raises a `SettingsError` that names every invalid value.
    """

    latency_s: float = 0.0
    """Delay of every event to the client, in seconds; the order stays."""

    jitter_s: float = 0.0
    """Random delay on top of that, at most, in seconds."""

    duplicates: float = 0.0
    """The share of events that come twice."""

    reordered: float = 0.0
    """The share of events that come `reorder_s` late, after those that were sent meanwhile."""

    reorder_s: float = 0.05
    malformed: float = 0.0
    """The share of events that are followed by a frame that is not a JSON object."""

    unknown: float = 0.0
    """The share of events that are followed by one of an unknown type."""

    lost: float = 0.0
    """The share of answers to requests (acknowledgements, errors, ``response.created``, ``response.done``) that never
    come."""

    late_acknowledgements: float = 0.0
    """The share of acknowledgements (``session.updated``, ``conversation.item.*``, ``input_audio_buffer.committed`` and
    ``cleared``) that come `late_s` late, after the events that were sent meanwhile."""

    late_s: float = 1.0
    doubled_acknowledgements: float = 0.0
    """The share of acknowledgements that come twice, the second time `late_s` late."""

    errors_without_ids: float = 0.0
    """The share of ``error`` events that do not name the client's event."""

    errors_with_other_ids: float = 0.0
    """The share of ``error`` events that name an event which the client has never sent."""

    errors: Mapping[str, float] = attrs.field(factory=dict)
    """By error code: the share of the client's events (audio apart) that are refused with it instead of obeyed."""

    stalls: float = 0.0
    """The share of events before which the server falls silent for `stall_s`."""

    stall_s: float = 5.0
    half_open: float = 0.0
    """The share of events at which the peer vanishes unnoticed: it sends nothing and reads nothing, but the socket
    stays open. Pings find this out; in-memory wires have none."""

    drops: float = 0.0
    """The share of events at which the connection is cut without a close frame (the client sees 1006)."""

    closes: Mapping[int, float] = attrs.field(factory=dict)
    """By close code: the share of events in place of which the server closes with it."""

    refusals: Mapping[int, float] = attrs.field(factory=dict)
    """By HTTP status: the share of handshakes that are refused with it."""

    split: bool = False
    """On a socket: send in small pieces, and pieces of several frames together."""

    slow_drain_bytes_per_s: float | None = None
    """The rate at which the server reads the client's messages; None: as fast as they come."""

    def __attrs_post_init__(self) -> None:
        problems = [
            SettingsProblem(name, getattr(self, name), "a number of seconds, 0 or more")
            for name in ("latency_s", "jitter_s", "reorder_s", "late_s", "stall_s")
            if not _is_number(getattr(self, name)) or getattr(self, name) < 0
        ]
        problems += [
            SettingsProblem(name, getattr(self, name), "a share, from 0 to 1")
            for name in _SHARES
            if not _is_share(getattr(self, name))
        ]
        problems += [
            SettingsProblem(f"{name}.{key}", value, "a share, from 0 to 1")
            for name in ("errors", "closes", "refusals")
            for key, value in getattr(self, name).items()
            if not _is_share(value)
        ]
        problems += [
            SettingsProblem("closes", code, "close codes that may be sent: 1000 to 1014 but 1004 to 1006, 3000 to 4999")
            for code in self.closes
            if not (1000 <= code <= 1014 or 3000 <= code <= 4999) or 1004 <= code <= 1006
        ]
        problems += [
            SettingsProblem("refusals", status, "HTTP statuses from 300 to 599")
            for status in self.refusals
            if not 300 <= status <= 599
        ]
        slow = self.slow_drain_bytes_per_s
        if slow is not None and (not _is_number(slow) or slow <= 0):
            problems.append(SettingsProblem("slow_drain_bytes_per_s", slow, "a number above 0, or None"))
        if problems:
            raise SettingsError(problems, what="Faults")


_Key = TypeVar("_Key", int, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


Ending = Literal["drop", "close", "half_open"]


@attrs.frozen
class Delivery:
    """A frame for the client, at the time `due`; or, in place of one, the end of the connection."""

    due: float
    frame: str = ""
    ending: Ending | None = None
    code: int = 1006


class FaultPlan:
    """Decides the fate of each event of one connection. The same source and the same events give the same faults."""

    def __init__(self, faults: Faults, rng: random.Random) -> None:
        self.faults = faults
        self._rng = rng
        self._last_due = 0.0
        self._silent_until = 0.0
        self._told = 0
        self._touches_answers = any(
            (
                faults.lost,
                faults.late_acknowledgements,
                faults.doubled_acknowledgements,
                faults.errors_without_ids,
                faults.errors_with_other_ids,
            )
        )

    def refusal(self) -> int | None:
        """Return the HTTP status that refuses this client's handshake, or None."""
        return self._drawn(self.faults.refusals)

    def outgoing(self, frame: str, now: float) -> list[Delivery]:
        """Return the frames to send for an event of the server."""
        faults = self.faults
        if self._happens(faults.stalls):
            self._silent_until = max(now, self._silent_until) + faults.stall_s
        due = max(now + faults.latency_s + self._rng.uniform(0, faults.jitter_s), self._last_due, self._silent_until)
        self._last_due = due
        if self._happens(faults.drops):
            return [Delivery(due, ending="drop")]
        code = self._drawn(faults.closes)
        if code is not None:
            return [Delivery(due, ending="close", code=code)]
        if self._happens(faults.half_open):
            return [Delivery(due, ending="half_open")]
        late_s = faults.reorder_s if self._happens(faults.reordered) else 0.0
        deliveries = [Delivery(due + late_s, frame)]
        if self._touches_answers:
            deliveries = self._answers(frame, due + late_s)
        if self._happens(faults.duplicates):
            deliveries += deliveries
        if self._happens(faults.malformed):
            deliveries.append(Delivery(due, self._rng.choice(_NONSENSE)))
        if self._happens(faults.unknown):
            rumour = {"type": _RUMOUR, "event_id": self._event_id(), "item_id": None}
            deliveries.append(Delivery(due, json.dumps(rumour)))
        return deliveries

    def incoming(self, frame: str | bytes) -> str | None:
        """Return the ``error`` event that refuses a client's event, None to let it through."""
        if not self.faults.errors or (isinstance(frame, str) and "input_audio_buffer.append" in frame[:200]):
            return None
        code = self._drawn(self.faults.errors)
        if code is None:
            return None
        try:
            event = json.loads(frame)
        except ValueError:
            return None
        error = {
            "type": "server_error" if code == "server_error" else "invalid_request_error",
            "code": code,
            "message": f"Refused on purpose, with {code}.",
            "param": None,
            "event_id": event.get("event_id") if isinstance(event, dict) else None,
        }
        return json.dumps({"type": "error", "event_id": self._event_id(), "error": error})

    def refusal_of_event(self, error: str, now: float) -> list[Delivery]:
        """Return the frames to send for the ``error`` event of a refusal on purpose."""
        return self._answers(error, now) if self._touches_answers else [Delivery(now, error)]

    def _answers(self, frame: str, due: float) -> list[Delivery]:
        """Return the frames to send for an event that may answer a request."""
        faults = self.faults
        event = msgspec.json.decode(frame)
        kind = event.get("type")
        if kind in _ANSWERS and self._happens(faults.lost):
            return []
        if kind == "error" and self._happens(faults.errors_without_ids):
            event["error"]["event_id"] = None
            return [Delivery(due, encode(event))]
        if kind == "error" and self._happens(faults.errors_with_other_ids):
            event["error"]["event_id"] = self._event_id()
            return [Delivery(due, encode(event))]
        if kind not in _ACKNOWLEDGEMENTS:
            return [Delivery(due, frame)]
        if self._happens(faults.late_acknowledgements):
            due += faults.late_s
        deliveries = [Delivery(due, frame)]
        if self._happens(faults.doubled_acknowledgements):
            deliveries.append(Delivery(due + faults.late_s, frame))
        return deliveries

    def _happens(self, share: float) -> bool:
        return share > 0 and self._rng.random() < share

    def _drawn(self, shares: Mapping[_Key, float]) -> _Key | None:
        return next((key for key, share in shares.items() if self._happens(share)), None)

    def _event_id(self) -> str:
        self._told += 1
        return f"event_fault_{self._told}"


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
            speed = self._plan.faults.slow_drain_bytes_per_s
            if speed is not None:
                await trio.sleep(len(message) / speed)
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
                case "drop":
                    await _cut(self._wire)
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


async def _cut(wire: Wire) -> None:
    """Drop the connection without a close frame."""
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
