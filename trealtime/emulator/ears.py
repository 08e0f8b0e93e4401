"""The former name of `trealtime.emulator.turn_detection` and `trealtime.emulator.transcription`, until 1.0."""

from __future__ import annotations

import warnings

from trealtime.emulator.transcription import PlaceholderTranscriber, ScriptedTranscriber, Transcriber
from trealtime.emulator.turn_detection import (
    PATIENCE_MS,
    SemanticVad,
    ServerVad,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    TurnDetectorFactory,
    TurnEvent,
    make_turn_detector,
)

__all__ = [
    "PATIENCE_MS",
    "PlaceholderTranscriber",
    "ScriptedTranscriber",
    "SemanticVad",
    "ServerVad",
    "SpeechPaused",
    "SpeechResumed",
    "SpeechStarted",
    "SpeechStopped",
    "Transcriber",
    "TurnDetector",
    "TurnDetectorFactory",
    "TurnEvent",
    "make_turn_detector",
]

warnings.warn(
    "trealtime.emulator.ears is deprecated: import from trealtime.emulator, trealtime.emulator.turn_detection or "
    "trealtime.emulator.transcription",
    DeprecationWarning,
    stacklevel=2,
)
