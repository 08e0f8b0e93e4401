"""The way of a microphone's chunk to the wire: how many turns it takes, and how chunks that wait go together."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trealtime._session.send_queue import AHEAD
from trealtime.transport.memory import MemoryWire

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


async def test_a_chunk_is_on_the_wire_two_passes_of_the_scheduler_after_the_call(
    autojump_clock, service, runner, monkeypatch
) -> None:
    """`tests/transport` has the rest: the wire writes to its stream in the step in which it is given a message."""
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
