"""A session at its limits: it ends in order, once what is being said has been heard, and says why."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from trealtime._session.runner import RealtimeRunner, serve_realtime_session
from trealtime.agents.agent import RealtimeAgent
from trealtime.errors import SessionClosed, SettingsError
from trealtime.events import LimitUse
from trealtime.tools.function_tool import function_tool

MODEL = "gpt-realtime"
"""The one that the server names where the client asks for none."""


async def collect(session: Any) -> list[Any]:
    return [event async for event in session]


async def reply_again(service: Any) -> None:
    request = await service.last.expect("response.create", count=2)
    await service.last.begin(request, id="resp_2")
    await service.last.done(id="resp_2")


async def test_a_session_ends_after_the_response_that_crossed_the_limit_has_been_heard(
    autojump_clock, nursery, service, make_runner
) -> None:
    async with make_runner(limits={"max_tokens": 15}).session() as session:
        nursery.start_soon(service.last.reply, "Goodbye now.")
        await session.send_message("Hello")
        began = trio.current_time()
        events = await collect(session)
        assert 1.0 <= trio.current_time() - began < 2.0  # there is a second of audio
        assert [event.type for event in events if event.type in ("agent_end", "limit_reached")] == [
            "agent_end",
            "limit_reached",
        ]
        assert sum(len(event.audio.data) for event in events if event.type == "audio") == 48_000
        assert session.outcome.limit == LimitUse("max_tokens", 15, 15)
        assert session.outcome.clean
        assert not session.outcome.response_cut
        for call in (session.send_message("More"), session.ask("More"), session.interrupt()):
            with pytest.raises(SessionClosed, match=r"this session is over: it has reached its limit, max_tokens: 15 "):
                await call
    assert (await service.last.expect_closed()).code == 1000


async def test_the_body_goes_on_and_the_session_can_be_left_as_ever(
    autojump_clock, nursery, service, make_runner
) -> None:
    async with make_runner(limits={"max_duration_s": 5, "warn_at": None}).session() as session:
        assert (await session.wait_closed()).limit == LimitUse("max_duration_s", 5.0, 5)
        await trio.sleep(100)
    assert service.left == 1


async def test_a_session_without_any_time_opens_and_ends(autojump_clock, service, make_runner) -> None:
    async with make_runner(limits={"max_duration_s": 0}).session() as session:
        assert (await session.wait_closed()).limit == LimitUse("max_duration_s", 0, 0)
    assert (await service.last.expect_closed()).code == 1000


async def test_an_answer_that_is_being_made_gets_its_grace_and_no_more(
    autojump_clock, nursery, service, make_runner
) -> None:
    async with make_runner(limits={"max_duration_s": 10, "grace_s": 4}).session() as session:
        began = trio.current_time()
        await session.send_message("Talk for ever")
        request = await service.last.expect("response.create")
        await trio.sleep(8)
        await service.last.begin(request)
        await service.last.begin_item()
        await service.last.audio(60)
        events = await collect(session)
        assert trio.current_time() - began == pytest.approx(14, abs=0.1)
        assert [event.type for event in events if event.type.startswith("limit_")] == [
            "limit_approached",
            "limit_reached",
        ]
        assert session.outcome.limit.name == "max_duration_s"
        assert session.outcome.response_cut
        assert service.last.of("response.cancel")


async def test_audio_that_nobody_takes_is_waited_for_no_longer_than_the_grace(
    autojump_clock, nursery, service, make_runner
) -> None:
    async with make_runner(limits={"max_tokens": 1, "grace_s": 3}).session() as session:
        nursery.start_soon(service.last.reply)
        await session.send_message("Hello")
        began = trio.current_time()
        await session.wait_closed()
        assert trio.current_time() - began == pytest.approx(3, abs=0.1)


async def test_an_answer_in_text_is_not_waited_for(autojump_clock, nursery, service, make_runner) -> None:
    async with make_runner(limits={"max_tokens": 1}).session() as session:
        nursery.start_soon(partial(service.last.reply, seconds=0))
        async with session.respond("Hello") as response:
            began = trio.current_time()
            assert (await response.result()).usage.total_tokens == 15
            await session.wait_closed()
            assert trio.current_time() - began < 0.1


async def test_a_tool_that_runs_when_a_limit_is_reached_is_not_answered_and_ask_says_why(
    autojump_clock, nursery, service, make_runner
) -> None:
    @function_tool
    async def slow() -> str:
        """Take your time."""
        await trio.sleep(1)
        return "done"

    async def call() -> None:
        request = await service.last.expect("response.create")
        await service.last.begin(request)
        await service.last.call("slow", "{}")
        await service.last.done()

    async with make_runner(tools=[slow], limits={"max_tokens": 10}).session() as session:
        nursery.start_soon(call)
        with pytest.raises(SessionClosed, match="max_tokens"):
            await session.ask("Do it")
        await session.wait_closed()
        assert len(service.last.of("response.create")) == 1


async def test_a_session_in_a_nursery_of_yours_returns_at_its_limit(
    autojump_clock, nursery, service, make_runner
) -> None:
    async with trio.open_nursery() as mine:
        session = await mine.start(serve_realtime_session, make_runner(limits={"max_duration_s": 2}))
    assert session.outcome.limit is not None


async def test_closing_at_the_last_moment_still_says_that_the_limit_was_reached(
    autojump_clock, nursery, service, make_runner
) -> None:
    async with make_runner(limits={"max_tokens": 1}).session() as session:
        nursery.start_soon(service.last.reply)
        await session.send_message("Hello")
        async for event in session:
            if event.type == "limit_reached":
                await trio.testing.wait_all_tasks_blocked()
                await session.close()
        assert session.outcome.limit is not None


async def test_cost_is_on_the_turn_on_the_session_and_in_the_limit(
    autojump_clock, nursery, service, make_runner
) -> None:
    config = {
        "prices": {MODEL: {"text_input": 1, "text_output": 2, "audio_input": 10, "audio_output": 20}},
        "limits": {"max_cost": 0.0003, "warn_at": None},
    }
    async with make_runner(**config).session() as session:
        nursery.start_soon(service.last.reply)
        turn = await session.ask("Hello")
        assert turn.usage.cost.at_least == Decimal("0.00002")
        assert turn.usage.cost.at_most == session.cost.at_most == session.usage.cost.at_most == Decimal("0.0002")
        assert session.transcription_usage.cost.exact
        nursery.start_soon(reply_again, service)
        await session.ask("And now?")
        assert (await session.wait_closed()).limit.name == "max_cost"


async def test_a_limited_cost_needs_a_price_for_the_model_that_the_server_uses(
    autojump_clock, service, make_runner
) -> None:
    runner = make_runner(prices={"gpt-realtime-mini": {"text_input": 1}}, limits={"max_cost": 1})
    with pytest.raises(SettingsError, match=f"prices: got .*, allowed: a table with the prices of '{MODEL}'"):
        async with runner.session():
            pytest.fail("the body must not run")
    assert service.left == 1


async def test_a_limited_cost_needs_a_server_that_names_its_model(
    autojump_clock, nursery, service, make_runner
) -> None:
    async def accept_the_settings() -> None:
        await service.connected.wait()
        update = await service.last.expect("session.update")
        settings = {key: value for key, value in update["session"].items() if key != "model"}
        await service.last.send({"type": "session.updated", "session": settings})

    service.greet = lambda connection: {"type": "session.created", "session": {"type": "realtime"}}
    service.answers = False
    nursery.start_soon(accept_the_settings)
    runner = make_runner(prices={MODEL: {"text_input": 1}}, limits={"max_cost": 1})
    with pytest.raises(SettingsError, match="does not name its model"):
        async with runner.session():
            pytest.fail("the body must not run")


@pytest.mark.parametrize(
    "config, path",
    [
        ({"limits": {"max_cost": 1}}, "limits.max_cost: got Decimal.*allowed: nothing without `prices`"),
        ({"limits": {"max_tokens": 0}}, "limits.max_tokens: got 0, allowed: .*at least 1"),
        ({"limits": {"max_token": 5}}, "limits: unknown key 'max_token'; did you mean 'max_tokens'"),
        ({"limits": {"warn_at": 80}}, "limits.warn_at: got 80, allowed: .*from 0 to 1"),
        ({"limits": {"max_cost": "much"}}, "limits.max_cost: got 'much', allowed: an amount of 0 or more"),
        ({"prices": {"m": {"text": 1}}}, "prices.m: unknown key 'text'"),
        ({"prices": {"m": {"text_input": -1}}}, "prices.m.text_input: got -1, allowed: an amount of 0 or more"),
        ({"prices": {1: {}}}, "prices: got .*allowed: a mapping with string keys"),
    ],
)
def test_what_cannot_be_a_price_or_a_limit_is_refused_where_it_is_given(config, path) -> None:
    with pytest.raises(SettingsError, match=path):
        RealtimeRunner(RealtimeAgent(name="Assistant"), config=config)
