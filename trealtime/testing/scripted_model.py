"""A scripted model, as the OpenAI Agents SDK has one: a `RealtimeModel` that needs no server and no task.

`Wire.send` plays the script: the events that a step emits can be received before the send that it answers returns, and
that send raises any deviation. The session raises it bare.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from trealtime._secrets import redacted_url
from trealtime.emulator.event_buffer import Ids
from trealtime.protocol.client_events import CLIENT_EVENT_TYPES
from trealtime.protocol.codec import encode
from trealtime.testing.assertions import anything
from trealtime.testing.script import (
    Act,
    Event,
    Expect,
    Raise,
    Saved,
    Step,
    UnconsumedRealtimeSteps,
    accept,
    emit,
    expect,
    flattened,
    lone_core_options,
)
from trealtime.testing.scripted_core import Play, ScriptedCore
from trealtime.transport.models import ConnectionTarget
from trealtime.transport.wire import Wire, WireClosed, WireStatistics

__all__ = ["RealtimeConnectCall", "RealtimeStep", "ScriptedRealtimeModel"]

Emitted = str | Event | Act | Callable[[Saved], object]


@attrs.frozen
class RealtimeStep:
    """`expect` of the client, then `emit` events, or raise `error` from the send.

    `expect` is a client event's type or class, a mapping (at least these fields), a predicate of the event, or what
    `trealtime.testing.expect` and ``accept`` return. `emit` holds what `trealtime.testing.emit` takes. Raises
    `ValueError` for both an `emit` and an `error`.
    """

    expect: object
    emit: Sequence[Emitted] = ()
    error: Exception | None = None

    def __attrs_post_init__(self) -> None:
        if self.emit and self.error is not None:
            raise ValueError("a step emits events or raises an error, not both")

    def steps(self) -> list[Step]:
        """The same as steps of a script."""
        then: list[Any] = [emit(each) for each in self.emit]
        return [_expectation(self.expect), *then, *([] if self.error is None else [Raise(self.error)])]


def _expectation(wanted: object) -> Expect:
    if isinstance(wanted, Expect):
        return wanted
    if isinstance(wanted, Mapping):
        return expect(wanted.get("type", anything), {key: value for key, value in wanted.items() if key != "type"})
    if isinstance(wanted, type):
        return expect(anything, where=lambda event: CLIENT_EVENT_TYPES.get(event["type"]) is wanted)
    if callable(wanted):
        return expect(anything, where=wanted)
    return expect(wanted)


@attrs.frozen(kw_only=True)
class RealtimeConnectCall:
    """One connection that was asked for; no secrets in it."""

    api_key_provided: bool
    headers_provided: bool
    url: str | None
    model_name: str | None
    call_id: str | None


class ScriptedRealtimeModel:
    """A `RealtimeModel` for `RealtimeRunner` that follows `steps`, one connection at a time.

    A connection begins with ``session.created``, `connect_events`, and the acceptance of the session's opening
    ``session.update``, which is no step. Steps are about the wire's events: one user message of the SDK is a
    ``conversation.item.create`` and a ``response.create`` here. `strict`: anything else raises `UnexpectedRealtimeSend`
    and leaves the step; otherwise it is answered as every server answers. `connect_error` is raised by connecting,
    `close_error` by closing.
    """

    def __init__(
        self,
        steps: Sequence[RealtimeStep] = (),
        *,
        connect_events: Sequence[Emitted] = (),
        connect_error: Exception | None = None,
        close_error: Exception | None = None,
        strict: bool = True,
        seed: int = 0,
    ) -> None:
        self.connect_calls: list[RealtimeConnectCall] = []
        self.connected = False
        self.closed = False
        self.close_calls = 0
        self._greeting = flattened([emit("session.created"), *map(emit, connect_events), accept("session.update")])
        self._connect_error = connect_error
        self._close_error = close_error
        self._strict = strict
        self._ids = Ids(random.Random(seed))
        self._plays: list[Play] = []
        self._rest: tuple[Step, ...] = tuple(flattened(step.steps() for step in steps))
        self._wire: _ScriptWire | None = None

    @property
    def sent_events(self) -> list[Event]:
        """The events of the sessions, audio and the opening ``session.update`` left out."""
        return [event for play in self._plays for event in play.received[1:]]

    @property
    def initial_model_settings(self) -> Mapping[str, Any] | None:
        """The session object that the latest connection opened with."""
        opened = [play.received[0] for play in self._plays if play.received]
        return opened[-1]["session"] if opened else None

    @property
    def remaining_steps(self) -> tuple[Step, ...]:
        """The remaining steps."""
        play = self._plays[-1] if self._plays else None
        return self._rest if play is None else play.steps_after(len(self._greeting))

    def emit(self, *events: Emitted) -> None:
        """Send `events` now. Raises `RuntimeError` while no session is connected."""
        if self._wire is None:
            raise RuntimeError("no session is connected to this model")
        for event in events:
            self._wire.core.perform(event)
        self._wire.advance()

    def assert_complete(self) -> None:
        """Raise `UnconsumedRealtimeSteps` when steps are left."""
        left = self.remaining_steps
        if left:
            number = len(left)
            count = f"{number} step{'s are' if number > 1 else ' is'} left; the next is: {left[0]}"
            raise UnconsumedRealtimeSteps(count, remaining_steps=left)

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        """A wire that plays the script. Raises `connect_error`, and `RuntimeError` while another one is open."""
        url = None if target.url is None else redacted_url(target.url).partition("?")[0]
        self.connect_calls.append(
            RealtimeConnectCall(
                api_key_provided=target.api_key is not None,
                headers_provided=target.headers is not None,
                url=url,
                model_name=target.model_name,
                call_id=target.call_id,
            )
        )
        await trio.lowlevel.checkpoint()
        if self._connect_error is not None:
            raise self._connect_error
        if self.connected:
            raise RuntimeError("this scripted model is connected already: it serves one session at a time")
        rest = self.remaining_steps
        failures: list[Exception] = []
        play = Play([*self._greeting, *rest], self._strict, failures.append)
        core = ScriptedCore(self._ids, play=play, clock=trio.current_time, **lone_core_options())
        wire = _ScriptWire(core, failures)
        core.open()
        wire.advance()
        wire.check()
        self._plays.append(play)
        self._wire, self.connected = wire, True
        try:
            yield wire
        finally:
            await wire.aclose()
            self._wire, self.connected, self.closed = None, False, True
            self.close_calls += 1
        if self._close_error is not None:
            raise self._close_error


@attrs.define(eq=False)
class _ScriptWire:
    """The client's end of a scripted connection, with nothing behind it but the engine."""

    core: ScriptedCore
    _failures: list[Exception]
    _frames: deque[str] = attrs.field(factory=deque, init=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _end: WireClosed | None = attrs.field(default=None, init=False)
    _sent: int = attrs.field(default=0, init=False)
    _received: int = attrs.field(default=0, init=False)

    async def send(self, message: str) -> None:
        """Play the steps that follow `message`. Raises the script's errors, and `WireClosed` after the end."""
        await trio.lowlevel.checkpoint()
        if self._end is not None:
            raise self._end
        self._sent += 1
        self.core.receive(message)
        self.advance()
        self.check()

    async def receive(self) -> str | bytes:
        """Wait for the next event, and for the script's own time."""
        await trio.lowlevel.checkpoint()
        while not self._frames:
            self.check()
            if self._end is not None:
                raise self._end
            with trio.CancelScope(deadline=self.core.deadline) as waiting:
                await self._changed.park()
            if waiting.cancelled_caught:
                self.core.tick()
                self.advance()
        self._received += 1
        return self._frames.popleft()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """End the connection; drop the events that were not received."""
        self._frames.clear()
        if self._end is None:
            self._end = WireClosed(code, reason, closed_by="client")
        self._changed.unpark_all()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> WireStatistics:
        """Messages, without their sizes."""
        return WireStatistics(messages_sent=self._sent, messages_received=self._received)

    def advance(self) -> None:
        """Carry out the engine's decisions."""
        self._frames.extend(map(encode, self.core.event_buffer.take()))
        if self.core.ending is not None and self._end is None:
            code, reason = self.core.ending
            self._end = WireClosed(code, reason, closed_by="server")
        self._changed.unpark_all()

    def check(self) -> None:
        """Raise the script's error, once."""
        if self._failures:
            raise self._failures.pop()
