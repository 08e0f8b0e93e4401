"""MCP servers that the service connects to, played by the emulator: as settings, in history, and approved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trealtime import (
    Approve,
    HostedMCPTool,
    RealtimeAgent,
    RealtimeRunner,
    Reject,
    SettingsError,
    function_tool,
    open_emulator,
)
from trealtime.errors import MCPServerFailed

HANDBOOK = {"server_label": "handbook", "server_url": "https://example.com/mcp"}


def search(words: str) -> str:
    """Search the handbook."""
    return f"page 7 has {words}"


def refuse(words: str) -> str:
    """Refuse something."""
    raise ValueError("the handbook is closed")


@asynccontextmanager
async def talk(config: Any = None, **tool: Any) -> AsyncIterator[Any]:
    agent = RealtimeAgent(name="Assistant", tools=[HostedMCPTool(HANDBOOK | tool)])
    servers = {"handbook": {"search": search, "refuse": refuse}}
    async with open_emulator(listen=False, seed=1, mcp_servers=servers) as emulator:
        runner = RealtimeRunner(agent, model=emulator.memory_model(), config=config)
        async with runner.session() as session:
            yield session


async def asked(session: Any, subscription: Any) -> Any:
    await session.send_message('Please search for "rain".')
    return await subscription.receive()


async def answer(session: Any) -> str:
    """The next message of the agent."""
    async with session.subscribe("agent_end") as ends:
        async for _ in ends:
            if session.history[-1].type == "message" and session.history[-1].role == "assistant":
                return str(session.history[-1].text)
    raise AssertionError


def items(session: Any, kind: str) -> list[Any]:
    return [item for item in session.history if item.type == kind]


async def test_the_list_the_calls_and_their_outputs_are_in_history(autojump_clock: Any) -> None:
    async with talk(require_approval="never") as session:
        turn = await session.ask('Please search for "rain".')
        assert turn.text == "Page 7 has rain."
        (listed,) = items(session, "mcp_list_tools")
        assert [tool["name"] for tool in listed.data["tools"]] == ["search", "refuse"]
        (call,) = items(session, "mcp_call")
        assert (call.data["name"], call.data["output"]) == ("search", "page 7 has rain")
        turn = await session.ask('Please refuse "rain".')
        assert items(session, "mcp_call")[1].data["error"]["message"] == "the handbook is closed"
        assert turn.text == "The handbook is closed."


async def test_an_approved_call_is_made_and_answered(autojump_clock: Any) -> None:
    async with talk() as session, session.subscribe("tool_approval_required") as subscription:
        request = await asked(session, subscription)
        assert (request.tool.name, request.tool.server_label) == ("search", "handbook")
        assert [each.call_id for each in session.pending_approvals] == [request.call_id]
        await session.approve_tool_call(request.call_id)
        assert await answer(session) == "Page 7 has rain."
        assert items(session, "mcp_call")[0].data["approval_request_id"] == request.call_id
        assert session.pending_approvals == []


async def test_a_rejected_call_is_not_made_and_the_server_reads_why(autojump_clock: Any) -> None:
    async with talk() as session, session.subscribe("tool_approval_required") as subscription:
        request = await asked(session, subscription)
        await session.reject_tool_call(request.call_id, rejection_message="Not today.")
        assert await answer(session) == "I was not allowed to use search."
        assert items(session, "mcp_call") == []
        assert items(session, "mcp_approval_response")[0].data["reason"] == "Not today."


async def test_a_decision_for_always_answers_later_requests(autojump_clock: Any) -> None:
    async with talk() as session, session.subscribe("tool_approval_required") as subscription:
        request = await asked(session, subscription)
        await session.approve_tool_call(request.call_id, always=True)
        assert await answer(session) == "Page 7 has rain."
        await session.send_message('Please search for "snow".')
        assert await answer(session) == "Page 7 has snow."
        assert subscription.statistics().events_queued == 0


async def test_what_nobody_decides_in_time_is_rejected(autojump_clock: Any) -> None:
    config = {"approval_timeout_s": 5}
    async with (
        talk(config) as session,
        session.subscribe("tool_approval_required", "tool_approval_dropped") as subscription,
    ):
        await asked(session, subscription)
        assert (await subscription.receive()).reason == "timeout"
        assert await answer(session) == "I was not allowed to use search."


async def test_a_handler_decides_about_hosted_calls_too(autojump_clock: Any) -> None:
    async def handler(request: Any) -> Any:
        await trio.sleep(1)
        return Approve() if request.tool.server_label == "handbook" else Reject()

    async with talk({"approval_handler": handler}) as session:
        await session.send_message('Please search for "rain".')
        assert await answer(session) == "Page 7 has rain."


async def test_a_server_that_cannot_be_reached_is_an_error_event_and_the_session_lives(autojump_clock: Any) -> None:
    agent = RealtimeAgent(name="Assistant", tools=[HostedMCPTool(HANDBOOK | {"server_label": "unknown"})])
    async with open_emulator(listen=False) as emulator:
        runner = RealtimeRunner(agent, model=emulator.memory_model())
        async with runner.session() as session:
            # It may come together with the acknowledgement, before the app can subscribe.
            async for event in session:
                if event.type == "error":
                    error = event.error
                    break
            assert isinstance(error, MCPServerFailed)
            assert error.server_name == "unknown"
            assert (await session.ask('Say "Hello".')).text == "Hello"


async def test_it_stands_beside_function_tools_and_in_settings(autojump_clock: Any) -> None:
    @function_tool
    async def own() -> str:
        return "mine"

    tool = HostedMCPTool(HANDBOOK | {"require_approval": "never"})
    async with open_emulator(listen=False, mcp_servers={"handbook": {"search": search}}) as emulator:
        agent = RealtimeAgent(name="Assistant", tools=[own, tool])
        runner = RealtimeRunner(agent, model=emulator.memory_model())
        async with runner.session() as session:
            assert [each["type"] for each in session.settings["tools"]] == ["function", "mcp"]
            assert (await session.ask("Call own, please.")).text == "The own is mine."
            await session.update_settings({"tools": [tool]})
            assert (await session.ask('Please search for "rain".')).text == "Page 7 has rain."


@pytest.mark.parametrize(
    "config, problem",
    [
        ({"server_url": "https://a.b"}, "tool_config.server_label: .*required"),
        ({"server_label": ""}, "tool_config.server_label: got '', allowed: a string, not empty"),
        ({"server_label": "x"}, "'x': .* got 'none of them', allowed: one of server_url, connector_id, tunnel_id"),
        (HANDBOOK | {"connector_id": "connector_gmail"}, "allowed: one of server_url, connector_id, tunnel_id"),
        (HANDBOOK | {"type": "function"}, "tool_config.type: got 'function', allowed: 'mcp'"),
        (HANDBOOK | {"require_approval": "allways"}, "require_approval: got 'allways'.*did you mean 'always'"),
        (HANDBOOK | {"require_approval": {"never": {"tools": ["x"]}}}, "require_approval.never: unknown key 'tools'"),
        (HANDBOOK | {"allowed_tools": "search"}, "tool_config.allowed_tools: got 'search'"),
        (HANDBOOK | {"header": {}}, "tool_config: unknown key 'header'; did you mean 'headers'"),
    ],
)
def test_wrong_configurations_are_named(config: Any, problem: str) -> None:
    with pytest.raises(SettingsError, match=f"(?s){problem}"):
        HostedMCPTool(config)


def test_an_agent_has_each_label_once_and_no_plain_mapping() -> None:
    tool = HostedMCPTool(HANDBOOK | {"authorization": "secret"})
    assert "secret" not in repr(tool)
    with pytest.raises(SettingsError, match=r"tools\[1\].server_label: got 'handbook', allowed: a server_label"):
        RealtimeAgent(name="A", tools=[tool, tool])
    with pytest.raises(TypeError, match="HostedMCPTool"):
        RealtimeAgent(name="A", tools=[dict(tool)])  # type: ignore[list-item]
