"""A session that outlives its connections: one recording, which says what belongs to which."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import trio

from trealtime import RealtimeAgent, RealtimeModel, RealtimeRunner, RealtimeSession, open_emulator
from trealtime.emulator import ScriptedBrain
from trealtime.recording import RecordedClose, RecordedEvent, load_recording, read_recording, replay
from trealtime.testing import MemoryEndpoint
from trealtime.timeline import read_timeline

ANSWERS = ["The first answer.", "The second answer."]


async def run(model: RealtimeModel, path: Path, *, drop: Any = None) -> RealtimeSession[Any]:
    settings = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 1_700}}
    config: Any = {"record": path, "reconnect": {"base_delay_s": 0.25}, "model_settings": settings}
    runner = RealtimeRunner(RealtimeAgent(name="Otto"), model=model, config=config, rng=random.Random(2))
    loud = (np.random.default_rng(1).normal(size=480) * 6_000).astype("<i2").tobytes()
    async with runner.session() as session, session.attach(endpoint := MemoryEndpoint()):
        for beginning in (0, 1):
            for number in range(150):  # a second of silence, half a second of noise, silence
                await trio.sleep(0.02)
                await endpoint.say(loud if 50 <= number < 75 else bytes(960))
            if drop is not None and not beginning:
                drop()
            await trio.sleep(4)
    return session


async def test_a_session_over_two_connections_is_one_recording_and_one_timeline(tmp_path, autojump_clock) -> None:
    path = tmp_path / "call.jsonl.gz"
    async with open_emulator(listen=False, seed=2, brain=ScriptedBrain(ANSWERS)) as emulator:
        session = await run(emulator.memory_model(), path, drop=lambda: emulator.sessions[0].drop())
    assert session.statistics().recording is not None
    lines = list(read_recording(path))
    ends = [each for each in lines if isinstance(each, RecordedClose)]
    assert [(end.connection, end.closed_by) for end in ends] == [(1, "network"), (2, "client")]
    updates = [
        each.connection
        for each in lines
        if isinstance(each, RecordedEvent)
        and not isinstance(each.event, str)
        and each.event["type"] == "session.update"
    ]
    assert 2 in updates

    call = read_timeline(path).call
    assert [(each.number, each.clean) for each in call.connections] == [(1, False), (2, True)]
    assert call.connections[0].end.startswith("closed by the network: 1006")
    assert {mark.title.split(",")[0] for mark in call.marks} >= {"connection lost", "reconnected"}
    assert [each.words for each in call.speeches] == ANSWERS
    # The second connection counts the user's audio from its own beginning, and got some of it again.
    first, second = call.utterances
    assert abs(first.start_s - 1.0) < 0.3, "as far as the outage is known"
    assert abs(second.start_s - 8.0) < 0.02
    assert abs(second.end_s - 8.5) < 0.03
    assert len(call.levels) <= (call.duration_s + 0.1) / 0.02
    assert "closed by the network" in read_timeline(path).svg()


async def test_it_is_replayed_one_connection_after_another(tmp_path, autojump_clock) -> None:
    path = tmp_path / "call.jsonl.gz"
    async with open_emulator(listen=False, seed=2, brain=ScriptedBrain(ANSWERS)) as emulator:
        await run(emulator.memory_model(), path, drop=lambda: emulator.sessions[0].drop())
    async with replay(path, strict=False) as server:
        await run(server.memory_model(), tmp_path / "again.jsonl.gz")
    recorded, replayed = (
        [each.type for each in load_recording(each).session_events if "history" not in each.type]
        for each in (path, tmp_path / "again.jsonl.gz")
    )
    assert replayed.count("reconnected") == recorded.count("reconnected") == 1
    assert replayed.count("agent_end") == recorded.count("agent_end")
