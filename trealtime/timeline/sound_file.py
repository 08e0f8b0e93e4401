"""The sound of a call as a stereo WAV file, written where it belongs as it is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import numpy as np

from trealtime.audio.formats import G711_ULAW
from trealtime.audio.pcm import to_int16
from trealtime.audio.wav import WavWriter
from trealtime.timeline.model import Call, HeardSpan
from trealtime.timeline.sound import RATE, Clip, SoundBudget

__all__ = ["SoundFile"]

_FRAME: Final = 4
"""Bytes of one sample of both sides."""

_BLOCK: Final = 2**16

_USER: Final = 0
_AGENT: Final = 1


class SoundFile(SoundBudget):
    """Keeps nothing: it writes the sound of `call`, which has been read once before, to its place in the file.

    Use it as a context manager. The file is as long as the call from the beginning, all silence.
    """

    def __init__(self, path: str | Path, call: Call) -> None:
        super().__init__(0)
        self._frames = round(call.duration_s * RATE)
        self._heard = {(each.item_id, each.content_index): each.heard for each in call.speeches}
        with WavWriter(path, RATE, channels=2) as writer:
            for begin in range(0, self._frames, _BLOCK):
                writer.write(np.zeros((min(_BLOCK, self._frames - begin), 2), np.int16))
        self._begin = Path(path).stat().st_size - self._frames * _FRAME
        self._file = Path(path).open("r+b")  # noqa: SIM115  (closed on leaving)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, clip: Clip, sound: bytes) -> None:
        """Write the next piece of a clip."""
        first = clip.size
        clip.size += len(sound)
        if clip.key is None:
            self._write(_USER, round(clip.start_s * RATE) + first, sound)
            return
        for frame, begin, end in _places(self._heard.get(clip.key, ()), first, clip.size):
            self._write(_AGENT, frame, sound[begin - first : end - first])

    def _write(self, channel: int, frame: int, sound: bytes) -> None:
        sound = sound[: max(0, self._frames - frame)]
        if frame < 0 or not sound:
            return
        self._file.seek(self._begin + frame * _FRAME)
        both = np.frombuffer(self._file.read(len(sound) * _FRAME).ljust(len(sound) * _FRAME, b"\0"), "<i2").copy()
        both[channel::2] = to_int16(sound, G711_ULAW)
        self._file.seek(self._begin + frame * _FRAME)
        self._file.write(both.tobytes())


def _places(spans: tuple[HeardSpan, ...], first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Yield (frame of the call, begin, end) for the samples from `first` to `last` of a part, as far as they were
    heard."""
    for span in spans:
        begin, end = max(first, round(span.from_ms / 1000 * RATE)), min(last, round(span.to_ms / 1000 * RATE))
        if begin < end:
            yield round(span.start_s * RATE) + begin - round(span.from_ms / 1000 * RATE), begin, end
