"""Local MCP servers: their tools as an agent's own, and their lifetimes. With real programs where those matter."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psutil
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

pytest.importorskip("mcp", reason="the extra trealtime[mcp] is not installed")

from mcp_desk import FOLDER, OLD_TOOLS, call, desk, offered, program, talk

from trealtime import (
    MCPServerStdio,
    MCPServerStreamableHttp,
    RealtimeAgent,
    SettingsError,
    function_tool,
    realtime_handoff,
)
from trealtime.errors import MCPServerFailed, MCPToolError
from trealtime.mcp import create_static_tool_filter
from trealtime.testing import cancel_at_each_checkpoint


async def until_offered(service: Any, name: str) -> None:
    count = 1
    while name not in offered(service):
        count += 1
        await service.last.expect("session.update", count=count)
        await wait_all_tasks_blocked()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def until_gone(pid: int) -> None:
    while not gone(pid):  # noqa: ASYNC110  (nobody tells of other people's processes)
        await trio.sleep(0.01)


# ---- tools ----------------------------------------------------------------------------------------------------------


async def test_b182_tools_of_mcp_servers_come_first_and_run_as_function_tools(service: Any) -> None:
    @function_tool
    def own() -> str:
        return "own"

    with trio.fail_after(60):
        async with talk(service, program(file="mcp_program.py"), tools=[own]):
            assert offered(service)[0] == "add"
            assert offered(service)[-1] == "own"
            wired = service.last.session["tools"][0]
            assert wired["type"] == "function"
            assert wired["description"] == "Add two numbers."
            assert wired["parameters"]["required"] == ["a", "b"]
            assert await call(service, "add", "1", a=1, b=2) == "3"
            assert await call(service, "own", "2") == "own"
            assert "there are no such orders" not in await call(service, "find", "3", order_id=-1)


async def test_what_is_no_text_is_named_and_errors_are_read_as_errors(service: Any, autojump_clock: Any) -> None:
    async with talk(service, desk()) as session:
        assert await call(service, "draw", "1") == "a circle\n[image: image/png, 30 bytes]"
        assert await call(service, "find", "2", order_id=7) == '{\n  "order": 7\n}'
        async with session.subscribe("error") as errors:
            output = await call(service, "find", "3", order_id="x")
            assert "An error occurred while running the tool find: MCPToolError: " in output
            error = (await errors.receive()).error
        assert error.tool_name == "find"
        assert isinstance(error.__cause__, MCPToolError)
        assert error.__cause__.server_name == "here"


async def test_the_structured_result_is_read_where_that_is_asked_for(service: Any, autojump_clock: Any) -> None:
    async with talk(service, desk(use_structured_content=True)):
        assert await call(service, "find", order_id=7) == '{"order":7}'


async def test_what_a_server_tells_during_a_call_is_told_to_the_app(service: Any, autojump_clock: Any) -> None:
    async with talk(service, desk()) as session, session.subscribe("tool_progress") as subscription:
        assert await call(service, "wait", seconds=1) == "waited"
        assert (await subscription.receive()).note == {"progress": 1.0, "total": 2.0, "message": "half of it"}


async def test_a_call_may_take_as_long_as_the_server_is_given(service: Any, autojump_clock: Any) -> None:
    async with talk(service, desk(client_session_timeout_seconds=2)):
        started = trio.current_time()
        assert await call(service, "wait", "1", seconds=30) == "Tool 'wait' timed out after 2 seconds."
        assert trio.current_time() - started == pytest.approx(2, abs=0.1)
        assert await call(service, "add", "2", a=1, b=1) == "2"
    async with talk(service, desk(client_session_timeout_seconds=None)):
        assert await call(service, "wait", "1", seconds=60) == "waited"


async def test_an_interrupt_cancels_a_call_where_the_server_says_so(service: Any, autojump_clock: Any) -> None:
    async with talk(service, desk(on_interrupt="cancel")) as session:
        await service.last.begin()
        await service.last.call("wait", '{"seconds": 4}')
        await trio.sleep(1)
        await session.interrupt()
        output = (await service.last.expect("conversation.item.create"))["item"]["output"]
        assert output.startswith("The call of wait was cancelled by an interrupt.")


# ---- which tools ----------------------------------------------------------------------------------------------------


async def by_async_callable(context: Any, tool: Any) -> bool:
    await trio.lowlevel.checkpoint()
    assert (context.agent.name, context.server_name, context.run_context.context) == ("Assistant", "here", None)
    return tool.name in ("add", "find")


@pytest.mark.parametrize(
    "rule",
    [
        create_static_tool_filter(["add", "find"]),
        {"blocked_tool_names": ["draw", "wait", "learn"]},
        {"allowed_tool_names": ["add", "find", "wait"], "blocked_tool_names": ["wait"]},
        lambda context, tool: tool.name in ("add", "find"),
        by_async_callable,
    ],
)
async def test_a_filter_leaves_out_tools(service: Any, autojump_clock: Any, rule: Any) -> None:
    async with talk(service, desk(tool_filter=rule)):
        assert offered(service) == ["add", "find"]


async def test_a_filter_that_gives_no_answer_is_the_apps_mistake(service: Any, autojump_clock: Any) -> None:
    with pytest.raises(TypeError, match="tool_filter of the MCP server 'here' must return a bool, got None"):
        async with talk(service, desk(tool_filter=lambda *_: None)):
            raise AssertionError


async def test_two_servers_with_tools_of_one_name_are_told_apart_by_their_names(
    service: Any, autojump_clock: Any
) -> None:
    servers = [desk(name="left"), desk(name="right side")]
    with pytest.raises(SettingsError, match=r"mcp_servers\['right side'\].*'add'.*mcp_servers\['left'\].*has this one"):
        async with talk(service, *servers):
            raise AssertionError
    async with talk(service, *servers, mcp_config={"include_server_in_tool_names": True}):
        assert offered(service)[0] == "left__add"
        assert await call(service, "right_side__add", a=2, b=2) == "4"


async def test_an_own_tool_of_the_same_name_is_refused_at_entry(service: Any, autojump_clock: Any) -> None:
    @function_tool
    def add() -> str:
        return ""

    with pytest.raises(SettingsError, match=r"tools\[0\].name: got 'add'.*mcp_servers\['here'\].tools\[0\] has this"):
        async with talk(service, desk(), tools=[add]):
            raise AssertionError


async def needs(context: Any, agent: Any, tool: Any) -> bool:
    await trio.lowlevel.checkpoint()
    return bool(agent.name == "Assistant" and tool.name == "add")


@pytest.mark.parametrize(
    "rule",
    [
        "always",
        True,
        {"add": "always", "find": "never"},
        {"always": {"tool_names": ["add"]}, "never": {"tool_names": ["find"]}},
        needs,
    ],
)
async def test_a_call_waits_for_approval_where_the_server_requires_it(
    service: Any, autojump_clock: Any, rule: Any
) -> None:
    async with talk(service, desk(require_approval=rule)) as session:
        async with session.subscribe("tool_approval_required") as subscription, trio.open_nursery() as nursery:

            @nursery.start_soon
            async def approve() -> None:
                request = await subscription.receive()
                assert request.tool.namespace == "here"
                await session.approve_tool_call(request.call_id)

            assert await call(service, "add", "1", a=1, b=1) == "2"
        if rule not in ("always", True):
            assert await call(service, "find", "2", order_id=1) == '{\n  "order": 1\n}'


@pytest.mark.parametrize("rule", [None, "never", False, {"find": "always"}, {"never": {"tool_names": ["add"]}}])
async def test_other_calls_need_no_approval(service: Any, autojump_clock: Any, rule: Any) -> None:
    async with talk(service, desk(require_approval=rule)):
        assert await call(service, "add", a=1, b=1) == "2"


# ---- changes of the list --------------------------------------------------------------------------------------------


async def test_new_tools_are_told_to_the_model_and_nothing_else_is(service: Any, autojump_clock: Any) -> None:
    async with talk(service, desk()):
        await call(service, "learn", "1", name="fly")
        await until_offered(service, "fly")
        update = service.last.of("session.update")[-1]["session"]
        assert sorted(update) == ["tools", "type"]
        assert await call(service, "fly", "2") == "fly done"


async def test_a_server_of_an_older_protocol_tells_of_new_tools_too(service: Any) -> None:
    with trio.fail_after(60):
        async with talk(service, program()):
            assert offered(service) == OLD_TOOLS
            await call(service, "learn", "1", name="fly")
            await until_offered(service, "fly")
            assert await call(service, "fly", "2") == "done"


async def test_a_cached_list_stays(service: Any, autojump_clock: Any) -> None:
    async with talk(service, desk(cache_tools_list=True)):
        await call(service, "learn", name="fly")
        await trio.sleep(10)
        assert len(service.last.of("session.update")) == 1


async def test_a_change_waits_for_an_update_that_is_on_its_way(service: Any, autojump_clock: Any) -> None:
    async with talk(service, desk()) as session, trio.open_nursery() as nursery:
        service.last.answers = False
        nursery.start_soon(session.update_settings, {"instructions": "Be kind."})
        await service.last.expect("session.update", count=2)
        await call(service, "learn", name="fly")
        await trio.sleep(1)
        assert len(service.last.of("session.update")) == 2
        service.last.answers = True
        await service.last.answer(service.last.of("session.update")[-1])
        await until_offered(service, "fly")


async def test_a_change_that_cannot_be_offered_is_an_error_event(service: Any, autojump_clock: Any) -> None:
    @function_tool
    async def fly() -> str:
        return "own"

    async with talk(service, desk(), tools=[fly]) as session, session.subscribe("error") as errors:
        await call(service, "learn", "1", name="fly")
        assert isinstance((await errors.receive()).error, SettingsError)
        assert await call(service, "fly", "2") == "own"


async def test_tools_that_the_app_sets_leave_those_of_servers_there(service: Any, autojump_clock: Any) -> None:
    @function_tool
    def extra() -> str:
        return "extra"

    async with talk(service, desk(tool_filter={"allowed_tool_names": ["add"]})) as session:
        await session.update_settings({"tools": [extra]})
        assert offered(service) == ["add", "extra"]


# ---- agents ---------------------------------------------------------------------------------------------------------


async def test_another_agents_servers_are_connected_when_it_takes_over(service: Any) -> None:
    shared = program(name="shared")
    other = RealtimeAgent(
        name="Other", mcp_servers=[shared, program(name="more", tool_filter={"allowed_tool_names": []})]
    )
    with trio.fail_after(60):
        async with talk(service, shared) as session:
            pid = await call(service, "whoami", "1")
            await session.update_agent(other)
            assert await call(service, "whoami", "2") == pid
            await session.update_agent(RealtimeAgent(name="Bare"))
            assert offered(service) == []


async def test_a_handoff_to_an_agent_whose_server_does_not_start_is_not_made(service: Any) -> None:
    broken = MCPServerStdio({"command": "no-such-program"}, name="broken")
    other = RealtimeAgent(name="Other", mcp_servers=[broken])
    with trio.fail_after(60):
        async with talk(service, handoffs=[realtime_handoff(other)]) as session:
            output = await call(service, "transfer_to_other")
            assert output.startswith("The handoff was not made.")
            assert "the MCP server 'broken' did not start: FileNotFoundError" in output
            assert session.current_agent.name == "Assistant"
            with pytest.raises(MCPServerFailed, match="'broken' did not start"):
                await session.update_agent(other)


# ---- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "server, why",
    [
        (lambda: MCPServerStdio({"command": "no-such-program"}), "'no-such-program' did not start: FileNotFoundError"),
        (lambda: MCPServerStdio({"command": "true"}), "'true' did not start: it exited with status 0"),
        (lambda: program("slow", startup_timeout_seconds=0.5), "did not start: it was not ready within 0.5 s"),
        (
            lambda: MCPServerStreamableHttp({"url": "http://127.0.0.1:9/x?key=1"}),
            "'http://127.0.0.1:9/x' did not start",
        ),
    ],
)
async def test_a_server_that_does_not_start_is_named_when_the_session_is_entered(
    service: Any, server: Any, why: str
) -> None:
    with trio.fail_after(60):
        with pytest.raises(MCPServerFailed, match=why) as caught:
            async with talk(service, server()):
                raise AssertionError
        assert caught.value.server_name
        assert service.connections == []


async def test_a_server_that_may_be_skipped_is_an_error_event_behind_the_first(service: Any) -> None:
    broken = MCPServerStdio({"command": "no-such-program"}, on_failure="skip")
    with trio.fail_after(60):
        async with talk(service, broken, program()) as session:
            assert offered(service) == OLD_TOOLS
            events = aiter(session)
            assert (await anext(events)).type == "history_updated"
            async for event in events:
                if event.type == "error":
                    assert isinstance(event.error, MCPServerFailed)
                    break


async def test_calls_of_a_server_that_has_died_fail_and_the_session_lives(service: Any) -> None:
    server = program(name="old")
    with trio.fail_after(60):
        async with talk(service, server) as session, session.subscribe("error") as errors:
            output = await call(service, "die", "1")
            assert "the MCP server 'old' has ended: it exited with status 3" in output
            found = [(await errors.receive()).error, (await errors.receive()).error]
            assert {type(error).__name__ for error in found} == {"MCPServerFailed", "ToolFailed"}
            assert "has ended" in await call(service, "whoami", "2")
            await session.update_agent(RealtimeAgent(name="Again", mcp_servers=[server]))
            assert (await call(service, "whoami", "3")).isdigit()


async def test_a_program_that_ends_no_line_is_not_said_to_have_closed_its_output(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trealtime.mcp.stdio._MAX_LINE", 4000)
    with trio.fail_after(60):
        async with talk(service, program(name="old")):
            output = await call(service, "die", "1", slowly=True)
            assert "the MCP server 'old' has ended: it wrote a line of more than 4,000 bytes" in output


async def test_tools_that_have_changed_and_are_not_listed_are_in_the_log(
    service: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(60):
        async with talk(service, program("mute", name="old")):
            await call(service, "learn", "1", name="fly")
            told = "the MCP server old has other tools and does not list them, the old ones stay: MCPError"
            while told not in caplog.text:  # noqa: ASYNC110  (a log can only be looked at)
                await trio.sleep(0.05)
            assert offered(service) == OLD_TOOLS


async def test_a_call_that_takes_too_long_is_given_up_on_the_server_too(service: Any) -> None:
    with trio.fail_after(60):
        async with talk(service, program(client_session_timeout_seconds=0.5)):
            assert await call(service, "hang", "1") == "Tool 'hang' timed out after 0.5 seconds."
            assert (await call(service, "whoami", "2", more=True)).endswith(" 1")


async def test_a_change_while_another_server_is_lost_is_told_without_starting_that_again(service: Any) -> None:
    lost = program(name="lost", tool_filter={"allowed_tool_names": ["die"]})
    with trio.fail_after(60):
        async with talk(service, program(tool_filter={"blocked_tool_names": ["die"]}), lost):
            await call(service, "die", "1")
            await call(service, "learn", "2", name="fly")
            await until_offered(service, "fly")
            assert "the MCP server 'lost' has ended" in await call(service, "die", "3")


async def test_what_is_printed_besides_messages_is_ignored(service: Any) -> None:
    with trio.fail_after(60):
        async with talk(service, program()):
            assert await call(service, "garbage") == "done"


# ---- lifetimes ------------------------------------------------------------------------------------------------------


async def test_each_session_has_a_process_of_its_own_and_none_is_left(service: Any) -> None:
    server = program()
    pids = []
    with trio.fail_after(60):
        async with talk(service, server):
            pids.append(int(await call(service, "whoami")))
            async with talk(service, server):
                pids.append(int(await call(service, "whoami")))
    assert len(set(pids)) == 2
    assert all(map(gone, pids))


async def test_a_server_that_the_app_has_opened_is_shared_and_outlives_sessions(service: Any) -> None:
    server = program()
    with trio.fail_after(60):
        async with server:
            pids = set()
            for _ in range(2):
                async with talk(service, server):
                    pids.add(await call(service, "whoami"))
            assert len(pids) == 1
            with pytest.raises(RuntimeError, match="is open already"):
                await server.__aenter__()
            assert not gone(int(*pids))
        assert gone(int(*pids))
        with pytest.raises(KeyError, match="mine"):
            async with server:
                raise KeyError("mine")


async def test_what_a_program_has_started_goes_with_it(service: Any) -> None:
    with trio.fail_after(60):
        async with talk(service, program("child")):
            pid = int(await call(service, "whoami"))
            (child,) = psutil.Process(pid).children()
        await until_gone(child.pid)
    assert gone(pid)


async def test_a_program_that_will_not_stop_is_killed_within_the_time_of_closing(service: Any) -> None:
    with trio.fail_after(60):
        async with talk(service, program("stubborn"), config={"close_timeout_s": 1.0}):
            pid = int(await call(service, "whoami"))
            started = trio.current_time()
        assert trio.current_time() - started < 2.0
    assert gone(pid)


async def test_calls_that_run_when_the_session_ends_end_with_it(service: Any) -> None:
    with trio.fail_after(60):
        async with talk(service, program(client_session_timeout_seconds=None)):
            pid = int(await call(service, "whoami", "1"))
            await service.last.begin(id="resp_2")
            await service.last.call("hang", "{}", id="resp_2", call_id="call_2")
            started = trio.current_time()
        assert trio.current_time() - started < 3.0
    assert gone(pid)


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.05, 0.1, 0.2])
async def test_an_entry_that_is_cancelled_leaves_no_process(service: Any, after_s: float) -> None:
    before = {process.pid for process in psutil.Process().children()}
    with trio.fail_after(60), trio.move_on_after(after_s):
        async with talk(service, program("slow")):
            raise AssertionError
    assert {process.pid for process in psutil.Process().children()} <= before


@pytest.mark.parametrize("first", [1, 0], ids=["from the first agent on", "of a later agent"])
async def test_a_session_cancelled_anywhere_leaves_no_task_of_its_servers(
    service: Any, autojump_clock: Any, first: int
) -> None:
    async def scenario(cancel_here: Any) -> None:
        service.connections.clear()
        await wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        with cancel_here():
            async with talk(service, *[desk() for _ in range(first)]) as session:
                await session.update_agent(RealtimeAgent(name="Other", mcp_servers=[desk()]))
                assert await call(service, "add", a=1, b=2) == "3"
        await wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks

    assert await cancel_at_each_checkpoint(scenario) > 50 * (1 + first)


async def test_a_program_whose_opening_is_cancelled_anywhere_is_gone() -> None:
    pids = set()

    async def scenario(cancel_here: Any) -> None:
        before = set(psutil.Process().children())
        with cancel_here():
            async with program():
                pids.update({child.pid for child in set(psutil.Process().children()) - before})
        assert all(gone(child.pid) for child in set(psutil.Process().children()) - before)

    with trio.fail_after(60):
        assert await cancel_at_each_checkpoint(scenario) > 10
    assert all(map(gone, pids))


@pytest.mark.parametrize("first", [True, False], ids=["of the first agent", "of a later agent"])
async def test_a_cancelled_body_still_has_its_tools_and_then_everything_ends(service: Any, first: bool) -> None:
    with trio.fail_after(60):
        with trio.CancelScope() as scope:
            async with talk(service, *([program()] if first else [])) as session:
                if not first:
                    await session.update_agent(RealtimeAgent(name="Other", mcp_servers=[program()]))
                pid = int(await call(service, "whoami"))
                scope.cancel()
                try:
                    await trio.sleep_forever()
                finally:
                    assert not gone(pid)
        assert scope.cancelled_caught
    assert gone(pid)


# ---- over HTTP ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def http_server() -> AsyncIterator[str]:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    for listener in listeners:
        await listener.aclose()
    command = [sys.executable, str(FOLDER / "mcp_program.py"), str(port)]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, command, check=False))
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
            except OSError:
                await trio.sleep(0.05)
            else:
                break
        yield f"http://127.0.0.1:{port}/mcp"
        process.kill()
        nursery.cancel_scope.cancel()


async def test_streamable_http_works_as_a_program_does(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the environment's proxy, at which nobody listens."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with trio.fail_after(60):
        async with http_server() as url:
            server = MCPServerStreamableHttp({"url": url, "headers": {"Authorization": "Bearer key"}})
            async with talk(service, server) as session:
                assert await call(service, "add", "1", a=1, b=2) == "3"
                await call(service, "learn", "2", name="fly")
                await until_offered(service, "fly")
                assert await call(service, "fly", "3") == "fly done"
                await call(service, "die", "4")
                assert "An error occurred" in await call(service, "add", "5", a=1, b=2)
                await session.interrupt()
        assert "key" not in repr(server)
