"""Callables of the user's that fail in odd ways: while they are being cancelled, where a nursery raises failure and
cancellation in one group; and with exceptions and values that cannot say what they are. None of it ends a session."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trealtime import (
    InputGuardrail,
    OutputGuardrail,
    RealtimeAgent,
    RealtimePlaybackTracker,
    RealtimeRunHooks,
    realtime_handoff,
)
from trealtime._session.playback_tracker import RealtimePlaybackState
from trealtime.agents.guardrails import GuardrailFunctionOutput, output_guardrail
from trealtime.tools.function_tool import function_tool
from trealtime.tools.guardrails import tool_input_guardrail, tool_output_guardrail


async def fail_when_cancelled(*_: object) -> Any:
    """Like a client that two tasks share, and that cannot say goodbye."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        try:
            await trio.sleep_forever()
        finally:
            raise LookupError("no goodbye")


def outputs(connection: Any) -> list[str]:
    items = [event["item"] for event in connection.of("conversation.item.create")]
    return [item["output"] for item in items if item["type"] == "function_call_output"]


NOT_MADE = "The call of search was cancelled by an interrupt. It was not made."
UNCHECKED = "because the call could not be checked."

PLACES = {
    "is_enabled": ({"is_enabled": fail_when_cancelled}, "The tool search failed."),
    "needs_approval": ({"needs_approval": fail_when_cancelled}, NOT_MADE),
    "tool_input_guardrails": ({"tool_input_guardrails": [tool_input_guardrail(fail_when_cancelled)]}, UNCHECKED),
    "tool": ({}, "An error occurred while running the tool search: LookupError: no goodbye"),
    "failure_error_function": ({"failure_error_function": fail_when_cancelled}, "LookupError: gone"),
    "tool_output_guardrails": ({"tool_output_guardrails": [tool_output_guardrail(fail_when_cancelled)]}, "withheld"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("closed", [False, True])
async def test_a_call_is_answered_and_the_session_lives(autojump_clock, service, make_runner, place, closed) -> None:
    options, text = PLACES[place]
    enabled = options.get("is_enabled", True)

    async def search() -> str:
        if place == "tool":
            await fail_when_cancelled()
        elif place == "failure_error_function":
            raise LookupError("gone")
        return "found"

    async def is_enabled(*_: object) -> bool:
        if enabled is True or not service.connections:  # offered, and then asked again
            return True
        return bool(await fail_when_cancelled())

    tool = function_tool(search, **{"on_interrupt": "cancel", **options, "is_enabled": is_enabled})
    async with make_runner(tools=[tool]).session() as session:
        await service.last.begin()
        await service.last.call("search", "{}")
        await service.last.done()
        await trio.testing.wait_all_tasks_blocked()
        assert outputs(service.last) == []
        if not closed:
            await session.interrupt()
            await trio.testing.wait_all_tasks_blocked()
            (output,) = outputs(service.last)
            assert text in output
            assert session.outcome is None
    assert session.outcome.clean


async def test_an_approval_handler_that_is_not_wanted_any_more(autojump_clock, service, make_runner) -> None:
    @function_tool(needs_approval=True)
    async def search() -> str:
        return "found"

    async with make_runner(tools=[search], approval_handler=fail_when_cancelled).session() as session:
        await service.last.begin()
        await service.last.call("search", "{}")
        await service.last.done()
        await trio.testing.wait_all_tasks_blocked()
        assert await session.approve_tool_call("call_1")
        await trio.testing.wait_all_tasks_blocked()
        assert outputs(service.last) == ["found"]
        assert session.outcome is None


async def test_a_guardrail_whose_verdict_is_not_wanted_any_more(autojump_clock, service, make_runner) -> None:
    @output_guardrail
    async def quick(*_: object) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(None, tripwire_triggered=True)

    slow = output_guardrail(fail_when_cancelled)
    checks = {"debounce_text_length": 3}
    runner = make_runner(output_guardrails=[slow, quick], guardrails_settings={**checks, "timeout_s": 1})
    async with runner.session() as session, session.subscribe("guardrail_tripped") as subscription:
        await session.send_message("Hello.")
        await service.last.reply()
        assert (await subscription.receive()).guardrail_results[0].guardrail is quick
        await trio.testing.wait_all_tasks_blocked()
        assert session.outcome is None


async def test_a_guardrail_is_late_by_the_clock_and_not_by_what_it_raises(autojump_clock, service, make_runner) -> None:
    @output_guardrail
    async def asks_a_service(*_: object) -> GuardrailFunctionOutput:
        raise trio.TooSlowError("the service")

    runner = make_runner(output_guardrails=[asks_a_service], guardrails_settings={"timeout_s": 10})
    async with runner.session() as session, session.subscribe("error") as subscription:
        await session.send_message("Hello.")
        await service.last.reply()
        assert "failed: TooSlowError: the service" in str((await subscription.receive()).error)


# ---- words that no wire can carry -----------------------------------------------------------------------------------


async def test_a_lone_surrogate_in_what_the_model_is_to_read_is_a_question_mark(
    autojump_clock, service, make_runner
) -> None:
    @function_tool(needs_approval=True)
    async def search() -> str:
        return "found"

    runner = make_runner(tools=[search], tool_error_formatter=lambda args: "not there \ud800")
    async with runner.session() as session:
        await service.last.begin()
        await service.last.call("search", "{}")
        await service.last.call("fly", "{}", call_id="call_2")
        await service.last.done()
        await trio.testing.wait_all_tasks_blocked()
        await session.reject_tool_call("call_1", rejection_message="no \ud800")
        await service.last.expect("response.create")
        assert outputs(service.last) == ["not there ?", "no ?"]
        with pytest.raises(TypeError, match="the message of a rejection must be a str or None, got 5"):
            await session.reject_tool_call("call_9", rejection_message=5)


@pytest.mark.parametrize("of", ["tool", "handoff"])
async def test_a_ctrl_c_in_an_async_is_enabled_comes_out_bare(autojump_clock, service, make_runner, of) -> None:
    async def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    @function_tool(is_enabled=interrupted if of == "tool" else True)
    async def search() -> str:
        return "found"

    billing = realtime_handoff(RealtimeAgent(name="Billing"), is_enabled=interrupted if of == "handoff" else True)
    with pytest.raises(KeyboardInterrupt):
        async with make_runner(tools=[search], handoffs=[billing]).session():
            raise AssertionError("the session has opened")


async def test_a_playback_tracker_that_raises_ctrl_c_hangs_no_session(autojump_clock, service, runner) -> None:
    """It is asked once more while the session ends."""

    class Interrupted(RealtimePlaybackTracker):
        def get_state(self) -> RealtimePlaybackState:
            raise KeyboardInterrupt

    async def talk() -> None:
        async with runner.session(model_config={"playback_tracker": Interrupted()}) as session:
            await session.send_message("Hi")
            await service.last.reply()
            await session.interrupt()  # raises SessionClosed, or asks the tracker first

    with trio.fail_after(60), pytest.raises(KeyboardInterrupt):
        await talk()


# ---- exceptions and values that cannot say what they are ------------------------------------------------------------


class Mute(Exception):
    """As exceptions are whose text needs an argument that was not given."""

    def __str__(self) -> str:
        raise AttributeError("no detail")

    __repr__ = __str__


def mute(*_: object) -> Any:
    raise Mute


async def mute_async(*_: object) -> Any:
    raise Mute


class Shy:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __bool__(self) -> bool:
        raise ValueError("neither true nor false, as an array is")


async def shy_async(*_: object) -> Any:
    return Shy()


NO_TEXT = "<Mute, whose str raises AttributeError>"
REJECTED = "Tool execution was not approved."
MUTE_TOOLS = {
    "tool": ({}, {}, f"the tool search: Mute: {NO_TEXT}"),
    "failure_error_function": ({"failure_error_function": mute}, {}, f"Mute: {NO_TEXT}"),
    "its answer": ({"failure_error_function": lambda *_: Shy()}, {}, f"Mute: {NO_TEXT}"),
    "formatter": ({"failure_error_function": None}, {"tool_error_formatter": mute}, "The tool search failed."),
    "its text": ({"failure_error_function": None}, {"tool_error_formatter": shy_async}, "The tool search failed."),
    "needs_approval": ({"needs_approval": mute}, {"approval_handler": mute_async}, REJECTED),
    "approval_handler": ({"needs_approval": True}, {"approval_handler": shy_async}, REJECTED),
    "tool_input_guardrails": ({"tool_input_guardrails": [tool_input_guardrail(mute_async)]}, {}, UNCHECKED),
    "its verdict": ({"tool_input_guardrails": [tool_input_guardrail(shy_async)]}, {}, UNCHECKED),
}


@pytest.mark.parametrize("place", MUTE_TOOLS)
async def test_a_failure_without_a_text_is_answered_and_told(autojump_clock, service, make_runner, place) -> None:
    options, config, text = MUTE_TOOLS[place]
    tool = function_tool(mute_async, name_override="search", **options)
    runner = make_runner(tools=[tool], **config)
    async with runner.session() as session, session.subscribe("error") as errors:
        await service.last.begin()
        await service.last.call("search", "{}")
        await service.last.done()
        await trio.testing.wait_all_tasks_blocked()
        (output,) = outputs(service.last)
        assert text in output
        assert str((await errors.receive()).error)
        assert session.outcome is None


@pytest.mark.parametrize("verdict", [mute_async, shy_async, lambda *_: GuardrailFunctionOutput(Shy(), Shy())])
@pytest.mark.parametrize("kind", ["input_guardrails", "output_guardrails"])
async def test_a_guardrail_that_fails_without_a_text(autojump_clock, service, make_runner, kind, verdict) -> None:
    async def check(*arguments: object) -> Any:
        return await verdict(*arguments) if verdict in (mute_async, shy_async) else verdict()

    guardrail = {"input_guardrails": InputGuardrail, "output_guardrails": OutputGuardrail}[kind](check)
    async with make_runner(**{kind: [guardrail]}).session() as session, session.subscribe("error") as errors:
        await session.send_message("Hello.")
        await service.last.reply()
        assert "guardrail check failed: " in str((await errors.receive()).error)
        assert session.outcome is None


async def test_a_hook_that_fails_without_a_text_ends_the_session_bare(autojump_clock, service, make_runner) -> None:
    class Hooks(RealtimeRunHooks[Any]):
        async def on_response_end(self, *_: object) -> None:
            raise Mute

    async def call() -> None:
        async with make_runner(hooks=Hooks()).session() as session:
            await session.send_message("Hello.")
            await service.last.reply()
            await trio.sleep_forever()

    with pytest.raises(Mute):
        await call()


async def test_a_handoff_that_fails_without_a_text(autojump_clock, service, make_runner) -> None:
    billing = realtime_handoff(RealtimeAgent(name="Billing"), on_handoff=mute)
    async with make_runner(handoffs=[billing]).session() as session:
        await service.last.begin()
        await service.last.call("transfer_to_billing", "{}")
        await service.last.done()
        await trio.testing.wait_all_tasks_blocked()
        (output,) = outputs(service.last)
        assert output.startswith("The handoff was not made. ")
        assert output.endswith(f"transfer_to_billing: Mute: {NO_TEXT}")
        assert session.outcome is None
