"""The settings of recordings: ``RealtimeRunConfig.record``."""

# ruff: noqa: RUF009  # `setting` makes an attrs field, as `attrs.field` does
from __future__ import annotations

import os
import re
from typing import Final, Literal

import attrs

from trealtime._recordings.redact import Redact
from trealtime._value import Value
from trealtime.protocol.validation import WrongValue, setting

__all__ = ["RecordingSettings", "recording_settings"]

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


def _path(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not isinstance(path := os.fspath(value), str) or not path:
        raise WrongValue('a path, such as "recordings/{session_id}.jsonl.gz", or None')
    for name in _PLACEHOLDER.findall(path):
        if name != "session_id":
            raise WrongValue("a path whose only placeholder is {session_id}", suggestion="{session_id}")
    return path


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RecordingSettings(Value):
    """How every session of a runner is recorded."""

    path: str | os.PathLike[str] | None = setting(default=None, read=_path)
    """The file. ``{session_id}`` in it becomes `RealtimeSession.id`; a name that ends in ``.gz`` is compressed. Folders
    that are missing are made; a file that is there stays, and the new one gets a number. None: the recording is kept in
    memory, for `RealtimeSession.timeline`."""

    audio: Literal["keep", "strip"] = setting(default="keep")
    """``"strip"`` leaves audio out and notes its length."""

    redact: Redact | None = setting(default=None)
    """Called with every line after the first, a dict, before it is written, mostly in a thread. It returns the line,
    changed or not, or None to leave it out. If it raises, the recording ends."""

    memory_bytes: int = setting(default=256 * 2**20, at_least=2**16)
    """How much a recording in memory may hold, before compression. Past it, the recording ends."""


def recording_settings(value: object) -> RecordingSettings | None:
    """Return the settings that the value of ``record`` stands for: a path alone is a file with audio."""
    if value is None or isinstance(value, RecordingSettings):
        return value
    return RecordingSettings(path=_path(value))
