"""A tool whose turn is interrupted, left or closed: cancelled, kept or shielded, and what the model is told."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
import trio.testing

from trealtime.tools.function_tool import FunctionTool, function_tool


async def call(connection: Any, *names: str, arguments: str = "{}", id: str = "resp_1", says: str = "") -> None:
    """One response that calls each of `names`, under call_0, call_1, ..."""
    await connection.begin(id=id)
    if says:
        await connection.begin_item(id=id)
        await connection.audio(0.2, id=id)
    for index, name in enumerate(names):
        await connection.call(name, arguments, id=id, call_id=f"call_{index}")
    await connection.done(id=id)


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


# ---- interrupts -----------------------------------------------------------------------------------------------------


async def test_a_tool_that_asked_for_it_is_cancelled_by_a_barge_in_and_the_model_is_told(
    autojump_clock, service, make_runner
) -> None:
    ended = []

    @function_tool(on_interrupt="cancel")
    async def search() -> str:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())
        return "never"

    async with make_runner(tools=[search]).session() as session, session.subscribe("tool_end", "error") as subscription:
        await call(service.last, "search")
        await settled()
        spoke = {"type": "input_audio_buffer.speech_started", "item_id": "item_u", "audio_start_ms": 0}
        await service.last.send(spoke)
        end = await subscription.receive()
        assert (end.type, end.failure, end.call_id) == ("tool_end", "cancelled", "call_0")
        await service.last.expect("conversation.item.create")
        said = "The call of search was cancelled by an interrupt. It may have had some of its effects."
        assert service.last.outputs == {"call_0": said}
        assert len(ended) == 1
        await settled()
        assert not service.last.of("response.create")  # the user has the floor


async def test_a_call_that_is_cancelled_before_its_turn_never_runs(autojump_clock, service, make_runner) -> None:
    ran = []

    @function_tool(on_interrupt="cancel", max_concurrency=1)
    async def search() -> None:
        ran.append(1)
        await trio.sleep_forever()

    async with (
        make_runner(tools=[search]).session() as session,
        session.subscribe("tool_start", "tool_end") as subscription,
    ):
        await call(service.last, "search", "search")
        await settled()
        await session.interrupt()
        await service.last.expect("conversation.item.create", count=2)
        assert len(service.last.outputs) == 2
        assert len(ran) == 1
        assert [(await subscription.receive()).type for _ in range(2)] == ["tool_start", "tool_end"]
        with trio.move_on_after(1) as nothing_more:
            await subscription.receive()
        assert nothing_more.cancelled_caught


async def test_a_tool_that_comes_to_its_end_all_the_same_has_its_result(autojump_clock, service, make_runner) -> None:
    @function_tool(on_interrupt="cancel")
    async def pay() -> str:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            await trio.sleep(1)
        return "paid"

    async with make_runner(tools=[pay]).session() as session:
        await call(service.last, "pay")
        await settled()
        await session.interrupt()
        await service.last.expect("conversation.item.create")
        assert service.last.outputs == {"call_0": "paid"}


@pytest.mark.parametrize("policy", ["keep", "shield"])
async def test_other_tools_go_on_through_an_interrupt(autojump_clock, service, make_runner, policy) -> None:
    @function_tool(on_interrupt=policy)
    async def search() -> str:
        await trio.sleep(5)
        return "found"

    async with make_runner(tools=[search]).session() as session:
        await call(service.last, "search", says="Let me look.")
        await settled()
        await session.interrupt()
        await service.last.expect("response.create")
        assert service.last.outputs == {"call_0": "found"}


async def test_leaving_a_turn_cancels_its_tool(autojump_clock, service, make_runner) -> None:
    ended = []

    @function_tool(on_interrupt="cancel")
    async def search() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async with make_runner(tools=[search]).session() as session, trio.open_nursery() as nursery:

        async def serve() -> None:
            await service.last.begin(await service.last.expect("response.create"))
            await service.last.call("search", "{}")
            await service.last.done()

        nursery.start_soon(serve)
        began = trio.current_time()
        with trio.move_on_after(3):
            await session.ask("Find it.")
        await service.last.expect("conversation.item.create", count=2)
        assert ended == [began + 3]


# ---- the end --------------------------------------------------------------------------------------------------------


async def test_a_shielded_tool_may_finish_when_the_session_ends_and_its_output_goes_nowhere(
    autojump_clock, service, make_runner
) -> None:
    finished = []

    def tool(policy: Any) -> FunctionTool:
        async def work() -> str:
            await trio.sleep(2)
            finished.append(policy)
            return "done"

        return function_tool(work, name_override=policy, on_interrupt=policy)

    tools = [tool(policy) for policy in ("keep", "cancel", "shield")]
    async with make_runner(tools=tools, close_timeout_s=6).session() as session:
        await call(service.last, "keep", "cancel", "shield")
        await settled()
        began = trio.current_time()
        await session.close()
        assert trio.current_time() - began == pytest.approx(2)
    assert finished == ["shield"]
    assert service.last.outputs == {}
    assert service.last.closed.code == 1000


async def test_a_shielded_tool_that_never_ends_is_cancelled_after_half_of_the_close_timeout(
    autojump_clock, service, make_runner
) -> None:
    @function_tool(on_interrupt="shield")
    async def forever() -> None:
        await trio.sleep_forever()

    async with make_runner(tools=[forever], close_timeout_s=6).session() as session:
        await call(service.last, "forever")
        await settled()
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(3)
    assert session.statistics().tools_active == 0


async def test_a_shielded_call_that_has_not_begun_does_not_begin_when_the_session_ends(
    autojump_clock, service, make_runner
) -> None:
    ran = []

    @function_tool(on_interrupt="shield")
    async def work() -> None:
        ran.append(1)
        await trio.sleep(1)

    async with make_runner(tools=[work], tool_concurrency=1).session():
        await call(service.last, "work", "work")
        await settled()
    assert ran == [1]


async def test_a_call_that_comes_while_the_session_ends_is_not_begun(autojump_clock, service, make_runner) -> None:
    ran = []

    @function_tool(on_interrupt="shield")
    async def work() -> None:
        ran.append(1)
        await trio.sleep(1)

    async with make_runner(tools=[work]).session() as session, trio.open_nursery() as nursery:
        await call(service.last, "work")
        await settled()
        nursery.start_soon(session.close)
        await settled()
        await service.last.call("work", "{}", call_id="call_9", id="resp_9")
    assert ran == [1]
    assert session.outcome.closed_by == "client"


async def test_closing_while_ten_tools_run_ends_all_ten(autojump_clock, service, make_runner) -> None:
    began, ended = [], []

    @function_tool
    async def slow() -> None:
        began.append(1)
        try:
            await trio.sleep(30)
        finally:
            ended.append(1)

    before = trio.lowlevel.current_statistics().tasks_living
    async with make_runner(tools=[slow], tool_concurrency=10).session() as session:
        await call(service.last, *["slow"] * 10)
        await settled()
        assert session.statistics().tools_active == len(began) == 10
        at = trio.current_time()
    assert trio.current_time() == at
    assert len(ended) == 10
    assert session.statistics().tools_active == 0
    await settled()
    assert trio.lowlevel.current_statistics().tasks_living <= before
    assert service.last.outputs == {}


async def test_a_synchronous_tool_is_waited_for_when_its_call_is_cancelled(service, make_runner) -> None:
    release, began = threading.Event(), threading.Event()
    ended = []

    @function_tool
    def blocking() -> str:
        began.set()
        release.wait(10)
        ended.append(1)
        return "late"

    with trio.fail_after(30):
        async with make_runner(tools=[blocking], close_timeout_s=0.1).session():
            await call(service.last, "blocking")
            await trio.to_thread.run_sync(began.wait)
            trio.lowlevel.spawn_system_task(trio.to_thread.run_sync, lambda: (began.wait(), release.set()))
    assert ended == [1]


async def test_a_synchronous_tool_that_looks_for_it_is_cancelled(service, make_runner) -> None:
    @function_tool(on_interrupt="cancel")
    def blocking() -> str:
        while True:
            trio.from_thread.check_cancelled()
            threading.Event().wait(0.005)

    with trio.fail_after(30):
        async with make_runner(tools=[blocking]).session() as session, session.subscribe("tool_start") as subscription:
            await call(service.last, "blocking")
            await subscription.receive()
            await session.interrupt()
            await service.last.expect("conversation.item.create")
            assert "cancelled by an interrupt" in service.last.outputs["call_0"]
