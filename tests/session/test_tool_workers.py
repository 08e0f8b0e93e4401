"""Function calls of the model: each runs, each is answered."""

from __future__ import annotations

import json
import threading

import trio
import trio.testing

from trealtime.errors import ToolFailed
from trealtime.tools.context import ToolContext
from trealtime.tools.function_tool import FunctionTool, function_tool


def output_of(connection, number: int = 0) -> str:
    items = [event["item"] for event in connection.of("conversation.item.create")]
    return [item for item in items if item["type"] == "function_call_output"][number]["output"]


async def call(connection, name: str, arguments: str = "{}", *, call_id: str = "call_1") -> None:
    await connection.begin(id=f"resp_{call_id}")
    await connection.call(name, arguments, id=f"resp_{call_id}", call_id=call_id)
    await connection.done(id=f"resp_{call_id}")


async def test_a_tool_runs_and_the_model_gets_its_output_and_a_request_to_go_on(
    autojump_clock, service, make_runner
) -> None:
    contexts = []

    @function_tool
    async def order_status(context: ToolContext, order_id: int) -> dict[str, object]:
        """Look up an order."""
        contexts.append(context)
        return {"order": order_id, "status": "shipped"}

    runner = make_runner(tools=[order_status])
    async with runner.session(context="mine") as session, session.subscribe("tool_start", "tool_end") as subscription:
        assert [tool["name"] for tool in session.settings["tools"]] == ["order_status"]
        await call(service.last, "order_status", '{"order_id": 7}')
        start, end = await subscription.receive(), await subscription.receive()
        await service.last.expect("response.create")
        assert (start.tool, start.arguments, start.call_id) == (order_status, '{"order_id": 7}', "call_1")
        assert end.output == {"order": 7, "status": "shipped"}
        assert json.loads(output_of(service.last)) == {"order": 7, "status": "shipped"}
        assert (contexts[0].context, contexts[0].tool_call_id) == ("mine", "call_1")
        assert session.statistics().tools_active == 0


async def test_a_tool_that_raises_is_an_answer_to_the_model_and_an_event_to_the_app(
    autojump_clock, service, make_runner
) -> None:
    async def explode(context, arguments):
        raise LookupError("no such order")

    tool = FunctionTool("broken", "x", params_json_schema={"type": "object"}, on_invoke_tool=explode)
    async with make_runner(tools=[tool]).session() as session, session.subscribe("error") as subscription:
        await call(service.last, "broken")
        error = (await subscription.receive()).error
        await service.last.expect("response.create")
        assert isinstance(error, ToolFailed)
        assert isinstance(error.__cause__, LookupError)
        assert (error.tool_name, error.call_id) == ("broken", "call_1")
        assert "no such order" in output_of(service.last)


async def test_an_unknown_tool_is_answered_with_the_names_of_those_there_are(
    autojump_clock, service, make_runner
) -> None:
    @function_tool
    async def known() -> str:
        """A tool."""
        return "x"

    async with make_runner(tools=[known]).session() as session, session.subscribe("error") as subscription:
        await call(service.last, "unknown")
        assert isinstance((await subscription.receive()).error, ToolFailed)
        await service.last.expect("response.create")
        assert "known" in output_of(service.last)


async def test_wrong_arguments_are_answered_with_what_is_wrong(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def add(a: int) -> int:
        """Add."""
        return a

    async with make_runner(tools=[add]).session():
        await call(service.last, "add", '{"a": "many"}')
        await service.last.expect("response.create")
        assert "a" in output_of(service.last)


async def test_a_running_tool_holds_up_neither_reader_nor_interrupt_and_ends_with_the_session(
    autojump_clock, service, make_runner
) -> None:
    ended = []

    @function_tool
    async def slow() -> str:
        """Take for ever."""
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())
        return ""

    async with make_runner(tools=[slow]).session() as session:
        await call(service.last, "slow")
        await trio.testing.wait_all_tasks_blocked()
        assert session.statistics().tools_active == 1
        await session.interrupt()
        await session.update_settings({"instructions": "still reading"})
        assert not ended
    assert len(ended) == 1


async def test_one_at_a_time_when_asked_for(autojump_clock, service, make_runner) -> None:
    running = []

    @function_tool
    async def work() -> str:
        """Work."""
        running.append(1)
        assert len(running) == 1
        await trio.sleep(1)
        running.pop()
        return "done"

    async with make_runner(tools=[work], async_tool_calls=False).session():
        await service.last.begin(id="resp_1")
        for number in range(3):
            await service.last.call("work", "{}", call_id=f"call_{number}")
        await service.last.done(id="resp_1")
        began = trio.current_time()
        await service.last.expect("response.create")
        assert trio.current_time() - began >= 3
        assert [output_of(service.last, number) for number in range(3)] == ["done"] * 3
        assert len(service.last.of("response.create")) == 1


async def test_a_tool_may_close_its_own_session(autojump_clock, service, make_runner) -> None:
    sessions = []

    @function_tool
    async def hang_up() -> str:
        """End the call."""
        await sessions[0].close()
        return "bye"

    async with make_runner(tools=[hang_up]).session() as session:
        sessions.append(session)
        await call(service.last, "hang_up")
        async for _event in session:
            pass
    assert session.outcome.closed_by == "client"


async def test_an_answer_that_needs_a_tool_is_one_turn(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def clock() -> str:
        """Tell the time."""
        return "noon"

    async with make_runner(tools=[clock]).session() as session, trio.open_nursery() as nursery:

        async def serve() -> None:
            request = await service.last.expect("response.create")
            await service.last.begin(request, id="resp_1")
            await service.last.call("clock", "{}", id="resp_1")
            await service.last.done(id="resp_1")
            await service.last.expect("response.create", count=2)
            service.last.received.remove(request)
            await service.last.reply("It is noon.", id="resp_2")

        nursery.start_soon(serve)
        turn = await session.ask("What time is it?")
    assert turn.text == "It is noon."
    assert turn.response_id == "resp_2"


async def test_a_synchronous_tool_runs_in_a_thread(service, make_runner) -> None:
    threads = []

    @function_tool
    def blocking() -> str:
        """Block."""
        threads.append(threading.current_thread())
        return "ok"

    with trio.fail_after(30):
        async with make_runner(tools=[blocking]).session():
            await call(service.last, "blocking")
            await service.last.expect("response.create")
    assert threads[0] is not threading.main_thread()
    assert output_of(service.last) == "ok"


async def test_settings_may_bring_tools(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def late() -> str:
        """Come late."""
        return "here"

    async with make_runner().session() as session:
        await session.update_settings({"tools": [late]})
        await call(service.last, "late")
        await service.last.expect("response.create")
        assert output_of(service.last) == "here"
