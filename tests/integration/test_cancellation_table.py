"""The cancellation page, row by row: each public await, cancelled at every point where it can be, on the emulator

Whatever was cancelled, the session still works: a whole turn goes through, the server has nothing to complain of, and
the session closes in order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from trealtime._session.runner import RealtimeRunner, serve_realtime_session
from trealtime._session.session import RealtimeSession
from trealtime.agents.agent import RealtimeAgent
from trealtime.calls.rest import RealtimeRestClient
from trealtime.mcp.servers import MCPServer
from trealtime.testing import MemoryEndpoint, cancel_at_each_checkpoint
from trealtime.tools.function_tool import function_tool

PAGE = Path(__file__).resolve().parents[2] / "docs" / "understand" / "cancellation.md"

Session = RealtimeSession[Any]


async def listen(session: Session) -> None:
    async for event in session:
        if event.type == "agent_end":
            break


async def hear(session: Session) -> None:
    async with session.subscribe("agent_end") as subscription:
        await session.create_response()
        await subscription.receive()


async def respond(session: Session) -> None:
    async with session.respond("Count to 3.") as response:
        async for _event in response:
            pass


async def next_events(session: Session) -> None:
    async with session.respond("Count to 3.") as response:
        while await response.next_event() is not None:
            pass


async def result(session: Session) -> None:
    async with session.respond("Count to 3.") as response:
        await response.result()


async def transcript(session: Session) -> None:
    async with session.respond("Count to 3.") as response:
        assert await response.transcript() == "1, 2, 3."


async def close_feed(session: Session) -> None:
    subscription = session.subscribe()
    try:
        await subscription.aclose()
    finally:
        assert subscription not in session._driver.subscriptions


async def in_a_feed(session: Session) -> None:
    async with session.subscribe("audio") as subscription:
        await trio.lowlevel.checkpoint()
    assert subscription not in session._driver.subscriptions


async def spoken_turn(session: Session) -> None:
    await session.send_audio(bytes(9600), commit=True)
    await session.create_response()
    await session.listen()


async def attach(session: Session) -> None:
    endpoint = MemoryEndpoint()
    async with session.attach(endpoint):
        await endpoint.say(bytes(4800))
        await session.ask("Count to 3.")
        await session.wait_for_playback()


async def wait_closed(session: Session) -> None:
    endpoint = MemoryEndpoint()
    async with session.attach(endpoint) as attachment:
        await endpoint.leave()
        await attachment.wait_closed()


CALLS: dict[str, Callable[[Session], Awaitable[object]]] = {
    "RealtimeSession.wait_closed": lambda session: session.wait_closed(),
    "RealtimeSession.send_message": lambda session: session.send_message("Hello"),
    "RealtimeSession.send_audio": lambda session: session.send_audio(bytes(9600), commit=True),
    "RealtimeSession.commit_audio": lambda session: session.commit_audio(),
    "RealtimeSession.clear_audio": lambda session: session.clear_audio(),
    "RealtimeSession.create_response": lambda session: session.create_response(),
    "RealtimeSession.send_raw": lambda session: session.send_raw({"type": "input_audio_buffer.clear"}),
    "RealtimeSession.interrupt": lambda session: session.interrupt(),
    "RealtimeSession.cancel_response": lambda session: session.cancel_response(),
    "RealtimeSession.approve_tool_call": lambda session: session.approve_tool_call("call_x"),
    "RealtimeSession.reject_tool_call": lambda session: session.reject_tool_call("call_x"),
    "RealtimeSession.update_settings": lambda session: session.update_settings({"instructions": "x"}),
    "RealtimeSession.update_agent": lambda session: session.update_agent(session.current_agent.clone(instructions="x")),
    "RealtimeSession.create_item": lambda session: session.create_item("note"),
    "RealtimeSession.delete_item": lambda session: session.delete_item(session.history[0].item_id),
    "RealtimeSession.truncate_item": lambda session: session.truncate_item(session.history[-1].item_id, audio_end_ms=9),
    "RealtimeSession.retrieve_item": lambda session: session.retrieve_item(session.history[0].item_id),
    "RealtimeSession.replace_history": lambda session: session.replace_history(session.history[-1:]),
    "RealtimeSession.summarise": lambda session: session.summarise(lambda items: "sums", keep_items=0),
    "RealtimeSession.ask": lambda session: session.ask("Count to 3."),
    "RealtimeSession.listen": spoken_turn,
    "RealtimeSession.respond": respond,
    "RealtimeSession.attach": attach,
    "Attachment.wait_closed": wait_closed,
    "RealtimeSession.wait_for_playback": lambda session: session.wait_for_playback(),
    "RealtimeSession.__aiter__": listen,
    "SessionResponse.__anext__": respond,
    "SessionResponse.next_event": next_events,
    "SessionResponse.result": result,
    "SessionResponse.transcript": transcript,
    "Subscription.receive": hear,
    "Subscription.aclose": close_feed,
    "Subscription.__aenter__": in_a_feed,
    "Subscription.__aexit__": in_a_feed,
}


@pytest.mark.parametrize("row", CALLS)
async def test_a_call_cancelled_at_any_point_leaves_a_session_that_works(autojump_clock, kit, row) -> None:
    async with kit.talk(settings={"turn_detection": None}, realtime_factor=1000, delta_ms=10_000) as talk:

        async def scenario(cancel_here) -> None:
            talk.passed.clear()
            async with talk.runner.session() as session:
                await session.ask("What is 1 plus 1?")
                with cancel_here(), trio.move_on_after(1):
                    await CALLS[row](session)
                await trio.testing.wait_all_tasks_blocked()
                assert (await session.ask("What is 2 plus 2?")).text == "2 plus 2 is 4."
                await trio.testing.wait_all_tasks_blocked()
                assert session.statistics().questions_open == 0
                assert len(session.statistics().subscriptions) == 1
                said = Counter(entry.event["type"] for _session, entry in talk.passed if entry.direction == "client")
                if row == "RealtimeSession.send_audio":
                    assert said["input_audio_buffer.append"] == said["input_audio_buffer.commit"]
                if row == "RealtimeSession.send_message":
                    assert said["conversation.item.create"] == said["response.create"]
                # All that a server refuses here: an empty commit, and a cancel that crossed the end of its response.
                refused = {event["error"]["code"] for event in talk.of("error")}
                assert refused <= {"input_audio_buffer_commit_empty", "response_cancel_not_active"}
                started = {event["response"]["id"] for event in talk.of("response.created")}
                assert {event["response"]["id"] for event in talk.of("response.done")} == started
            assert session.outcome.code == 1000

        assert await cancel_at_each_checkpoint(scenario) >= (0 if "__a" in row else 1)
        await trio.testing.wait_all_tasks_blocked()
        assert talk.emulator.statistics().sessions_open == 0


async def scoped(talk: Any) -> None:
    async with talk.runner.session() as session:
        await session.send_message("Hello")


async def entered(talk: Any) -> None:
    async with await talk.runner.run() as session:
        await trio.lowlevel.checkpoint()
    assert session.outcome.code == 1000


async def only_built(talk: Any) -> None:
    await talk.runner.run()


async def closed(talk: Any) -> None:
    async with talk.runner.session() as session:
        try:
            await session.close()
        finally:
            with trio.CancelScope(shield=True):
                assert (await session.wait_closed()).code == 1000


async def refused_to_enter(talk: Any) -> None:
    with pytest.raises(RuntimeError):
        await (await talk.runner.run()).enter()


async def served(talk: Any) -> None:
    async with trio.open_nursery() as nursery:
        session = await nursery.start(serve_realtime_session, talk.runner)
        await session.send_message("Hello")
        await session.close()


async def with_a_tool(talk: Any) -> None:
    async with talk.runner.session() as session:
        await session.ask("What is the weather?")


async def with_an_mcp_server(talk: Any) -> None:
    program = pytest.importorskip("mcp.server.mcpserver").MCPServer("desk")
    program.add_tool(with_a_tool, name="idle")

    class Desk(MCPServer):
        def described(self) -> str:
            return "desk"

        def streams(self, *, grace_s: float) -> Any:
            return program

    desk = Desk()
    try:
        async with (
            desk,
            RealtimeRunner(RealtimeAgent(name="A", mcp_servers=[desk]), model=talk.emulator.memory_model()).session(),
        ):
            await trio.lowlevel.checkpoint()
    finally:
        assert desk.shared is None


def on_a_call(act: Callable[[RealtimeRestClient, str], Awaitable[object]]) -> Callable[[Any], Awaitable[object]]:
    """Do something about a phone call of the emulator's, which ends with the scope."""

    async def taken(headers: Mapping[str, str], body: bytes) -> int:
        return 200

    async def live(talk: Any) -> None:
        httpx = pytest.importorskip("httpx")
        async with (
            httpx.AsyncClient(transport=talk.emulator.http_transport()) as http,
            talk.emulator.ring(taken, secret="s") as call,
            RealtimeRestClient(api_key="any", base_url="http://localhost/v1", http_client=http) as rest,
        ):
            await act(rest, call.call_id)

    return live


async def accept(rest: RealtimeRestClient, call_id: str) -> None:
    await rest.accept_call(call_id, RealtimeAgent(name="Desk"))


async def refer(rest: RealtimeRestClient, call_id: str) -> None:
    await accept(rest, call_id)
    await rest.refer_call(call_id, "tel:+14155550123")


LIVES: dict[str, Callable[[Any], Awaitable[object]]] = {
    "RealtimeRestClient.__aenter__": on_a_call(accept),
    "RealtimeRestClient.__aexit__": on_a_call(accept),
    "RealtimeRestClient.accept_call": on_a_call(accept),
    "RealtimeRestClient.reject_call": on_a_call(lambda rest, call_id: rest.reject_call(call_id)),
    "RealtimeRestClient.refer_call": on_a_call(refer),
    "RealtimeRestClient.hang_up_call": on_a_call(lambda rest, call_id: rest.hang_up_call(call_id)),
    "RealtimeRestClient.create_client_secret": on_a_call(lambda rest, _call_id: rest.create_client_secret()),
    "RealtimeRunner.run": only_built,
    "RealtimeRunner.session": scoped,
    "serve_realtime_session": served,
    "RealtimeSession.__aenter__": entered,
    "RealtimeSession.__aexit__": entered,
    "RealtimeSession.enter": refused_to_enter,
    "RealtimeSession.close": closed,
    "MCPServer.__aenter__": with_an_mcp_server,
    "MCPServer.__aexit__": with_an_mcp_server,
    "a tool of yours": with_a_tool,
}


@pytest.mark.parametrize("row", LIVES)
async def test_a_session_cancelled_at_any_point_of_its_life_leaves_nothing(autojump_clock, kit, row) -> None:
    running: list[str] = []

    @function_tool
    async def get_weather() -> str:
        """The weather."""
        running.append("tool")
        try:
            await trio.sleep(1)
        finally:
            running.pop()
        return "sunny"

    async with kit.talk(tools=[get_weather], realtime_factor=1000, delta_ms=10_000) as talk:

        async def scenario(cancel_here) -> None:
            nurseries = len(trio.lowlevel.current_task().child_nurseries)
            tasks = trio.lowlevel.current_statistics().tasks_living
            began = trio.current_time()
            with cancel_here():
                await LIVES[row](talk)
            assert running == []
            assert trio.current_time() - began <= 20
            assert len(trio.lowlevel.current_task().child_nurseries) == nurseries
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living == tasks
            assert talk.emulator.statistics().sessions_open == 0

        assert await cancel_at_each_checkpoint(scenario) >= 1


def test_every_row_of_the_page_is_driven() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("| Await | If cancelled |")[2].partition("\n\n")[0]
    rows = [re.split(r"\s*\|\s*", line)[1].strip("`") for line in table.strip().splitlines()[1:]]
    assert set(rows) == set(CALLS) | set(LIVES)
