"""The call with everything in it (`long_call`), on connections that are lost while servers misbehave in every other way
too.

A fault may take something for good: an event that is lost, a request that is refused. Then the session cannot bring
what was in it, but nothing else may suffer, and the app must know: a question without its whole answer has an error, or
a turn that says why. No fault excuses a hang, an item twice in the history, words of the user that are lost or out of
order, a tool that runs twice, audio of an interrupted answer, or an answer that is given twice.
"""

from __future__ import annotations

import math
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import pytest
from long_call import (
    QUESTIONS,
    SECRET,
    STORY,
    Call,
    check_audio_of_the_user,
    check_interrupted,
    hold,
    joined,
)

from trealtime.emulator import Cut, Faults
from trealtime.errors import (
    ConnectFailed,
    ConnectionLost,
    ProtocolError,
    ServerRefused,
    SettingsRefused,
    TrealtimeError,
)
from trealtime.events import ServerErrorInfo
from trealtime.testing import run_deterministically

TIMES: Final = int(os.environ.get("TREALTIME_TIMES", "1"))
PATIENCE_S: Final = 100.0
"""How long the user waits for an answer: longer than any deadline of the session."""

KINDS: Final[Mapping[str, Callable[[random.Random], dict[str, Any]]]] = {
    "malformed": lambda rng: {"malformed": rng.choice([0.02, 0.1])},
    "unknown": lambda rng: {"unknown": rng.choice([0.02, 0.1])},
    "stalls": lambda rng: {"stalls": 0.005, "stall_s": rng.choice([1.0, 4.0])},
    "slow": lambda rng: {"slow_drain_bytes_per_s": rng.choice([100_000.0, 150_000.0])},
    "drops": lambda rng: {"drops": 0.003, "closes": {1011: 0.002, 1012: 0.001}},
    "refused dials": lambda rng: {"refusals": {503: 0.3, 429: 0.1}, "retry_after_s": rng.choice([None, 1.0])},
    "slow accepts": lambda rng: {"slow_accepts": 0.3, "accept_after_s": 2.0},
    "duplicates": lambda rng: {"duplicates": rng.choice([0.02, 0.1])},
    "reordered": lambda rng: {"reordered": rng.choice([0.02, 0.1]), "reorder_s": rng.choice([0.05, 0.3])},
    "late": lambda rng: {"late_acknowledgements": rng.choice([0.05, 0.3]), "late_s": rng.choice([0.4, 3.0])},
    "doubled": lambda rng: {"doubled_acknowledgements": rng.choice([0.05, 0.3]), "late_s": rng.choice([0.4, 3.0])},
    "lost": lambda rng: {"lost": rng.choice([0.01, 0.05, 0.15])},
    "refused": lambda rng: {"errors": {"server_error": rng.choice([0.02, 0.1]), "invalid_value": 0.01}},
    "refused without ids": lambda rng: {"errors": {"server_error": 0.05}, "errors_without_ids": rng.choice([0.5, 1.0])},
    "refused with other ids": lambda rng: {"errors": {"server_error": 0.05}, "errors_with_other_ids": 1.0},
}

FRAMED: Final[Mapping[str, Callable[[random.Random], dict[str, Any]]]] = {
    "half-open": lambda rng: {"half_open": rng.choice([0.002, 0.01])},
    "in pieces": lambda _: {"split": True},
}
"""Kinds that need real frames, and pings."""


def faults_of(seed: int, *, framed: bool = False) -> tuple[Faults, dict[str, Any], float]:
    """One to five losses and one to three kinds of faults; the policy, and the longest session."""
    rng = random.Random(seed)
    cuts = [
        Cut(
            sender=rng.choice(["server", "server", "client"]),
            nth=rng.randint(3, 300),
            when=rng.choice(["before", "after"]),
            connection=connection,
            code=rng.choice([None, None, 1011, 1012, 1001]),
        )
        for connection in range(1, rng.randint(1, 5) + 1)
    ]
    given: dict[str, Any] = {"latency_s": rng.choice([0.0, 0.05, 0.3]), "jitter_s": rng.choice([0.0, 0.1])}
    for kind in rng.sample(list(KINDS), rng.randint(1, 3)):
        given |= KINDS[kind](rng)
    for kind in FRAMED if framed else ():
        given |= FRAMED[kind](rng)
    policy = {"rollover_margin_s": 8.0} if rng.random() < 0.5 else {}
    return Faults(cuts=cuts, **given), policy, rng.choice([20.0, 30.0]) if policy else 3_600.0


# ---- what must hold -------------------------------------------------------------------------------------------------


def check_with_faults(call: Call, faults: Faults) -> Counter[str]:
    """Hold what these faults leave to be held; return how many questions were answered whole, and how many were not."""
    ids = [item.item_id for item in call.history]
    assert len(ids) == len(set(ids)), ids
    asked = call.asked(call.history)
    assert [words for words, _ in asked] == list(QUESTIONS)
    for event in call.of("error"):
        assert isinstance(event.error, TrealtimeError | ServerErrorInfo), event.error
    takes_away = faults.lost or faults.errors
    found: Counter[str] = Counter()
    for number, (question, pieces) in enumerate(asked):
        why = _why_not_whole(call, number)
        if _is_whole(question, pieces):
            found["whole"] += 1
        elif (faults.reordered or faults.duplicates) and _in_any_order(question, pieces, cuts=_cuts(call, number)):
            found["torn"] += 1
        else:
            excused = takes_away and why
            assert excused, f"{question!r} has no whole answer, and the app does not know: {pieces}"
            # A new connection that refuses what was said before may be asked before that is told again: it begins anew.
            anew = _cuts(call, number) if faults.errors else 0
            assert _answers(question, pieces) <= 1 + anew, f"{question!r} is answered twice: {pieces}"
            found["told"] += 1
    told = [each for number in range(len(QUESTIONS)) for each in _why_not_whole(call, number)]
    for tool in ("get_weather", "pay_back"):
        assert call.ran[tool] == 1 or (takes_away and told), call.ran
        # So it may make a call again.
        assert call.ran[tool] <= 1 or (faults.errors and call.of("connection_lost", "rolled_over")), call.ran
    assert call.agent == "Billing" or (takes_away and told)
    check_audio_of_the_user(call)
    check_interrupted(call)
    return found


def _period(call: Call, number: int) -> tuple[float, float]:
    """From the beginning of a question to that of the next."""
    began = [*call.began.values(), math.inf]
    return began[number], began[number + 1]


def _events(call: Call, number: int) -> list[Any]:
    begin, end = _period(call, number)
    return [event for event, at in zip(call.events, call.times, strict=True) if begin <= at < end]


def _why_not_whole(call: Call, number: int) -> list[str]:
    """What the app hears of a question that is not answered whole."""
    events = _events(call, number)
    errors = [str(each.error) for each in events if each.type == "error" and not isinstance(each.error, ProtocolError)]
    turns = [each.metrics for each in events if each.type == "turn_ended"]
    return errors + [str(each) for each in turns if each.status not in ("completed", "interrupted")]


def _cuts(call: Call, number: int) -> int:
    return sum(event.type in ("connection_lost", "rolled_over") for event in _events(call, number))


def _is_whole(question: str, pieces: list[str]) -> bool:
    answer = QUESTIONS[question]
    if answer is None:
        return STORY.startswith(joined(pieces).rstrip("."))
    if "secret" in question:
        begun = max(n for n in range(len(pieces) + 1) if SECRET.startswith(joined(pieces[:n]).rstrip(".")))
        pieces = pieces[begun:]
    return joined(pieces) == answer


def _in_any_order(question: str, pieces: list[str], *, cuts: int) -> bool:
    """Pieces that were cut before the server had shown them whole may have their words in the order in which they came,
    or twice. The model cannot go on from those, and may begin anew."""
    answer = QUESTIONS[question] or STORY
    words = set(f"{answer} {SECRET}".replace(".", " ").split())
    known = all(any(word.startswith(said) for word in words) for said in " ".join(pieces).replace(".", " ").split())
    ends = QUESTIONS[question] is None or " ".join(pieces).endswith(answer.split()[-1])
    return known and ends and sum(map(bool, pieces)) <= 1 + cuts + ("secret" in question)


def _answers(question: str, pieces: list[str]) -> int:
    """How often the end of the answer is there."""
    end = (QUESTIONS[question] or "none").split()[-1]
    return sum(piece.endswith(end) for piece in pieces)


def _is_about_settings(error: BaseException, *, entered: bool) -> bool:
    """Whether a session ends like this because a server does not take its settings: at the entry it refuses them, or
    never acknowledges them; later it refuses them for good."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if not entered:
        return isinstance(error, SettingsRefused | ConnectFailed | ServerRefused)
    notes = getattr(error, "__notes__", ())
    return isinstance(error, ConnectionLost) and "the settings were refused" in (notes[-1] if notes else "")


def hold_with_faults(seed: int, *, framed: bool = False) -> tuple[Call, Counter[str]]:
    """Hold a call, and check it."""
    faults, policy, longest_s = faults_of(seed, framed=framed)
    call = Call()
    options = {"max_session_s": longest_s, "policy": policy, "patience_s": PATIENCE_S, "call": call, "framed": framed}
    try:
        run_deterministically(partial(hold, faults, seed=seed, **options), seed=seed)
        return call, check_with_faults(call, faults)
    except BaseException as error:
        if (faults.lost or faults.errors) and _is_about_settings(error, entered=bool(call.events)):
            return call, Counter(over=1)
        error.add_note(f"seed {seed}: {faults}")
        raise


@pytest.mark.parametrize("part", range(2))
def test_calls_with_losses_and_faults_lose_nothing_in_silence(part: int) -> None:
    """With TREALTIME_TIMES=50 a thousand of them."""
    found: Counter[str] = Counter()
    for seed in range(part, 20 * TIMES, 2):
        call, of_call = hold_with_faults(seed)
        found += of_call + Counter(lost=len(call.of("connection_lost")))
    assert found["lost"] > 0
    assert found["over"] <= TIMES + 1
    assert found["whole"] > 0.9 * (found["whole"] + found["torn"] + found["told"])


def test_peers_that_vanish_unnoticed_are_found_out_and_replaced() -> None:
    """With TREALTIME_TIMES=50 a hundred and fifty calls."""
    found: Counter[str] = Counter()
    for seed in range(3 * TIMES):
        call, of_call = hold_with_faults(seed, framed=True)
        found += of_call + Counter(lost=len(call.of("connection_lost")))
    assert found["lost"] > 3 * TIMES
    assert found["whole"] > 0.9 * (found["whole"] + found["torn"] + found["told"])
