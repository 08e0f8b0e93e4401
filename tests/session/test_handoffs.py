"""Handoffs and `update_agent`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import Handoff, realtime_handoff
from trealtime.errors import SettingsError, SettingsRefused, ToolFailed
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


@pytest.fixture
def run(service) -> Callable[..., RealtimeRunner[Any]]:
    def make(agent: RealtimeAgent[Any], **config: Any) -> RealtimeRunner[Any]:
        return RealtimeRunner(agent, model=service, config=config)

    return make


async def ask(connection, *names: str, arguments: str = "{}", id: str = "resp_1", **done: Any) -> None:
    """A response that calls functions: the calls are ``call_1``, ``call_2``, ... of that response."""
    await connection.begin(id=id)
    for number, name in enumerate(names, 1):
        await connection.call(name, arguments, id=id, call_id=f"{id}_call_{number}")
    await connection.done(id=id, **done)


async def output(connection, call_id: str = "resp_1_call_1") -> str:
    with trio.fail_after(100):
        while True:
            for event in connection.of("conversation.item.create"):
                if event["item"].get("call_id") == call_id:
                    return str(event["item"]["output"])
            await trio.sleep(0.01)


def updates(connection) -> list[dict[str, Any]]:
    return [event["session"] for event in connection.of("session.update")]


def names_of(session: dict[str, Any]) -> list[str]:
    return [tool["name"] for tool in session["tools"]]


# ---- what the model is offered --------------------------------------------------------------------------------------


async def test_b219_an_agent_is_a_handoff_and_a_handoff_is_itself(autojump_clock, service, run) -> None:
    billing = RealtimeAgent("Billing Desk", handoff_description="Bills.")
    own = realtime_handoff(RealtimeAgent("Sales"), tool_name_override="sell", tool_description_override="Sell.")
    async with run(RealtimeAgent("Triage", tools=[look], handoffs=[billing, own])).session():
        look_, transfer, sell = updates(service.last)[0]["tools"]
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
        assert names_of(updates(service.last)[0]) == ["go"]


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
        assert names_of(updates(service.last)[0]) == ["look"]
        await ask(service.last, "transfer_to_billing")
        assert "no tool 'transfer_to_billing'" in await output(service.last)
        assert session.current_agent is triage


async def test_b043_handoffs_of_the_model_config_replace_those_of_the_agent(autojump_clock, service, run) -> None:
    """Filtered by `is_enabled`."""
    triage, _ = agents()
    instead = [RealtimeAgent("Sales"), realtime_handoff(RealtimeAgent("Nobody"), is_enabled=False)]
    settings = {"initial_model_settings": {"handoffs": instead, "tools": []}}
    async with run(triage).session(model_config=settings):
        assert names_of(updates(service.last)[0]) == ["transfer_to_sales"]


# ---- a handoff ------------------------------------------------------------------------------------------------------


async def test_b220_a_handoff_from_call_to_answer(autojump_clock, service, run) -> None:
    """Other: the agent changes, and the event comes, when the server has acknowledged it; only what differs is sent."""
    order: list[str] = []
    triage, billing = agents(on_handoff=lambda context: order.append(f"on_handoff {context.context}"))
    async with run(triage).session(context="ctx") as session, session.subscribe("handoff") as subscription:
        connection = service.last
        await ask(connection, "transfer_to_billing")
        event = await subscription.receive()
        request = await connection.expect("response.create")
        assert (event.from_agent, event.to_agent) == (triage, billing)
        assert session.current_agent is billing
        update = updates(connection)[1]
        assert update.keys() == {"type", "instructions", "tools"}
        assert update["instructions"] == "You bill."
        assert names_of(update) == ["pay"]
        assert json.loads(await output(connection)) == {"assistant": "Billing"}
        assert "instructions" not in request["response"]
        kinds = [event["type"] for event in connection.received[1:]]
        assert kinds == ["session.update", "conversation.item.create", "response.create"]
        await connection.reply(id="resp_2")
    assert order == ["on_handoff ctx"]


async def test_the_new_agent_runs_its_own_tools_and_no_others(autojump_clock, service, run) -> None:
    triage, _ = agents()
    async with run(triage).session():
        connection = service.last
        await ask(connection, "transfer_to_billing")
        await connection.expect("response.create")
        await ask(connection, "pay", "look", id="resp_2")
        assert await output(connection, "resp_2_call_1") == "paid"
        assert "no tool 'look'" in await output(connection, "resp_2_call_2")


async def test_tools_called_together_with_a_handoff_are_the_old_agents(autojump_clock, service, run) -> None:
    """The agent changes when the response is over: its later calls still find their tools, and one answer follows."""
    triage, _ = agents()
    async with run(triage).session():
        connection = service.last
        await connection.begin()
        await connection.call("transfer_to_billing", "{}", call_id="resp_1_call_1")
        await trio.sleep(1)
        assert len(updates(connection)) == 1
        await connection.call("look", "{}", call_id="resp_1_call_2")
        await connection.done()
        assert await output(connection, "resp_1_call_2") == "seen"
        assert json.loads(await output(connection)) == {"assistant": "Billing"}
        await connection.expect("response.create")
        await trio.sleep(1)
        assert len(connection.of("response.create")) == 1


async def test_an_opening_stands_behind_the_instructions_of_the_new_agent(autojump_clock, service, run) -> None:
    triage, _ = agents(opening="Say your name.")
    async with run(triage).session():
        await ask(service.last, "transfer_to_billing")
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
        schema = updates(service.last)[0]["tools"][1]["parameters"]
        assert schema["properties"].keys() == {"reason", "priority"}
        await ask(service.last, "transfer_to_billing", arguments='{"reason": "refund", "priority": 2}')
        await service.last.expect("response.create")
        assert session.current_agent is billing
    assert got == [Why("refund", 2)]


@pytest.mark.parametrize("arguments", ["", "null", "{}", '{"reason": "r", "priority": "2"}', "{", "[]"])
async def test_b221_bad_input_is_told_to_the_model(autojump_clock, service, run, arguments: str) -> None:
    """Other: an output that says what is wrong, where the peer raises."""
    triage, _ = agents(on_handoff=lambda context, why: None, input_type=Why)
    async with run(triage).session() as session, session.subscribe("error") as errors:
        await ask(service.last, "transfer_to_billing", arguments=arguments)
        said = await output(service.last)
        assert said.startswith("The handoff was not made. Invalid arguments for tool transfer_to_billing")
        await service.last.expect("response.create")
        assert session.current_agent is triage
        assert len(updates(service.last)) == 1
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
        await ask(service.last, "transfer_to_billing")
        await service.last.expect("response.create")
        assert session.current_agent is billing


async def failing_handoff(
    run, service, triage: RealtimeAgent[Any], name: str = "transfer_to_billing"
) -> tuple[str, Any]:
    """(what the model reads, what the app is told); the old agent is still in charge, the server still has it."""
    async with run(triage).session() as session, session.subscribe("error", "handoff") as subscription:
        await ask(service.last, name)
        event = await subscription.receive()
        said = await output(service.last)
        await service.last.expect("response.create")
        assert isinstance(event.error, ToolFailed)
        assert session.current_agent is triage
        assert service.last.session["instructions"] == triage.instructions
        await ask(service.last, "look", id="resp_2")
        assert await output(service.last, "resp_2_call_1") == "seen"
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
    assert len(updates(service.last)) == 1


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
        await ask(connection, "transfer_to_billing")
        update = await connection.expect("session.update", count=2)
        assert session.current_agent is triage
        await connection.error(code="invalid_value", about=update, param="session.instructions")
        event = await subscription.receive()
        assert isinstance(event.error.__cause__, SettingsRefused)
        assert "The handoff was not made" in await output(connection)
        assert session.current_agent is triage
        await ask(connection, "look", id="resp_2")
        assert await output(connection, "resp_2_call_1") == "seen"


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
        await ask(connection, "late")
        assert await output(connection) == "seen late"
        kind = attrs.evolve(billing, name="Kind", instructions="Be kind.", tools=[late])
        await session.update_agent(kind)
        assert updates(connection)[2:] == []  # the model knows all of it already


async def test_of_two_handoffs_of_one_response_the_first_wins(autojump_clock, service, run) -> None:
    """Weak spot 46."""
    triage = RealtimeAgent("Triage", handoffs=[RealtimeAgent("A"), RealtimeAgent("B")])
    async with run(triage).session() as session, session.subscribe("handoff") as subscription:
        connection = service.last
        await ask(connection, "transfer_to_a", "transfer_to_b")
        assert (await subscription.receive()).to_agent.name == "A"
        assert await output(connection, "resp_1_call_2") == (
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
        await ask(service.last, "transfer_to_billing")
        await trio.testing.wait_all_tasks_blocked()
        await session.update_agent(other)
        held.set()
        assert await output(service.last) == "Not made: Other has taken over meanwhile."
        assert session.current_agent is other


async def test_b227_history_and_voice_are_left_alone(autojump_clock, service, run) -> None:
    triage, _ = agents()
    async with run(triage).session() as session:
        await session.send_message("hi")
        await service.last.reply()
        before = session.history
        await ask(service.last, "transfer_to_billing", id="resp_2")
        await service.last.expect("response.create", count=2)
        kinds = [item.type for item in session.history[len(before) :]]
        assert session.history[: len(before)] == before
        assert kinds == ["function_call", "function_call_output"] or kinds == ["function_call"]
        assert "audio" not in updates(service.last)[1]


async def test_b229_a_handoff_is_no_tool_to_the_app(autojump_clock, service, run) -> None:
    triage, _ = agents()
    async with run(triage).session() as session, session.subscribe("tool_start", "tool_end") as subscription:
        await ask(service.last, "transfer_to_billing")
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
        await ask(connection, "transfer_to_billing")
        await connection.expect("response.create", count=1)
        assert session.current_agent is billing
        await connection.reply(id="resp_a")
        await ask(connection, "transfer_to_triage", id="resp_2")
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


# ---- settings -------------------------------------------------------------------------------------------------------


async def test_an_agent_brings_its_voice_and_settings_to_the_opening(autojump_clock, service, run) -> None:
    """Over the run config, under the model config (peer 2.6)."""
    agent = RealtimeAgent("A", voice="verse", model_settings={"speed": 1.2, "max_output_tokens": 100})
    settings = {"initial_model_settings": {"max_output_tokens": 50}}
    runner = run(agent, model_settings={"voice": "echo", "speed": 0.9, "tool_choice": "none"})
    async with runner.session(model_config=settings):
        update = updates(service.last)[0]
        assert update["audio"]["output"]["voice"] == "verse"
        assert update["audio"]["output"]["speed"] == 1.2
        assert (update["max_output_tokens"], update["tool_choice"]) == (50, "none")


async def test_only_what_differs_between_the_agents_is_sent_and_settings_go_back(autojump_clock, service, run) -> None:
    """Weak spot 48. Neither model nor formats; what the app has set by itself stays."""
    detection = {"turn_detection": {"type": "server_vad", "threshold": 0.9}}
    fast = RealtimeAgent("Fast", instructions="Go.", model_settings={"speed": 1.3, **detection})
    plain = RealtimeAgent("Plain", instructions="Go.")

    def greet(connection) -> dict[str, Any]:
        return {"type": "session.created", "session": {"type": "realtime", "audio": {"output": {"speed": 1.0}}}}

    service.greet = greet
    async with run(plain).session() as session:
        await session.update_settings({"max_output_tokens": 77})
        await session.update_agent(fast)
        await session.update_agent(plain)
        await session.update_agent(RealtimeAgent("Same", instructions="Go."))
        to_fast, back = updates(service.last)[2:]
        assert session.current_agent.name == "Same"
    assert to_fast["audio"]["output"] == {"speed": 1.3}
    assert to_fast["audio"]["input"]["turn_detection"]["threshold"] == 0.9
    assert to_fast.keys() == {"type", "audio"}
    assert back["audio"]["output"] == {"speed": 1.0}
    assert back["audio"]["input"]["turn_detection"]["type"] == "semantic_vad"
    assert back.keys() == {"type", "audio"}


async def test_instructions_that_the_app_has_changed_become_the_new_agents(autojump_clock, service, run) -> None:
    async with run(RealtimeAgent("A", instructions="Go.", tools=[look])).session() as session:
        await session.update_settings({"instructions": "Stop.", "tools": []})
        await session.update_agent(RealtimeAgent("B", instructions="Go.", tools=[look]))
        assert updates(service.last)[-1].keys() == {"type", "instructions", "tools"}
        await ask(service.last, "look")
        assert await output(service.last) == "seen"


async def test_instructions_that_somebody_else_has_changed_become_the_new_agents(autojump_clock, service, run) -> None:
    async with run(RealtimeAgent("A", instructions="Go.")).session() as session:
        await session.send_raw({"type": "session.update", "session": {"type": "realtime", "instructions": "Stop."}})
        await service.last.expect("session.update", count=2)
        await session.update_agent(RealtimeAgent("B", instructions="Go."))
        assert updates(service.last)[-1] == {"type": "realtime", "instructions": "Go."}


async def test_handoffs_stay_when_the_app_changes_tools_and_the_other_way_round(autojump_clock, service, run) -> None:
    triage, billing = agents()
    async with run(triage).session() as session:
        await session.update_settings({"tools": [pay]})
        assert names_of(service.last.session) == ["pay", "transfer_to_billing"]
        await session.update_settings({"handoffs": [RealtimeAgent("Sales"), billing]})
        assert names_of(service.last.session) == ["pay", "transfer_to_sales", "transfer_to_billing"]
        await ask(service.last, "transfer_to_sales")
        await service.last.expect("response.create")
        assert session.current_agent.name == "Sales"


async def test_before_any_audio_the_new_agent_gets_its_voice(autojump_clock, service, run) -> None:
    billing = RealtimeAgent("Billing", voice="verse")
    async with run(RealtimeAgent("Triage", handoffs=[billing])).session() as session:
        await ask(service.last, "transfer_to_billing")
        await service.last.expect("response.create")
        assert updates(service.last)[1]["audio"] == {"output": {"voice": "verse"}}
        assert session.current_agent is billing


async def test_after_audio_another_voice_is_not_sent_and_the_app_is_told(autojump_clock, service, run) -> None:
    """Weak spot 48."""
    billing = RealtimeAgent("Billing", voice="verse")
    triage = RealtimeAgent("Triage", voice="ash", handoffs=[billing])
    async with run(triage).session() as session, session.subscribe("settings_mismatch", "handoff") as subscription:
        await session.send_message("hi")
        await service.last.reply()
        await ask(service.last, "transfer_to_billing", id="resp_2")
        assert (await subscription.receive()).type == "handoff"
        (difference,) = (await subscription.receive()).differences
        assert str(difference) == "audio.output.voice: asked for 'verse', the server uses 'ash'"
        assert "audio" not in updates(service.last)[1]


async def test_a_voice_waits_for_the_answer_that_may_be_the_first_to_be_heard(autojump_clock, service, run) -> None:
    """A written answer leaves the voice open."""
    async with run(RealtimeAgent("A")).session() as session, trio.open_nursery() as nursery:
        await service.last.begin()
        await trio.sleep(1)
        nursery.start_soon(session.update_agent, RealtimeAgent("B", voice="verse"))
        await trio.sleep(1)
        assert len(updates(service.last)) == 1
        await service.last.done()
        update = await service.last.expect("session.update", count=2)
        assert update["session"]["audio"] == {"output": {"voice": "verse"}}


async def test_a_voice_that_is_refused_all_the_same_is_left_out(autojump_clock, service, run) -> None:
    """The server has begun to speak by itself before it reads the update."""
    async with (
        run(RealtimeAgent("A")).session() as session,
        session.subscribe("settings_mismatch", "error") as subscription,
    ):
        connection = service.last
        connection.answers = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.update_agent, RealtimeAgent("B", voice="verse", instructions="Go."))
            update = await connection.expect("session.update", count=2)
            connection.answers = True
            await connection.error(code="cannot_update_voice", about=update)
        assert session.current_agent.name == "B"
        assert "audio" not in updates(connection)[2]
        assert (await subscription.receive()).type == "settings_mismatch"
        with pytest.raises(trio.WouldBlock):
            subscription.receive_nowait()


# ---- update_agent ---------------------------------------------------------------------------------------------------


async def test_b230_update_agent_resolves_first_and_changes_both_sides(autojump_clock, service, run) -> None:

    def broken(context: RunContext[Any], agent: RealtimeAgent[Any]) -> str:
        raise LookupError("no prompt")

    triage, billing = agents()
    async with run(triage).session() as session:
        with pytest.raises(LookupError):
            await session.update_agent(RealtimeAgent("Broken", instructions=broken))
        with pytest.raises(SettingsError):
            await session.update_agent(RealtimeAgent("Twice", handoffs=[RealtimeAgent("A"), RealtimeAgent("a")]))
        with pytest.raises(TypeError, match="RealtimeAgent"):
            await session.update_agent("Billing")
        assert session.current_agent is triage
        assert len(updates(service.last)) == 1
        await session.update_agent(billing)
        assert session.current_agent is billing
        assert names_of(updates(service.last)[1]) == ["pay"]
        await ask(service.last, "pay")
        assert await output(service.last) == "paid"


async def test_b230_a_refused_update_raises_and_leaves_the_old_agent(autojump_clock, service, run) -> None:
    """Other: the peer has changed its agent by then."""
    triage, billing = agents()
    async with run(triage).session() as session:
        connection = service.last
        connection.answers = False
        refused: list[Exception] = []

        async def update() -> None:
            try:
                await session.update_agent(billing)
            except SettingsRefused as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(update)
            request = await connection.expect("session.update", count=2)
            await connection.error(code="invalid_value", about=request, param="session.tools")
        assert [error.param for error in refused] == ["session.tools"]
        assert session.current_agent is triage


async def test_b231_update_agent_neither_emits_a_handoff_nor_asks_for_an_answer(autojump_clock, service, run) -> None:
    triage, billing = agents()
    async with run(triage).session() as session, session.subscribe("handoff") as subscription:
        await session.update_agent(billing)
        await trio.sleep(1)
        assert not service.last.of("response.create")
        with pytest.raises(trio.WouldBlock):
            subscription.receive_nowait()


async def test_b232_a_running_response_stays_the_agents_that_began_it(autojump_clock, service, run) -> None:
    """For all that belongs to a response."""
    triage, billing = agents()
    async with run(triage).session() as session, session.subscribe("agent_start", "agent_end") as subscription:
        await service.last.begin()
        assert (await subscription.receive()).agent is triage
        await session.update_agent(billing)
        await service.last.done()
        assert (await subscription.receive()).agent is triage


async def test_updates_that_cross_are_made_one_after_the_other(autojump_clock, service, run) -> None:
    """Weak spot 47: both sides end with the same agent."""
    names = [f"agent {number}" for number in range(5)]
    async with run(RealtimeAgent("Triage")).session() as session:
        connection = service.last
        connection.answers = False
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(session.update_agent, RealtimeAgent(name, instructions=name))
            nursery.start_soon(session.update_settings, {"max_output_tokens": 7})
            for count in range(2, 8):
                update = await connection.expect("session.update", count=count)
                await trio.sleep(1)
                assert len(updates(connection)) == count
                await connection.answer(update)
        assert service.last.session["instructions"] == session.current_agent.name
        assert session.current_agent.name in names


async def test_a_cancelled_update_agent_may_be_made_and_the_next_one_knows(autojump_clock, service, run) -> None:
    triage, billing = agents()
    async with run(triage).session() as session:
        connection = service.last
        connection.answers = False
        with trio.move_on_after(1):
            await session.update_agent(billing)
        await connection.expect("session.update", count=2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.update_agent, triage)
            await trio.sleep(1)
            assert len(updates(connection)) == 2
            connection.answers = True
            await connection.answer(connection.of("session.update")[1])
        assert session.current_agent is triage
        assert connection.session["instructions"] == "You ask."


async def test_update_agent_ends_when_the_session_does(autojump_clock, service, run) -> None:
    triage, billing = agents()
    async with run(triage).session() as session:
        service.last.answers = False
        async with trio.open_nursery() as nursery:

            async def update() -> None:
                with pytest.raises(Exception, match="closed"):
                    await session.update_agent(billing)

            nursery.start_soon(update)
            await service.last.expect("session.update", count=2)
            await session.close()


# ---- stored prompts -------------------------------------------------------------------------------------------------

PROMPT = {"id": "pmpt_1", "version": "2"}


@pytest.mark.parametrize("where", ["agent", "run"])
async def test_beside_a_stored_prompt_no_instructions_are_sent_unless_there_are_some(
    autojump_clock, service, where
) -> None:
    agent = RealtimeAgent(name="A", prompt=PROMPT if where == "agent" else None)
    config = {} if where == "agent" else {"model_settings": {"prompt": PROMPT}}
    async with RealtimeRunner(agent, model=service, config=config).session() as session:
        (opening,) = service.last.of("session.update")
        assert opening["session"]["prompt"] == PROMPT
        assert "instructions" not in opening["session"]
        await session.update_agent(RealtimeAgent(name="B", instructions="Be B.", prompt=PROMPT))
        assert service.last.session["instructions"] == "Be B."
        await session.update_agent(RealtimeAgent(name="C", prompt=PROMPT))
        assert service.last.session["instructions"] == ""
        sent = len(service.last.of("session.update"))
        await session.update_agent(RealtimeAgent(name="D", prompt=PROMPT))
        assert all("instructions" not in each["session"] for each in service.last.of("session.update")[sent:])


async def test_without_a_prompt_no_instructions_are_an_empty_text(autojump_clock, service) -> None:
    async with RealtimeRunner(RealtimeAgent(name="A"), model=service).session():
        assert service.last.of("session.update")[0]["session"]["instructions"] == ""
