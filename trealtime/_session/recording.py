"""The recording of a session, as the run config asks for it, joined to the session.

It is imported where a session is recorded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from trealtime._recordings.recorder import Recorder, header_of
from trealtime._recordings.session_events import plain
from trealtime._recordings.writing import LineEncoder, MemorySink, Sink, open_file
from trealtime._secrets import redacted
from trealtime._session.recording_settings import RecordingSettings
from trealtime.events import EventInfo, RealtimeError, RealtimeSessionEvent, ServerErrorInfo

if TYPE_CHECKING:
    from trealtime._session.driver import Driver
    from trealtime._session.playback_tracker import GuardedTracker

__all__ = ["session_recorder"]


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
