"""A sound device whose two sides go into a WAV file too: ``trealtime talk --save`` with the microphone."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import trio
from numpy.typing import NDArray

from trealtime.audio.wav import WavWriter
from trealtime.endpoints.audio_device import AudioDevice, BlockHandler
from trealtime.transport.background import background_nursery

__all__ = ["SavingDevice"]

_WRITE_EVERY_S: Final = 0.5
_LONGEST_WAIT_S: Final = 60
"""Sound that waits for the disk: 11.5 MB at 48,000 samples a second."""


@attrs.define(eq=False)
class _Tap:
    """Passes the blocks on, and keeps a copy of each. The device's thread calls it."""

    handler: BlockHandler
    most_samples: int
    overrun: bool = False
    """The disk was too slow: nothing is kept any more."""

    blocks: deque[NDArray[np.int16]] = attrs.field(factory=deque)

    def block(self, captured: NDArray[np.int16], playing: NDArray[np.int16], *, output_delay_s: float) -> None:
        self.handler.block(captured, playing, output_delay_s=output_delay_s)
        if len(self.blocks) * len(captured) >= self.most_samples:
            self.overrun = True
        if not self.overrun:
            self.blocks.append(np.stack((captured, playing), axis=1))

    def lost(self, reason: str) -> None:
        self.handler.lost(reason)

    def take(self) -> NDArray[np.int16]:
        """All frames since the last time, in two columns."""
        taken = [self.blocks.popleft() for _ in range(len(self.blocks))]
        return np.concatenate(taken) if taken else np.zeros((0, 2), np.int16)


class SavingDevice(AudioDevice):
    """`device`, with what its microphone hears on the left of the WAV file `path` and what it plays on the right.

    The file has the device's rate, and is written twice a second, in a thread. Raises OSError where it cannot be, and
    TimeoutError, which is one, where the disk takes nothing for a minute: the file has what came before.
    """

    def __init__(self, device: AudioDevice, path: Path) -> None:
        self._device = device
        self._path = path
        self.rate = device.rate
        self.other_rates = device.other_rates

    @asynccontextmanager
    async def open(self, handler: BlockHandler) -> AsyncIterator[None]:
        """See `AudioDevice.open`."""
        self._device.rate = self.rate
        tap = _Tap(handler, self.rate * _LONGEST_WAIT_S)

        def check() -> None:
            if tap.overrun:
                raise TimeoutError(f"{self._path}: the disk has taken no sound for {_LONGEST_WAIT_S} s")

        with WavWriter(self._path, self.rate, channels=2) as writer:

            async def write() -> None:
                while True:
                    await trio.sleep(_WRITE_EVERY_S)
                    # Taken in the thread: a cancellation here would lose what was taken before.
                    await trio.to_thread.run_sync(lambda: writer.write(tap.take()))
                    check()

            try:
                async with self._device.open(tap), background_nursery() as nursery:
                    nursery.start_soon(write)
                    yield
            finally:
                writer.write(tap.take())
            check()
