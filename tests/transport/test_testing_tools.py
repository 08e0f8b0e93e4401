"""The tools that users test with notice what they are there to notice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from trealtime.testing import CancelHere, cancel_at_each_checkpoint, check_wire, open_websocket_wire_pair
from trealtime.transport import MemoryWire, Wire, WireStatistics, memory_wire_pair

# ---- cancel_at_each_checkpoint --------------------------------------------------------------------------------------


async def test_each_run_is_cancelled_one_step_later_until_the_block_ends_by_itself() -> None:
    reached: list[int] = []

    async def scenario(cancel_here: CancelHere) -> None:
        done = 0
        with cancel_here():
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                done += 1
        reached.append(done)

    assert await cancel_at_each_checkpoint(scenario) == 4
    assert reached == [0, 0, 1, 2, 3]


async def test_steps_of_other_tasks_count_while_the_block_waits() -> None:
    reached: set[int] = set()

    async def scenario(cancel_here: CancelHere) -> None:
        progress = 0
        ready = trio.Event()

        async def work() -> None:
            nonlocal progress
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                progress += 1
            ready.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            with cancel_here() as scope:
                await ready.wait()
            if scope.cancelled_caught:
                reached.add(progress)
            nursery.cancel_scope.cancel()

    await cancel_at_each_checkpoint(scenario)
    # Once cancelled, the block races with one more step of the work.
    assert min(reached) <= 1
    assert max(reached) >= 2


async def test_a_failing_run_is_named() -> None:
    async def scenario(cancel_here: CancelHere) -> None:
        with cancel_here() as scope:
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
        assert not scope.cancelled_caught or not finished_one, "left half done"
        finished_one.append(True)

    finished_one: list[bool] = []
    with pytest.raises(AssertionError, match="left half done") as caught:
        await cancel_at_each_checkpoint(scenario)
    assert caught.value.__notes__ == ["in the run cancelled 1 scheduler steps into the block"]


async def test_a_block_without_end_or_never_entered_is_an_error() -> None:
    async def endless(cancel_here: CancelHere) -> None:
        with cancel_here():
            while True:
                await trio.lowlevel.checkpoint()

    with pytest.raises(RuntimeError, match="after 10 scheduler steps"):
        await cancel_at_each_checkpoint(endless, limit=10)

    async def aside(cancel_here: CancelHere) -> None:
        await trio.lowlevel.checkpoint()

    with pytest.raises(RuntimeError, match="never entered"):
        await cancel_at_each_checkpoint(aside)


# ---- check_wire -----------------------------------------------------------------------------------------------------


class _Changed:
    """A wire that does one thing wrong."""

    def __init__(self, wire: MemoryWire) -> None:
        self.wire = wire

    async def send(self, message: str) -> None:
        await self.wire.send(message)

    async def receive(self) -> str | bytes:
        return await self.wire.receive()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await self.wire.aclose(code, reason)

    def statistics(self) -> WireStatistics:
        return self.wire.statistics()


class _LosesOnCancel(_Changed):
    async def receive(self) -> str | bytes:
        message = await self.wire.receive()
        await trio.lowlevel.checkpoint()
        return message


class _ForgetsReasons(_Changed):
    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await self.wire.aclose(code)


class _CountsNothing(_Changed):
    def statistics(self) -> WireStatistics:
        return WireStatistics()


class _CutsLongMessages(_Changed):
    async def send(self, message: str) -> None:
        await self.wire.send(message[:1_000_000])


class _SendsTwiceAfterTrouble(_Changed):
    async def send(self, message: str) -> None:
        try:
            await self.wire.send(message)
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            with trio.move_on_after(1, shield=True):
                await self.wire.send(message)
            raise


@pytest.mark.parametrize(
    "broken, check",
    [
        (_LosesOnCancel, "a cancelled receive loses nothing"),
        (_ForgetsReasons, "close is seen with code reason and side"),
        (_CountsNothing, "statistics count messages and bytes"),
        (_CutsLongMessages, "messages arrive whole and in order"),
        (_SendsTwiceAfterTrouble, "sending cancelled at any point tears nothing"),
    ],
)
async def test_a_wire_that_breaks_the_contract_is_found_out(
    broken: Callable[[MemoryWire], Wire], check: str, autojump_clock: MockClock
) -> None:
    @asynccontextmanager
    async def pair() -> AsyncIterator[tuple[Wire, Wire]]:
        client, server = memory_wire_pair()
        yield broken(client), broken(server)

    with pytest.raises((AssertionError, ExceptionGroup, trio.TooSlowError)) as caught:
        await check_wire(pair)
    assert f"check_wire: {check}" in getattr(caught.value, "__notes__", [])


async def test_a_wire_that_never_clogs_does_not_pass_for_one_that_does(autojump_clock: MockClock) -> None:
    with pytest.raises(AssertionError, match="nothing blocked: check with clogs=False"):
        await check_wire(open_websocket_wire_pair, clogs=True)


async def test_an_error_in_the_body_of_a_websocket_pair_comes_out_bare(autojump_clock: MockClock) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with open_websocket_wire_pair():
            raise LookupError("mine")
