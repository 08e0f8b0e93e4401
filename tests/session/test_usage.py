"""Usage where an app meets it: of an answer, of the session, in the context of a tool."""

from __future__ import annotations

from typing import Any

from trealtime.tools.context import RunContext
from trealtime.tools.function_tool import function_tool


async def answer_with_a_call(service: Any) -> None:
    """Two responses: a call of `look`, and what there is to say then."""
    await service.last.begin(await service.last.expect("response.create"))
    await service.last.call("look", "{}")
    await service.last.done()
    await service.last.begin(await service.last.expect("response.create", count=2), id="resp_2")
    await service.last.begin_item(id="resp_2")
    await service.last.transcript("There it is.", id="resp_2")
    await service.last.done(id="resp_2")


@function_tool
async def look(context: RunContext[list[int]]) -> str:
    """Note how many responses there have been."""
    context.context.append(context.usage.requests)
    return "there"


async def test_a_turn_has_all_that_its_responses_took(autojump_clock, nursery, service, make_runner) -> None:
    seen: list[int] = []
    async with make_runner(tools=[look]).session(context=seen) as session:
        nursery.start_soon(answer_with_a_call, service)
        async with session.respond("Where is it?") as response:
            assert response.usage is None
            assert (await response.result()).usage.total_tokens == 15
            assert (response.usage.requests, response.usage.total_tokens) == (2, 30)
        assert session.usage == response.usage
        assert session.context.usage is session.usage
    assert len(seen) == 1


async def test_ask_adds_up_and_its_entries_tell_the_responses_apart(
    autojump_clock, nursery, service, make_runner
) -> None:
    async with make_runner(tools=[look]).session(context=[]) as session:
        nursery.start_soon(answer_with_a_call, service)
        turn = await session.ask("Where is it?")
    assert [entry.total_tokens for entry in turn.usage.request_usage_entries] == [15, 15]


async def test_an_answer_outside_the_conversation_is_counted(autojump_clock, nursery, service, runner) -> None:
    async with runner.session() as session:
        nursery.start_soon(service.last.reply)
        await session.ask("Beside", out_of_band=True)
        assert session.usage.total_tokens == 15
        assert session.cost is None
