"""The tool runner: each function call of the model runs and gets its output."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import trio
import trio.testing

from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import ToolFailed, ToolTimedOut
from trealtime.tools.context import ToolContext
from trealtime.tools.function_tool import FunctionTool, function_tool


def outputs(connection: Any) -> list[tuple[str, str]]:
    items = [event["item"] for event in connection.of("conversation.item.create")]
    return [(item["call_id"], item["output"]) for item in items if item["type"] == "function_call_output"]


def output_of(connection: Any, number: int = 0) -> str:
    return outputs(connection)[number][1]


async def call(
    connection: Any, name: str, arguments: str = "{}", *, id: str | None = None, call_id: str = "call_1"
) -> None:
    """A response that calls one function."""
    response_id = f"resp_{call_id}" if id is None else id
    await connection.begin(id=response_id)
    await connection.call(name, arguments, id=response_id, call_id=call_id)
    await connection.done(id=response_id)


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


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


# ---- numbered behaviours of the OpenAI Agents SDK -------------------------------------------------------------------


@function_tool
async def echo(value: Any = None) -> Any:
    """Say it again."""
    return value


async def test_b171_calls_of_one_response_run_at_the_same_time(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def work(seconds: int) -> int:
        await trio.sleep(seconds)
        return seconds

    async with make_runner(tools=[work]).session():
        began = trio.current_time()
        await service.last.begin()
        for seconds in (3, 1, 2):
            await service.last.call("work", f'{{"seconds": {seconds}}}', call_id=f"call_{seconds}")
        await service.last.done()
        await service.last.expect("response.create")
        assert trio.current_time() - began == 3
        assert [output for _, output in outputs(service.last)] == ["1", "2", "3"]


async def test_b172_calls_in_order_never_block_the_reader_and_their_failures_do_not_end_the_session(
    autojump_clock, service, make_runner
) -> None:
    @function_tool
    async def fails() -> None:
        await trio.sleep(10)
        raise ValueError("no")

    async with make_runner(tools=[fails], async_tool_calls=False).session() as session:
        await call(service.last, "fails")
        began = trio.current_time()
        await session.update_settings({"instructions": "still reading"})
        assert trio.current_time() == began
        await service.last.expect("response.create")
        assert session.outcome is None


async def test_b173_a_call_runs_with_the_tools_that_there_were_when_it_was_made(
    autojump_clock, service, make_runner
) -> None:
    agents = []

    @function_tool(max_concurrency=1)
    async def work(context: ToolContext) -> str:
        agents.append(context.agent.name)
        await trio.sleep(1)
        return "old"

    async with make_runner(tools=[work]).session() as session:
        await service.last.begin()
        await service.last.call("work", "{}", call_id="call_1")
        await service.last.call("work", "{}", call_id="call_2")
        await service.last.done()
        await settled()
        await session.update_settings({"tools": []})
        await service.last.expect("response.create")
        assert outputs(service.last) == [("call_1", "old"), ("call_2", "old")]
        assert agents == ["Assistant", "Assistant"]


async def test_b174_a_tool_of_the_model_config_goes_before_one_of_the_agent(autojump_clock, service) -> None:
    @function_tool(name_override="work")
    async def mine() -> str:
        return "the agent's"

    @function_tool(name_override="work")
    async def other() -> str:
        return "the config's"

    runner = RealtimeRunner(RealtimeAgent(name="A", tools=[mine]), model=service)
    async with runner.session(model_config={"initial_model_settings": {"tools": [other]}}):
        await call(service.last, "work")
        await service.last.expect("response.create")
        assert outputs(service.last) == [("call_1", "the config's")]


async def test_b176_b177_the_context_of_a_call_says_which_it_is_and_repeats_the_raw_text(
    autojump_clock, service, make_runner
) -> None:
    contexts: list[ToolContext[Any]] = []

    async def handler(context: ToolContext[Any], arguments: str) -> str:
        contexts.append(context)
        return arguments

    raw = FunctionTool("raw", "Raw.", params_json_schema={"type": "object"}, on_invoke_tool=handler)
    text = '{ "é" : [1.50, {"deep": null}] }'
    runner = make_runner(tools=[raw])
    async with runner.session(context="mine") as session, session.subscribe("tool_start", "tool_end") as subscription:
        await call(service.last, "raw", text)
        start, end = await subscription.receive(), await subscription.receive()
        (context,) = contexts
        assert (context.context, context.tool_name, context.tool_call_id) == ("mine", "raw", "call_1")
        assert context.agent is session.current_agent
        assert context.usage is not None
        assert context.tool_arguments == start.arguments == end.arguments == end.output == text


async def test_b178_the_model_reads_json_and_the_app_gets_the_value(autojump_clock, service, make_runner) -> None:
    value = {"city": "Zürich", "list": [1, None]}
    async with make_runner(tools=[echo]).session() as session, session.subscribe("tool_end") as subscription:
        await call(service.last, "echo", json.dumps({"value": value}))
        assert (await subscription.receive()).output == value
        await service.last.expect("response.create")
        assert outputs(service.last) == [("call_1", '{"city":"Zürich","list":[1,null]}')]


async def test_b179_first_the_output_then_the_request_for_an_answer_then_tool_end(
    autojump_clock, service, make_runner
) -> None:
    async with make_runner(tools=[echo]).session() as session, session.subscribe("tool_end") as subscription:
        await call(service.last, "echo")
        await subscription.receive()
        await session.close()  # writes what has been queued by then, and nothing new
        types = [event["type"] for event in service.last.received]
        assert types[1:3] == ["conversation.item.create", "response.create"]


async def test_b180_outputs_that_come_while_a_response_runs_get_one_answer(
    autojump_clock, service, make_runner
) -> None:
    async with make_runner(tools=[echo]).session():
        for number in (1, 2):
            await call(service.last, "echo", id=f"resp_{number}", call_id=f"call_{number}")
            if number == 1:
                await service.last.begin(await service.last.expect("response.create"), id="resp_0")
        await service.last.expect("conversation.item.create", count=2)
        await settled()
        assert len(service.last.of("response.create")) == 1
        await service.last.done(id="resp_0")
        await service.last.expect("response.create", count=2)
        await settled()
        assert len(service.last.of("response.create")) == 2


async def test_b181_an_unknown_tool_is_answered_the_app_told_and_the_model_asked_to_go_on(
    autojump_clock, service, make_runner
) -> None:
    async with make_runner(tools=[echo]).session() as session, session.subscribe("error") as subscription:
        await call(service.last, "ecko")
        error = (await subscription.receive()).error
        assert isinstance(error, ToolFailed)
        assert (error.tool_name, error.call_id) == ("ecko", "call_1")
        await service.last.expect("response.create")
        assert outputs(service.last) == [("call_1", "There is no tool 'ecko'. Tools: echo.")]
        assert session.outcome is None


@pytest.mark.parametrize("raises", [True, False])
async def test_b191_b192_a_tool_that_raises_or_takes_too_long_is_answered_and_the_session_lives(
    autojump_clock, service, make_runner, raises
) -> None:
    @function_tool(timeout=1)
    async def work() -> None:
        if raises:
            raise ValueError("no")
        await trio.sleep_forever()

    async with make_runner(tools=[work, echo]).session() as session:
        async with session.subscribe("tool_start", "error", "tool_end") as subscription:
            await call(service.last, "work")
            start, error, end = [await subscription.receive() for _ in range(3)]
        assert [start.type, error.type, end.type] == ["tool_start", "error", "tool_end"]
        assert isinstance(error.error.__cause__, ValueError if raises else ToolTimedOut)
        assert end.failure == ("failed" if raises else "timed_out")
        await service.last.expect("response.create")
        assert outputs(service.last) == [("call_1", end.output)]
        await service.last.begin(service.last.of("response.create")[0], id="resp_2")
        await service.last.call("echo", "{}", id="resp_2", call_id="call_2")
        await service.last.done(id="resp_2")
        await service.last.expect("response.create", count=2)


@pytest.mark.parametrize("finished", [True, False])
async def test_b193_b199_the_same_call_again_is_not_run_again(autojump_clock, service, make_runner, finished) -> None:
    ran = []

    @function_tool
    async def work(a: int, b: int) -> int:
        ran.append((a, b))
        await trio.sleep(1)
        return a + b

    async with make_runner(tools=[work]).session():
        await service.last.begin()
        await service.last.call("work", '{"a": 1, "b": 2}')
        if finished:
            await service.last.expect("conversation.item.create")
        await service.last.call("work", '{"b":2,"a":1}')
        await service.last.done()
        await service.last.expect("response.create")
        await trio.sleep(5)
        assert ran == [(1, 2)]
        assert outputs(service.last) == [("call_1", "3")]


async def test_b194_another_call_under_a_used_id_is_an_error_event_and_the_session_lives(
    autojump_clock, service, make_runner
) -> None:
    ran = []

    @function_tool
    async def work(a: int) -> int:
        ran.append(a)
        return a

    async with make_runner(tools=[work]).session() as session, session.subscribe("error") as subscription:
        await service.last.begin()
        await service.last.call("work", '{"a": 1}')
        await service.last.call("work", '{"a": 2}')
        await service.last.done()
        assert isinstance((await subscription.receive()).error, ToolFailed)
        await service.last.expect("response.create")
        assert ran == [1]
        assert outputs(service.last) == [("call_1", "1")]


async def test_b195_a_call_without_an_id_is_an_error_event_and_nothing_runs(
    autojump_clock, service, make_runner
) -> None:
    async with make_runner(tools=[echo]).session() as session, session.subscribe("error", "tool_start") as subscription:
        await call(service.last, "echo", call_id="")
        assert (await subscription.receive()).type == "error"
        await settled()
        assert outputs(service.last) == []
        assert session.statistics().tools_active == 0


async def test_b196_an_output_that_the_server_refuses_is_an_error_event_and_the_tool_is_not_run_again(
    autojump_clock, service, make_runner
) -> None:
    ran = []

    @function_tool
    async def work() -> str:
        ran.append(1)
        return "done"

    async with make_runner(tools=[work]).session() as session, session.subscribe("error") as subscription:
        await call(service.last, "work")
        refused = await service.last.expect("conversation.item.create")
        await service.last.error(code="invalid_value", about=refused)
        assert (await subscription.receive()).error.request == "conversation.item.create"
        await service.last.begin(id="resp_2")
        await service.last.call("work", "{}", id="resp_2")
        await settled()
        assert ran == [1]


class Hostile:
    def __str__(self) -> str:
        raise ValueError("no text")


async def test_b197_a_value_that_has_no_text_is_answered_all_the_same(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def work() -> Hostile:
        return Hostile()

    async with make_runner(tools=[work]).session():
        await call(service.last, "work")
        await service.last.expect("response.create")
        assert outputs(service.last) == [("call_1", "<Hostile, whose str raises ValueError>")]


async def test_b198_a_call_whose_output_is_queued_is_over_whatever_is_cancelled_then(
    autojump_clock, service, make_runner
) -> None:
    @function_tool(on_interrupt="cancel")
    async def work() -> str:
        return "done"

    async with make_runner(tools=[work]).session() as session:
        await call(service.last, "work")
        await settled()
        await session.interrupt()
        await service.last.expect("response.create")
        await settled()
        assert outputs(service.last) == [("call_1", "done")]


async def test_b200_what_a_tool_returns_after_the_session_began_to_end_goes_nowhere(
    autojump_clock, service, make_runner
) -> None:
    @function_tool
    async def stubborn() -> str:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 0.5):
                await trio.sleep(1)
            return "late"  # noqa: B012  (a tool that eats its cancellation)

    async with (
        make_runner(tools=[stubborn]).session() as session,
        session.subscribe("tool_end", "error") as subscription,
    ):
        await call(service.last, "stubborn")
        await settled()
        await session.close()
        assert [event async for event in subscription] == []
    assert outputs(service.last) == []
    assert not service.last.of("response.create")
