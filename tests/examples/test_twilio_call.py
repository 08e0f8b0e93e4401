"""The telephone example: a whole call on this machine, and what it refuses."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import trio

from trealtime.endpoints.twilio import sign_twilio_request
from trealtime.errors import ConnectFailed
from trealtime.transport.dial import open_websocket_wire

pytest.importorskip("quart_trio")
from hypercorn.config import Config
from hypercorn.trio import serve

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "twilio_call.py"


def run(*arguments: str, path: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    found = os.pathsep.join(map(str, [path, ROOT] if path else [ROOT]))
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        env={**os.environ, "PYTHONPATH": found, "PYTHONUTF8": "1", "PYTHONWARNINGS": "error", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )


def test_a_call_is_played_from_the_webhook_to_the_end() -> None:
    done = run()
    assert done.stderr.startswith("No OPENAI_API_KEY: starting an emulator ...\n")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "+15550100 calls."
    over = lines.index("The call is over. What was said and heard:")
    events = [line.strip().partition(":")[0] for line in lines[1:over]]
    # Hanging up may interrupt the second answer, if it is not over and there is still time to tell.
    assert [event for event in events if event != "agent_end"][:6] == [
        "agent_start",
        "speech_started",
        "audio_interrupted",
        "speech_stopped",
        "agent_start",
        "dtmf_received",
    ]
    heard_ms = re.search(r"audio_interrupted: (\d+) ms", done.stdout)
    assert heard_ms is not None
    assert 900 < int(heard_ms[1]) < 2000
    assert [line.split(":")[0] for line in lines[over + 1 : -1]] == ["  user", "  assistant", "  user", "  assistant"]
    assert re.fullmatch(r"The caller heard \d\.\d s of the agent\.", lines[-1])


@pytest.mark.parametrize(
    "arguments, variables, complaint",
    [
        (
            ["--public-url", "https://calls.example"],
            {},
            'twilio_call: TWILIO_AUTH_TOKEN is not set: it stands in Twilio\'s console under "Account Info"\n',
        ),
        (
            ["--public-url", "calls.example"],
            {"TWILIO_AUTH_TOKEN": "12345"},
            "twilio_call: --public-url: expected https://..., which is all that Twilio calls, got 'calls.example'\n",
        ),
    ],
)
def test_what_real_calls_need_is_named_when_it_is_missing(monkeypatch, arguments, variables, complaint) -> None:
    monkeypatch.delenv("TWILIO_AUTH_TOKEN", raising=False)
    done = run(*arguments, **variables)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", complaint)


def test_without_a_web_server_the_extra_is_named(tmp_path) -> None:
    (tmp_path / "quart_trio.py").write_text("raise ImportError")
    done = run(path=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'twilio_call needs Quart-Trio and Hypercorn: pip install "trealtime[web]"\n'


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("twilio_call", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def app_of(example: ModuleType) -> Any:
    app = example.call_app("12345", {})
    app.config["PUBLIC_URL"] = "https://calls.example"
    return app


async def test_the_webhook_answers_a_signed_request_with_the_stream_to_connect_to(example) -> None:
    form = {"From": '+1"<&>', "CallSid": "CA1"}
    signature = sign_twilio_request("https://calls.example/voice", auth_token="12345", params=form)
    client = app_of(example).test_client()
    response = await client.post("/voice", form=form, headers={"X-Twilio-Signature": signature})
    assert response.status_code == 200
    assert response.content_type.startswith("text/xml")
    stream = ET.fromstring(await response.get_data(as_text=True)).find("Connect/Stream")
    assert stream is not None
    assert stream.attrib == {"url": "wss://calls.example/stream"}
    assert [each.attrib for each in stream] == [{"name": "caller", "value": '+1"<&>'}]


def headers_of(url: str, signed_with: str | None, **params: str) -> dict[str, str]:
    if signed_with is None:
        return {}
    return {"X-Twilio-Signature": sign_twilio_request(url, auth_token=signed_with, params=params)}


@pytest.mark.parametrize("signed_with", [None, "54321"])
async def test_whoever_is_not_twilio_gets_no_twiml(example, capsys, signed_with) -> None:
    headers = headers_of("https://calls.example/voice", signed_with, From="+1")
    response = await app_of(example).test_client().post("/voice", form={"From": "+1"}, headers=headers)
    assert response.status_code == 403
    assert "Stream" not in await response.get_data(as_text=True)
    assert "Refused: " in capsys.readouterr().out


@pytest.mark.parametrize("signed_with", [None, "54321"])
async def test_whoever_is_not_twilio_gets_no_stream_and_no_session(example, signed_with) -> None:
    """On a real socket: that a handshake can be refused is the web server's part."""
    app = app_of(example)
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    over = trio.Event()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            [address] = await nursery.start(partial(serve, app, config, shutdown_trigger=over.wait))
            url = f"{address.replace('http', 'ws')}/stream"
            with pytest.raises(ConnectFailed) as caught:
                async with open_websocket_wire(url, headers=headers_of("wss://calls.example/stream", signed_with)):
                    pass
            assert caught.value.status == 403
            over.set()
