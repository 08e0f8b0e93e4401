"""MCP servers as users write them, and their identity, for approvals that hold for always."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

pytest.importorskip("mcp", reason="the extra trealtime[mcp] is not installed")

from mcp.server.mcpserver import MCPServer as Program
from mcp_desk import InProcess, call, desk, program

from trealtime import (
    MCPServerStdio,
    MCPServerStreamableHttp,
    RealtimeAgent,
    RealtimeRunner,
    SettingsError,
)
from trealtime.errors import MCPServerFailed, MissingDependency
from trealtime.mcp import MCPServer

# ---- what users write -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, problem",
    [
        (lambda: MCPServerStdio({"comand": "x"}), "params: unknown key 'comand'; did you mean 'command'"),
        (lambda: MCPServerStdio({"command": ""}), "params.command: got '', allowed: a string, not empty"),
        (lambda: MCPServerStreamableHttp({"url": "example.com"}), "params.url: .* an http:// or https:// URL"),
        (lambda: program(tool_filter={"allowed": ["x"]}), "tool_filter: .* allowed_tool_names and blocked_tool_names"),
        (lambda: program(require_approval={"x": "perhaps"}), "require_approval: .* 'always' or 'never'"),
        (lambda: program(require_approval="sometimes"), "require_approval: got 'sometimes'"),
        (lambda: program(client_session_timeout_seconds=0), "client_session_timeout_seconds: got 0, .* or None"),
        (lambda: program(startup_timeout_seconds=None), "startup_timeout_seconds: got None"),
        (lambda: program(on_failure="ignore"), "on_failure: got 'ignore', allowed: 'raise', 'skip'"),
        (lambda: program(on_interrupt="stop"), "on_interrupt: got 'stop', allowed: 'keep', 'cancel', 'shield'"),
        (lambda: program(name=3), "name: got 3, allowed: a string"),
        (lambda: RealtimeAgent(name="A", mcp_config={"prefix": True}), "unknown key 'prefix'"),
    ],
)
def test_wrong_values_are_named(make: Any, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        make()


def test_an_agent_takes_servers_and_each_once() -> None:
    server = program()
    for wrong in ("server", [3], [server, server]):
        with pytest.raises(TypeError, match="mcp_servers"):
            RealtimeAgent(name="A", mcp_servers=wrong)  # type: ignore[arg-type]
    assert RealtimeAgent(name="A", mcp_servers=[server]).clone(name="B").mcp_servers == (server,)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(MissingDependency, match=r'pip install "trealtime\[mcp\]"'):
        program()


# ---- what a server is, for approvals --------------------------------------------------------------------------------

WEB = {"url": "https://example.com:8443/mcp", "headers": {"X-Shop": "1"}}


@pytest.mark.parametrize(
    "one, other",
    [
        (
            MCPServerStdio({"command": "python", "args": ["a.py"]}),
            MCPServerStdio({"command": "python", "args": ["b.py"]}),
        ),
        (MCPServerStdio({"command": "/a/serve"}), MCPServerStdio({"command": "/b/serve"})),
        (MCPServerStdio({"command": "serve", "cwd": "/a"}), MCPServerStdio({"command": "serve", "cwd": "/b"})),
        (MCPServerStdio({"command": "serve", "env": {"SHOP": "1"}}), MCPServerStdio({"command": "serve"})),
        (MCPServerStdio({"command": "serve"}, name="a"), MCPServerStdio({"command": "serve"}, name="b")),
        (MCPServerStreamableHttp(WEB), MCPServerStreamableHttp({**WEB, "url": "https://example.com:9443/mcp"})),
        (MCPServerStreamableHttp(WEB), MCPServerStreamableHttp({**WEB, "url": "https://example.com:8443/mcp?shop=2"})),
        (MCPServerStreamableHttp(WEB), MCPServerStreamableHttp({**WEB, "headers": {"X-Shop": "2"}})),
        (desk(), desk()),
    ],
    ids=["arguments", "folder of the program", "cwd", "env", "name", "port", "query", "headers", "of one's own"],
)
def test_servers_that_are_declared_otherwise_are_others(one: MCPServer, other: MCPServer) -> None:
    assert one.identity() != other.identity()
    if isinstance(one, MCPServerStdio | MCPServerStreamableHttp):
        assert one.identity() == type(one)(one.params, name=one.name).identity()


def test_the_name_of_a_server_at_an_address_has_its_port_and_no_secret() -> None:
    server = MCPServerStreamableHttp({"url": "https://user:secret@example.com:8443/mcp?key=secret"})
    assert server.name == "https://example.com:8443/mcp"
    assert MCPServerStreamableHttp({"url": "http://[::1]:80/"}).name == "http://[::1]:80/"


async def test_allowed_always_on_one_server_is_asked_about_on_another_of_its_name(
    service: Any, autojump_clock: Any
) -> None:
    def deleting() -> InProcess:
        server = Program("files")

        @server.tool()
        async def delete() -> str:
            """Delete everything."""
            return "deleted"

        return InProcess(server, require_approval="always")

    second = RealtimeAgent(name="B", mcp_servers=[deleting()])
    first = RealtimeAgent(name="A", mcp_servers=[deleting()], handoffs=[second])
    async with RealtimeRunner(first, model=service).session() as session, trio.open_nursery() as nursery:
        asked: list[str] = []

        async def supervise() -> None:
            async with session.subscribe("tool_approval_required") as subscription:
                async for request in subscription:
                    asked.append(request.agent.name)
                    await session.approve_tool_call(request.call_id, always=True)

        nursery.start_soon(supervise)
        await wait_all_tasks_blocked()
        assert [await call(service, "delete", number) for number in "12"] == ["deleted", "deleted"]
        await call(service, "transfer_to_b", "3")
        assert [await call(service, "delete", number) for number in "45"] == ["deleted", "deleted"]
        assert asked == ["A", "B"]
        nursery.cancel_scope.cancel()


SECRET = "sk-SECRET0123456789"


@pytest.mark.parametrize(
    "value",
    [
        MCPServerStdio({"command": "serve", "args": ["--key", SECRET], "env": {"TOKEN": SECRET}}),
        MCPServerStreamableHttp(
            {
                "url": f"https://user:{SECRET}@example.com/mcp?key={SECRET}",
                "headers": {"X-Custom": SECRET},
                "proxy": f"http://user:{SECRET}@proxy.example:3128",
            }
        ),
    ],
    ids=["program", "address"],
)
def test_no_repr_shows_a_secret_of_a_server(value: Any) -> None:
    agent = RealtimeAgent(name="Desk", mcp_servers=[value])
    assert not [each for each in (value, value.params, agent, value.identity()) if SECRET in f"{each!r} {each!s}"]
    assert "TOKEN" in repr(value.params) or "X-Custom" in repr(value.params)


async def test_a_server_that_does_not_start_is_told_of_without_its_secrets(service: Any) -> None:
    url = f"http://127.0.0.1:9/mcp?key={SECRET}"
    server = MCPServerStreamableHttp({"url": url, "headers": {"Authorization": f"Bearer {SECRET}"}})
    with trio.fail_after(60):
        agent = RealtimeAgent(name="Desk", mcp_servers=[server])
        with pytest.raises(MCPServerFailed) as caught:
            await RealtimeRunner(agent, model=service).session().__aenter__()
    assert SECRET not in str(caught.value)
