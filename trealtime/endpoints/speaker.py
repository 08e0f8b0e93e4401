"""Speakers: one for a sound device, which starts and stops without clicks, and one that only takes the time.

Theory of operation of `Speaker`
1. Two threads share it: Trio's thread adds audio and flushes, the device's thread fills its blocks. Each variable is
   written by one of them only, and pieces pass through a deque, so neither ever waits for the other.
2. A flush begins another generation. The next block fades out the current audio over `FADE_MS`, and drops every piece
   of an older generation.
3. Audio that ends in the middle of a wave, because no more has come, is led to zero from its last sample; audio after
   silence is faded in. Both take `FADE_MS`. So the output has no steps that were not in the audio.
4. Time is counted in frames given to the device, silence included. A frame is heard when the device's delay has passed
   since, so the heard position is exact to a sample at every block.

Theory of operation of `ClockSpeaker`
1. Audio queues with the stream positions where it ends. The first frame begins when it comes, each further one when the
   last has ended: the schedule follows from durations, not from when the task woke up, so it does not drift.
2. A frame counts as heard when its time is over. A flush ends the current one where it stands, to the sample.
3. Under the mock clock it takes no time at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import attrs
import numpy as np
import trio
from numpy.typing import NDArray

from trealtime.audio.formats import AudioFormat

__all__ = ["FADE_MS", "ClockSpeaker", "Speaker"]

FADE_MS = 5.0

FRAME_MS: Final = 20

_MOST_STRETCHES = 4_096
"""Stretches on their way to the ear: half a minute of blocks, far more than any device delays."""


@attrs.frozen(eq=False)
class _Piece:
    samples: NDArray[np.int16]
    end_ms: float
    generation: int


@attrs.frozen
class _Stretch:
    """Audio given to the device: its last frame is the one before `end_frame`, and ends at `end_ms` of the stream."""

    end_frame: int
    n_frames: int
    end_ms: float


class Speaker:
    """The queue of one device of `rate` frames per second; mono int16."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._fade = max(1, round(rate * FADE_MS / 1000))
        self._fall = 0.5 + 0.5 * np.cos(np.pi * np.arange(1, self._fade + 1) / self._fade)
        self._rise = self._fall[::-1].copy()
        self._pieces: deque[_Piece] = deque()
        self._stretches: deque[_Stretch] = deque(maxlen=_MOST_STRETCHES)
        # Written in Trio's thread:
        self._generation = 0
        self._put_frames = 0
        self._flushed_frames = 0
        # Written in the device's thread:
        self._frame = 0
        self._taken_frames = 0
        self._playing_generation = 0
        self._offset = 0  # into the first piece
        self._tail = np.zeros(0, np.int16)
        self._risen = 0
        self._last = 0

    # ---- Trio's thread -------------------------------------------------------------------------------------------

    def put(self, samples: NDArray[np.int16], end_ms: float) -> None:
        """Queue `samples`, which end at `end_ms` of the stream."""
        self._put_frames += len(samples)
        if len(samples):
            self._pieces.append(_Piece(samples, end_ms, self._generation))

    def flush(self) -> None:
        """Discard the queue: audio that the device has not taken yet will not be heard, apart from the fade."""
        self._generation += 1
        self._flushed_frames = self._put_frames

    @property
    def queued_ms(self) -> float:
        """Audio that the device has not taken yet."""
        return (self._put_frames - max(self._taken_frames, self._flushed_frames)) * 1000 / self._rate

    def heard_ms(self, frame: float) -> float | None:
        """Return how far the stream has been heard when the device's frame number `frame` comes out; None if no
        further than the last time."""
        position_ms = None
        while self._stretches and self._stretches[0].end_frame - self._stretches[0].n_frames < frame:
            stretch = self._stretches[0]
            if stretch.end_frame > frame:
                return stretch.end_ms - (stretch.end_frame - frame) * 1000 / self._rate
            position_ms = stretch.end_ms
            self._stretches.popleft()
        return position_ms

    @property
    def taken_ms(self) -> float:
        """How far into the stream the device has taken audio that is not all heard yet; 0 where it has none."""
        try:
            return self._stretches[-1].end_ms
        except IndexError:
            return 0.0

    # ---- the device's thread -------------------------------------------------------------------------------------

    def fill(self, out: NDArray[np.int16]) -> int:
        """Fill the device's next block, int16 of shape (n,). Return the number of its first frame. Never waits."""
        first_frame = self._frame
        generation = self._generation
        if generation != self._playing_generation:
            self._fade_out()
            self._forget_before(generation)
        done = self._take_tail(out)
        while done < len(out) and self._pieces and self._pieces[0].generation == generation:
            done += self._take_audio(out[done:], first_frame + done)
        if done < len(out):
            self._fade_out()
            done += self._take_tail(out[done:])
        if done < len(out):
            out[done:] = 0
            self._risen = 0
        self._last = int(out[-1])
        self._frame = first_frame + len(out)
        return first_frame

    def _take_audio(self, out: NDArray[np.int16], frame: int) -> int:
        piece = self._pieces[0]
        n = self._copy(out)
        left = (len(piece.samples) - self._offset) if self._offset else 0
        self._stretches.append(_Stretch(frame + n, n, piece.end_ms - left * 1000 / self._rate))
        rising = min(n, self._fade - self._risen)
        if rising:
            gain = self._rise[self._risen : self._risen + rising]
            out[:rising] = np.rint(out[:rising] * gain)
            self._risen += rising
        self._last = int(out[n - 1])
        return n

    def _copy(self, out: NDArray[np.int16]) -> int:
        """Copy as much as fits of the first piece."""
        samples = self._pieces[0].samples
        n = min(len(out), len(samples) - self._offset)
        out[:n] = samples[self._offset : self._offset + n]
        self._offset += n
        self._taken_frames += n
        if self._offset == len(samples):
            self._pieces.popleft()
            self._offset = 0
        return n

    def _take_tail(self, out: NDArray[np.int16]) -> int:
        n = min(len(out), len(self._tail))
        out[:n] = self._tail[:n]
        self._tail = self._tail[n:]
        if n and not len(self._tail):
            self._last = self._risen = 0
        return n

    def _fade_out(self) -> None:
        """Make the tail that leads from the last sample to silence, of audio of the current generation as far as there
        is any."""
        if len(self._tail) or not (self._last or self._risen):
            return
        audio = np.full(self._fade, self._last, np.int16)
        done = 0
        while done < self._fade and self._pieces and self._pieces[0].generation == self._playing_generation:
            done += self._copy(audio[done:])
            audio[done:] = audio[done - 1]
        # The last sample has been faded in already as far as the audio has; more audio has not.
        loudness = self._rise[self._risen - 1] if self._risen and done else 1.0
        self._tail = np.rint(audio * self._fall * loudness).astype(np.int16)

    def _forget_before(self, generation: int) -> None:
        while self._pieces and self._pieces[0].generation != generation:
            self._taken_frames += len(self._pieces.popleft().samples) - self._offset
            self._offset = 0
        self._playing_generation = generation


class ClockSpeaker:
    """Play `audio_format` in real time, by Trio's clock; `run` is its task.

    `on_heard(audio, began_at, position_ms)` is called for each frame, or the heard part of one, when it is over, with
    the time when it began and the stream position where it ends. `put` waits while more than `room_ms` are queued.
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
        """Play `audio` next. Wait while more than `room_ms` are queued. If cancelled, it was not taken."""
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
            while not self._queue:  # a flush may have come between the news and this task
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
        """Take at most `FRAME_MS` from the head of the queue."""
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
