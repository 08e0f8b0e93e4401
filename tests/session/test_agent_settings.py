"""The settings of an agent: at the opening, on a handoff, by `update_agent`, beside a stored prompt."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.handoffs import realtime_handoff
from trealtime.errors import SettingsError, SettingsRefused
from trealtime.mcp.hosted import HostedMCPTool
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


# ---- settings -------------------------------------------------------------------------------------------------------


async def test_an_agent_brings_its_voice_and_settings_to_the_opening(autojump_clock, service, run) -> None:
    """Over the run config, under the model config (peer 2.6)."""
    agent = RealtimeAgent("A", voice="verse", model_settings={"speed": 1.2, "max_output_tokens": 100})
    settings = {"initial_model_settings": {"max_output_tokens": 50}}
    runner = run(agent, model_settings={"voice": "echo", "speed": 0.9, "tool_choice": "none"})
    async with runner.session(model_config=settings):
        update = service.last.updates[0]
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
        to_fast, back = service.last.updates[2:]
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
        assert service.last.updates[-1].keys() == {"type", "instructions", "tools"}
        await service.last.calls("look")
        assert await service.last.output() == "seen"


async def test_instructions_that_somebody_else_has_changed_become_the_new_agents(autojump_clock, service, run) -> None:
    async with run(RealtimeAgent("A", instructions="Go.")).session() as session:
        await session.send_raw({"type": "session.update", "session": {"type": "realtime", "instructions": "Stop."}})
        await service.last.expect("session.update", count=2)
        await session.update_agent(RealtimeAgent("B", instructions="Go."))
        assert service.last.updates[-1] == {"type": "realtime", "instructions": "Go."}


async def test_handoffs_stay_when_the_app_changes_tools_and_the_other_way_round(autojump_clock, service, run) -> None:
    triage, billing = agents()
    async with run(triage).session() as session:
        await session.update_settings({"tools": [pay]})
        assert names_of(service.last.session) == ["pay", "transfer_to_billing"]
        await session.update_settings({"handoffs": [RealtimeAgent("Sales"), billing]})
        assert names_of(service.last.session) == ["pay", "transfer_to_sales", "transfer_to_billing"]
        await service.last.calls("transfer_to_sales")
        await service.last.expect("response.create")
        assert session.current_agent.name == "Sales"


async def test_before_any_audio_the_new_agent_gets_its_voice(autojump_clock, service, run) -> None:
    billing = RealtimeAgent("Billing", voice="verse")
    async with run(RealtimeAgent("Triage", handoffs=[billing])).session() as session:
        await service.last.calls("transfer_to_billing")
        await service.last.expect("response.create")
        assert service.last.updates[1]["audio"] == {"output": {"voice": "verse"}}
        assert session.current_agent is billing


async def test_after_audio_another_voice_is_not_sent_and_the_app_is_told(autojump_clock, service, run) -> None:
    """Weak spot 48."""
    billing = RealtimeAgent("Billing", voice="verse")
    triage = RealtimeAgent("Triage", voice="ash", handoffs=[billing])
    async with run(triage).session() as session, session.subscribe("settings_mismatch", "handoff") as subscription:
        await session.send_message("hi")
        await service.last.reply()
        await service.last.calls("transfer_to_billing", id="resp_2")
        assert (await subscription.receive()).type == "handoff"
        (difference,) = (await subscription.receive()).differences
        assert str(difference) == "audio.output.voice: asked for 'verse', the server uses 'ash'"
        assert "audio" not in service.last.updates[1]


async def test_a_voice_waits_for_the_answer_that_may_be_the_first_to_be_heard(autojump_clock, service, run) -> None:
    """A written answer leaves the voice open."""
    async with run(RealtimeAgent("A")).session() as session, trio.open_nursery() as nursery:
        await service.last.begin()
        await trio.sleep(1)
        nursery.start_soon(session.update_agent, RealtimeAgent("B", voice="verse"))
        await trio.sleep(1)
        assert len(service.last.updates) == 1
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
        assert "audio" not in connection.updates[2]
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
        assert len(service.last.updates) == 1
        await session.update_agent(billing)
        assert session.current_agent is billing
        assert names_of(service.last.updates[1]) == ["pay"]
        await service.last.calls("pay")
        assert await service.last.output() == "paid"


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
                assert len(connection.updates) == count
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
            assert len(connection.updates) == 2
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


@pytest.mark.parametrize("by", ["the run", "the app"])
@pytest.mark.parametrize(
    "choice, choices",
    [
        ("required", ["required", "auto"]),
        ("look", ["auto", "auto"]),
        ({"type": "mcp", "server_label": "there"}, ["auto", "auto"]),
        ("none", ["none", "none"]),
        ("auto", ["auto", "auto"]),
    ],
    ids=lambda each: str(each)[:8],
)
async def test_an_agent_that_takes_over_need_not_call_a_tool_that_it_lacks(
    autojump_clock, service, run, by, choice, choices
) -> None:
    """The service would refuse every response. `choices` are those of an agent with another tool, and of one with
    none."""
    there = HostedMCPTool({"server_label": "there", "server_url": "https://example.com"})
    first = RealtimeAgent("First", tools=[look, there])
    settings = {"tool_choice": choice}
    async with run(first, **({"model_settings": settings} if by == "the run" else {})).session() as session:
        if by == "the app":
            await session.update_settings(settings)
        (began,) = {str(session.settings["tool_choice"])}
        seen = []
        for tools in ([pay], []):
            await session.update_agent(RealtimeAgent("Next", tools=tools))
            seen.append(session.settings["tool_choice"])
        assert seen == choices
        await session.update_agent(first)
        assert str(session.settings["tool_choice"]) == (began if by == "the run" else choices[-1])


async def test_a_stored_prompt_may_have_the_tool_that_has_to_be_called(autojump_clock, service, run) -> None:
    agent = RealtimeAgent("First", tools=[look])
    async with run(agent, model_settings={"tool_choice": "look"}).session() as session:
        await session.update_agent(RealtimeAgent("Next", prompt={"id": "pmpt_1"}))
        assert session.settings["tool_choice"] == {"type": "function", "name": "look"}
