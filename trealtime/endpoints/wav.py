"""WAV files as an endpoint: one is what the user says, another records both sides."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
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
"""How far back audio may still be placed: what is older goes to the file."""

GAP_MS: Final = 1.0
"""A pause shorter than this is none."""


class WavEndpoint(Endpoint):
    """A user who says what is in one WAV file, and hears what the agent says into another.

    `input` is the file to say, in any encoding that `read_wav` reads, at any rate (None: the user is silent). `output`
    is recorded, in stereo at `rate`: left the user, right what was really heard, cut at interrupts, with silence in
    between; None: nothing is recorded. The user listens in either case.

    `realtime` True: speech takes the time that it takes, by Trio's clock, and so does listening. False: the file is
    said as fast as it is taken, followed by 2 s of silence, and whatever the agent says is heard at once.

    `then` says what comes after the file: ``"silence"``, or the user leaves (``"leave"``), which ends the attachment.

    The file to say is read here and now: `OSError` and `AudioFormatError` when it cannot be. The one to record is made
    when the endpoint is attached, which raises `OSError`.
    """

    def __init__(
        self,
        input: str | os.PathLike[str] | None = None,
        output: str | os.PathLike[str] | None = None,
        *,
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
        self._output = output
        self._then = then
        self._speech = b"" if input is None else _read(input, self._format)
        self._said = 0
        self._began_at = 0.0
        self._link: EndpointLink | None = None
        self._recording: StereoRecording | None = None
        self._speaker = ClockSpeaker(self._format, self._hear)

    @asynccontextmanager
    async def open(self, link: EndpointLink) -> AsyncIterator[None]:
        """Begin to say the one file, and to record the other."""
        if self._link is not None:
            raise RuntimeError("this WavEndpoint was attached before: make another one")
        self._link = link
        await trio.lowlevel.checkpoint()
        with ExitStack() as files:
            if self._output is not None:
                self._recording = files.enter_context(StereoRecording(self._output, self._format.rate))
            self._began_at = trio.current_time()
            async with background_nursery() as nursery:
                nursery.start_soon(self._speaker.run)
                yield
            self._recording = None

    async def receive(self) -> bytes:
        """The next piece of the file, when it has been said."""
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
        """The user hears this, at the speed of speech or at once."""
        if self.live:
            await self._speaker.put(audio, position_ms)
        else:
            await trio.lowlevel.checkpoint()
            self._hear(audio, None, position_ms)

    def flush(self) -> None:
        """The user hears nothing more of what was given."""
        self._speaker.flush()

    def _hear(self, audio: bytes, began_at: float | None, position_ms: float) -> None:
        if self._recording is not None:
            # Without a clock the agent speaks when the user has spoken.
            at_s = began_at - self._began_at if began_at is not None else self._recording.said_s
            self._recording.add_heard(at_s, audio)
        if self._link is not None:
            self._link.heard(position_ms)


def _read(path: str | os.PathLike[str], audio_format: AudioFormat) -> bytes:
    samples, rate = read_wav(path)
    return from_int16(
        samples if rate == audio_format.rate else resample(samples, rate, audio_format.rate), audio_format
    )


class StereoRecording:
    """Writes a 16-bit stereo WAV file of `rate` samples per second; a context manager, or `close` it.

    Times are seconds from the beginning of the recording. What leaves a gap is preceded by silence, what would overlap
    follows at once. What was heard fades in and out where there is silence before or after it, within its own 5 ms:
    an interrupt cuts in the middle of a wave, and would be heard as a click. Until it is closed, the last two seconds
    are not in the file; the rest can be read even if the process dies.
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
        """The user has said this PCM16, beginning at `at_s`."""
        self._place(self._said, self._gap(self._said, at_s), audio)

    def add_heard(self, at_s: float, audio: bytes) -> None:
        """The user has heard this PCM16, beginning at `at_s`."""
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
        """Bytes of silence before what begins at `at_s`."""
        gap = round(at_s * self._rate) * 2 - self._written - len(channel)
        return gap if gap >= self._rate * 2 * GAP_MS / 1000 else 0

    def _fall(self) -> None:
        """Let what was heard last fade out."""
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
        if len(self._heard) < n_bytes + 2 * len(self._rise):  # nothing will follow it any more
            self._fall()
        for channel in (self._said, self._heard):
            channel += bytes(max(0, n_bytes - len(channel)))
        if n_bytes:
            pair = [np.frombuffer(bytes(channel[:n_bytes]), dtype="<i2") for channel in (self._said, self._heard)]
            self._writer.write(np.stack(pair, axis=1))
            del self._said[:n_bytes], self._heard[:n_bytes]
            self._written += n_bytes
