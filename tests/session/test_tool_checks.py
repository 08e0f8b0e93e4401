"""Tool guardrails in a session: when they run, what follows."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio

from trealtime.errors import (
    GuardrailFailed,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
)
from trealtime.tools.function_tool import FunctionTool
from trealtime.tools.guardrails import (
    ToolGuardrailFunctionOutput,
    ToolInputGuardrail,
    ToolOutputGuardrail,
)

ALLOW = ToolGuardrailFunctionOutput.allow()
REJECT = ToolGuardrailFunctionOutput.reject_content("Too much.")
RAISE = ToolGuardrailFunctionOutput.raise_exception("stolen card")
EVENTS = ("tool_approval_required", "tool_start", "tool_end", "error")


def guardrail(log: list[str], name: str, verdict: Any, kind: type = ToolInputGuardrail) -> Any:
    async def check(data: Any) -> Any:
        log.append(f"{name} of {data.context.tool_call_id} for {data.agent.name}")
        if isinstance(verdict, Exception):
            raise verdict
        if verdict == "slow":
            await trio.sleep_forever()
        return verdict

    return kind(check, name)


def pay_tool(log: list[str], *, fails: bool = False, **options: Any) -> FunctionTool:
    async def pay(context: Any, arguments: str) -> Any:
        log.append("run")
        if fails:
            raise LookupError("card 4242 is unknown")
        return {"paid": 5}

    return FunctionTool("pay", "", params_json_schema={"type": "object"}, on_invoke_tool=pay, **options)


async def call(connection, *, call_id: str = "c1") -> None:
    await connection.begin(id=f"resp_{call_id}")
    await connection.call("pay", "{}", id=f"resp_{call_id}", call_id=call_id)
    await connection.done(id=f"resp_{call_id}")


def output_of(connection) -> str:
    items = [event["item"] for event in connection.of("conversation.item.create")]
    (output,) = [item["output"] for item in items if item["type"] == "function_call_output"]
    return output


# ---- input ----------------------------------------------------------------------------------------------------------


async def test_b215_they_run_in_order_before_the_tool_starts(autojump_clock, service, make_runner) -> None:
    log: list[str] = []
    tool = pay_tool(log, tool_input_guardrails=[guardrail(log, "first", ALLOW), guardrail(log, "second", ALLOW)])
    async with make_runner(tools=[tool]).session() as session, session.subscribe(*EVENTS) as subscription:
        await call(service.last)
        assert [(await subscription.receive()).type for _ in range(2)] == ["tool_start", "tool_end"]
        assert log == ["first of c1 for Assistant", "second of c1 for Assistant", "run"]


async def test_b215_the_first_rejection_is_the_output_and_the_tool_does_not_run(
    autojump_clock, service, make_runner
) -> None:
    log: list[str] = []
    checks = [guardrail(log, name, verdict) for name, verdict in (("a", ALLOW), ("b", REJECT), ("c", ALLOW))]
    tool = pay_tool(log, tool_input_guardrails=checks)
    async with make_runner(tools=[tool]).session() as session, session.subscribe(*EVENTS) as subscription:
        await call(service.last)
        end = await subscription.receive()
        assert (end.type, end.output, end.failure) == ("tool_end", "Too much.", "guardrail_rejected")
        await service.last.expect("response.create")
        assert output_of(service.last) == "Too much."
        assert log == ["a of c1 for Assistant", "b of c1 for Assistant"]


@pytest.mark.parametrize("place", ["input", "output"])
async def test_b215_an_exception_ends_the_session_and_comes_out_of_it_bare(
    autojump_clock, service, make_runner, place
) -> None:
    log: list[str] = []
    kind = ToolInputGuardrail if place == "input" else ToolOutputGuardrail
    error = ToolInputGuardrailTripwireTriggered if place == "input" else ToolOutputGuardrailTripwireTriggered
    check = guardrail(log, "thief", RAISE, kind)
    tool = pay_tool(log, **{f"tool_{place}_guardrails": [check]})
    with pytest.raises(error) as caught:  # noqa: PT012  (it comes out of leaving the session)
        async with make_runner(tools=[tool]).session():
            await call(service.last)
            await trio.sleep_forever()
    assert (caught.value.guardrail, caught.value.output) == (check, RAISE)
    assert (caught.value.tool_name, caught.value.call_id) == ("pay", "c1")
    assert "stopped by the guardrail thief" in str(caught.value)
    assert log == (["thief of c1 for Assistant"] if place == "input" else ["run", "thief of c1 for Assistant"])
    assert not service.last.of("conversation.item.create")
    assert (await service.last.expect_closed()).code == 1000


async def test_b216_by_default_they_do_not_run_before_the_approval(autojump_clock, service, make_runner) -> None:
    log: list[str] = []
    tool = pay_tool(log, needs_approval=True, tool_input_guardrails=[guardrail(log, "check", REJECT)])
    async with make_runner(tools=[tool]).session() as session, session.subscribe(*EVENTS) as subscription:
        await call(service.last)
        assert (await subscription.receive()).type == "tool_approval_required"
        assert log == []
        await session.approve_tool_call("c1")
        assert (await subscription.receive()).type == "tool_end"
        assert log == ["check of c1 for Assistant"]


async def test_b217_before_the_approval_they_run_twice_and_a_rejection_takes_its_place(
    autojump_clock, service, make_runner
) -> None:
    log: list[str] = []
    verdicts = iter([ALLOW, ALLOW, REJECT])

    async def check(data: Any) -> Any:
        log.append("check")
        return next(verdicts)

    tool = pay_tool(log, needs_approval=True, tool_input_guardrails=[ToolInputGuardrail(check)])
    runner = make_runner(tools=[tool], tool_execution={"pre_approval_tool_input_guardrails": True})
    async with runner.session() as session, session.subscribe(*EVENTS) as subscription:
        await call(service.last)
        assert (await subscription.receive()).type == "tool_approval_required"
        assert log == ["check"]
        await session.approve_tool_call("c1")
        assert [(await subscription.receive()).type for _ in range(2)] == ["tool_start", "tool_end"]
        assert log == ["check", "check", "run"]
        await call(service.last, call_id="c2")
        end = await subscription.receive()
        assert (end.type, end.output) == ("tool_end", "Too much.")
        assert session.pending_approvals == []


async def test_b217_a_tool_that_needs_no_approval_is_checked_once(autojump_clock, service, make_runner) -> None:
    log: list[str] = []
    tool = pay_tool(log, tool_input_guardrails=[guardrail(log, "check", ALLOW)])
    runner = make_runner(tools=[tool], tool_execution={"pre_approval_tool_input_guardrails": True})
    async with runner.session():
        await call(service.last)
        await service.last.expect("response.create")
        assert log == ["check of c1 for Assistant", "run"]


async def test_b208_a_decision_for_always_wins_over_a_guardrail_before_the_approval(
    autojump_clock, service, make_runner
) -> None:
    async def slow(data: Any) -> Any:
        await trio.sleep(5 if data.context.tool_call_id == "c2" else 0)
        return ALLOW

    tool = pay_tool([], needs_approval=True, tool_input_guardrails=[ToolInputGuardrail(slow)])
    runner = make_runner(tools=[tool], tool_execution={"pre_approval_tool_input_guardrails": True})
    async with runner.session() as session, session.subscribe(*EVENTS) as subscription:
        await call(service.last)
        await call(service.last, call_id="c2")
        assert (await subscription.receive()).type == "tool_approval_required"
        await session.reject_tool_call("c1", always=True)
        assert [(await subscription.receive()).failure for _ in range(2)] == ["approval_rejected"] * 2


# ---- output ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
async def test_b218_output_guardrails_get_what_the_tool_gave_and_may_withhold_it(
    autojump_clock, service, make_runner, fails
) -> None:
    given = []

    async def check(data: Any) -> Any:
        given.append(data.output)
        return ToolGuardrailFunctionOutput.reject_content("Withheld.")

    tool = pay_tool([], fails=fails, tool_output_guardrails=[ToolOutputGuardrail(check)])
    async with make_runner(tools=[tool]).session() as session, session.subscribe("tool_end") as subscription:
        await call(service.last)
        end = await subscription.receive()
        assert (end.output, end.failure) == ("Withheld.", "guardrail_rejected")
        await service.last.expect("response.create")
        assert output_of(service.last) == "Withheld."
        if fails:
            assert "card 4242" in given[0]
        else:
            assert given == [{"paid": 5}]


async def test_b218_an_output_that_passes_is_what_the_tool_gave(autojump_clock, service, make_runner) -> None:
    log: list[str] = []
    tool = pay_tool(log, tool_output_guardrails=[guardrail(log, "check", ALLOW, ToolOutputGuardrail)])
    async with make_runner(tools=[tool]).session() as session, session.subscribe("tool_end") as subscription:
        await call(service.last)
        end = await subscription.receive()
        assert (end.output, end.failure) == ({"paid": 5}, None)
        assert log == ["run", "check of c1 for Assistant"]


# ---- a guardrail that cannot tell -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place, ran", [("input", []), ("output", ["run"])])
@pytest.mark.parametrize("fault", [LookupError("no limits here"), True, "slow"], ids=["raises", "no verdict", "slow"])
async def test_what_could_not_be_checked_does_not_pass(autojump_clock, service, make_runner, place, ran, fault) -> None:
    log: list[str] = []
    kind = ToolInputGuardrail if place == "input" else ToolOutputGuardrail
    tool = pay_tool(log, **{f"tool_{place}_guardrails": [guardrail(log, "check", fault, kind)]})
    runner = make_runner(tools=[tool], guardrails_settings={"timeout_s": 5})
    async with runner.session() as session, session.subscribe("error", "tool_end") as subscription:
        await call(service.last)
        error, end = (await subscription.receive()).error, await subscription.receive()
        await service.last.expect("response.create")
        assert isinstance(error, GuardrailFailed)
        assert error.guardrail_name == "check"
        assert end.failure == "guardrail_rejected"
        assert "could not be checked" in output_of(service.last)
        assert [entry for entry in log if entry == "run"] == ran


@pytest.mark.parametrize(
    "fault, told", [("slow", "check took longer than 5 s"), (trio.TooSlowError("the bank"), "TooSlowError: the bank")]
)
async def test_a_guardrail_is_late_by_the_clock_and_not_by_what_it_raises(
    autojump_clock, service, make_runner, fault, told
) -> None:
    tool = pay_tool([], tool_input_guardrails=[guardrail([], "check", fault)])
    runner = make_runner(tools=[tool], guardrails_settings={"timeout_s": 5})
    async with runner.session() as session, session.subscribe("error") as subscription:
        await call(service.last)
        assert told in str((await subscription.receive()).error)


async def test_a_guardrail_that_thinks_holds_up_nobody_and_ends_with_the_session(
    autojump_clock, service, make_runner
) -> None:
    log: list[str] = []
    tool = pay_tool(log, tool_input_guardrails=[guardrail(log, "check", "slow")])
    async with make_runner(tools=[tool]).session() as session:
        began = trio.current_time()
        await call(service.last)
        await session.update_settings({"instructions": "still reading"})
        assert session.statistics().tools_active == 1
    assert trio.current_time() == began


async def test_the_verdict_of_a_synchronous_guardrail_counts_however_late_it_is(service, make_runner) -> None:
    def late(data: Any) -> Any:
        time.sleep(0.05)
        return REJECT

    tool = pay_tool([], tool_input_guardrails=[ToolInputGuardrail(late)])
    runner = make_runner(tools=[tool], guardrails_settings={"timeout_s": 0.01})
    with trio.fail_after(30):
        async with runner.session() as session, session.subscribe("error", "tool_end") as subscription:
            await call(service.last)
            assert (await subscription.receive()).output == "Too much."
