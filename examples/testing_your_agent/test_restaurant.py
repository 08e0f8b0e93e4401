"""Tests of the restaurant's agent, in virtual time: ``python -m pytest examples/testing_your_agent``.

The scenarios beside this file say the same things in YAML; here is what needs Python.
"""

from __future__ import annotations

import re
from typing import Any

import restaurant
import trio

from trealtime import RealtimeRunner, RealtimeSession
from trealtime.testing import (
    a_function_call,
    a_response,
    accept,
    called,
    emit,
    interrupted_at,
    not_called,
    open_scripted_server,
    said,
)

# In each test `autojump_clock` is pytest-trio's: time passes only while everything waits, and costs nothing.


async def test_the_host_asks_for_what_it_needs(realtime_session: RealtimeSession[Any], autojump_clock: object) -> None:
    turn = await realtime_session.ask("Please find tables for us.")
    assert turn.text == "Which day?"
    not_called(realtime_session, "find_tables")


async def test_a_booking_system_that_is_down_does_not_end_the_call(
    realtime_session: RealtimeSession[Any], autojump_clock: object
) -> None:
    await realtime_session.ask("Find tables for two on Friday.")
    called(realtime_session, "find_tables", day="Friday", guests=2)
    said(realtime_session, "the booking system is not connected")
    assert (await realtime_session.ask("Thanks.")).text == "You are welcome."


async def test_a_guest_may_interrupt(realtime_session: RealtimeSession[Any], autojump_clock: object) -> None:
    async with realtime_session.respond("Tell me a long story.") as response:
        with trio.move_on_after(3):
            async for _ in response.audio:
                pass
    interrupted_at(realtime_session, 3_000, within_ms=200)


async def test_a_complaint_is_handed_over_whatever_the_model_says(autojump_clock: object) -> None:
    async with open_scripted_server(
        [
            accept("conversation.item.create"),
            accept("response.create"),
            emit(a_function_call("transfer_to_manager")),
            accept("session.update", {"session.instructions": lambda words: "Ines" in words}),
            accept("conversation.item.create", {"item.type": "function_call_output"}),
            accept("response.create"),
            emit(a_response("I am sorry to hear that.")),
        ]
    ) as server:
        runner = RealtimeRunner(restaurant.host, model=server.memory_model())
        async with runner.session() as session:
            await session.ask("The soup was cold.")
            assert session.current_agent.name == "Manager"
            said(session, re.compile("sorry"))
