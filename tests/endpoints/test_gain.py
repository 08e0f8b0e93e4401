from __future__ import annotations

import numpy as np
import pytest

from trealtime.audio.formats import G711_ULAW, PCM16_24K
from trealtime.audio.pcm import from_int16, to_int16
from trealtime.endpoints.gain import Gain

LOUD = np.full(480, 8000, np.int16)


@pytest.mark.parametrize("audio_format", [PCM16_24K, G711_ULAW], ids=str)
def test_a_change_takes_one_piece_and_makes_no_step(audio_format) -> None:
    gain = Gain()
    piece = from_int16(LOUD, audio_format)
    assert gain.apply(piece, audio_format) is piece
    gain.factor = 0.25
    falling, soft = (to_int16(gain.apply(piece, audio_format), audio_format).astype(int) for _ in range(2))
    assert abs(falling[0] - 8000) < 400
    assert np.abs(np.diff(falling)).max() < 300  # a step of mu-law up there is 256
    assert np.abs(soft - 2000).max() < 70
    gain.factor = 1.0
    gain.apply(piece, audio_format)
    assert gain.apply(piece, audio_format) is piece
