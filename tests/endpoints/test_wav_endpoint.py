"""WAV files as a user: what is said, what is heard, and when."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.audio.wav import WavWriter, read_wav, write_wav
from trealtime.emulator import open_emulator
from trealtime.endpoints.wav import StereoRecording, WavEndpoint
from trealtime.errors import AudioFormatError

RATE = 24_000


def hum(ms: int, rate: int = RATE) -> np.ndarray[Any, np.dtype[np.int16]]:
    return (8000 * np.sin(2 * np.pi * 220 * np.arange(rate * ms // 1000) / rate)).astype(np.int16)


def stereo(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    return both[:, 0].astype(float), both[:, 1].astype(float)


def bounds_ms(channel: np.ndarray[Any, Any], rate: int = RATE) -> tuple[float, float]:
    """From where to where there is sound."""
    sound = np.flatnonzero(np.abs(channel) > 50)
    return sound[0] * 1000 / rate, (sound[-1] + 1) * 1000 / rate


class Link:
    def __init__(self) -> None:
        self.reports: list[tuple[float, float]] = []

    def heard(self, position_ms: float) -> None:
        self.reports.append((trio.current_time(), position_ms))

    def dtmf(self, digit: str) -> None:
        raise AssertionError("a file has no keys")


async def test_both_sides_are_recorded_on_one_time_line(autojump_clock, tmp_path) -> None:
    write_wav(tmp_path / "in.wav", hum(300, 8_000), 8_000)
    endpoint = WavEndpoint(tmp_path / "in.wav", tmp_path / "out.wav")
    async with endpoint.open(Link()), trio.open_nursery() as nursery:

        async def listen() -> None:
            while True:
                await endpoint.receive()

        nursery.start_soon(listen)
        await trio.sleep(1.0)
        await endpoint.play(hum(500).tobytes(), 500)
        await trio.sleep(0.2505)
        endpoint.flush()
        await trio.sleep(1.0)
        await endpoint.play(hum(100).tobytes(), 600)
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    said, heard = stereo(tmp_path / "out.wav")
    assert len(said) == len(heard) == pytest.approx(2.75 * RATE, abs=0.03 * RATE)
    assert bounds_ms(said) == pytest.approx((0, 300), abs=4)
    assert bounds_ms(heard[: 2 * RATE]) == pytest.approx((1000, 1250.5), abs=1)
    assert bounds_ms(heard[2 * RATE :]) == pytest.approx((250.5, 350.5), abs=1)


async def test_speech_takes_the_time_that_it_takes(autojump_clock, tmp_path) -> None:
    write_wav(tmp_path / "in.wav", hum(1000), RATE)
    endpoint = WavEndpoint(tmp_path / "in.wav", then="leave")
    pieces = []
    async with endpoint.open(Link()):
        with pytest.raises(trio.EndOfChannel):  # noqa: PT012
            while True:
                pieces.append(await endpoint.receive())
        with pytest.raises(trio.EndOfChannel):
            await endpoint.receive()
    assert trio.current_time() == pytest.approx(1.0)
    assert b"".join(pieces) == hum(1000).tobytes()


async def test_silence_follows_the_file_for_ever(autojump_clock, tmp_path) -> None:
    write_wav(tmp_path / "in.wav", hum(30), RATE)
    endpoint = WavEndpoint(tmp_path / "in.wav")
    async with endpoint.open(Link()):
        said = b"".join([await endpoint.receive() for _ in range(100)])
    assert said == hum(30).tobytes() + bytes(len(said) - len(hum(30)) * 2)
    assert trio.current_time() == pytest.approx(len(said) / 48_000)


async def test_without_real_time_the_file_is_said_at_once_with_some_silence(autojump_clock, tmp_path) -> None:
    write_wav(tmp_path / "in.wav", hum(1000), RATE)
    endpoint = WavEndpoint(tmp_path / "in.wav", tmp_path / "out.wav", realtime=False)
    link = Link()
    said = b""
    async with endpoint.open(link):
        with trio.move_on_after(5):
            while True:
                said += await endpoint.receive()
                assert trio.current_time() == 0
        assert len(said) == 3 * 48_000
        await endpoint.play(hum(10_000).tobytes(), 10_000)
        assert link.reports == [(5, 10_000)]
    left, right = stereo(tmp_path / "out.wav")
    assert bounds_ms(left) == pytest.approx((0, 1000), abs=2)
    assert bounds_ms(right) == pytest.approx((3000, 13_000), abs=2)


async def test_a_whole_turn_is_recorded_as_it_was_heard(autojump_clock, tmp_path) -> None:
    write_wav(tmp_path / "in.wav", hum(1000), RATE)
    async with open_emulator(listen=False, seed=1) as emulator:
        settings = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}}
        runner = RealtimeRunner(
            RealtimeAgent(name="Assistant"), model=emulator.memory_model(), config={"model_settings": settings}
        )
        endpoint = WavEndpoint(tmp_path / "in.wav", tmp_path / "out.wav")
        async with runner.session() as session, session.attach(endpoint):
            async for event in session:
                if event.type == "agent_start":
                    break
            await trio.sleep(1.0)
            await session.interrupt()
            cut_ms = session.statistics().conversation.last_heard_ms
            await trio.sleep(1.0)
    said, heard = stereo(tmp_path / "out.wav")
    assert bounds_ms(said) == pytest.approx((0, 1000), abs=2)
    begin_ms, end_ms = bounds_ms(heard)
    assert 1300 < begin_ms < 2500
    assert end_ms - begin_ms == pytest.approx(cut_ms, abs=60), "it begins and ends in sound"


async def test_files_that_cannot_be_used_are_refused(tmp_path) -> None:
    (tmp_path / "text.wav").write_text("not audio")
    for path, error in ((tmp_path / "absent.wav", FileNotFoundError), (tmp_path / "text.wav", AudioFormatError)):
        with pytest.raises(error):
            WavEndpoint(path)
    with pytest.raises(OSError, match="directory"):
        async with WavEndpoint(output=tmp_path).open(Link()):
            pytest.fail("the body must not run")


@pytest.mark.parametrize("other_name", ["the same", "through a folder", "symbolic link", "hard link"])
async def test_the_recording_never_overwrites_the_question(tmp_path, other_name) -> None:
    question = tmp_path / "question.wav"
    write_wav(question, hum(100), RATE)
    before = question.read_bytes()
    (tmp_path / "folder").mkdir()
    output = {"the same": question, "through a folder": tmp_path / "folder" / ".." / "question.wav"}.get(
        other_name, tmp_path / "link.wav"
    )
    if other_name == "symbolic link":
        output.symlink_to(question)
    elif other_name == "hard link":
        output.hardlink_to(question)
    with pytest.raises(ValueError, match=r"would overwrite the input, .*question\.wav"):
        WavEndpoint(question, output)
    assert question.read_bytes() == before


async def test_a_link_to_the_question_that_is_made_meanwhile_is_seen(tmp_path) -> None:
    question = tmp_path / "question.wav"
    write_wav(question, hum(100), RATE)
    before = question.read_bytes()
    endpoint = WavEndpoint(question, tmp_path / "out.wav")
    (tmp_path / "out.wav").hardlink_to(question)
    with pytest.raises(ValueError, match="would overwrite the input"):
        async with endpoint.open(Link()):
            pytest.fail("the body must not run")
    assert question.read_bytes() == before


@pytest.mark.parametrize("rate", [4_000, 8_012, 11_127, 22_222, 22_254, 44_056, 192_000])
async def test_a_file_of_any_rate_is_said_at_the_speed_it_was_recorded(autojump_clock, tmp_path, rate) -> None:
    write_wav(tmp_path / "in.wav", hum(1000, rate), rate)
    endpoint = WavEndpoint(tmp_path / "in.wav", then="leave")
    assert endpoint.speech_s == pytest.approx(1.0, abs=0.001)
    said = b""
    async with endpoint.open(Link()):
        with pytest.raises(trio.EndOfChannel):  # noqa: PT012
            while True:
                said += await endpoint.receive()
    samples = np.frombuffer(said, "<i2")[: RATE - 10].astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * RATE / len(samples) == pytest.approx(220, abs=1)


@pytest.mark.parametrize("channel", [0, 1])
async def test_one_side_of_a_recorded_call_can_be_said(autojump_clock, tmp_path, channel) -> None:
    left, right = hum(1000), (8000 * np.sin(2 * np.pi * 660 * np.arange(RATE) / RATE)).astype(np.int16)
    with WavWriter(tmp_path / "call.wav", RATE, channels=2) as writer:
        writer.write(np.stack([left, right], axis=1))
    endpoint = WavEndpoint(tmp_path / "call.wav", channel=channel, realtime=False)
    async with endpoint.open(Link()):
        said = np.frombuffer(await endpoint.receive(), "<i2")
    assert (said == (left, right)[channel][: len(said)]).all()


async def test_bad_arguments_are_refused(autojump_clock, tmp_path) -> None:
    with pytest.raises(ValueError, match="then must be 'silence' or 'leave', got 'stop'"):
        WavEndpoint(then="stop")  # type: ignore[arg-type]
    write_wav(tmp_path / "mono.wav", hum(10), RATE)
    with pytest.raises(AudioFormatError, match=r"mono\.wav: it has channel 0 alone, not channel 1"):
        WavEndpoint(tmp_path / "mono.wav", channel=1)
    with pytest.raises(AudioFormatError, match="rate must be a whole number"):
        WavEndpoint(rate=100)
    endpoint = WavEndpoint()
    async with endpoint.open(Link()):
        pass
    with pytest.raises(RuntimeError, match="attached before"):
        async with endpoint.open(Link()):
            pytest.fail("the body must not run")


# ---- the recording --------------------------------------------------------------------------------------------------


def test_a_recording_puts_sound_where_it_was_and_silence_between(tmp_path) -> None:
    with StereoRecording(tmp_path / "out.wav", 8_000) as recording:
        for number in range(100):
            recording.add_said(number / 10, b"\1\0" * 800)
        recording.add_heard(9.0, b"\2\0" * 800)
        recording.add_heard(9.05, b"\3\0" * 800)  # would overlap: follows at once
        assert (recording.said_s, recording.heard_s) == pytest.approx((10.0, 9.2))
    recording.close()
    said, heard = stereo(tmp_path / "out.wav")
    assert (said == 1).all()
    assert len(said) == 80_000
    assert [int(each) for each in heard[[71_999, 72_040, 72_799, 72_800, 73_559, 73_600]]] == [0, 2, 2, 3, 3, 0]


def loudest_above_6_khz_dbfs(samples: np.ndarray[Any, Any], rate: int) -> float:
    """Where a tone of 440 Hz has nothing, and a click has much."""
    n = 256
    windows = np.lib.stride_tricks.sliding_window_view(samples / 32768, n)[::16] * np.blackman(n)
    spectrum = np.abs(np.fft.rfft(windows, axis=1))[:, 6_000 * n // rate :]
    return float(20 * np.log10(spectrum.max() / np.blackman(n).sum() + 1e-12))


@pytest.mark.parametrize("rate", [24_000, 48_000])
@pytest.mark.parametrize("then_s", [0.0, 0.5, 5.0], ids=["at the end", "soon", "long after"])
@pytest.mark.parametrize("piece_ms", [1, 20])
def test_sound_that_is_cut_and_comes_again_makes_no_click_and_loses_nothing(tmp_path, rate, then_s, piece_ms) -> None:
    wave = np.rint(16_000 * np.sin(2 * np.pi * 440 * (np.arange(rate) + rate / 1760) / rate)).astype("<i2")
    cut = round(rate * (0.5 + 1 / 880 / 3))
    with StereoRecording(tmp_path / "out.wav", rate) as recording:
        for part, begin_s in ((wave[:cut], 0.1), (wave[cut:], 0.6 + then_s))[: 2 if then_s else 1]:
            for begin in range(0, len(part), rate * piece_ms // 1000):
                piece = part[begin : begin + rate * piece_ms // 1000]
                recording.add_heard(begin_s + begin / rate, piece.tobytes())
        for number in range(int(100 * (begin_s + 4))):
            recording.add_said(number / 100, bytes(rate // 100 * 2))
    _said, heard = stereo(tmp_path / "out.wav")
    assert loudest_above_6_khz_dbfs(heard, rate) < -100
    fade = round(rate * 0.005)
    begin = round(0.1 * rate)
    assert (heard[begin + fade : begin + cut - fade] == wave[fade : cut - fade]).all()
    if then_s:
        begin = round((0.6 + then_s) * rate)
        assert (heard[begin + fade : begin + rate - cut - fade] == wave[cut + fade : -fade]).all()


def test_a_click_would_be_found() -> None:
    assert loudest_above_6_khz_dbfs(np.concatenate((hum(60)[:1336], np.zeros(512))), RATE) > -60


def test_what_is_older_than_two_seconds_is_in_the_file_before_it_is_closed(tmp_path) -> None:
    recording = StereoRecording(tmp_path / "out.wav", 8_000)
    for number in range(600):
        recording.add_said(number / 10, bytes(1600))
    on_disk = (tmp_path / "out.wav").stat().st_size
    assert on_disk > 50 * 8_000 * 4
    _samples, rate = read_wav(tmp_path / "out.wav")
    assert rate == 8_000
    recording.close()


def test_two_channels_are_written_side_by_side(tmp_path) -> None:
    with WavWriter(tmp_path / "out.wav", 8_000, channels=2) as writer:
        writer.write(np.array([[1, 2], [3, 4]], np.int16))
        assert writer.duration_ms == 0.25
        with pytest.raises(AudioFormatError, match=r"shape \(n, 2\)"):
            writer.write(np.zeros(4, np.int16))
    assert [channel.tolist() for channel in stereo(tmp_path / "out.wav")] == [[1, 3], [2, 4]]
