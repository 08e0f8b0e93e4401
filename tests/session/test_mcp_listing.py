"""Lists of tools as programs send them: what no model can be offered is left out, and the rest is offered."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

pytest.importorskip("mcp", reason="the extra trealtime[mcp] is not installed")

import anyio
import jsonschema
import mcp_types
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mcp.shared.message import SessionMessage
from mcp_desk import call, offered, talk
from trio.testing import wait_all_tasks_blocked

from trealtime.errors import MCPServerFailed
from trealtime.mcp import MCPServer
from trealtime.mcp.listing import mended
from trealtime.mcp.stdio import _message

GOOD = {
    "name": "good",
    "description": "Good.",
    "inputSchema": {"type": "object", "properties": {"a": {"type": "integer"}}},
}


def tool(schema: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": "odd", **({} if schema is None else {"inputSchema": schema}), **more}


# ---- what is mended -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, schema",
    [
        (tool(), {"type": "object"}),
        (tool(inputSchema=None), {"type": "object"}),
        (tool({}), {"type": "object"}),
        (tool({"type": None}), {"type": "object"}),
        (tool({"type": ["object"]}), {"type": "object"}),
        (tool({"type": "object", "properties": None, "required": None}), {"type": "object"}),
        (
            tool({"type": "object", "properties": {"a": {"type": "string", "enum": None, "default": None}}}),
            {"type": "object", "properties": {"a": {"type": "string", "default": None}}},
        ),
        (
            tool({"type": "object", "properties": {"a": {"items": {"required": None}}, "b": True}}),
            {"type": "object", "properties": {"a": {"items": {}}, "b": {}}},
        ),
        (
            tool({"type": "object", "$defs": {"A": {"anyOf": [{"title": None}, {"const": None}]}}}),
            {"type": "object", "$defs": {"A": {"anyOf": [{}, {"const": None}]}}},
        ),
    ],
)
def test_a_schema_is_sent_as_every_reader_takes_it(given, schema) -> None:
    (kept,), problems = mended([given])
    assert (kept["inputSchema"], problems) == (schema, [])


@pytest.mark.parametrize(
    "given, kept",
    [
        (tool(outputSchema={"type": "nonsense"}), {"name": "odd"}),
        (tool(outputSchema=[1]), {"name": "odd"}),
        (tool(description=5, annotations="x", icons=3), {"name": "odd"}),
        (tool(description="Odd.", icons=[{"src": 1}]), {"name": "odd", "description": "Odd."}),
        (
            tool(_meta={"x": 1}, annotations={"title": "t"}),
            {"name": "odd", "_meta": {"x": 1}, "annotations": {"title": "t"}},
        ),
    ],
)
def test_what_only_clutters_a_tool_is_taken_out_of_it(given, kept) -> None:
    (found,), problems = mended([given])
    assert (found, problems) == ({**kept, "inputSchema": {"type": "object"}}, [])


# ---- what is left out -----------------------------------------------------------------------------------------------

UNUSABLE = [
    ("a string", "tool 0: it is 'a string', no object"),
    (None, "tool 0: it is None, no object"),
    (tool("x"), "'odd': its schema is 'x', no object"),
    (tool({"type": "string"}), "'odd': its schema has the type 'string', not 'object'"),
    (tool({"type": ["object", "null"]}), "'odd': its schema has the type ['object', 'null'], not 'object'"),
    (
        tool({"type": "object", "properties": {"coin": {"type": "string"}, "required": ["coin"]}}),
        "'odd': its schema is none: properties.required is ['coin']",
    ),
    (tool({"type": "object", "properties": []}), "'odd': its schema is none: properties is []"),
    (tool({"type": "object", "required": "a"}), "'odd': its schema is none: required is 'a'"),
    (tool({"type": "object", "properties": {"a": {"type": "str"}}}), "properties.a.type is 'str'"),
    (tool({"type": "object", "properties": {"a": {"items": "string"}}}), "properties.a.items is 'string'"),
    (tool({"type": "object", "properties": {"a": {"enum": "abc"}}}), "properties.a.enum is 'abc'"),
    (tool({"type": "object", "anyOf": {}}), "anyOf is <0 keys>"),
    (tool({"type": "object", "properties": {"a": False}}), "a property that may have no value"),
    (
        tool({"type": "object", "properties": {"a": json.loads('{"not":' * 900 + "{}" + "}" * 900)}}),
        "its schema is nested too deeply",
    ),
]


@pytest.mark.parametrize("given, problem", UNUSABLE)
def test_a_tool_that_no_model_can_be_offered_is_left_out_alone(given, problem) -> None:
    kept, problems = mended([given, GOOD])
    assert kept == [GOOD]
    assert [problem in each for each in problems] == [True]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "a", "items"]), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYWORDS = st.sampled_from(
    ["type", "properties", "required", "items", "$defs", "enum", "anyOf", "not", "$ref", "pattern"]
)


@settings(max_examples=40)
@given(st.lists(JSON | st.builds(tool, st.dictionaries(KEYWORDS, JSON, max_size=3)), max_size=3))
@example([tool({"type": "object", "properties": {"a": {"pattern": "("}}})])
@example([tool({"type": "object", "$schema": "http://json-schema.org/draft-04/schema#"})])
def test_what_is_kept_is_a_tool_with_a_schema_whatever_is_listed(tools) -> None:
    before = copy.deepcopy(tools)
    kept, problems = mended(tools)
    assert len(kept) + len(problems) == len(tools)
    assert tools == before
    for each in kept:
        jsonschema.Draft202012Validator.check_schema(each["inputSchema"])
        mcp_types.Tool.model_validate(each, by_name=False)


# ---- servers --------------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Listed(MCPServer):
    """A server that lists `tools`, as they are."""

    tools: list[Any]
    lists: int = 0
    restless: bool = False
    """It says at each list that there is another."""

    send: Any = None

    def described(self) -> str:
        return "listed"

    def streams(self, *, grace_s: float) -> AbstractAsyncContextManager[Any]:
        return self._streams()

    @asynccontextmanager
    async def _streams(self) -> AsyncIterator[Any]:
        self.send, incoming = anyio.create_memory_object_stream[Any](100)
        outgoing, requests = anyio.create_memory_object_stream[Any](100)
        async with anyio.create_task_group() as group, self.send, incoming, outgoing, requests:
            group.start_soon(self._serve, requests)
            yield incoming, outgoing
            group.cancel_scope.cancel()

    async def _serve(self, requests: Any) -> None:
        async for request in requests:
            method, params = request.message.method, getattr(request.message, "params", None) or {}
            if method == "initialize":
                info = {"name": "listed", "version": "1"}
                capabilities = {"tools": {"listChanged": True}}
                version = params["protocolVersion"]
                result = {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info}
            elif method == "tools/list":
                self.lists += 1
                if self.restless:
                    await self.changed()
                result = {"tools": copy.deepcopy(self.tools)}
            elif method == "tools/call":
                result = {"content": [{"type": "text", "text": "called"}]}
            elif hasattr(request.message, "id"):
                await self._say(id=request.message.id, error={"code": -32601, "message": "no"})
                continue
            else:
                continue
            await self._say(id=request.message.id, result=result)

    async def changed(self) -> None:
        await self._say(method="notifications/tools/list_changed")

    async def _say(self, **fields: Any) -> None:
        line = json.dumps({"jsonrpc": "2.0", **fields}).encode()
        message = _message(line)
        assert isinstance(message, SessionMessage)
        await self.send.send(message)


@pytest.mark.parametrize("odd, problem", UNUSABLE[:-1])  # the deepest does not come through JSON
async def test_one_unusable_tool_keeps_no_agent_from_the_others(
    odd, problem, service: Any, autojump_clock: Any, caplog: Any
) -> None:
    async with talk(service, Listed([odd, GOOD])) as session:
        assert offered(service) == ["good"]
        assert await call(service, "good", "1", a=1) == "called"
        errors = []
        with trio.move_on_after(1):
            async for event in session:
                errors += [event.error] if event.type == "error" else []
    assert [type(each) for each in errors] == [MCPServerFailed]
    assert problem in str(errors[0])
    assert str(errors[0]).startswith("the MCP server 'listed' lists tools that cannot be offered, they are left out: ")
    assert problem in caplog.text


async def test_a_list_that_becomes_unusable_in_part_is_told_once(service: Any, autojump_clock: Any) -> None:
    server = Listed([GOOD])
    async with talk(service, server) as session, session.subscribe("error") as errors:
        server.tools = [{**GOOD, "name": "other"}, tool({"type": "string"})]
        await server.changed()
        assert "'odd': its schema has the type 'string'" in str((await errors.receive()).error)
        await service.last.expect("session.update", count=2)
        assert offered(service) == ["other"]
        server.tools = server.tools[::-1]
        await server.changed()
        await wait_all_tasks_blocked()
        assert session.statistics().failures.mcp_servers == 1


async def test_a_server_that_always_says_its_list_has_changed_is_asked_ever_less_often(
    service: Any, autojump_clock: Any
) -> None:
    server = Listed([GOOD], restless=True)
    async with talk(service, server):
        await trio.sleep(600)
        assert offered(service) == ["good"]
    assert 10 < server.lists < 25
    assert len(service.last.of("session.update")) == 1


def test_a_message_with_half_a_character_is_read() -> None:
    line = b'{"jsonrpc": "2.0", "id": 1, "result": {"text": "a \\ud83d"}}'
    message = _message(line)
    assert isinstance(message, SessionMessage)
    assert message.message.result == {"text": "a ?"}
    assert isinstance(_message(b"starting up"), ValueError)
    assert isinstance(_message(b"[" * 100_000), ValueError)
