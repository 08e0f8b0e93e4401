"""A call of 24 hours in virtual time, whose connections the server ends after an hour each: nobody notices, memory does
not grow but with the history, and the same seed gives the same bytes."""

from __future__ import annotations

import gc
import hashlib
import json
import random
from collections import Counter
from functools import partial

import attrs
import numpy as np
import trio

from trealtime import RealtimeAgent, RealtimeRunner, open_emulator
from trealtime.emulator import EmulatedSession, LoggedEvent, ScriptedTranscriber
from trealtime.emulator.core import SessionCore
from trealtime.testing import run_deterministically
from trealtime.transport.memory import MemoryWire

HOURS = 24
TURNS_PER_HOUR = 2
LOOKED_AT = (4, 14, 24)
"""The hours after which memory is looked at, which takes a while."""

LINES = ["Count to five.", "How are you?", "Who are you?"]
SPEECH = (np.random.default_rng(1).normal(size=36_000) * 6_000).astype(np.int16)
SILENCE = np.zeros(24_000, np.int16)


@attrs.define
class Day:
    """What came of the call."""

    digest: str = ""
    events: Counter[str] = attrs.Factory(Counter)
    heard: list[str | None] = attrs.Factory(list)
    ends: list[int | None] = attrs.Factory(list)
    objects: list[int] = attrs.Factory(list)
    """All objects of the process, each time."""

    items: list[int] = attrs.Factory(list)
    """The length of the history, each time."""

    connections: int = 0
    """The most sessions and wires that were alive at a time."""


def _alive() -> int:
    return sum(isinstance(each, (EmulatedSession, SessionCore, MemoryWire)) for each in gc.get_objects())


async def _day(*, looks: bool = True) -> Day:
    day, digest = Day(), hashlib.sha256()
    began_at = trio.current_time()

    def note(session: EmulatedSession, logged: LoggedEvent) -> None:
        line = json.dumps([session.id, logged.direction, logged.at - began_at, logged.event], sort_keys=True)
        digest.update(line.encode())

    async with open_emulator(
        listen=False,
        seed=24,
        unix_time_s=1_800_000_000.0,
        transcriber=ScriptedTranscriber(LINES * (HOURS * TURNS_PER_HOUR)),
        on_event=note,
    ) as emulator:
        settings = {"turn_detection": {"type": "server_vad"}, "input_audio_transcription": {"model": "whisper-1"}}
        runner = RealtimeRunner(
            RealtimeAgent(name="Assistant", instructions="You are Otto."),
            model=emulator.memory_model(),
            config={"model_settings": settings, "reconnect": {"max_reconnects": HOURS}},
            rng=random.Random(24),
        )
        async with runner.session() as session, trio.open_nursery() as nursery:

            async def listen() -> None:
                async for event in session:
                    day.events[event.type] += 1

            nursery.start_soon(listen)
            for turn in range(HOURS * TURNS_PER_HOUR):
                # Shortly before the hour, so that the rollover finds somebody who speaks.
                await trio.sleep_until(began_at + 3_600 / TURNS_PER_HOUR * (turn + 1) - 90)
                await session.send_audio(SPEECH)
                await session.send_audio(SILENCE)
                hour, rest = divmod(turn + 1, TURNS_PER_HOUR)
                await trio.sleep(60)
                if looks and not rest and hour in LOOKED_AT:
                    gc.collect()
                    day.objects.append(len(gc.get_objects()))
                    day.items.append(len(session.history))
                    day.connections = max(day.connections, _alive())
            await session.wait_for_playback()
            day.heard = [item.text for item in session.history if item.type == "message" and item.role == "user"]
            nursery.cancel_scope.cancel()
        assert session.outcome is not None
        day.ends = [end.code for end in session.outcome.connections]
    day.digest = digest.hexdigest()
    return day


def test_a_day_in_virtual_time_outlives_its_connections_in_flat_memory_and_is_the_same_again() -> None:
    day = run_deterministically(_day, seed=1)
    assert day.digest == run_deterministically(partial(_day, looks=False), seed=1).digest
    assert day.events["rolled_over"] >= HOURS - 1
    assert day.events["connection_lost"] == day.events["error"] == 0
    assert day.heard == (LINES * HOURS)[: HOURS * TURNS_PER_HOUR]
    assert set(day.ends) == {1000}
    # A connection has a session, its core and two wires; while it rolls over there are two.
    assert day.connections <= 8
    per_item = [
        (day.objects[n + 1] - day.objects[n]) / (day.items[n + 1] - day.items[n]) for n in range(len(LOOKED_AT) - 1)
    ]
    assert per_item[1] < 1.1 * per_item[0] + 5, "more objects stay for an item of the second half than of the first"
    assert per_item[1] < 120
