"""A server that speaks the OpenAI Realtime protocol: it hears, thinks a little, and speaks, with no key and no
internet.

`open_emulator` runs one on a loopback socket or in memory. The engine (`core`) is the same for both and knows
neither; ears, brain and voice are plug-ins. What the defaults give is a signal, not speech, and placeholders, not
words.
"""

from trealtime.emulator.brain import (
    Brain,
    BrainReply,
    BrainRequest,
    CallFunction,
    RuleBrain,
    Say,
    SayMore,
    ScriptedBrain,
    StreamingBrain,
)
from trealtime.emulator.chat_brain import ChatBrain
from trealtime.emulator.faults import Faults
from trealtime.emulator.options import EmulatorLimits, SpeechEngines
from trealtime.emulator.server import Emulator, EmulatorStatistics, MemoryModel, open_emulator
from trealtime.emulator.session import EmulatedSession, LoggedEvent
from trealtime.emulator.talking import TalkingBrain
from trealtime.emulator.transcription import PlaceholderTranscriber, ScriptedTranscriber, Transcriber
from trealtime.emulator.turn_detection import (
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    TurnDetectorFactory,
)
from trealtime.emulator.voice import SpokenChunk, ToneVoice, Voice

__all__ = [
    "Brain",
    "BrainReply",
    "BrainRequest",
    "CallFunction",
    "ChatBrain",
    "EmulatedSession",
    "Emulator",
    "EmulatorLimits",
    "EmulatorStatistics",
    "Faults",
    "LoggedEvent",
    "MemoryModel",
    "PlaceholderTranscriber",
    "RuleBrain",
    "Say",
    "SayMore",
    "ScriptedBrain",
    "ScriptedTranscriber",
    "SpeechEngines",
    "SpeechPaused",
    "SpeechResumed",
    "SpeechStarted",
    "SpeechStopped",
    "SpokenChunk",
    "TalkingBrain",
    "StreamingBrain",
    "ToneVoice",
    "Transcriber",
    "TurnDetector",
    "TurnDetectorFactory",
    "Voice",
    "open_emulator",
]
