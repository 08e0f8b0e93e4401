"""The scripted model, held to what the SDK's does (section 4.30 of the catalogue)."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trealtime import RealtimeAgent, RealtimeRunner, RealtimeSession
from trealtime.protocol.client_events import ResponseCreate
from trealtime.testing import (
    RealtimeConnectCall,
    RealtimeStep,
    ScriptedRealtimeModel,
    UnconsumedRealtimeSteps,
    UnexpectedRealtimeSend,
    a_response,
    accept,
)
from trealtime.transport import WireClosed
from trealtime.transport.models import ConnectionTarget

ITEM = RealtimeStep("conversation.item.create")
ANSWER = RealtimeStep("response.create", [a_response("Hello.")])


def session_of(model: ScriptedRealtimeModel, **model_config: Any) -> RealtimeSession[Any]:
    runner = RealtimeRunner(RealtimeAgent(name="Assistant", instructions="Be brief."), model=model)
    return runner.session(model_config=model_config)  # type: ignore[return-value]


async def ask(model: ScriptedRealtimeModel) -> str:
    async with session_of(model) as session:
        return (await session.ask("Hello?")).text


@pytest.mark.parametrize(
    "expected",
    [
        "response.create",
        ResponseCreate,
        {"type": "response.create"},
        {"response": {"metadata": dict}},
        lambda event: event["type"] == "response.create",
        accept("response.create"),
    ],
)
async def test_b284_a_step_may_be_a_value_a_class_or_a_predicate(expected: object, autojump_clock: MockClock) -> None:
    model = ScriptedRealtimeModel([ITEM, RealtimeStep(expected, [a_response("Hello.")])])
    assert await ask(model) == "Hello."
    model.assert_complete()


async def test_b284_anything_else_is_raised_and_the_step_stays(autojump_clock: MockClock) -> None:
    model = ScriptedRealtimeModel([ANSWER, ITEM])
    with pytest.raises(UnexpectedRealtimeSend) as caught:
        await ask(model)
    assert caught.value.actual["type"] == "conversation.item.create"
    assert len(model.remaining_steps) == 3
    assert not model.connected


async def test_b285_what_a_lenient_model_does_not_expect_is_recorded_and_answered(autojump_clock: MockClock) -> None:
    model = ScriptedRealtimeModel([ANSWER], strict=False)
    assert await ask(model) == "Hello."
    assert [event["type"] for event in model.sent_events] == ["conversation.item.create", "response.create"]


async def test_b286_what_a_step_emits_is_there_before_the_send_returns(autojump_clock: MockClock) -> None:
    model = ScriptedRealtimeModel([RealtimeStep("input_audio_buffer.clear", ["input_audio_buffer.cleared"])])
    async with model.connect(ConnectionTarget()) as wire:
        await wire.send('{"type": "session.update", "session": {"type": "realtime"}}')
        await wire.send('{"type": "input_audio_buffer.clear"}')
        with trio.fail_after(0.001):
            kinds = [str(await wire.receive()) for _ in range(3)]
    assert '"input_audio_buffer.cleared"' in kinds[-1]


async def test_b286_b288_the_error_of_a_step_is_raised_by_the_send(autojump_clock: MockClock) -> None:
    model = ScriptedRealtimeModel([RealtimeStep("conversation.item.create", error=ZeroDivisionError("on purpose"))])
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        await ask(model)
    with pytest.raises(ValueError, match="not both"):
        RealtimeStep("response.create", ["response.created"], ValueError())


async def test_b287_a_send_that_is_cancelled_has_sent_nothing_and_the_others_keep_their_order(
    autojump_clock: MockClock,
) -> None:
    model = ScriptedRealtimeModel([RealtimeStep("input_audio_buffer.clear")])
    async with model.connect(ConnectionTarget()) as wire:
        await wire.send('{"type": "session.update", "session": {"type": "realtime"}}')
        with trio.CancelScope() as scope:
            scope.cancel()
            await wire.send('{"type": "input_audio_buffer.clear"}')
        assert (len(model.remaining_steps), model.sent_events) == (1, [])
        await wire.send('{"type": "input_audio_buffer.clear"}')
    model.assert_complete()


async def test_b289_after_closing_nothing_more_is_delivered_and_one_may_connect_again(
    autojump_clock: MockClock,
) -> None:
    model = ScriptedRealtimeModel([ITEM, ANSWER])
    async with model.connect(ConnectionTarget()) as wire:
        with pytest.raises(RuntimeError, match="one session at a time"):
            async with model.connect(ConnectionTarget()):
                pytest.fail("it connected twice")
    with pytest.raises(WireClosed):
        await wire.receive()
    with pytest.raises(WireClosed):
        await wire.send("{}")
    with pytest.raises(RuntimeError, match="no session is connected"):
        model.emit("input_audio_buffer.cleared")
    assert await ask(model) == "Hello."
    assert (model.close_calls, model.closed, model.connected) == (2, True, False)


async def test_b290_connections_are_recorded_without_secrets(autojump_clock: MockClock) -> None:
    model = ScriptedRealtimeModel()
    async with session_of(model, api_key="sk-secret", url="wss://me:pass@host/v1/realtime?api-key=sk-2") as session:
        await trio.testing.wait_all_tasks_blocked()
        assert session is not None
    (call,) = model.connect_calls
    assert call == RealtimeConnectCall(
        api_key_provided=True, headers_provided=False, url=call.url, model_name=None, call_id=None
    )
    assert not any(secret in repr(model.connect_calls) for secret in ("sk-secret", "pass", "sk-2"))
    assert (model.initial_model_settings or {})["instructions"] == "Be brief."


async def test_b291_what_goes_wrong_in_the_connect_events_fails_the_connection(autojump_clock: MockClock) -> None:
    model = ScriptedRealtimeModel(connect_events=[lambda saved: saved["nothing"]])
    with pytest.raises(KeyError, match="nothing"):
        await ask(model)
    assert not model.connected


async def test_connecting_and_closing_may_fail(autojump_clock: MockClock) -> None:
    with pytest.raises(ConnectionRefusedError):
        await ask(ScriptedRealtimeModel(connect_error=ConnectionRefusedError()))
    with pytest.raises(ZeroDivisionError):
        await ask(ScriptedRealtimeModel([ITEM, ANSWER], close_error=ZeroDivisionError()))


async def test_b292_a_predicate_that_raises_changes_nothing(autojump_clock: MockClock) -> None:
    model = ScriptedRealtimeModel([RealtimeStep(lambda event: event["nothing"], ["input_audio_buffer.cleared"])])
    with pytest.raises(KeyError, match="nothing"):
        await ask(model)
    assert len(model.remaining_steps) == 2


def test_b293_steps_that_are_left_are_told_with_their_number() -> None:
    with pytest.raises(UnconsumedRealtimeSteps, match=r"3 steps are left; the next is: expect conversation\.item"):
        ScriptedRealtimeModel([ITEM, ANSWER]).assert_complete()


async def test_events_may_be_pushed_at_any_time(autojump_clock: MockClock) -> None:
    model = ScriptedRealtimeModel([], connect_events=["rate_limits.updated"])
    async with session_of(model) as session:
        model.emit(a_response("By the way."))
        async for event in session:
            if event.type == "agent_end":
                break
        assert session.history[-1].text == "By the way."
