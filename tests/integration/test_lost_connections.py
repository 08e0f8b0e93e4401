"""A call with everything in it, on connections that are lost (`long_call`): one loss at any event, and several in a
call."""

from __future__ import annotations

import os
import random
from functools import partial
from typing import Final

import pytest
from long_call import Call, check, hold

from trealtime.emulator import Cut, Faults
from trealtime.testing import run_deterministically

TIMES: Final = int(os.environ.get("TREALTIME_TIMES", "1"))


@pytest.fixture(scope="module")
def undisturbed() -> Call:
    """The call on one connection."""
    return run_deterministically(partial(hold, None), seed=1)


def test_the_call_itself_is_whole(undisturbed: Call) -> None:
    check(undisturbed)
    assert len(undisturbed.received) == 2  # one connection, and what was told as audio
    assert len(undisturbed.of("handoff")) == 1
    assert len(undisturbed.of("guardrail_tripped")) >= 1
    assert len(undisturbed.of("audio_interrupted")) >= 2  # the guardrail's, and the user's
    assert undisturbed.of("connection_lost") == []


def _cuts(undisturbed: Call) -> list[Cut]:
    """Each event of the call, once from either side of the loss; those by which the session opens included."""
    server, client = undisturbed.counts["server"], undisturbed.counts["client"]
    return [
        Cut(nth=1, when="before"),
        *(Cut(nth=nth) for nth in range(1, server + 1)),
        *(Cut(sender="client", nth=nth, when="before") for nth in range(1, client + 1)),
        *(Cut(sender="client", nth=nth) for nth in range(1, client + 1)),
    ]


def lose_at(cut: Cut, seed: int) -> Call:
    """Hold the call with one loss, and check it."""
    try:
        call = run_deterministically(partial(hold, Faults(cuts=[cut])), seed=seed)
        check(call)
    except BaseException as error:
        error.add_note(f"the connection was lost at {cut}")
        raise
    return call


@pytest.mark.parametrize("part", range(4))
def test_a_connection_lost_at_any_event_loses_nothing(undisturbed: Call, part: int) -> None:
    """One loss a call; with TREALTIME_TIMES=32 at each event of it."""
    lost = 0
    for number, cut in list(enumerate(_cuts(undisturbed)))[part :: max(128 // TIMES, 4)]:
        call = lose_at(cut, seed=number)
        lost += len(call.of("connection_lost"))
    assert lost > 0


async def _bad_day(seed: int) -> Call:
    """A call with one to five losses, sessions that end early, and the smaller faults of a bad day."""
    rng = random.Random(seed)
    cuts = [
        Cut(
            sender=rng.choice(["server", "server", "client"]),
            nth=rng.randint(3, 300),  # past the opening, without which the session is not entered
            when=rng.choice(["before", "after"]),
            connection=connection,
            code=rng.choice([None, None, 1011, 1012, 1001]),
        )
        for connection in range(1, rng.randint(1, 5) + 1)
    ]
    faults = Faults(
        cuts=cuts,
        latency_s=rng.choice([0.0, 0.05, 0.3]),
        jitter_s=rng.choice([0.0, 0.1]),
        refused_dials=range(2, 1_000, 2) if rng.random() < 0.3 else (),
        refused_with=rng.choice([429, 503]),
        retry_after_s=rng.choice([None, 1.0]),
        unknown=rng.choice([0.0, 0.05]),
        late_acknowledgements=rng.choice([0.0, 0.0, 0.05]),
        late_s=0.4,
        doubled_acknowledgements=rng.choice([0.0, 0.05]),
        slow_accepts=rng.choice([0.0, 0.3]),
        accept_after_s=2.0,
    )
    policy = {"rollover_margin_s": 8.0} if rng.random() < 0.5 else {}
    longest_s = rng.choice([20.0, 30.0]) if policy else 3_600.0
    return await hold(faults, seed=seed, max_session_s=longest_s, policy=policy)


@pytest.mark.parametrize("part", range(2))
def test_calls_with_several_losses_lose_nothing(part: int) -> None:
    """With TREALTIME_TIMES=50 a thousand of them."""
    lost = 0
    for seed in range(part, 20 * TIMES, 2):
        try:
            call = run_deterministically(partial(_bad_day, seed), seed=seed)
            check(call)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        lost += len(call.of("connection_lost"))
    assert lost > 0


@pytest.mark.parametrize("longest_s", [24.0, 33.0, 41.0])
def test_a_rollover_leaves_no_gap_and_costs_no_time(undisturbed: Call, longest_s: float) -> None:
    """Connections that end after so long, each replaced in a quiet moment of the ten seconds before."""
    policy = {"rollover_margin_s": 10.0}
    call = run_deterministically(partial(hold, None, max_session_s=longest_s, policy=policy), seed=1)
    check(call)
    assert call.of("connection_lost") == []
    assert len(call.of("rolled_over")) >= 1
    assert max(event.gap_ms for event in call.of("rolled_over")) == 0
    late = [after - before for before, after in zip(undisturbed.latencies(), call.latencies(), strict=True)]
    assert max(late) <= 0.05
    # But the one that is spoken over, which ends when it does.
    whole = [audio for audio in undisturbed.audio() if len(audio) > 48_000]
    assert sum(audio in call.audio() for audio in whole) >= len(whole) - 2
