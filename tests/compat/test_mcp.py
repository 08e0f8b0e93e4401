"""MCP servers as programs for the SDK declare and use them."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest
import trio

pytest.importorskip("mcp")

from trealtime.compat import UserError
from trealtime.compat.mcp import MCPServerStdio, MCPServerStreamableHttp, create_static_tool_filter
from trealtime.compat.realtime import RealtimeAgent, RealtimeRunner
from trealtime.emulator import CallFunction, ScriptedBrain, open_emulator

PROGRAM = Path(__file__).parents[1] / "session" / "mcp_program.py"


def desk(**options) -> MCPServerStdio:
    params = {"command": sys.executable, "args": [str(PROGRAM)], "encoding": "utf-8"}
    return MCPServerStdio(params, cache_tools_list=True, name="desk", client_session_timeout_seconds=0, **options)


async def test_an_opened_server_serves_the_program_and_a_session():
    only_add = create_static_tool_filter(allowed_tool_names=["add"])
    with trio.fail_after(60):
        async with desk(tool_filter=only_add, max_retry_attempts=2) as server:
            assert {tool.name for tool in await server.list_tools()} == {"add", "find", "learn", "die"}
            result = await server.call_tool("add", {"a": 1, "b": 2})
            assert result.content[0].text == "3"
            brain = ScriptedBrain([CallFunction("add", '{"a": 2, "b": 2}'), "Four."])
            async with open_emulator(listen=False, brain=brain) as emulator:
                agent = RealtimeAgent(name="Assistant", mcp_servers=[server])
                async with await RealtimeRunner(agent, model=emulator.memory_model()).run() as session:
                    await session.send_message("Two and two?")
                    async for event in session:
                        if event.type == "tool_end":
                            assert event.output == "4"
                            break


async def test_a_server_that_is_not_open_says_what_to_write():
    server = desk()
    with pytest.raises(UserError, match="write `async with server:`"):
        await server.list_tools()
    for method in (server.connect, server.cleanup):
        with pytest.raises(RuntimeError, match="write `async with server:`"):
            await method()


def test_times_may_be_timedeltas():
    server = MCPServerStreamableHttp({"url": "https://h/mcp", "timeout": timedelta(seconds=7), "sse_read_timeout": 9})
    assert (server.params.timeout, server.params.sse_read_timeout) == (7, 9)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"message_handler": print}, "message_handler: there is nothing like it here"),
        ({"failure_error_function": print}, "give it to the agent, mcp_config"),
        ({"require_approval": 5}, "require_approval: got 5"),
    ],
)
def test_parameters_without_a_counterpart_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        desk(**options)


def test_names_without_a_counterpart_say_what_to_write():
    with pytest.raises(ImportError, match="MCPServerStreamableHttp is what followed"):
        exec("from trealtime.compat.mcp import MCPServerSse", {})
