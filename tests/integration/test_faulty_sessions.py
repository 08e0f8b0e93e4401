"""Many seeded sessions on an emulator that misbehaves: each ends, leaves nothing, and loses no answer in silence."""

from __future__ import annotations

import os
import random
from typing import Any

import attrs
import numpy as np
import pytest
import trio
from trio.testing import MockClock

from trealtime import RealtimeAgent, RealtimeRunner, RealtimeSession, Turn, function_tool, open_emulator
from trealtime.emulator.faults import Faults
from trealtime.emulator.options import EventOrder
from trealtime.errors import TrealtimeError

SESSIONS = 500 * int(os.environ.get("TREALTIME_TIMES", "1"))
PER_TEST = 50
LONGEST_S = 900.0


@function_tool
async def get_weather(city: str) -> str:
    """The weather in a city."""
    await trio.sleep(0.5)
    return f"sunny in {city}"


def some_faults(rng: random.Random) -> Faults:
    """A bad day: a few kinds of faults, each more or less often."""

    def maybe(most: float) -> float:
        return rng.uniform(0, most) if rng.random() < 0.3 else 0.0

    return Faults(
        latency_s=maybe(0.5),
        jitter_s=maybe(0.3),
        duplicates=maybe(0.1),
        reordered=maybe(0.05),
        malformed=maybe(0.1),
        unknown=maybe(0.1),
        errors={"server_error": maybe(0.2), "rate_limit_exceeded": maybe(0.1)},
        stalls=maybe(0.02),
        stall_s=rng.choice([2.0, 20.0, 60.0]),
        half_open=0.0,
        drops=maybe(0.01),
        closes={1011: maybe(0.01), 1000: maybe(0.005), 4000: maybe(0.005)},
        refusals={503: maybe(0.5)},
        lost=maybe(0.03),
        late_acknowledgements=maybe(0.1),
        late_s=rng.choice([0.5, 5.0]),
        doubled_acknowledgements=maybe(0.1),
        errors_without_ids=maybe(1.0),
        errors_with_other_ids=maybe(0.3),
        slow_drain_bytes_per_s=rng.choice([None, None, 20_000.0]),
    )


@attrs.define
class Outcome:
    """What a session came to."""

    turns: list[Turn] = attrs.Factory(list)
    errors: list[BaseException] = attrs.Factory(list)


async def talk(session: RealtimeSession[Any], rng: random.Random, outcome: Outcome) -> None:
    sound = (np.random.default_rng(1).normal(size=24_000) * 6_000).astype(np.int16)
    for _ in range(4):
        match rng.randrange(5):
            case 0:
                outcome.turns.append(await session.ask("Count to five."))
            case 1:
                outcome.turns.append(await session.ask("What is the weather in Paris?"))
            case 2:
                await session.send_message("Tell me a story")
                await trio.sleep(rng.uniform(0, 3))
                await session.interrupt()
            case 3:
                with trio.move_on_after(rng.uniform(0, 2)):
                    async with session.respond("Say hello") as response:
                        await response.transcript()
            case 4:
                await session.send_audio(sound)
                await session.send_audio(np.zeros(24_000, np.int16))
                await trio.sleep(2)


async def hold(seed: int, outcome: Outcome) -> None:
    rng = random.Random(seed)
    faults = some_faults(rng)
    agent = RealtimeAgent(name="Assistant", tools=[get_weather])
    order: EventOrder = "other" if seed % 2 else "usual"
    async with open_emulator(listen=False, seed=seed, faults=faults, unix_time_s=0.0, event_order=order) as emulator:
        settings = {"turn_detection": {"type": "server_vad"}}
        runner = RealtimeRunner(
            agent, model=emulator.memory_model(), config={"model_settings": settings}, rng=random.Random(seed)
        )
        try:
            async with runner.session() as session, trio.open_nursery() as nursery:

                async def watch() -> None:
                    async for event in session:
                        if event.type == "error":
                            outcome.errors.append(event.error)

                nursery.start_soon(watch)
                await talk(session, rng, outcome)
                nursery.cancel_scope.cancel()
        except* TrealtimeError as group:
            outcome.errors += group.exceptions


@pytest.mark.parametrize("first", range(0, SESSIONS, PER_TEST))
def test_sessions_on_a_bad_day_end_and_lose_nothing_in_silence(first: int) -> None:
    for seed in range(first, first + PER_TEST):
        outcome = Outcome()

        async def main(seed: int = seed, outcome: Outcome = outcome) -> None:
            tasks = trio.lowlevel.current_statistics().tasks_living
            with trio.fail_after(LONGEST_S):
                await hold(seed, outcome)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().tasks_living == tasks

        try:
            trio.run(main, clock=MockClock(autojump_threshold=0))
        except BaseException as error:
            error.add_note(f"seed {seed}: {some_faults(random.Random(seed))}")
            raise
        for turn in outcome.turns:
            assert turn.text or turn.status != "completed" or outcome.errors, f"seed {seed}: an answer is lost"
