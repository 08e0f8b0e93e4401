"""Handoffs: what the model is offered, and one agent that takes over from another."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import Handoff, realtime_handoff
from trealtime.errors import RequestTimedOut, SettingsError, SettingsRefused, ToolFailed
from trealtime.tools.context import RunContext
from trealtime.tools.function_tool import function_tool


@function_tool
async def look() -> str:
    """Look."""
    return "seen"


@function_tool
async def pay() -> str:
    """Pay."""
    return "paid"


def agents(**options: Any) -> tuple[RealtimeAgent[Any], RealtimeAgent[Any]]:
    """(Triage, Billing); `options` are those of the handoff."""
    billing = RealtimeAgent("Billing", instructions="You bill.", tools=[pay], handoff_description="Bills and refunds.")
    handoff = realtime_handoff(billing, **options) if options else billing
    return RealtimeAgent("Triage", instructions="You ask.", tools=[look], handoffs=[handoff]), billing


def names_of(session: dict[str, Any]) -> list[str]:
    return [tool["name"] for tool in session["tools"]]


# ---- what the model is offered --------------------------------------------------------------------------------------


async def test_b219_an_agent_is_a_handoff_and_a_handoff_is_itself(autojump_clock, service, run) -> None:
    billing = RealtimeAgent("Billing Desk", handoff_description="Bills.")
    own = realtime_handoff(RealtimeAgent("Sales"), tool_name_override="sell", tool_description_override="Sell.")
    async with run(RealtimeAgent("Triage", tools=[look], handoffs=[billing, own])).session():
        look_, transfer, sell = service.last.updates[0]["tools"]
    assert look_["name"] == "look"
    assert transfer == {
        "type": "function",
        "name": "transfer_to_billing_desk",
        "description": "Hand the conversation over to Billing Desk. Bills.",
        "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
    }
    assert (sell["name"], sell["description"]) == ("sell", "Sell.")


@pytest.mark.parametrize(
    "tools, handoffs",
    [
        ([], [RealtimeAgent("A b"), RealtimeAgent("A_B")]),
        ([attrs.evolve(look, name="transfer_to_a")], [RealtimeAgent("A")]),
    ],
    ids=["handoffs", "tool-and-handoff"],
)
async def test_b040_one_name_for_two_is_refused_before_anything_is_sent(service, run, tools, handoffs) -> None:
    """A `SettingsError`."""
    with pytest.raises(SettingsError, match=r"handoffs\[\d\].name.*a name of its own, (tools|handoffs)\[0\] has this"):
        async with run(RealtimeAgent("Triage", tools=tools, handoffs=handoffs)).session():
            pass
    assert not service.connections


async def test_b040_names_of_the_disabled_do_not_count(autojump_clock, service, run) -> None:
    twice = [realtime_handoff(RealtimeAgent(name), tool_name_override="go", is_enabled=name == "A") for name in "AB"]
    async with run(RealtimeAgent("Triage", handoffs=twice)).session():
        assert names_of(service.last.updates[0]) == ["go"]


async def test_b042_is_enabled_is_asked_of_all_at_once_and_one_failure_ends_the_others(service, run) -> None:
    """The failure comes out bare."""
    ended: list[str] = []

    async def slow(context: RunContext[Any], agent: RealtimeAgent[Any]) -> bool:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(agent.name)
        return True

    def broken(context: RunContext[Any], agent: RealtimeAgent[Any]) -> bool:
        raise ValueError("no database")

    rules = {"A": slow, "B": broken}
    handoffs = [realtime_handoff(RealtimeAgent(name), is_enabled=rule) for name, rule in rules.items()]
    with pytest.raises(ValueError, match="no database"):
        async with run(RealtimeAgent("Triage", handoffs=handoffs)).session():
            pass
    assert ended == ["Triage"]
    assert not service.connections


@pytest.mark.parametrize("kind", ["bool", "sync", "async"])
async def test_b226_a_disabled_handoff_is_neither_offered_nor_made(autojump_clock, service, run, kind: str) -> None:

    async def never(context: RunContext[Any], agent: RealtimeAgent[Any]) -> bool:
        return bool(context.context)

    rules = {"bool": False, "sync": lambda context, agent: bool(context.context), "async": never}
    triage, _ = agents(is_enabled=rules[kind])
    async with run(triage).session() as session:
        assert names_of(service.last.updates[0]) == ["look"]
        await service.last.calls("transfer_to_billing")
        assert "no tool 'transfer_to_billing'" in await service.last.output()
        assert session.current_agent is triage


async def test_b043_handoffs_of_the_model_config_replace_those_of_the_agent(autojump_clock, service, run) -> None:
    """Filtered by `is_enabled`."""
    triage, _ = agents()
    instead = [RealtimeAgent("Sales"), realtime_handoff(RealtimeAgent("Nobody"), is_enabled=False)]
    settings = {"initial_model_settings": {"handoffs": instead, "tools": []}}
    async with run(triage).session(model_config=settings):
        assert names_of(service.last.updates[0]) == ["transfer_to_sales"]


# ---- a handoff ------------------------------------------------------------------------------------------------------


async def test_b220_a_handoff_from_call_to_answer(autojump_clock, service, run) -> None:
    """Other: the agent changes, and the event comes, when the server has acknowledged it; only what differs is sent."""
    order: list[str] = []
    triage, billing = agents(on_handoff=lambda context: order.append(f"on_handoff {context.context}"))
    async with run(triage).session(context="ctx") as session, session.subscribe("handoff") as subscription:
        connection = service.last
        await connection.calls("transfer_to_billing")
        event = await subscription.receive()
        request = await connection.expect("response.create")
        assert (event.from_agent, event.to_agent) == (triage, billing)
        assert session.current_agent is billing
        update = connection.updates[1]
        assert update.keys() == {"type", "instructions", "tools"}
        assert update["instructions"] == "You bill."
        assert names_of(update) == ["pay"]
        assert json.loads(await connection.output()) == {"assistant": "Billing"}
        assert "instructions" not in request["response"]
        kinds = [event["type"] for event in connection.received[1:]]
        assert kinds == ["session.update", "conversation.item.create", "response.create"]
        await connection.reply(id="resp_2")
    assert order == ["on_handoff ctx"]


async def test_the_new_agent_runs_its_own_tools_and_no_others(autojump_clock, service, run) -> None:
    triage, _ = agents()
    async with run(triage).session():
        connection = service.last
        await connection.calls("transfer_to_billing")
        await connection.expect("response.create")
        await connection.calls("pay", "look", id="resp_2")
        assert await connection.output("resp_2_call_1") == "paid"
        assert "no tool 'look'" in await connection.output("resp_2_call_2")


async def test_tools_called_together_with_a_handoff_are_the_old_agents(autojump_clock, service, run) -> None:
    """The agent changes when the response is over: its later calls still find their tools, and one answer follows."""
    triage, _ = agents()
    async with run(triage).session():
        connection = service.last
        await connection.begin()
        await connection.call("transfer_to_billing", "{}", call_id="resp_1_call_1")
        await trio.sleep(1)
        assert len(connection.updates) == 1
        await connection.call("look", "{}", call_id="resp_1_call_2")
        await connection.done()
        assert await connection.output("resp_1_call_2") == "seen"
        assert json.loads(await connection.output()) == {"assistant": "Billing"}
        await connection.expect("response.create")
        await trio.sleep(1)
        assert len(connection.of("response.create")) == 1


async def test_an_opening_stands_behind_the_instructions_of_the_new_agent(autojump_clock, service, run) -> None:
    triage, _ = agents(opening="Say your name.")
    async with run(triage).session():
        await service.last.calls("transfer_to_billing")
        request = await service.last.expect("response.create")
        assert request["response"]["instructions"] == "You bill.\n\nSay your name."
        await trio.sleep(1)
        assert len(service.last.of("response.create")) == 1


@attrs.frozen
class Why:
    reason: str
    priority: int = 0


async def test_b221_the_input_is_validated_strictly_and_passed(autojump_clock, service, run) -> None:
    got: list[object] = []

    async def on_handoff(context: RunContext[Any], why: Why) -> None:
        await trio.lowlevel.checkpoint()
        got.append(why)

    triage, billing = agents(on_handoff=on_handoff, input_type=Why)
    async with run(triage).session() as session:
        schema = service.last.updates[0]["tools"][1]["parameters"]
        assert schema["properties"].keys() == {"reason", "priority"}
        await service.last.calls("transfer_to_billing", arguments='{"reason": "refund", "priority": 2}')
        await service.last.expect("response.create")
        assert session.current_agent is billing
    assert got == [Why("refund", 2)]


@pytest.mark.parametrize("arguments", ["", "null", "{}", '{"reason": "r", "priority": "2"}', "{", "[]"])
async def test_b221_bad_input_is_told_to_the_model(autojump_clock, service, run, arguments: str) -> None:
    """Other: an output that says what is wrong, where the peer raises."""
    triage, _ = agents(on_handoff=lambda context, why: None, input_type=Why)
    async with run(triage).session() as session, session.subscribe("error") as errors:
        await service.last.calls("transfer_to_billing", arguments=arguments)
        said = await service.last.output()
        assert said.startswith("The handoff was not made. Invalid arguments for tool transfer_to_billing")
        await service.last.expect("response.create")
        assert session.current_agent is triage
        assert len(service.last.updates) == 1
        with pytest.raises(trio.WouldBlock):
            errors.receive_nowait()


def test_b222_what_cannot_be_called_is_refused_when_it_is_made() -> None:
    """A TypeError."""
    agent = RealtimeAgent("A")
    for wrong in (
        {"input_type": Why},
        {"on_handoff": lambda: None},
        {"on_handoff": lambda context, why: None},
        {"on_handoff": lambda context: None, "input_type": Why},
        {"on_handoff": "no"},
        {"on_handoff": lambda context, why: None, "input_type": int},
        {"on_handoff": lambda context, why: None, "input_type": object},
        {"is_enabled": "yes"},
        {"opening": 5},
    ):
        with pytest.raises(TypeError, match=r"allowed: |input_type"):
            realtime_handoff(agent, **wrong)
    for wrong in ({"when": "later"}, {"tool_name_override": "has a space"}):
        with pytest.raises(SettingsError, match="allowed: "):
            realtime_handoff(agent, **wrong)
    with pytest.raises(TypeError, match="agent: got 'A'"):
        realtime_handoff("A")
    with pytest.raises(TypeError, match="tool_name_override"):
        realtime_handoff(lambda: agent)


async def test_b223_on_handoff_may_be_an_object_and_what_it_returns_is_ignored(autojump_clock, service, run) -> None:

    class Caller:
        async def __call__(self, context: RunContext[Any]) -> RealtimeAgent[Any]:
            return RealtimeAgent("Somebody else")

    triage, billing = agents(on_handoff=Caller())
    async with run(triage).session() as session:
        await service.last.calls("transfer_to_billing")
        await service.last.expect("response.create")
        assert session.current_agent is billing


async def failing_handoff(
    run, service, triage: RealtimeAgent[Any], name: str = "transfer_to_billing"
) -> tuple[str, Any]:
    """(what the model reads, what the app is told); the old agent is still in charge, the server still has it."""
    async with run(triage).session() as session, session.subscribe("error", "handoff") as subscription:
        await service.last.calls(name)
        event = await subscription.receive()
        said = await service.last.output()
        await service.last.expect("response.create")
        assert isinstance(event.error, ToolFailed)
        assert session.current_agent is triage
        assert service.last.session["instructions"] == triage.instructions
        await service.last.calls("look", id="resp_2")
        assert await service.last.output("resp_2_call_1") == "seen"
        return said, event.error.__cause__


async def test_b224_what_is_no_agent_cannot_take_over(autojump_clock, service, run) -> None:
    """Other: an output and an ``error`` event, where the peer raises."""

    async def nobody(context: RunContext[Any], arguments: str) -> Any:
        return "Billing"

    handoff = Handoff("go", "Go.", input_json_schema={"type": "object"}, on_invoke_handoff=nobody, agent_name="Billing")
    triage = RealtimeAgent("Triage", instructions="You ask.", tools=[look], handoffs=[handoff])
    said, cause = await failing_handoff(run, service, triage, "go")
    assert "must return a RealtimeAgent, got 'Billing'" in said
    assert isinstance(cause, TypeError)


async def test_b225_an_agent_whose_settings_are_wrong_does_not_take_over(autojump_clock, service, run) -> None:
    """Nothing is sent. The model and the app are told, and the session lives."""
    twice = RealtimeAgent("Billing", handoffs=[RealtimeAgent("A"), RealtimeAgent("a")])
    triage = RealtimeAgent("Triage", instructions="You ask.", tools=[look], handoffs=[twice])
    said, cause = await failing_handoff(run, service, triage)
    assert "a name of its own" in said
    assert isinstance(cause, SettingsError)
    assert len(service.last.updates) == 1


async def test_an_on_handoff_that_raises_leaves_the_old_agent(autojump_clock, service, run) -> None:
    def on_handoff(context: RunContext[Any]) -> None:
        raise LookupError("no such customer")

    triage, _ = agents(on_handoff=on_handoff)
    said, cause = await failing_handoff(run, service, triage)
    assert "LookupError: no such customer" in said
    assert isinstance(cause, LookupError)


async def test_a_refused_update_leaves_both_sides_with_the_old_agent(autojump_clock, service, run) -> None:
    """Weak spot 46."""
    triage, _ = agents()
    async with run(triage).session() as session, session.subscribe("error", "handoff") as subscription:
        connection = service.last
        connection.answers = False
        await connection.calls("transfer_to_billing")
        update = await connection.expect("session.update", count=2)
        assert session.current_agent is triage
        await connection.error(code="invalid_value", about=update, param="session.instructions")
        event = await subscription.receive()
        assert isinstance(event.error.__cause__, SettingsRefused)
        assert "The handoff was not made" in await connection.output()
        assert session.current_agent is triage
        await connection.calls("look", id="resp_2")
        assert await connection.output("resp_2_call_1") == "seen"


@pytest.mark.parametrize("by", ["the model", "the app"])
@pytest.mark.parametrize("late", [True, False])
async def test_an_agent_of_whom_no_word_comes_in_time_is_in_charge_on_no_side(
    autojump_clock, service, run, by, late
) -> None:
    triage, billing = agents()
    async with run(triage).session() as session, session.subscribe("error", "handoff") as subscription:
        connection = service.last
        connection.answers = False
        if by == "the model":
            await connection.calls("transfer_to_billing")
            assert "RequestTimedOut" in await connection.output()
            assert (await subscription.receive()).type == "error"
        else:
            with pytest.raises(RequestTimedOut):
                await session.update_agent(billing)
        back = await connection.expect("session.update", count=3)
        assert back["session"]["instructions"] == "You ask."
        assert names_of(back["session"]) == ["look", "transfer_to_billing"]
        if late:
            first = connection.of("session.update")[1]
            await connection.emit("session.updated", session={**connection.session, **first["session"]})
        await connection.emit("session.updated", session={**connection.session, **back["session"]})
        assert session.current_agent is triage
        await connection.calls("look", id="resp_2")
        assert await connection.output("resp_2_call_1") == "seen"
        connection.answers = True
        await session.update_agent(billing)
        assert session.current_agent is billing


async def test_tools_that_the_server_has_taken_too_late_can_be_called(autojump_clock, service, run) -> None:
    triage, _ = agents()
    async with run(triage).session() as session:
        connection = service.last
        connection.answers = False
        with pytest.raises(RequestTimedOut):
            await session.update_settings({"tools": [pay]})
        late = await connection.expect("session.update", count=2)
        await connection.emit("session.updated", session={**connection.session, **late["session"]})
        await connection.calls("pay", id="resp_2")
        assert await connection.output("resp_2_call_1") == "paid"


async def test_settings_whose_asker_was_cancelled_count_once_the_server_has_taken_them(
    autojump_clock, service, run
) -> None:
    triage, billing = agents()

    @function_tool
    async def late() -> str:
        """Look late."""
        return "seen late"

    async with run(triage).session() as session:
        connection = service.last
        connection.answers = False
        with trio.move_on_after(1):
            await session.update_settings({"instructions": "Be kind.", "tools": [late], "handoffs": []})
        connection.answers = True
        asked = await connection.expect("session.update", count=2)
        await connection.send({"type": "session.updated", "session": {**session.settings, **asked["session"]}})
        await connection.calls("late")
        assert await connection.output() == "seen late"
        kind = attrs.evolve(billing, name="Kind", instructions="Be kind.", tools=[late])
        await session.update_agent(kind)
        assert connection.updates[2:] == []  # the model knows all of it already


async def test_of_two_handoffs_of_one_response_the_first_wins(autojump_clock, service, run) -> None:
    """Weak spot 46."""
    triage = RealtimeAgent("Triage", handoffs=[RealtimeAgent("A"), RealtimeAgent("B")])
    async with run(triage).session() as session, session.subscribe("handoff") as subscription:
        connection = service.last
        await connection.calls("transfer_to_a", "transfer_to_b")
        assert (await subscription.receive()).to_agent.name == "A"
        assert await connection.output("resp_1_call_2") == (
            "Not made: another handoff (transfer_to_a) is being made, only one can be."
        )
        await connection.expect("response.create")
        await trio.sleep(1)
        assert session.current_agent.name == "A"
        assert len(connection.of("response.create")) == 1


async def test_a_handoff_that_finds_another_agent_in_charge_is_too_late(autojump_clock, service, run) -> None:
    """Weak spot 47."""
    held = trio.Event()

    async def on_handoff(context: RunContext[Any]) -> None:
        await held.wait()

    triage, _ = agents(on_handoff=on_handoff)
    other = RealtimeAgent("Other", instructions="Other.")
    async with run(triage).session() as session:
        await service.last.calls("transfer_to_billing")
        await trio.testing.wait_all_tasks_blocked()
        await session.update_agent(other)
        held.set()
        assert await service.last.output() == "Not made: Other has taken over meanwhile."
        assert session.current_agent is other


async def test_options_of_the_turn_that_are_not_the_old_agents_hold_for_the_new_one(
    autojump_clock, service, run
) -> None:
    triage, _ = agents()
    options: Any = {"output_audio_format": "g711_ulaw", "voice": "ash", "instructions": "In French."}
    async with run(triage).session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: session.ask("Bills.", max_output_tokens=50, extra={"newer": 1}, **options))
        connection = service.last
        request = await connection.expect("response.create")
        assert request["response"]["audio"] == {"output": {"format": {"type": "audio/pcmu"}, "voice": "ash"}}
        await connection.begin(request)
        await connection.call("transfer_to_billing", "{}")
        await connection.done()
        params = dict((await connection.expect("response.create", count=2))["response"])
        assert params.pop("metadata").keys() == {"trealtime_request"}
        assert params == {
            "max_output_tokens": 50,
            "audio": {"output": {"format": {"type": "audio/pcmu"}}},
            "newer": 1,
        }
        nursery.cancel_scope.cancel()


async def test_b227_history_and_voice_are_left_alone(autojump_clock, service, run) -> None:
    triage, _ = agents()
    async with run(triage).session() as session:
        await session.send_message("hi")
        await service.last.reply()
        before = session.history
        await service.last.calls("transfer_to_billing", id="resp_2")
        await service.last.expect("response.create", count=2)
        kinds = [item.type for item in session.history[len(before) :]]
        assert session.history[: len(before)] == before
        assert kinds == ["function_call", "function_call_output"] or kinds == ["function_call"]
        assert "audio" not in service.last.updates[1]


async def test_b229_a_handoff_is_no_tool_to_the_app(autojump_clock, service, run) -> None:
    triage, _ = agents()
    async with run(triage).session() as session, session.subscribe("tool_start", "tool_end") as subscription:
        await service.last.calls("transfer_to_billing")
        await service.last.expect("response.create")
        with pytest.raises(trio.WouldBlock):
            subscription.receive_nowait()


async def test_hand_back_works_between_agents_that_name_each_other(autojump_clock, service, run) -> None:
    billing = RealtimeAgent(
        "Billing",
        instructions="You bill.",
        handoffs=[realtime_handoff(lambda: triage, tool_name_override="transfer_to_triage")],
    )
    triage: RealtimeAgent[Any] = RealtimeAgent("Triage", instructions="You ask.", handoffs=[billing])
    async with run(triage).session() as session:
        connection = service.last
        await connection.calls("transfer_to_billing")
        await connection.expect("response.create", count=1)
        assert session.current_agent is billing
        await connection.reply(id="resp_a")
        await connection.calls("transfer_to_triage", id="resp_2")
        await connection.expect("response.create", count=2)
        assert session.current_agent is triage
        assert connection.session["instructions"] == "You ask."
        assert names_of(connection.session) == ["transfer_to_billing"]


async def test_when_heard_the_old_agent_stays_until_its_farewell_has_been_heard(autojump_clock, service, run) -> None:
    triage, billing = agents(when="heard")
    async with run(triage).session() as session, session.subscribe("audio", "handoff") as subscription:
        connection = service.last
        await connection.begin()
        await connection.begin_item()
        await connection.audio(4)
        await connection.call("transfer_to_billing", "{}")
        await connection.done()
        begun = trio.current_time()
        async for event in subscription:
            if event.type == "handoff":
                break
            assert session.current_agent is triage
        assert 3.9 <= trio.current_time() - begun <= 4.2
        assert session.current_agent is billing


async def farewell(connection) -> None:
    """The answer to a question, in three: words and a tool, a farewell and a handoff, a greeting."""
    await connection.begin(await connection.expect("response.create"), id="r1")
    await connection.begin_item(id="r1", item_id="a")
    await connection.audio(3, id="r1", item_id="a")
    await connection.call("look", "{}", id="r1", call_id="c1")
    await connection.done(id="r1")
    await connection.begin(await connection.expect("response.create", count=2), id="r2")
    await connection.begin_item(id="r2", item_id="b")
    await connection.audio(4, id="r2", item_id="b")
    await connection.call("transfer_to_billing", "{}", id="r2", call_id="c2")
    await connection.done(id="r2")
    await connection.begin(await connection.expect("response.create", count=3), id="r3")
    await connection.begin_item(id="r3", item_id="c")
    await connection.audio(1, id="r3", item_id="c")
    await connection.done(id="r3")


@pytest.mark.parametrize("listens, waited_s", [(False, 0), (True, 7)])
async def test_when_heard_does_not_wait_for_a_farewell_that_ask_keeps_until_the_end(
    autojump_clock, service, run, listens, waited_s
) -> None:
    triage, billing = agents(when="heard")
    async with run(triage).session() as session, trio.open_nursery() as nursery:
        nursery.start_soon(farewell, service.last)
        subscription = session.subscribe("audio", playback=listens)
        if listens:  # somebody else takes it as it comes, so it is heard

            async def listen() -> None:
                async for _ in subscription:
                    pass

            nursery.start_soon(listen)
        begun = trio.current_time()
        turn = await session.ask("Transfer me.")
        assert len(turn.audio) == 8 * 48_000
        assert session.current_agent is billing
        assert trio.current_time() - begun == pytest.approx(waited_s, abs=0.5)
        await session.wait_for_playback()
        nursery.cancel_scope.cancel()


async def test_when_heard_does_not_wait_for_a_farewell_that_nobody_takes(autojump_clock, service, run) -> None:
    triage, billing = agents(when="heard")
    async with run(triage).session() as session, session.subscribe("handoff") as subscription:
        connection = service.last
        await connection.begin()
        await connection.begin_item()
        await connection.audio(4)
        await connection.call("transfer_to_billing", "{}")
        await connection.done()
        begun = trio.current_time()
        with trio.fail_after(10):
            await subscription.receive()
        assert session.current_agent is billing
        assert trio.current_time() - begun < 0.5


async def test_a_barge_in_ends_the_wait_for_the_farewell(autojump_clock, service, run) -> None:
    triage, _ = agents(when="heard")
    async with run(triage).session() as session, session.subscribe("audio", "handoff") as subscription:
        connection = service.last
        await connection.begin()
        await connection.begin_item()
        await connection.audio(4)
        await connection.call("transfer_to_billing", "{}")
        await connection.done()
        await subscription.receive()
        await trio.sleep(1)
        begun = trio.current_time()
        await session.interrupt()
        async for event in subscription:
            if event.type == "handoff":
                break
        assert trio.current_time() - begun < 0.1


@pytest.mark.parametrize("raises", [False, True])
async def test_a_handoff_that_the_model_wants_before_the_session_is_ready_is_made_once_it_is(
    autojump_clock, service, run, raises: bool
) -> None:
    """A server may be at work already: on a phone call, or because it was slow to acknowledge the settings."""

    def refuse(context: RunContext[Any]) -> None:
        if raises:
            raise RuntimeError("no")

    triage, billing = agents(on_handoff=refuse)
    service.answers = False
    async with trio.open_nursery() as nursery:

        async def opening() -> None:
            await service.connected.wait()
            connection = service.last
            update = await connection.expect("session.update")
            await connection.begin()
            await connection.call("transfer_to_billing", "{}")
            await connection.done()
            await trio.testing.wait_all_tasks_blocked()
            assert connection.outputs == {}
            connection.answers = True
            await connection.answer(update)

        nursery.start_soon(opening)
        async with run(triage).session() as session:
            output = await service.last.output("call_1")
            assert ("was not made" in output) is raises
            assert session.current_agent is (triage if raises else billing)
