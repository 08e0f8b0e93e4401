"""``trealtime tail``: lines for turns and failures, from recordings that are still written."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from trealtime import RealtimeAgent, RealtimeRunner
from trealtime.cli import main
from trealtime.cli.tail_reading import Folder, FollowedFile, turn_line
from trealtime.testing import open_manual_server

TURN = {
    "number": 3,
    "source": "speech",
    "status": "interrupted",
    "reason": None,
    "speech_ended_at": 110.0,
    "requested_at": 110.1,
    "first_heard_at": 110.62,
    "interruption": {"cause": "speech", "onset_at": 112.0, "told_at": 112.1, "silent_at": 112.25},
    "tools": [{"name": "look", "started_at": 110.1, "ended_at": 110.35, "status": "completed"}],
    "usage": {"total_tokens": 350},
}
HEADER = {
    "trealtime_recording": 2,
    "audio": "keep",
    "session_id": "session_abcdefghijklmnop",
    "agent": "Desk",
    "clock": {"unix_s": 1_700_000_000.0, "trio_s": 100.0},
}
FIGURES = "heard after 620 ms, interrupted by speech, silent after 250 ms, look 250 ms, 350 tokens"
WORDS = "Grandma's pin is 4711"


def recorded(*lines: dict[str, Any], header: dict[str, Any] = HEADER) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in (header, *lines))


def session(at: float, kind: str, **fields: Any) -> dict[str, Any]:
    return {"at": at, "session": {"type": kind, **fields}}


def wire(at: float) -> dict[str, Any]:
    return {"at": at, "from": "server", "event": {"type": "response.output_audio.delta", "delta": "A" * 5000}}


CALL = recorded(
    {"at": 0.0, "connection": {"number": 1}},
    wire(1.0),
    session(2.0, "transcript_delta", delta=WORDS),
    session(3.0, "turn_ended", metrics=TURN),
    session(3.5, "error", error=f"ToolFailed: {WORDS}"),
    session(3.6, "error", error={"code": "overloaded", "message": WORDS}),
    session(4.0, "handoff", from_agent="Desk", to_agent="Billing"),
    {"at": 5.0, "connection": {"number": 2}},
    {"at": 5.5, "lost": 12},
    {"at": 6.0, "closed": {"code": 1000, "reason": "", "by": "client"}},
)


def shown(lines: Any) -> list[str]:
    """The lines without their times, which are those of this machine's time zone."""
    return [line[10:] for line in lines]


def test_a_turn_is_a_line_with_its_figures() -> None:
    assert turn_line(TURN, slow_s=1.5) == f"#3 speech interrupted, {FIGURES}"
    assert "620 ms SLOW" in turn_line(TURN, slow_s=0.5)
    nothing = {"number": 4, "source": "speech", "status": "unanswered", "reason": "dismissed", "tools": [{"name": "x"}]}
    assert turn_line(nothing, slow_s=1.5) == "#4 speech unanswered (dismissed), x None"


@pytest.mark.parametrize("packed", [False, True])
def test_a_recording_is_its_turns_failures_and_connections_without_words(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("call.jsonl.gz" if packed else "call.jsonl")
    path.write_bytes(gzip.compress(CALL) if packed else CALL)
    lines = shown(FollowedFile(path, 1.5).next_lines())
    assert [line.split("  ", 2)[2].strip() for line in lines] == [
        "opened",
        f"#3 speech interrupted, {FIGURES}",
        "ERROR ToolFailed",
        "ERROR overloaded",
        "took over",
        "connection 2",
        "12 lines are missing: the disk was too slow",
        "closed with 1000 by the client",
    ]
    assert all(line.startswith("efghijklmnop  ") for line in lines)
    assert "Desk" in lines[1]
    assert "Billing" in lines[-1]
    assert "Grandma" not in "".join(lines)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_followed_byte_by_byte(tmp_path: Path, packed: bool) -> None:
    data = gzip.compress(CALL) if packed else CALL
    path = tmp_path / "call.jsonl"
    path.write_bytes(b"")
    follower, lines = FollowedFile(path, 1.5), []
    step = 7 if packed else 97
    for end in range(step, len(data) + step, step):
        path.write_bytes(data[:end])
        lines += list(follower.next_lines())
    assert lines == list(FollowedFile(path, 1.5).next_lines())
    assert len(lines) == 8


def test_what_was_there_before_is_not_shown_and_what_comes_is(tmp_path: Path) -> None:
    running, old = tmp_path / "running.jsonl", tmp_path / "old.jsonl"
    running.write_bytes(recorded(session(1.0, "turn_ended", metrics=TURN)))
    old.write_bytes(CALL)
    os.utime(old, (time.time() - 3600,) * 2)
    folder = Folder(tmp_path, 1.5, whole=False)
    assert list(folder.next_lines()) == []
    assert list(folder.next_lines()) == []
    with running.open("ab") as file:
        file.write(json.dumps(session(2.0, "turn_ended", metrics={**TURN, "number": 4})).encode() + b"\n")
    with old.open("ab") as file:  # somebody writes to it after all
        file.write(json.dumps(session(9.0, "error", error="ToolFailed: x")).encode() + b"\n")
    (tmp_path / "new.jsonl").write_bytes(recorded())
    (tmp_path / "notes.txt").write_bytes(b"no recording")
    found = shown(folder.next_lines())
    assert [line.split("  ", 2)[2].split(",")[0].strip() for line in found] == [
        "opened",
        "ERROR ToolFailed",
        "#4 speech interrupted",
    ]
    assert len(list(Folder(tmp_path, 1.5, whole=True).next_lines())) > 8


@pytest.mark.parametrize(
    "data, problem",
    [
        (b"\x1f\x8bjunk and more junk", "not readable: "),
        (recorded() + b'{not json, session: "session"\n', "not readable: "),
        (b'{"trealtime_recording"', ""),
        (recorded(session(1.0, "turn_ended", metrics=[]), {"at": 1, "session": 5}), "not readable: "),
        (recorded(session(1.0, "turn_ended", metrics={"tools": 5, "usage": "x", "interruption": 1})), ""),
        (recorded(header={"trealtime_recording": 2, "clock": "x", "session_id": 5}), ""),
    ],
)
def test_junk_is_named_once_and_ends_nothing(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    follower = FollowedFile(path, 1.5)
    lines = list(follower.next_lines())
    assert sum("not readable" in line for line in lines) == bool(problem)
    assert list(follower.next_lines()) == []


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    evil = {**TURN, "source": "\x1b[2J", "tools": [{"name": "\x1b]0;x\x07", "status": "\n"}]}
    path.write_bytes(recorded(session(1.0, "turn_ended", metrics=evil)))
    assert "\x1b" not in "".join(FollowedFile(path, 1.5).next_lines())


async def test_the_recording_of_a_session_is_followed_while_it_runs(autojump_clock: Any, tmp_path: Path) -> None:
    async with open_manual_server() as server:
        config: Any = {"record": str(tmp_path / "{session_id}.jsonl.gz")}
        runner = RealtimeRunner(RealtimeAgent(name="Desk"), model=server, config=config)
        async with runner.session() as session:
            pass
    lines = shown(Folder(tmp_path, 1.5, whole=True).next_lines())
    assert [line.split("  ", 2)[2].strip() for line in lines] == ["opened", "closed with 1000 by the client"]
    assert lines[0].startswith(session.id[-12:])


# ---- the command ----------------------------------------------------------------------------------------------------


def test_once_prints_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "call.jsonl").write_bytes(CALL)
    assert main(["tail", str(tmp_path), "--once", "--slow", "500"]) == 0
    assert "620 ms SLOW" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tail", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trealtime", "tail", str(tmp_path), "--all", "--interval", "0.05"]
    (tmp_path / "call.jsonl").write_bytes(CALL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "opened" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
