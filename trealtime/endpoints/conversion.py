"""Audio on its way between a session and an endpoint: other formats, other loudness, pieces that know their place.

Theory of operation
1. Where both formats are the same, bytes pass through: nothing is decoded, nothing is resampled.
2. Otherwise: decode to int16, resample if the rates differ, encode. The resampler keeps its state from chunk to chunk,
   so the way a stream is cut changes no sample and makes no click.
3. Half a sample at the end of a chunk waits for its other half.
4. A converter serves one stream. `finish` returns what the resampler still holds (up to 4 ms). Drop the converter of a
   stream that was cut off.
5. A change of loudness takes one piece, so that it makes no click.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from trealtime._value import Shown
from trealtime.audio.formats import AudioFormat
from trealtime.audio.pcm import from_int16, to_int16
from trealtime.endpoints.playback_map import Piece
from trealtime.events import AudioChunk

if TYPE_CHECKING:
    from trealtime.audio.resample import Resampler

__all__ = ["Gain", "PartStream", "StreamConverter", "silence"]


class StreamConverter:
    """Convert one stream from `source` to `target`, in chunks of any length; a chunk may end within a sample.

    Raises `AudioFormatError` for a pair of rates that `Resampler` cannot convert.
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
        """Take the next chunk. Return the output that it completes, in whole samples, which may be empty."""
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
        """Return the rest of the output. Half a sample that is left over is dropped."""
        return b"" if self._resampler is None else from_int16(self._resampler.flush(), self.target)


def silence(n_bytes: int, audio_format: AudioFormat) -> bytes:
    """Return `n_bytes` of silence in `audio_format`."""
    return _ZERO[audio_format.name] * n_bytes


_ZERO = {"pcm16": b"\x00", "g711_ulaw": b"\xff", "g711_alaw": b"\xd5"}


@attrs.define(eq=False, repr=False)
class Gain(Shown):
    """Multiply the pieces of one stream. Set `factor` at any time: the next piece leads over to it."""

    factor: float = 1.0
    _reached: float = attrs.field(default=1.0, init=False)

    def apply(self, audio: bytes, audio_format: AudioFormat) -> bytes:
        """Return the next piece, in whole samples, at the gain that holds now."""
        if self.factor == self._reached == 1.0:
            return audio
        import numpy as np

        samples = to_int16(audio, audio_format)
        factors = np.linspace(self._reached, self.factor, len(samples), dtype=np.float32)
        self._reached = self.factor
        return from_int16(np.clip(np.rint(samples * factors), -32768, 32767).astype(np.int16), audio_format)


@attrs.define(eq=False, repr=False)
class PartStream(Shown):
    """Convert the content part that begins with the chunk `first` from `source` to `target`, and cut it into pieces
    that know where in the part they lie."""

    first: AudioChunk
    source: AudioFormat
    target: AudioFormat
    _converter: StreamConverter = attrs.field(init=False)
    _half: int = attrs.field(init=False)
    """Bytes still to be left out: the part was joined in the middle of a sample, whose first half is missing."""

    _begin_ms: float = attrs.field(init=False)
    _taken: int = attrs.field(default=0, init=False)
    _made: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._converter = StreamConverter(self.source, self.target)
        size, rate = self.source.bytes_per_sample, self.source.rate
        self._half = -round(self.first.start_ms * size * rate / 1000) % size
        self._begin_ms = self.first.start_ms + self.source.duration_ms(self._half)

    def goes_on_with(self, chunk: AudioChunk, source: AudioFormat) -> bool:
        """Return whether `chunk` is the next one of this part, with nothing left out."""
        first, next_ms = self.first, self.first.start_ms + self.source.duration_ms(self._taken)
        same = (first.item_id, first.content_index, self.source) == (chunk.item_id, chunk.content_index, source)
        return same and abs(next_ms - chunk.start_ms) < 1e-3

    def convert(self, data: bytes) -> Iterator[Piece]:
        """Take the next chunk. Return the pieces that it completes."""
        self._taken += len(data)
        data, self._half = data[self._half :], max(0, self._half - len(data))
        return self._pieces(self._converter.convert(data))

    def finish(self) -> Iterator[Piece]:
        """Return the rest: the part is over."""
        return self._pieces(self._converter.finish())

    def _pieces(self, audio: bytes) -> Iterator[Piece]:
        first, start_ms = self.first, self._begin_ms + self.target.duration_ms(self._made)
        self._made += len(audio)
        return Piece(audio, first.response_id, first.item_id, first.content_index, start_ms).cut(self.target)
