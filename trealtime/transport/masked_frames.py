"""Frames of text as a client sends them (RFC 6455, section 5), for the message of which there are fifty a second.

`websockets` checks and writes a frame in 4 microseconds; for a text that is whole, this does it in 1 (benchmark
``duplex``). A third of the difference is the call of the system for each masking key: keys come from a supply here.

The function that masks is the compiled part of `websockets`, which is not in its documentation: where it is missing,
`MASKED_FRAMES` is None, and `websockets` writes these frames too.
"""

from __future__ import annotations

import importlib
import os
import struct
from collections.abc import Callable
from typing import Final

__all__ = ["MASKED_FRAMES", "MaskedFrames"]

_SHORT = struct.Struct("!BB4s")
_MIDDLE = struct.Struct("!BBH4s")
_LONG = struct.Struct("!BBQ4s")
_FINAL_TEXT = 0x81
_MASKED = 0x80
_SUPPLY_BYTES = 1024


Mask = Callable[[bytes, bytes], bytes]


class MaskedFrames:
    """Writes frames that `mask` has masked, each with a key of its own from `random_bytes`, a strong source as section
    5.3 asks."""

    def __init__(self, mask: Mask, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._mask = mask
        self._random_bytes = random_bytes
        self._keys = b""
        self._used = 0

    def text(self, payload: bytes) -> bytes:
        """A final frame of text, which the caller knows to be UTF-8, on a connection without extensions."""
        # Hot: one call for each 20 ms of a microphone.
        used = self._used
        if used == len(self._keys):
            self._keys = self._random_bytes(_SUPPLY_BYTES)
            used = 0
        self._used = used + 4
        key = self._keys[used : used + 4]
        size = len(payload)
        if size < 126:
            head = _SHORT.pack(_FINAL_TEXT, _MASKED | size, key)
        elif size < 65536:
            head = _MIDDLE.pack(_FINAL_TEXT, _MASKED | 126, size, key)
        else:
            head = _LONG.pack(_FINAL_TEXT, _MASKED | 127, size, key)
        return head + self._mask(payload, key)


def _compiled() -> MaskedFrames | None:
    try:
        mask: Mask = importlib.import_module("websockets.speedups").apply_mask
    except (ImportError, AttributeError):
        return None
    return MaskedFrames(mask)


MASKED_FRAMES: Final = _compiled()
"""For all wires: what it keeps are random bytes, of which each is used once."""
