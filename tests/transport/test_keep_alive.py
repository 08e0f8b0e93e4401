"""When a client's wire pings, what a late pong changes, and how seldom an idle one wakes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import attrs
import pytest
import trio
import trio.testing
from tight_stream import tight_stream_pair
from trio.testing import MockClock
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from trealtime.transport import TransportConfig, WireClosed
from trealtime.transport.background import background_nursery
from trealtime.transport.client import ClientWire, wrap_websocket_stream

PAIRS = [tight_stream_pair, trio.testing.memory_stream_pair]
"""Streams that send in the step of the caller, and streams that need a task for it."""


@attrs.define(eq=False)
class Steps(trio.abc.Instrument):
    """Counts the steps of tasks by the last part of their names."""

    counts: dict[str, int] = attrs.Factory(dict)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        name = task.name.rpartition(".")[2]
        self.counts[name] = self.counts.get(name, 0) + 1


@asynccontextmanager
async def pinging(
    pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]],
    interval_s: float,
    timeout_s: float | None,
    answer_after_s: Callable[[int], float | None],
) -> AsyncIterator[tuple[ClientWire, list[float]]]:
    """A wire and the times of its pings; `answer_after_s` says how late each is answered (None: never)."""
    stream, far = pair()
    times: list[float] = []
    protocol = ServerProtocol()

    async def answer(ping: Frame, after_s: float | None) -> None:
        if after_s is not None:
            await trio.sleep(after_s)
            await far.send_all(Frame(Opcode.PONG, ping.data).serialize(mask=False))

    async def serve() -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await far.receive_some(65536):
                protocol.receive_data(data)
                for event in protocol.events_received():
                    if isinstance(event, Request):
                        protocol.send_response(protocol.accept(event))
                        await far.send_all(b"".join(protocol.data_to_send()))
                    elif isinstance(event, Frame) and event.opcode is Opcode.PING:
                        nursery.start_soon(answer, event, answer_after_s(len(times)))
                        times.append(trio.current_time())
                protocol.data_to_send()  # its own pongs

    async with background_nursery() as nursery:
        nursery.start_soon(serve)
        config = TransportConfig(ping_interval=interval_s, ping_timeout=timeout_s)
        async with wrap_websocket_stream(stream, config=config) as wire:
            yield wire, times


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    "interval_s, timeout_s, late_s, pings",
    [
        (20.0, 20.0, 0.0, [20, 40, 60, 80]),
        (20.0, 5.0, 0.0, [20, 40, 60, 80]),
        (20.0, 5.0, 4.0, [20, 40, 60, 80]),
        (10.0, 30.0, 0.0, [10, 20, 30, 40, 50, 60, 70, 80, 90]),
        (10.0, 30.0, 25.0, [10, 40, 70]),
        (10.0, None, 35.0, [10, 50, 90]),
    ],
)
async def test_a_ping_goes_at_each_interval_at_which_the_last_one_is_answered(
    pair, interval_s, timeout_s, late_s, pings, autojump_clock: MockClock
) -> None:
    async with pinging(pair, interval_s, timeout_s, lambda _: late_s) as (wire, times):
        with trio.move_on_after(99.5) as scope:
            await wire.receive()
        assert scope.cancelled_caught
        assert times == pytest.approx(pings)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("interval_s, timeout_s", [(20.0, 20.0), (20.0, 5.0), (5.0, 20.0)])
@pytest.mark.parametrize("answered", [0, 1, 3])
async def test_the_connection_is_lost_at_the_end_of_the_timeout_of_the_first_ping_without_a_pong(
    pair, interval_s, timeout_s, answered, autojump_clock: MockClock
) -> None:
    async with pinging(pair, interval_s, timeout_s, lambda n: 0.0 if n < answered else None) as (wire, times):
        with pytest.raises(WireClosed, match="no pong within"):
            await wire.receive()
        assert times == pytest.approx([interval_s * (n + 1) for n in range(answered + 1)])
        assert trio.current_time() == pytest.approx(times[-1] + timeout_s)


async def test_an_idle_connection_wakes_once_for_a_ping_and_once_for_its_pong(autojump_clock: MockClock) -> None:
    async with pinging(tight_stream_pair, 20.0, 20.0, lambda _: 0.0) as (wire, times):
        steps = Steps()
        with trio.move_on_after(1000.5):
            await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.add_instrument(steps)
            await wire.receive()
        trio.lowlevel.remove_instrument(steps)
        assert len(times) == 50
        assert steps.counts["keep_alive"] == 50
        assert "_write_replies" not in steps.counts
