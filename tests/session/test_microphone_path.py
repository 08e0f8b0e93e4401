"""The way of a microphone's chunk to the wire: how many turns it takes, and how chunks that wait go together."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
import trio.testing

from trealtime._session.runner import RealtimeRunner
from trealtime._session.send_queue import AHEAD, STRAIGHT, STRAIGHT_S
from trealtime.agents.agent import RealtimeAgent
from trealtime.transport.memory import MemoryWire
from trealtime.transport.wire import WireStatistics

CHUNK = bytes(960)


class Passes(trio.abc.Instrument):
    """Counts the passes of the scheduler, the present one included."""

    count = 1

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


@pytest.fixture
def batches(monkeypatch) -> list[int]:
    """The sizes of the batches that wires are given."""
    sizes: list[int] = []
    send_many = MemoryWire.send_many

    async def noted(self, messages) -> None:
        if self.side == "client":
            sizes.append(len(messages))
        await send_many(self, messages)

    monkeypatch.setattr(MemoryWire, "send_many", noted)
    return sizes


class StraightWire:
    """A wire in memory that sends in the step of its caller, as that over TCP does
    (`tests/transport/test_immediate_send.py`)."""

    def __init__(self, wire: MemoryWire, sent: list[str]) -> None:
        self._wire = wire
        self._sent = sent

    def send_nowait(self, messages) -> bool:
        try:
            for message in messages:
                self._wire._outgoing.send_nowait(message.decode())
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        self._sent.extend(each.decode() for each in messages)
        return True

    def __getattr__(self, name: str):
        return getattr(self._wire, name)

    # From Python 3.12 on `isinstance` looks at the class alone, and not at what `__getattr__` finds.
    async def send(self, message: str) -> None:
        await self._wire.send(message)

    async def receive(self) -> str | bytes:
        return await self._wire.receive()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await self._wire.aclose(code, reason)

    def statistics(self) -> WireStatistics:
        return self._wire.statistics()


class StraightModel:
    """The model `service`, over such wires; `sent` are the messages that left so."""

    def __init__(self, service) -> None:
        self._service = service
        self.sent: list[str] = []

    @asynccontextmanager
    async def connect(self, target) -> AsyncIterator[StraightWire]:
        async with self._service.connect(target) as wire:
            yield StraightWire(wire, self.sent)


@pytest.fixture
def straight(service) -> StraightModel:
    return StraightModel(service)


@pytest.fixture
def straight_runner(straight) -> RealtimeRunner:
    return RealtimeRunner(RealtimeAgent(name="Assistant"), model=straight)


async def test_a_chunk_is_on_the_wire_in_the_step_of_the_call(
    autojump_clock, service, straight_runner, straight
) -> None:
    """`tests/transport` has the rest: the wire writes to its stream in that step too."""
    passes = Passes()
    async with straight_runner.session() as session:
        await trio.testing.wait_all_tasks_blocked()
        for number in range(3):
            await trio.sleep(0.02)
            passes.count = 1
            trio.lowlevel.add_instrument(passes)
            await session.send_audio(CHUNK)
            trio.lowlevel.remove_instrument(passes)
            assert passes.count == 1
            assert len(straight.sent) == number + 1
        assert session.send_audio_nowait(CHUNK) is True  # too soon after the last one: it takes the way of the writer
        await trio.sleep(0.02)
        assert session.send_audio_nowait(CHUNK) is True
        assert len(straight.sent) == 4
        statistics = session.statistics().send_queue
        assert (statistics.taken, statistics.audio_peak_s) == (6, pytest.approx(0.02))
    assert len(service.last.of("input_audio_buffer.append")) == 5


async def test_a_loop_that_is_slower_than_a_burst_still_lets_others_run(
    autojump_clock, service, straight_runner, straight
) -> None:
    """Each chunk takes its caller a moment of computing, so that each may leave at once."""
    ran = []
    service.capacity = 1000

    async def other() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            ran.append(len(straight.sent))

    async with straight_runner.session() as session, trio.open_nursery() as nursery:
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        for _ in range(20 * STRAIGHT):
            autojump_clock.jump(2 * STRAIGHT_S)
            await session.send_audio(CHUNK)
        nursery.cancel_scope.cancel()
    assert len(straight.sent) == 20 * STRAIGHT
    # Twice, because the tasks of a pass run in any order.
    assert max(later - earlier for earlier, later in pairwise([*ran, 20 * STRAIGHT])) <= 2 * STRAIGHT


@pytest.mark.parametrize("server_speaks", [True, False])
async def test_a_microphone_gives_way_once_in_a_while_where_no_other_task_of_the_session_has_run(
    server_speaks: bool, autojump_clock, service, straight_runner, straight
) -> None:
    passes = Passes()
    async with straight_runner.session() as session:
        await trio.testing.wait_all_tasks_blocked()
        extra = 0
        for number in range(4 * STRAIGHT):
            if server_speaks and number % (STRAIGHT - 1) == 0:
                await service.last.send({"type": "rate_limits.updated", "rate_limits": []})
            await trio.sleep(0.02)
            passes.count = 1
            trio.lowlevel.add_instrument(passes)
            await session.send_audio(CHUNK)
            trio.lowlevel.remove_instrument(passes)
            extra += passes.count - 1
    assert extra == (0 if server_speaks else 3)


async def test_a_caller_whose_chunks_leave_at_once_gets_its_cancellation(
    autojump_clock, service, straight_runner, straight
) -> None:
    async with straight_runner.session() as session:
        for cancelled_after in range(2 * STRAIGHT):
            await trio.sleep(1)
            sent = len(straight.sent)
            with trio.CancelScope() as scope:
                for number in range(3 * STRAIGHT):
                    if number == cancelled_after:
                        scope.cancel()
                    autojump_clock.jump(2 * STRAIGHT_S)
                    await session.send_audio(CHUNK)
            assert scope.cancelled_caught
            assert len(straight.sent) == sent + cancelled_after


async def test_chunks_and_what_comes_between_them_arrive_in_order(
    autojump_clock, service, straight_runner, straight
) -> None:
    expected = []
    async with straight_runner.session() as session:
        await trio.testing.wait_all_tasks_blocked()
        for number in range(60):
            if number % 3 == 0:
                await trio.sleep(0.02)
            elif number % 7 == 0:
                autojump_clock.jump(2 * STRAIGHT_S)
            if number % 5 == 4:
                await session.commit_audio()
                expected.append("commit")
            await session.send_audio(bytes([number]) * 960)
            expected.append(number)
        await trio.testing.wait_all_tasks_blocked()
        assert 10 < len(straight.sent) < 60
        received = service.last.of("input_audio_buffer.append", "input_audio_buffer.commit")
        assert expected == [base64.b64decode(event["audio"])[0] if "audio" in event else "commit" for event in received]


async def test_on_other_wires_a_chunk_is_on_it_two_passes_of_the_scheduler_after_the_call(
    autojump_clock, service, runner, monkeypatch
) -> None:
    given: list[int] = []
    passes = Passes()
    send_many = MemoryWire.send_many

    async def noted(self, messages) -> None:
        if self.side == "client":
            given.append(passes.count)
        await send_many(self, messages)

    monkeypatch.setattr(MemoryWire, "send_many", noted)
    async with runner.session() as session:
        await trio.testing.wait_all_tasks_blocked()
        given.clear()
        for _ in range(3):
            await trio.sleep(0.02)
            passes.count = 1
            trio.lowlevel.add_instrument(passes)
            await session.send_audio(CHUNK)
            assert passes.count == 1
            await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.remove_instrument(passes)
        assert given == [2, 2, 2]


async def test_a_caller_who_is_ahead_of_the_writer_gives_way_to_it(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(AHEAD):
            await session.send_audio(CHUNK)
        assert session.statistics().send_queue.audio_queued_s == pytest.approx(AHEAD * 0.02)
        with trio.testing.assert_checkpoints():
            await session.send_audio(CHUNK)
        await trio.testing.wait_all_tasks_blocked()
        assert len(service.last.of("input_audio_buffer.append")) == AHEAD + 1


async def test_a_cancelled_caller_queues_nothing_even_where_it_need_not_wait(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        with trio.CancelScope() as scope:
            scope.cancel()
            await session.send_audio(CHUNK)
        assert scope.cancelled_caught
        assert session.statistics().send_queue.audio_queued_s == 0
        await session.send_audio(CHUNK)
    assert len(service.last.of("input_audio_buffer.append")) == 1


async def test_chunks_that_wait_leave_together_and_in_order(autojump_clock, service, runner, batches) -> None:
    async with runner.session() as session:
        await trio.testing.wait_all_tasks_blocked()
        batches.clear()
        for number in range(5):
            assert session.send_audio_nowait(bytes([number]) * 960, commit=number == 4)
        await trio.testing.wait_all_tasks_blocked()
        assert batches == [6]
    kinds = [event["type"].rpartition(".")[2] for event in service.last.received[1:]]
    assert kinds == ["append"] * 5 + ["commit"]


async def test_an_urgent_message_waits_for_no_more_than_one_short_write(
    autojump_clock, service, runner, batches
) -> None:
    async with runner.session() as session:
        await trio.testing.wait_all_tasks_blocked()
        batches.clear()
        for _ in range(50):
            assert session.send_audio_nowait(CHUNK)
        await trio.testing.wait_all_tasks_blocked()
        assert sum(batches) == 50
        assert max(batches) * 1280 < 20_000
