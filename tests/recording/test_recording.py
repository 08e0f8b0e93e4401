"""A session that was recorded is a file to read, and a server to replay it."""

from __future__ import annotations

import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

from trealtime._session.runner import RealtimeRunner
from trealtime._session.session import RealtimeSession
from trealtime.agents.agent import RealtimeAgent
from trealtime.emulator import open_emulator
from trealtime.errors import ConnectionLost, RecordingError
from trealtime.recording import RecordingModel, load_recording, replay, script_of
from trealtime.testing import UnexpectedRealtimeSend
from trealtime.tools.function_tool import function_tool
from trealtime.transport import ConnectionTarget, MemoryWire, Wire, memory_wire_pair
from trealtime.transport.wire import receiver, sender


@function_tool
async def order_status(order_id: int) -> str:
    """Look up an order."""
    return f"order {order_id} is on its way"


def agent(instructions: str = "You are Otto.") -> RealtimeAgent[Any]:
    return RealtimeAgent(name="Otto", instructions=instructions, tools=[order_status])


async def talk(session: RealtimeSession[Any], *said: str) -> list[str]:
    return [(await session.ask(text)).text for text in said]


SAID = ("Who are you?", "What is the order status of 7?")
TOLD = ["I am Otto.", "Order 7 is on its way."]


async def record(path: Path, *said: str, audio: Any = "keep", settings: Any = None, **options: Any) -> list[str]:
    async with open_emulator(listen=False, seed=1, **options) as emulator:
        model = RecordingModel(emulator.memory_model(), path, audio=audio)
        config = {"model_settings": settings or {}}
        runner = RealtimeRunner(agent(), model=model, config=config, rng=random.Random(1))
        async with runner.session() as session:
            return await talk(session, *said)


@pytest.mark.parametrize("audio", ["keep", "strip"])
async def test_what_was_recorded_is_replayed_to_another_session(audio, tmp_path, autojump_clock) -> None:
    path = tmp_path / "call.jsonl"
    assert await record(path, *SAID, audio=audio) == TOLD
    began_at = trio.current_time()
    async with replay(path) as server:
        # The runner has no seed, so the ids are others.
        runner = RealtimeRunner(agent("Other words."), model=server.memory_model())
        async with runner.session() as session:
            turns = [await session.ask(text) for text in SAID]
    assert [turn.text for turn in turns] == TOLD
    assert all(len(turn.audio) > 10_000 for turn in turns)
    assert any(any(turn.audio) for turn in turns) == (audio == "keep")
    last = load_recording(path).events[-1].at_s
    assert trio.current_time() - began_at == pytest.approx(last, abs=0.01), "it takes as long as it took"


async def test_the_file_has_every_event_both_ways_with_its_time(tmp_path, autojump_clock) -> None:
    path = tmp_path / "call.jsonl"
    await record(path, "Who are you?")
    recording = load_recording(path)
    kinds = [(entry.sent_by, entry.event["type"]) for entry in recording.events if not isinstance(entry.event, str)]
    assert sorted(kinds[:2]) == [("client", "session.update"), ("server", "session.created")]
    assert kinds[2] == ("server", "session.updated")
    assert ("client", "response.create") in kinds
    assert ("server", "response.output_audio.delta") in kinds
    assert [entry.at_s for entry in recording.events] == sorted(entry.at_s for entry in recording.events)
    assert recording.closed is not None
    assert (recording.closed.code, recording.closed.closed_by) == (1000, "client")


async def test_without_audio_its_length_is_told(tmp_path, autojump_clock) -> None:
    path = tmp_path / "call.jsonl"
    await record(path, "Who are you?", audio="strip")
    text = path.read_text(encoding="utf-8")
    assert "<7200 bytes of audio>" in text  # 150 ms
    assert len(text) < 60_000
    assert not load_recording(path).audio


async def test_secrets_are_never_written(tmp_path, autojump_clock) -> None:
    tool = {
        "type": "mcp",
        "server_label": "handbook",
        "server_url": "https://example.com/mcp",
        "authorization": "s3cret-token",
        "headers": {"X-Key": "s3cret-header"},
    }
    async with open_emulator(listen=False, api_key="s3cret-key") as emulator:
        model = RecordingModel(emulator.memory_model(), tmp_path / "call.jsonl")
        async with RealtimeRunner(agent(), model=model).session(model_config={"api_key": "s3cret-key"}) as session:
            await session.send_raw({"type": "session.update", "session": {"type": "realtime", "tools": [tool]}})
            await session.ask("Who are you?")
    text = (tmp_path / "call.jsonl").read_text(encoding="utf-8")
    assert "s3cret" not in text
    assert text.count("<removed>") >= 2


async def test_further_sessions_are_written_beside_the_first(tmp_path, autojump_clock) -> None:
    async with open_emulator(listen=False) as emulator:
        runner = RealtimeRunner(agent(), model=RecordingModel(emulator.memory_model(), tmp_path / "call.jsonl"))
        for _ in range(3):
            async with runner.session():
                pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["call-2.jsonl", "call-3.jsonl", "call.jsonl"]


async def test_a_spoken_turn_is_replayed_without_the_microphone(tmp_path, autojump_clock) -> None:
    path = tmp_path / "call.jsonl"
    noise = (np.random.default_rng(1).normal(size=24_000) * 6_000).astype(np.int16)
    settings = {"turn_detection": {"type": "server_vad"}}
    async with open_emulator(listen=False, seed=1) as emulator:
        model = RecordingModel(emulator.memory_model(), path)
        runner = RealtimeRunner(agent(), model=model, config={"model_settings": settings})
        async with runner.session() as session:
            await session.send_audio(np.concatenate([noise, np.zeros(24_000, np.int16)]))
            told = await answer_of(session)
    assert told.startswith("I heard you speak for")
    async with replay(path) as server, RealtimeRunner(agent(), model=server.memory_model()).session() as session:
        assert await answer_of(session) == told


async def answer_of(session: RealtimeSession[Any]) -> str:
    async for event in session:
        if event.type == "agent_end":
            return next(item.text for item in session.history if getattr(item, "role", "") == "assistant") or ""
    raise AssertionError("the session ended")


async def test_who_says_something_else_is_told_what_was_recorded(tmp_path, autojump_clock) -> None:
    path = tmp_path / "call.jsonl"
    await record(path, "Who are you?")

    async def say_something_else() -> None:
        async with replay(path) as server:
            runner = RealtimeRunner(agent(), model=server.memory_model())
            async with runner.session() as session:
                await session.ask("Who am I?")

    with pytest.raises(UnexpectedRealtimeSend, match="Who are you"):
        await say_something_else()


async def test_a_connection_that_the_server_ended_ends_again(tmp_path, autojump_clock) -> None:
    path = tmp_path / "call.jsonl"
    with pytest.raises(ConnectionLost):
        await record(path, *["Hello!"] * 20, max_session_s=5)
    assert load_recording(path).closed is not None
    assert str(script_of(path)[-1]) == "close 1001"


HEAD = '{"trealtime_recording": 1}\n'


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "1: not JSON"),
        ("{}\n", "1: not a recording"),
        ('{"trealtime_recording": 1}\n[]\n', "2: a line of a recording is a JSON object"),
        ('{"trealtime_recording": 1}\n{"at": 1}\n', "2: 'text' is missing"),
        ('{"trealtime_recording": 1}\n{"at": 1, "closed": 3}\n', "2: "),
        ('{"trealtime_recording": 1}\n' + "[" * 100_000, "2: not JSON"),
        (HEAD + '{"at": 1, "from": "server", "event": {"audio": "<9999999999 bytes of audio>"}}', "2: more audio"),
        (HEAD + '{"at": 1, "from": "server", "event": {"a": [{"b": "<99999999 bytes of audio>"}]}}', "2: more audio"),
        (HEAD + '{"at": 1, "from": "server", "event": [1]}', "2: 'event' is no JSON object"),
        (HEAD + '{"at": 1, "from": "moon", "event": {}}', "2: 'from' is missing, or none of client, server"),
        (HEAD + '{"at": "1", "from": "server", "event": {}}', "2: 'at' is missing"),
        (HEAD + '{"at": NaN, "from": "server", "event": {}}', "2: 'at' is missing"),
        (HEAD + '{"at": 1' + "0" * 400 + ', "from": "server", "event": {}}', "2: 'at' is missing"),
        (HEAD + '{"at": 1, "closed": {"code": "x", "reason": "", "by": "client"}}', "2: 'code' is missing"),
        (HEAD + '{"at": 1, "closed": {"code": 1000, "reason": 5, "by": "client"}}', "2: 'reason' is missing"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_with_its_line(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordingError) as caught:
        load_recording(path)
    assert str(caught.value).startswith(f"{path}:{problem}")


async def test_a_folder_that_is_not_there_is_told_at_entry(tmp_path, autojump_clock) -> None:
    async with open_emulator(listen=False) as emulator:
        model = RecordingModel(emulator.memory_model(), tmp_path / "no" / "call.jsonl")
        with pytest.raises(OSError, match="no"):
            async with RealtimeRunner(agent(), model=model).session():
                pass


def test_audio_is_kept_or_stripped(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='"keep" or "strip", got \'drop\''):
        RecordingModel(None, tmp_path / "x", audio="drop")  # type: ignore[arg-type]


def test_bytes_that_are_no_text_are_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    path.write_bytes(HEAD.encode() + b"\xff\xfe")
    with pytest.raises(RecordingError, match="not UTF-8"):
        load_recording(path)


def test_a_session_that_is_no_object_says_nothing_of_formats(tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    for session in ('"x"', '{"audio": 5}', '{"audio": {"output": {"format": {"type": ["audio/pcmu"]}}}}'):
        path.write_text(
            HEAD + f'{{"at": 1, "from": "server", "event": {{"type": "session.updated", "session": {session}}}}}'
        )
        assert len(script_of(path)) == 2


# ---- a recording never costs the session ----------------------------------------------------------------------------


@asynccontextmanager
async def recorded_pair(path: Path) -> AsyncIterator[tuple[Wire, MemoryWire]]:
    client, server = memory_wire_pair()

    class Model:
        @asynccontextmanager
        async def connect(self, target: ConnectionTarget) -> AsyncIterator[MemoryWire]:
            yield client

    async with RecordingModel(Model(), path).connect(ConnectionTarget()) as wire:
        yield wire, server


@pytest.mark.parametrize(
    "message",
    ["[" * 100_000, '{"a":' * 600 + "1" + "}" * 600, '{"delta":"\\ud83d"}', b"\xff\xfe", '{"a":1' + "0" * 5000 + "}"],
)
async def test_odd_messages_pass_a_recorder_and_are_told_in_the_file(message, tmp_path, autojump_clock) -> None:
    path = tmp_path / "call.jsonl"
    async with recorded_pair(path) as (wire, server):
        await (server.send if isinstance(message, str) else server.send_binary)(message)
        assert await wire.receive() == message
        await server.send('{"type":"next"}')
        assert await receiver(wire)() == ['{"type":"next"}']
        await sender(wire)(['{"type":"x"}', b'{"type":"y"}'])
        assert [await server.receive(), await server.receive()] == ['{"type":"x"}', '{"type":"y"}']
    recording = load_recording(path)
    assert [each.event for each in recording.events[1:]] == [{"type": "next"}, {"type": "x"}, {"type": "y"}]
    assert recording.events[0].sent_by == "server"


async def test_a_recording_that_fails_ends_itself_with_a_log_line_and_an_event(
    tmp_path, autojump_clock, monkeypatch, caplog
) -> None:
    class FullDisk:
        name = "call.jsonl"
        written = 0

        def write(self, data: bytes) -> None:
            self.written += len(data)
            if self.written > 8000:  # past the opening, before which nothing can be subscribed to
                raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("trealtime.recording.recorder.open_file", lambda path, replace: FullDisk())
    async with open_emulator(listen=False, seed=1) as emulator:
        model = RecordingModel(emulator.memory_model(), tmp_path / "call.jsonl")
        async with RealtimeRunner(agent(), model=model).session() as session, session.subscribe("error") as feed:
            assert await talk(session, *SAID) == TOLD
            event = await feed.receive()
    assert event.error.code == "recording_failed"
    assert "No space left on device" in event.error.message
    assert [record.name for record in caplog.records if "recording" in record.name] == ["trealtime.recording"] * 2


async def test_a_recording_that_fails_as_something_is_sent_is_told_without_waiting_for_the_server(
    tmp_path, autojump_clock, monkeypatch
) -> None:
    class Failing:
        name = "call.jsonl"

        def write(self, data: bytes) -> None:
            if b'"x"' in data:
                raise ValueError("I/O operation on closed file")

        def close(self) -> None:
            pass

    monkeypatch.setattr("trealtime.recording.recorder.open_file", lambda path, replace: Failing())
    async with recorded_pair(tmp_path / "call.jsonl") as (wire, server), trio.open_nursery() as nursery:
        told: list[Any] = []

        async def receive() -> None:
            told.append(json.loads(await wire.receive()))
            told.append(await wire.receive())

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await wire.send('{"type":"x"}')
        await trio.sleep(2)  # it is written within a second
        assert [event["error"]["code"] for event in told] == ["recording_failed"]
        await server.send('{"type":"y"}')
    assert told[1] == '{"type":"y"}'


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
async def test_only_the_owner_may_read_a_recording_also_where_the_file_was_there_before(
    tmp_path, autojump_clock
) -> None:
    path = tmp_path / "call.jsonl"
    path.write_text("old")
    path.chmod(0o644)
    async with recorded_pair(path):
        pass
    assert path.stat().st_mode & 0o777 == 0o600
    assert "old" not in path.read_text()


async def test_values_under_secret_names_and_credentials_of_addresses_are_never_written(
    tmp_path, autojump_clock
) -> None:
    path = tmp_path / "call.jsonl"
    event = {
        "type": "x", "token": "s3cret", "accessToken": "s3cret", "x-api-key": "s3cret", "Proxy-Authorization": "s3cret",
        "tools": [{"server_url": "https://user:s3cret@host/mcp?token=s3cret&model=m"}],
        "logprobs": [{"token": "kept"}], "total_tokens": 5, "key": "kept", "parameters": {"properties": {"token": {}}},
    }  # fmt: skip
    async with recorded_pair(path) as (wire, _):
        await wire.send(json.dumps(event))
    text = path.read_text()
    assert "s3cret" not in text
    (written,) = load_recording(path).events
    assert written.event["tools"] == [{"server_url": "https://host/mcp?token=...&model=m"}]
    for name in ("logprobs", "total_tokens", "key", "parameters"):
        assert written.event[name] == event[name]


def test_lines_whose_values_are_of_other_types_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    head = HEAD.replace('"trealtime_recording": 1', '"trealtime_recording": 2')
    odd = ['{"at": 0, "connection": {"number": [1]}}']
    odd += [f'{{"at": 1, "from": "client", "event": {{"type": {kind}}}}}' for kind in ('["session.update"]', "{}", "5")]
    path.write_text(head + "\n".join(odd) + "\n")
    assert script_of(path) == []
