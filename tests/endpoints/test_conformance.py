"""Every endpoint that needs no hardware and no far side of its own passes the check that users' endpoints pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from trealtime.audio.formats import G711_ULAW, PCM16_24K
from trealtime.endpoints.wav import WavEndpoint
from trealtime.testing import MemoryEndpoint, check_endpoint


@pytest.mark.parametrize("audio_format", [PCM16_24K, G711_ULAW], ids=str)
async def test_the_memory_endpoint_conforms(autojump_clock, audio_format) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[MemoryEndpoint, MemoryEndpoint]]:
        endpoint = MemoryEndpoint(audio_format, audio_format)
        yield endpoint, endpoint

    await check_endpoint(make)


class Recorded:
    """Who listens to a WavEndpoint: what they heard is what passed the speaker."""

    def __init__(self, endpoint: WavEndpoint) -> None:
        self._heard = bytearray()
        hear = endpoint._hear

        def listen(audio: bytes, began_at: float | None, position_ms: float) -> None:
            self._heard += audio
            hear(audio, began_at, position_ms)

        endpoint._hear = endpoint._speaker._on_heard = listen

    def heard(self) -> bytes:
        return bytes(self._heard)


class NeverFlushes(MemoryEndpoint):
    def flush(self) -> None:
        pass


class BoastsOfWhatItWasGiven(MemoryEndpoint):
    async def play(self, audio: bytes, position_ms: float) -> None:
        await super().play(audio, position_ms)
        assert self._link is not None
        self._link.heard(position_ms)


class NeverReports(MemoryEndpoint):
    def _hear(self, audio: bytes, began_at: float, position_ms: float) -> None:
        self._heard += audio


class GoesBack(MemoryEndpoint):
    def _hear(self, audio: bytes, began_at: float, position_ms: float) -> None:
        super()._hear(audio, began_at, position_ms)
        assert self._link is not None
        self._link.heard(position_ms - 5)


class PlaysAtTheWrongSpeed(MemoryEndpoint):
    async def play(self, audio: bytes, position_ms: float) -> None:
        await super().play(audio[: len(audio) // 4 * 2], position_ms)


class DropsWhatWasCancelled(MemoryEndpoint):
    async def receive(self) -> bytes:
        data = await super().receive()
        await trio.lowlevel.checkpoint()
        return data


class TakesHalf(MemoryEndpoint):
    async def play(self, audio: bytes, position_ms: float) -> None:
        half = len(audio) // 4 * 2
        await super().play(audio[:half], position_ms - PCM16_24K.duration_ms(half))
        await super().play(audio[half:], position_ms)


class NeverTellsThatTheUserLeft(MemoryEndpoint):
    async def receive(self) -> bytes:
        try:
            return await super().receive()
        except trio.EndOfChannel:
            await trio.lowlevel.checkpoint()
            return b""


@pytest.mark.parametrize(
    "endpoint_class, complaint",
    [
        (NeverFlushes, "were heard"),
        (BoastsOfWhatItWasGiven, "positions never go back|reported .* had been heard"),
        (NeverReports, "reported 0.0 ms when"),
        (GoesBack, "positions never go back"),
        (PlaysAtTheWrongSpeed, "arrived"),
        (DropsWhatWasCancelled, "arrived"),
        (TakesHalf, "were heard"),
        (NeverTellsThatTheUserLeft, "does not raise trio.EndOfChannel"),
    ],
)
async def test_the_check_finds_what_breaks_the_contract(autojump_clock, endpoint_class, complaint) -> None:
    hears_only = endpoint_class.receive is MemoryEndpoint.receive
    formats = (None, PCM16_24K) if hears_only else (PCM16_24K, None)

    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[MemoryEndpoint, MemoryEndpoint]]:
        endpoint = endpoint_class(*formats)
        yield endpoint, endpoint

    with pytest.RaisesGroup(
        pytest.RaisesExc(AssertionError, match=complaint), allow_unwrapped=True, flatten_subgroups=True
    ):
        await check_endpoint(make)


@pytest.mark.parametrize("realtime", [True, False])
async def test_the_wav_endpoint_conforms(autojump_clock, tmp_path, realtime) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[WavEndpoint, Recorded]]:
        endpoint = WavEndpoint(output=tmp_path / "out.wav", realtime=realtime)
        yield endpoint, Recorded(endpoint)

    await check_endpoint(make, realtime=realtime)
