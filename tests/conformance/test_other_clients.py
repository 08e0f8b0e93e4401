"""Other people's Realtime clients against the emulator, unchanged, in an environment of their own.

Installing them takes a network and some 20 seconds, so this runs where TREALTIME_CONFORMANCE is set, as in CI.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from trealtime.emulator import open_emulator

CLIENTS = Path(__file__).parent / "clients"
PACKAGES = ("openai[realtime]", "openai-agents[voice]")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the other clients."""
    if not os.environ.get("TREALTIME_CONFORMANCE"):
        pytest.skip("set TREALTIME_CONFORMANCE=1: it installs other clients, which takes a network")
    folder = tmp_path_factory.mktemp("clients")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    installing = subprocess.run(
        [interpreter, "-m", "pip", "install", "-qq", *PACKAGES], capture_output=True, text=True, timeout=300
    )
    if installing.returncode:
        pytest.skip(f"{', '.join(PACKAGES)} cannot be installed here: {installing.stderr.strip()[-300:]}")
    return interpreter


async def _run(python: Path, program: str, *, path: str) -> dict[str, Any]:
    with trio.fail_after(120):
        async with open_emulator(seed=7) as emulator:
            url = emulator.url.removesuffix("/realtime") + path
            run = partial(trio.run_process, capture_stdout=True, capture_stderr=True, check=False)
            environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
            environment["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
            done = await run([str(python), str(CLIENTS / program), url], env=environment)
    assert done.returncode == 0, done.stderr.decode()
    seen: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    return seen


async def test_the_asynchronous_client_of_openai(python: Path) -> None:
    seen = await _run(python, "openai_async.py", path="")
    assert seen["first"] == "session.created"
    assert seen["modalities"] == ["text"]
    assert seen["text"] == "1, 2, 3, 4, 5."
    assert seen["metadata"] == {"mark": "one"}
    assert seen["total_tokens"] > 0
    assert seen["turn"] == [f"input_audio_buffer.{what}" for what in ("speech_started", "speech_stopped", "committed")]
    assert seen["spoken_status"] == "completed"
    assert 1 < seen["audio_s"] < 20
    assert seen["error"]["type"] == "invalid_request_error"
    assert seen["error"]["param"] == "session.audio.output.voice"


async def test_the_synchronous_client_of_openai(python: Path) -> None:
    seen = await _run(python, "openai_sync.py", path="")
    assert seen["first"] == "session.created"
    assert seen["tools"] == ["get_weather"]
    assert seen["arguments"] == {"city": "Paris"}
    assert "sunny" in seen["text"]
    assert seen["status"] == "completed"


async def test_the_runner_of_openai_agents(python: Path) -> None:
    seen = await _run(python, "agents_sdk.py", path="/realtime")
    assert seen["tool_outputs"] == ["sunny in Paris"]
    assert seen["audio_s"] > 1
    assert seen["handoffs"] == [["Assistant", "Billing"]]
    assert seen["interrupted"] == 1
    assert seen["roles"][-2:] == ["user", "assistant"]
    # It plays nothing, so at the second interruption it takes the story for heard on: the server says what it thinks.
    assert all("is already shorter than" in error for error in seen["errors"])
