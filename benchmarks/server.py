"""The other side: a WebSocket server in a process of its own that sends the events of a scenario, and no more.

It is made of wsproto alone, and encodes all that it can beforehand, so that it keeps ahead of both clients and takes
the same time for either. The path of the address chooses what it does, and so do its query and further parts of the
path, as in ``/duplex/shift=0.1`` (clients that choose the query themselves add ``/realtime?model=...``):

* ``/flood?deltas=N``: answers ``response.create`` with N deltas of audio, as fast as the socket takes them.
* ``/sink``: takes audio, and answers ``input_audio_buffer.commit`` when it has got that far.
* ``/duplex?shift=S&call=NAME``: answers ``response.create`` with 5 deltas of audio and 5 of transcript a second, S
  seconds into the period, without end; takes audio meanwhile. A chunk of audio that begins with a monotonic clock
  (eight bytes, nanoseconds) is one that was due then: how late it comes is kept.
* ``/barge-in?shift=S&call=NAME``: the same in responses of two seconds that the user interrupts. The monotonic clock of
  each ``speech_started`` is kept.
* ``/interrupts?deltas=N&pause=S``: answers ``response.create`` with N deltas and, S seconds later, with speech of the
  user whose item id is the monotonic clock at which it was sent.

``python -m benchmarks.server [CERTIFICATE]`` prints its port, answers each line of its standard input with what it has
kept since the last one, as JSON, and runs until its standard input ends. With a certificate (a PEM file that holds the
key too) it speaks TLS.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import ssl
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


@attrs.frozen
class Server:
    """A server in a process of its own."""

    url: str
    _process: subprocess.Popen[str]

    def figures(self) -> dict[str, Any]:
        """What it has kept since the last call: `late_ms` of chunks, and clocks (ns) of `interrupts` by call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        figures: dict[str, Any] = json.loads(self._process.stdout.readline())
        return figures


@contextmanager
def running_server() -> Iterator[str]:
    """A server for the block; its address, to which a scenario's path is added."""
    with server() as running:
        yield running.url


@contextmanager
def server(certificate: Path | None = None, *, core: int | None = None) -> Iterator[Server]:
    """A server for the block, over TLS if a certificate for `localhost` is given, on one core if one is named."""
    command = [sys.executable, "-m", f"{__package__}.server"]
    if certificate is not None:
        command.append(str(certificate))
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if core is not None and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(process.pid, {core})
            where = "ws://127.0.0.1" if certificate is None else "wss://localhost"
            yield Server(f"{where}:{int(process.stdout.readline())}", process)
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


# ---- frames ---------------------------------------------------------------------------------------------------------


def _frame(event: Mapping[str, Any]) -> bytes:
    """One event as a WebSocket frame of a server: RFC 6455 section 5.2, not masked."""
    text = msgspec.json.encode({"event_id": "event_00000000000000", **event})
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
    return _frame(
        {
            "type": "response.output_audio_transcript.delta",
            **_place(response_id),
            "event_id": "event_00000000000001",
            "delta": "some words ",
        }
    )


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


@attrs.define
class _Kept:
    late_ms: list[float] = attrs.Factory(list)
    interrupts: dict[str, list[int]] = attrs.Factory(dict)


_kept = _Kept()

_APPEND = '"audio":"'


@attrs.define(eq=False)
class _Connection:
    stream: trio.abc.Stream
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
                        work, *rest = address.path.removesuffix("/realtime").strip("/").split("/")
                        self.path = f"/{work}"
                        self.query = dict(parse_qsl(address.query)) | dict(part.split("=", 1) for part in rest)
                        await self.write(self.websocket.send(AcceptConnection()))
                        created = {"type": "realtime", "object": "realtime.session", "id": "sess_1"}
                        await self.write(_frame({"type": "session.created", "session": created}))
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
        if (at := text.find(_APPEND, 0, 400)) > 0 and "input_audio_buffer.append" in text[:400]:
            self.heard(text[at + len(_APPEND) : at + len(_APPEND) + 12])
            return
        event = msgspec.json.decode(text)
        if event["type"] == "input_audio_buffer.append":
            self.heard(event["audio"][:12])
            return
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

    def heard(self, base64: str) -> None:
        """Keep how late a chunk comes. One of silence says nothing."""
        due_ns = int.from_bytes(pybase64.b64decode(base64)[:8], "big")
        if due_ns:
            _kept.late_ms.append((time.monotonic_ns() - due_ns) / 1e6)

    async def answer(self, response_id: str) -> None:
        match self.path:
            case "/flood":
                await self.write(_flood(int(self.query["deltas"])))
            case "/duplex":
                await self.speak_in_time(response_id, float(self.query["shift"]))
            case "/barge-in":
                await self.be_interrupted(float(self.query["shift"]))
            case "/sink":
                await self.write(_flood(1))
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

    async def be_interrupted(self, shift_s: float) -> None:
        """Speak for two seconds, a second ahead of time as the service does; then the user speaks, half a second."""
        clocks = _kept.interrupts.setdefault(self.query["call"], [])
        due = trio.current_time() + shift_s
        for turn in itertools.count():
            response_id = f"resp_{self.query['call']}_{turn}" if turn else f"resp_{self.responses}"
            if turn:
                self.responses += 1
                await self.write(_begin(response_id, None))
            piece = _audio(response_id) + _transcript(response_id)
            await self.write(piece * 5)
            for _ in range(10):
                due += DELTA_S
                await trio.sleep_until(due)
                await self.write(piece)
            speech = {"item_id": f"item_{self.query['call']}_{turn}", "event_id": f"event_speech_{turn}"}
            kind = "input_audio_buffer.speech_"
            started = _frame({"type": f"{kind}started", "audio_start_ms": 2500 * turn + 2000, **speech})
            clocks.append(time.monotonic_ns())
            await self.write(started)
            await self.write(_end(response_id, "cancelled"))
            due += 0.5
            await trio.sleep_until(due)
            stopped = _frame({"type": f"{kind}stopped", "audio_end_ms": 2500 * (turn + 1), **speech})
            committed = {"type": "input_audio_buffer.committed", "previous_item_id": None, **speech}
            await self.write(stopped + _frame(committed))


async def _serve(stream: trio.abc.Stream) -> None:
    try:
        async with trio.open_nursery() as nursery:
            await _Connection(stream, nursery).run()
            nursery.cancel_scope.cancel()
    except* trio.BrokenResourceError:
        pass  # the client has gone


async def _main(certificate: str | None) -> None:
    async with trio.open_nursery() as nursery:
        if certificate is None:
            serve = functools.partial(trio.serve_tcp, _serve, 0, host="127.0.0.1")
        else:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            serve = functools.partial(
                trio.serve_ssl_over_tcp, _serve, 0, context, host="127.0.0.1", https_compatible=True
            )
        listeners = await nursery.start(serve)
        listener = listeners[0] if certificate is None else listeners[0].transport_listener
        print(listener.socket.getsockname()[1], flush=True)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            print(json.dumps(attrs.asdict(_kept)), flush=True)
            _kept.late_ms.clear()
            for clocks in _kept.interrupts.values():  # a call that goes on has its list in hand
                clocks.clear()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_main, sys.argv[1] if len(sys.argv) > 1 else None)
