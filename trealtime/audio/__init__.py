"""Audio in the three formats of the Realtime API: pure functions and small streaming objects, no Trio.

`formats` imports nothing heavy, `pcm` uses numpy only for values that are arrays, and `g711`, `levels`, `resample` and
`wav` import numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trealtime import _lazy

if TYPE_CHECKING:
    from trealtime.audio.formats import G711_ALAW as G711_ALAW
    from trealtime.audio.formats import G711_ULAW as G711_ULAW
    from trealtime.audio.formats import PCM16_24K as PCM16_24K
    from trealtime.audio.formats import AudioFormat as AudioFormat
    from trealtime.audio.formats import parse_audio_format as parse_audio_format
    from trealtime.audio.formats import pcm16 as pcm16
else:
    __all__, __getattr__, __dir__ = _lazy.namespace(__name__)
