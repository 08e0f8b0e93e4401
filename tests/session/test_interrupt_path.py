"""The way of an interrupt to the app: what may come before it, and what may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from trealtime._session.driver import Driver
from trealtime._session.pending_reply import PendingReplies
from trealtime._session.send_queue import SendQueue
from trealtime.audio.formats import PCM16_24K

TURNS = 12
"""Trio runs the tasks of a pass in order or in reverse, at random: a rule that holds in one of the two fails soon."""


def send_together(connection, *events: dict[str, Any]) -> None:
    """Send events so that one read brings them all."""
    for number, event in enumerate(events):
        connection.wire._outgoing.send_nowait(json.dumps({"event_id": f"event_{number}", **event}))


def speech(number: int) -> dict[str, Any]:
    return {"type": "input_audio_buffer.speech_started", "item_id": f"item_u{number}", "audio_start_ms": 1000}


def done(response_id: str) -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": response_id, "status": "cancelled", "output": []}}


async def test_the_app_has_the_interrupt_before_the_session_works_on_what_came_with_it(
    autojump_clock, service, runner
) -> None:
    async with runner.session() as session, session.subscribe("agent_end") as ends, trio.open_nursery() as nursery:
        ended_before: list[int] = []

        async def app() -> None:
            async for event in session:
                if event.type == "audio_interrupted":
                    ended_before.append(ends.statistics().events_queued)

        nursery.start_soon(app)
        for number in range(TURNS):
            response_id = f"resp_{number}"
            await service.last.begin(id=response_id)
            await service.last.audio(1, id=response_id, item_id=f"item_{number}")
            await trio.testing.wait_all_tasks_blocked()
            send_together(service.last, speech(number), done(response_id))
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        assert ended_before == list(range(TURNS))  # each interrupt came before the end of its own response
        assert ends.statistics().events_queued == TURNS


async def test_what_came_with_an_interrupt_is_not_lost_where_the_app_leaves_at_once(
    autojump_clock, service, runner
) -> None:
    async with runner.session() as session:
        ends = session.subscribe("agent_end")
        await service.last.begin()
        await service.last.audio(1)
        await trio.testing.wait_all_tasks_blocked()
        send_together(service.last, speech(0), done("resp_1"))
        async for event in session:
            if event.type == "audio_interrupted":
                break
    assert [event.type async for event in ends] == ["agent_end"]


class Core:
    """A core with nothing but a deadline."""

    raw_events = False
    input_format = output_format = PCM16_24K

    def __init__(self, next_deadline: float | None) -> None:
        self.next_deadline = next_deadline
        self.ticked_at: list[float] = []

    def put_off(self, now: float, until: float | None) -> list[Any]:
        self.next_deadline = until
        return []

    def tick(self, now: float) -> list[Any]:
        self.ticked_at.append(now)
        self.next_deadline = None
        return []


@pytest.mark.parametrize(
    "first, changes, ticks",
    [
        (10.0, [], [10.0]),
        (10.0, [(5.0, 20.0)], [20.0]),
        (10.0, [(5.0, 20.0), (9.0, 30.0), (25.0, 40.0)], [40.0]),
        (10.0, [(5.0, 20.0), (6.0, 8.0)], [8.0]),
        (10.0, [(5.0, 20.0), (15.0, 16.0)], [16.0]),
        (10.0, [(5.0, None)], []),
        (None, [(5.0, 7.0)], [7.0]),
        (10.0, [(5.0, 3.0)], [5.0]),
    ],
)
async def test_a_deadline_that_moves_is_kept_to_the_moment(autojump_clock, first, changes, ticks) -> None:
    core: Any = Core(first)
    driver = Driver(core, SendQueue(audio_bound_s=1, event_bound=10), PendingReplies(lambda: "reply"))
    end = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.keep_deadlines, end)
        for at, until in changes:
            await trio.sleep_until(at)
            driver.do(core.put_off, until)
        await trio.sleep_until(100)
        end.set()
    assert core.ticked_at == ticks


async def test_a_scope_is_not_moved_for_each_input_that_puts_the_deadline_off(autojump_clock) -> None:
    core: Any = Core(10.0)
    driver = Driver(core, SendQueue(audio_bound_s=1, event_bound=10), PendingReplies(lambda: "reply"))
    end = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.keep_deadlines, end)
        await trio.testing.wait_all_tasks_blocked()
        for n in range(1, 20):
            driver.do(core.put_off, 10.0 + n)
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == pytest.approx(10.0)
        end.set()
