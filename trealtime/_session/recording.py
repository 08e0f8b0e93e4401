"""The recording of a session, as the run config asks for it: its settings, and how it is joined to the session."""

# ruff: noqa: RUF009  # `setting` makes an attrs field, as `attrs.field` does
from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from trealtime._recordings.recorder import Recorder, header_of
from trealtime._recordings.session_events import plain
from trealtime._recordings.writing import LineEncoder, MemorySink, Redact, Sink, open_file
from trealtime._secrets import redacted
from trealtime._value import Value
from trealtime.events import EventInfo, RealtimeError, RealtimeSessionEvent, ServerErrorInfo
from trealtime.protocol.validation import WrongValue, setting

if TYPE_CHECKING:
    from trealtime._session.driver import Driver
    from trealtime._session.playback_tracker import GuardedTracker

__all__ = ["RecordingSettings", "recording_settings", "session_recorder"]

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


def session_recorder(
    settings: RecordingSettings,
    driver: Driver,
    info: EventInfo,
    *,
    session_id: str,
    agent: str,
    tracker: GuardedTracker | None,
    run_config: Any,
    model_config: Any,
) -> Recorder:
    """Open the recording of a session that begins now, and let it follow what the driver does. Raises `OSError`."""
    sink: Sink
    if settings.path is None:
        sink = MemorySink(settings.memory_bytes)
    else:
        sink = open_file(Path(os.fspath(settings.path).replace("{session_id}", session_id)))
    keeps_audio = settings.audio == "keep"
    header = header_of(
        audio=keeps_audio,
        session_id=session_id,
        agent=agent,
        settings=_changed(run_config),
        model_settings=_changed(model_config),
    )

    def failed(message: str) -> None:
        error = ServerErrorInfo(message=message, type="recording_error", code="recording_failed")
        driver.emit(RealtimeError(error=error, info=info))

    recorder = Recorder(sink, LineEncoder(keeps_audio, settings.redact), header, failed)
    driver.recorder = recorder
    note: Any = recorder.note_event if tracker is None else _TrackerWatch(recorder, tracker).note_event
    driver.watchers = (*driver.watchers, note)
    return recorder


def _changed(config: Any) -> Mapping[str, Any]:
    """Return the settings that are not the defaults, without secrets."""
    found = {
        field.name: plain(getattr(config, field.name))
        for field in attrs.fields(type(config))
        if getattr(config, field.name) != field.default and field.name != "telemetry"
    }
    shown: Mapping[str, Any] = redacted(found)
    return shown


@attrs.define(eq=False)
class _TrackerWatch:
    """Notes with each event where the player of the app is, when that has changed: a tracker is only there to ask."""

    _recorder: Recorder
    _tracker: GuardedTracker
    _last: object = attrs.field(default=None, init=False)

    def note_event(self, event: RealtimeSessionEvent) -> None:
        """Note the position, then the event."""
        position = self._tracker.position()
        if position is not None and position != self._last:
            self._last = position
            heard_ms = position.elapsed_ms
            self._recorder.note_heard(position.item_id, position.content_index, heard_ms, heard_ms)
        self._recorder.note_event(event)
