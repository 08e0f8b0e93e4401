"""The user's audio, from an endpoint to the send queue: receive, convert, coalesce, queue for the writer.

Theory of operation
1. A live source cannot wait: audio that finds the send queue full is dropped and counted. Other sources wait for room.
2. The server hears the end of a turn in the silence after it, so a path that stops in mid-word (a phone on hold, a
   carrier that suppresses silence, a microphone that was unplugged) would leave the turn open. When nothing has come
   from a live source for `STALL_S` and the server hears the user speak, silence is sent in real time, for at most
   `SILENCE_S`. A shorter stall ends no turn.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Final

import trio

from trealtime._session.driver import Driver
from trealtime.audio.formats import AudioFormat
from trealtime.endpoints.conversion import StreamConverter, silence
from trealtime.endpoints.endpoint import Endpoint
from trealtime.endpoints.pacing import Coalescer

__all__ = ["EndpointInput"]

STALL_S: Final = 1.0
"""How long nothing comes before the path counts as stalled."""

SILENCE_S: Final = 5.0
"""The length of the silence sent after a stall: longer than any pause that ends a turn of the service."""

_TICK_S: Final = 0.1
"""The length of one piece of silence."""


class EndpointInput:
    """The pump of an endpoint that speaks, in `audio_format`."""

    def __init__(self, driver: Driver, endpoint: Endpoint, audio_format: AudioFormat, *, coalesce_s: float) -> None:
        self.audio_format = audio_format
        self.muted = False
        self.bytes_received = 0
        self.dropped_s = 0.0
        self.silence_s = 0.0
        self._driver = driver
        self._endpoint = endpoint
        self._coalescer = Coalescer(coalesce_s)
        self._converter = StreamConverter(audio_format, driver.core.input_format)
        self._silent_until = -math.inf
        """How far time is filled with audio or silence."""

        self._give_up_at = -math.inf
        """When to stop filling it."""

    async def run(self) -> None:
        """Pump until the far side has left, and send the rest."""
        try:
            while True:
                await self._send(await self._next())
        except trio.EndOfChannel:
            await self._send(self._coalescer.release(trio.current_time()))
            await self._queue(self._converter.finish())

    async def _next(self) -> bytes:
        """Return what is to be sent after one more piece, or when the held pieces or a stall are due; maybe nothing."""
        with trio.move_on_at(min(self._coalescer.due_at, self._stall_at)):
            data = await self._endpoint.receive()
            self.bytes_received += len(data)
            if self.muted:
                data = silence(len(data), self.audio_format)
            now = trio.current_time()
            if self._endpoint.live:
                self._silent_until, self._give_up_at = now + STALL_S, now + STALL_S + SILENCE_S
            return self._coalescer.add(data, now)
        now = trio.current_time()
        return self._coalescer.release(now) + self._silence(now)

    @property
    def _stall_at(self) -> float:
        return self._silent_until if self._silent_until < self._give_up_at - _TICK_S / 2 else math.inf

    def _silence(self, now: float) -> bytes:
        """Return the silence that is due, if the server waits for the end of the user's speech."""
        if now < self._stall_at:
            return b""
        self._silent_until += _TICK_S
        if not self._driver.core.hears_speech:
            return b""
        self.silence_s += _TICK_S
        return silence(self.audio_format.bytes_for_ms(_TICK_S * 1000), self.audio_format)

    async def _send(self, audio: bytes) -> None:
        target = self._driver.core.input_format
        if self._converter.target != target:  # the server has acknowledged another one
            self._converter = StreamConverter(self.audio_format, target)
        await self._queue(self._converter.convert(audio))

    async def _queue(self, audio: bytes) -> None:
        if not audio:
            return
        send_queue = self._driver.send_queue
        if not self._endpoint.live:
            with suppress(trio.ClosedResourceError, trio.BrokenResourceError):  # the session is ending
                await send_queue.wait_for_room(audio=True)
        if send_queue.has_room(audio=True):
            self._driver.send_audio(audio)
        else:
            send_queue.refuse_audio()
            self.dropped_s += send_queue.audio_format.duration_ms(len(audio)) / 1000
