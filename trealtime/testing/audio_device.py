"""A sound device without sound: its time is Trio's clock, its microphone and its loudspeaker are arrays."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import trio
from numpy.typing import NDArray

from trealtime.endpoints.audio_device import AudioDevice, BlockHandler
from trealtime.errors import AudioDeviceError
from trealtime.transport.background import background_nursery

__all__ = ["FakeAudioDevice"]


class FakeAudioDevice(AudioDevice):
    """A microphone and a loudspeaker for tests: ``ConsoleEndpoint(device=FakeAudioDevice())``.

    It asks for a block every `block_ms`, of which the first sample is heard `output_delay_ms` later. With `echo_db` the
    microphone hears the loudspeaker, that much quieter and `echo_delay_ms` after it was heard. Opening it raises
    `AudioDeviceError` when `broken` says why. Raises ValueError when the first sample of a block would be heard before
    its last one was asked for: no device is that quick.
    """

    def __init__(
        self,
        *,
        rate: int = 48_000,
        block_ms: int = 10,
        output_delay_ms: float = 20.0,
        echo_db: float = -math.inf,
        echo_delay_ms: float = 0.0,
        broken: str | None = None,
    ) -> None:
        if output_delay_ms < block_ms:
            raise ValueError(f"output_delay_ms must be block_ms ({block_ms}) or more, got {output_delay_ms!r}")
        self.rate = rate
        self._block = rate * block_ms // 1000
        self._output_delay_s = output_delay_ms / 1000
        self._echo = 10 ** (echo_db / 20)
        self._echo_delay = round((output_delay_ms + echo_delay_ms) * rate / 1000)
        self._broken = broken
        self._said: deque[NDArray[np.int16]] = deque()
        self._given: list[NDArray[np.int16]] = []
        self._opened_at = math.nan
        self._unplugged: str | None = None
        self._silent = False

    def say(self, samples: NDArray[np.int16]) -> None:
        """Let the user say this, after all earlier audio: mono int16 at the device's rate."""
        self._said.append(samples)

    def unplug(self, *, silently: bool = False) -> None:
        """Take the device away; `silently` as many go, by not calling any more."""
        self._silent = silently
        self._unplugged = "the sound device was unplugged"

    @property
    def played(self) -> NDArray[np.int16]:
        """All audio given to the loudspeaker since the opening, silence included."""
        return np.concatenate([np.zeros(0, np.int16), *self._given])

    def heard_until(self, time: float) -> int:
        """Return the number of samples of `played` that had come out of the loudspeaker at `time` on Trio's clock."""
        return max(0, math.floor((time - self._opened_at - self._output_delay_s) * self.rate + 1e-6))

    @asynccontextmanager
    async def open(self, handler: BlockHandler) -> AsyncIterator[None]:
        """See `AudioDevice.open`."""
        await trio.lowlevel.checkpoint()
        if self._broken is not None:
            raise AudioDeviceError(self._broken)
        self._opened_at = trio.current_time()
        async with background_nursery() as nursery:
            nursery.start_soon(self._run, handler)
            yield

    async def _run(self, handler: BlockHandler) -> None:
        while self._unplugged is None:
            playing = np.zeros(self._block, np.int16)
            handler.block(self._captured(), playing, output_delay_s=self._output_delay_s)
            self._given.append(playing)
            await trio.sleep_until(self._opened_at + len(self._given) * self._block / self.rate)
        if not self._silent:
            handler.lost(self._unplugged)

    def _captured(self) -> NDArray[np.int16]:
        heard = np.zeros(self._block)
        done = 0
        while self._said and done < self._block:
            said = self._said.popleft()
            n = min(len(said), self._block - done)
            heard[done : done + n] = said[:n]
            done += n
            if n < len(said):
                self._said.appendleft(said[n:])
        if self._echo:
            heard += self._echo * self._played_before(self._echo_delay)
        return np.clip(np.rint(heard), -32768, 32767).astype(np.int16)

    def _played_before(self, delay: int) -> NDArray[np.int16]:
        """Return the block given `delay` samples before the next one, silence where there was none."""
        blocks = -(-delay // self._block)
        recent = np.concatenate([np.zeros(delay, np.int16), *self._given[-blocks:]])
        return recent[len(recent) - delay :][: self._block]
