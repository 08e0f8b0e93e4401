"""The emulator's speech: how it tells that somebody speaks, what it hears, how it sounds, as one set of engines."""

from __future__ import annotations

import attrs

from trealtime.emulator.turn_detection import (
    PlaceholderTranscriber,
    Transcriber,
    TurnDetectorFactory,
    make_turn_detector,
)
from trealtime.emulator.voice import ToneVoice, Voice

__all__ = ["SpeechEngines"]


@attrs.frozen(kw_only=True)
class SpeechEngines:
    """Engines that go together; the defaults need numpy alone, hear energy, and speak in tones.

    `trealtime.emulator.local.load_speech` gives a set that hears and speaks words. All sessions of an emulator share
    them, and may use them at the same time.
    """

    turn_detector: TurnDetectorFactory = make_turn_detector
    transcriber: Transcriber = attrs.field(factory=PlaceholderTranscriber)
    voice: Voice = attrs.field(factory=ToneVoice)
    description: str = (
        "The voice is a signal, not speech: it has the length and rhythm of the words. No words are recognised."
    )
    """What to tell whoever runs the emulator, in a line."""
