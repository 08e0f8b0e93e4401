"""``trealtime replay``: any client, on this machine."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from trealtime import RealtimeAgent, RealtimeRunner, open_emulator
from trealtime.cli import main
from trealtime.emulator import ScriptedBrain
from trealtime.recording import RecordingModel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "call.jsonl.gz"
    trio.run(record, path, clock=MockClock(autojump_threshold=0))
    return path


async def record(path: Path) -> None:
    async with open_emulator(listen=False, seed=1, brain=ScriptedBrain(["I am Otto."])) as emulator:
        model = RecordingModel(emulator.memory_model(), path)
        async with RealtimeRunner(RealtimeAgent(name="Otto"), model=model, rng=random.Random(1)).session() as session:
            await session.ask("Who are you?")


async def replayed(path: Path, *said: str) -> tuple[int, list[str], str]:
    """Run the command, talk to it, and return its exit status, the answers, and what it printed about errors."""
    command = [sys.executable, "-m", "trealtime", "replay", str(path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    try:
        with trio.fail_after(30):
            assert process.stdout is not None
            assert process.stderr is not None
            line = (await process.stdout.receive_some()).decode()
            found = re.fullmatch(
                r"replaying call\.jsonl\.gz at (ws://127\.0\.0\.1:\d+/v1/realtime) \(Ctrl-C ends it\)\s*", line
            )
            assert found is not None, line
            runner = RealtimeRunner(RealtimeAgent(name="Another"), rng=random.Random(2))
            async with runner.session(model_config={"url": found[1], "headers": {}}) as session:
                answers = [(await session.ask(words)).text for words in said]
            errors = b"".join([chunk async for chunk in process.stderr]).decode()
            return await process.wait(), answers, errors
    finally:
        process.kill()


async def test_a_client_gets_the_recorded_call_over_a_socket(recorded: Path) -> None:
    assert await replayed(recorded, "Who are you?") == (0, ["I am Otto."], "")


async def test_a_client_that_leaves_early_is_told_by_the_exit_status(recorded: Path) -> None:
    status, _, errors = await replayed(recorded)
    assert status == 1
    assert "were not played" in errors


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "call.jsonl").write_text("[]")
    assert main(["replay", str(tmp_path / "call.jsonl")]) == 2
    assert main(["replay", str(tmp_path / "none.jsonl")]) == 2
    assert "call.jsonl:1: not a recording" in capsys.readouterr().err
