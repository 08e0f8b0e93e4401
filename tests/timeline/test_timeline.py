"""The model of a recorded call, and its drawings."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pybase64
import pytest

from trealtime import RealtimeAgent, RealtimeRunner, open_emulator
from trealtime.audio.formats import G711_ULAW
from trealtime.audio.pcm import to_int16
from trealtime.audio.wav import read_wav
from trealtime.cli import main
from trealtime.errors import RecordingError
from trealtime.recording import load_recording
from trealtime.settings import RecordingSettings
from trealtime.testing import MemoryEndpoint
from trealtime.timeline import Timeline, read_timeline
from trealtime.timeline.browser import find_browser
from trealtime.timeline.lanes import milliseconds
from trealtime.timeline.model import SLOT_S
from trealtime.timeline.sound import _levels
from trealtime.timeline.svg import clean, text_width, wrapped

HEAD = {"trealtime_recording": 2, "audio": "keep", "session_id": "session_1", "agent": "Otto", "clock": {"trio_s": 0}}


def write(path: Path, *lines: Mapping[str, Any], head: Mapping[str, Any] = HEAD) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *lines)), encoding="utf-8")
    return path


# ---- a whole call ---------------------------------------------------------------------------------------------------


def test_the_support_desk_shows_approval_handoff_guardrail_and_a_tool_beside_talk(desk) -> None:
    call = read_timeline(desk.recording).call
    assert [(each.name, each.outcome) for each in call.approvals] == [("refund", "approved")]
    assert call.approvals[0].decided_s == pytest.approx(call.approvals[0].asked_s + 2)
    assert [each.agent for each in call.reigns] == ["Reception", "Service"]
    assert [mark.kind for mark in call.marks] == ["handoff", "guardrail"]
    assert "no_guarantees" in call.marks[1].title
    names = {each.name: each for each in call.tools}
    search = names["find_part"]
    assert search.ended_s - search.called_s == pytest.approx(10)
    beside = [each for each in call.speeches if each.heard and search.called_s < each.heard[0].start_s < search.ended_s]
    assert [each.words for each in beside] == ["We are open until six."]
    assert {each.status for each in call.tools} == {"completed"}
    (cut,) = [each for each in call.speeches if each.interrupt is not None]
    assert cut.interrupt.cause == "guardrail"
    assert cut.purged_ms > 500
    assert call.problems == ()


def test_what_was_heard_is_what_the_wav_file_of_the_endpoint_has(desk) -> None:
    call = read_timeline(desk.recording).call
    samples, rate = read_wav(desk.wav, channel=1)
    loud = np.abs(samples.astype(int)) > 200
    spoken = [each for each in call.speeches if each.heard]
    assert len(spoken) == 7
    for speech in spoken:
        begin = speech.heard[0].start_s - desk.wav_began_s
        onset = np.flatnonzero(loud[round((begin - 0.02) * rate) :])[0] / rate + begin - 0.02
        assert onset == pytest.approx(begin, abs=0.02), "measured in the sound"
        for span in speech.heard:
            size = round(rate * SLOT_S)
            first = round((span.start_s - desk.wav_began_s) * rate)
            slots = samples[first : first + round((span.end_s - span.start_s) * rate) // size * size]
            in_file = _levels(slots.reshape(-1, size))[1:-1]  # the ends are faded
            shown = speech.levels[round(span.from_ms / 20) :][: len(in_file) + 1][1:]
            assert np.abs(np.frombuffer(in_file, "u1").astype(int) - np.frombuffer(shown, "u1")).mean() < 2
    heard_s = sum(span.end_s - span.start_s for speech in spoken for span in speech.heard)
    (cut,) = (each for each in spoken if each.interrupt is not None)
    assert heard_s == pytest.approx(sum(each.received_ms for each in spoken) / 1000 - cut.purged_ms / 1000, abs=0.02)


def test_figures_are_those_of_the_session_and_of_the_sound(desk) -> None:
    call = read_timeline(desk.recording).call
    own = sorted(desk.session.turns, key=lambda metrics: metrics.number)  # they are in the order of their ends
    assert [turn.number for turn in call.turns] == [metrics.number for metrics in own]
    assert len(own) == 7, "six questions, and the answer after the guardrail"
    samples, rate = read_wav(desk.wav, channel=1)
    loud_s = np.flatnonzero(np.abs(samples.astype(int)) > 200) / rate + desk.wav_began_s
    began_s = call.header["clock"]["trio_s"]
    for turn, metrics in zip(call.turns, own, strict=True):
        assert turn.measured
        assert (turn.status, turn.source, turn.agent) == (metrics.status, metrics.source, metrics.agent)
        for name in ("requested", "created", "first_audio", "first_heard", "done", "heard_until"):
            at, shown = getattr(metrics, f"{name}_at"), getattr(turn, f"{name}_s")
            assert shown is None if at is None else shown == pytest.approx(at - began_s, abs=1e-5)
        latency_s = metrics.response_latency_s
        assert turn.response_latency_s == (None if latency_s is None else pytest.approx(latency_s, abs=1e-5))
        assert turn.tools == tuple(span.call_id for span in metrics.tools)
        if turn.first_heard_s is not None:
            sounded_s = loud_s[np.searchsorted(loud_s, metrics.requested_at)] - metrics.requested_at
            between = [each for each in call.speeches if each.heard and each.response_id not in turn.response_ids]
            if not any(turn.requested_s <= each.heard[-1].end_s <= turn.first_heard_s for each in between):
                assert latency_s == pytest.approx(sounded_s, abs=0.02), "measured in the sound"


def test_an_interrupt_by_speech_is_measured_from_the_onset_to_the_last_sample_heard(spoken) -> None:
    call = read_timeline(spoken).call
    speech = next(each for each in call.speeches if each.interrupt is not None and each.interrupt.cause == "speech")
    silent_s = speech.heard[-1].end_s
    onset_s = next(each.start_s for each in call.utterances if each.start_s > speech.heard[0].start_s)
    assert 0 < silent_s - onset_s < 0.2
    assert speech.heard_ms == pytest.approx(speech.interrupt.heard_ms, abs=1)
    slot = round(onset_s / 0.02)
    assert max(call.levels[slot - 12 : slot - 3]) < 20 < max(call.levels[slot : slot + 10]), "there the sound begins"


def test_without_the_session_the_wire_has_to_do(spoken, tmp_path) -> None:
    lines = [json.loads(line) for line in gzip.decompress(spoken.read_bytes()).splitlines()]
    head = {key: value for key, value in lines[0].items() if key != "session_id"}
    wire = [line for line in lines[1:] if line.keys() & {"event", "connection", "closed"}]
    call = read_timeline(write(tmp_path / "wire.jsonl", *wire, head=head)).call
    whole = read_timeline(spoken).call
    assert [each.words for each in call.utterances] == [each.words for each in whole.utterances]
    assert [each.received_ms for each in call.speeches] == [each.received_ms for each in whole.speeches]
    assert [each.name for each in call.tools] == [each.name for each in whole.tools]
    assert all(turn.measured is False for turn in call.turns)
    assert [turn.source for turn in call.turns] == ["speech"] * 3
    assert Timeline(call).html()


async def test_the_recording_of_a_server_is_drawn_from_the_wire(tmp_path, autojump_clock) -> None:
    async with open_emulator(listen=False, seed=1, record=tmp_path) as emulator:
        runner = RealtimeRunner(RealtimeAgent(name="A"), model=emulator.memory_model())
        async with runner.session() as session:
            await session.ask("Who are you?")
    (path,) = tmp_path.iterdir()
    call = read_timeline(path).call
    assert call.speeches[0].words.startswith("I am a small brain")
    assert call.speeches[0].heard_ms == call.speeches[0].received_ms > 1000


# ---- the drawings ---------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


def parsed(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    return page


def test_the_page_needs_no_network_and_no_other_file(desk) -> None:
    html = read_timeline(desk.recording).html()
    page = parsed(html)
    assert {"link", "img", "iframe", "object", "audio"} & set(page.tags) == set()
    assert not re.search(r"(?:src|href|url\()\s*=?\s*[\"']?(?:https?:|//)", html)
    assert "default-src &#x27;none&#x27;" in html


@pytest.mark.parametrize("theme", ["light", "dark", "auto"])
def test_a_picture_is_well_formed_and_has_the_lanes(theme: Any, desk) -> None:
    svg = read_timeline(desk.recording).svg(theme=theme, title="A call")
    root = ET.fromstring(svg)
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    for name in ("Turns", "Agent", "User", "Gaps", "Speech", "Responses", "Tools", "Checks", "Service"):
        assert name in texts
    assert "find_part 10.0 s" in texts
    assert "approved · refund" in texts
    assert svg.count("cut by guardrail") >= 1


def test_figures_in_the_drawings_are_those_of_the_turns(desk) -> None:
    timeline = read_timeline(desk.recording)
    html, text = timeline.html(), timeline.text()
    for turn in timeline.call.turns:
        if turn.response_latency_s is not None:
            assert milliseconds(turn.response_latency_s) in html
            assert milliseconds(turn.response_latency_s) in text


def test_slow_turns_are_marked_by_the_bound_that_is_given(desk) -> None:
    slow = parsed(read_timeline(desk.recording, slow_s=1.0).html())
    fast = parsed(read_timeline(desk.recording, slow_s=60).html())
    assert ("class", "slow") in slow.attributes
    assert ("class", "slow") not in fast.attributes


EVIL = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<svg onload=alert(1)>",
    "'-alert(1)-'",
    "]]><script>alert(1)</script>",
    "\u202egnp.exe\x00\x1b[31m\ud800",
    "javascript:alert(1)",
    "</style><script>alert(1)</script>",
    "</textarea></title><script>alert(1)</script>",
]


@pytest.mark.parametrize("evil", EVIL)
def test_text_of_a_call_is_never_markup(evil: str, tmp_path) -> None:
    path = write(
        tmp_path / "evil.jsonl",
        {"at": 0, "connection": {"number": 1, "url": evil}},
        {"at": 0.1, "from": "client", "event": {"type": "conversation.item.create", "item": {
            "type": "message", "role": "user", "id": evil, "content": [{"type": "input_text", "text": evil}]}}},
        {"at": 0.2, "from": "server", "event": {"type": "response.created", "response": {"id": evil}}},
        {"at": 0.2, "session": {"type": "agent_start", "agent": evil, "response_id": evil}},
        {"at": 0.3, "from": "server", "event": {"type": "response.output_audio.delta", "response_id": evil,
            "item_id": evil, "content_index": 0, "delta": "AAAA" * 400}},
        {"at": 0.3, "session": {"type": "audio", "item_id": evil, "content_index": 0, "start_ms": 0, "bytes": 1200}},
        {"at": 0.3, "session": {"type": "transcript_delta", "role": "assistant", "item_id": evil, "content_index": 0,
            "delta": evil}},
        {"at": 0.33, "playback": {"item_id": evil, "content_index": 0, "heard_ms": 20, "until_ms": 25}},
        {"at": 0.34, "session": {"type": "audio_interrupted", "item_id": evil, "content_index": 0, "heard_ms": 20,
            "cause": evil}},
        {"at": 0.4, "session": {"type": "tool_approval_required", "call_id": evil, "tool": evil, "arguments": evil}},
        {"at": 0.5, "session": {"type": "tool_start", "call_id": evil, "tool": evil, "arguments": evil}},
        {"at": 0.6, "session": {"type": "tool_end", "call_id": evil, "tool": evil, "output": evil, "failure": evil}},
        {"at": 0.7, "session": {"type": "handoff", "from_agent": evil, "to_agent": evil}},
        {"at": 0.7, "session": {"type": "guardrail_tripped", "which": evil, "message": evil,
            "guardrail_results": [{"guardrail": evil}]}},
        {"at": 0.7, "session": {"type": "error", "error": {"message": evil}}},
        {"at": 0.8, "from": "server", "event": {"type": evil, evil: evil}},
        {"at": 0.8, "from": "server", "event": {"type": "response.done", "response": {
            "id": evil, "status": evil, "status_details": {"reason": evil}}}},
        {"at": 0.9, "session": {"type": "turn_ended", "metrics": {"number": 1, "source": evil, "agent": evil,
            "status": evil, "reason": evil, "requested_at": 0.1, "first_heard_at": 0.3, "cost": evil,
            "item_ids": [evil], "response_ids": [evil], "tools": [{"call_id": evil}],
            "interruption": {"cause": evil, "onset_at": 0.3, "silent_at": 0.34}}}},
        {"at": 1, "closed": {"code": 4000, "reason": evil, "by": "server"}},
        head={**HEAD, "session_id": evil, "agent": evil, "versions": {"trealtime": evil}},
    )  # fmt: skip
    timeline = read_timeline(path)
    page = parsed(timeline.html(title=evil))
    harmless = parsed(read_timeline(write(tmp_path / "empty.jsonl")).html())
    assert set(page.tags) <= set(harmless.tags) | {
        "table", "thead", "tbody", "tr", "th", "td", "b", "li", "time", "g", "path", "circle", "tspan", "button",
    }  # fmt: skip
    assert page.tags.count("script") == 2
    assert page.scripts[1] == harmless.scripts[1], "the only script that runs is ours"
    data = json.loads(page.scripts[0])
    assert any(evil[:10] in str(note) or "\\u" in str(note) for note in data["wire"]), "and the words are there"
    assert not any(name.startswith("on") for name, _ in page.attributes)
    ET.fromstring(timeline.svg(title=evil))
    assert "\x1b" not in timeline.text()
    assert "\u202e" not in timeline.html() + timeline.svg()


def test_words_fit_into_their_room() -> None:
    lines = wrapped("Please refund the 120 euros that the wheel cost, at once", 120, 3)
    assert len(lines) == 3
    assert all(text_width(line) <= 130 for line in lines)
    assert wrapped("a" * 500, 100, 2)[0].endswith("…")
    assert wrapped("", 100, 2) == []
    assert clean("<&\"'\x07") == "&lt;&amp;&quot;&#x27;\N{REPLACEMENT CHARACTER}"


# ---- what is no call ------------------------------------------------------------------------------------------------


def test_the_part_that_reads_is_drawn_and_the_rest_is_told(desk, tmp_path) -> None:
    whole = gzip.decompress(desk.recording.read_bytes()).splitlines(keepends=True)
    half = whole[: len(whole) // 2]
    (tmp_path / "junk.jsonl").write_bytes(b"".join(half) + b'{"at": "soon", "session": {}}\n' + whole[-1])
    call = read_timeline(tmp_path / "junk.jsonl").call
    assert len(call.responses) > 3
    assert f"junk.jsonl:{len(half) + 1}: 'at' is missing" in call.problems[0]
    (tmp_path / "cut.jsonl").write_bytes(b"".join(half)[:-30])
    assert "the end of the file is cut" in read_timeline(tmp_path / "cut.jsonl").call.problems[0]
    assert "cut" in read_timeline(tmp_path / "cut.jsonl").html()


ODD: list[Any] = [None, True, -1, 1e308, "x" * 10_000, [], {}, [[{}]], {"a": {"b": None}}]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20])
def test_values_of_any_type_are_read(odd: Any, tmp_path, desk) -> None:
    lines = [json.loads(line) for line in gzip.decompress(desk.recording.read_bytes()).splitlines()]
    kept: dict[str, Any] = {}
    for line in lines[1:]:
        kind = str(line.get("session", line.get("event", {})).get("type", "")) + str(line.keys())
        kept.setdefault(kind, line)
    twisted = []
    for line in kept.values():
        for key in line.keys() & {"event", "session", "playback", "connection"}:
            twisted += [{**line, key: {**line[key], name: odd}} for name in line[key] if name != "type"]
            twisted += [
                {**line, key: {**line[key], name: {**value, inner: odd}}}
                for name, value in line[key].items()
                if isinstance(value, dict)
                for inner in value
            ]
    timeline = read_timeline(write(tmp_path / "odd.jsonl", *twisted))
    assert timeline.html()
    assert timeline.svg()
    assert timeline.text()


def test_times_far_away_cost_nothing(tmp_path) -> None:
    append = {"type": "input_audio_buffer.append", "audio": pybase64.b64encode_as_string(bytes(9600))}
    path = write(
        tmp_path / "far.jsonl",
        {"at": 1, "from": "client", "event": append},
        {"at": 80_000, "from": "client", "event": append},
        {"at": 9e8, "from": "client", "event": append},
    )
    timeline = read_timeline(path)
    assert timeline.call.duration_s < 86_400
    assert "past 24 hours" in timeline.call.problems[0]
    assert len(timeline.html()) < 30_000_000


def test_a_file_that_is_no_recording_is_refused(tmp_path, capsys) -> None:
    path = tmp_path / "call.jsonl"
    path.write_text("hello")
    with pytest.raises(RecordingError):
        read_timeline(path)
    assert main(["timeline", str(path)]) == 2
    assert "call.jsonl:1: not JSON" in capsys.readouterr().err
    assert main(["timeline", str(tmp_path / "none.jsonl")]) == 2


BIG = int(os.environ.get("TREALTIME_RECORDING_MB", "60"))
"""Megabytes of the big recording: 1000 for the gigabyte."""

_MEASURE = """
import resource, sys
from trealtime.timeline import read_timeline
timeline = read_timeline(sys.argv[1])
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(most, len(timeline.call.levels), timeline.call.sound_left_out)
print(len(timeline.html()), file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
def test_a_big_recording_is_read_in_bounded_memory(tmp_path) -> None:
    audio = pybase64.b64encode_as_string(np.random.default_rng(1).integers(-9999, 9999, 24_000, np.int16).tobytes())
    seconds = BIG * 2**20 // len(audio)
    small, big = tmp_path / "small.jsonl", tmp_path / "big.jsonl"
    for path, length in ((small, 2), (big, seconds)):
        with path.open("w") as file:
            file.write(json.dumps(HEAD) + "\n")
            for at in range(1, length):
                file.write(
                    f'{{"at":{at},"from":"client","event":{{"type":"input_audio_buffer.append","audio":"{audio}"}}}}\n'
                )
    assert big.stat().st_size > 0.95 * BIG * 2**20
    figures = [
        subprocess.run([sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=True).stdout
        for path in (small, big)
    ]
    (least, _, _), (most, levels, left_out) = (each.split() for each in figures)
    # 16 MiB of sound, and what a page is made of: nothing that grows with the file.
    assert int(most) - int(least) < 120
    assert int(levels) == pytest.approx((seconds - 1) * 50, abs=60)
    assert left_out == str(BIG > 130)


# ---- in memory, and the command -------------------------------------------------------------------------------------


async def test_a_session_that_is_recorded_in_memory_has_a_timeline_at_any_time(autojump_clock) -> None:
    async with open_emulator(listen=False, seed=1) as emulator:
        runner = RealtimeRunner(
            RealtimeAgent(name="Otto"), model=emulator.memory_model(), config={"record": RecordingSettings()}
        )
        async with runner.session() as session:
            await session.ask("Who are you?")
            running = session.timeline()
            await session.ask("Goodbye!")
            await session.wait_for_playback()
    assert [turn.said for turn in running.call.turns] == ["Who are you?"]
    ended = session.timeline().call
    assert [turn.said for turn in ended.turns] == ["Who are you?", "Goodbye!"]
    assert ended.connections[0].clean
    assert ended.connections[0].end == "closed by the client: 1000"


async def test_a_session_that_is_recorded_in_a_file_has_one_too(autojump_clock, tmp_path) -> None:
    async with open_emulator(listen=False, seed=1) as emulator:
        config = {"record": tmp_path / "call.jsonl.gz"}
        runner = RealtimeRunner(RealtimeAgent(name="Otto"), model=emulator.memory_model(), config=config)
        async with runner.session() as session, session.attach(MemoryEndpoint()):
            await session.ask("Who are you?")
            await session.wait_for_playback()
            running = session.timeline().call
    assert session.timeline().call.speeches == read_timeline(tmp_path / "call.jsonl.gz").call.speeches
    assert running.speeches == session.timeline().call.speeches


async def test_a_session_that_is_not_recorded_says_so(autojump_clock) -> None:
    async with open_emulator(listen=False) as emulator:
        runner = RealtimeRunner(RealtimeAgent(name="Otto"), model=emulator.memory_model())
        async with runner.session() as session:
            with pytest.raises(RuntimeError, match="set `record` in the run config"):
                session.timeline()


@pytest.mark.parametrize(
    "options, name, begins",
    [
        ([], "call.html", "<!DOCTYPE html>"),
        (["--svg", "--theme", "dark"], "call.svg", "<svg"),
        (["--no-sound"], "call.html", "<!"),
    ],
)
def test_the_command_writes_beside_the_file(options, name, begins, desk, tmp_path, capsys) -> None:
    copy = tmp_path / "call.jsonl.gz"
    copy.write_bytes(desk.recording.read_bytes())
    assert main(["timeline", str(copy), *options]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / name)
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)


def test_the_command_shows_text_and_writes_where_it_is_told(desk, tmp_path, capsys) -> None:
    assert main(["timeline", str(desk.recording), "--text"]) == 0
    shown = capsys.readouterr().out
    assert "Reception hands over to Service" in shown
    assert main(["timeline", str(desk.recording), "-o", str(tmp_path / "x.html")]) == 0
    assert (tmp_path / "x.html").exists()
    assert main(["timeline", str(desk.recording), "-o", str(tmp_path / "no" / "x.html")]) == 2


def test_a_picture_as_png_needs_a_browser(desk, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("trealtime.timeline.browser._NAMES", ("no-such-browser",))
    assert main(["timeline", str(desk.recording), "--png", "-o", str(tmp_path / "x.png")]) == 2
    assert "Chromium or Chrome" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["call.jsonl.gz", "link.html", "./call.jsonl.gz"])
def test_a_drawing_never_overwrites_the_recording(desk, tmp_path, monkeypatch, capsys, name) -> None:
    recording = tmp_path / "call.jsonl.gz"
    recording.write_bytes(desk.recording.read_bytes())
    (tmp_path / "link.html").symlink_to(recording)
    monkeypatch.chdir(tmp_path)
    assert main(["timeline", "call.jsonl.gz", "-o", name]) == 2
    assert "would overwrite the recording" in capsys.readouterr().err
    assert recording.read_bytes() == desk.recording.read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
def test_a_drawing_is_its_owners_alone(desk, tmp_path, capsys) -> None:
    assert main(["timeline", str(desk.recording), "-o", str(tmp_path / "call.html")]) == 0
    assert (tmp_path / "call.html").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no disk to be full")
def test_a_full_disk_is_told_in_one_line(desk, capsys) -> None:
    assert main(["timeline", str(desk.recording), "-o", "/dev/full"]) == 2
    assert capsys.readouterr().err == "trealtime timeline: /dev/full: No space left on device\n"
    command = [sys.executable, "-m", "trealtime", "timeline", str(desk.recording), "--text"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "trealtime timeline: [Errno 28] No space left on device\n")


@pytest.mark.skipif(find_browser() is None or "TREALTIME_BROWSER" not in os.environ, reason="starts a browser")
def test_a_picture_as_png(desk, tmp_path) -> None:
    assert main(["timeline", str(desk.recording), "--png", "-o", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_more_sound_than_goes_into_the_page_is_beside_it(spoken, tmp_path, capsys) -> None:
    page, sound = tmp_path / "a call.html", tmp_path / "a call-sound.wav"
    assert main(["timeline", str(spoken), "-o", str(page), "--sound-mb", "0.1"]) == 0
    assert capsys.readouterr().out.split("\n")[:2] == [str(sound), str(page)]
    html = page.read_text(encoding="utf-8")
    assert 'src="a%20call-sound.wav"' in html
    assert json.loads(parsed(html).scripts[0])["sounds"] == []
    whole = read_timeline(spoken).call
    assert not whole.sound_left_out
    for channel, who in ((0, "user"), (1, "agent")):
        samples, rate = read_wav(sound, channel=channel)
        assert len(samples) / rate == pytest.approx(whole.duration_s, abs=0.01)
        expected = np.zeros(len(samples), np.int16)
        for clip in whole.sounds:
            if clip.who == who:
                begin = round(clip.start_s * rate)
                decoded = to_int16(clip.data, G711_ULAW)[: len(samples) - begin]
                expected[begin : begin + len(decoded)] = decoded
        assert np.count_nonzero(np.abs(expected) > 500) > 10_000
        assert np.mean(expected != samples) < 0.002, "but for a sample at the ends"


def test_the_support_desk_is_replayed_to_the_same_events_and_figures(desk, desk_again) -> None:
    one, other = (
        sorted(
            f"{each.at_s + 0.00013:.3f} {each.type} {each.fields.get('item_id')} {each.fields.get('output')}"
            for each in load_recording(path).session_events
            if each.at_s < 34  # at the end the endpoint of the recorded call was left
        )
        for path in (desk.recording, desk_again.recording)
    )
    assert len(one) > 300
    assert other == one
    own, again = ([repr(turn) for turn in each.session.turns] for each in (desk, desk_again))
    assert again == own
    assert read_timeline(desk_again.recording).call.speeches == read_timeline(desk.recording).call.speeches
