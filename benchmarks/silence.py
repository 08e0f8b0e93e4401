"""Onset to silence: from the first sample of the user's speech to the last sample of the agent's that the user hears.

Both are read off sound and nothing else: the far side of each endpoint (a sound device, a page, a phone, a stereo file)
keeps what the user said and what they heard, with its time. The agent says one long tone, so that its last sample is
where it was cut; the user begins at a random moment of it.

It runs in virtual time, with the emulator's voice detection and `LATENCY_S` from the server to the session; the rest of
the network takes no time. So the figures are those of the endpoints and of the rules, the same on every machine: what a
network, a sound card and a busy process add comes on top.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
import trio
from numpy.typing import NDArray
from trio.testing import MockClock

from trealtime import ConsoleEndpoint, Endpoint, RealtimeAgent, RealtimeRunner, RealtimeSession, WavEndpoint
from trealtime.audio.pcm import from_int16, to_int16
from trealtime.audio.resample import resample
from trealtime.audio.wav import WavWriter, read_wav
from trealtime.emulator import Faults, ScriptedBrain, SpokenChunk, open_emulator
from trealtime.emulator.voice import VOICE_RATE, tones
from trealtime.endpoints.browser import accept_browser_stream
from trealtime.endpoints.twilio import accept_twilio_stream
from trealtime.testing import FakeAudioDevice, memory_wire_pair, open_fake_page, open_fake_twilio

from .load import Load
from .report import Result, percentile

__all__ = ["ENDPOINTS", "Trial", "measure", "run"]

LATENCY_S: Final = 0.03
ANSWER_S: Final = 8.0
_LOUD: Final = 250
_PAUSE_S: Final = 0.15

Samples = NDArray[np.int16]


class _OneTone:
    """Says everything as one tone without a pause."""

    async def speak(self, text: str, *, voice: str, speed: float) -> AsyncGenerator[SpokenChunk]:
        time_s = np.arange(round(ANSWER_S * VOICE_RATE)) / VOICE_RATE
        yield SpokenChunk(text, (np.sin(2 * np.pi * 300 * time_s) * 8_000).astype(np.int16))


@attrs.frozen
class Trial:
    """One interrupt: when the user's first sample was said and the agent's last one was heard, on Trio's clock, and
    the session."""

    onset_s: float
    silent_s: float
    session: RealtimeSession[Any]

    @property
    def latency_s(self) -> float:
        """From the onset to silence."""
        return self.silent_s - self.onset_s


@attrs.define
class _Rig:
    """An endpoint, and its far side: `say` begins to say samples at `VOICE_RATE`, `heard` returns stretches of sound
    with the time of their first sample and their rate."""

    endpoint: Endpoint
    say: Callable[[Samples], None]
    heard: Callable[[], list[tuple[float, Samples, int]]]
    onset_s: Callable[[], float] | None = None
    """Where the file that is written has the onset; None where it is when `say` is called."""


@asynccontextmanager
async def _console(delay_s: float, speech: Samples, *, echo_gate: bool = True) -> AsyncIterator[_Rig]:
    device = FakeAudioDevice(rate=48_000, output_delay_ms=20)

    def heard() -> list[tuple[float, Samples, int]]:
        now = trio.current_time()
        count = device.heard_until(now)
        return [(now - count / device.rate, device.played[:count], device.rate)]

    endpoint = ConsoleEndpoint(device=device, echo_gate=echo_gate)
    yield _Rig(endpoint, lambda said: device.say(resample(said, VOICE_RATE, 48_000)), heard)


@asynccontextmanager
async def _browser(delay_s: float, speech: Samples) -> AsyncIterator[_Rig]:
    client, server = memory_wire_pair()
    stretches: list[tuple[float, Samples, int]] = []
    async with open_fake_page(client) as page, trio.open_nursery() as nursery:

        async def listen() -> None:
            done = 0
            while True:
                await page.wait_heard(page.audio_format.duration_ms(done) + 0.01)
                new = page.heard()[done:]
                if not new:
                    return  # the page has gone
                done += len(new)
                samples = to_int16(new, page.audio_format)
                stretches.append((trio.current_time() - len(samples) / 48_000, samples, 48_000))

        def say(said: Samples) -> None:
            nursery.start_soon(page.say, from_int16(resample(said, VOICE_RATE, 48_000), page.audio_format))

        endpoint = await accept_browser_stream(server)
        nursery.start_soon(listen)
        yield _Rig(endpoint, say, lambda: stretches)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _twilio(delay_s: float, speech: Samples) -> AsyncIterator[_Rig]:
    client, server = memory_wire_pair()
    async with open_fake_twilio(client) as phone:
        endpoint = await accept_twilio_stream(server)
        ulaw = endpoint.output_format
        assert ulaw is not None

        def say(said: Samples) -> None:
            phone.say(from_int16(resample(said, VOICE_RATE, 8_000), ulaw))

        yield _Rig(endpoint, say, lambda: [(each.at_s, to_int16(each.audio, ulaw), 8_000) for each in phone.heard])


@asynccontextmanager
async def _wav(delay_s: float, speech: Samples) -> AsyncIterator[_Rig]:
    with tempfile.TemporaryDirectory() as folder:
        said, both = Path(folder, "said.wav"), Path(folder, "both.wav")
        with WavWriter(said, VOICE_RATE, channels=1) as writer:
            writer.write(np.concatenate([np.zeros(round(delay_s * VOICE_RATE), np.int16), speech])[:, None])
        began_s = trio.current_time()
        endpoint = WavEndpoint(said, both)

        def channel(number: int) -> tuple[float, Samples, int]:
            samples, rate = read_wav(both, channel=number)
            return began_s, samples, rate

        def onset_s() -> float:
            start_s, samples, rate = channel(0)
            return start_s + float(np.flatnonzero(np.abs(samples.astype(int)) > _LOUD)[0]) / rate

        yield _Rig(endpoint, lambda said: None, lambda: [channel(1)], onset_s)


ENDPOINTS: Final[dict[str, Callable[[float, Samples], AbstractAsyncContextManager[_Rig]]]] = {
    "console": _console,
    "console without echo gate": partial(_console, echo_gate=False),
    "browser": _browser,
    "Twilio": _twilio,
    "WAV file": _wav,
}


def run(load: Load) -> list[Result]:
    """Measure all endpoints."""
    measured = {name: [trial.latency_s * 1000 for trial in measure(name, load.silences)] for name in ENDPOINTS}
    return [
        Result(
            measure=f"onset to silence, {name}: p{percent}",
            unit="ms",
            figures={"library": percentile(figures, percent)},
            note=f"{len(figures)} interrupts in virtual time",
            rounds={"library": figures},
        )
        for name, figures in measured.items()
        for percent in (50, 99)
    ]


def measure(name: str, times: int, *, record: Path | None = None) -> list[Trial]:
    """Interrupt the agent so many times through this endpoint, at other moments each time."""
    rng = random.Random(name)
    return [
        trio.run(_trial, name, rng.uniform(1.5, 3.5), record, clock=MockClock(autojump_threshold=0))
        for _ in range(times)
    ]


async def _trial(name: str, delay_s: float, record: Path | None) -> Trial:
    speech = np.concatenate([chunk.samples for chunk in tones("Stop, please!", voice="caller", speed=1.0)])
    first = int(np.flatnonzero(np.abs(speech.astype(int)) > _LOUD)[0])
    speech = speech[first:]
    async with open_emulator(
        listen=False,
        seed=1,
        voice=_OneTone(),
        brain=ScriptedBrain(["A long answer."]),
        faults=Faults(latency_s=LATENCY_S),
    ) as emulator:
        config: Any = {"model_settings": {"turn_detection": {"type": "server_vad"}}, "record": record}
        runner = RealtimeRunner(RealtimeAgent(name="Otto"), model=emulator.memory_model(), config=config)
        async with runner.session() as session, ENDPOINTS[name](delay_s, speech) as rig:
            began_s = trio.current_time()
            async with session.attach(rig.endpoint):
                await session.send_message("Say something long.")
                await trio.sleep_until(began_s + delay_s)
                rig.say(speech)
                await trio.sleep(2.0)
                heard = rig.heard() if rig.onset_s is None else []
            if rig.onset_s is None:
                onset_s = began_s + delay_s
            else:  # the file is whole now
                heard, onset_s = rig.heard(), rig.onset_s()
            return Trial(onset_s, _silent_s(heard, onset_s), session)


def _silent_s(heard: list[tuple[float, Samples, int]], onset_s: float) -> float:
    """Return when the sound that was heard at the onset ended: its last loud sample before a pause."""
    loud = np.concatenate(
        [start_s + np.flatnonzero(np.abs(samples.astype(int)) > _LOUD) / rate for start_s, samples, rate in heard]
    )
    loud.sort()
    after = loud[np.searchsorted(loud, onset_s) - 1 :]
    breaks = np.flatnonzero(np.diff(after) > _PAUSE_S)
    return float(after[breaks[0]] if len(breaks) else after[-1])
