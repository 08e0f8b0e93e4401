"""Replay: a scripted server that repeats a recorded one.

Theory of operation
1. The client's recorded events are expected in their order; the server's follow after the recorded delays. Audio of the
   microphone is not expected: it comes in other pieces each time.
2. Ids are the client's own to choose, so those that it chooses now take the place of the recorded ones in all that the
   server says.
3. Two events of a client are the same when they differ in nothing but ids, audio and the positions that were heard.
   Settings (``session.update``) may differ: they belong to the agent under test.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from trealtime._secrets import redacted
from trealtime.protocol.client_events import CLIENT_EVENT_TYPES
from trealtime.protocol.lenient import as_text, within
from trealtime.recording.file import RecordedClose, RecordedEvent, RecordedLine, left_out, read_recording
from trealtime.testing.script import Emit, Event, Expect, Script, Step, UnconsumedRealtimeSteps, close, wait
from trealtime.testing.scripted_server import ScriptedServer, open_scripted_server

__all__ = ["replay", "script_of"]

_LOST: Final = (1011, "The recorded connection was lost here.")
_IDS: Final = frozenset(
    {"id", "event_id", "item_id", "previous_item_id", "call_id", "response_id", "approval_request_id"}
)
_NOT_COMPARED: Final = _IDS | {"metadata", "audio", "audio_end_ms"}
_SILENCE: Final = {"audio/pcm": b"\x00", "audio/pcmu": b"\xff", "audio/pcma": b"\xd5"}


def replay(
    path: str | Path, *, strict: bool = True, listen: bool = False, host: str = "127.0.0.1", port: int = 0
) -> AbstractAsyncContextManager[ScriptedServer]:
    """Make a server that repeats the recorded one; enter it with ``async with``.

    Its first client gets the first connection of the recording, the next one the second. `ScriptedServer.memory_model`
    is for a runner, in real time or under Trio's mock clock; `listen` opens a socket as well, at `ScriptedServer.url`.
    With `strict` the block raises `UnexpectedRealtimeSend` if the client's events differ from the recorded ones;
    without, the server answers them as any server does. Events of the client that have not come when the block ends
    raise `UnconsumedRealtimeSteps`; it may leave before the last words of the server. The recording is held in memory.
    Raises `RecordingError` for a file that is no recording.
    """
    return _replaying(_scripts(path), strict=strict, listen=listen, host=host, port=port)


@asynccontextmanager
async def _replaying(
    scripts: Sequence[Script], *, strict: bool, listen: bool, host: str, port: int
) -> AsyncIterator[ScriptedServer]:
    server: ScriptedServer | None = None
    try:
        async with open_scripted_server(
            *scripts, strict=strict, greet=False, listen=listen, host=host, port=port
        ) as server:
            yield server
    except UnconsumedRealtimeSteps:
        if server is None or any(isinstance(step, Expect) for step in server.remaining_steps):
            raise


def script_of(path: str | Path) -> Script:
    """Return the steps that replay the first connection of a recording, to change them or to play them yourself.

    Play them with ``open_scripted_server(steps, greet=False)``. Raises `RecordingError`.
    """
    return _scripts(path)[0]


def _scripts(path: str | Path) -> list[Script]:
    """Return the steps of each connection, in the order in which they were opened."""
    began_at: dict[int, float] = {}
    connections: dict[int, list[RecordedEvent | RecordedClose]] = {}
    for line in read_recording(path):
        if isinstance(line, RecordedLine):
            number = line.value.get("number", 1)
            if line.kind == "connection" and "failed" not in line.value and isinstance(number, int):
                began_at[number] = line.at_s
        elif isinstance(line, (RecordedEvent, RecordedClose)):
            connections.setdefault(line.connection, []).append(line)
    return [_script(entries, began_at.get(number, 0.0)) for number, entries in sorted(connections.items())] or [[]]


def _script(entries: Sequence[RecordedEvent | RecordedClose], began_at: float) -> Script:
    names = _Names()
    steps: list[Step] = []
    silence = _SILENCE["audio/pcm"]
    last_at_s = began_at
    for entry in entries:
        if isinstance(entry, RecordedClose):
            if entry.closed_by != "client":
                steps.append(close(*((entry.code, entry.reason) if entry.closed_by == "server" else _LOST)))
            break
        if not isinstance(entry.event, Mapping):
            continue  # it was no event then, so it changed nothing
        event = entry.event
        kind = event.get("type")
        if entry.sent_by == "client":
            if not isinstance(kind, str) or kind == "input_audio_buffer.append" or kind not in CLIENT_EVENT_TYPES:
                continue
            steps.append(Expect(type=kind, where=_Recorded(event, names)))
        else:
            silence = _silence(event, silence)
            if entry.at_s > last_at_s:
                steps.append(wait(round(entry.at_s - last_at_s, 6)))
            steps.append(Emit(what=_Answer(event, silence, names)))
        last_at_s = entry.at_s
    return steps


def _silence(event: Event, silence: bytes) -> bytes:
    """Return the byte of silence in the output format, which the session objects of the server tell."""
    name = as_text(within(event, "session", "audio", "output", "format", "type"))
    return _SILENCE.get(name or "", silence)


@attrs.define
class _Names:
    """The present names of recorded ids."""

    now: dict[str, str] = attrs.field(factory=dict)

    def learn(self, recorded: Any, sent: Any, key: str = "") -> None:
        if isinstance(recorded, Mapping) and isinstance(sent, Mapping):
            for name in recorded.keys() & sent.keys():
                # A value of metadata may be an id too: sessions know their own responses by it.
                self.learn(recorded[name], sent[name], "id" if key == "metadata" else str(name))
        elif isinstance(recorded, list) and isinstance(sent, list):
            for one, other in zip(recorded, sent, strict=False):
                self.learn(one, other, key)
        elif key in _IDS and isinstance(recorded, str) and isinstance(sent, str):
            self.now[recorded] = sent

    def renamed(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self.renamed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.renamed(each) for each in value]
        return self.now.get(value, value) if isinstance(value, str) else value


@attrs.frozen(repr=False)
class _Recorded:
    """Takes the event that was recorded, under any ids."""

    _event: Event
    _names: _Names

    def __call__(self, sent: Event) -> bool:
        # An event is compared in the form in which it would have been written.
        if sent.get("type") != "session.update" and _compared(redacted(sent)) != _compared(self._event):
            return False
        self._names.learn(self._event, sent)
        return True

    def __repr__(self) -> str:
        return f"the recording, {json.dumps(_compared(self._event), ensure_ascii=False)[:300]},"


@attrs.frozen(repr=False)
class _Answer:
    """Makes the event that was recorded, with the ids of today, and silence where its audio was left out."""

    _event: Event
    _silence: bytes
    _names: _Names

    def __call__(self, saved: Mapping[str, Event]) -> Event:
        renamed: Event = self._names.renamed(left_out(self._event, silence=self._silence))
        return renamed

    def __repr__(self) -> str:
        return f"the recording ({self._event.get('type')})"


def _compared(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _compared(each) for key, each in value.items() if key not in _NOT_COMPARED}
    return [_compared(each) for each in value] if isinstance(value, list) else value
