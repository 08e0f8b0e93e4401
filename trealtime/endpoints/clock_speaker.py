"""A speaker made of nothing but time: what it is given is heard in real time, by Trio's clock.

Theory of operation
1. Audio queues with the stream positions where it ends. The first frame begins when it comes, each further one when the
   last has ended: the schedule follows from durations, not from when the task woke up, so nothing drifts.
2. A frame counts as heard when its time is over. A flush ends the one that is playing where it stands, to the sample.
3. Under the mock clock that takes no time at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from trealtime.audio.formats import AudioFormat

__all__ = ["ClockSpeaker"]

FRAME_MS: Final = 20


class ClockSpeaker:
    """Plays `audio_format`; `run` is its task.

    `on_heard(audio, began_at, position_ms)` is called for each frame, or the part of one that was heard, when it is
    over: the time when it began, and the stream position where it ends. `room_ms` is how much may wait before `put`
    does.
    """

    def __init__(
        self, audio_format: AudioFormat, on_heard: Callable[[bytes, float, float], None], *, room_ms: float = 200
    ) -> None:
        self._format = audio_format
        self._on_heard = on_heard
        self._room_ms = room_ms
        self._queue: deque[tuple[bytes, float]] = deque()
        self._queued = 0
        self._frame: tuple[bytes, float, float] | None = None
        self._waiting = trio.lowlevel.ParkingLot()
        self._news = trio.Event()
        self._playing = trio.CancelScope()

    async def put(self, audio: bytes, position_ms: float) -> None:
        """Play this next. Waits while more than `room_ms` are queued. If cancelled, it was not taken."""
        await trio.lowlevel.checkpoint()
        while self._format.duration_ms(self._queued) > self._room_ms:
            await self._waiting.park()
        self._queue.append((audio, position_ms))
        self._queued += len(audio)
        self._news.set()

    def flush(self) -> None:
        """Fall silent now."""
        self._queue.clear()
        self._queued = 0
        self._waiting.unpark_all()
        if self._frame is not None:
            audio, began_at, position_ms = self._frame
            heard = audio[: self._format.bytes_for_ms((trio.current_time() - began_at) * 1000)]
            self._end_frame(heard, began_at, position_ms - self._format.duration_ms(len(audio) - len(heard)))
            self._playing.cancel()

    async def run(self) -> None:
        """Play until cancelled."""
        ends_at = trio.current_time()
        while True:
            while not self._queue:  # also when a flush came between the news and this task
                self._news = trio.Event()
                await self._news.wait()
                ends_at = trio.current_time()
            audio, position_ms = self._next_frame()
            began_at, ends_at = ends_at, ends_at + self._format.duration_ms(len(audio)) / 1000
            self._frame = (audio, began_at, position_ms)
            with trio.CancelScope() as self._playing:
                await trio.sleep_until(ends_at)
            if self._frame is None:
                ends_at = trio.current_time()
            else:
                self._end_frame(audio, began_at, position_ms)

    def _next_frame(self) -> tuple[bytes, float]:
        """At most `FRAME_MS` from the head of the queue."""
        audio, position_ms = self._queue.popleft()
        frame, rest = audio[: (n := self._format.bytes_for_ms(FRAME_MS))], audio[n:]
        if rest:
            self._queue.appendleft((rest, position_ms))
        self._queued -= len(frame)
        self._waiting.unpark_all()
        return frame, position_ms - self._format.duration_ms(len(rest))

    def _end_frame(self, heard: bytes, began_at: float, position_ms: float) -> None:
        self._frame = None
        if heard:
            self._on_heard(heard, began_at, position_ms)
