"""Histories that come from elsewhere, sessions that move to another process, and calls that get long."""

from __future__ import annotations

import json
import random

import pytest
import trio
import trio.testing

from trealtime import RealtimeAgent, RealtimeRunner, ServerRefused, SettingsError, function_tool, realtime_handoff
from trealtime.items import (
    AssistantAudio,
    AssistantMessageItem,
    InputText,
    RealtimeToolCallItem,
    SystemMessageItem,
    UserMessageItem,
    dump_history,
)

from .test_reconnect import said, told, wait_for

HISTORY = [
    SystemMessageItem(item_id="item_s", content=(InputText("Be kind."),), status="completed"),
    UserMessageItem(item_id="item_u", content=(InputText("What is the weather?"),), status="completed"),
    RealtimeToolCallItem(
        item_id="item_c", call_id="call_1", name="look", arguments="{}", output="rain", status="completed"
    ),
    RealtimeToolCallItem(item_id="item_o", call_id="call_2", name="look", arguments="{}", status="in_progress"),
    AssistantMessageItem(
        item_id="item_a", content=(AssistantAudio(transcript="It rains, and", heard_ms=700),), status="incomplete"
    ),
]


# ---- history --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [list, dump_history])
async def test_a_history_is_told_before_the_first_turn(autojump_clock, service, runner, form) -> None:
    async with runner.session(history=form(HISTORY)) as session:
        assert [item.item_id for item in session.history] == [item.item_id for item in HISTORY]
        assert session.history[4] == HISTORY[4]
        assert session.history[2].output == "rain"
        first = await anext(aiter(session))
        assert [item.item_id for item in first.history] == [item.item_id for item in HISTORY]
        await session.send_message("And now?")
        await service.last.expect("response.create")
        types = [item["type"] for item in told(service.last)]
        assert types == ["message", "message", "function_call", "function_call_output", "message", "message"]
        assert said(service.last)[2] == ("assistant", "It rains, and")
        assert service.last.received[0]["type"] == "session.update"
        assert len(session.history) == 6
        assert session.history[-1].text == "And now?"


async def test_a_refused_item_of_a_history_is_told(autojump_clock, service, runner, nursery) -> None:
    service.answers = False

    async def serve() -> None:
        await service.connected.wait()
        update = await service.last.expect("session.update")
        create = await service.last.expect("conversation.item.create")
        await service.last.error(code="invalid_value", about=create, param="item.content")
        await service.last.answer(update)

    nursery.start_soon(serve)
    async with runner.session(history=HISTORY[:1]) as session:
        async for event in session:
            if event.type == "error":
                break
        assert event.error.code == "invalid_value"


@pytest.mark.parametrize(
    "history, problem",
    [
        ("{", "$"),
        ([HISTORY[0], HISTORY[0]], "[1].item_id"),
        (["hello"], "[0]"),
        (7, ""),
        ([UserMessageItem(item_id="")], "[0].item_id"),
    ],
)
async def test_what_is_no_history_is_refused(runner, service, history, problem) -> None:
    with pytest.raises(SettingsError) as caught:
        await runner.run(history=history)
    assert caught.value.problems[0].path == problem
    assert not service.connections


# ---- another process ------------------------------------------------------------------------------------------------


@function_tool(needs_approval=True)
async def pay() -> str:
    """Pay."""
    return "paid"


CLERK = RealtimeAgent(name="Clerk", instructions="You are the clerk.", tools=[pay])
FRONT = RealtimeAgent(name="Front", instructions="You are the front.", handoffs=[realtime_handoff(CLERK)])


async def test_a_call_moves_to_another_process(autojump_clock, service) -> None:
    config = {"prices": {"gpt-realtime-2": {"text_input": 4, "audio_output": 60}}}
    runner = RealtimeRunner(FRONT, model=service, config=config, rng=random.Random(1))
    async with runner.session() as session, trio.open_nursery() as nursery:
        await session.update_agent(CLERK)
        nursery.start_soon(service.last.reply, "Hello there.")
        await session.ask("Hello")
        await session.send_message("Pay.")
        await service.last.expect("response.create", count=2)
        await service.last.calls("pay", id="resp_2")
        await trio.testing.wait_all_tasks_blocked()
        await session.approve_tool_call(session.pending_approvals[0].call_id, always=True)
        await service.last.output("resp_2_call_1")
        await trio.testing.wait_all_tasks_blocked()
        saved, history, usage = session.export(), session.history, session.usage
        voice = session.settings["audio"]["output"]["voice"]

    async with runner.session(resume=saved) as session:
        await trio.testing.wait_all_tasks_blocked()
        assert session.current_agent is CLERK
        assert service.last.session["instructions"] == "You are the clerk."
        assert service.last.session["audio"]["output"]["voice"] == voice
        assert [item.item_id for item in session.history] == [item.item_id for item in history]
        assert said(service.last) == [("user", "Hello"), ("assistant", "Hello there."), ("user", "Pay.")]
        assert session.usage.total_tokens == usage.total_tokens == 30
        assert session.cost == usage.cost
        await session.send_message("Pay again.")
        await service.last.expect("response.create")
        await service.last.calls("pay", id="resp_3")
        assert await service.last.output("resp_3_call_1") == "paid", "approved for always, in the other process"
        assert session.export() != saved


async def test_what_cannot_be_resumed_is_refused_before_anything_starts(autojump_clock, service) -> None:
    runner = RealtimeRunner(FRONT, model=service)
    async with runner.session() as session:
        saved = json.loads(session.export())
    decision = {"kind": "function", "namespace": None, "name": "pay", "approve": True, "declaration": "d"}
    for text, problem in [
        (json.dumps(saved)[:-5], "$"),
        ("[]", "$"),
        (json.dumps({**saved, "trealtime_session": 2}), "trealtime_session"),
        (json.dumps({**saved, "agent": "Nobody"}), "agent"),
        (json.dumps({**saved, "agent": 7}), "agent"),
        (json.dumps({**saved, "usage": None}), "usage"),
        (json.dumps({**saved, "usage": {"input_tokens": "many"}}), "usage"),
        (json.dumps({**saved, "decisions": [{"kind": "magic"}]}), "decisions[0]"),
        *(
            (json.dumps({**saved, "decisions": [{**decision, key: value}]}), f"decisions[0].{key}")
            for key, value in [("namespace", {}), ("name", None), ("declaration", []), ("message", 5), ("approve", 1)]
        ),
        (json.dumps({**saved, "history": [{"type": "message", "role": "user", "content": 3}]}), "$[0]"),
    ]:
        with pytest.raises(SettingsError) as caught:
            await runner.run(resume=text)
        assert caught.value.problems[0].path.startswith(problem)
    with pytest.raises(SettingsError, match="beside `resume`"):
        await runner.run(resume=json.dumps(saved), history=HISTORY)
    assert len(service.connections) == 1


# ---- long calls -----------------------------------------------------------------------------------------------------


async def test_a_history_can_be_replaced(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session:
        ids = [await session.create_item(f"number {number}") for number in range(4)]
        kept = session.history[2:]
        await session.replace_history([HISTORY[0], *kept])
        assert [event["item_id"] for event in service.last.of("conversation.item.delete")] == ids[:2]
        create = service.last.of("conversation.item.create")[-1]
        assert (create["item"]["id"], create["previous_item_id"]) == ("item_s", "root")
        assert [item.item_id for item in session.history] == ["item_s", *ids[2:]]
        await session.create_item("next")
        assert [item.text for item in session.history] == ["Be kind.", "number 2", "number 3", "next"]
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        assert [text for _, text in said(service.last)] == ["Be kind.", "number 2", "number 3", "next"]


async def test_items_that_replace_a_history_follow_each_other_on_the_server_too(
    autojump_clock, service, make_runner
) -> None:
    async with make_runner().session() as session:
        (kept,) = [await session.create_item("kept")]
        await session.replace_history([*HISTORY[:2], session.history[0], HISTORY[4]])
        told = service.last.of("conversation.item.create")[1:]
        order = [(event["item"]["id"], event["previous_item_id"]) for event in told]
        assert order == [("item_s", "root"), ("item_u", "item_s"), ("item_a", kept)]
        assert [item.item_id for item in session.history] == ["item_s", "item_u", kept, "item_a"]


async def test_a_history_that_is_replaced_while_the_connection_is_away(autojump_clock, service, make_runner) -> None:
    async with make_runner(reconnect={}).session() as session:
        for number in range(3):
            await session.create_item(f"number {number}")
        service.last.wire.drop()
        await wait_for(session, "connection_lost") if not session._core.away else None
        await session.replace_history(session.history[2:])
        while session._core.recovering:
            await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(0.1)
        await trio.testing.wait_all_tasks_blocked()
        assert said(service.connections[1]) == [("user", "number 2")]


async def test_old_turns_become_a_summary(autojump_clock, service, runner) -> None:
    async with runner.session() as session:
        for number in range(6):
            await session.create_item(f"number {number}")
        assert await session.summarise(keep_items=10) is None

        async def count(items) -> str:
            return f"{len(items)} numbers"

        assert await session.summarise(count, keep_items=2) == "4 numbers"
        texts = [item.text for item in session.history]
        assert texts == ["Summary of the conversation so far: 4 numbers", "number 4", "number 5"]
        assert session.history[0].role == "system"
        assert len(service.last.of("conversation.item.delete")) == 4
        with pytest.raises(ValueError, match="keep_items"):
            await session.summarise(keep_items=-1)


async def test_the_model_makes_the_summary_where_nothing_else_does(autojump_clock, service, runner, nursery) -> None:
    async with runner.session() as session:
        for number in range(3):
            await session.create_item(f"number {number}")

        async def answer() -> None:
            request = await service.last.expect("response.create")
            assert request["response"]["conversation"] == "none"
            assert [each["content"][0]["text"] for each in request["response"]["input"][:2]] == ["number 0", "number 1"]
            await service.last.begin(request)
            await service.last.emit("response.output_text.delta", response_id="resp_1", item_id="item_x", delta="Two.")
            await service.last.done()

        nursery.start_soon(answer)
        assert await session.summarise(keep_items=1) == "Two."
        assert [item.text for item in session.history] == ["Summary of the conversation so far: Two.", "number 2"]


@pytest.mark.parametrize("status, reason", [("incomplete", "max_output_tokens"), ("failed", None)])
async def test_half_a_summary_replaces_nothing(autojump_clock, service, runner, nursery, status, reason) -> None:
    async with runner.session() as session:
        for number in range(3):
            await session.create_item(f"number {number}")

        async def answer() -> None:
            await service.last.begin(await service.last.expect("response.create"))
            await service.last.emit(
                "response.output_text.delta", response_id="resp_1", item_id="item_x", delta="The us"
            )
            await service.last.done(status=status, reason=reason)

        nursery.start_soon(answer)
        with pytest.raises(ServerRefused, match=f"the answer is {status}"):
            await session.summarise(keep_items=1)
        assert [item.text for item in session.history] == ["number 0", "number 1", "number 2"]
        assert not service.last.of("conversation.item.delete")


async def test_a_new_connection_is_told_a_summary_of_the_oldest_turns(autojump_clock, service, make_runner) -> None:
    def summarise(items) -> str:
        return f"{len(items)} numbers"

    runner = make_runner(reconnect={"max_history_items": 3, "summarise": summarise})
    async with runner.session() as session:
        for number in range(6):
            await session.create_item(f"number {number}")
        service.last.wire.drop()
        event = await wait_for(session, "reconnected")
        assert (event.items, event.items_left_out) == (4, 3)
        assert said(service.last) == [
            ("system", "Summary of the conversation so far: 3 numbers"),
            ("user", "number 3"),
            ("user", "number 4"),
            ("user", "number 5"),
        ]
        assert len(session.history) == 6


@pytest.mark.parametrize("fault", ["raises", "hangs", "no text"])
async def test_a_summary_that_fails_leaves_the_oldest_turns_out(autojump_clock, service, make_runner, fault) -> None:
    async def summarise(items):
        if fault == "raises":
            raise LookupError("no model")
        if fault == "hangs":
            await trio.sleep_forever()
        return 7

    runner = make_runner(reconnect={"max_history_items": 1, "summarise": summarise, "summarise_timeout_s": 3})
    async with runner.session() as session, session.subscribe("error") as errors:
        for number in range(3):
            await session.create_item(f"number {number}")
        service.last.wire.drop()
        await wait_for(session, "reconnected")
        kinds = {"raises": LookupError, "hangs": TimeoutError, "no text": TypeError}
        assert isinstance((await errors.receive()).error, kinds[fault])
        assert said(service.last) == [("user", "number 2")]
        assert session.statistics().failures.connections == 1
