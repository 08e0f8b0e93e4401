"""The brain that answers where you give the emulator no other: rules, and the conversation as their memory."""

from trealtime.emulator.dialogue.brain import DialogueBrain

__all__ = ["DialogueBrain"]
