"""The examples, run as a newcomer runs them: as programs, with no key, on the emulator."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trio

from trealtime.audio.levels import peak_dbfs, rms_dbfs
from trealtime.audio.wav import read_wav, write_wav
from trealtime.emulator import open_emulator
from trealtime.emulator.local import missing_packages, speech_engines
from trealtime.emulator.voice import VOICE_RATE, tones

ROOT = Path(__file__).resolve().parents[2]
WORDS = not missing_packages()
"""Whether the emulator hears and speaks English here."""

LOADING = "No OPENAI_API_KEY: starting an emulator ...\n"
HEARS = "It hears and speaks English" if WORDS else "The voice is a signal, not speech"
QUESTION = "How is the weather in Oslo?"
WORDS_PER_S = (1.2, 5.0)
"""Between the slowest reader and the fastest speaker that one would still call a voice."""


def environment(**variables: str) -> dict[str, str]:
    """This process's environment (which has no key, see tests/conftest.py), with the package to be found."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "PYTHONWARNINGS": "error", **variables}


def command(example: str, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "examples" / example), *map(str, arguments)]


def run(
    example: str, *arguments: object, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(example, *arguments),
        env=environment(**variables),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def seconds(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, f"no {pattern!r} in:\n{text}"
    return float(found[1])


def assert_spoken_length(words: str, spoken_s: float) -> None:
    slowest, fastest = WORDS_PER_S
    assert len(words.split()) / fastest <= spoken_s <= len(words.split()) / slowest + 1


def speech(text: str = QUESTION) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in tones(text, voice="cedar", speed=1.0)])


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    write_wav(path, speech(), VOICE_RATE)
    return path


# ---- quickstart -----------------------------------------------------------------------------------------------------


def test_quickstart_asks_in_text_and_by_voice_and_writes_the_answer(tmp_path: Path) -> None:
    done = run("quickstart.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(LOADING + HEARS)
    asked, answer, sound, heard, *rest = done.stdout.splitlines()
    assert asked == "you:    Say hello in one short sentence."
    assert answer.startswith("agent:  Hello!")
    spoken_s = seconds(r"\((\S+) s of sound: ", sound)
    assert_spoken_length(answer.removeprefix("agent:  "), spoken_s)
    assert f"{tmp_path / 'hello.wav'}" in sound
    samples, rate = read_wav(tmp_path / "hello.wav")
    assert len(samples) / rate == pytest.approx(spoken_s, abs=0.1)
    assert -35 < rms_dbfs(samples) < -15
    if WORDS:
        assert re.fullmatch(r"you:    Where is order number (42|forty two)\?  \(heard in question.wav\)", heard)
        assert rest[:2] == [
            'tool:   order_status({"order_id": 42}) -> Order 42 is on its way.',
            "agent:  Order 42 is on its way.",
        ]
    else:
        assert rest[0].startswith("agent:  I heard you speak")
    assert [line.rpartition("python -m trealtime")[2].split()[0] for line in rest[-2:]] == ["demo", "init"]


@pytest.mark.skipif(not WORDS, reason="trealtime[local] is not installed")
async def test_the_emulators_own_ears_hear_what_quickstart_has_written(tmp_path: Path) -> None:
    done = await trio.to_thread.run_sync(lambda: run("quickstart.py", cwd=tmp_path))
    answer = done.stdout.splitlines()[1].removeprefix("agent:  ")
    engines = await speech_engines("local")
    samples, rate = read_wav(tmp_path / "hello.wav")
    heard = await engines.transcriber.transcribe(samples, rate)
    assert re.findall(r"\w+", heard.lower()) == re.findall(r"\w+", answer.lower())


async def test_quickstart_with_a_key_talks_to_the_service_and_says_nothing_of_an_emulator(tmp_path: Path) -> None:
    async with open_emulator(api_key="sk-test", speech="auto") as service:
        where = {"OPENAI_BASE_URL": service.url.removesuffix("/realtime"), "OPENAI_API_KEY": "sk-test"}
        with trio.fail_after(60):
            done = await trio.run_process(
                command("quickstart.py"),
                env=environment(**where),
                cwd=tmp_path,
                capture_stdout=True,
                capture_stderr=True,
            )
        assert service.statistics().sessions_opened == 1
    assert done.stderr == b""
    assert b"agent:  Hello!" in done.stdout


def test_quickstart_says_in_one_line_why_it_cannot_connect() -> None:
    done = run("quickstart.py", OPENAI_API_KEY="sk-test", OPENAI_BASE_URL="ws://127.0.0.1:9/v1")
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"ConnectFailed: .*127\.0\.0\.1:9.*\n", done.stderr)


# ---- wav_turn -------------------------------------------------------------------------------------------------------


def test_wav_turn_says_the_question_in_real_time_and_writes_the_answer(tmp_path: Path) -> None:
    out = tmp_path / "answer.wav"
    began = time.monotonic()
    done = run("wav_turn.py", ROOT / "examples" / "question.wav", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(LOADING + HEARS)
    said_s = seconds(r"^Saying (.+) s of speech\n", done.stdout)
    assert time.monotonic() - began > said_s
    words = re.search(r"^assistant: (.*)$", done.stdout, re.MULTILINE)
    assert words is not None
    if WORDS:
        asked = re.search(r"\nuser: (Where is order number (42|forty two)\?)\n", done.stdout)
        assert asked is not None, done.stdout
        assert words[1] == f"You asked: {asked[1]}"
    else:
        assert words[1].startswith("I heard you speak")
    samples, rate = read_wav(out)
    assert rate == 24_000
    assert_spoken_length(words[1], len(samples) / rate)
    assert done.stdout.endswith(f"{out}: {len(samples) / rate:.2f} s of audio\n")
    assert peak_dbfs(samples) < -1


async def test_wav_turn_resamples_and_talks_to_the_server_at_url(tmp_path: Path) -> None:
    telephone = tmp_path / "telephone.wav"
    write_wav(telephone, speech("Hello there!")[::3], 8_000)
    out = tmp_path / "answer.wav"
    async with open_emulator() as emulator:
        with trio.fail_after(60):
            done = await trio.run_process(
                command("wav_turn.py", telephone, out, "--url", emulator.url),
                env=environment(),
                capture_stdout=True,
                capture_stderr=True,
            )
        assert emulator.statistics().sessions_opened == 1
    assert done.stderr == b""
    assert b"I heard you speak" in done.stdout
    assert len(read_wav(out)[0]) > 24_000


async def test_wav_turn_answers_both_parts_of_a_question_with_a_long_pause(tmp_path: Path) -> None:
    path, out = tmp_path / "twice.wav", tmp_path / "answer.wav"
    pause = np.zeros(3 * VOICE_RATE, np.int16)
    write_wav(path, np.concatenate([speech("Hello there!"), pause, speech("One more thing.")]), VOICE_RATE)
    async with open_emulator(realtime_factor=100) as emulator:
        with trio.fail_after(60):
            done = await trio.run_process(
                command("wav_turn.py", path, out, "--url", emulator.url), env=environment(), capture_stdout=True
            )
    answers = re.findall(r"^assistant: (.*)$", done.stdout.decode(), re.MULTILINE)
    assert len(answers) == 2
    assert_spoken_length(" ".join(answers), len(read_wav(out)[0]) / 24_000)


@pytest.mark.parametrize(
    "name, content, complaint",
    [
        ("missing.wav", None, "No such file"),
        ("empty.wav", b"", "not a WAV file"),
        ("notes.wav", b"not audio at all" * 100, "not a WAV file"),
    ],
)
def test_wav_turn_refuses_what_is_no_wav_in_one_line(tmp_path, name, content, complaint) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert_refused(run("wav_turn.py", path, tmp_path / "answer.wav"), name, complaint)
    assert not (tmp_path / "answer.wav").exists()


@pytest.mark.parametrize("samples", [0, 24_000])
def test_wav_turn_refuses_silence(tmp_path, samples) -> None:
    path = tmp_path / "silence.wav"
    write_wav(path, np.zeros(samples, np.int16), VOICE_RATE)
    assert_refused(run("wav_turn.py", path, tmp_path / "answer.wav"), "silence.wav", "no sound")


def test_wav_turn_refuses_an_answer_that_cannot_be_written_before_it_says_anything(question, tmp_path) -> None:
    assert_refused(run("wav_turn.py", question, tmp_path), str(tmp_path))
    assert_refused(run("wav_turn.py", question, tmp_path / "nowhere" / "answer.wav"), "nowhere")


def assert_refused(done: subprocess.CompletedProcess[str], *complaints: str) -> None:
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wav_turn: ")
    assert done.stderr.count("\n") == 1
    for complaint in complaints:
        assert complaint in done.stderr


def test_wav_turn_says_in_one_line_why_it_cannot_connect(question: Path, tmp_path: Path) -> None:
    done = run("wav_turn.py", question, tmp_path / "answer.wav", "--url", "ws://127.0.0.1:9/v1/realtime")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"wav_turn: .*127\.0\.0\.1:9.*\n", done.stderr)


# ---- support_desk ---------------------------------------------------------------------------------------------------

CALL = """\
Caller  Hello, my bicycle came with a bent wheel. It is order 1234.
*  Reception hands over to Service
Service  This is the service desk. I am sorry about the wheel, I will look after it.
Caller  Please refund the 120 euros that the wheel cost.
*  refund {"order_id": 1234, "euros": 120} needs approval
*  refund {"order_id": 1234, "euros": 120} begins
*  refund is done: 120 euros for order 1234 are on their way to Ada.
Service  Your 120 euros are on their way.
Caller  Do you guarantee that the money is here tomorrow?
*  no_guarantees has tripped
*  silence, N s of the answer have been heard
Service  Of course, we guarantee ... (stopped)
Service  It usually takes two days, and I cannot promise more than that.
Caller  Then find me another front wheel.
*  find_part {"part": "front wheel"} begins
Caller  While you look: how long are you open today?
Service  We are open until six.
*  find_part is done: front wheel: two in the branch at the station.
Service  I found two front wheels, in the branch at the station.
Caller  Thank you, goodbye!
Service  You are welcome. Goodbye!
"""


def test_support_desk_hands_over_asks_for_approval_stops_and_recovers_and_talks_while_a_tool_runs() -> None:
    began = time.monotonic()
    done = run("support_desk.py")
    assert (done.returncode, done.stderr) == (0, "No OPENAI_API_KEY: an emulator plays both agents, from a script.\n")
    assert time.monotonic() - began < 20  # the call lasts half a minute
    call, _, summary = done.stdout.partition("\n\n")
    times, lines = zip(*(line.split(" s ", 1) for line in call.splitlines()), strict=True)
    said = [re.sub(r"silence, \d\.\d s", "silence, N s", line.strip()) for line in lines]
    assert said == CALL.splitlines()
    at = dict(zip(said, map(float, times), strict=True))
    assert list(map(float, times)) == sorted(map(float, times))
    begins, ends = (at[line] for line in said if line.startswith("* ") and "find_part" in line)
    assert ends - begins == pytest.approx(10, abs=0.2)
    assert re.fullmatch(r"10 answers, \d+ tokens\. Paid back: \{1234: 120\.0\}\n", summary)


def test_support_desk_says_in_one_line_why_it_cannot_connect() -> None:
    done = run("support_desk.py", OPENAI_API_KEY="sk-test", OPENAI_BASE_URL="ws://127.0.0.1:9/v1")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"ConnectFailed: .*127\.0\.0\.1:9.*\n", done.stderr)


# ---- sip_call -------------------------------------------------------------------------------------------------------


def test_sip_call_plays_a_call_that_ends_with_a_person() -> None:
    pytest.importorskip("httpx")
    pytest.importorskip("quart_trio")
    done = run("sip_call.py")
    assert done.returncode == 0, done.stderr
    assert HEARS in done.stderr
    assert done.stdout.startswith("sip:ada@example.com calls.\n")
    told = re.findall(r"^  (speech_started|speech_stopped|agent_start|agent_end|dtmf_received: 0)$", done.stdout, re.M)
    assert told == [
        *("agent_start", "agent_end", "speech_started", "speech_stopped", "agent_start", "agent_end"),
        "dtmf_received: 0",
    ]
    assert "\nThe caller was put through to tel:+14155550123.\n" in done.stdout
    assert "\n  assistant: Hello! Press zero to talk to a person.\n" in done.stdout
    assert seconds(r"\nThe caller heard (\S+) s of the agent\.\n", done.stdout) > 2


@pytest.mark.parametrize("given, missing", [({}, "OPENAI_API_KEY"), ({"OPENAI_API_KEY": "k"}, "OPENAI_WEBHOOK_SECRET")])
def test_sip_call_says_what_real_calls_need(given, missing) -> None:
    pytest.importorskip("httpx")
    pytest.importorskip("quart_trio")
    done = run("sip_call.py", "--port", "0", **given)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"sip_call: {missing} is not set: see the top of this file\n"


async def test_sip_call_refuses_what_is_no_webhook_and_lives() -> None:
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("quart_trio")
    secrets = {"OPENAI_API_KEY": "any", "OPENAI_WEBHOOK_SECRET": "whsec_c2VjcmV0"}
    with trio.fail_after(60):
        process = await trio.lowlevel.open_process(
            command("sip_call.py", "--port", 0), env=environment(**secrets), stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            first_line = b""
            while not first_line.endswith(b"\n"):
                first_line += await process.stdout.receive_some()
            found = re.fullmatch(r"Webhooks come in at (\S+)\. Ctrl-C ends it\.\n", first_line.decode())
            assert found is not None
            async with httpx.AsyncClient(trust_env=False, timeout=None) as http:
                json_type = {"Content-Type": "application/json"}
                unsigned = await http.post(found[1], content=b"{}", headers=json_type)
                assert (unsigned.status_code, unsigned.text[:36]) == (400, "the header webhook-id is missing: th")
                xml = await http.post(found[1], content=b"<xml/>", headers={"Content-Type": "text/xml"})
                assert xml.status_code == 415
                forged = {"webhook-id": "wh_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
                assert "old" in (await http.post(found[1], content=b"{}", headers=json_type | forged)).text
                assert (await http.get(found[1])).status_code == 405
            assert process.poll() is None
        finally:
            process.kill()
            await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()


# ---- console --------------------------------------------------------------------------------------------------------


def test_console_says_a_file_and_records_both_sides(tmp_path: Path) -> None:
    both = tmp_path / "both.wav"
    done = run("console.py", "--wav", ROOT / "examples" / "question.wav", both)
    assert done.returncode == 0, done.stderr
    heard = r"Where is order number (?:42|forty two)\?"
    answer = f"You asked: {heard}"
    if not WORDS:
        heard, answer = r"\(speech, \d\.\d s\)", r"I heard you speak .*words\."
    assert re.search(rf"^user: {heard}\nassistant: {answer}$", done.stdout, re.MULTILINE)
    mean_of_both, rate = read_wav(both)
    assert len(mean_of_both) / rate > 3.5
    assert rms_dbfs(mean_of_both) > -40


@pytest.mark.parametrize(
    "trouble, words",
    [
        ("ImportError('no sounddevice')", 'pip install "trealtime[console]"'),
        ("OSError('PortAudio library not found')", "apt install libportaudio2"),
    ],
)
def test_console_says_what_it_needs_when_that_is_missing(trouble: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text(f"raise {trouble}\n", encoding="utf-8")
    done = run("console.py", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 2
    assert words in done.stderr
    assert "--wav" in done.stderr


def test_console_refuses_a_file_that_is_not_there_in_one_line(tmp_path: Path) -> None:
    done = run("console.py", "--wav", tmp_path / "question.wav", tmp_path / "both.wav")
    assert done.returncode == 1
    assert re.fullmatch(r"console: .*question\.wav.*", done.stderr.splitlines()[-1])


def test_observed_prints_what_a_dashboard_would_show():
    done = run("observed.py")
    assert done.returncode == 0
    assert done.stderr.startswith("No OPENAI_API_KEY: ")
    shown = {line[:28].strip(): line[28:].strip() for line in done.stdout.splitlines()}
    assert (shown["Sessions open"], shown["Turns"], shown["Tool calls"], shown["Errors"]) == ("0", "16", "4", "0")
    assert seconds(r"first audio, p50 +up to ([0-9.]+) s", done.stdout) > 0
    assert int(shown["Tokens out"]) > 100


# ---- a long call ----------------------------------------------------------------------------------------------------


def test_a_long_call_tells_of_its_losses_and_the_two_who_talk_notice_none() -> None:
    result = run("long_call.py")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    said = [line[9:] for line in lines if line[9:].startswith("Otto:")]
    assert said[0] == "Otto:   Nice to meet you, Martha."
    spoke = seconds(r"Martha speaks for ([\d.]+) s", result.stdout)
    heard = seconds(r"I heard you speak for ([\d.]+) seconds", result.stdout)
    assert spoke <= heard < spoke + 1
    assert said[2].endswith(" 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20.")
    assert said[3:] == ["Otto:   There are 12 bicycles in stock.", "Otto:   Your name is Martha."]
    assert sum("connection lost" in line for line in lines) == 4
    assert sum("has taken over, 0 ms without one" in line for line in lines) == 2
    assert lines[-1].startswith("4 losses, 2 rollovers, ")
    assert run("long_call.py").stdout == result.stdout
