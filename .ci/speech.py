"""Write a WAV file of something that voice detection takes for a sentence, with a second of silence after it."""

from __future__ import annotations

import sys

import numpy as np

from trealtime.audio.wav import write_wav
from trealtime.emulator.voice import VOICE_RATE, tones

spoken = tones("What is the weather like in Oslo today?", voice="cedar", speed=1.0)
silence = np.zeros(VOICE_RATE, np.int16)
write_wav(sys.argv[1], np.concatenate([*(chunk.samples for chunk in spoken), silence]), VOICE_RATE)
