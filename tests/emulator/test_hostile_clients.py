"""Clients that spoil their events, and bytes that are no frames: the emulator answers or closes, and lives on.

A run has some 100 messages of one client and belongs to a seed, which a failure names.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import random
import struct
from typing import Any

import pytest
import trio
import trio.testing
from hostile import Spoiler, naming

from trealtime.emulator import Emulator, open_emulator
from trealtime.transport.wire import Wire, WireClosed

TIMES = int(os.environ.get("TREALTIME_TIMES", "1"))
RUNS = 8 * TIMES
MESSAGES = 100

_LOOK = {
    "type": "function",
    "name": "look",
    "parameters": {
        "type": "object",
        "properties": {"at": {"type": "string"}, "n": {"enum": [1, 2]}},
        "required": ["at"],
    },
}
_DETECTION = {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 200, "idle_timeout_ms": 5000}
_TONE = base64.b64encode(struct.pack("<2400h", *(9000 if n // 50 % 2 else -9000 for n in range(2400)))).decode()
_SILENCE = base64.b64encode(bytes(19200)).decode()


def _said(**part: Any) -> dict[str, Any]:
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [part]}}


EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "session.update", "session": {"type": "realtime", "instructions": "Be nice.", "tools": [_LOOK]}},
    {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": _DETECTION}}}},
    {"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"voice": "cedar", "speed": 1.2}}}},
    {"type": "input_audio_buffer.append", "audio": _TONE},
    {"type": "input_audio_buffer.append", "audio": _TONE},
    {"type": "input_audio_buffer.append", "audio": _SILENCE},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    _said(type="input_text", text="What is the weather in Paris at 5 pm?"),
    _said(type="input_audio", audio=_TONE),
    {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "call_1", "output": "{}"}},
    {"type": "conversation.item.retrieve", "item_id": "item_1"},
    {"type": "conversation.item.delete", "item_id": "item_1"},
    {"type": "conversation.item.truncate", "item_id": "item_1", "content_index": 0, "audio_end_ms": 50},
    {"type": "response.create"},
    {
        "type": "response.create",
        "response": {"conversation": "none", "metadata": {"a": "b"}, "input": [], "tools": [_LOOK]},
    },
    {"type": "response.create", "response": {"instructions": "Sing.", "output_modalities": ["text"]}},
    {"type": "response.cancel"},
    {"type": "output_audio_buffer.clear"},
)


class Troubles(logging.Handler):
    """What the emulator logs as errors: of its own, for nothing in these tests but it can fail."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


async def read(wire: Wire, kit: Any, rng: random.Random, item_ids: list[str]) -> None:
    """Check what the emulator says; note its items, for clients that name them."""
    try:
        while True:
            event = json.loads(await wire.receive())
            assert kit.validate("server", event) == [], event
            item = event.get("item")
            if isinstance(item, dict) and isinstance(item.get("id"), str):
                item_ids.append(item["id"])
                del item_ids[:-20]
    except WireClosed:
        pass


async def talk(emulator: Emulator, kit: Any, seed: int) -> None:
    """One client that spoils its events."""
    rng = random.Random(seed)
    spoiler = Spoiler(rng, rng.choice((0.1, 0.3, 0.8)))
    item_ids = ["item_1"]
    async with emulator.connect() as wire, trio.open_nursery() as nursery:
        nursery.start_soon(read, wire, kit, rng, item_ids)
        try:
            for number in range(MESSAGES):
                event = {"event_id": f"evt_{number}", **rng.choice(EVENTS)}
                if "item_id" in event:
                    event["item_id"] = rng.choice(item_ids)
                for frame in spoiler.frames(event):
                    if frame != "\ud83d":  # no wire takes it
                        await (wire.send_binary(frame) if isinstance(frame, bytes) else wire.send(frame))
                await trio.sleep(rng.choice((0, 0, 0.01, 0.3, 2)))
        except WireClosed:
            pass
        await trio.sleep(rng.choice((0, 20)))
        nursery.cancel_scope.cancel()


async def answers(emulator: Emulator, kit: Any) -> None:
    """A client that keeps to the protocol gets its answer."""
    async with emulator.connect() as wire:
        client = kit.client_of(wire)
        await client.get("session.created")
        await client.say("Hello")
        await client.send("response.create")
        done = await client.get("response.done")
        assert done["response"]["status"] == "completed"


def run(seed: int, kit: Any) -> None:
    """One client after another, in virtual time."""
    troubles = Troubles()
    logger = logging.getLogger("trealtime")
    logger.addHandler(troubles)

    async def main() -> None:
        async with open_emulator(listen=False, seed=seed, unix_time_s=1_000_000) as emulator:
            await talk(emulator, kit, seed)
            await answers(emulator, kit)
            await trio.sleep(1)
            assert emulator.sessions == ()

    try:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        logger.removeHandler(troubles)
    assert troubles.found == []


@pytest.mark.parametrize("part", range(4))
def test_an_emulator_stands_whatever_a_client_sends(kit: Any, part: int) -> None:
    for seed in range(part, RUNS, 4):
        with naming(f"seed {seed}"):
            run(seed, kit)


# ---- frames ---------------------------------------------------------------------------------------------------------

_UPGRADE = (
    b"GET /v1/realtime?model=m HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(rng: random.Random) -> bytes:
    """A frame of a client in which anything may be wrong (RFC 6455, section 5.2)."""
    opcode = rng.choice((1, 1, 1, 2, 0, 8, 9, 10, 3, 11, 15))
    first = opcode | (0x80 if rng.random() < 0.8 else 0) | (rng.choice((0x40, 0x20, 0x10)) if rng.random() < 0.1 else 0)
    payload = rng.choice(
        (b"", b'{"type":"response.create"}', b"\xff\xfe", bytes(rng.randrange(300)), b"\x03", b"\x03\xe8x")
    )
    masked = 0x80 if rng.random() < 0.9 else 0
    size = len(payload)
    told = rng.choice((size, size, size, size, size, size, size + 1, 2**16, 2**40, 2**63))
    if told < 126:
        length = bytes([masked | told])
    elif told < 2**16:
        length = bytes([masked | 126]) + struct.pack(">H", told)
    else:
        length = bytes([masked | 127]) + struct.pack(">Q", told)
    mask = rng.randbytes(4) if masked else b""
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if masked else payload
    whole = bytes([first]) + length + mask + body
    return whole[: rng.randrange(len(whole) + 1)] if rng.random() < 0.05 else whole


async def send_bytes(port: int, rng: random.Random) -> None:
    """A connection that sends bytes, and leaves."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        try:
            head = _UPGRADE
            if rng.random() < 0.2:
                at = rng.randrange(len(head))
                head = head[:at] + rng.randbytes(rng.choice((0, 1, 40))) + head[at + rng.choice((0, 1, 9)) :]
            await stream.send_all(head)
            for _ in range(rng.randrange(12)):
                await stream.send_all(frame(rng))
            with trio.move_on_after(0.02):
                while await stream.receive_some(65536):
                    pass
        except trio.BrokenResourceError:
            pass


async def test_an_emulator_stands_whatever_bytes_a_socket_brings(kit: Any) -> None:
    troubles = Troubles()
    logger = logging.getLogger("trealtime")
    logger.addHandler(troubles)
    rng = random.Random(3)
    try:
        with trio.fail_after(60 * TIMES):
            async with open_emulator(seed=3) as emulator:
                port = int(emulator.url.rpartition(":")[2].partition("/")[0])
                for _ in range(10 * TIMES):
                    async with trio.open_nursery() as nursery:
                        for _ in range(5):
                            nursery.start_soon(send_bytes, port, random.Random(rng.random()))
                await answers(emulator, kit)
                while emulator.sessions:  # noqa: ASYNC110  (the emulator has no event for it)
                    await trio.sleep(0.01)
    finally:
        logger.removeHandler(troubles)
    assert troubles.found == []
