"""The seam between the console endpoint and what makes sound: a sound card, or a stand-in for tests.

A device calls its handler once for every block of audio, from whatever thread it likes. The handler never waits: it
copies, and wakes Trio up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["AudioDevice", "BlockHandler"]


class BlockHandler(Protocol):
    """What a device calls; never waits."""

    def block(self, captured: NDArray[np.int16], playing: NDArray[np.int16], *, output_delay_s: float) -> None:
        """One block: what the microphone heard, and room for what is to be played; mono int16, of the same shape (n,).

        `playing` is to be filled; its first sample comes out of the loudspeaker `output_delay_s` from now. Both arrays
        are the device's own again when this has returned.
        """

    def lost(self, reason: str) -> None:
        """The device is gone: there will be no more blocks."""


class AudioDevice(ABC):
    """A microphone and a loudspeaker, mono at `rate` samples per second."""

    rate: int

    @abstractmethod
    def open(self, handler: BlockHandler) -> AbstractAsyncContextManager[None]:
        """Call `handler` for every block, in real time, until the context is left.

        Raises `AudioDeviceError` when the device cannot be opened.
        """
