"""A recording as values: for programs, and for replay. `trealtime._recordings.lines` describes the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import pybase64

from trealtime._recordings.lines import Line, LineReader, left_out_bytes

__all__ = [
    "RecordedClose",
    "RecordedEvent",
    "RecordedLine",
    "RecordedSessionEvent",
    "Recording",
    "left_out",
    "load_recording",
    "read_recording",
]

Side = Literal["client", "server"]


@attrs.frozen(kw_only=True)
class RecordedEvent:
    """A wire event: `sent_by` sent `event` (text, if it was no object) `at_s` seconds after the recording began, on
    connection number `connection`."""

    at_s: float
    sent_by: Side
    event: Mapping[str, Any] | str
    connection: int = 1


@attrs.frozen(kw_only=True)
class RecordedSessionEvent:
    """An event of the session: `fields` has its `type` and its other fields, without audio. Agents and tools are their
    names."""

    at_s: float
    type: str
    fields: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class RecordedClose:
    """The end of a connection, as in `trealtime.CloseOutcome`."""

    at_s: float
    code: int
    reason: str
    closed_by: Literal["client", "server", "network"]
    connection: int = 1


@attrs.frozen(kw_only=True)
class RecordedLine:
    """Any other line: `kind` is ``"playback"``, ``"connection"`` or ``"lost"``, `value` what the file says."""

    at_s: float
    kind: Literal["playback", "connection", "lost"]
    value: Any


@attrs.frozen(kw_only=True)
class Recording:
    """A recorded session.

    `events` are those of the wire, and `session_events` the session's own. `closed` is the end of the last connection,
    None where the recording stops before it; `audio` False: audio was left out. `header` is the first line, with
    session id, versions, clock and settings. `complete` is False where the end of the file has cut its last line.
    """

    events: tuple[RecordedEvent, ...]
    closed: RecordedClose | None
    audio: bool
    session_events: tuple[RecordedSessionEvent, ...] = ()
    others: tuple[RecordedLine, ...] = ()
    header: Mapping[str, Any] = attrs.field(factory=dict)
    complete: bool = True

    @property
    def session_id(self) -> str | None:
        """`RealtimeSession.id` of the session; None where the recording does not say."""
        found = self.header.get("session_id")
        return found if isinstance(found, str) else None


AnyRecorded = RecordedEvent | RecordedSessionEvent | RecordedClose | RecordedLine


def load_recording(path: str | Path) -> Recording:
    """Read a recording whole. Raises `RecordingError` with file and line for a file that is none, and `OSError`.

    `read_recording` reads one of any size.
    """
    events: list[RecordedEvent] = []
    session_events: list[RecordedSessionEvent] = []
    others: list[RecordedLine] = []
    closed: RecordedClose | None = None
    with LineReader(path) as reader:
        for each in map(_value, reader):
            match each:
                case RecordedEvent():
                    events.append(each)
                case RecordedSessionEvent():
                    session_events.append(each)
                case RecordedClose():
                    closed = each
                case RecordedLine():
                    others.append(each)
        return Recording(
            events=tuple(events),
            closed=closed,
            audio=reader.header.audio,
            session_events=tuple(session_events),
            others=tuple(others),
            header=reader.header.values,
            complete=not reader.cut,
        )


def read_recording(path: str | Path) -> Iterator[AnyRecorded]:
    """Return the lines of a recording as values, one after another, in memory that does not grow with the file.

    Raises `RecordingError` with file and line where one is none, and `OSError`.
    """
    with LineReader(path) as reader:
        yield from map(_value, reader)


def _value(line: Line) -> AnyRecorded:
    if line.sent_by is not None:
        return RecordedEvent(at_s=line.at_s, sent_by=line.sent_by, event=line.value, connection=line.wire)
    match line.kind:
        case "session":
            return RecordedSessionEvent(at_s=line.at_s, type=str(line.value.get("type")), fields=line.value)
        case "closed":
            end = line.value
            return RecordedClose(
                at_s=line.at_s,
                code=end["code"],
                reason=end["reason"],
                closed_by=end["by"],
                connection=line.wire,
            )
        case "playback" | "connection" | "lost":
            return RecordedLine(at_s=line.at_s, kind=line.kind, value=line.value)
        case "event" | "text":
            raise AssertionError("a message has a sender")


def left_out(value: Any, *, silence: bytes) -> Any:
    """Return `value` with `silence`, a byte repeated, where audio was left out."""
    if isinstance(value, Mapping):
        return {key: left_out(each, silence=silence) for key, each in value.items()}
    if isinstance(value, list):
        return [left_out(each, silence=silence) for each in value]
    length = left_out_bytes(value)
    return value if length is None else pybase64.b64encode_as_string(silence * length)
