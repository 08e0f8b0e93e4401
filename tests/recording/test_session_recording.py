"""Sessions that are recorded by their run config."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from trealtime import (
    RealtimeAgent,
    RealtimePlaybackTracker,
    RealtimeRunner,
    RealtimeSession,
    function_tool,
    open_emulator,
)
from trealtime._recordings.recorder import Recorder, header_of
from trealtime._recordings.writing import LineEncoder, MemorySink
from trealtime.emulator import CallFunction, ScriptedBrain
from trealtime.errors import RecordingError, SettingsError
from trealtime.recording import load_recording, read_recording
from trealtime.settings import RecordingSettings
from trealtime.testing import MemoryEndpoint


@function_tool
async def order_status(order_id: int) -> str:
    """Look up an order."""
    return f"order {order_id} is on its way"


def agent() -> RealtimeAgent[Any]:
    return RealtimeAgent(name="Otto", instructions="You are Otto.", tools=[order_status])


SCRIPT = [CallFunction("order_status", '{"order_id": 7}'), "Order 7 is on its way.", "Goodbye."]


async def record(record: Any, *said: str, attach: bool = False, **model_config: Any) -> RealtimeSession[Any]:
    async with open_emulator(listen=False, seed=1, brain=ScriptedBrain(SCRIPT)) as emulator:
        runner = RealtimeRunner(agent(), model=emulator.memory_model(), config={"record": record}, rng=random.Random(1))
        async with runner.session(model_config=model_config) as session:
            if attach:
                async with session.attach(MemoryEndpoint(input_format=None)):
                    for words in said:
                        await session.send_message(words)
                        await trio.sleep(10)
            else:
                for words in said:
                    await session.ask(words)
                    await session.wait_for_playback()
    return session


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("name", ["{session_id}.jsonl", "{session_id}.jsonl.gz"])
async def test_a_session_is_recorded_whole_in_one_file_under_its_id(name, tmp_path, autojump_clock) -> None:
    session = await record(tmp_path / "calls" / name, "Where is order 7?", attach=True, api_key="s3cret-key")
    path = only_file(tmp_path / "calls")
    assert path.name == name.replace("{session_id}", session.id)
    recording = load_recording(path)
    assert recording.session_id == session.id
    assert recording.complete
    assert recording.closed is not None
    assert recording.closed.code == 1000
    wire = [(each.sent_by, each.event["type"]) for each in recording.events if not isinstance(each.event, str)]
    assert ("client", "session.update") in wire
    assert ("server", "response.done") in wire
    kinds = [each.type for each in recording.session_events]
    assert kinds[0] == "history_updated"
    assert {"agent_start", "agent_end", "tool_start", "tool_end", "audio", "transcript_delta"} <= set(kinds)
    tool_end = next(each for each in recording.session_events if each.type == "tool_end")
    assert tool_end.fields["tool"] == "order_status"
    assert tool_end.fields["output"] == "order 7 is on its way"
    assert tool_end.fields["agent"] == "Otto"
    head = recording.header
    assert head["agent"] == "Otto"
    assert head["versions"].keys() == {"trealtime", "python", "trio"}
    assert head["clock"].keys() == {"unix_s", "trio_s"}
    assert head["model_settings"] == {"api_key": "<removed>"}
    assert head["settings"]["record"]["path"].endswith(name)
    assert "s3cret" not in path.read_bytes().decode("latin-1")
    assert b"s3cret" not in unzipped(path)
    at = [each.at_s for each in read_recording(path)]
    assert at == sorted(at)


def unzipped(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()


async def test_the_positions_that_an_endpoint_played_are_there(tmp_path, autojump_clock) -> None:
    await record(tmp_path / "call.jsonl", "Where is order 7?", attach=True)
    recording = load_recording(tmp_path / "call.jsonl")
    received_ms: dict[str, float] = {}
    for each in recording.session_events:
        if each.type == "audio":
            item_id = each.fields["item_id"]
            received_ms[item_id] = max(received_ms.get(item_id, 0), each.fields["start_ms"] + each.fields["bytes"] / 48)
    heard = [each for each in recording.others if each.kind == "playback"]
    assert {each.value["item_id"] for each in heard} == received_ms.keys()
    for one, other in itertools.pairwise(heard):
        assert other.at_s - one.at_s == pytest.approx(
            (other.value["heard_ms"] - one.value["heard_ms"]) / 1000, abs=0.03
        )
    assert heard[-1].value["heard_ms"] == pytest.approx(received_ms[heard[-1].value["item_id"]], abs=1)


async def test_without_an_endpoint_the_audio_that_the_app_takes_is_there(tmp_path, autojump_clock) -> None:
    await record(tmp_path / "call.jsonl", "Where is order 7?")
    taken = [each.value for each in load_recording(tmp_path / "call.jsonl").others if each.kind == "playback"]
    assert taken
    assert all(each["until_ms"] > each["from_ms"] for each in taken)


class Endless(Sequence[int]):
    def __len__(self) -> int:
        return 10**12

    def __getitem__(self, index: Any) -> Any:
        return index


class Backwards(str):
    def __len__(self) -> int:
        return -1


class Hostile(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no items")


class Mute(Exception):
    def __str__(self) -> str:
        raise AttributeError("no detail")

    __repr__ = __str__
    __hash__ = Exception.__hash__


def nested() -> list[object]:
    inside: list[object] = []
    inside.extend([inside] * 30)
    return inside


ODD_RESULTS = {
    "a range": (range(10**12), lambda kept: kept[:3] == [0, 1, 2]),
    "without an end": (Endless(), lambda kept: kept[:3] == [0, 1, 2]),
    "in itself": (nested(), lambda kept: isinstance(kept, list)),
    "a hostile mapping": (Hostile(a=1), lambda kept: kept == "<Hostile, whose methods raise RuntimeError>"),
    "a mute key": ({Mute(): 1}, lambda kept: list(kept.values()) == [1]),
    "a mute exception": (Mute(), lambda kept: kept == "Mute: <Mute, whose str raises AttributeError>"),
    "a number": (10**5000, lambda kept: kept == "<int, whose str raises ValueError>"),
    "a str of its own": (Backwards("word"), lambda kept: kept == "word"),
}


@pytest.mark.parametrize("odd", ODD_RESULTS)
async def test_a_result_of_a_tool_that_is_hard_to_read_ends_neither_recording_nor_session(
    tmp_path, autojump_clock, odd
) -> None:
    result, fits = ODD_RESULTS[odd]

    @function_tool
    async def look_up() -> object:
        return result

    path = tmp_path / "call.jsonl"
    brain = ScriptedBrain([CallFunction("look_up", "{}"), "Done."])
    async with open_emulator(listen=False, brain=brain) as emulator:
        runner = RealtimeRunner(
            RealtimeAgent(name="Otto", tools=[look_up]), model=emulator.memory_model(), config={"record": path}
        )
        async with runner.session() as session:
            assert (await session.ask("Go.")).text == "Done."
    kept = [each.fields["output"] for each in load_recording(path).session_events if each.type == "tool_end"]
    assert len(kept) == 1
    assert fits(kept[0]), kept
    assert path.stat().st_size < 2_000_000


async def test_a_running_file_can_be_read_a_turn_behind_at_most(tmp_path, autojump_clock) -> None:
    for name in ("call.jsonl", "call.jsonl.gz"):
        async with open_emulator(listen=False, seed=1) as emulator:
            runner = RealtimeRunner(agent(), model=emulator.memory_model(), config={"record": tmp_path / name})
            async with runner.session() as session:
                await session.ask("Who are you?")
                await trio.testing.wait_all_tasks_blocked()
                so_far = load_recording(tmp_path / name)
                assert [each.type for each in so_far.session_events].count("agent_end") == 1
                assert so_far.closed is None


async def test_a_file_that_is_there_stays(tmp_path, autojump_clock) -> None:
    (tmp_path / "call.jsonl.gz").write_text("another call")
    await record(tmp_path / "call.jsonl.gz")
    assert (tmp_path / "call.jsonl.gz").read_text() == "another call"
    assert load_recording(tmp_path / "call-2.jsonl.gz").closed is not None


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
async def test_only_the_owner_may_read_it(tmp_path, autojump_clock) -> None:
    await record(tmp_path / "calls" / "call.jsonl.gz")
    assert (tmp_path / "calls" / "call.jsonl.gz").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "calls").stat().st_mode & 0o777 == 0o700


async def test_redact_sees_every_line_and_may_change_it_or_leave_it_out(tmp_path, autojump_clock) -> None:
    def redact(line: dict[str, Any]) -> dict[str, Any] | None:
        if line.get("session", {}).get("type") == "audio":
            return None
        return json.loads(json.dumps(line).replace("on its way", "***"))  # type: ignore[no-any-return]

    path = tmp_path / "call.jsonl"
    await record({"path": path, "redact": redact, "audio": "strip"}, "Where is order 7?")
    text = path.read_text()
    assert "on its way" not in text
    assert "***" in text
    recording = load_recording(path)
    assert "audio" not in {each.type for each in recording.session_events}
    assert not recording.audio
    assert "bytes of audio>" in text


async def test_a_redact_that_raises_ends_the_recording_and_not_the_call(tmp_path, autojump_clock, caplog) -> None:
    def redact(line: dict[str, Any]) -> dict[str, Any]:
        if line.get("session", {}).get("type") == "tool_start":
            raise KeyError("name")
        return line

    async with open_emulator(listen=False, seed=1, brain=ScriptedBrain(SCRIPT)) as emulator:
        config = RecordingSettings(path=tmp_path / "call.jsonl", redact=redact)
        runner = RealtimeRunner(agent(), model=emulator.memory_model(), config={"record": config})
        async with runner.session() as session, session.subscribe("error") as errors:
            turn = await session.ask("Where is order 7?")
            assert turn.text == "Order 7 is on its way."
            event = await errors.receive()
            assert event.error.code == "recording_failed"
            assert "KeyError" in caplog.text, "with its traceback"
            recording = session.statistics().recording
    assert recording is not None
    assert recording.failure is not None
    assert "'name'" in recording.failure
    lines = (tmp_path / "call.jsonl").read_bytes().splitlines()
    assert recording.lines == len(lines)
    assert any(b"response.function_call_arguments.done" in line for line in lines), "all lines before it are kept"
    assert not any(b"tool_start" in line for line in lines)
    assert session.timeline().call.connections, "and can still be drawn"


async def test_a_full_disk_ends_the_recording_and_not_the_call(tmp_path, autojump_clock, monkeypatch) -> None:
    class FullDisk(MemorySink):
        def write(self, data: bytes) -> None:
            super().write(data)
            if self._size > 20_000:
                raise OSError(28, "No space left on device")

    monkeypatch.setattr("trealtime._session.recording.open_file", lambda path: FullDisk(10**9, "call.jsonl"))
    session = await record(tmp_path / "call.jsonl", "Where is order 7?", "Bye")
    recording = session.statistics().recording
    assert recording is not None
    assert "No space left on device" in (recording.failure or "")


@pytest.mark.parametrize("bad", ["", 5, "calls/{session}.jsonl", b"call", {"path": "x", "audio": "drop"}])
def test_a_wrong_setting_is_told_where_it_was_made(bad: Any) -> None:
    with pytest.raises(SettingsError, match=r"record"):
        RealtimeRunner(agent(), config={"record": bad})


async def test_a_file_that_cannot_be_opened_fails_the_entry(tmp_path, autojump_clock) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        await record(tmp_path / "file" / "call.jsonl")


async def test_a_session_that_is_not_recorded_has_no_recorder(autojump_clock) -> None:
    session = await record(None)
    assert session.statistics().recording is None
    assert session._driver.watchers == ()
    assert session._driver.recorder is None


async def test_what_finds_the_queue_full_is_counted_and_told_in_the_file(autojump_clock, caplog) -> None:
    sink = MemorySink(10**9)
    recorder = Recorder(sink, LineEncoder(), header_of(audio=True), bound=10_000)
    async with recorder.hold(1):
        recorder._note_messages("server", ['{"type":"x"}'] * 60)
        assert recorder.statistics().lost == 60 - 48
        await trio.sleep(2)
        recorder._note_messages("server", ['{"type":"y"}'])
    lines = [json.loads(line) for block in sink.blocks() for line in block.splitlines()]
    assert len(lines) == 1 + 48 + 1 + 1
    assert lines[-2]["lost"] == 12
    assert lines[-1]["event"] == {"type": "y"}
    assert [each.levelname for each in caplog.records] == ["WARNING"]


async def test_on_a_real_clock_a_disk_that_stalls_holds_up_nothing_and_the_end_is_bounded(tmp_path) -> None:
    stalled = threading.Event()

    class Stalling(MemorySink):
        def write(self, data: bytes) -> None:
            stalled.wait(10)

    recorder = Recorder(Stalling(10**9), LineEncoder(), header_of(audio=True))
    try:
        with trio.fail_after(5):
            async with recorder.hold(0.05):
                recorder._note_connection({"number": 1})
                await trio.sleep(0.02)
                recorder._note_connection({"number": 2})
        assert "took too long" in (recorder.statistics().failure or "")
    finally:
        stalled.set()


async def test_a_cancelled_session_has_its_recording_to_the_end(tmp_path, autojump_clock) -> None:
    with trio.move_on_after(5):
        async with open_emulator(listen=False, seed=1) as emulator:
            runner = RealtimeRunner(agent(), model=emulator.memory_model(), config={"record": tmp_path / "a.jsonl"})
            async with runner.session() as session:
                await session.ask("Who are you?")
                await trio.sleep_forever()
    assert load_recording(tmp_path / "a.jsonl").closed is not None


def test_a_version_of_tomorrow_is_refused_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"trealtime_recording": 3}\n')
    with pytest.raises(RecordingError, match="1: a recording of version 3"):
        load_recording(tmp_path / "a.jsonl")


@pytest.mark.parametrize("cut", [1, 7, 400])
async def test_a_file_that_was_cut_off_is_read_to_its_last_whole_line(cut, tmp_path, autojump_clock) -> None:
    for name in ("call.jsonl", "call.jsonl.gz"):
        await record(tmp_path / name, "Where is order 7?")
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-cut])
        recording = load_recording(tmp_path / name)
        assert not recording.complete or cut == 1
        assert len(recording.events) > 20


@pytest.mark.parametrize(
    "data, problem",
    [
        (b"\x1f\x8b junk", "not readable as gzip"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "1: not"),
        (b"RIFF\0\0\0\0WAVE", "1: not a recording: binary data"),
        (b'{"log": []}\n', "1: not a recording: it begins with"),
        (gzip.compress(b'{"trealtime_recording": 2}\n', mtime=0) + b"junk", "something else follows the gzip data"),
    ],
)
def test_junk_and_foreign_files_are_refused(data: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "call.gz").write_bytes(data)
    with pytest.raises(RecordingError, match=problem):
        load_recording(tmp_path / "call.gz")


async def test_speech_is_recorded_from_the_appends(tmp_path, autojump_clock) -> None:
    noise = (np.random.default_rng(1).normal(size=12_000) * 6_000).astype(np.int16)
    async with open_emulator(listen=False, seed=1) as emulator:
        runner = RealtimeRunner(agent(), model=emulator.memory_model(), config={"record": tmp_path / "a.jsonl"})
        async with runner.session() as session:
            await session.send_audio(noise)
            await trio.sleep(1)
    sent = [each.event for each in load_recording(tmp_path / "a.jsonl").events if each.sent_by == "client"]
    assert "input_audio_buffer.append" in {event["type"] for event in sent if not isinstance(event, str)}


async def test_on_a_real_clock_the_file_is_written_by_a_thread(tmp_path) -> None:
    with trio.fail_after(20):
        session = await record(tmp_path / "call.jsonl.gz", "Where is order 7?")
    recording = load_recording(tmp_path / "call.jsonl.gz")
    assert recording.complete
    assert recording.session_events[-1].type in ("turn_ended", "history_updated", "agent_end")
    assert session.statistics().recording.waiting_bytes == 0
    assert session.timeline().call.turns[0].answered == "Order 7 is on its way."


async def test_the_positions_of_a_playback_tracker_are_there(tmp_path, autojump_clock) -> None:
    tracker = RealtimePlaybackTracker()
    async with open_emulator(listen=False, seed=1) as emulator:
        runner = RealtimeRunner(agent(), model=emulator.memory_model(), config={"record": tmp_path / "a.jsonl"})
        async with runner.session(model_config={"playback_tracker": tracker}) as session:
            async with session.subscribe("audio", "agent_end") as events:
                await session.send_message("Who are you?")
                async for event in events:
                    if event.type == "agent_end":
                        break
                    await trio.sleep(0.05)
                    tracker.on_play_bytes(event.item_id, event.content_index, event.audio.data)
            await session.wait_for_playback()
            await session.create_item("So that another event comes.")
    heard = [each.value["heard_ms"] for each in load_recording(tmp_path / "a.jsonl").others if each.kind == "playback"]
    assert heard == sorted(set(heard))
    assert heard[-1] > 500
