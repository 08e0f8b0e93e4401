"""The console endpoint on a device without sound: alone, and attached to whole sessions on the emulator."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import numpy as np
import pytest
import trio

from trealtime._session.runner import RealtimeRunner
from trealtime.agents.agent import RealtimeAgent
from trealtime.audio.formats import pcm16
from trealtime.audio.levels import rms_dbfs
from trealtime.audio.resample import resample
from trealtime.emulator import MemoryModel, ScriptedBrain, SpokenChunk, open_emulator
from trealtime.emulator.voice import VOICE_RATE, tones
from trealtime.endpoints.audio_device import SoundCard, list_devices
from trealtime.endpoints.console import ConsoleEndpoint
from trealtime.errors import AudioDeviceError, AudioFormatError, EndpointFailed, MissingDependency
from trealtime.testing.audio_device import FakeAudioDevice
from trealtime.testing.endpoints import check_endpoint

RATE = 48_000
STORY = "Tell me a long story."


@attrs.define(eq=False)
class Link:
    """What an endpoint reports."""

    heard_ms: list[tuple[float, float]] = attrs.Factory(list)
    tails_ms: list[float] = attrs.Factory(list)

    def heard(self, position_ms: float, *, tail_ms: float = 0.0) -> None:
        self.heard_ms.append((trio.current_time(), position_ms))
        self.tails_ms.append(tail_ms)

    def dtmf(self, digit: str) -> None:
        raise AssertionError("a console has no keys")


def tone(ms: float, *, hz: float = 440.0, level: int = 8_000) -> np.ndarray:
    at = np.arange(round(RATE * ms / 1000)) / RATE
    return np.rint(np.sin(2 * np.pi * hz * at) * level).astype(np.int16)


def spoken(text: str, *, voice: str = "cedar") -> np.ndarray:
    audio = np.concatenate([chunk.samples for chunk in tones(text, voice=voice, speed=1.0)])
    return resample(audio, VOICE_RATE, RATE)


async def play(endpoint: ConsoleEndpoint, audio: np.ndarray, *, start_ms: float = 0.0) -> None:
    for begin in range(0, len(audio), RATE // 50):
        piece = audio[begin : begin + RATE // 50]
        await endpoint.play(piece.astype("<i2").tobytes(), start_ms + (begin + len(piece)) * 1000 / RATE)


# ---- alone ----------------------------------------------------------------------------------------------------------


async def test_play_is_paced_by_the_device_and_heard_positions_are_those_of_the_loudspeaker(autojump_clock) -> None:
    device, link = FakeAudioDevice(output_delay_ms=30), Link()
    endpoint = ConsoleEndpoint(device=device)
    async with endpoint.open(link):
        await trio.sleep(0.005)
        began = trio.current_time()
        await play(endpoint, tone(1000))
        assert trio.current_time() - began == pytest.approx(0.8, abs=0.03)  # 200 ms are queued
        await trio.sleep(0.5)
    assert link.heard_ms[-1][1] == pytest.approx(1000)
    for at, position_ms in link.heard_ms:
        heard_ms = device.heard_until(at) * 1000 / RATE - 10  # the first block was taken before there was audio
        assert position_ms == pytest.approx(min(heard_ms, 1000), abs=0.1)
    positions = [position_ms for _, position_ms in link.heard_ms]
    assert positions == sorted(positions)


async def test_a_flush_silences_the_loudspeaker_within_a_block_and_its_fade(autojump_clock) -> None:
    device, link = FakeAudioDevice(), Link()
    endpoint = ConsoleEndpoint(device=device)
    async with endpoint.open(link):
        await play(endpoint, tone(500))
        given = len(device.played)
        endpoint.flush()
        await trio.sleep(0.3)
        assert not device.played[given + RATE // 100 + RATE // 200 :].any()
        assert max(position_ms for _, position_ms in link.heard_ms) <= given * 1000 / RATE
        await play(endpoint, tone(100, hz=1000), start_ms=500)
        await trio.sleep(0.3)
        assert link.heard_ms[-1][1] == pytest.approx(600)


async def test_a_report_says_how_much_the_device_has_taken(autojump_clock) -> None:
    device, link = FakeAudioDevice(output_delay_ms=30), Link()
    endpoint = ConsoleEndpoint(device=device)
    async with endpoint.open(link):
        await trio.sleep(0.005)
        await play(endpoint, tone(300))
        await trio.sleep(0.5)
        await play(endpoint, tone(20), start_ms=300)  # shorter than the device's delay
        await trio.sleep(0.5)
    taken_ms = [position_ms + tail_ms for (_, position_ms), tail_ms in zip(link.heard_ms, link.tails_ms, strict=True)]
    assert link.tails_ms[5:20] == pytest.approx([40] * 15)  # its delay, and the block
    assert taken_ms == pytest.approx(sorted(taken_ms))
    assert max(taken_ms) == pytest.approx(320)
    assert link.tails_ms[-1] == 0


class Ramp:
    """A voice whose samples say how many milliseconds have gone by, from 1000 on."""

    async def speak(self, text: str, *, voice: str, speed: float) -> AsyncGenerator[SpokenChunk]:
        yield SpokenChunk(text, (1000 + np.arange(VOICE_RATE * 6) // (VOICE_RATE // 1000)).astype(np.int16))


async def test_playback_that_is_held_goes_on_after_the_last_sound_that_the_device_had_taken(autojump_clock) -> None:
    device = FakeAudioDevice(rate=VOICE_RATE)
    async with open_emulator(listen=False, seed=1, voice=Ramp(), brain=ScriptedBrain(["Count."])) as emulator:
        runner = RealtimeRunner(RealtimeAgent(name="Assistant"), model=MemoryModel(emulator))
        endpoint = ConsoleEndpoint(device=device, echo_gate=False)
        async with runner.session() as session, session.attach(endpoint) as attachment:
            await session.send_message(STORY)
            await trio.sleep(2.003)
            attachment.hold()
            await trio.sleep(1)
            attachment.resume()
            await session.wait_for_playback()
    fade = VOICE_RATE // 200
    sounds = np.flatnonzero(device.played)
    pause = int(np.argmax(np.diff(sounds)))
    before, after = device.played[sounds[pause] - fade], device.played[sounds[pause + 1] + fade]
    assert 0 < int(after) - int(before) < 25, "nothing is heard twice, and only what fades is left out"


async def test_a_play_that_waits_takes_nothing_when_it_is_cancelled(autojump_clock) -> None:
    device = FakeAudioDevice()
    endpoint = ConsoleEndpoint(device=device)
    async with endpoint.open(Link()):
        await trio.sleep(0.011)
        await play(endpoint, tone(200))
        with trio.move_on_after(0.003) as waiting:
            await endpoint.play(tone(20).tobytes(), 220)
        assert waiting.cancelled_caught
        await trio.sleep(1)
        assert np.count_nonzero(device.played) < RATE * 0.21


async def test_the_microphone_arrives_whole_and_in_order(autojump_clock) -> None:
    device = FakeAudioDevice()
    said = tone(300)
    endpoint = ConsoleEndpoint(device=device)
    heard = bytearray()
    async with endpoint.open(Link()):
        device.say(said)
        with trio.move_on_after(0.5):
            while True:
                heard += await endpoint.receive()
    samples = np.frombuffer(bytes(heard), "<i2")
    start = int(np.flatnonzero(samples)[0]) - 1
    assert (samples[start : start + len(said)] == said).all()
    assert len(samples) == pytest.approx(0.5 * RATE, abs=RATE // 50)


async def test_a_microphone_that_nobody_takes_costs_two_seconds_at_most(autojump_clock) -> None:
    endpoint = ConsoleEndpoint(device=FakeAudioDevice())
    async with endpoint.open(Link()):
        await trio.sleep(10)
        assert endpoint.statistics().dropped_ms == pytest.approx(8000, abs=50)
        assert len(await endpoint.receive()) / 2 / RATE == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("echo_gate", [True, False])
async def test_the_echo_gate_can_be_left_out(echo_gate: bool, autojump_clock) -> None:
    device = FakeAudioDevice(echo_db=-20, echo_delay_ms=40)
    endpoint = ConsoleEndpoint(device=device, echo_gate=echo_gate)
    heard = bytearray()
    async with endpoint.open(Link()), trio.open_nursery() as nursery:
        nursery.start_soon(play, endpoint, tone(1000))
        with trio.move_on_after(1.5):
            while True:
                heard += await endpoint.receive()
    level_dbfs = rms_dbfs(np.frombuffer(bytes(heard), "<i2"))
    assert level_dbfs < -90 if echo_gate else level_dbfs > -50
    assert (endpoint.statistics().echo_gate is not None) == echo_gate


async def test_levels_are_those_of_the_last_tenth_of_a_second(autojump_clock) -> None:
    device = FakeAudioDevice()
    endpoint = ConsoleEndpoint(device=device)
    assert endpoint.levels.heard_rms_dbfs == -np.inf
    async with endpoint.open(Link()):
        device.say(tone(1000, level=16_384))
        await play(endpoint, tone(500, level=3_277))
        levels = endpoint.levels
        assert (levels.heard_peak_dbfs, levels.heard_rms_dbfs) == pytest.approx((-6.0, -9.0), abs=0.1)
        assert (levels.played_peak_dbfs, levels.played_rms_dbfs) == pytest.approx((-20.0, -23.0), abs=0.1)
        await trio.sleep(2)
        assert endpoint.levels.played_peak_dbfs == -np.inf


@pytest.mark.parametrize("silently", [False, True])
async def test_a_device_that_goes_away_is_an_error_at_receive_and_at_play(silently: bool, autojump_clock) -> None:
    device = FakeAudioDevice()
    endpoint = ConsoleEndpoint(device=device)
    async with endpoint.open(Link()):
        await trio.sleep(0.1)
        device.unplug(silently=silently)
        await trio.sleep(4.5)
        await endpoint.receive()  # what there was
        with pytest.raises(AudioDeviceError, match="unplugged"):
            await endpoint.receive()
        with pytest.raises(AudioDeviceError, match="unplugged"):
            await endpoint.play(tone(20).tobytes(), 20)


async def test_a_device_that_does_not_open_is_told(autojump_clock) -> None:
    with pytest.raises(AudioDeviceError, match="no such microphone"):
        async with ConsoleEndpoint(device=FakeAudioDevice(broken="no such microphone")).open(Link()):
            pass


async def test_misuse_is_told(autojump_clock) -> None:
    endpoint = ConsoleEndpoint(device=FakeAudioDevice())
    with pytest.raises(RuntimeError, match="not open"):
        await endpoint.receive()
    async with endpoint.open(Link()):
        pass
    with pytest.raises(RuntimeError, match="opened before"):
        async with endpoint.open(Link()):
            pass


@pytest.mark.parametrize("rate, error", [(4_000, AudioFormatError), ("48000", AudioFormatError), (11_025, ValueError)])
def test_a_rate_that_is_none_is_refused(rate: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="rate"):
        ConsoleEndpoint(rate=rate)


def test_the_device_for_tests_is_no_quicker_than_devices_are() -> None:
    with pytest.raises(ValueError, match="output_delay_ms"):
        FakeAudioDevice(output_delay_ms=5)


# ---- the contract of endpoints --------------------------------------------------------------------------------------


class _Orderly(ConsoleEndpoint):
    """A console knows no orderly end of the far side: here, its device going away is one."""

    async def receive(self) -> bytes:
        try:
            return await super().receive()
        except AudioDeviceError:
            raise trio.EndOfChannel from None


@attrs.frozen(eq=False)
class Room:
    """Whoever sits at the device, for `check_endpoint`."""

    device: FakeAudioDevice

    async def say(self, audio: bytes) -> None:
        self.device.say(np.frombuffer(audio, "<i2"))
        await trio.sleep(len(audio) / 2 / self.device.rate)

    def heard(self) -> bytes:
        played = self.device.played[: self.device.heard_until(trio.current_time())]
        blocks = np.pad(played, (0, -len(played) % 40)).reshape(-1, 40)  # of 5 ms, as the fades
        return blocks[blocks.any(axis=1)].astype("<i2").tobytes()

    async def leave(self) -> None:
        self.device.unplug()
        await trio.lowlevel.checkpoint()


async def test_a_console_keeps_the_contract_of_endpoints(autojump_clock) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[ConsoleEndpoint, Room]]:
        device = FakeAudioDevice(rate=8_000, block_ms=20)
        yield _Orderly(device=device, echo_gate=False), Room(device)

    # What the device has is heard still: 20 ms of delay, a block, a fade.
    await check_endpoint(make, tolerance_ms=45)


# ---- in a session ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def call(device: FakeAudioDevice, **options: bool) -> AsyncIterator[tuple]:
    """A session on the emulator with a console attached, and the events it tells of."""
    async with open_emulator(listen=False, seed=1) as emulator:
        runner = RealtimeRunner(RealtimeAgent(name="Assistant"), model=MemoryModel(emulator))
        async with runner.session() as session:
            endpoint = ConsoleEndpoint(device=device, **options)
            subscription = session.subscribe(
                "audio_interrupted", "speech_started", "agent_end", "audio", playback=False
            )
            async with session.attach(endpoint), subscription:
                yield session, subscription


async def next_of(subscription, kind: str):
    async for event in subscription:
        if event.type == kind:
            return event
    raise AssertionError(f"no {kind}")


async def test_a_spoken_question_is_answered_aloud(autojump_clock) -> None:
    device = FakeAudioDevice()
    async with call(device) as (session, subscription):
        device.say(spoken("What is the weather like in Oslo?"))
        with trio.fail_after(60):
            await next_of(subscription, "agent_end")
            await session.wait_for_playback()
    assert rms_dbfs(device.played[np.flatnonzero(device.played)[0] :]) > -30


@pytest.mark.parametrize("echo_delay_ms", [0, 80, 300])
async def test_the_agents_echo_does_not_interrupt_it_and_the_user_does(echo_delay_ms: float, autojump_clock) -> None:
    device = FakeAudioDevice(echo_db=-20, echo_delay_ms=echo_delay_ms)
    async with call(device) as (session, subscription):
        await session.send_message(STORY)
        await next_of(subscription, "audio")
        with trio.move_on_after(5):
            event = await next_of(subscription, "speech_started")
            raise AssertionError(f"the agent has heard itself: {event}")
        said_at = trio.current_time()
        device.say(spoken("Stop, please!", voice="marin"))
        with trio.fail_after(2):
            interrupted = await next_of(subscription, "audio_interrupted")
        assert trio.current_time() - said_at < 0.6
        given = len(device.played)
        began = np.flatnonzero(device.played)[0]
        # The device plays on to the end of what it has taken.
        assert interrupted.heard_ms == pytest.approx((given - began) * 1000 / RATE, abs=11)
        await trio.sleep(0.5)
        assert not device.played[given + RATE // 50 : given + RATE // 5].any()


async def test_without_the_gate_the_agent_interrupts_itself(autojump_clock) -> None:
    device = FakeAudioDevice(echo_db=-20, echo_delay_ms=80)
    async with call(device, echo_gate=False) as (session, subscription):
        await session.send_message(STORY)
        with trio.fail_after(10):
            await next_of(subscription, "audio_interrupted")


async def test_a_session_that_is_closed_while_the_agent_speaks_ends_in_order(autojump_clock) -> None:
    device = FakeAudioDevice()
    async with call(device) as (session, subscription):
        await session.send_message(STORY)
        await next_of(subscription, "audio")
        await trio.sleep(1)
        await session.close()
        played = len(device.played)
        await trio.sleep(1)
        assert len(device.played) == played, "the device is closed"


async def test_a_device_that_goes_away_ends_the_attach_block_with_a_clear_error(autojump_clock) -> None:
    async def talk_until_it_is_unplugged() -> None:
        device = FakeAudioDevice()
        async with call(device):
            device.unplug()
            await trio.sleep_forever()

    with pytest.raises(EndpointFailed, match="unplugged") as caught:
        await talk_until_it_is_unplugged()
    assert isinstance(caught.value.__cause__, AudioDeviceError)


# ---- sound cards ----------------------------------------------------------------------------------------------------


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    def fail(error: Exception) -> None:
        real_import = importlib.import_module

        def import_module(name: str, package: str | None = None) -> object:
            if name == "sounddevice":
                raise error
            return real_import(name, package)

        monkeypatch.setattr(importlib, "import_module", import_module)

    return fail


async def open_sound_card() -> None:
    async with ConsoleEndpoint().open(Link()):
        pass


async def show_devices() -> None:
    list_devices()


@pytest.mark.parametrize("use", [open_sound_card, show_devices])
@pytest.mark.parametrize(
    "error, words",
    [
        (ImportError("no sounddevice"), ['pip install "trealtime[console]"']),
        (OSError("PortAudio library not found"), ["PortAudio", "apt install libportaudio2", "is missing"]),
    ],
)
async def test_what_is_missing_is_named(without, use: Callable[[], Awaitable[None]], error, words) -> None:
    without(error)
    with pytest.raises(MissingDependency) as caught:
        await use()
    assert all(word in str(caught.value) for word in words)


class Headset(types.ModuleType):
    """A stand-in for sounddevice, with one device that runs at `rates` alone."""

    class PortAudioError(Exception):
        pass

    def __init__(
        self,
        rates: tuple[int, ...],
        error: str = "Invalid sample rate [PaErrorCode -9997]",
        *,
        input_rates: tuple[int, ...] = (),
        output_rates: tuple[int, ...] = (),
    ) -> None:
        super().__init__("sounddevice")
        self.opened: list[int] = []
        self.default = types.SimpleNamespace(device=(0, 0))
        module = self

        class Stream:
            latency = (0.02, 0.02)

            def __init__(self, *, samplerate: int, callback: Any, blocksize: int, **_: object) -> None:
                if samplerate not in rates:
                    raise Headset.PortAudioError(f"Error opening Stream: {error}")
                module.opened.append(samplerate)
                self._times = types.SimpleNamespace(outputBufferDacTime=0.02, currentTime=0.0)
                self._block, self._callback = blocksize, callback

            def start(self) -> None:
                heard = np.full((self._block, 1), 1000, np.int16)
                for _ in range(2):  # the echo gate takes frames of 20 ms
                    self._callback(heard, np.zeros_like(heard), self._block, self._times, None)

            def abort(self) -> None:
                pass

            def close(self) -> None:
                pass

        self.Stream = Stream

        class OneSided:
            def __init__(self, *, samplerate: int, **options: Any) -> None:
                if samplerate not in sides[type(self)]:
                    raise Headset.PortAudioError(f"Error opening Stream: {error}")
                self.samplerate = samplerate
                self._times = types.SimpleNamespace(outputBufferDacTime=0.02, currentTime=0.0)
                self._callback = options["callback"]
                module.streams.append(self)

            def start(self) -> None:
                self.running = True

            def run(self, block: np.ndarray) -> None:
                self._callback(block, len(block), self._times, None)

            def abort(self) -> None:
                pass

            def close(self) -> None:
                self.running = False

        class InputStream(OneSided):
            pass

        class OutputStream(OneSided):
            pass

        sides = {InputStream: input_rates, OutputStream: output_rates}
        self.streams: list[Any] = []
        self.InputStream, self.OutputStream = InputStream, OutputStream
        self._sides = {"input": input_rates, "output": output_rates}

    def query_devices(self, device: object = None, kind: str | None = None) -> Any:
        if kind is not None:
            return {"default_samplerate": float((self._sides[kind] or (16_000,))[0])}
        return [{"name": "Headset", "max_input_channels": 1, "max_output_channels": 1, "default_samplerate": 16_000.0}]


@pytest.mark.parametrize("rates, taken", [((16_000,), 16_000), ((8_000, 44_100), 44_100), ((16_000, 48_000), 48_000)])
async def test_a_headset_runs_at_the_first_usual_rate_that_it_has(monkeypatch, rates, taken) -> None:
    headset = Headset(rates)
    monkeypatch.setitem(sys.modules, "sounddevice", headset)
    endpoint = ConsoleEndpoint()
    async with endpoint.open(Link()):
        assert headset.opened == [taken]
        assert endpoint.input_format == endpoint.output_format == pcm16(taken)
        assert endpoint.statistics().rate == taken
        with trio.fail_after(5):
            assert await endpoint.receive() == b"\xe8\x03" * (taken // 50)
        await endpoint.play(bytes(taken // 25), 20)


async def test_a_rate_that_is_asked_for_is_the_only_one(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Headset((16_000,)))
    with pytest.raises(AudioDeviceError, match=r"at 44100 Hz: .*Invalid sample rate"):
        async with ConsoleEndpoint(rate=44_100).open(Link()):
            pytest.fail("the body must not run")
    async with ConsoleEndpoint(rate=16_000).open(Link()):
        pass


@pytest.mark.parametrize("error", ["Invalid sample rate [PaErrorCode -9997]", "Invalid device [PaErrorCode -9996]"])
async def test_a_headset_that_opens_at_no_rate_is_told_with_the_first_one(monkeypatch, error) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Headset((), error))
    with pytest.raises(AudioDeviceError, match=rf"at 48000 Hz: .*{error[:14]}"):
        async with ConsoleEndpoint().open(Link()):
            pytest.fail("the body must not run")


@pytest.mark.parametrize("asked", [{}, {"input_rate": 16_000, "output_rate": 44_100}])
async def test_a_microphone_and_a_loudspeaker_without_a_common_rate_run_at_their_own(monkeypatch, asked) -> None:
    devices = Headset((), input_rates=(16_000,), output_rates=(44_100,))
    monkeypatch.setitem(sys.modules, "sounddevice", devices)
    endpoint = ConsoleEndpoint(device=SoundCard(**asked), echo_gate=False)
    async with endpoint.open(Link()):
        microphone, speaker = devices.streams
        assert (microphone.samplerate, speaker.samplerate) == (16_000, 44_100)
        assert endpoint.input_format == pcm16(48_000)
        await endpoint.play(tone(100).astype("<i2").tobytes(), 100)
        heard, played = [], []
        for number in range(20):
            at = np.arange(number * 160, (number + 1) * 160) / 16_000
            microphone.run(np.rint(np.sin(2 * np.pi * 440 * at) * 8_000).astype(np.int16)[:, None])
            block = np.zeros((441, 1), np.int16)
            speaker.run(block)
            played.append(block[:, 0])
            await trio.testing.wait_all_tasks_blocked()
            if number > 3:
                heard.append(np.frombuffer(await endpoint.receive(), "<i2"))
        assert dominant_hz(np.concatenate(played)[1_000:4_000], 44_100) == pytest.approx(440, abs=20)
        assert dominant_hz(np.concatenate(heard)[-4_800:], 48_000) == pytest.approx(440, abs=20)
        assert sum(map(len, heard)) / 480 == pytest.approx(20, abs=2)
    assert not microphone.running
    assert not speaker.running


def dominant_hz(samples: np.ndarray, rate: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


async def test_a_loudspeaker_that_does_not_open_closes_the_microphone(monkeypatch) -> None:
    devices = Headset((), input_rates=(16_000,), output_rates=())
    monkeypatch.setitem(sys.modules, "sounddevice", devices)
    with pytest.raises(AudioDeviceError):
        async with ConsoleEndpoint(device=SoundCard(input_rate=16_000, output_rate=48_000)).open(Link()):
            pytest.fail("the body must not run")
    assert not devices.streams[0].running


async def test_the_real_library_lists_devices_and_says_why_one_does_not_open() -> None:
    try:
        devices = list_devices()
    except MissingDependency as error:
        pytest.skip(str(error))
    assert [device.number for device in devices] == list(range(len(devices)))
    with pytest.raises(AudioDeviceError, match=r"cannot open microphone .* at 48000 Hz"), trio.fail_after(30):
        async with SoundCard("no device has this name", "nor this").open(Link()):  # type: ignore[arg-type]
            pass
