"""Every endpoint that needs no hardware and no far side of its own passes the check that users' endpoints pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

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


@pytest.mark.parametrize("realtime", [True, False])
async def test_the_wav_endpoint_conforms(autojump_clock, tmp_path, realtime) -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[WavEndpoint, Recorded]]:
        endpoint = WavEndpoint(output=tmp_path / "out.wav", realtime=realtime)
        yield endpoint, Recorded(endpoint)

    await check_endpoint(make, realtime=realtime)
