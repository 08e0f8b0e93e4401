"""The other side: a WebSocket server in a process of its own that sends the events of a scenario, and no more.

It is made of wsproto alone, and encodes all that it can beforehand, so that it keeps ahead of both clients and takes
the same time for either. The path of the address chooses what it does:

* ``/flood?deltas=N``: answers ``response.create`` with N deltas of audio, as fast as the socket takes them.
* ``/sink``: takes audio, and answers ``input_audio_buffer.commit`` when it has got that far.
* ``/duplex?shift=S``: answers ``response.create`` with 5 deltas of audio and 5 of transcript a second, S seconds into
  the period, without end; takes audio meanwhile.
* ``/interrupts?deltas=N&pause=S``: answers ``response.create`` with N deltas and, S seconds later, with speech of the
  user whose item id is the monotonic clock at which it was sent.

``python -m benchmarks.server`` prints its port and runs until its standard input ends.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
import msgspec
import pybase64
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage

ROOT = Path(__file__).resolve().parents[1]
DELTA_BYTES = 9600
"""200 ms of PCM16 at 24 kHz, as the service sends them."""

DELTA_S = 0.2

_ITEM_ID = "item_of_the_agent"
_SPEECH = pybase64.b64encode_as_string(bytes(range(256)) * (DELTA_BYTES // 256) + bytes(DELTA_BYTES % 256))


# ---- in the process that measures -----------------------------------------------------------------------------------


@contextmanager
def running_server() -> Iterator[str]:
    """A server for the block; its address, to which a scenario's path is added."""
    command = [sys.executable, "-m", f"{__package__}.server"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"ws://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


# ---- frames ---------------------------------------------------------------------------------------------------------


def _frame(event: Mapping[str, Any]) -> bytes:
    """One event as a WebSocket frame of a server: RFC 6455 section 5.2, not masked."""
    text = msgspec.json.encode(event)
    if len(text) < 126:
        head = bytes((0x81, len(text)))
    elif len(text) < 2**16:
        head = b"\x81\x7e" + len(text).to_bytes(2, "big")
    else:
        head = b"\x81\x7f" + len(text).to_bytes(8, "big")
    return head + text


def _place(response_id: str) -> dict[str, Any]:
    return {
        "response_id": response_id,
        "item_id": f"{_ITEM_ID}_{response_id}",
        "output_index": 0,
        "content_index": 0,
    }


def _audio(response_id: str) -> bytes:
    kind = "response.output_audio.delta"
    return _frame({"type": kind, "event_id": "event_00000000000000", **_place(response_id), "delta": _SPEECH})


def _transcript(response_id: str) -> bytes:
    return _frame({"type": "response.output_audio_transcript.delta", **_place(response_id), "delta": "some words "})


def _begin(response_id: str, metadata: Any) -> bytes:
    response = {"object": "realtime.response", "id": response_id, "status": "in_progress", "output": []}
    return _frame({"type": "response.created", "response": {**response, "metadata": metadata}}) + _frame(
        {
            "type": "response.output_item.added",
            "response_id": response_id,
            "output_index": 0,
            "item": _item(response_id, "in_progress"),
        }
    )


def _end(response_id: str, status: str) -> bytes:
    item = _item(response_id, "completed" if status == "completed" else "incomplete")
    return b"".join(
        map(
            _frame,
            (
                {"type": "response.output_audio.done", **_place(response_id)},
                {
                    "type": "response.output_item.done",
                    "response_id": response_id,
                    "output_index": 0,
                    "item": item,
                },
                {
                    "type": "response.done",
                    "response": {"object": "realtime.response", "id": response_id, "status": status, "output": [item]},
                },
            ),
        )
    )


def _item(response_id: str, status: str) -> dict[str, Any]:
    return {
        "id": f"{_ITEM_ID}_{response_id}",
        "object": "realtime.item",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [],
    }


@functools.cache
def _flood(deltas: int) -> bytes:
    return _audio("resp_1") * deltas + _end("resp_1", "completed")


# ---- one connection -------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class _Connection:
    stream: trio.SocketStream
    nursery: trio.Nursery
    websocket: WSConnection = attrs.field(factory=lambda: WSConnection(ConnectionType.SERVER))
    path: str = ""
    query: dict[str, str] = attrs.Factory(dict)
    responses: int = 0
    text: str = ""
    """What has come of a message that is not complete."""

    writing: trio.Lock = attrs.field(factory=trio.Lock)

    async def run(self) -> None:
        while data := await self.stream.receive_some(65536):
            self.websocket.receive_data(data)
            for event in self.websocket.events():
                match event:
                    case Request(target=target):
                        address = urlsplit(target)
                        self.path, self.query = address.path, dict(parse_qsl(address.query))
                        await self.write(self.websocket.send(AcceptConnection()))
                        await self.write(_frame({"type": "session.created", "session": {"id": "sess_1"}}))
                    case TextMessage(data=part, message_finished=finished):
                        self.text += part
                        if finished:
                            text, self.text = self.text, ""
                            await self.message(text)
                    case CloseConnection():
                        await self.write(self.websocket.send(event.response()))
                        return
                    case Ping():
                        await self.write(self.websocket.send(event.response()))

    async def write(self, data: bytes) -> None:
        async with self.writing:
            await self.stream.send_all(data)

    async def message(self, text: str) -> None:
        if text.startswith('{"type":"input_audio_buffer.append"'):
            return
        event = msgspec.json.decode(text)
        match event["type"]:
            case "session.update":
                await self.write(_frame({"type": "session.updated", "session": event["session"]}))
            case "input_audio_buffer.commit":
                committed = {"type": "input_audio_buffer.committed", "item_id": "item_1", "previous_item_id": None}
                await self.write(_frame(committed))
            case "conversation.item.truncate":
                event.pop("event_id", None)
                await self.write(_frame({**event, "type": "conversation.item.truncated"}))
            case "response.create":
                self.responses += 1
                response_id = f"resp_{self.responses}"
                await self.write(_begin(response_id, event.get("response", {}).get("metadata")))
                # Not here: reading goes on while it answers.
                self.nursery.start_soon(self.answer, response_id)

    async def answer(self, response_id: str) -> None:
        match self.path:
            case "/flood":
                await self.write(_flood(int(self.query["deltas"])))
            case "/duplex":
                await self.speak_in_time(response_id, float(self.query["shift"]))
            case "/interrupts":
                await self.write(_audio(response_id) * int(self.query["deltas"]))
                await trio.sleep(float(self.query["pause"]))
                speech = {"type": "input_audio_buffer.speech_started", "audio_start_ms": 0}
                await self.write(_frame({**speech, "item_id": f"item_{time.monotonic_ns()}"}))
                await self.write(_end(response_id, "cancelled"))

    async def speak_in_time(self, response_id: str, shift_s: float) -> None:
        piece = _audio(response_id) + _transcript(response_id)
        due = trio.current_time() + shift_s
        while True:
            await trio.sleep_until(due)
            await self.write(piece)
            due += DELTA_S


async def _serve(stream: trio.SocketStream) -> None:
    try:
        async with trio.open_nursery() as nursery:
            await _Connection(stream, nursery).run()
            nursery.cancel_scope.cancel()
    except* trio.BrokenResourceError:
        pass  # the client has gone


async def _main() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(functools.partial(trio.serve_tcp, _serve, 0, host="127.0.0.1"))
        print(listeners[0].socket.getsockname()[1], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_main)
