"""MCP servers that the emulator reaches. The client of these tests holds every event against the schema."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from trealtime.emulator import CallFunction, ScriptedBrain, open_emulator

TOOL = {"type": "mcp", "server_label": "handbook", "server_url": "https://example.com/mcp"}
FREE = TOOL | {"require_approval": "never"}


def search(words: str, pages: int = 3) -> dict[str, Any]:
    """Search the handbook."""
    return {"words": words, "pages": pages}


async def order(item: str) -> str:
    await trio.sleep(1)
    if item == "nothing":
        raise ValueError("there is nothing to order")
    return f"one {item}"


SERVERS = {"handbook": {"search": search, "order": order}}


async def listed(client: Any, tool: Any) -> list[str]:
    await client.update({"tools": [tool], "output_modalities": ["text"]})
    events = await client.rest()
    return [tool["name"] for tool in events[-1]["item"]["tools"]]


async def test_the_tools_of_a_server_are_listed_once(kit: Any, autojump_clock: Any) -> None:
    async with kit.client(mcp_servers=SERVERS) as client:
        await client.update({"tools": [TOOL]})
        events = await client.rest()
        assert kit.types(events) == [
            "session.updated",
            "mcp_list_tools.in_progress",
            "conversation.item.added",
            "mcp_list_tools.completed",
            "conversation.item.done",
        ]
        first, second = events[-1]["item"]["tools"]
        assert (first["name"], first["description"]) == ("search", "Search the handbook.")
        assert first["input_schema"]["required"] == ["words"]
        assert first["input_schema"]["properties"]["pages"] == {"type": "integer", "default": 3}
        assert second["name"] == "order"
        await client.update({"tools": [TOOL]})
        assert kit.types(await client.rest()) == ["session.updated"]


@pytest.mark.parametrize("allowed", [["order"], {"tool_names": ["order"]}])
async def test_only_allowed_tools_are_listed(kit: Any, autojump_clock: Any, allowed: Any) -> None:
    async with kit.client(mcp_servers=SERVERS) as client:
        assert await listed(client, TOOL | {"allowed_tools": allowed}) == ["order"]


async def test_a_call_and_the_answer_are_one_response(kit: Any, autojump_clock: Any) -> None:
    async with kit.client(mcp_servers=SERVERS) as client:
        await listed(client, FREE)
        await client.say('Please search for "rain".')
        await client.send("response.create")
        events = await client.until("response.done")
        made = kit.without_runs(events)
        start = made.index("response.mcp_call_arguments.delta")
        assert made[start - 2 : start + 8] == [
            "response.output_item.added",
            "conversation.item.added",
            "response.mcp_call_arguments.delta",
            "response.mcp_call_arguments.done",
            "response.mcp_call.in_progress",
            "response.mcp_call.completed",
            "response.output_item.done",
            "conversation.item.done",
            "response.output_item.added",
            "conversation.item.added",
        ]
        call, message = events[-1]["response"]["output"]
        assert (call["server_label"], call["name"], json.loads(call["arguments"])["words"]) == (
            "handbook",
            "search",
            "rain",
        )
        assert json.loads(call["output"])["words"] == "rain"
        assert message["content"][0]["text"] == "The words is rain and the pages is 3."


@pytest.mark.parametrize(
    "arguments, error",
    [
        ('{"item": "nothing"}', {"type": "tool_execution_error", "message": "there is nothing to order"}),
        ('{"amount": 1}', {"type": "protocol_error", "code": -32602}),
        ("not JSON", {"type": "protocol_error", "code": -32602}),
    ],
)
async def test_a_call_that_fails_says_why(kit: Any, autojump_clock: Any, arguments: str, error: Any) -> None:
    brain = ScriptedBrain([CallFunction("order", arguments), "I am sorry."])
    async with kit.client(mcp_servers=SERVERS, brain=brain) as client:
        await listed(client, FREE)
        await client.send("response.create")
        events = await client.until("response.done")
        assert "response.mcp_call.failed" in kit.types(events)
        call, message = events[-1]["response"]["output"]
        assert call["output"] is None
        assert call["error"].items() >= error.items()
        assert message["content"][0]["text"] == "I am sorry."


@pytest.mark.parametrize(
    "rule",
    [None, "always", {"always": {"tool_names": ["search"]}}, {"never": {"tool_names": ["order"]}}],
)
@pytest.mark.parametrize("approve", [True, False])
async def test_a_call_waits_for_approval_and_the_server_goes_on_by_itself(
    kit: Any, autojump_clock: Any, rule: Any, approve: bool
) -> None:
    async with kit.client(mcp_servers=SERVERS) as client:
        await listed(client, TOOL | {"require_approval": rule})
        await client.say('Please search for "rain".')
        await client.send("response.create")
        (request,) = (await client.get("response.done"))["response"]["output"]
        assert (request["type"], request["name"]) == ("mcp_approval_request", "search")
        answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approve}
        await client.rest()
        await client.send("conversation.item.create", {"item": answer})
        *calls, message = (await client.get("response.done"))["response"]["output"]
        words = message["content"][0]["text"]
        if approve:
            assert [call["approval_request_id"] for call in calls] == [request["id"]]
            assert '"rain"' in calls[0]["output"]
            assert words == "The words is rain and the pages is 3."
        else:
            assert calls == []
            assert words == "I was not allowed to use search."
        await client.send("conversation.item.create", {"item": answer})
        assert "response.created" not in kit.types(await client.rest())


@pytest.mark.parametrize(
    "choice, name",
    [({"server_label": "handbook"}, "search"), ({"server_label": "handbook", "name": "order"}, "order")],
)
async def test_a_tool_of_a_server_can_be_demanded(kit: Any, autojump_clock: Any, choice: Any, name: str) -> None:
    async with kit.client(mcp_servers=SERVERS) as client:
        await listed(client, FREE)
        await client.say("Hello.")
        await client.send("response.create", {"response": {"tool_choice": {"type": "mcp"} | choice}})
        call, _message = (await client.get("response.done"))["response"]["output"]
        assert call["name"] == name


async def test_an_approval_waits_for_the_answer_that_is_being_made(kit: Any, autojump_clock: Any) -> None:
    brain = ScriptedBrain([CallFunction("order", '{"item": "cake"}'), "Once upon a time there was.", "Here it is."])
    async with kit.client(mcp_servers=SERVERS, brain=brain) as client:
        await listed(client, TOOL)
        await client.send("response.create")
        (request,) = (await client.get("response.done"))["response"]["output"]
        await client.send("response.create")
        await client.until("response.output_text.delta")
        answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
        await client.send("conversation.item.create", {"item": answer})
        assert [item["type"] for item in (await client.get("response.done"))["response"]["output"]] == ["message"]
        call, message = (await client.get("response.done"))["response"]["output"]
        assert call["output"] == "one cake"
        assert message["content"][0]["text"] == "Here it is."


async def test_a_function_of_the_client_goes_before_a_tool_of_that_name(kit: Any, autojump_clock: Any) -> None:
    function = {"type": "function", "name": "order", "parameters": {"type": "object", "properties": {}}}
    brain = ScriptedBrain([CallFunction("order", "{}")])
    async with kit.client(mcp_servers=SERVERS, brain=brain) as client:
        await client.update({"tools": [FREE, function]})
        await client.rest()
        await client.send("response.create")
        (call,) = (await client.get("response.done"))["response"]["output"]
        assert call["type"] == "function_call"


async def test_a_cancelled_response_ends_the_call_that_runs(kit: Any, autojump_clock: Any) -> None:
    brain = ScriptedBrain([CallFunction("order", '{"item": "cake"}')])
    async with kit.client(mcp_servers=SERVERS, brain=brain) as client:
        await listed(client, FREE)
        await client.send("response.create")
        await client.until("response.mcp_call.in_progress")
        await client.send("response.cancel")
        done = await client.get("response.done")
        assert done["response"]["status"] == "cancelled"
        (call,) = done["response"]["output"]
        assert call["output"] is None


async def test_a_function_without_a_schema_is_named() -> None:
    def draw(canvas: trio.Nursery) -> None: ...

    with pytest.raises(TypeError, match=r"mcp_servers\['art'\]\['draw'\]: its signature cannot be a tool's"):
        async with open_emulator(listen=False, mcp_servers={"art": {"draw": draw}}):
            raise AssertionError
