"""One content part on its way to an endpoint: converted, and cut into pieces that know where in the part they lie."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from trealtime.audio.formats import AudioFormat
from trealtime.endpoints.converting import StreamConverter
from trealtime.endpoints.playback_map import Piece
from trealtime.events import AudioChunk

__all__ = ["PartStream"]


@attrs.define
class PartStream:
    """The conversion of the part that begins with the chunk `first`, whose audio is in `source`, to `target`."""

    first: AudioChunk
    source: AudioFormat
    target: AudioFormat
    _converter: StreamConverter = attrs.field(init=False)
    _half: int = attrs.field(init=False)
    """Bytes still to be left out: the part was joined amid a sample, whose other half we never had."""

    _begin_ms: float = attrs.field(init=False)
    _taken: int = attrs.field(default=0, init=False)
    _made: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._converter = StreamConverter(self.source, self.target)
        size, rate = self.source.bytes_per_sample, self.source.rate
        self._half = -round(self.first.start_ms * size * rate / 1000) % size
        self._begin_ms = self.first.start_ms + self.source.duration_ms(self._half)

    def goes_on_with(self, chunk: AudioChunk, source: AudioFormat) -> bool:
        """Whether `chunk` is the next one of this part, with nothing left out."""
        first, next_ms = self.first, self.first.start_ms + self.source.duration_ms(self._taken)
        same = (first.item_id, first.content_index, self.source) == (chunk.item_id, chunk.content_index, source)
        return same and abs(next_ms - chunk.start_ms) < 1e-3

    def convert(self, data: bytes) -> Iterator[Piece]:
        """The pieces that the next chunk makes."""
        self._taken += len(data)
        data, self._half = data[self._half :], max(0, self._half - len(data))
        return self._pieces(self._converter.convert(data))

    def finish(self) -> Iterator[Piece]:
        """The rest: the part is over."""
        return self._pieces(self._converter.finish())

    def _pieces(self, audio: bytes) -> Iterator[Piece]:
        first, start_ms = self.first, self._begin_ms + self.target.duration_ms(self._made)
        self._made += len(audio)
        return Piece(audio, first.response_id, first.item_id, first.content_index, start_ms).cut(self.target)
