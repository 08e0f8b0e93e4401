"""The brain that the emulator's commands talk with: rules, and a memory of the conversation."""

from trealtime.emulator.talking.brain import TalkingBrain

__all__ = ["TalkingBrain"]
