"""Lists of tools of MCP servers that no model can be offered: told as failures of the server, which may be skipped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import mcp_types
import pytest
import trio

pytest.importorskip("mcp", reason="the extra trealtime[mcp] is not installed")

from mcp.server.lowlevel import Server
from mcp_desk import InProcess, call, desk, offered, talk

from trealtime import RealtimeAgent
from trealtime.errors import MCPServerFailed
from trealtime.mcp.tools import MAX_TOOLS
from trealtime.metrics import FailureCounters

Page = Callable[[str | None], tuple[list[str], str | None]]


def lists(page: Page, **options: Any) -> InProcess:
    """A server that answers each request for tools with the names and the next cursor of `page`."""

    async def on_list_tools(_context: Any, params: Any) -> mcp_types.ListToolsResult:
        names, cursor = page(params.cursor if params is not None else None)
        tools = [mcp_types.Tool(name=name, input_schema={"type": "object"}) for name in names]
        return mcp_types.ListToolsResult(tools=tools, next_cursor=cursor)

    return InProcess(Server("odd", on_list_tools=on_list_tools), name="odd", **options)  # type: ignore[arg-type]


def one_page(*names: str) -> Page:
    return lambda _cursor: (list(names), None)


def numbered_pages(count: int) -> Page:
    def page(cursor: str | None) -> tuple[list[str], str | None]:
        number = int(cursor or 0)
        return [f"tool_{number}"], str(number + 1) if number + 1 < count else None

    return page


BAD: dict[str, tuple[Page, str]] = {
    "no name": (one_page("add", ""), "cannot be offered: tool 1 has no name"),
    "a name twice": (one_page("sum", "add", "sum"), "cannot be offered: two of them have the name 'sum'"),
    "names alike": (one_page("a.b", "a b"), "cannot be offered: the names 'a.b' and 'a b' both become 'a_b'"),
    "long names alike": (one_page("x" * 64 + "1", "x" * 64 + "2"), "both become 'x{64}'"),
    "too many": (
        one_page(*map(str, range(5000))),
        f"cannot be offered: it has 5,000 of them, allowed: at most {MAX_TOOLS}",
    ),
    "far too many": (one_page(*map(str, range(10_001))), "did not start: it lists more than 10,000 tools"),
    "pages without end": (numbered_pages(10**9), "did not start: its list of tools has more than 100 pages"),
    "a page again": (lambda _cursor: (["add"], "more"), "did not start: its list of tools has no end"),
    "two pages in turn": (
        lambda cursor: ([], "b" if cursor == "a" else "a"),
        "did not start: its list of tools has no end",
    ),
}
"""By what is wrong: what the server lists, and what the error says."""

each_bad = pytest.mark.parametrize("page, why", BAD.values(), ids=BAD)


@each_bad
async def test_a_bad_list_fails_the_entry_and_names_the_server(
    service: Any, autojump_clock: Any, page: Page, why: str
) -> None:
    with pytest.raises(MCPServerFailed, match=f"the MCP server 'odd' .*{why}") as caught:
        async with talk(service, lists(page)):
            raise AssertionError
    assert caught.value.server_name == "odd"
    assert service.connections == []


@each_bad
async def test_a_server_with_a_bad_list_may_be_skipped(
    service: Any, autojump_clock: Any, caplog: pytest.LogCaptureFixture, page: Page, why: str
) -> None:
    async with talk(service, lists(page, on_failure="skip"), desk()) as session:
        assert offered(service) == ["add", "draw", "find", "wait", "learn"]
        events = aiter(session)
        seen = [await anext(events)]
        while seen[-1].type != "error":
            seen.append(await anext(events))
        assert seen[0].type == "history_updated"
        error = seen[-1].error
        assert isinstance(error, MCPServerFailed)
        assert error.server_name == "odd"
        assert session.statistics().failures == FailureCounters(mcp_servers=1)
        assert await call(service, "add", "1", a=1, b=2) == "3"
        # A later change of another server does not ask the skipped one again.
        await call(service, "learn", "2", name="fly")
        await service.last.expect("session.update", count=2)
        assert offered(service)[-1] == "fly"
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in told] == ["the MCP server odd failed"]
    assert told[0].exc_info is not None


async def test_a_handoff_is_made_without_the_tools_of_a_skipped_server(service: Any, autojump_clock: Any) -> None:
    page, _why = BAD["a name twice"]
    async with talk(service) as session:
        with pytest.raises(MCPServerFailed, match="two of them have the name 'sum'"):
            await session.update_agent(RealtimeAgent(name="Strict", mcp_servers=[lists(page)]))
        assert session.current_agent.name == "Assistant"
        skipped = RealtimeAgent(name="Lenient", mcp_servers=[lists(page, on_failure="skip"), desk()])
        await session.update_agent(skipped)
        assert session.current_agent.name == "Lenient"
        assert offered(service)[0] == "add"


async def test_the_filter_decides_before_the_list_is_judged(service: Any, autojump_clock: Any) -> None:
    many = [f"tool_{number}" for number in range(5000)]
    odd = lists(one_page("", *many, "tool_7"), tool_filter={"allowed_tool_names": ["tool_8", "tool_9"]})
    async with talk(service, odd):
        assert offered(service) == ["tool_8", "tool_9"]


async def test_a_list_of_the_longest_kind_is_offered(service: Any, autojump_clock: Any) -> None:
    async with talk(service, lists(numbered_pages(100))):
        assert len(offered(service)) == 100
    async with talk(service, lists(one_page(*map(str, range(MAX_TOOLS))))):
        assert len(offered(service)) == MAX_TOOLS


async def test_a_list_that_turns_bad_is_an_error_event_and_the_earlier_tools_stay(
    service: Any, autojump_clock: Any
) -> None:
    async with talk(service, desk(on_failure="skip")) as session, session.subscribe("error") as errors:
        await call(service, "learn", "1", name="a b")
        await service.last.expect("session.update", count=2)
        assert offered(service)[-1] == "a_b"
        await call(service, "learn", "2", name="a.b")
        error = (await errors.receive()).error
        assert isinstance(error, MCPServerFailed)
        assert "the names 'a b' and 'a.b' both become 'a_b'" in str(error)
        await trio.sleep(1)
        assert offered(service)[-1] == "a_b"
        assert len(service.last.of("session.update")) == 2
