"""What a tool may ask for, kept by a session: its time, its turn, its end, its texts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing

from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import ToolFailed, ToolTimedOut
from trealtime.tools.context import RunContext, ToolContext
from trealtime.tools.function_tool import FunctionTool, function_tool
from trealtime.tools.invocation import ToolErrorFormatterArgs
from trealtime.transport.config import TransportConfig
from trealtime.transport.websocket import accept_websocket_stream, wrap_websocket_stream
from trealtime.transport.wire import WireClosed


async def call(connection: Any, *names: str, arguments: str = "{}", id: str = "resp_1", says: str = "") -> None:
    """One response that calls each of `names`, under call_0, call_1, ..."""
    await connection.begin(id=id)
    if says:
        await connection.begin_item(id=id)
        await connection.audio(0.2, id=id)
    for index, name in enumerate(names):
        await connection.call(name, arguments, id=id, call_id=f"call_{index}")
    await connection.done(id=id)


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


# ---- enabled --------------------------------------------------------------------------------------------------------


async def test_a_disabled_tool_is_not_offered_and_is_unknown_when_it_is_called(
    autojump_clock, service, make_runner
) -> None:
    @function_tool
    async def there() -> str:
        return "here"

    @function_tool(is_enabled=lambda context, agent: context.context == "admin" and agent.name == "Assistant")
    async def admin_only() -> str:
        return "secret"

    runner = make_runner(tools=[there, admin_only])
    async with runner.session(context="guest") as session, session.subscribe("error", "tool_start") as subscription:
        assert [tool["name"] for tool in session.settings["tools"]] == ["there"]
        await call(service.last, "admin_only")
        event = await subscription.receive()
        assert isinstance(event.error, ToolFailed)
        await service.last.expect("response.create")
        assert service.last.outputs == {"call_0": "There is no tool 'admin_only'. Tools: there."}
    async with runner.session(context="admin") as session:
        assert [tool["name"] for tool in session.settings["tools"]] == ["there", "admin_only"]


async def test_b175_whether_a_tool_is_enabled_is_asked_again_when_it_is_called(
    autojump_clock, service, make_runner
) -> None:
    async def enabled(context: RunContext[Any], agent: Any) -> bool:
        await trio.sleep(1)
        return bool(context.context["on"])

    @function_tool(is_enabled=enabled)
    async def switched() -> str:
        return "ran"

    context = {"on": True}
    async with make_runner(tools=[switched]).session(context=context) as session:
        assert len(session.settings["tools"]) == 1
        context["on"] = False
        await call(service.last, "switched")
        await service.last.expect("response.create")
        assert service.last.outputs == {"call_0": "There is no tool 'switched'. Tools: none."}


async def test_asking_whether_a_tool_is_enabled_may_fail(autojump_clock, service, make_runner) -> None:
    answers = [True]

    @function_tool(is_enabled=lambda context, agent: answers.pop())
    async def flaky() -> str:
        return "ran"

    async with make_runner(tools=[flaky]).session() as session, session.subscribe("error") as subscription:
        await call(service.last, "flaky")
        assert isinstance((await subscription.receive()).error.__cause__, IndexError)
        await service.last.expect("response.create")
        assert service.last.outputs == {"call_0": "The tool flaky failed."}


async def test_tools_of_one_response_and_of_an_update_are_asked_too(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def here() -> str:
        return "ran"

    gone = function_tool(here.on_invoke_tool.function, name_override="gone", is_enabled=False)
    async with make_runner().session() as session:
        await session.update_settings({"tools": [here, gone]})
        assert [tool["name"] for tool in session.settings["tools"]] == ["here"]
        await session.create_response(tools=[gone, here])
        request = await service.last.expect("response.create")
        assert [tool["name"] for tool in request["response"]["tools"]] == ["here"]


async def test_a_tool_of_one_response_is_run(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def once() -> str:
        return "ran"

    async with make_runner().session() as session:
        await session.create_response(tools=[once])
        await service.last.begin(await service.last.expect("response.create"))
        await service.last.call("once", "{}")
        await service.last.done()
        await service.last.expect("response.create", count=2)
        assert service.last.outputs == {"call_1": "ran"}


# ---- time and turns -------------------------------------------------------------------------------------------------


async def test_the_time_of_a_call_begins_with_its_turn(autojump_clock, service, make_runner) -> None:
    @function_tool(timeout=3, max_concurrency=1)
    async def work() -> str:
        await trio.sleep(2)
        return "done"

    async with make_runner(tools=[work]).session():
        await call(service.last, "work", "work", "work")
        began = trio.current_time()
        await service.last.expect("response.create")
        assert trio.current_time() - began == pytest.approx(6)
        assert set(service.last.outputs.values()) == {"done"}


async def test_a_call_that_takes_too_long_is_answered_and_the_app_is_told(autojump_clock, service, make_runner) -> None:
    @function_tool(timeout=2)
    async def slow() -> None:
        await trio.sleep_forever()

    async with make_runner(tools=[slow]).session() as session, session.subscribe("error", "tool_end") as subscription:
        await call(service.last, "slow")
        error, end = await subscription.receive(), await subscription.receive()
        assert isinstance(error.error.__cause__, ToolTimedOut)
        assert (end.failure, end.output) == ("timed_out", "Tool 'slow' timed out after 2 seconds.")
        await service.last.expect("response.create")


async def test_a_tool_at_its_own_limit_does_not_hold_up_others(autojump_clock, service, make_runner) -> None:
    running = {"narrow": 0, "wide": 0}
    most = dict(running)

    def tool(name: str, **options: Any) -> FunctionTool:
        async def work() -> str:
            running[name] += 1
            most[name] = max(most[name], running[name])
            await trio.sleep(1)
            running[name] -= 1
            return name

        return function_tool(work, name_override=name, **options)

    tools = [tool("narrow", max_concurrency=2), tool("wide")]
    async with make_runner(tools=tools, tool_concurrency=4).session():
        began = trio.current_time()
        await call(service.last, *["narrow"] * 6, *["wide"] * 2)
        await service.last.expect("response.create")
        assert trio.current_time() - began == pytest.approx(3)
        assert most == {"narrow": 2, "wide": 2}


async def test_the_limit_of_a_tool_is_each_sessions_own(autojump_clock, service, make_runner) -> None:
    @function_tool(max_concurrency=1)
    async def work() -> str:
        await trio.sleep(1)
        return "done"

    runner = make_runner(tools=[work])
    async with runner.session(), runner.session():
        began = trio.current_time()
        for connection in service.connections:
            await call(connection, "work")
        for connection in service.connections:
            await connection.expect("response.create")
        assert trio.current_time() - began == pytest.approx(1)


async def test_calls_in_order_run_one_after_another_as_the_model_made_them(
    autojump_clock, service, make_runner
) -> None:
    ran = []

    @function_tool
    async def work(number: int) -> int:
        ran.append(number)
        await trio.sleep(1)
        return number

    async with make_runner(tools=[work], async_tool_calls=False).session() as session:
        await service.last.begin()
        for number in range(8):
            await service.last.call("work", f'{{"number": {number}}}', call_id=f"call_{number}")
        await service.last.done()
        await session.update_settings({"instructions": "the reader still reads"})
        assert len(ran) == 1
        await service.last.expect("response.create")
        assert ran == list(range(8))
        assert list(service.last.outputs.values()) == list(map(str, range(8)))


# ---- nothing waits for a tool ---------------------------------------------------------------------------------------


async def test_a_tool_that_sleeps_delays_neither_audio_nor_barge_in_nor_close(
    autojump_clock, service, make_runner
) -> None:
    @function_tool
    async def slow() -> str:
        await trio.sleep(30)
        return "late"

    kinds = ("audio", "audio_interrupted", "tool_start", "tool_end")
    async with make_runner(tools=[slow]).session() as session, session.subscribe(*kinds) as subscription:
        began = trio.current_time()
        await call(service.last, "slow")
        assert (await subscription.receive()).type == "tool_start"
        await service.last.begin(id="resp_2")
        await service.last.begin_item(id="resp_2")
        await service.last.audio(0.2, id="resp_2")
        assert (await subscription.receive()).type == "audio"
        await service.last.send({"type": "input_audio_buffer.speech_started", "item_id": "item_u", "audio_start_ms": 0})
        assert (await subscription.receive()).type == "audio_interrupted"
        await service.last.expect("conversation.item.truncate")
        await session.close()
        assert trio.current_time() == began


# ---- what the app sees ----------------------------------------------------------------------------------------------


async def test_progress_comes_as_events_between_start_and_end(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def search(query: str):
        yield f"looking for {query}"
        await trio.sleep(1)
        yield {"found": 3}

    kinds = ("tool_start", "tool_progress", "tool_end")
    async with make_runner(tools=[search]).session() as session, session.subscribe(*kinds) as subscription:
        await call(service.last, "search", arguments='{"query": "tea"}')
        events = [await subscription.receive() for _ in range(4)]
        assert [event.type for event in events] == ["tool_start", "tool_progress", "tool_progress", "tool_end"]
        assert [event.note for event in events[1:3]] == ["looking for tea", {"found": 3}]
        assert (events[1].tool, events[1].call_id) == (search, "call_0")
        assert events[3].output == {"found": 3}
        await service.last.expect("response.create")
        assert service.last.outputs == {"call_0": '{"found":3}'}


async def test_a_formatter_of_the_run_makes_every_text_of_a_failure(autojump_clock, service, make_runner) -> None:
    seen: list[ToolErrorFormatterArgs] = []

    async def formatter(args: ToolErrorFormatterArgs) -> str:
        await trio.lowlevel.checkpoint()
        seen.append(args)
        return f"<{args.kind}>"

    @function_tool
    async def fails(number: int) -> None:
        raise ValueError("no")

    @function_tool(timeout=1)
    async def slow(number: int) -> None:
        await trio.sleep_forever()

    @function_tool(on_interrupt="cancel")
    async def search(number: int) -> None:
        await trio.sleep_forever()

    runner = make_runner(tools=[fails, slow, search], tool_error_formatter=formatter)
    async with runner.session(context="mine") as session:
        await call(service.last, "fails", "slow", "missing", "search", arguments='{"number": 1}')
        await service.last.begin(id="resp_2")
        await service.last.call("fails", "{", id="resp_2", call_id="call_9")
        await trio.sleep(2)
        await session.interrupt()
        await service.last.expect("conversation.item.create", count=5)
        assert service.last.outputs == {
            "call_0": "<failed>",
            "call_1": "<timed_out>",
            "call_2": "<unknown_tool>",
            "call_3": "<cancelled>",
            "call_9": "<invalid_arguments>",
        }
        args = next(each for each in seen if each.kind == "unknown_tool")
        assert (args.tool_name, args.call_id, args.run_context.context) == ("missing", "call_2", "mine")
        assert args.default_message == "There is no tool 'missing'. Tools: fails, slow, search."


async def test_an_answer_follows_as_run_config_and_tool_say(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def note() -> None: ...

    @function_tool
    async def look() -> str:
        return "42"

    @function_tool(after_tool="never")
    async def fire_and_forget() -> str:
        return "sent"

    async with make_runner(tools=[note, look, fire_and_forget]).session():
        await call(service.last, "note", says="I wrote it down.", id="resp_1")
        await service.last.expect("conversation.item.create")
        await service.last.begin(id="resp_2")
        await service.last.call("fire_and_forget", "{}", id="resp_2", call_id="call_b")
        await service.last.done(id="resp_2")
        await service.last.expect("conversation.item.create", count=2)
        await settled()
        assert not service.last.of("response.create")
        await service.last.begin(id="resp_3")
        await service.last.call("look", "{}", id="resp_3", call_id="call_c")
        await service.last.done(id="resp_3")
        await service.last.expect("response.create")


async def test_an_output_that_is_too_long_is_cut_for_the_model_and_whole_for_the_app(
    autojump_clock, service, make_runner
) -> None:
    @function_tool(max_output_bytes=10)
    async def long() -> str:
        return "x" * 100

    async with make_runner(tools=[long]).session() as session, session.subscribe("tool_end") as subscription:
        await call(service.last, "long")
        assert (await subscription.receive()).output == "x" * 100
        await service.last.expect("response.create")
        assert service.last.outputs["call_0"].startswith("x" * 10 + "\n[The result was cut here")


async def test_an_app_may_run_a_tool_by_itself(autojump_clock, service, make_runner) -> None:
    declared = {"type": "function", "name": "mine", "parameters": {"type": "object"}}
    async with make_runner(model_settings={"tools": [declared]}).session() as session:
        await call(service.last, "mine")
        await settled()
        assert not service.last.of("conversation.item.create")
        calls = [item for item in session.history if item.type == "function_call"]
        await session.create_item({"type": "function_call_output", "call_id": calls[0].call_id, "output": "42"})
        await session.create_response()
        await service.last.expect("response.create")
        assert service.last.outputs == {"call_0": "42"}


async def test_a_tool_may_ask_the_session_something(autojump_clock, service, make_runner) -> None:
    """A tool that waits for the server must not wait for itself."""

    @function_tool
    async def consult(context: ToolContext[dict[str, Any]]) -> str:
        turn = await context.context["session"].ask("Is that polite?", out_of_band=True)
        return turn.text

    box: dict[str, Any] = {}
    async with make_runner(tools=[consult]).session(context=box) as session:
        box["session"] = session
        await call(service.last, "consult")
        await service.last.reply("Very.", id="resp_2")
        await service.last.expect("response.create", count=2)
        assert service.last.outputs == {"call_0": "Very."}


class FramedService:
    """A `RealtimeModel` over real WebSocket frames. Both sides ping each second and want the pong within half of one;
    the server calls the tool ``slow`` and waits for the request to go on."""

    def __init__(self) -> None:
        self.answered = trio.Event()

    @asynccontextmanager
    async def connect(self, target: Any) -> AsyncIterator[Any]:
        client_end, server_end = trio.testing.memory_stream_pair()
        strict = TransportConfig(ping_interval=1, ping_timeout=0.5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve, server_end, strict)
            async with wrap_websocket_stream(client_end, config=strict) as wire:
                yield wire
            nursery.cancel_scope.cancel()

    async def _serve(self, stream: Any, config: TransportConfig) -> None:
        item = {"id": "i", "type": "function_call", "name": "slow", "call_id": "c", "arguments": "{}"}
        response = {"id": "r", "status": "completed", "output": []}
        async with accept_websocket_stream(stream, config=config) as upgrade:
            wire = await upgrade.accept()
            with suppress(WireClosed):
                await wire.send(json.dumps({"type": "session.created", "session": {}}))
                while (event := json.loads(await wire.receive()))["type"] != "response.create":
                    if event["type"] == "session.update":
                        for answer in (
                            {"type": "session.updated", "session": event["session"]},
                            {"type": "response.created", "response": response},
                            {"type": "response.output_item.done", "response_id": "r", "output_index": 0, "item": item},
                            {"type": "response.done", "response": response},
                        ):
                            await wire.send(json.dumps(answer))
                self.answered.set()
                await wire.receive()


async def test_a_tool_that_sleeps_delays_no_pong(autojump_clock) -> None:
    @function_tool
    async def slow() -> str:
        await trio.sleep(30)
        return "late"

    service = FramedService()
    runner = RealtimeRunner(RealtimeAgent(name="A", tools=[slow]), model=service)
    began = trio.current_time()
    async with runner.session() as session:
        await service.answered.wait()
        assert trio.current_time() - began == pytest.approx(30)
        assert session.outcome is None
