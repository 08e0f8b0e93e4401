"""Other people's Realtime clients against the emulator, unchanged, each in an environment of its own.

Installing them takes a network and a minute or two, so this runs where TREALTIME_CONFORMANCE is set, as in CI. A client
whose packages cannot be had is skipped, with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from trealtime.emulator import EmulatedSession, LoggedEvent, open_emulator

CLIENTS = Path(__file__).parent / "clients"
VOICE_TURN = [f"input_audio_buffer.{what}" for what in ("speech_started", "speech_stopped", "committed")]

Command = Callable[[str], list[str]]
"""The command line that runs a program of `clients`."""


def _bounded(*command: str | Path, what: str, cwd: Path | None = None) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, check=False, cwd=cwd)
    if done.returncode:
        pytest.skip(f"{what} cannot be installed here: {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="module")
def python_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Command]:
    """Make an environment with these packages, once for all tests that want the same."""
    if not os.environ.get("TREALTIME_CONFORMANCE"):
        pytest.skip("set TREALTIME_CONFORMANCE=1: it installs other clients, which takes a network")

    @cache
    def make(*packages: str) -> Command:
        folder = tmp_path_factory.mktemp("clients")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        _bounded(interpreter, "-m", "pip", "install", "-qq", *packages, what=", ".join(packages))
        return lambda program: [str(interpreter), str(CLIENTS / program)]

    return make


@pytest.fixture(scope="module")
def node_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Command]:
    """Make a folder with these packages of npm; a program is copied there, because Node looks beside it."""
    if not os.environ.get("TREALTIME_CONFORMANCE"):
        pytest.skip("set TREALTIME_CONFORMANCE=1: it installs other clients, which takes a network")
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("there is no Node.js")

    def make(*packages: str) -> Command:
        folder = tmp_path_factory.mktemp("clients")
        _bounded(npm, "install", "--no-audit", "--no-fund", *packages, what=", ".join(packages), cwd=folder)
        return lambda program: [node, shutil.copy(CLIENTS / program, folder)]

    return make


@pytest.fixture(scope="module")
def openai_python(python_with: Callable[..., Command]) -> Command:
    return python_with("openai[realtime]", "openai-agents[voice]", "ag2[openai]")


async def _run(
    command: Command, program: str, *, path: str, certificate: tuple[ssl.SSLContext, Path] | None = None
) -> dict[str, Any]:
    """What the program has seen, and as `updates` the settings that it has sent. With a certificate, over TLS."""
    updates: list[Any] = []

    def keep(_: EmulatedSession, event: LoggedEvent) -> None:
        if event.direction == "client" and event.event["type"] == "session.update":
            updates.append(event.event["session"])

    tls = None if certificate is None else certificate[0]
    with trio.fail_after(120):
        async with open_emulator(seed=7, on_event=keep, ssl_context=tls) as emulator:
            url = emulator.url.removesuffix("/realtime") + path
            run = partial(trio.run_process, capture_stdout=True, capture_stderr=True, check=False)
            environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
            environment["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
            if certificate is not None:
                url = url.replace("wss://127.0.0.1", "https://localhost")
                environment["NODE_EXTRA_CA_CERTS"] = str(certificate[1])
            done = await run([*command(program), url], env=environment)
    assert done.returncode == 0, done.stderr.decode()
    seen: dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    return seen | {"updates": updates}


async def test_the_asynchronous_client_of_openai(openai_python: Command) -> None:
    seen = await _run(openai_python, "openai_async.py", path="")
    assert seen["first"] == "session.created"
    assert seen["modalities"] == ["text"]
    assert seen["text"] == "1, 2, 3, 4, 5."
    assert seen["metadata"] == {"mark": "one"}
    assert seen["total_tokens"] > 0
    assert seen["turn"] == VOICE_TURN
    assert seen["spoken_status"] == "completed"
    assert 1 < seen["audio_s"] < 20
    assert seen["interrupted"] == ["cancelled", "truncated at 50"]
    assert seen["spoken_over"] == ["cancelled", "completed"]
    assert seen["error"]["type"] == "invalid_request_error"
    assert seen["error"]["param"] == "session.audio.output.voice"


async def test_the_synchronous_client_of_openai(openai_python: Command) -> None:
    seen = await _run(openai_python, "openai_sync.py", path="")
    assert seen["first"] == "session.created"
    assert seen["tools"] == ["get_weather"]
    assert seen["arguments"] == {"city": "Paris"}
    assert "sunny" in seen["text"]
    assert seen["status"] == "completed"


async def test_the_runner_of_openai_agents(openai_python: Command) -> None:
    seen = await _run(openai_python, "agents_sdk.py", path="/realtime")
    assert seen["tool_outputs"] == ["sunny in Paris"]
    assert seen["audio_s"] > 1
    assert seen["handoffs"] == [["Assistant", "Billing"]]
    assert seen["interrupted"] == 1
    assert seen["roles"][-2:] == ["user", "assistant"]
    assert seen["barged_in"] == 1
    assert seen["after"] == "Assistant"
    assert seen["updates"][-1]["instructions"] == "You are Otto.", "update_agent has sent those of the agent"
    # It plays nothing, so at the second interruption it takes the story for heard on: the server says what it thinks.
    assert all("is already shorter than" in error for error in seen["errors"])


async def test_the_javascript_agents_sdk(node_with: Callable[..., Command]) -> None:
    seen = await _run(node_with("@openai/agents-realtime"), "agents_sdk.mjs", path="/realtime")
    assert seen["audio_s"] > 1
    assert seen["tool_outputs"] == ["sunny in Paris"]
    assert seen["cut"] == "cancelled"
    assert seen["interrupted"] >= 1
    assert seen["instructions"] == "You are Anna."
    assert seen["turn"] == VOICE_TURN * 2
    assert seen["spoken"] == "completed"
    assert seen["roles"] == ["user", "assistant"] * 4
    assert (seen["spoken_over"], seen["after"], seen["barged_in"]) == ("cancelled", "completed", 1)
    # It goes by the clock: where the machine is busy, it takes more for heard than has come.
    assert all("is already shorter than" in error for error in seen["errors"])


async def test_the_javascript_client_of_openai(node_with: Callable[..., Command], tmp_path: Path) -> None:
    """It speaks TLS only, whatever the address says."""
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    command = node_with("openai", "ws")
    seen = await _run(command, "openai_client.mjs", path="", certificate=(context, trusted))
    assert seen["first"] == "session.created"
    assert seen["tools"] == ["get_weather"]
    assert seen["arguments"] == {"city": "Paris"}
    assert "sunny" in seen["text"]
    assert seen["audio_s"] > 1
    assert (seen["cut"], seen["truncated_at"]) == ("cancelled", 50)
    assert (seen["spoken_over"], seen["after"]) == ("cancelled", "completed")
    assert seen["turn"] == VOICE_TURN
    assert seen["errors"] == []


async def test_the_realtime_session_of_livekit_agents(python_with: Callable[..., Command]) -> None:
    command = python_with("livekit-agents", "livekit-plugins-openai")
    seen = await _run(command, "livekit_session.py", path="")
    assert seen["text"] == "1, 2, 3, 4, 5."
    assert seen["audio_s"] > 1
    assert seen["calls"] == [["get_weather", {"city": "Paris"}]]
    assert "sunny" in seen["told"].lower()
    assert len(seen["cut"]) < 200, "the story goes on for longer"
    assert seen["events"] == ["input_speech_started", "input_speech_stopped"] * 2
    assert seen["spoken"]
    assert len(seen["spoken_over"]) < 200, "the story goes on for longer"
    assert seen["after"]
    assert any(update.get("instructions") == "You are Anna. Be brief." for update in seen["updates"])
    assert seen["errors"] == []


async def test_the_realtime_session_of_pydantic_ai(python_with: Callable[..., Command]) -> None:
    seen = await _run(python_with("pydantic-ai-slim[openai-realtime]"), "pydantic_ai_session.py", path="")
    assert seen["outputs"] == ["Paris"]
    assert {"FunctionToolCallEvent", "FunctionToolResultEvent", "PartDeltaEvent"} <= set(seen["kinds"])
    assert {"RealtimeInputSpeechStartEvent", "RealtimeInputSpeechEndEvent"} <= set(seen["kinds"])
    # The last two are the story that is spoken over and the answer to that speech. It has no way to change settings.
    assert seen["messages"] == ["ModelRequest", "ModelResponse"] * 7


async def test_the_realtime_service_of_pipecat(python_with: Callable[..., Command]) -> None:
    seen = await _run(python_with("pipecat-ai[openai]"), "pipecat_service.py", path="/realtime")
    assert seen["calls"] == [{"city": "Paris"}]
    assert "sunny" in seen["text"]
    assert seen["audio_s"] > 1
    assert seen["interrupted"] == 1
    assert "I heard you speak" in seen["spoken"]
    assert "I heard you speak" in seen["after"]
    assert seen["barged_in"] == 2
    assert seen["updates"][-1]["instructions"] == "You are Anna."


async def test_the_bidirectional_agent_of_strands(python_with: Callable[..., Command]) -> None:
    """It reads and writes the protocol by itself, on a WebSocket of its own."""
    seen = await _run(python_with("strands-agents[bidi-openai]"), "strands_bidi.py", path="")
    assert "sunny in Paris" in seen["weather"]
    assert seen["audio_s"] > 1
    assert "I heard you speak" in seen["told"]
    assert {"bidi_tool_use_blocks", "bidi_transcript_block", "bidi_usage"} <= set(seen["kinds"])
    assert seen["kinds"].count("bidi_barge_in") == 1
    assert "bidi_connection_restart" not in seen["kinds"]
    assert seen["messages"] == ["user", "assistant"] * 5


async def test_the_live_agent_of_ag2(openai_python: Command) -> None:
    """It has no way to send text, to change settings, or to truncate."""
    seen = await _run(openai_python, "ag2_live.py", path="")
    assert seen["heard"] == 3
    assert seen["audio_s"] > 1
    first, cut, after = seen["answers"]
    assert "I heard you speak" in first
    assert len(cut or "") < len(first)
    assert "I heard you speak" in after
    assert seen["updates"][0]["tools"][0]["name"] == "get_weather"
