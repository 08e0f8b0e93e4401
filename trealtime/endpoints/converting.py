"""Streaming conversion between two audio formats: rate, coding, and bytes that do not come in whole samples.

Theory of operation
1. Where both formats are the same, bytes pass through: nothing is decoded, nothing resampled.
2. Else: decode to int16, resample if the rates differ, encode. The resampler runs on from chunk to chunk, so how the
   stream is cut changes no sample and makes no click.
3. Half a sample at the end of a chunk waits for its other half.
4. A converter is for one stream. `finish` gives what the resampler still holds (up to 4 ms); a stream that was cut off
   is simply dropped with its converter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trealtime.audio.formats import AudioFormat
from trealtime.audio.pcm import from_int16, to_int16

if TYPE_CHECKING:
    from trealtime.audio.resample import Resampler

__all__ = ["StreamConverter", "silence"]


class StreamConverter:
    """Converts one stream from `source` to `target`; chunks of any length, also within a sample.

    Raises `AudioFormatError` for a pair of rates that `Resampler` cannot do.
    """

    def __init__(self, source: AudioFormat, target: AudioFormat) -> None:
        self.source = source
        self.target = target
        self._half = b""
        self._resampler: Resampler | None = None
        if source.rate != target.rate:
            from trealtime.audio.resample import Resampler

            self._resampler = Resampler(source.rate, target.rate)

    def convert(self, data: bytes) -> bytes:
        """The next chunk; what it completes of the output, in whole samples, maybe nothing."""
        size = self.source.bytes_per_sample
        if size > 1:
            data = self._half + data
            whole = len(data) - len(data) % size
            data, self._half = data[:whole], data[whole:]
        if self.source == self.target or not data:
            return data
        samples = to_int16(data, self.source)
        return from_int16(samples if self._resampler is None else self._resampler.process(samples), self.target)

    def finish(self) -> bytes:
        """The rest of the output. Half a sample that is left over is dropped."""
        return b"" if self._resampler is None else from_int16(self._resampler.flush(), self.target)


def silence(n_bytes: int, audio_format: AudioFormat) -> bytes:
    """So many bytes that sound of nothing."""
    return _ZERO[audio_format.name] * n_bytes


_ZERO = {"pcm16": b"\x00", "g711_ulaw": b"\xff", "g711_alaw": b"\xd5"}
