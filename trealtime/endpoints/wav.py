"""WAV files as an endpoint: one holds what the user says, another records both sides."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import numpy as np
import trio

from trealtime.audio.formats import AudioFormat, pcm16
from trealtime.audio.pcm import from_int16
from trealtime.audio.resample import resample
from trealtime.audio.wav import WavWriter, read_wav
from trealtime.endpoints.conversion import silence
from trealtime.endpoints.endpoint import Endpoint, EndpointLink
from trealtime.endpoints.speaker import FADE_MS, ClockSpeaker
from trealtime.transport.background import background_nursery

__all__ = ["StereoRecording", "WavEndpoint"]

FRAME_MS: Final = 20
FAST_FRAME_MS: Final = 100

FAST_SILENCE_S: Final = 2.0
"""Silence after a file that is not said in real time: enough for any voice detection to notice its end."""

KEPT_S: Final = 2.0
"""How far back audio may still be placed in a recording. Older audio goes to the file."""

GAP_MS: Final = 1.0
"""A shorter pause is none."""


class WavEndpoint(Endpoint):
    """A user who says what is in one WAV file and hears the agent into another.

    `input` is the file to say, in any encoding and at any rate that `read_wav` reads; `channel` chooses one of its
    channels by number, 0 for the left one, and the mean of all is said without it. With None the user is silent.

    `output` is the file to record, in stereo at `rate` samples per second: left the user, right the audio that was
    really heard, cut at interrupts, with silence in between. With None nothing is recorded; the user listens all the
    same. An existing file is overwritten, unless it is the input.

    With `realtime` True, speaking and listening take the time that they take, by Trio's clock. With False, the file is
    said as fast as the session takes it, followed by 2 s of silence, and the agent is heard at once.

    `then` says what follows the file: ``"silence"``, or ``"leave"``: the user leaves, which ends the attachment.

    Reads `input` at once and blocks meanwhile; raises `OSError`, and `AudioFormatError` for a file that `read_wav` does
    not read. Raises `ValueError` when `output` is the same file as `input`, under any name. `output` is created when
    the endpoint is attached, which raises `OSError` when it cannot be.
    """

    def __init__(
        self,
        input: str | os.PathLike[str] | None = None,
        output: str | os.PathLike[str] | None = None,
        *,
        channel: int | None = None,
        realtime: bool = True,
        then: Literal["silence", "leave"] = "silence",
        rate: int = 24_000,
    ) -> None:
        if then not in ("silence", "leave"):
            raise ValueError(f"then must be 'silence' or 'leave', got {then!r}")
        self._format = pcm16(rate)
        self.input_format: AudioFormat | None = self._format if input is not None else None
        self.output_format: AudioFormat | None = self._format
        self.live = realtime
        self._input = input
        self._output = output
        self._then = then
        self._check_output()
        self._speech = b"" if input is None else _read(input, self._format, channel)
        self._said = 0
        self._began_at = 0.0
        self._link: EndpointLink | None = None
        self._recording: StereoRecording | None = None
        self._speaker = ClockSpeaker(self._format, self._hear)

    @property
    def speech_s(self) -> float:
        """How long the file to say lasts, in seconds."""
        return self._format.duration_ms(len(self._speech)) / 1000

    @asynccontextmanager
    async def open(self, link: EndpointLink) -> AsyncIterator[None]:
        """Begin to say the one file, and to record the other."""
        if self._link is not None:
            raise RuntimeError("this WavEndpoint was attached before: make another one")
        self._link = link
        await trio.lowlevel.checkpoint()
        with ExitStack() as files:
            if self._output is not None:
                self._check_output()  # a link may have been made since
                self._recording = files.enter_context(StereoRecording(self._output, self._format.rate))
            self._began_at = trio.current_time()
            async with background_nursery() as nursery:
                nursery.start_soon(self._speaker.run)
                yield
            self._recording = None

    async def receive(self) -> bytes:
        """Wait until the next piece of the file has been said, and return it."""
        begin, realtime = self._said, self.live
        piece = self._speech[begin : begin + self._format.bytes_for_ms(FRAME_MS if realtime else FAST_FRAME_MS)]
        if not piece:
            if self._then == "leave":
                await trio.lowlevel.checkpoint()
                raise trio.EndOfChannel
            if not realtime and begin >= len(self._speech) + self._format.bytes_for_ms(FAST_SILENCE_S * 1000):
                await trio.sleep_forever()
            piece = silence(self._format.bytes_for_ms(FRAME_MS if realtime else FAST_FRAME_MS), self._format)
        if realtime:
            await trio.sleep_until(self._began_at + self._format.duration_ms(begin + len(piece)) / 1000)
        else:
            await trio.lowlevel.checkpoint()
        self._said = begin + len(piece)
        if self._recording is not None:
            self._recording.add_said(self._format.duration_ms(begin) / 1000, piece)
        return piece

    async def play(self, audio: bytes, position_ms: float) -> None:
        """Let the user hear `audio`, at the speed of speech or at once."""
        if self.live:
            await self._speaker.put(audio, position_ms)
        else:
            await trio.lowlevel.checkpoint()
            self._hear(audio, None, position_ms)

    def flush(self) -> None:
        """Discard the audio that the user has not heard yet."""
        self._speaker.flush()

    def _check_output(self) -> None:
        if self._input is None or self._output is None:
            return
        try:
            same = Path(self._input).samefile(self._output)
        except OSError:  # one of them is not there, which opening it will say
            return
        if same:
            raise ValueError(f"output: the recording would overwrite the input, {os.fspath(self._input)!r}")

    def _hear(self, audio: bytes, began_at: float | None, position_ms: float) -> None:
        if self._recording is not None:
            # Without a clock the agent speaks when the user has spoken.
            at_s = began_at - self._began_at if began_at is not None else self._recording.said_s
            self._recording.add_heard(at_s, audio)
        if self._link is not None:
            self._link.heard(position_ms)


def _read(path: str | os.PathLike[str], audio_format: AudioFormat, channel: int | None) -> bytes:
    samples, rate = read_wav(path, channel=channel)
    return from_int16(resample(samples, rate, audio_format.rate), audio_format)


class StereoRecording:
    """Write a 16-bit stereo WAV file of `rate` samples per second, left what the user said, right what the user heard,
    on one time line; use it as a context manager, or `close` it.

    Times are seconds from the beginning of the recording. Silence fills a gap before a piece, and a piece that would
    overlap the last one follows it at once. The agent's audio fades in and out where there is silence before or after
    it, within its own 5 ms: an interrupt cuts in the middle of a wave, which would be heard as a click. Until it is
    closed, the last two seconds are not in the file; the rest can be read even if the process dies.
    """

    def __init__(self, path: str | os.PathLike[str], rate: int) -> None:
        self._rate = rate
        self._writer = WavWriter(path, rate, channels=2)
        self._written = 0
        self._said = bytearray()
        self._heard = bytearray()
        fade = round(rate * FADE_MS / 1000)
        self._rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(1, fade + 1) / fade)
        self._risen = 0

    @property
    def said_s(self) -> float:
        """Where the left channel ends."""
        return self._end_s(self._said)

    @property
    def heard_s(self) -> float:
        """Where the right channel ends."""
        return self._end_s(self._heard)

    def add_said(self, at_s: float, audio: bytes) -> None:
        """Add PCM16 that the user said, beginning at `at_s`."""
        self._place(self._said, self._gap(self._said, at_s), audio)

    def add_heard(self, at_s: float, audio: bytes) -> None:
        """Add PCM16 that the user heard, beginning at `at_s`."""
        gap = self._gap(self._heard, at_s)
        if gap:
            self._fall()
            self._risen = 0
        samples = np.frombuffer(audio, "<i2")
        gain = self._rise[self._risen : self._risen + len(samples)]
        self._risen += len(gain)
        rising = np.rint(samples[: len(gain)] * gain).astype("<i2").tobytes()
        self._place(self._heard, gap, rising + audio[len(rising) :])

    def close(self) -> None:
        """Write the rest and close the file. Closing twice does nothing."""
        self._write(max(len(self._said), len(self._heard)))
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _end_s(self, channel: bytearray) -> float:
        return (self._written + len(channel)) / 2 / self._rate

    def _gap(self, channel: bytearray, at_s: float) -> int:
        """Return how many bytes of silence go before a piece that begins at `at_s`."""
        gap = round(at_s * self._rate) * 2 - self._written - len(channel)
        return gap if gap >= self._rate * 2 * GAP_MS / 1000 else 0

    def _fall(self) -> None:
        """Let the end of what was heard fade out."""
        n = min(len(self._rise), self._risen, len(self._heard) // 2)
        if n:
            samples = np.frombuffer(bytes(self._heard[-2 * n :]), "<i2")
            self._heard[-2 * n :] = np.rint(samples * self._rise[:n][::-1]).astype("<i2").tobytes()
            self._risen = 0

    def _place(self, channel: bytearray, gap: int, audio: bytes) -> None:
        channel += bytes(gap)
        channel += audio
        kept = int(KEPT_S * self._rate) * 2
        final = max(len(self._said), len(self._heard)) - kept
        if final >= kept:  # not at every piece
            self._write(final)

    def _write(self, n_bytes: int) -> None:
        if len(self._heard) < n_bytes + 2 * len(self._rise):  # no audio will join its end any more
            self._fall()
        for channel in (self._said, self._heard):
            channel += bytes(max(0, n_bytes - len(channel)))
        if n_bytes:
            pair = [np.frombuffer(bytes(channel[:n_bytes]), dtype="<i2") for channel in (self._said, self._heard)]
            self._writer.write(np.stack(pair, axis=1))
            del self._said[:n_bytes], self._heard[:n_bytes]
            self._written += n_bytes
