"""A server that speaks the OpenAI Realtime protocol: it hears, thinks a little, and speaks, with no key and no
internet.

`open_emulator` runs one on a loopback socket or in memory. The engine (`core`) is the same for both and knows
neither; turn detector, transcriber, brain and voice are plug-ins. The default voice is a signal, not speech, and the
default transcriber writes placeholders, not words.
"""

import warnings

from trealtime.emulator.brain import (
    Brain,
    BrainReply,
    BrainRequest,
    CallFunction,
    Say,
    SayMore,
    ScriptedBrain,
    StreamingBrain,
)
from trealtime.emulator.chat_brain import ChatBrain
from trealtime.emulator.dialogue import DialogueBrain
from trealtime.emulator.faults import Cut, Faults
from trealtime.emulator.options import EmulatorLimits, SpeechEngines
from trealtime.emulator.received_audio import CommittedAudio, ReceivedAudio
from trealtime.emulator.server import Emulator, EmulatorStatistics, MemoryModel, open_emulator
from trealtime.emulator.session import EmulatedSession, LoggedEvent
from trealtime.emulator.transcription import (
    PlaceholderTranscriber,
    Recognition,
    ScriptedTranscriber,
    StagedTranscriber,
    Transcriber,
)
from trealtime.emulator.turn_detection import (
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    TurnDetectorFactory,
)
from trealtime.emulator.turn_figures import ServedTurn
from trealtime.emulator.voice import SpokenChunk, ToneVoice, Voice

__all__ = [
    "Brain",
    "BrainReply",
    "BrainRequest",
    "CallFunction",
    "ChatBrain",
    "CommittedAudio",
    "Cut",
    "DialogueBrain",
    "EmulatedSession",
    "Emulator",
    "EmulatorLimits",
    "EmulatorStatistics",
    "Faults",
    "LoggedEvent",
    "MemoryModel",
    "PlaceholderTranscriber",
    "ReceivedAudio",
    "Recognition",
    "Say",
    "SayMore",
    "ScriptedBrain",
    "ScriptedTranscriber",
    "ServedTurn",
    "SpeechEngines",
    "SpeechPaused",
    "SpeechResumed",
    "SpeechStarted",
    "SpeechStopped",
    "SpokenChunk",
    "StagedTranscriber",
    "StreamingBrain",
    "ToneVoice",
    "Transcriber",
    "TurnDetector",
    "TurnDetectorFactory",
    "Voice",
    "open_emulator",
]


def __getattr__(name: str) -> type[DialogueBrain]:
    if name in ("RuleBrain", "TalkingBrain"):
        warnings.warn(
            f"trealtime.emulator.{name} is deprecated: it is DialogueBrain now", DeprecationWarning, stacklevel=2
        )
        return DialogueBrain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
