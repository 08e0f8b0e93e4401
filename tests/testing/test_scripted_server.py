"""The scripted server: what it asks of a client, what it says, and what it says when a client does something else."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from trealtime import RealtimeAgent, RealtimeRunner, Turn, function_tool
from trealtime.testing import (
    UnconsumedRealtimeSteps,
    UnexpectedRealtimeSend,
    a_function_call,
    a_response,
    accept,
    emit,
    expect,
    open_scripted_server,
)


async def ask(*scripts: Any, **options: Any) -> Turn:
    """What a session says to "Hello?"."""
    async with open_scripted_server(*scripts, **options) as server:
        runner = RealtimeRunner(RealtimeAgent(name="Assistant"), model=server.memory_model())
        async with runner.session() as session:
            return await session.ask("Hello?")


async def test_a_session_is_answered_as_the_script_says(autojump_clock: MockClock) -> None:
    script = [
        accept("conversation.item.create", {"item.content[0].text": "Hello?"}),
        accept("response.create"),
        emit(a_response("Hello to you.")),
    ]
    turn = await ask(script)
    assert turn.text == "Hello to you."
    assert turn.audio


async def test_a_tool_is_called_and_its_output_expected(autojump_clock: MockClock) -> None:
    @function_tool
    async def weather(city: str) -> str:
        """The weather."""
        return f"rain in {city}"

    script = [
        accept("conversation.item.create"),
        accept("response.create"),
        emit(a_function_call("weather", {"city": "Oslo"})),
        accept("conversation.item.create", {"item.type": "function_call_output", "item.output": "rain in Oslo"}),
        accept("response.create"),
        emit(a_response("It rains.")),
    ]
    async with open_scripted_server(script) as server:
        runner = RealtimeRunner(RealtimeAgent(name="Assistant", tools=[weather]), model=server.memory_model())
        async with runner.session() as session:
            assert (await session.ask("How is it in Oslo?")).text == "It rains."


async def test_something_else_comes_out_bare_with_the_difference(autojump_clock: MockClock) -> None:
    script = [accept("conversation.item.create", {"item.content[0].txt": "Hello"}), accept("response.create")]
    with pytest.raises(UnexpectedRealtimeSend) as caught:
        await ask(script)
    message = str(caught.value)
    assert 'item.content[0].txt is missing (there is item.content[0].text = "Hello?")' in message
    assert "->  3 accept conversation.item.create" in message


async def test_steps_that_are_left_are_told(autojump_clock: MockClock) -> None:
    script = [accept("conversation.item.create"), accept("response.create"), a_response(), expect("response.create")]
    with pytest.raises(UnconsumedRealtimeSteps) as caught:
        await ask(script)
    assert len(caught.value.remaining_steps) == 1
