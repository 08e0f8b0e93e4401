"""``python -m trealtime talk``: as a process on the emulator, and what its lines say."""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import subprocess
import sys
import wave
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

from trealtime.audio.levels import rms_dbfs
from trealtime.audio.resample import resample
from trealtime.audio.wav import WavWriter, write_wav
from trealtime.cli import main
from trealtime.cli.options import load_agent
from trealtime.cli.saving_device import SavingDevice
from trealtime.cli.talk_screen import Screen
from trealtime.cli.talk_session import Talk, built_in_agent
from trealtime.emulator import open_emulator
from trealtime.emulator.voice import VOICE_RATE, tones
from trealtime.endpoints import audio_device
from trealtime.endpoints.console import ConsoleEndpoint
from trealtime.errors import MissingDependency
from trealtime.testing import FakeAudioDevice

ROOT = Path(__file__).resolve().parents[2]
TALK = [sys.executable, "-m", "trealtime", "talk", "--speech", "tones"]
EMULATED = "No OPENAI_API_KEY: talking to an emulator in this process. The voice is a signal, not speech"
ONE_TURN = ("[thinking]", "[speaking]", "[listening]")

APP = '''
from trealtime import RealtimeAgent, function_tool

@function_tool(needs_approval=True)
def delete_order(order_id: int) -> str:
    """Delete an order."""
    return f"deleted {order_id}"

@function_tool
def break_order(order_id: int) -> str:
    """Break an order."""
    raise KeyError(order_id)

agent = RealtimeAgent(name="Shop", instructions="You are a shop.", tools=[delete_order, break_order])
number = 12
'''


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module `shop_app`."""
    (tmp_path / "shop_app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "shop_app.py").write_text(APP, encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "shop_app", raising=False)
    return tmp_path


def spoken(text: str) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in tones(text, voice="cedar", speed=1.0)])


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * VOICE_RATE), np.int16)


async def run(*arguments: object, stdin: str = "", cwd: Path | None = None) -> tuple[int, list[str], str]:
    """The exit status, the lines of the output, and what went to stderr."""
    command = [*TALK, *map(str, arguments)]
    with trio.fail_after(60):
        done = await trio.run_process(
            command,
            stdin=stdin.encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


def without_times(lines: Sequence[str]) -> list[str]:
    return [re.sub(r"\d+\.\d\d s", "N s", line) for line in lines]


# ---- typed ----------------------------------------------------------------------------------------------------------


async def test_typed_lines_are_turns_one_after_another_until_the_input_ends() -> None:
    status, lines, errors = await run("--text", stdin='Say "One".\n\n  Say "Two".')
    assert (status, errors) == (0, "")
    assert lines[0].startswith(EMULATED)
    assert re.fullmatch(
        r"2 turns, N s to the first word \(median\), 0 interrupts, \d+ tokens\.", without_times(lines)[-2]
    )
    assert lines[-1] == "Goodbye."
    figures = [line for line in lines if line.startswith("  turn")]
    assert [re.sub(r"\d+ tokens", "N tokens", line) for line in figures] == ["  turn 1: N tokens", "  turn 2: N tokens"]
    assert without_times([line for line in lines[2:-2] if line not in figures]) == [
        "[listening]",
        *("[thinking]", 'you: Say "One".', "[speaking]", "agent: One  (first word after N s)", "[listening]"),
        *("[thinking]", 'you: Say "Two".', "[speaking]", "agent: Two  (first word after N s)", "[listening]"),
    ]


async def test_the_built_in_agent_tells_the_time_with_a_tool() -> None:
    status, lines, _ = await run("--text", stdin="What is the current time?\n")
    assert status == 0
    assert "tool: current_time({})" in lines
    assert any(re.fullmatch(r"tool: current_time -> \w+, \d\d? \w+ \d{4}, \d\d:\d\d", line) for line in lines)


async def test_calls_that_need_approval_are_asked_for_on_the_terminal(app: Path) -> None:
    typed = "Delete order 12\nyes\nDelete order 13\nno\n"
    status, lines, _ = await run("shop_app:agent", "--text", stdin=typed, cwd=app)
    assert status == 0
    calls = [line for line in lines if line.startswith(("approval", "tool"))]
    assert calls == [
        'approval needed: delete_order({"order_id": 12})',
        'tool: delete_order({"order_id": 12})',
        "tool: delete_order -> deleted 12",
        'approval needed: delete_order({"order_id": 13})',
        "tool: delete_order -> Tool execution was not approved.",
    ]


async def test_options_go_over_the_agents_own_settings_and_url_names_the_server(app: Path) -> None:
    async with open_emulator() as emulator:
        options = ["--url", emulator.url, "--instructions", "You are Ada.", "--voice", "cedar", "--model", "gpt-x"]
        status, lines, _ = await run("shop_app:agent", "--text", *options, stdin="Who are you?\n", cwd=app)
    assert status == 0
    assert lines[0] == f"Talking to {emulator.url}."
    assert any(line.startswith("agent: I am Ada.") for line in lines)


# ---- files ----------------------------------------------------------------------------------------------------------


async def test_a_file_is_said_and_both_sides_are_saved_with_the_cut_where_the_user_spoke_on(tmp_path: Path) -> None:
    question, out = tmp_path / "question.wav", tmp_path / "out.wav"
    first = spoken("How is Oslo?")
    write_wav(question, np.concatenate((first, silence(1.6), spoken("Stop!"), silence(1))), VOICE_RATE)
    status, lines, errors = await run("--wav", question, "--save", out)
    assert (status, errors) == (0, "")
    assert without_times(lines[1:3]) == ["Saying N s of speech.", "[listening]"]
    assert [line for line in lines if line.startswith("[")] == ["[listening]", *ONE_TURN, *ONE_TURN]
    assert sum(bool(re.match(r"you: \(speech, \d\.\d s\)", line)) for line in lines) == 2
    assert any(re.match(r"agent: I heard you .* \(first audio after \d\.\d\d s\)", line) for line in lines)
    interruption = next(line for line in lines if line.startswith("  [interrupted"))
    told_s = re.search(r"(\d\.\d\d) s were heard", interruption)
    assert told_s is not None

    said, heard = channels(out)
    ends_s, speaks_on_s = len(first) / VOICE_RATE, len(first) / VOICE_RATE + 1.6
    assert sounding(said)[0] < 0.1
    assert sounding(said[: round(speaks_on_s * VOICE_RATE)])[1] == pytest.approx(ends_s, abs=0.5)
    began_s, ended_s = sounding(heard[: round((speaks_on_s + 0.5) * VOICE_RATE)])
    assert began_s > ends_s + 0.1, "the server waits for half a second of silence, the word's own included"
    assert ended_s - began_s == pytest.approx(float(told_s[1]), abs=0.3), "what is told is what the file holds"
    assert ended_s == pytest.approx(speaks_on_s, abs=0.4), "the answer ends when the user begins"
    assert rms_dbfs(heard[heard != 0]) == pytest.approx(-19, abs=3)
    assert len(heard) / VOICE_RATE > sounding(heard)[1] > speaks_on_s + 2, "the second answer is heard to its end"


def channels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, VOICE_RATE)
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    return frames[:, 0], frames[:, 1]


def sounding(samples: np.ndarray) -> tuple[float, float]:
    """From when to when there is sound, in seconds."""
    loud = np.flatnonzero(np.abs(samples.astype(int)) > 100) / VOICE_RATE
    return float(loud[0]), float(loud[-1])


async def test_a_file_without_speech_is_told_and_exits_1(tmp_path: Path) -> None:
    question = tmp_path / "silence.wav"
    write_wav(question, silence(0.5), VOICE_RATE)
    status, lines, errors = await run("--wav", question)
    assert (status, errors) == (1, "")
    assert lines[-1] == f"No speech was heard in {question}."


async def test_one_channel_of_a_file_is_said(tmp_path: Path) -> None:
    question = tmp_path / "call.wav"
    said = spoken("How is Oslo?")
    with WavWriter(question, VOICE_RATE, channels=2) as writer:
        writer.write(np.stack((said, np.zeros_like(said)), axis=1))
    status, lines, _ = await run("--wav", question, "--channel", "0")
    assert status == 0
    assert any(line.startswith("agent: I heard you") for line in lines)
    status, lines, _ = await run("--wav", question, "--channel", "1")
    assert status == 1
    assert lines[-1].startswith("No speech was heard")
    status, _, errors = await run("--wav", question, "--channel", "2")
    assert status == 2
    assert "call.wav: it has channels 0 to 1, not channel 2" in errors


@pytest.mark.parametrize("name", ["question.wav", "./question.wav", "link.wav"])
async def test_a_recording_never_overwrites_the_question(tmp_path: Path, name: str) -> None:
    question = tmp_path / "question.wav"
    write_wav(question, spoken("How is Oslo?"), VOICE_RATE)
    (tmp_path / "link.wav").symlink_to(question)
    before = question.read_bytes()
    status, lines, errors = await run("--wav", question, "--save", name, cwd=tmp_path)
    assert (status, lines) == (2, [])
    assert re.fullmatch(rf"trealtime talk: --save \S+ would overwrite the question, --wav {question}\n", errors)
    assert question.read_bytes() == before


# ---- the end --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
@pytest.mark.parametrize("stop, typed", [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGINT, True)])
async def test_ctrl_c_ends_it_in_order(stop: signal.Signals, typed: bool, tmp_path: Path) -> None:
    question = tmp_path / "question.wav"
    write_wav(question, silence(60), VOICE_RATE)
    with trio.fail_after(60):
        async with open_emulator() as emulator, trio.open_nursery() as nursery:
            command = [*TALK, "--url", emulator.url, *(["--text"] if typed else ["--wav", str(question)])]
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            process = await nursery.start(partial(trio.run_process, command, **pipes))
            output = b""
            while b"[listening]" not in output:
                data = await process.stdout.receive_some()
                assert data, output
                output += data
            process.send_signal(stop)
            began = trio.current_time()
            async for data in process.stdout:
                output += data
            assert await process.stderr.receive_some() == b""
            await process.wait()
            assert trio.current_time() - began < 10
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert emulator.sessions == ()
    assert process.returncode == 0
    assert output.decode().splitlines()[-1] == "Goodbye."


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send")
async def test_a_conversation_by_microphone_and_loudspeaker() -> None:
    device, out = FakeAudioDevice(echo_db=-20, echo_delay_ms=40), io.StringIO()
    async with open_emulator() as emulator:
        talk = Talk(
            agent=built_in_agent(),
            endpoint=ConsoleEndpoint(device=device),
            screen=Screen(out, live=True),
            typed=False,
            says=None,
            speech="tones",
            url=emulator.url,
            model_name=None,
            has_key=False,
            may_ask=False,
        )
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk.run)
                device.say(resample(spoken("Hello?"), VOICE_RATE, device.rate))
                while "agent: " not in out.getvalue():  # noqa: ASYNC110  (there is nothing else to wait for)
                    await trio.sleep(0.1)
                signal.raise_signal(signal.SIGINT)
    shown = out.getvalue()
    assert re.search(r"\r\x1b\[Klistening  you #+-*  agent -+", shown), "somebody is heard"
    assert re.search(r"\r\x1b\[Kspeaking   you [#-]+  agent #+-*  I heard you", shown), "the agent is heard"
    assert re.search(r"\r\x1b\[Kyou: \(speech, \d\.\d s\)\n", shown)
    assert shown.endswith("Goodbye.\n")
    assert np.abs(device.played).max() > 1000


async def test_a_session_that_the_server_ends_is_told_and_exits_1() -> None:
    with trio.fail_after(60):
        async with open_emulator() as emulator, trio.open_nursery() as nursery:
            pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            command = [*TALK, "--url", emulator.url, "--text"]
            process = await nursery.start(partial(trio.run_process, command, check=False, **pipes))
            output = b""
            while b"[listening]" not in output:
                output += await process.stdout.receive_some()
            for session in emulator.sessions:
                session.close(1000, "Maintenance.\x1b[2J")
            async for data in process.stdout:
                output += data
            await process.wait()
    assert process.returncode == 1
    assert output.decode().splitlines()[-1] == r"The server has ended the session: Maintenance.\x1b[2J."


async def test_the_words_of_an_answer_are_printed_as_they_come() -> None:
    out = io.StringIO()
    async with open_emulator(realtime_factor=1) as emulator, trio.open_nursery() as nursery:
        talk = typed_talk(out, emulator.url, Lines("Count to fifty."))
        nursery.start_soon(talk.run)
        with trio.fail_after(30):
            while not re.search(r"agent: 1, 2, 3, 4, \d", out.getvalue()):  # noqa: ASYNC110  (only the text tells)
                await trio.sleep(0.02)
        assert not re.search(r"\b50\b", out.getvalue())
        nursery.cancel_scope.cancel()


async def test_a_line_that_is_typed_while_the_agent_answers_interrupts_it() -> None:
    out, lines = io.StringIO(), Lines("Count to fifty.")
    async with open_emulator(realtime_factor=1) as emulator, trio.open_nursery() as nursery:
        talk = typed_talk(out, emulator.url, lines, interactive=True)
        nursery.start_soon(talk.run)
        with trio.fail_after(30):
            while "agent: 1, 2" not in out.getvalue():  # noqa: ASYNC110
                await trio.sleep(0.02)
            lines.type('Say "Enough".')
            while "agent: Enough" not in out.getvalue():  # noqa: ASYNC110
                await trio.sleep(0.02)
            lines.type(None)
            while "Goodbye." not in out.getvalue():  # noqa: ASYNC110
                await trio.sleep(0.02)
    assert not re.search(r"\b50\b", out.getvalue())
    assert "(cancelled" in out.getvalue()
    assert "1 interrupt," in out.getvalue()
    assert "[thinking]" not in out.getvalue()


async def test_a_question_of_an_approval_takes_the_next_typed_line(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(app)
    out, lines = io.StringIO(), Lines("Delete order 12.")
    async with open_emulator() as emulator, trio.open_nursery() as nursery:
        talk = typed_talk(out, emulator.url, lines, interactive=True, agent=load_agent("shop_app:agent"))
        nursery.start_soon(talk.run)
        with trio.fail_after(30):
            while "allow it?" not in out.getvalue():  # noqa: ASYNC110
                await trio.sleep(0.02)
            lines.type("yes")
            while "tool: delete_order -> deleted 12" not in out.getvalue():  # noqa: ASYNC110
                await trio.sleep(0.02)
            lines.type(None)
            while "Goodbye." not in out.getvalue():  # noqa: ASYNC110
                await trio.sleep(0.02)


class Lines:
    """In place of a terminal: lines that somebody types."""

    def __init__(self, *lines: str | None) -> None:
        self._send, self._receive = trio.open_memory_channel[str | None](10)
        for line in lines:
            self.type(line)

    def type(self, line: str | None) -> None:
        self._send.send_nowait(line)

    async def line(self) -> str | None:
        return await self._receive.receive()


def typed_talk(out: io.StringIO, url: str, lines: Lines, *, interactive: bool = False, agent: Any = None) -> Talk:
    talk = Talk(
        agent=agent or built_in_agent(),
        endpoint=None,
        screen=Screen(out, live=False),
        typed=True,
        says=None,
        speech="tones",
        url=url,
        model_name=None,
        has_key=False,
        may_ask=True,
        interactive=interactive,
    )
    talk._typist = lines  # type: ignore[assignment]
    return talk


@pytest.mark.parametrize("is_there", [False, True])
async def test_a_session_is_recorded_beside_a_file_that_is_there(tmp_path: Path, is_there: bool) -> None:
    path = written = tmp_path / "call.jsonl.gz"
    if is_there:
        path.write_bytes(b"a call")
        written = tmp_path / "call-2.jsonl.gz"
    status, lines, errors = await run("--text", "--record", path, stdin="Who are you?\n")
    assert (status, errors) == (0, "")
    assert lines[-2].startswith(f"The recording is {written};")
    assert written.stat().st_size > 500


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
@pytest.mark.parametrize("kind", ["pipe", "folder"])
async def test_what_is_there_and_is_no_file_is_neither_recorded_to_nor_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "place"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    status, lines, errors = await run("--text", "--record", path, stdin="Who are you?\n")
    assert (status, lines) == (2, [])
    assert errors == f"trealtime talk: {path}: is no file, so nothing can be recorded there\n"
    assert not path.is_file()
    assert path.exists()


async def test_an_empty_file_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    path.touch()
    status, _, errors = await run("--text", "--record", path, stdin="Who are you?\n")
    assert (status, errors) == (0, "")
    assert path.read_bytes() == b""
    assert (tmp_path / "call-2.jsonl").stat().st_size > 500


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no disk to be full")
async def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    question = tmp_path / "question.wav"
    write_wav(question, spoken("How is Oslo?"), VOICE_RATE)
    status, _, errors = await run("--wav", question, "--save", "/dev/full")
    assert status == 1
    assert errors == "trealtime talk: [Errno 28] No space left on device\n"


@pytest.mark.skipif(sys.platform == "win32", reason="modes are of POSIX")
async def test_only_the_owner_may_hear_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    status, _, _ = await run("--text", "--save", path, stdin="Who are you?\n")
    assert status == 0
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_change_of_the_agents_file_begins_anew(app: Path) -> None:
    out = io.StringIO()
    path = app / "shop_app.py"
    async with open_emulator() as emulator:
        talk = typed_talk(out, emulator.url, Lines())
        talk.watched = (path,)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk.run)
                while "[listening]" not in out.getvalue():  # noqa: ASYNC110
                    await trio.sleep(0.02)
                await trio.sleep(0.1)
                os.utime(path, (1, 1))
    assert talk.reloads
    assert "Goodbye." not in out.getvalue()


async def test_saving_both_sides_of_a_sound_device(tmp_path: Path) -> None:
    device = FakeAudioDevice(echo_db=-90, echo_delay_ms=0)
    saved = tmp_path / "both.wav"
    endpoint = ConsoleEndpoint(device=SavingDevice(device, saved), echo_gate=False)
    async with open_emulator() as emulator, trio.open_nursery() as nursery:
        talk = typed_talk(io.StringIO(), emulator.url, Lines())
        talk = Talk(**{**fields_of(talk), "endpoint": endpoint, "typed": False})
        nursery.start_soon(talk.run)
        device.say(resample(spoken("Hello?"), VOICE_RATE, device.rate))
        with trio.fail_after(30):
            while np.abs(device.played).max(initial=0) < 1000:  # noqa: ASYNC110
                await trio.sleep(0.1)
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    with wave.open(str(saved)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, device.rate)
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert np.abs(frames[:, 0]).max() > 1000
    assert np.abs(frames[:, 1]).max() > 1000


def fields_of(talk: Talk) -> dict[str, Any]:
    names = ("agent", "screen", "says", "speech", "url", "model_name", "has_key", "may_ask")
    return {name: getattr(talk, name) for name in names}


@pytest.mark.parametrize(
    "command, handler",
    [("talk", signal.SIG_DFL), ("demo", signal.SIG_DFL), ("emulate", signal.default_int_handler)],
)
def test_ctrl_c_leaves_no_traceback_while_a_command_loads(command, handler, monkeypatch: pytest.MonkeyPatch) -> None:
    """`talk` and `demo` handle it from their first moment in Trio on; before that it just ends the process."""
    seen = []
    monkeypatch.setattr(
        argparse.ArgumentParser,
        "parse_known_args",
        lambda self, argv: (
            argparse.Namespace(
                quiet_ctrl_c=command != "emulate", run=lambda _: seen.append(signal.getsignal(signal.SIGINT)) or 0
            ),
            [],
        ),
    )
    before = signal.getsignal(signal.SIGINT)
    assert main([command]) == 0
    assert seen == [handler]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    "raised",
    [KeyboardInterrupt(), BaseExceptionGroup("tasks", [BaseExceptionGroup("inner", [KeyboardInterrupt()])])],
    ids=["bare", "of a nursery"],
)
def test_ctrl_c_ends_a_command_without_a_traceback(raised, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(raised, monkeypatch)
    assert main(["doctor"]) == 130


def test_ctrl_c_hides_no_other_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = BaseExceptionGroup("tasks", [KeyboardInterrupt(), KeyError("x")])
    answer_with(raised, monkeypatch)
    with pytest.raises(BaseExceptionGroup) as caught:
        main(["doctor"])
    assert caught.value is raised


def answer_with(raised: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each command raise when it runs."""

    def run(_: object) -> int:
        raise raised

    monkeypatch.setattr(
        argparse.ArgumentParser, "parse_known_args", lambda self, argv: (argparse.Namespace(run=run), [])
    )


async def test_a_failing_tool_is_told_with_its_file_and_line(app: Path) -> None:
    status, lines, _ = await run("shop_app.py:agent", "--text", stdin="Break order 12\nyes\n", cwd=app)
    assert status == 0
    [place] = [line for line in lines if "KeyError" in line and "shop_app.py" in line]
    assert re.search(r"KeyError: 12 \(.*shop_app\.py:12, in break_order\)$", place)


async def test_a_server_that_is_not_there_is_told_in_a_line_and_exits_1() -> None:
    status, _, errors = await run("--text", "--url", "ws://127.0.0.1:9")
    assert status == 1
    assert re.fullmatch(r"trealtime talk: ConnectFailed: .*127\.0\.0\.1:9.*\n", errors)


# ---- what is wrong with the arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--text", "--wav", "x.wav"], "choose one"),
        (["--reload", "--text"], "--reload watches the files of an agent of yours"),
        (["--wav", "no-such-file.wav"], "no-such-file.wav: No such file"),
        (["--text", "--save", "no-such-folder/x.wav"], "no-such-folder/x.wav: No such file"),
        (["--text", "--channel", "0"], "--channel is one of the file that --wav says"),
        (["--text", "shop_app"], "module:attribute"),
        (["--text", "shop_app.py"], "module:attribute"),
        (["--text", "no_such_file.py:agent"], "there is no file no_such_file.py"),
        (["--text", "other/shop_app.py:nobody"], "other/shop_app.py has no 'nobody'"),
        (["--text", "no_such_module:agent"], "no module 'no_such_module'"),
        (["--text", "shop_app:nobody"], "no 'nobody'"),
        (["--text", "shop_app:number"], "is a int, not a RealtimeAgent"),
    ],
)
def test_wrong_arguments_are_told_and_exit_2(
    arguments: list[str], words: str, app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(app)
    assert main(["talk", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            ["talk", "--rate", "7999"],
            "argument --rate: expected a rate from 8000 to 192000 samples per second, got '7999'",
        ),
        (["talk", "--channel", "left"], "argument --channel: expected the number of a channel"),
        (["emulate", "--port", "x"], "argument --port: expected a port from 0 to 65535, got 'x'"),
        (["emulate", "--port", "65536"], "argument --port: expected a port from 0 to 65535, got '65536'"),
        (["emulate", "--realtime-factor", "0"], "argument --realtime-factor: expected a number above 0, got '0'"),
        (["emulate", "--max-session", "nan"], "argument --max-session: expected a number above 0, got 'nan'"),
    ],
)
def test_wrong_numbers_are_told_in_words(arguments, words, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_agents_in_a_file_may_import_modules_beside_it(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = app / "other"
    folder.mkdir(exist_ok=True)
    (folder / "beside_it.py").write_text("NAME = 'Ada'", encoding="utf-8")
    (folder / "main.py").write_text(
        "from trealtime import RealtimeAgent\nimport beside_it\nagent = RealtimeAgent(name=beside_it.NAME)",
        encoding="utf-8",
    )
    monkeypatch.chdir(app)
    assert load_agent("other/main.py:agent").name == "Ada"


def test_a_file_that_is_no_wav_is_told_and_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "text.wav"
    path.write_text("no audio at all", encoding="utf-8")
    assert main(["talk", "--wav", str(path)]) == 2
    assert f"{path}: not a WAV file" in capsys.readouterr().err


def test_a_module_that_fails_to_import_shows_its_own_error(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(app)
    (app / "broken_app.py").write_text("import a_module_that_is_not_there", encoding="utf-8")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        load_agent("broken_app:agent")


@pytest.mark.parametrize(
    "devices, words",
    [
        ([], "no microphone and no loudspeaker"),
        ([(0, 2)], "no microphone"),
        ([(1, 0)], "no loudspeaker"),
        (MissingDependency("the microphone", extra="console"), 'pip install "trealtime[console]"'),
    ],
)
def test_a_machine_without_sound_is_told_what_to_do_instead(
    devices, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def list_devices() -> tuple[audio_device.SoundDevice, ...]:
        if isinstance(devices, Exception):
            raise devices
        return tuple(device(inputs, outputs) for inputs, outputs in devices)

    monkeypatch.setattr(audio_device, "list_devices", list_devices)
    assert main(["talk"]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "--text" in told
    assert "--wav" in told


def device(inputs: int, outputs: int) -> audio_device.SoundDevice:
    return audio_device.SoundDevice(
        number=3,
        name="Headset",
        inputs=inputs,
        outputs=outputs,
        default_rate=48_000,
        is_default_input=True,
        is_default_output=False,
    )


def test_devices_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(audio_device, "list_devices", lambda: (device(1, 2),))
    assert main(["talk", "--list-devices"]) == 0
    assert capsys.readouterr().out == "  3  Headset: microphone (default), speaker, 48000 Hz\n"
    monkeypatch.setattr(audio_device, "list_devices", lambda: ())
    assert main(["talk", "--list-devices"]) == 0
    assert "--text" in capsys.readouterr().out
