"""Hooks: every one is called, in the order of events."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from trealtime._session.hooks import CALLS_WAITING
from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.hooks import RealtimeAgentHooks, RealtimeRunHooks
from trealtime.errors import SettingsError, SlowConsumer
from trealtime.tools.function_tool import function_tool


@function_tool
async def look() -> str:
    """Look."""
    return "seen"


def told(value: object) -> str:
    return str(getattr(value, "name", None) or getattr(value, "type", None) or value)


def noting(base: type[Any], log: list[str], prefix: str) -> Any:
    def note(name: str) -> Any:
        async def hook(self: object, context: Any, *arguments: object) -> None:
            await trio.lowlevel.checkpoint()
            assert context.context == "ctx"
            log.append(f"{prefix} {name}({', '.join(map(told, arguments))})")

        return hook

    names = [name for name in vars(base) if name.startswith("on_")]
    return type("Noting", (base,), {name: note(name) for name in names})()


def runner_of(service: Any, agent: RealtimeAgent[Any], **config: Any) -> RealtimeRunner[Any]:
    return RealtimeRunner(agent, model=service, config=config)


async def test_b250_all_hooks_are_called_in_the_order_of_what_happened(autojump_clock, service) -> None:
    """Other: the peer calls none. The run's hook goes before the agent's."""
    log: list[str] = []
    billing = RealtimeAgent("Billing", hooks=noting(RealtimeAgentHooks, log, "billing"))
    triage = RealtimeAgent("Triage", tools=[look], handoffs=[billing], hooks=noting(RealtimeAgentHooks, log, "triage"))
    runner = runner_of(service, triage, hooks=noting(RealtimeRunHooks, log, "run"))
    async with runner.session(context="ctx") as session:
        connection = service.last
        await connection.begin()
        await connection.transcript("Let me look.")
        await connection.call("look", "{}")
        await trio.sleep(1)
        await connection.call("transfer_to_billing", "{}", call_id="call_2")
        await connection.done()
        request = await connection.expect("response.create")
        await connection.begin(request, id="resp_2")
        await connection.begin_item(id="resp_2")
        await connection.audio(2, id="resp_2")
        await connection.transcript("I bill.", id="resp_2")
        await trio.sleep(0.01)
        await session.interrupt()
        await connection.done(id="resp_2", status="cancelled")
        await trio.sleep(1)
    both = [
        "{} on_{}start(Triage)",
        "{} on_response_start(Triage, agent_start)",
        "{} on_tool_start(Triage, look)",
        "{} on_tool_end(Triage, look, seen)",
        "{} on_response_end(Triage, agent_end)",
        "{} on_{}end(Triage, Let me look.)",
    ]
    expected = [line for each in both for line in (each.format("run", "agent_"), each.format("triage", ""))]
    expected += ["run on_handoff(Triage, Billing)", "billing on_handoff(Billing, Triage)"]
    both = [
        "{} on_{}start(Billing)",
        "{} on_response_start(Billing, agent_start)",
        "{} on_interrupt(Billing, audio_interrupted)",
        "{} on_response_end(Billing, agent_end)",
        "{} on_{}end(Billing, I bill.)",
    ]
    expected += [line for each in both for line in (each.format("run", "agent_"), each.format("billing", ""))]
    assert log == expected


async def test_hooks_of_an_agent_that_comes_later_are_called(autojump_clock, service) -> None:
    log: list[str] = []
    late = RealtimeAgent("Late", hooks=noting(RealtimeAgentHooks, log, "late"))
    async with runner_of(service, RealtimeAgent("First")).session(context="ctx") as session:
        await session.update_agent(late)
        await session.update_agent(RealtimeAgent("Last"))
        await trio.sleep(1)
        assert log == ["late on_start(Late)", "late on_end(Late, )"]


async def test_a_slow_hook_delays_nothing_but_hooks(autojump_clock, service) -> None:
    log: list[str] = []

    class Slow(RealtimeAgentHooks[Any]):
        async def on_response_start(self, context: Any, agent: Any, event: Any) -> None:
            await trio.sleep(30)
            log.append("start")

        async def on_response_end(self, context: Any, agent: Any, event: Any) -> None:
            log.append("end")

    agent = RealtimeAgent("A", tools=[look], hooks=Slow())
    async with (
        runner_of(service, agent).session() as session,
        session.subscribe("audio_end", "agent_end") as subscription,
    ):
        begun = trio.current_time()
        await session.send_message("hi")
        await service.last.reply()
        assert (await subscription.receive()).type == "agent_end"
        await service.last.call("look", "{}", id="resp_2")
        await service.last.done(id="resp_2")
        await service.last.expect("response.create", count=2)
        assert trio.current_time() - begun < 1
        assert log == []
        await trio.sleep(70)
        assert log == ["start", "end", "start", "end"]


async def test_an_exception_of_a_hook_ends_the_session_and_comes_out_bare(autojump_clock, service) -> None:
    class Broken(RealtimeRunHooks[Any]):
        async def on_response_start(self, context: Any, agent: Any, event: Any) -> None:
            raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"):  # noqa: PT012  (the exit raises)
        async with runner_of(service, RealtimeAgent("A"), hooks=Broken()).session():
            await service.last.begin()
            await trio.sleep(10)


async def test_hooks_that_fall_too_far_behind_end_the_session(autojump_clock, service) -> None:
    class Stuck(RealtimeAgentHooks[Any]):
        async def on_response_start(self, context: Any, agent: Any, event: Any) -> None:
            await trio.sleep_forever()

    with pytest.raises(SlowConsumer, match=f"fell {CALLS_WAITING} calls behind"):  # noqa: PT012  (the exit raises)
        async with runner_of(service, RealtimeAgent("A", hooks=Stuck())).session():
            for number in range(CALLS_WAITING + 2):
                await service.last.begin(id=f"resp_{number}")
            await trio.sleep(10)


async def test_a_hook_that_hangs_is_cancelled_by_the_end_and_the_others_get_a_grace_period(
    autojump_clock, service
) -> None:
    log: list[str] = []

    class Stuck(RealtimeAgentHooks[Any]):
        async def on_start(self, context: Any, agent: Any) -> None:
            try:
                await trio.sleep_forever()
            finally:
                log.append("start cancelled")

        async def on_end(self, context: Any, agent: Any, output: str) -> None:
            try:
                await trio.sleep(1)
                log.append("end")
                await trio.sleep_forever()
            finally:
                log.append("end cancelled")

    runner = runner_of(service, RealtimeAgent("A", hooks=Stuck()), close_timeout_s=4)
    async with runner.session() as session:
        await trio.sleep(1)
        begun = trio.current_time()
    assert log == ["start cancelled", "end", "end cancelled"]
    assert trio.current_time() - begun <= 4
    assert session.outcome is not None


async def test_a_hook_that_is_not_overridden_costs_no_place_in_the_queue(autojump_clock, service) -> None:
    class Nothing(RealtimeAgentHooks[Any]):
        async def on_start(self, context: Any, agent: Any) -> None:
            await trio.sleep_forever()

    async with runner_of(service, RealtimeAgent("A", hooks=Nothing())).session() as session:
        for number in range(CALLS_WAITING + 2):
            await service.last.begin(id=f"resp_{number}")
        await trio.sleep(1)
        assert session.outcome is None


def test_hooks_must_be_hooks() -> None:
    with pytest.raises(TypeError, match=r"RealtimeAgent\.hooks: got <.*RealtimeAgentHooks"):
        RealtimeAgent("A", hooks=RealtimeRunHooks())
    with pytest.raises(SettingsError, match=r"hooks: got .*RealtimeRunHooks"):
        RealtimeRunner(RealtimeAgent("A"), config={"hooks": RealtimeAgentHooks()})
