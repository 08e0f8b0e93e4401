"""A recorded call as a picture: who spoke when, what was heard of it, and how long each gap was."""

from trealtime.timeline.model import Call
from trealtime.timeline.timeline import Timeline, read_timeline, write_sound

__all__ = ["Call", "Timeline", "read_timeline", "write_sound"]
