"""What strangers give to read: messages of phones and pages, webhooks, files. Only the documented errors come out.

Each kind has a valid original, of which a seed makes something wrong: in its values, and in its bytes.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import random
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hostile import Spoiler, naming

from trealtime import RealtimeAgent, RealtimeRunner, open_emulator
from trealtime.audio.wav import read_wav
from trealtime.calls import RealtimeWebhooks
from trealtime.calls.webhooks import webhook_signature
from trealtime.endpoints.browser.stream import BrowserStream
from trealtime.endpoints.twilio.stream import TwilioStream
from trealtime.errors import (
    AudioFormatError,
    BrowserStreamError,
    RecordingError,
    ScenarioError,
    SettingsError,
    TwilioStreamError,
    WebhookRefused,
)
from trealtime.evals.reading import read_scenarios
from trealtime.items import dump_history, load_history
from trealtime.recording import load_recording, read_recording, script_of
from trealtime.timeline import read_timeline

TIMES = int(os.environ.get("TREALTIME_TIMES", "1"))
NOW = 1_800_000_000
SECRET = "whsec_" + base64.b64encode(b"a key of the service").decode()


def spoiled(rng: random.Random, original: bytes) -> bytes:
    """The bytes, with something wrong in them."""
    found = bytearray(original)
    for _ in range(rng.choice((1, 1, 3, 10))):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(5):
            case 0:
                del found[at:]
            case 1:
                found[at:at] = rng.randbytes(rng.choice((1, 4, 30)))
            case 2:
                del found[at : at + rng.choice((1, 2, 4, 30))]
            case 3:
                found[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"data", b'"', b"}}"))
            case 4:
                found[at : at + 1] = rng.randbytes(1)
    return bytes(found)


def wrong(rng: random.Random, original: Any) -> Any:
    """The JSON value, with something wrong in it."""
    value = {"": copy.deepcopy(original)}
    found = Spoiler(rng, 1.0).wrong(value)
    return found.get("", found)


def text_of(rng: random.Random, original: Any) -> str:
    """JSON text of a value with something wrong in it."""
    return json.dumps(wrong(rng, original) if rng.random() < 0.9 else original)


# ---- phones, pages, webhooks ----------------------------------------------------------------------------------------

_FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
_START = {"accountSid": "AC1", "streamSid": "MZ1", "callSid": "CA1", "customParameters": {"a": "b"}}
TWILIO: tuple[dict[str, Any], ...] = (
    {"event": "connected", "protocol": "Call", "version": "1.0.0"},
    {"event": "start", "streamSid": "MZ1", "start": {**_START, "mediaFormat": _FORMAT}},
    {"event": "media", "media": {"track": "inbound", "chunk": "1", "timestamp": "5", "payload": "////" * 40}},
    {"event": "mark", "mark": {"name": "m1"}},
    {"event": "dtmf", "dtmf": {"track": "inbound", "digit": "5"}},
    {"event": "stop", "stop": {"accountSid": "AC1", "callSid": "CA1"}},
)
PAGE: tuple[dict[str, Any], ...] = (
    {"type": "hello", "protocol": 1, "rate": 48000},
    {"type": "heard", "epoch": 1, "samples": 480},
    {"type": "app", "data": {"type": "say", "text": "Hi"}},
    {"type": "interrupt"},
)
INCOMING = {
    "object": "event",
    "id": "evt_1",
    "type": "realtime.call.incoming",
    "created_at": NOW - 1,
    "data": {"call_id": "rtc_1", "sip_headers": [{"name": "From", "value": "sip:+1@example.com"}]},
}


def messages(rng: random.Random, originals: Sequence[dict[str, Any]]) -> list[str | bytes]:
    """A few messages of one stranger, the first of which is mostly right."""
    found: list[str | bytes] = [json.dumps(originals[rng.random() < 0.5])] if rng.random() < 0.9 else []
    for _ in range(9):
        text = text_of(rng, rng.choice(originals))
        found.append(spoiled(rng, text.encode()) if rng.random() < 0.2 else text)
    return found


def phone(rng: random.Random, folder: Path) -> None:
    stream = TwilioStream()
    for message in messages(rng, TWILIO):
        with suppress(TwilioStreamError):
            stream.receive(message)


def page(rng: random.Random, folder: Path) -> None:
    stream = BrowserStream(max_message_bytes=2**16)
    for message in messages(rng, PAGE):
        with suppress(BrowserStreamError):
            stream.receive(message)


def webhook(rng: random.Random, folder: Path) -> None:
    webhooks = RealtimeWebhooks(secret=SECRET, now=lambda: float(NOW))
    for number in range(10):
        body = text_of(rng, INCOMING).encode()
        if rng.random() < 0.2:
            body = spoiled(rng, body)
        name = f"wh_{number}"
        signed = {"id": name, "timestamp": str(NOW), "signature": webhook_signature(SECRET, name, str(NOW), body)}
        headers = {f"webhook-{key}": value for key, value in signed.items()}
        if rng.random() < 0.2:
            headers[rng.choice(list(headers))] = rng.choice(("", "x", "v1,", "9" * 400, "-1", "٣", "v1,é", "\x00"))
        with suppress(WebhookRefused):
            webhooks.receive(headers, body)


# ---- files ----------------------------------------------------------------------------------------------------------


def recording(rng: random.Random, folder: Path) -> None:
    path = folder / "hostile.jsonl"
    lines = (folder / "call.jsonl").read_bytes().splitlines()
    for _ in range(rng.choice((1, 3, 10))):
        at = rng.randrange(len(lines))
        if rng.random() < 0.7:
            with suppress(ValueError):
                lines[at] = text_of(rng, json.loads(lines[at])).encode()
        else:
            lines[at] = spoiled(rng, lines[at])
    if rng.random() < 0.1:
        rng.shuffle(lines)
    path.write_bytes(b"\n".join(lines))
    for read in (load_recording, script_of, lambda each: list(read_recording(each))):
        with suppress(RecordingError):
            read(path)
    with suppress(RecordingError):
        timeline = read_timeline(path)
        timeline.text()
        timeline.svg()


def _wav(rng: random.Random) -> bytes:
    tag, bits = rng.choice(((1, 16), (1, 8), (1, 24), (1, 32), (3, 32), (3, 64), (6, 8), (7, 8)))
    channels, rate = rng.choice((1, 2)), rng.choice((8000, 24000))
    frame = channels * bits // 8
    data = rng.randbytes(frame * 20)
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    note = b"LIST" + struct.pack("<I", 4) + b"INFO" if rng.random() < 0.3 else b""
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + note + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def wav(rng: random.Random, folder: Path) -> None:
    path = folder / "hostile.wav"
    for _ in range(10):
        path.write_bytes(spoiled(rng, _wav(rng)))
        with suppress(AudioFormatError):
            read_wav(path, channel=rng.choice((None, None, 0, 1)))


def history(rng: random.Random, folder: Path) -> None:
    original = json.loads((folder / "history.json").read_bytes())
    for _ in range(10):
        text: str | bytes = text_of(rng, original)
        if rng.random() < 0.2:
            text = spoiled(rng, text.encode())
            if rng.random() < 0.5:
                text = text.decode("utf-8", "surrogateescape")
        with suppress(SettingsError):
            dump_history(load_history(text))


def saved_session(rng: random.Random, folder: Path) -> None:
    original = json.loads((folder / "session.json").read_bytes())
    runner = RealtimeRunner(RealtimeAgent(name="a"))
    for _ in range(10):
        text: str | bytes = text_of(rng, original)
        if rng.random() < 0.2:
            text = spoiled(rng, text.encode())
        with suppress(SettingsError):
            runner.session(resume=text)


SCENARIO = """
- name: weather
  agent: agents:weather
  steps:
    - user: What is the weather?
    - agent: {contains: sun}
    - tool: look
  tools:
    look: {returns: 42}
"""


def scenario(rng: random.Random, folder: Path) -> None:
    path = folder / "hostile.yaml"
    for _ in range(3):
        path.write_bytes(spoiled(rng, SCENARIO.encode()))
        with suppress(ScenarioError):
            read_scenarios([path])


READERS: dict[str, tuple[Callable[[random.Random, Path], None], int]] = {
    "phone": (phone, 60),
    "page": (page, 60),
    "webhook": (webhook, 40),
    "recording": (recording, 12),
    "wav": (wav, 40),
    "history": (history, 30),
    "saved session": (saved_session, 20),
    "scenario": (scenario, 20),
}
"""By kind: what reads some inputs that a seed makes, and how many seeds the suite has."""


def make_originals(folder: Path) -> None:
    """A recording, a history and a saved session."""

    async def main() -> None:
        async with open_emulator(listen=False, seed=1) as emulator:
            config = {"record": folder / "call.jsonl"}
            runner = RealtimeRunner(RealtimeAgent(name="a"), model=emulator.memory_model(), config=config)
            async with runner.session() as session:
                await session.ask("What is the weather?")
                (folder / "history.json").write_text(dump_history(session.history), encoding="utf-8")
                (folder / "session.json").write_text(session.export(), encoding="utf-8")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the originals."""
    found = tmp_path_factory.mktemp("hostile")
    make_originals(found)
    return found


@pytest.mark.parametrize("kind", READERS)
def test_what_strangers_give_to_read_raises_only_the_documented_errors(kind: str, folder: Path) -> None:
    read, seeds = READERS[kind]
    for seed in range(seeds * TIMES):
        with naming(f"{kind}, seed {seed}"):
            read(random.Random(seed), folder)
