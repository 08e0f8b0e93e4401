"""Rollover: another connection takes over before the server ends one, on the emulator in virtual time."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

from trealtime import RealtimeAgent, RealtimeRunner, open_emulator
from trealtime.emulator import Cut, Faults


def syllables(seconds: float, *, seed: int = 0) -> bytes:
    """Sound that the emulator takes for speech without a pause: loud and quiet pieces of a tenth of a second."""
    rng = np.random.default_rng(seed)
    pieces = [rng.standard_normal(2_400) * (6_000 if number % 3 else 30) for number in range(round(seconds * 10))]
    return np.concatenate(pieces).astype("<i2").tobytes()


def runner_of(emulator, **reconnect: Any) -> RealtimeRunner[Any]:
    agent = RealtimeAgent(name="Assistant", instructions="Be brief.")
    config = {"reconnect": {"rollover_margin_s": 60, **reconnect}}
    return RealtimeRunner(agent, model=emulator.memory_model(), rng=random.Random(1), config=config)


async def next_event(session, *types: str, within_s: float = 1_000):
    async with session.subscribe(*types) as events:
        with trio.fail_after(within_s):
            return await events.receive()


async def test_another_connection_takes_over_at_a_quiet_moment(autojump_clock) -> None:
    async with (
        open_emulator(listen=False, seed=1, max_session_s=300, keep_sessions=5) as emulator,
        runner_of(emulator).session() as session,
    ):
        await session.ask("Count to five.")
        began = trio.current_time()
        async with session.subscribe(
            "expires_soon", "rollover_started", "rolled_over", "connection_lost", "error"
        ) as events:
            found = [await events.receive() for _ in range(3)]
        assert [event.type for event in found] == ["expires_soon", "rollover_started", "rolled_over"]
        assert found[0].in_s == pytest.approx(60, abs=1.5)
        assert found[2].gap_ms == 0
        assert trio.current_time() - began == pytest.approx(240, abs=2)
        await trio.sleep(1)
        old, new = emulator.ended_sessions[0], emulator.sessions[0]
        assert old.ended.code == 1000
        turn = await session.ask("And what comes then?")
        assert turn.status == "completed"
        assert not turn.reconnected
        assert new is not old
        counted = session.statistics().connections
        assert (counted.rollovers, counted.losses, counted.items_replayed) == (1, 0, 2)
        # The next one has an end of its own.
        await next_event(session, "rolled_over")
    assert [(end.code, end.closed_by) for end in session.outcome.connections] == [(1000, "client")] * 3


async def test_an_answer_is_not_cut_and_the_switch_waits_for_its_end(autojump_clock) -> None:
    async with (
        open_emulator(listen=False, seed=1, max_session_s=300) as emulator,
        runner_of(emulator).session() as session,
    ):
        await trio.sleep(239.5)
        turn = await session.ask("Tell me a long story.")
        assert (turn.status, turn.reconnected) == ("completed", False)
        await next_event(session, "rolled_over")
        assert session.history[0].text == "Tell me a long story."


async def test_at_the_last_moment_it_takes_over_in_any_case(autojump_clock) -> None:
    """A user who speaks for minutes: there is no quiet moment, and no sample is lost or twice in the turn."""
    async with (
        open_emulator(listen=False, seed=1, max_session_s=120, keep_sessions=5, keep_input_audio_s=600) as emulator,
        runner_of(emulator, rollover_margin_s=40).session() as session,
    ):
        await trio.sleep(70)
        spoken = b""
        at = None
        async with session.subscribe("rolled_over") as events, trio.open_nursery() as nursery:

            async def note() -> None:
                nonlocal at
                await events.receive()
                at = trio.current_time()

            nursery.start_soon(note)
            began = trio.current_time()
            while trio.current_time() - began < 50:
                chunk = syllables(0.3, seed=len(spoken))
                spoken += chunk
                await session.send_audio(chunk)
                await trio.sleep(0.3)
        assert at is not None
        assert 105 <= at <= 115, "before the end, and not before the last moment"
        await trio.testing.wait_all_tasks_blocked()
        first, second = (
            each.input_audio.samples.tobytes() for each in (emulator.ended_sessions[0], emulator.sessions[0])
        )
        assert spoken.startswith(first)
        assert spoken.endswith(second)
        assert second == spoken, "the turn began on the first connection, and is whole on the second"


async def test_a_successor_that_is_refused_is_dialled_again(autojump_clock) -> None:
    faults = Faults(refused_dials=[2, 3])
    async with (
        open_emulator(listen=False, seed=1, max_session_s=300, faults=faults) as emulator,
        runner_of(emulator).session() as session,
    ):
        await next_event(session, "rolled_over")
        assert session.statistics().connections.losses == 0


async def test_without_a_successor_the_end_is_a_loss(autojump_clock) -> None:
    faults = Faults(refused_dials=range(2, 1_000, 2))
    async with (
        open_emulator(listen=False, seed=1, max_session_s=300, faults=faults) as emulator,
        runner_of(emulator, rollover_margin_s=None).session() as session,
    ):
        await session.ask("Hello")
        lost = await next_event(session, "connection_lost")
        assert lost.code == 1001
        await next_event(session, "reconnected")
        turn = await session.ask("Count to five.")
        assert turn.status == "completed"


async def test_a_loss_beside_a_ready_successor_is_made_good_at_once(autojump_clock) -> None:
    async with (
        open_emulator(listen=False, seed=1, max_session_s=300) as emulator,
        runner_of(emulator).session() as session,
        session.subscribe("connection_lost", "rolled_over", "reconnecting") as events,
    ):
        await trio.sleep(239)
        spoken = syllables(1.5)
        await session.send_audio(spoken)  # and on: there is no quiet moment
        await trio.sleep(3)
        emulator.sessions[0].drop()
        assert [(await events.receive()).type for _ in range(2)] == ["connection_lost", "rolled_over"]
        await session.send_audio(bytes(2 * 48_000))
        turn = await session.listen()
        assert turn.status == "completed"
        assert session.statistics().connections.outage_s == 0


async def test_what_is_said_between_telling_and_switch_is_told_too(autojump_clock) -> None:
    async with (
        open_emulator(listen=False, seed=1, max_session_s=300) as emulator,
        runner_of(emulator).session() as session,
    ):
        await session.ask("Hello")
        await trio.sleep(239 - trio.current_time())
        async with session.subscribe("rolled_over") as events:
            while trio.current_time() < 241.5:
                await session.create_item(f"at {trio.current_time():.1f}")
                await trio.sleep(0.25)
            await events.receive()
            await trio.sleep(1)
        known = [item.item_id for item in session.history]
        told = emulator.sessions[0]
        for item_id in known:
            with trio.fail_after(5):
                await session.retrieve_item(item_id)
        assert told is emulator.sessions[-1]


async def test_a_day_of_rollovers_is_the_same_each_time(autojump_clock) -> None:
    async def day() -> list[str]:
        log = []
        async with open_emulator(listen=False, seed=1) as emulator, runner_of(emulator).session() as session:
            began = trio.current_time()
            async with session.subscribe("rolled_over", "connection_lost") as events:
                for _ in range(6):
                    await session.ask("Count to five.")
                    event = await events.receive()
                    log.append(f"{trio.current_time() - began:.3f} {event.type}")
            log += [str(item) for item in session.history]
        return log

    first, second = await day(), await day()
    assert first == second
    assert [line.split()[1] for line in first[:6]] == ["rolled_over"] * 6


async def test_a_cut_of_the_successor_while_it_is_told_costs_nothing(autojump_clock) -> None:
    faults = Faults(cuts=[Cut(nth=1, connection=2)])
    async with (
        open_emulator(listen=False, seed=1, max_session_s=300, faults=faults) as emulator,
        runner_of(emulator).session() as session,
    ):
        await session.ask("Hello")
        await next_event(session, "rolled_over")
        assert session.statistics().connections.losses == 0
        assert (await session.ask("Count to five.")).status == "completed"


async def test_sockets_reconnect_by_default_and_show_the_clock_of_the_server() -> None:
    with trio.fail_after(30):
        async with open_emulator(unix_time_s=1_790_000_000) as emulator:
            runner = RealtimeRunner(RealtimeAgent(name="Assistant"))
            target = {"url": emulator.url, "api_key": "none"}
            async with runner.session(model_config=target) as session:
                current = session._lifetime.connections.current
                assert current is not None
                assert current.server_time_s == pytest.approx(1_790_000_000, abs=20)
                await session.ask("Hello")
                async with session.subscribe("reconnected") as events:
                    emulator.sessions[0].drop()
                    event = await events.receive()
                assert event.items == 2
                assert (await session.ask("Count to five.")).status == "completed"


async def test_credentials_are_asked_for_anew_at_each_dial() -> None:
    """Keys of a quarter of an hour: the one that opened the session is old when the next connection is dialled."""
    given: list[str] = []

    async def key() -> str:
        given.append(f"key-{len(given)}")
        return "secret"

    with trio.fail_after(30):
        async with open_emulator(api_key="secret") as emulator:
            runner = RealtimeRunner(RealtimeAgent(name="Assistant"))
            async with (
                runner.session(model_config={"url": emulator.url, "api_key": key}) as session,
                session.subscribe("reconnected") as events,
            ):
                emulator.sessions[0].drop()
                await events.receive()
    assert given == ["key-0", "key-1"]


@pytest.mark.parametrize("begins_s", [239.2, 239.97, 240.02, 241.0])
async def test_a_turn_about_the_switch_is_answered_as_soon_as_without_one(autojump_clock, begins_s) -> None:
    """From the end of the user's speech to the first audio of the answer, in virtual time."""

    async def waited_s(max_session_s: float) -> tuple[float, int]:
        async with (
            open_emulator(listen=False, seed=1, max_session_s=max_session_s, unix_time_s=1_800_000_000) as emulator,
            runner_of(emulator).session() as session,
            session.subscribe("audio") as audio,
        ):
            began = trio.current_time()
            await trio.sleep(begins_s)
            spoken = syllables(1.5) + bytes(3 * 48_000)
            for at in range(0, len(spoken), 960):
                await session.send_audio(spoken[at : at + 960])
                await trio.sleep(0.02)
            with trio.fail_after(30):
                await audio.receive()
            at = trio.current_time() - began - begins_s
            await trio.sleep(20)
            return at, session.statistics().connections.rollovers

    without, none = await waited_s(100_000)
    with_one, one = await waited_s(300)
    assert (none, one) == (0, 1)
    assert with_one == pytest.approx(without, abs=0.05)
