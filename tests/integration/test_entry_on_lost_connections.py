"""Connections that are lost, or refused, before the session is entered."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from trealtime import RealtimeAgent, RealtimeRunner
from trealtime.emulator import Cut, EmulatedSession, Faults, LoggedEvent, open_emulator
from trealtime.errors import ConnectFailed, ConnectionLost
from trealtime.items import InputText, UserMessageItem

OPENING = [
    Cut(nth=1, when="before"),
    Cut(nth=1),
    Cut(nth=2, when="before"),
    Cut(sender="client", nth=1, when="before"),
    Cut(sender="client", nth=1),
    Cut(nth=2, when="before", code=1012),
]
"""The events up to the acknowledgement of the first settings."""


def runner_of(emulator: Any, policy: Any = None) -> RealtimeRunner[Any]:
    config = {"reconnect": policy}
    return RealtimeRunner(RealtimeAgent(name="A"), model=emulator.memory_model(), config=config, rng=random.Random(3))


@pytest.mark.parametrize("cut", OPENING)
@pytest.mark.parametrize("times", [1, 3])
async def test_a_connection_that_is_lost_before_the_session_is_open_is_replaced(autojump_clock, cut, times) -> None:
    cuts = [attrs.evolve(cut, connection=number + 1) for number in range(times)]
    async with (
        open_emulator(listen=False, faults=Faults(cuts=cuts), unix_time_s=0.0) as emulator,
        runner_of(emulator, {}).session() as session,
    ):
        assert (await session.ask("Count to five.")).status == "completed"
        found = session.statistics().connections
    assert (found.losses, found.attempts, found.reconnects) == (1, times, 1)
    assert len(session.outcome.connections) == times + 1


async def test_a_history_is_told_to_the_connection_that_opens(autojump_clock) -> None:
    told: list[tuple[str, str]] = []

    def note(session: EmulatedSession, entry: LoggedEvent) -> None:
        if entry.event["type"] == "conversation.item.added":
            told.append((session.id, entry.event["item"]["content"][0]["text"]))

    history = [UserMessageItem(item_id=name, content=[InputText(text=name)]) for name in ("one", "two")]
    async with (
        open_emulator(listen=False, faults=Faults(cuts=[Cut(nth=2)]), on_event=note) as emulator,
        runner_of(emulator, {}).session(history=history) as session,
    ):
        await trio.sleep(1)
        assert [item.text for item in session.history] == ["one", "two"]
    last = told[-1][0]
    assert [text for session_id, text in told if session_id == last] == ["one", "two"]


@pytest.mark.parametrize("status, retry_after_s", [(503, 3.0), (429, 3.0), (500, None)])
async def test_a_server_that_asks_for_patience_is_dialled_again(autojump_clock, status, retry_after_s) -> None:
    faults = Faults(refused_dials=[1, 2], refused_with=status, retry_after_s=retry_after_s)
    async with open_emulator(listen=False, faults=faults, unix_time_s=0.0) as emulator:
        begun = trio.current_time()
        async with runner_of(emulator, {}).session() as session:
            assert trio.current_time() - begun >= (2 * retry_after_s if retry_after_s else 0.3)
            assert (await session.ask("Count to five.")).status == "completed"
            found = session.statistics().connections
        assert (found.losses, found.attempts, found.reconnects) == (0, 2, 0)
        assert len(session.outcome.connections) == 1


async def test_where_no_attempt_succeeds_the_refusal_is_raised_with_the_attempts_in_its_notes(autojump_clock) -> None:
    faults = Faults(refused_dials=range(1, 1_000))
    async with open_emulator(listen=False, faults=faults) as emulator:
        begun = trio.current_time()
        with pytest.raises(ConnectFailed) as caught:
            async with runner_of(emulator, {"give_up_after_s": 5}).session():
                raise AssertionError("never entered")
        assert 1 < trio.current_time() - begun <= 5
    assert caught.value.status == 503
    assert len(caught.value.__notes__) >= 3
    assert all("503" in note for note in caught.value.__notes__)


async def test_where_each_connection_is_lost_the_loss_is_raised_with_the_attempts_in_its_notes(autojump_clock) -> None:
    faults = Faults(cuts=[Cut(nth=2, when="before", connection=None)])
    async with open_emulator(listen=False, faults=faults) as emulator:
        with pytest.raises(ConnectionLost) as caught:
            async with runner_of(emulator, {"max_attempts": 3}).session():
                raise AssertionError("never entered")
    assert [note.split(":")[0] for note in caught.value.__notes__] == ["attempt 1", "attempt 2", "attempt 3"]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_that_waiting_does_not_mend_is_raised_at_once(autojump_clock, status) -> None:
    async with open_emulator(listen=False, faults=Faults(refused_dials=[1], refused_with=status)) as emulator:
        begun = trio.current_time()
        with pytest.raises(ConnectFailed):
            async with runner_of(emulator, {}).session():
                raise AssertionError("never entered")
        assert trio.current_time() == begun


@pytest.mark.parametrize(
    "faults, error",
    [(Faults(refused_dials=[1]), ConnectFailed), (Faults(cuts=[Cut(nth=2, when="before")]), ConnectionLost)],
)
async def test_without_a_policy_it_is_raised_at_once(autojump_clock, faults, error) -> None:
    async with open_emulator(listen=False, faults=faults) as emulator:
        with pytest.raises(error):
            async with runner_of(emulator, None).session():
                raise AssertionError("never entered")


@pytest.mark.parametrize("after_s", [0.0, 0.2, 1.0, 3.0])
@pytest.mark.parametrize(
    "faults", [Faults(refused_dials=range(1, 1_000)), Faults(cuts=[Cut(nth=2, when="before", connection=None)])]
)
async def test_an_entry_that_is_given_up_between_two_attempts_leaves_nothing(autojump_clock, faults, after_s) -> None:
    async with open_emulator(listen=False, faults=faults) as emulator:
        tasks = trio.lowlevel.current_statistics().tasks_living
        with trio.move_on_after(after_s) as scope:
            async with runner_of(emulator, {"give_up_after_s": 10_000}).session():
                raise AssertionError("never entered")
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living <= tasks


async def test_a_connection_that_is_lost_again_after_the_entry_is_replaced_as_any(autojump_clock) -> None:
    cuts = [Cut(nth=2, when="before"), Cut(event="response.created", connection=2)]
    async with (
        open_emulator(listen=False, faults=Faults(cuts=cuts, refused_dials=[1])) as emulator,
        runner_of(emulator, {}).session() as session,
    ):
        turn = await session.ask("Count to five.")
        assert turn.status == "completed"
        assert turn.reconnected
    assert len(session.outcome.connections) == 3
