"""The file of a recording.

JSON lines. The first is ``{"trealtime_recording": 1, "audio": "keep"}``; then one for each event, ``{"at": 0.125,
"from": "server", "event": {...}}``, `at` in seconds since the connection opened; a message that is no JSON object
stands as ``"text"`` in place of the ``"event"``. The last is ``{"at": 9.5, "closed": {"code": 1000, "reason": "", "by":
"client"}}``.

The length stands in for audio that was left out, ``"<4800 bytes of audio>"``. Secrets are never written:
``"<removed>"`` stands in their place.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import attrs
import pybase64

from trealtime._secrets import redacted
from trealtime.errors import RecordingError

__all__ = ["VERSION", "RecordedClose", "RecordedEvent", "Recording", "left_out", "load_recording", "writable"]

VERSION: Final = 1
Side = Literal["client", "server"]

_LEFT_OUT: Final = re.compile(r"<([0-9]+) bytes of audio>")
_LONGEST_AUDIO: Final = 16 * 2**20
"""Bytes of audio that one event may leave out: the protocol's own limit is 15 MiB."""


@attrs.frozen(kw_only=True)
class RecordedEvent:
    """A wire event: `at_s` seconds after the connection opened, `sent_by` sent `event` (text, if it was no object)."""

    at_s: float
    sent_by: Side
    event: Mapping[str, Any] | str


@attrs.frozen(kw_only=True)
class RecordedClose:
    """The end of the connection, as in `trealtime.CloseOutcome`."""

    at_s: float
    code: int
    reason: str
    closed_by: Literal["client", "server", "network"]


@attrs.frozen(kw_only=True)
class Recording:
    """One connection. `closed` is None where the recording stops before the end; `audio` False: it was left out."""

    events: tuple[RecordedEvent, ...]
    closed: RecordedClose | None
    audio: bool


def writable(value: Any, *, audio: bool) -> Any:
    """Return the event `value` without secrets, and without its audio unless that is kept."""
    return redacted(value if audio else _without_audio(value))


def _without_audio(value: Any, event_type: str = "") -> Any:
    if isinstance(value, list):
        return [_without_audio(each, event_type) for each in value]
    if not isinstance(value, Mapping):
        return value
    kind = value.get("type")
    kind = kind if isinstance(kind, str) else event_type
    return {
        key: _audio_left_out(each)
        if isinstance(each, str) and (key == "audio" or (key == "delta" and kind.endswith("audio.delta")))
        else _without_audio(each, kind)
        for key, each in value.items()
    }


def _audio_left_out(data: str) -> str:
    return f"<{len(data) * 3 // 4 - data[-2:].count('=')} bytes of audio>"


def left_out(value: Any, *, silence: bytes) -> Any:
    """Return `value` with `silence`, a byte repeated, where audio was left out."""
    if isinstance(value, Mapping):
        return {key: left_out(each, silence=silence) for key, each in value.items()}
    if isinstance(value, list):
        return [left_out(each, silence=silence) for each in value]
    if isinstance(value, str) and (found := _LEFT_OUT.fullmatch(value)):
        return pybase64.b64encode_as_string(silence * int(found[1]))
    return value


def load_recording(path: str | Path) -> Recording:
    """Read a recording. Raises `RecordingError` with file and line for a file that is none, and `OSError`."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise RecordingError(f"{path}:1: not a recording: not UTF-8 text: {error.reason}") from error
    head = _object(path, 1, lines[0] if lines else "")
    if head.get("trealtime_recording") != VERSION:
        raise RecordingError(f'{path}:1: not a recording: it begins with {{"trealtime_recording": {VERSION}}}')
    events: list[RecordedEvent] = []
    closed: RecordedClose | None = None
    for number, line in enumerate(lines[1:], 2):
        entry = _object(path, number, line)
        try:
            if "closed" in entry:
                closed = _closed(entry)
            else:
                events.append(_event(entry))
        except (_Wrong, RecursionError) as error:
            raise RecordingError(f"{path}:{number}: {error}") from None
    return Recording(events=tuple(events), closed=closed, audio=head.get("audio") == "keep")


class _Wrong(Exception):
    """An entry that is none; the text says why. Stays inside this module."""


def _event(entry: Mapping[str, Any]) -> RecordedEvent:
    text = "" if "event" in entry else _text(entry, "text")
    sent_by = _one_of(entry, "from", ("client", "server"))
    if "event" not in entry:
        return RecordedEvent(at_s=_seconds(entry), sent_by=sent_by, event=text)
    event = entry["event"]
    if not isinstance(event, dict):
        raise _Wrong("'event' is no JSON object")
    _check_lengths(event)
    return RecordedEvent(at_s=_seconds(entry), sent_by=sent_by, event=event)


def _closed(entry: Mapping[str, Any]) -> RecordedClose:
    end = entry["closed"]
    if not isinstance(end, dict):
        raise _Wrong("'closed' is no JSON object")
    code = end.get("code")
    if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 4999:
        raise _Wrong("'code' is missing, or no close code")
    by = _one_of(end, "by", ("client", "server", "network"))
    return RecordedClose(at_s=_seconds(entry), code=code, reason=_text(end, "reason"), closed_by=by)


def _seconds(entry: Mapping[str, Any]) -> float:
    at_s = entry.get("at")
    # Comparing is exact for integers of any size, and false for NaN.
    if not isinstance(at_s, (int, float)) or isinstance(at_s, bool) or not 0 <= at_s <= 1e9 or math.isnan(at_s):
        raise _Wrong("'at' is missing, or no number of seconds")
    return at_s


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise _Wrong(f"{name!r} is missing, or no text")
    return value


def _one_of(entry: Mapping[str, Any], name: str, allowed: tuple[str, ...]) -> Any:
    value = entry.get(name)
    if not isinstance(value, str) or value not in allowed:
        raise _Wrong(f"{name!r} is missing, or none of {', '.join(allowed)}")
    return value


def _check_lengths(value: object) -> None:
    # A file of unknown origin must not make gigabytes of silence.
    if isinstance(value, Mapping):
        for each in value.values():
            _check_lengths(each)
    elif isinstance(value, list):
        for each in value:
            _check_lengths(each)
    elif (
        isinstance(value, str)
        and (found := _LEFT_OUT.fullmatch(value))
        and (len(found[1]) > 9 or int(found[1]) > _LONGEST_AUDIO)
    ):
        raise _Wrong(f"more audio left out than an event can carry: {value[:60]}")


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"{path}:{number}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RecordingError(f"{path}:{number}: a line of a recording is a JSON object")
    return value
