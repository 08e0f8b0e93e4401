"""The server that a test plays by hand: what it answers by itself, what it is told to send, what it has received."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trealtime import (
    ConnectFailed,
    ConnectionLost,
    RealtimeAgent,
    RealtimeRunner,
    function_tool,
)
from trealtime.errors import ServerRefused, SessionClosed
from trealtime.testing import (
    ManualServer,
    ServerConnection,
    a_function_call,
    a_response,
    called,
    open_manual_server,
    said,
    the_end_of_the_response,
)
from trealtime.transport import WireClosed
from trealtime.transport.models import ConnectionTarget


def runner_of(server: ManualServer[Any], **config: Any) -> RealtimeRunner[None]:
    agent: RealtimeAgent[None] = RealtimeAgent(name="Assistant", instructions="Be brief.")
    return RealtimeRunner(agent, model=server, config=config)  # type: ignore[arg-type]


async def test_it_answers_what_every_server_answers_and_leaves_the_rest(autojump_clock: MockClock) -> None:
    async with open_manual_server() as server, runner_of(server).session() as session:
        await session.send_message("Hello")
        item = (await server.last.wait_received("conversation.item.create"))["item"]
        await server.last.wait_received("response.create")
        await trio.sleep(1)
        assert [each.item_id for each in session.history] == [item["id"]]
        assert session.history[0].status == "completed"
        assert server.last.session["instructions"] == "Be brief."
        assert not server.last.received_of("response.cancel")
        assert [event["type"] for event in server.last.received_of("session.update", "response.create")] == [
            "session.update",
            "response.create",
        ]


async def test_acts_answer_the_requests_in_order(autojump_clock: MockClock) -> None:
    @function_tool
    async def weather(city: str) -> str:
        """The weather in a city."""
        return f"rain in {city}"

    agent = RealtimeAgent(name="Assistant", tools=[weather])
    async with open_manual_server() as server, trio.open_nursery() as nursery:
        async with RealtimeRunner(agent, model=server).session() as session:

            async def serve() -> None:
                await server.last.wait_received("response.create")
                await server.last.play(a_function_call("weather", {"city": "Oslo"}))
                await server.last.wait_received("response.create", count=2)
                await server.last.play(a_response("It rains."))

            nursery.start_soon(serve)
            assert (await session.ask("How is it in Oslo?")).text == "It rains."
        called(session, "weather", city="Oslo")
        said(session, "It rains")


async def test_single_events_are_completed_and_valid_and_belong_to_the_newest(
    autojump_clock: MockClock, schema: ModuleType
) -> None:
    async with open_manual_server() as server, runner_of(server).session() as session, trio.open_nursery() as nursery:

        async def serve() -> None:
            request = await server.last.wait_received("response.create")
            sent.append(await server.last.begin_response(request))
            for kind in ("response.output_item.added", "response.output_audio_transcript.delta"):
                sent.append(await server.last.emit(kind))
            sent.append(await server.last.emit("response.done"))

        sent: list[dict[str, Any]] = []
        nursery.start_soon(serve)
        turn = await session.ask("Hi", metadata={"why": "test"})
        assert turn.text == "Hello."
        created, added, delta, done = sent
        assert created["response"]["metadata"].items() >= {"why": "test"}.items()
        assert created["response"]["conversation_id"] == "conv_1"
        assert created["response"]["id"] == added["response_id"] == delta["response_id"] == done["response"]["id"]
        assert delta["item_id"] == added["item"]["id"]
        assert len({event["event_id"] for event in sent}) == 4
        for event in sent:
            assert schema.validate("server", event) == []
        with pytest.raises(ValueError, match="a server sends no"):
            await server.last.emit("response.begun")


async def test_an_event_about_another_response_has_nothing_of_the_newest(autojump_clock: MockClock) -> None:
    async with open_manual_server() as server, runner_of(server).session():
        first = await server.last.begin_response()
        request = {"type": "response.create", "response": {"conversation": "none", "metadata": {"a": "b"}}}
        second = await server.last.begin_response(request, response_id="resp_x")
        assert second["response"]["id"] == "resp_x"
        assert second["response"]["conversation_id"] is None
        done = await server.last.emit("response.done", response={"id": first["response"]["id"]})
        assert done["response"]["metadata"] is None
        assert done["response"]["conversation_id"] == "conv_1"


async def test_what_the_test_sends_is_part_of_the_conversation(autojump_clock: MockClock) -> None:
    async with open_manual_server() as server, runner_of(server).session() as session:
        await server.last.emit("conversation.item.added", item={"id": "item_a", "role": "user"})
        note = await session.create_item("note")
        assert [item.item_id for item in session.history] == ["item_a", note]
        await session.delete_item("item_a")
        with pytest.raises(ServerRefused, match="item_a"):
            await session.delete_item("item_a")
        assert [item.item_id for item in session.history] == [note]


async def test_answers_can_be_held_back_and_given_later(autojump_clock: MockClock) -> None:
    async with open_manual_server() as server, runner_of(server).session() as session:
        server.last.answers = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.update_settings, {"instructions": "Be quick."})
            update = await server.last.wait_received("session.update", count=2)
            await trio.sleep(1)
            assert server.last.session["instructions"] == "Be brief."
            await server.last.answer(update)
        assert server.last.session["instructions"] == "Be quick."


async def test_a_response_that_is_asked_for_by_hand_is_answered_once(autojump_clock: MockClock) -> None:
    async with open_manual_server() as server, runner_of(server).session() as session, trio.open_nursery() as nursery:

        async def serve() -> None:
            await server.last.answer(await server.last.wait_received("response.create"))
            await server.last.play(a_response("One.", finish=False))
            await server.last.play(the_end_of_the_response())
            await server.last.wait_received("response.create", count=2)
            await server.last.play(a_response("Two."))

        nursery.start_soon(serve)
        assert (await session.ask("1?")).text == "One."
        assert (await session.ask("2?")).text == "Two."
        assert [item.role for item in session.history] == ["user", "assistant"] * 2


@pytest.mark.parametrize("wrong", [{"response": None}, {"item": "x"}, {"item": {}}, {"response": {"status": 1}}])
async def test_a_wrong_event_is_sent_as_it_is(autojump_clock: MockClock, wrong: dict[str, Any]) -> None:
    async with open_manual_server() as server, server.connect(ConnectionTarget()) as wire:
        assert json.loads(await wire.receive())["type"] == "session.created"
        await server.last.send({"type": "response.created", "event_id": "event_1", **wrong})
        assert json.loads(await wire.receive()) == {"type": "response.created", "event_id": "event_1", **wrong}
        await server.last.emit("response.output_text.delta")
        assert json.loads(await wire.receive())["response_id"].startswith("resp_")


@pytest.mark.parametrize("code", [1000, 1011, 4000])
async def test_the_connection_ends_with_a_code_and_each_side_knows(autojump_clock: MockClock, code: int) -> None:
    async with open_manual_server() as server:
        async with runner_of(server).session() as session:
            await server.last.wire.aclose(code, "bye")
            closed = await server.last.wait_closed()
            with pytest.raises(SessionClosed, match="bye") if code == 1000 else pytest.raises(ConnectionLost):
                await session.ask("Late")
            assert (session.outcome.closed_by, session.outcome.code) == ("server", code)
            await session.close()
        assert (closed.code, closed.reason, closed.closed_by) == (code, "bye", "server")
        with pytest.raises(WireClosed):
            await server.last.emit("rate_limits.updated")
        assert server.left == 1


async def test_the_end_by_the_client_is_known_too(autojump_clock: MockClock) -> None:
    async with open_manual_server() as server:
        async with runner_of(server).session():
            assert server.last.closed is None
        assert ((await server.last.wait_closed()).code, server.last.wire.side) == (1000, "server")
        assert server.last.closed is not None
        assert server.last.closed.closed_by == "client"


async def test_a_server_that_stops_reading_blocks_the_client(autojump_clock: MockClock) -> None:
    async with open_manual_server() as server:
        server.capacity = 2
        async with server.connect(ConnectionTarget()) as wire:
            await trio.testing.wait_all_tasks_blocked()
            server.last.stop_reading()
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(2):
                await wire.send('{"type": "response.create"}')
            with trio.move_on_after(1) as blocked:
                await wire.send('{"type": "response.create"}')
            assert blocked.cancelled_caught
            assert server.last.received == []


async def test_a_server_that_says_nothing_fails_the_entry(autojump_clock: MockClock) -> None:
    async with open_manual_server() as server:
        server.greet = lambda connection: None
        server.answers = False
        with pytest.raises(ConnectFailed):
            async with runner_of(server).session():
                pytest.fail("the body must not run")
        assert server.last.received_of("response.create") == []
        assert server.left == len(server.connections) == 1


async def test_a_suite_can_have_words_of_its_own(autojump_clock: MockClock) -> None:
    class Clinic(ServerConnection):
        async def greets(self) -> None:
            await self.play(a_response("The clinic, good morning."))

    async with open_manual_server(Clinic) as server, runner_of(server).session() as session:
        await server.connected.wait()
        async with session.subscribe("agent_end") as ends:
            await server.last.greets()
            await ends.receive()
        said(session, "good morning")
