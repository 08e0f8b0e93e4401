"""Real sessions, recorded: every wire event both ways with its time, as JSON lines, to read or to replay."""

from trealtime.recording.file import RecordedClose, RecordedEvent, Recording, load_recording
from trealtime.recording.recorder import RecordingModel
from trealtime.recording.replay import replay, script_of

__all__ = [
    "RecordedClose",
    "RecordedEvent",
    "Recording",
    "RecordingModel",
    "load_recording",
    "replay",
    "script_of",
]
