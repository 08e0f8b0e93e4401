"""A microphone and a loudspeaker of different rates, as two streams that look like one.

Theory of operation
1. Each device has a stream at its own rate, and calls in a thread of its own. Audio is converted to and from the rate
   of the blocks that the handler gets.
2. The loudspeaker leads: each of its blocks asks the handler for what to play, and takes what the microphone has heard
   meanwhile along.
3. The clocks of two devices differ. The microphone's audio waits in a short queue: where it runs dry, silence is handed
   on until two blocks wait again, and past 200 ms the oldest is dropped. Either happens once in some minutes.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trealtime.audio.resample import Resampler

__all__ = ["Joint"]

_FILL: Final = 2
"""The blocks that wait before the first is handed on."""

_MOST_WAITING_S: Final = 0.2


class Joint:
    """Joins the two streams. `hear` and `fill` are called by the devices' threads, one of each."""

    def __init__(self, handler: Any, *, rate: int, input_rate: int, output_rate: int, block_frames: int) -> None:
        self._handler = handler
        self._block_frames = block_frames
        self._from_microphone = Resampler(input_rate, rate)
        self._to_speaker = Resampler(rate, output_rate)
        self._most_frames = round(_MOST_WAITING_S * rate)
        self._heard: deque[NDArray[np.int16]] = deque()
        self._rest = np.zeros(0, np.int16)
        self._dry = True
        self._ready = np.zeros(0, np.int16)

    def hear(self, captured: NDArray[np.int16]) -> None:
        """Take what the microphone has heard, mono at its rate."""
        heard = self._from_microphone.process(captured.copy())
        if len(heard):
            self._heard.append(heard)

    def fill(self, playing: NDArray[np.int16], *, output_delay_s: float) -> None:
        """Fill a block for the loudspeaker, mono at its rate."""
        while len(self._ready) < len(playing):
            block = np.zeros(self._block_frames, np.int16)
            self._handler.block(self._take(), block, output_delay_s=output_delay_s)
            self._ready = np.concatenate((self._ready, self._to_speaker.process(block)))
        playing[:] = self._ready[: len(playing)]
        self._ready = self._ready[len(playing) :]

    def _take(self) -> NDArray[np.int16]:
        """One block of the microphone; silence where it has none."""
        waiting = [self._heard.popleft() for _ in range(len(self._heard))]
        self._rest = np.concatenate((self._rest, *waiting))[-self._most_frames :]
        if self._dry and len(self._rest) < _FILL * self._block_frames:
            return np.zeros(self._block_frames, np.int16)
        self._dry = len(self._rest) < self._block_frames
        if self._dry:
            return np.zeros(self._block_frames, np.int16)
        block, self._rest = self._rest[: self._block_frames], self._rest[self._block_frames :]
        return block
