from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from trealtime import RealtimeModel, RealtimeRunner, RealtimeSession, WavEndpoint, open_emulator
from trealtime.emulator import ScriptedBrain
from trealtime.recording import replay

ROOT = Path(__file__).resolve().parents[2]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # attrs asks for it
    spec.loader.exec_module(module)
    return module


@attrs.frozen
class RecordedCall:
    """A call that was recorded twice: by the session, and by an endpoint as a stereo WAV file."""

    recording: Path
    wav: Path
    session: RealtimeSession[Any]
    wav_began_s: float


def call_the_desk(folder: Path, replayed: Path | None = None) -> RecordedCall:
    """Run the call of the example with an emulator, or with the server of a recording."""
    example = load(ROOT / "examples" / "support_desk.py")
    found: list[tuple[RealtimeSession[Any], float]] = []

    async def talk(model: RealtimeModel) -> None:
        config = {
            "approval_handler": example.supervisor,
            "guardrails_settings": {"debounce_text_length": 20},
            "record": folder / "call.jsonl.gz",
        }
        runner = RealtimeRunner(example.reception, model=model, config=config, rng=random.Random(1))
        async with runner.session(context=example.Call(customer="Ada")) as session:
            began_s = trio.current_time()
            async with session.attach(WavEndpoint(output=folder / "call.wav")):
                await example.talk(session, example.Transcript())
            found.append((session, began_s))

    async def main() -> None:
        if replayed is not None:
            async with replay(replayed) as server:
                await talk(server.memory_model())
            return
        async with open_emulator(listen=False, brain=ScriptedBrain(example.SCRIPT), seed=1) as emulator:
            await talk(emulator.memory_model())

    trio.run(main, clock=MockClock(autojump_threshold=0))
    session, began_s = found[0]
    return RecordedCall(folder / "call.jsonl.gz", folder / "call.wav", session, began_s)


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> RecordedCall:
    """The call of the example, with an approval, a handoff, a guardrail, and a tool while the caller talks on."""
    return call_the_desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="session")
def desk_again(tmp_path_factory: pytest.TempPathFactory, desk: RecordedCall) -> RecordedCall:
    """The same call, with the server of the recording."""
    return call_the_desk(tmp_path_factory.mktemp("again"), desk.recording)


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording of a spoken call, with an interrupt by speech: the one in the documentation."""
    path = tmp_path_factory.mktemp("spoken") / "call.jsonl.gz"
    picture = load(ROOT / "docs" / "timeline_picture.py")
    trio.run(picture.main, path, clock=MockClock(autojump_threshold=0))
    return path
