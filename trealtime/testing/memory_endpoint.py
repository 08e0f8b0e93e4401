"""A user in this process: an endpoint without a device."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from trealtime.audio.formats import PCM16_24K, AudioFormat
from trealtime.endpoints.endpoint import Endpoint, EndpointLink
from trealtime.endpoints.speaker import ClockSpeaker

__all__ = ["MemoryEndpoint"]


class MemoryEndpoint(Endpoint):
    """A user in this process, for tests of voice agents: `say` is what they say, `heard` what they have heard.

    They listen in real time by Trio's clock, which under the mock clock takes no time. `room_ms` of audio wait in
    front of them.
    """

    def __init__(
        self,
        input_format: AudioFormat | None = PCM16_24K,
        output_format: AudioFormat | None = PCM16_24K,
        *,
        room_ms: float = 200,
    ) -> None:
        self.input_format = input_format
        self.output_format = output_format
        self._link: EndpointLink | None = None
        self._heard = bytearray()
        self._failure: BaseException | None = None
        self._failed = trio.Event()
        self._say, self._said = trio.open_memory_channel[bytes](math.inf)
        self._speaker = ClockSpeaker(output_format or PCM16_24K, self._hear, room_ms=room_ms)

    # ---- the user ------------------------------------------------------------------------------------------------

    async def say(self, audio: bytes) -> None:
        """Say this, in the input format, all at once."""
        await self._say.send(audio)

    def heard(self) -> bytes:
        """All that was heard so far, in the output format, without the pauses in between."""
        return bytes(self._heard)

    async def leave(self) -> None:
        """Go away."""
        await self._say.aclose()

    def press(self, digit: str) -> None:
        """Press a key of the telephone."""
        assert self._link is not None, "not attached"
        self._link.dtmf(digit)

    def fail(self, error: BaseException) -> None:
        """Have a task of the endpoint raise this."""
        self._failure = error
        self._failed.set()

    # ---- the endpoint --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def open(self, link: EndpointLink) -> AsyncIterator[None]:
        """The user is there."""
        await trio.lowlevel.checkpoint()
        self._link = link
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._speaker.run)
            nursery.start_soon(self._break)
            yield
            nursery.cancel_scope.cancel()

    async def receive(self) -> bytes:
        """What the user says next."""
        return await self._said.receive()

    async def play(self, audio: bytes, position_ms: float) -> None:
        """The user hears this next."""
        await self._speaker.put(audio, position_ms)

    def flush(self) -> None:
        """The user hears nothing more of what was given."""
        self._speaker.flush()

    def _hear(self, audio: bytes, began_at: float, position_ms: float) -> None:
        self._heard += audio
        if self._link is not None:
            self._link.heard(position_ms)

    async def _break(self) -> None:
        await self._failed.wait()
        assert self._failure is not None
        raise self._failure
