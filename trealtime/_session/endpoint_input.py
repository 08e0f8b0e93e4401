"""What the user says, from an endpoint to the send_queue: receive, convert, coalesce, queue for the writer.

A live source cannot wait: audio that finds the send_queue full is dropped and counted. Other sources wait for room.
"""

from __future__ import annotations

from contextlib import suppress

import trio

from trealtime._session.driver import Driver
from trealtime._session.send_queue import MicrophoneAudio
from trealtime.audio.formats import AudioFormat
from trealtime.endpoints.conversion import StreamConverter, silence
from trealtime.endpoints.endpoint import Endpoint
from trealtime.endpoints.pacing import Coalescer

__all__ = ["EndpointInput"]


class EndpointInput:
    """The pump of an endpoint that speaks, in `audio_format`."""

    def __init__(self, driver: Driver, endpoint: Endpoint, audio_format: AudioFormat, *, coalesce_s: float) -> None:
        self.audio_format = audio_format
        self.muted = False
        self.bytes_received = 0
        self.dropped_s = 0.0
        self._driver = driver
        self._endpoint = endpoint
        self._coalescer = Coalescer(coalesce_s)
        self._converter = StreamConverter(audio_format, driver.core.input_format)

    async def run(self) -> None:
        """Pump until the far side has left, and send the rest."""
        try:
            while True:
                await self._send(await self._next())
        except trio.EndOfChannel:
            await self._send(self._coalescer.release(trio.current_time()))
            await self._queue(self._converter.finish())

    async def _next(self) -> bytes:
        """What is to be sent after one more piece, or when what is held has waited long enough; maybe nothing."""
        with trio.move_on_at(self._coalescer.due_at):
            data = await self._endpoint.receive()
            self.bytes_received += len(data)
            if self.muted:
                data = silence(len(data), self.audio_format)
            return self._coalescer.add(data, trio.current_time())
        return self._coalescer.release(trio.current_time())

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
            send_queue.put(MicrophoneAudio(audio))
        else:
            send_queue.refuse_audio()
            self.dropped_s += send_queue.audio_format.duration_ms(len(audio)) / 1000
