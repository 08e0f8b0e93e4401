"""Approvals in a session: asked for, decided by the app or by a handler, timed out, dropped."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest
import trio
import trio.testing

from trealtime._session.approval_handler import Approve, Reject
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import SessionClosed, SessionNotOpen, ToolFailed
from trealtime.tools.function_tool import FunctionTool, function_tool

SCHEMA = {"type": "object", "properties": {"amount": {"type": "integer"}}}


def refund_tool(ran: list[str] | None = None, *, name: str = "refund", **options: Any) -> FunctionTool:
    async def refund(context: Any, arguments: str) -> str:
        if ran is not None:
            ran.append(context.tool_call_id)
        return "refunded"

    options = {"needs_approval": True, **options}
    return FunctionTool(name, "", params_json_schema=SCHEMA, on_invoke_tool=refund, **options)


async def call(connection, name: str = "refund", arguments: str = "{}", *, call_id: str = "call_1") -> None:
    await connection.begin(id=f"resp_{call_id}")
    await connection.call(name, arguments, id=f"resp_{call_id}", call_id=call_id)
    await connection.done(id=f"resp_{call_id}")


def outputs(connection) -> dict[str, str]:
    items = [event["item"] for event in connection.of("conversation.item.create")]
    found = [(item["call_id"], item["output"]) for item in items if item["type"] == "function_call_output"]
    assert len(found) == len(dict(found))
    return dict(found)


def collected(session, *types: str) -> Any:
    return session.subscribe(
        *types or ("tool_approval_required", "tool_approval_dropped", "tool_start", "tool_end", "error")
    )


def types_of(subscription) -> list[str]:
    """What has come so far."""
    types = []
    with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
        while True:
            types.append(subscription.receive_nowait().type)
    return types


# ---- the event form -------------------------------------------------------------------------------------------------


async def test_b201_a_call_is_parked_until_the_app_approves_it(autojump_clock, service, make_runner) -> None:
    ran: list[str] = []
    async with make_runner(tools=[refund_tool(ran)]).session() as session, collected(session) as subscription:
        await call(service.last, arguments='{"amount": 5}')
        asked = await subscription.receive()
        await trio.sleep(3600)
        assert (asked.type, asked.tool.name, asked.arguments) == ("tool_approval_required", "refund", '{"amount": 5}')
        assert (asked.agent, asked.call_id) == (session.current_agent, "call_1")
        assert (ran, outputs(service.last)) == ([], {})
        (request,) = session.pending_approvals
        assert (request.call_id, request.parsed_arguments) == ("call_1", {"amount": 5})
        assert (session.statistics().approvals_pending, session.statistics().tools_active) == (1, 0)
        assert await session.approve_tool_call("call_1") is True
        assert [(await subscription.receive()).type for _ in range(2)] == ["tool_start", "tool_end"]
        await service.last.expect("response.create")
        assert (ran, outputs(service.last)) == (["call_1"], {"call_1": "refunded"})
        assert session.pending_approvals == []


async def test_ws50_the_list_of_what_is_pending_is_the_callers_own(autojump_clock, service, make_runner) -> None:
    async with make_runner(tools=[refund_tool()]).session() as session, collected(session) as subscription:
        await call(service.last)
        await subscription.receive()
        session.pending_approvals.clear()
        assert len(session.pending_approvals) == 1


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("amount, asks", [(5, False), (500, True)])
async def test_b202_a_callable_tells_by_context_arguments_and_call_id(
    autojump_clock, service, make_runner, is_async, amount, asks
) -> None:
    told = []

    def large(context: Any, arguments: dict[str, Any], call_id: str) -> bool:
        told.append((context.context, arguments, call_id))
        return arguments["amount"] > 100

    async def large_async(context: Any, arguments: dict[str, Any], call_id: str) -> bool:
        await trio.sleep(1)
        return large(context, arguments, call_id)

    tool = refund_tool(needs_approval=large_async if is_async else large)
    async with make_runner(tools=[tool]).session(context="mine") as session, collected(session) as subscription:
        await call(service.last, arguments=f'{{"amount": {amount}}}')
        assert (await subscription.receive()).type == ("tool_approval_required" if asks else "tool_start")
        assert told == [("mine", {"amount": amount}, "call_1")]


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"amount": NaN}', '{"amount": Infinity}', '{"amount": 1e999}'])
async def test_b203_arguments_that_nobody_can_read_are_asked_about(autojump_clock, service, make_runner, text) -> None:
    def never(context: Any, arguments: dict[str, Any], call_id: str) -> bool:
        raise AssertionError("it is not asked")

    tools = [refund_tool(needs_approval=never)]
    async with make_runner(tools=tools).session() as session, collected(session) as subscription:
        await call(service.last, arguments=text)
        assert (await subscription.receive()).type == "tool_approval_required"


@pytest.mark.parametrize("answer", [None, 0, "", "no", []])
async def test_only_false_lets_a_call_run_without_asking(autojump_clock, service, make_runner, answer) -> None:
    tools = [refund_tool(needs_approval=lambda context, arguments, call_id: answer)]
    async with make_runner(tools=tools).session() as session, collected(session) as subscription:
        await call(service.last)
        assert (await subscription.receive()).type == "tool_approval_required"


async def test_a_callable_that_fails_is_told_to_the_app_and_somebody_is_asked(
    autojump_clock, service, make_runner
) -> None:
    def broken(context: Any, arguments: dict[str, Any], call_id: str) -> bool:
        raise LookupError("no limits here")

    async with (
        make_runner(tools=[refund_tool(needs_approval=broken)]).session() as session,
        collected(session) as subscription,
    ):
        await call(service.last)
        error, asked = await subscription.receive(), await subscription.receive()
        assert isinstance(error.error.__cause__, LookupError)
        assert asked.type == "tool_approval_required"


async def test_b204_an_approved_call_has_the_tool_and_the_agent_of_its_moment(
    autojump_clock, service, make_runner
) -> None:
    ran: list[str] = []
    wrong: list[str] = []
    enabled = True
    tool = refund_tool(ran, is_enabled=lambda context, agent: enabled)
    async with make_runner(tools=[tool]).session() as session, collected(session) as subscription:
        first = session.current_agent
        await call(service.last)
        await subscription.receive()
        await session.update_agent(RealtimeAgent(name="Other", tools=[refund_tool(wrong)]))
        enabled = False
        await session.approve_tool_call("call_1")
        start = await subscription.receive()
        assert (start.tool, start.agent) == (tool, first)
        await service.last.expect("response.create")
        assert (ran, wrong) == (["call_1"], [])


async def test_a_disabled_tool_is_not_asked_for(autojump_clock, service, make_runner) -> None:
    offered = iter([True, False])
    tool = refund_tool(is_enabled=lambda context, agent: next(offered))
    async with make_runner(tools=[tool]).session() as session, collected(session) as subscription:
        await call(service.last)
        assert (await subscription.receive()).type == "error"
        await service.last.expect("response.create")
        assert "There is no tool" in outputs(service.last)["call_1"]


async def test_b205_always_approves_later_calls_of_the_tool(autojump_clock, service, make_runner) -> None:
    other = refund_tool(name="erase")
    async with make_runner(tools=[refund_tool(), other]).session() as session, collected(session) as subscription:
        await call(service.last)
        await subscription.receive()
        await session.approve_tool_call("call_1", always=True)
        await service.last.expect("response.create")
        await call(service.last, call_id="call_2")
        await service.last.expect("response.create", count=2)
        await call(service.last, "erase", call_id="call_3")
        await trio.testing.wait_all_tasks_blocked()
        assert types_of(subscription) == ["tool_start", "tool_end", "tool_start", "tool_end", "tool_approval_required"]


@pytest.mark.parametrize(
    "message, answer, text",
    [
        ("Not today.", "formatted", "Not today."),
        (None, "formatted", "formatted"),
        (None, None, "Tool execution was not approved."),
        (None, 7, "Tool execution was not approved."),
        (None, RuntimeError("no words"), "Tool execution was not approved."),
    ],
    ids=["message", "formatter", "none", "no text", "raises"],
)
async def test_b206_b209_a_rejected_call_is_answered_and_never_run(
    autojump_clock, service, make_runner, message, answer, text
) -> None:
    ran: list[str] = []
    kinds = []

    def formatter(args: Any) -> Any:
        kinds.append((args.kind, args.tool_name, args.call_id, args.default_message))
        if isinstance(answer, Exception):
            raise answer
        return answer

    runner = make_runner(tools=[refund_tool(ran)], tool_error_formatter=formatter)
    async with (
        runner.session() as session,
        session.subscribe("tool_approval_required", "tool_start", "tool_end") as subscription,
    ):
        await call(service.last)
        await subscription.receive()
        assert await session.reject_tool_call("call_1", rejection_message=message) is True
        end = await subscription.receive()
        assert (end.type, end.output, end.failure) == ("tool_end", text, "approval_rejected")
        await service.last.expect("response.create")
        assert outputs(service.last) == {"call_1": text}
        assert ran == []
        default = "Tool execution was not approved."
        assert kinds == ([] if message else [("approval_rejected", "refund", "call_1", default)])


async def test_b207_always_rejects_later_calls_at_once_with_the_same_message(
    autojump_clock, service, make_runner
) -> None:
    asked = []

    def needs_approval(context: Any, arguments: dict[str, Any], call_id: str) -> bool:
        asked.append(call_id)
        return True

    runner = make_runner(tools=[refund_tool(needs_approval=needs_approval)])
    async with runner.session() as session, collected(session) as subscription:
        await call(service.last)
        await subscription.receive()
        await session.reject_tool_call("call_1", always=True, rejection_message="Never.")
        await call(service.last, call_id="call_2")
        await service.last.expect("response.create", count=2)
        assert outputs(service.last) == {"call_1": "Never.", "call_2": "Never."}
        assert asked == ["call_1"]
        assert types_of(subscription) == ["tool_end", "tool_end"]


@pytest.mark.parametrize("approve", [True, False])
async def test_b208_a_decision_for_always_wins_over_a_callable_that_is_still_thinking(
    autojump_clock, service, make_runner, approve
) -> None:
    async def slow(context: Any, arguments: dict[str, Any], call_id: str) -> bool:
        if call_id == "call_2":
            await trio.sleep(10)
        return True

    async with (
        make_runner(tools=[refund_tool(needs_approval=slow)]).session() as session,
        collected(session) as subscription,
    ):
        await call(service.last)
        await call(service.last, call_id="call_2")
        await subscription.receive()
        if approve:
            await session.approve_tool_call("call_1", always=True)
        else:
            await session.reject_tool_call("call_1", always=True, rejection_message="Never.")
        await service.last.expect("response.create", count=2)
        assert outputs(service.last)["call_2"] == ("refunded" if approve else "Never.")
        assert "tool_approval_required" not in types_of(subscription)


async def test_b210_an_interrupt_while_the_refusal_is_worded_leaves_one_output_and_runs_nothing(
    autojump_clock, service, make_runner
) -> None:
    ran: list[str] = []
    wording = trio.Event()

    async def formatter(args: Any) -> str | None:
        if args.kind == "approval_rejected":
            wording.set()
            await trio.sleep_forever()
        return None

    tool = refund_tool(ran, on_interrupt="cancel")
    runner = make_runner(tools=[tool], tool_error_formatter=formatter)
    async with runner.session() as session, collected(session) as subscription:
        await call(service.last)
        await subscription.receive()
        await session.reject_tool_call("call_1")
        await wording.wait()
        await session.interrupt()
        await call(service.last)
        await trio.testing.wait_all_tasks_blocked()
        assert list(outputs(service.last)) == ["call_1"]
        assert "cancelled by an interrupt" in outputs(service.last)["call_1"]
        assert ran == []


async def test_b211_what_is_not_pending_is_false_and_a_closed_session_says_so(
    autojump_clock, service, make_runner
) -> None:
    session = await make_runner(tools=[refund_tool()]).run()
    with pytest.raises(SessionNotOpen):
        await session.approve_tool_call("call_1")
    async with session, collected(session) as subscription:
        assert await session.approve_tool_call("nobody") is False
        await call(service.last)
        await subscription.receive()
        assert await session.approve_tool_call("call_1") is True
        assert await session.reject_tool_call("call_1") is False
        await service.last.expect("response.create")
        assert outputs(service.last) == {"call_1": "refunded"}
    with pytest.raises(SessionClosed):
        await session.reject_tool_call("call_1")


async def test_b212_the_same_call_again_while_it_is_refused_gets_no_second_output(
    autojump_clock, service, make_runner
) -> None:
    async def formatter(args: Any) -> str:
        await trio.sleep(5)
        return "No."

    runner = make_runner(tools=[refund_tool()], tool_error_formatter=formatter)
    async with runner.session() as session, collected(session) as subscription:
        await call(service.last)
        await subscription.receive()
        await session.reject_tool_call("call_1")
        await call(service.last)
        await trio.sleep(20)
        assert outputs(service.last) == {"call_1": "No."}
        assert session.pending_approvals == []


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_b213_an_approved_tool_that_fails_is_an_event_and_no_error_of_whoever_approved(
    autojump_clock, service, make_runner, one_by_one
) -> None:
    async def explode(context: Any, arguments: str) -> str:
        raise LookupError("no such order")

    tool = FunctionTool("refund", "", params_json_schema=SCHEMA, on_invoke_tool=explode, needs_approval=True)
    runner = make_runner(tools=[tool], async_tool_calls=not one_by_one)
    async with runner.session() as session, collected(session, "tool_approval_required", "error") as subscription:
        await call(service.last)
        await subscription.receive()
        await session.approve_tool_call("call_1")
        error = (await subscription.receive()).error
        assert isinstance(error.__cause__, LookupError)


# ---- nobody waits ---------------------------------------------------------------------------------------------------


async def test_calls_that_wait_for_approval_hold_no_place(autojump_clock, service, make_runner) -> None:
    @function_tool
    async def look() -> str:
        """Look."""
        return "seen"

    runner = make_runner(tools=[refund_tool(max_concurrency=1), look], tool_concurrency=1)
    async with runner.session() as session:
        for number in range(3):
            await call(service.last, call_id=f"call_{number}")
        await call(service.last, "look", call_id="call_look")
        await service.last.expect("response.create")
        assert outputs(service.last) == {"call_look": "seen"}
        assert session.statistics().approvals_pending == 3
        await session.approve_tool_call("call_2")
        await service.last.expect("response.create", count=2)
        assert "call_2" in outputs(service.last)


async def test_where_calls_keep_their_order_one_that_waits_for_approval_leaves_it(
    autojump_clock, service, make_runner
) -> None:
    order = []

    def tool(name: str, **options: Any) -> FunctionTool:
        async def work(context: Any, arguments: str) -> str:
            order.append(f"{name} begins")
            await trio.sleep(1)
            order.append(f"{name} ends")
            return name

        return FunctionTool(name, "", params_json_schema=SCHEMA, on_invoke_tool=work, **options)

    asks_not = tool("asks_not", needs_approval=lambda context, arguments, call_id: False)
    tools = [tool("waits", needs_approval=True), asks_not, tool("plain")]
    async with (
        make_runner(tools=tools, async_tool_calls=False).session() as session,
        collected(session) as subscription,
    ):
        for name in ("waits", "asks_not", "plain"):
            await call(service.last, name, call_id=name)
        assert (await subscription.receive()).type == "tool_approval_required"
        await trio.sleep(0.5)
        await session.approve_tool_call("waits")
        await trio.sleep(10)
        assert order == [f"{name} {what}" for name in ("asks_not", "plain", "waits") for what in ("begins", "ends")]


async def test_pending_approvals_delay_neither_audio_nor_barge_in_nor_close(
    autojump_clock, service, make_runner
) -> None:
    began = ended = 0

    async def handler(request: Any) -> Approve:
        nonlocal began, ended
        began += 1
        try:
            await trio.sleep_forever()
        finally:
            ended += 1
        return Approve()

    runner = make_runner(tools=[refund_tool()], approval_handler=handler)
    async with runner.session() as session, collected(session, "tool_approval_dropped") as subscription:
        for number in range(10):
            await call(service.last, call_id=f"call_{number}")
        await trio.testing.wait_all_tasks_blocked()
        now = trio.current_time()
        async with session.subscribe("audio", "audio_interrupted") as heard:
            await session.send_message("Go on.")
            await service.last.reply(seconds=2)
            assert (await heard.receive()).type == "audio"
            item_id = "item_user"
            await service.last.send(
                {"type": "input_audio_buffer.speech_started", "item_id": item_id, "audio_start_ms": 0}
            )
            while (await heard.receive()).type != "audio_interrupted":
                pass
        await session.close()
        assert trio.current_time() == now
        assert (began, ended) == (10, 10)
        assert session.pending_approvals == []
        dropped = [event async for event in subscription]
        assert [(event.call_id, event.reason) for event in dropped] == [(f"call_{n}", "closed") for n in range(10)]
    assert outputs(service.last) == {}


# ---- the deadline ---------------------------------------------------------------------------------------------------


async def test_ws50_a_call_that_nobody_approves_in_time_is_rejected(autojump_clock, service, make_runner) -> None:
    ran: list[str] = []
    runner = make_runner(tools=[refund_tool(ran)], approval_timeout_s=20)
    async with runner.session() as session, collected(session) as subscription:
        began = trio.current_time()
        await call(service.last)
        assert (await subscription.receive()).expires_at == began + 20
        dropped, end = await subscription.receive(), await subscription.receive()
        assert (dropped.type, dropped.reason) == ("tool_approval_dropped", "timeout")
        assert trio.current_time() == began + 20
        assert (end.type, end.failure) == ("tool_end", "approval_rejected")
        await service.last.expect("response.create")
        assert outputs(service.last)["call_1"] == "Nobody approved the call within 20 s, so it was not made."
        assert await session.approve_tool_call("call_1") is False
        assert ran == []


# ---- dropped --------------------------------------------------------------------------------------------------------


async def test_an_interrupt_that_cancels_a_pending_call_tells_the_app_and_the_model(
    autojump_clock, service, make_runner
) -> None:
    runner = make_runner(tools=[refund_tool(on_interrupt="cancel")])
    async with runner.session() as session, collected(session) as subscription:
        await call(service.last)
        await subscription.receive()
        await session.interrupt()
        dropped = await subscription.receive()
        assert (dropped.type, dropped.reason) == ("tool_approval_dropped", "interrupted")
        await service.last.expect("conversation.item.create")
        assert "cancelled by an interrupt. It was not made." in outputs(service.last)["call_1"]
        await trio.testing.wait_all_tasks_blocked()
        assert not service.last.of("response.create")


async def test_a_call_that_the_app_answers_by_itself_is_dropped(autojump_clock, service, make_runner) -> None:
    async with make_runner(tools=[refund_tool()]).session() as session, collected(session) as subscription:
        await call(service.last)
        await subscription.receive()
        await session.create_item({"type": "function_call_output", "call_id": "call_1", "output": "mine"})
        assert (await subscription.receive()).reason == "answered"
        assert await session.approve_tool_call("call_1") is False
        assert outputs(service.last) == {"call_1": "mine"}


async def test_b214_ws50_a_lost_connection_drops_what_is_pending(autojump_clock, service, make_runner) -> None:
    reasons = []

    async def watch(subscription: Any) -> None:
        with contextlib.suppress(Exception):
            async for event in subscription:
                reasons.append(getattr(event, "reason", ""))

    with contextlib.suppress(Exception):
        async with make_runner(tools=[refund_tool()]).session() as session, trio.open_nursery() as nursery:
            subscription = session.subscribe("tool_approval_required", "tool_approval_dropped")
            nursery.start_soon(watch, subscription)
            await call(service.last)
            await trio.testing.wait_all_tasks_blocked()
            await service.last.wire.aclose(1011, "gone")
            await session.wait_closed()
    assert reasons == ["", "closed"]


# ---- the handler ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(
    "decision, text",
    [
        (Approve(), "refunded"),
        (True, "refunded"),
        (Reject("No."), "No."),
        (Reject(), "Tool execution was not approved."),
        (False, "Tool execution was not approved."),
    ],
)
async def test_a_handler_decides(service, make_runner, sync, decision, text) -> None:
    requests = []

    def decide(request: Any) -> Any:
        requests.append((request, threading.current_thread() is threading.main_thread()))
        return decision

    async def decide_async(request: Any) -> Any:
        return decide(request)

    runner = make_runner(tools=[refund_tool()], approval_handler=decide if sync else decide_async)
    with trio.fail_after(30):
        async with runner.session(context="mine") as session, collected(session) as subscription:
            await call(service.last, arguments='{"amount": 5}')
            assert (await subscription.receive()).type == "tool_approval_required"
            await service.last.expect("response.create")
            ((request, in_main),) = requests
            assert in_main is not sync
            assert (request.tool.name, request.parsed_arguments, request.call_id) == ("refund", {"amount": 5}, "call_1")
            assert (request.agent, request.context.context) == (session.current_agent, "mine")
            assert outputs(service.last) == {"call_1": text}


@pytest.mark.parametrize("approve", [True, False])
async def test_a_handler_may_decide_for_always(autojump_clock, service, make_runner, approve) -> None:
    asked = []

    async def handler(request: Any) -> Any:
        asked.append(request.call_id)
        return Approve(always=True) if approve else Reject("Never.", always=True)

    async with make_runner(tools=[refund_tool()], approval_handler=handler).session():
        for number in range(2):
            await call(service.last, call_id=f"call_{number}")
            await service.last.expect("response.create", count=number + 1)
        assert asked == ["call_0"]
        assert list(outputs(service.last).values()) == ["refunded" if approve else "Never."] * 2


@pytest.mark.parametrize("fault", [LookupError("nobody there"), 1, "yes", None])
async def test_a_handler_that_fails_has_rejected_the_call_and_the_app_is_told(
    autojump_clock, service, make_runner, fault
) -> None:
    async def handler(request: Any) -> Any:
        if isinstance(fault, Exception):
            raise fault
        return fault

    ran: list[str] = []
    runner = make_runner(tools=[refund_tool(ran)], approval_handler=handler)
    async with runner.session() as session, collected(session, "error") as subscription:
        await call(service.last)
        error = (await subscription.receive()).error
        await service.last.expect("response.create")
        assert isinstance(error, ToolFailed)
        assert isinstance(error.__cause__, LookupError if isinstance(fault, Exception) else TypeError)
        assert (error.tool_name, error.call_id) == ("refund", "call_1")
        assert outputs(service.last) == {"call_1": "Tool execution was not approved."}
        assert ran == []


@pytest.mark.parametrize("decision", [True, False])
async def test_a_handler_may_say_true_or_false(autojump_clock, service, make_runner, decision) -> None:
    async def handler(request: Any) -> bool:
        return decision

    runner = make_runner(tools=[refund_tool()], approval_handler=handler)
    async with runner.session() as session, collected(session, "error") as subscription:
        await call(service.last)
        await service.last.expect("response.create")
        expected = "refunded" if decision else "Tool execution was not approved."
        assert outputs(service.last) == {"call_1": expected}
        assert types_of(subscription) == []
        assert session.statistics().failures.total == 0


@pytest.mark.parametrize("how", ["approved", "rejected", "interrupted", "answered", "timeout"])
async def test_a_handler_is_cancelled_when_nobody_wants_to_know_any_more(
    autojump_clock, service, make_runner, how
) -> None:
    asking, ended = trio.Event(), trio.Event()

    async def handler(request: Any) -> Any:
        asking.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    tool = refund_tool(on_interrupt="cancel")
    runner = make_runner(tools=[tool], approval_handler=handler, approval_timeout_s=60)
    async with runner.session() as session, collected(session, "error") as subscription:
        await call(service.last)
        await asking.wait()
        if how == "approved":
            await session.approve_tool_call("call_1")
        elif how == "rejected":
            await session.reject_tool_call("call_1")
        elif how == "interrupted":
            await session.interrupt()
        elif how == "answered":
            await session.create_item({"type": "function_call_output", "call_id": "call_1", "output": "mine"})
        await ended.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert len(outputs(service.last)) == 1
        assert types_of(subscription) == []


async def test_the_model_is_told_what_tools_and_handoffs_there_are(autojump_clock, service, make_runner) -> None:
    runner = make_runner(tools=[refund_tool()], handoffs=[RealtimeAgent(name="Billing")])
    async with runner.session() as session, collected(session, "error") as subscription:
        await call(service.last, "unknown")
        await subscription.receive()
        await service.last.expect("response.create")
        text = outputs(service.last)["call_1"]
        assert text == "There is no tool 'unknown'. Tools: refund, transfer_to_billing."
