"""The file of a recording.

JSON lines. The first is ``{"trealtime_recording": 1, "audio": "keep"}``; then one for each event,
``{"at": 0.125, "from": "server", "event": {...}}``, `at` in seconds since the connection opened; what was no JSON
object stands as ``"text"`` in place of the ``"event"``. The last is
``{"at": 9.5, "closed": {"code": 1000, "reason": "", "by": "client"}}``.

Audio that was left out is told by its length, ``"<4800 bytes of audio>"``. Values that let somebody in are never
written: they are ``"<removed>"``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import attrs
import pybase64

from trealtime.errors import RecordingError

__all__ = ["VERSION", "RecordedClose", "RecordedEvent", "Recording", "left_out", "load_recording", "writable"]

VERSION: Final = 1
Side = Literal["client", "server"]

_REMOVED: Final = "<removed>"
_SECRETS: Final = frozenset(
    {"api_key", "apikey", "authorization", "client_secret", "cookie", "ephemeral_key", "headers", "password", "secret"}
)
_LEFT_OUT: Final = re.compile(r"<(\d+) bytes of audio>")


@attrs.frozen(kw_only=True)
class RecordedEvent:
    """A wire event: when it passed in seconds since the connection opened, who sent it, and what it was (the text of it
    where it was no JSON object)."""

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
    """One connection. `closed` is None where the recording stops before it ended; `audio` False: it was left out."""

    events: tuple[RecordedEvent, ...]
    closed: RecordedClose | None
    audio: bool


def writable(value: Any, *, audio: bool, event_type: str = "") -> Any:
    """`value`, which is an event or a part of one, without secrets, and without its audio unless that is kept."""
    if isinstance(value, list):
        return [writable(each, audio=audio, event_type=event_type) for each in value]
    if not isinstance(value, Mapping):
        return value
    kind = value.get("type")
    kind = kind if isinstance(kind, str) else event_type
    written: dict[str, Any] = {}
    for key, each in value.items():
        is_audio = key == "audio" or (key == "delta" and kind.endswith("audio.delta"))
        if str(key).lower() in _SECRETS and each is not None:
            written[key] = _REMOVED
        elif is_audio and isinstance(each, str) and not audio:
            written[key] = _audio_left_out(each)
        else:
            written[key] = writable(each, audio=audio, event_type=kind)
    return written


def _audio_left_out(data: str) -> str:
    return f"<{len(data) * 3 // 4 - data[-2:].count('=')} bytes of audio>"


def left_out(value: Any, *, silence: bytes) -> Any:
    """`value` with `silence`, a byte repeated, where audio was left out."""
    if isinstance(value, Mapping):
        return {key: left_out(each, silence=silence) for key, each in value.items()}
    if isinstance(value, list):
        return [left_out(each, silence=silence) for each in value]
    if isinstance(value, str) and (found := _LEFT_OUT.fullmatch(value)):
        return pybase64.b64encode_as_string(silence * int(found[1]))
    return value


def load_recording(path: str | Path) -> Recording:
    """Read a recording. Raises `RecordingError` with file and line for what is none, and `OSError`."""
    path = Path(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    head = _object(path, 1, lines[0] if lines else "")
    if head.get("trealtime_recording") != VERSION:
        raise RecordingError(f'{path}:1: not a recording: it begins with {{"trealtime_recording": {VERSION}}}')
    events: list[RecordedEvent] = []
    closed: RecordedClose | None = None
    for number, line in enumerate(lines[1:], 2):
        entry = _object(path, number, line)
        try:
            if "closed" in entry:
                end = entry["closed"]
                closed = RecordedClose(at_s=entry["at"], code=end["code"], reason=end["reason"], closed_by=end["by"])
            else:
                event = entry["event"] if "event" in entry else entry["text"]
                events.append(RecordedEvent(at_s=entry["at"], sent_by=entry["from"], event=event))
        except (KeyError, TypeError) as error:
            raise RecordingError(f"{path}:{number}: {error} is missing") from None
    return Recording(events=tuple(events), closed=closed, audio=head.get("audio") == "keep")


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise RecordingError(f"{path}:{number}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RecordingError(f"{path}:{number}: a line of a recording is a JSON object")
    return value
