"""Real sessions, recorded: every event with its time, as JSON lines, to read, to look at, or to replay."""

from trealtime.recording.file import (
    RecordedClose,
    RecordedEvent,
    RecordedLine,
    RecordedSessionEvent,
    Recording,
    load_recording,
    read_recording,
)
from trealtime.recording.recorder import RecordingModel
from trealtime.recording.replay import replay, script_of

__all__ = [
    "RecordedClose",
    "RecordedEvent",
    "RecordedLine",
    "RecordedSessionEvent",
    "Recording",
    "RecordingModel",
    "load_recording",
    "read_recording",
    "replay",
    "script_of",
]
