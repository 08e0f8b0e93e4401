"""A server in memory whose answers a test sends by hand, while the session runs."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar, cast

import attrs
import trio

from trealtime.emulator.event_buffer import Ids
from trealtime.protocol.codec import encode
from trealtime.testing.prompted_core import PromptedCore
from trealtime.testing.script import Act, Event, lone_core_options
from trealtime.transport.background import background_nursery
from trealtime.transport.memory import MemoryWire, memory_wire_pair
from trealtime.transport.models import ConnectionTarget
from trealtime.transport.wire import Wire, WireClosed

__all__ = ["ManualServer", "ServerConnection", "open_manual_server"]

_ANSWERED: Final = frozenset({"session.update", "conversation.item.create", "conversation.item.delete"})


@attrs.define(eq=False)
class ServerConnection:
    """The server's end of one session of a `ManualServer`.

    While `answers` is true, it answers ``session.update``, ``conversation.item.create`` and
    ``conversation.item.delete`` as every server does. The test sends everything else.
    """

    wire: MemoryWire
    """The server's end of the wire: ``aclose(code, reason)`` closes it, ``drop()`` loses it."""

    target: ConnectionTarget
    """The target to which the session asked to be connected."""

    answers: bool = attrs.field(default=True, kw_only=True)
    received: list[dict[str, Any]] = attrs.field(factory=list, init=False)
    """The client's events so far, oldest first."""

    closed: WireClosed | None = attrs.field(default=None, init=False)
    """How the connection ended, once it has."""

    _core: PromptedCore = attrs.field(init=False, repr=False)
    _reading: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False, repr=False)
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False, repr=False)
    _out_of_band: set[str] = attrs.field(factory=set, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        options = {**lone_core_options(), "model": self.target.model_name, "call_id": self.target.call_id}
        self._core = PromptedCore(Ids(random.Random(0)), clock=trio.current_time, **options)

    # ---- what the client has sent --------------------------------------------------------------------------------

    @property
    def session(self) -> dict[str, Any]:
        """The session object, as the updates that were answered have made it."""
        return self._core.session_object()

    def received_of(self, *types: str) -> list[dict[str, Any]]:
        """The client's events of these types so far, oldest first."""
        return [event for event in self.received if event["type"] in types]

    async def wait_received(self, type: str, *, count: int = 1) -> dict[str, Any]:
        """Wait until the client has sent `count` events of `type`, and return the last of these.

        Waits for ever when they do not come: bound it with `trio.fail_after`.
        """
        await trio.lowlevel.checkpoint()
        while len(found := self.received_of(type)) < count:
            await self._changed.park()
        return found[count - 1]

    async def wait_closed(self) -> WireClosed:
        """Wait for the end of the connection, and return how it ended."""
        await trio.lowlevel.checkpoint()
        while self.closed is None:
            await self._changed.park()
        return self.closed

    def stop_reading(self) -> None:
        """Read nothing more. After `ManualServer.capacity` messages the client's sends block."""
        self._reading.cancel()

    # ---- what the server sends -----------------------------------------------------------------------------------

    async def send(self, event: Event) -> None:
        """Send `event` as it is, with an ``event_id`` if it has none.

        Waits while the client has `ManualServer.capacity` messages to read. Raises `WireClosed` after the end.
        """
        event = {"event_id": self._core.new_event_id(), **event}
        self._core.events.note(event)
        self._note_item(event)
        await self._send_all([event])

    async def emit(self, type: str, /, **fields: object) -> dict[str, Any]:
        """Send an event of `type` and return it; what is not among `fields` has a default, as in `ServerEvents.make`.

        Raises `ValueError` for a type that no server sends or a field that the type does not have, and as `send`.
        """
        event = self._core.emit(type, fields)
        self._core.event_buffer.take()
        self._note_item(event)
        await self._send_all([event])
        return event

    async def play(self, act: Act) -> None:
        """Send all events of an act, such as `a_response`, which answers the oldest request that has no answer."""
        act.do(self._core)
        await self._send_all(self._core.event_buffer.take())

    async def answer(self, event: Event) -> None:
        """Answer `event` of the client as every server does, whether or not `answers` is true.

        A ``response.create`` only begins a response: `play` says the rest of it. Raises as `send`.
        """
        if event["type"] == "response.create":
            self._take_request(event)
        self._core.answer(event)
        await self._send_all(self._core.event_buffer.take())

    async def begin_response(self, request: Event | None = None, *, response_id: str | None = None) -> dict[str, Any]:
        """Send ``response.created`` for a ``response.create`` of the client (None: the server begins), and return it.

        It repeats the request's metadata, and is out of band if the request is. The test sends the rest.
        """
        asked = {} if request is None else request.get("response", {})
        out_of_band = asked.get("conversation") == "none"
        response = {"metadata": asked.get("metadata"), "conversation_id": None if out_of_band else "conv_1"}
        response |= {} if response_id is None else {"id": response_id}
        if request is not None:
            self._take_request(request)
        created = self._core.events.complete("response.created", {"response": response})
        if out_of_band:
            self._out_of_band.add(created["response"]["id"])
        await self._send_all([created])
        return created

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _run(self, greet: Callable[[Any], Event | None]) -> None:
        with self._reading:
            try:
                greeting = greet(self)
                if greeting is not None:
                    await self.send(greeting)
                while True:
                    event = json.loads(await self.wire.receive())
                    self.received.append(event)
                    if event["type"] == "response.create":
                        self._core.unanswered.append(event)
                    elif self.answers and event["type"] in _ANSWERED:
                        await self.answer(event)
                    self._changed.unpark_all()
            except WireClosed as closed:
                self.closed = closed
                self._changed.unpark_all()

    def _take_request(self, request: Event) -> None:
        if request in self._core.unanswered:
            self._core.unanswered.remove(request)

    def _note_item(self, event: Event) -> None:
        # What the test has sent by itself is part of the conversation: items come after it, and it can be deleted.
        item = event.get("item")
        if isinstance(item, Mapping) and "id" in item and event.get("response_id") not in self._out_of_band:
            self._core.conversation.note(dict(item))

    async def _send_all(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            await self.wire.send(encode(event))


ConnectionT = TypeVar("ConnectionT", bound=ServerConnection)


def _greet(connection: ServerConnection) -> Event:
    return {"type": "session.created", "session": connection.session}


class ManualServer(Generic[ConnectionT]):
    """A `RealtimeModel` for `RealtimeRunner`; get one from `open_manual_server`."""

    def __init__(
        self, nursery: trio.Nursery, make_connection: Callable[[MemoryWire, ConnectionTarget], ConnectionT]
    ) -> None:
        self._nursery = nursery
        self._make_connection = make_connection
        self.connections: list[ConnectionT] = []
        """One for each session that has connected, oldest first."""

        self.greet: Callable[[ConnectionT], Event | None] = _greet
        """Makes the first event of a connection; None: nothing is sent."""

        self.answers = True
        """`ServerConnection.answers` of connections to come."""

        self.capacity = 64
        """Of connections to come: how many messages may wait unread in each direction before a send blocks."""

        self.connected = trio.Event()
        """Set when the first session has connected."""

        self.left = 0
        """How many sessions have let go of their connection."""

    @property
    def last(self) -> ConnectionT:
        """The newest connection. Raises `IndexError` before the first."""
        return self.connections[-1]

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        """A client's wire to a new connection, which is lost when the block is left without a close."""
        await trio.lowlevel.checkpoint()
        client, server = memory_wire_pair(capacity=self.capacity)
        connection = self._make_connection(server, target)
        connection.answers = self.answers
        self.connections.append(connection)
        self.connected.set()
        self._nursery.start_soon(connection._run, self.greet)
        try:
            yield client
        finally:
            client.drop()
            self.left += 1


@asynccontextmanager
async def open_manual_server(
    make_connection: Callable[[MemoryWire, ConnectionTarget], ConnectionT] | None = None,
) -> AsyncIterator[ManualServer[ConnectionT]]:
    """A server in memory whose events the test sends, when it likes: for races and orders that a script cannot say.

    `make_connection` makes the server's end of each session: a subclass of `ServerConnection`, with what your suite
    says often.
    """
    make = make_connection or cast("Callable[[MemoryWire, ConnectionTarget], ConnectionT]", ServerConnection)
    async with background_nursery() as nursery:
        yield ManualServer(nursery, make)
