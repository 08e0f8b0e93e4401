"""Wires to test with, and the test that every wire must pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio
import trio.testing

from trealtime.testing.schedules import CancelHere, cancel_at_each_checkpoint
from trealtime.transport.background import background_nursery
from trealtime.transport.config import TransportConfig
from trealtime.transport.memory import memory_wire_pair
from trealtime.transport.websocket import accept_websocket_stream, wrap_websocket_stream
from trealtime.transport.wire import Wire, WireClosed, immediate_sender, receiver, sender

__all__ = ["check_wire", "memory_wire_pair", "open_websocket_wire_pair"]

_CHECK_LIMIT_S = 60

MakePair = Callable[[], AbstractAsyncContextManager[tuple[Wire, Wire]]]


@asynccontextmanager
async def open_websocket_wire_pair(*, config: TransportConfig | None = None) -> AsyncIterator[tuple[Wire, Wire]]:
    """Two ends of one WebSocket, the client's and the server's, over a pair of memory streams.

    Real handshake, frames, pings and close; no socket, so it runs under the mock clock. Streams have no limit: a send
    never blocks. `config` is for both ends.
    """
    client_stream, server_stream = trio.testing.memory_stream_pair()
    accepted, server = trio.Event(), list[Wire]()

    async def serve() -> None:
        async with accept_websocket_stream(server_stream, config=config) as upgrade:
            server.append(await upgrade.accept())
            accepted.set()
            await trio.sleep_forever()

    async with background_nursery() as nursery:
        nursery.start_soon(serve)
        async with wrap_websocket_stream(client_stream, config=config) as client:
            await accepted.wait()
            yield client, server[0]


async def check_wire(make_pair: MakePair, *, clogs: bool = False) -> None:
    """Hold a `Wire` implementation to the wire's contract.

    Raises AssertionError that says what it breaks, or `trio.TooSlowError` where it gets stuck; a note names the check.

    ``make_pair()`` is an async context manager that gives two joined wires, the client's and the server's; it is
    entered many times. Run it under a mock clock. `clogs` says that a peer which receives nothing blocks the sender
    within a hundred messages of 1 MiB, so that cancelling a blocked send can be checked too.
    """
    checks: list[Callable[[MakePair], Awaitable[None]]] = [
        _messages_arrive_whole_and_in_order,
        _both_directions_flow_at_once,
        _statistics_count_messages_and_bytes,
        _a_cancelled_receive_loses_nothing,
        _close_is_seen_with_code_reason_and_side,
        _messages_sent_before_a_close_are_received_before_it,
        _a_closed_wire_stays_closed,
        _closing_wakes_the_own_receive,
        _closing_cancelled_at_any_point_still_closes,
        _sending_cancelled_at_any_point_tears_nothing,
        _batches_are_the_messages_in_order,
        _a_cancelled_batch_loses_nothing,
        _what_is_sent_without_waiting_keeps_the_order,
        _nothing_is_sent_without_waiting_on_a_closed_wire,
    ]
    if clogs:
        checks.append(_a_blocked_send_that_is_cancelled_breaks_the_wire)
    for check in checks:
        try:
            # A message that is lost shows as a wait without end.
            with trio.fail_after(_CHECK_LIMIT_S):
                await check(make_pair)
        except Exception as exc:
            exc.add_note(f"check_wire: {check.__name__.strip('_').replace('_', ' ')}")
            raise


async def _messages_arrive_whole_and_in_order(make_pair: MakePair) -> None:
    messages = ["", "plain", "ünïcödé 漢字 🎙", "x" * 1_500_000, *map(str, range(100))]
    async with make_pair() as pair:
        for sender, receiver in (pair, pair[::-1]):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_all, sender, messages)
                for message in messages:
                    received = await receiver.receive()
                    assert received == message, f"sent {message[:40]!r}, received {received[:40]!r}"


async def _both_directions_flow_at_once(make_pair: MakePair) -> None:
    async with make_pair() as (client, server), trio.open_nursery() as nursery:
        for sender, receiver in ((client, server), (server, client)):
            nursery.start_soon(_send_all, sender, list(map(str, range(300))))
            nursery.start_soon(_expect_all, receiver, list(map(str, range(300))))


async def _batches_are_the_messages_in_order(make_pair: MakePair) -> None:
    messages = ["", "ünïcödé 漢字 🎙", "x" * 100_000, *map(str, range(100))]
    async with make_pair() as pair:
        for one, other in (pair, pair[::-1]):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sender(one), messages)
                received: list[str] = []
                receive = receiver(other)
                while len(received) < len(messages):
                    batch = await receive()
                    assert batch, "receive_many returned nothing"
                    received += [each if isinstance(each, str) else each.decode() for each in batch]
                assert received == messages, f"received {[each[:40] for each in received][:5]}..."
            sent, got = one.statistics(), other.statistics()
            assert (sent.messages_sent, sent.bytes_sent) == (got.messages_received, got.bytes_received), (sent, got)


async def _a_cancelled_batch_loses_nothing(make_pair: MakePair) -> None:
    async def scenario(cancel_here: CancelHere) -> None:
        async with make_pair() as (client, server):
            received: list[str] = []
            receive = receiver(client)

            async def take() -> None:
                received.extend(each if isinstance(each, str) else each.decode() for each in await receive())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_all, server, ["1", "2", "3"])
                with cancel_here():
                    while len(received) < 3:
                        await take()
            while len(received) < 3:
                await take()
            assert received == ["1", "2", "3"], received

    await cancel_at_each_checkpoint(scenario)


async def _what_is_sent_without_waiting_keeps_the_order(make_pair: MakePair) -> None:
    messages = ["", "ünïcödé 漢字 🎙", "x" * 100_000, *map(str, range(100))]
    async with make_pair() as pair:
        for one, other in (pair, pair[::-1]):
            send_nowait = immediate_sender(one)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_expect_all, other, messages)
                for number, message in enumerate(messages):
                    if number % 5 == 4 or not send_nowait((message if number % 2 else message.encode(),)):
                        await one.send(message)
            await trio.testing.wait_all_tasks_blocked()  # a wire may count what it has sent a moment after the peer
            sent, got = one.statistics(), other.statistics()
            assert (sent.messages_sent, sent.bytes_sent) == (got.messages_received, got.bytes_received), (sent, got)


async def _nothing_is_sent_without_waiting_on_a_closed_wire(make_pair: MakePair) -> None:
    for closing, side in ((0, "client"), (1, "server")):
        async with make_pair() as pair:
            await pair[closing].aclose()
            for wire in pair:
                await _expect_closed(wire, 1000, "", side)
                assert not immediate_sender(wire)(("late",)), "a message was sent on a closed wire"


async def _statistics_count_messages_and_bytes(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        await client.send("abc")
        await client.send("ü")
        await server.receive()
        await server.receive()
        sent, received = client.statistics(), server.statistics()
        assert (sent.messages_sent, sent.bytes_sent) == (2, 5), sent
        assert (received.messages_received, received.bytes_received) == (2, 5), received


async def _a_cancelled_receive_loses_nothing(make_pair: MakePair) -> None:
    async def scenario(cancel_here: CancelHere) -> None:
        async with make_pair() as (client, server):
            received: list[str | bytes] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_all, server, ["1", "2"])
                with cancel_here():
                    received.append(await client.receive())
                    received.append(await client.receive())
            while len(received) < 2:
                received.append(await client.receive())
            assert received == ["1", "2"], received

    await cancel_at_each_checkpoint(scenario)


async def _close_is_seen_with_code_reason_and_side(make_pair: MakePair) -> None:
    for closing, side in ((0, "client"), (1, "server")):
        for code, reason in ((1000, ""), (1000, "bye"), (1001, "going away"), (1011, "ünwell"), (4000, "mine")):
            async with make_pair() as pair:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_expect_closed, pair[1 - closing], code, reason, side)
                    await pair[closing].aclose(code, reason)
                await _expect_closed(pair[closing], code, reason, side)


async def _messages_sent_before_a_close_are_received_before_it(make_pair: MakePair) -> None:
    for closing, side in ((0, "client"), (1, "server")):
        async with make_pair() as pair:
            await _send_all(pair[closing], ["1", "2", "3"])
            await pair[closing].aclose(1000, "done")
            await _expect_all(pair[1 - closing], ["1", "2", "3"])
            await _expect_closed(pair[1 - closing], 1000, "done", side)


async def _a_closed_wire_stays_closed(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        await client.aclose(1000, "first")
        await client.aclose(1001, "second")
        await _expect_closed(server, 1000, "first", "client")
        await server.aclose(1011, "third")
        for wire in (client, server):
            for _ in range(2):
                await _expect_closed(wire, 1000, "first", "client")
                error = await _error_of(lambda wire=wire: wire.send("late"))  # type: ignore[misc]
                assert error is not None, "a send on a closed wire did not raise WireClosed"
                assert (error.code, error.closed_by) == (1000, "client"), error


async def _closing_wakes_the_own_receive(make_pair: MakePair) -> None:
    async with make_pair() as (client, _server), trio.open_nursery() as nursery:
        nursery.start_soon(_expect_closed, client, 1000, "", "client")
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()


async def _closing_cancelled_at_any_point_still_closes(make_pair: MakePair) -> None:
    async def scenario(cancel_here: CancelHere) -> None:
        async with make_pair() as (client, server):
            with cancel_here():
                await client.aclose(1000, "bye")
            await client.aclose()
            error = await _error_of(server.receive)
            assert error is not None, "the peer of a closed wire still receives"
            assert (error.code, error.closed_by) in ((1000, "client"), (1006, "network")), error
            assert await _error_of(lambda: client.send("late")) is not None, "a closed wire still sends"

    await cancel_at_each_checkpoint(scenario)


async def _sending_cancelled_at_any_point_tears_nothing(make_pair: MakePair) -> None:
    async def scenario(cancel_here: CancelHere) -> None:
        async with make_pair() as (client, server):
            with cancel_here():
                await client.send("one")
                await client.send("two")
            received: list[str | bytes] = []
            after = await _error_of(lambda: client.send("after"))
            if after is None:
                while not received or received[-1] != "after":
                    received.append(await server.receive())
                assert received in (["after"], ["one", "after"], ["one", "two", "after"]), received
            else:
                while (error := await _error_of(lambda: _receive_into(server, received))) is None:
                    pass
                assert received in ([], ["one"], ["one", "two"]), received
                assert (error.code, error.closed_by) == (1006, "network"), error

    await cancel_at_each_checkpoint(scenario)


async def _a_blocked_send_that_is_cancelled_breaks_the_wire(make_pair: MakePair) -> None:
    async with make_pair() as (client, server):
        with trio.move_on_after(1) as scope:
            await _send_all(client, ["x" * 2**20] * 100)
        assert scope.cancelled_caught, "nothing blocked: check with clogs=False"
        for call in (lambda: client.send("after"), client.receive):
            error = await _error_of(call)
            assert error is not None, "a call on a broken wire did not raise WireClosed"
            assert (error.code, error.closed_by) == (1006, "client"), error
        await client.aclose()
        received: list[str | bytes] = []
        while (error := await _error_of(lambda: _receive_into(server, received))) is None:
            pass
        assert (error.code, error.closed_by) == (1006, "network"), error
        assert all(len(message) == 2**20 for message in received), "the peer received half a message"


async def _send_all(wire: Wire, messages: list[str]) -> None:
    for message in messages:
        await wire.send(message)


async def _expect_all(wire: Wire, messages: list[str]) -> None:
    for message in messages:
        received = await wire.receive()
        assert received == message, f"expected {message!r}, received {received!r}"


async def _expect_closed(wire: Wire, code: int, reason: str, closed_by: str) -> None:
    error = await _error_of(wire.receive)
    assert error is not None, "a message was received where the end was expected"
    assert (error.code, error.reason, error.closed_by) == (code, reason, closed_by), error


async def _receive_into(wire: Wire, received: list[str | bytes]) -> None:
    received.append(await wire.receive())


async def _error_of(call: Callable[[], Awaitable[object]]) -> WireClosed | None:
    try:
        await call()
    except WireClosed as exc:
        return exc
    return None
