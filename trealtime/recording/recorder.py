"""Recording: a model around a model, and a wire around its wire."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Literal

import attrs
import trio

from trealtime.recording.file import VERSION, Side, writable
from trealtime.transport.models import ConnectionTarget, RealtimeModel
from trealtime.transport.wire import Wire, WireClosed, WireStatistics

__all__ = ["RecordingModel"]

logger = logging.getLogger(__name__)


class RecordingModel:
    """A `RealtimeModel` that connects through `model` and records what passes: ``RealtimeRunner(agent,
    model=RecordingModel(OpenAIRealtimeModel(), "call.jsonl"))``.

    The first session is written to `path`, further ones beside it (``call-2.jsonl``); what is there is replaced. Each
    event is written as it passes, so a crash loses nothing. `audio` ``"strip"`` leaves audio out and tells its length.
    Keys, tokens and headers are never written; what people say is.

    Entering a session raises `OSError` when the file cannot be opened. A disk that fills up later ends the recording,
    which is logged, and not the session.
    """

    def __init__(self, model: RealtimeModel, path: str | Path, *, audio: Literal["keep", "strip"] = "keep") -> None:
        if audio not in ("keep", "strip"):
            raise ValueError(f'audio is "keep" or "strip", got {audio!r}')
        self._model = model
        self._path = Path(path)
        self._audio: Literal["keep", "strip"] = audio
        self._sessions = 0

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        """A wire of the model, recorded; see `RealtimeModel.connect`."""
        async with self._model.connect(target) as wire:
            self._sessions += 1
            path = self._path
            if self._sessions > 1:
                path = path.with_name(f"{path.stem}-{self._sessions}{path.suffix}")
            # A line at a time into the page cache: quicker than a thread would be, and there after a crash.
            with path.open("w", encoding="utf-8", buffering=1) as file:
                record = _Record(file, keeps_audio=self._audio == "keep")
                record.line({"trealtime_recording": VERSION, "audio": self._audio})
                yield _RecordedWire(wire, record)


@attrs.define(eq=False)
class _Record:
    """The file that is written, until that fails."""

    _file: IO[str]
    keeps_audio: bool = attrs.field(kw_only=True)
    _began_at: float = attrs.field(init=False, factory=trio.current_time)
    _open: bool = attrs.field(init=False, default=True)
    _closed: bool = attrs.field(init=False, default=False)

    def note(self, sent_by: Side, message: str | bytes) -> None:
        try:
            event = json.loads(message)
        except ValueError:
            event = None
        if isinstance(event, dict):
            self._entry({"from": sent_by, "event": writable(event, audio=self.keeps_audio)})
        else:
            text = message if isinstance(message, str) else message.decode("utf-8", "replace")
            self._entry({"from": sent_by, "text": text})

    def note_end(self, end: WireClosed) -> None:
        if not self._closed:
            self._closed = True
            self._entry({"closed": {"code": end.code, "reason": end.reason, "by": end.closed_by}})

    def line(self, value: dict[str, Any]) -> None:
        if not self._open:
            return
        try:
            self._file.write(json.dumps(value, ensure_ascii=False) + "\n")
        except OSError as error:
            self._open = False
            logger.error("the recording %s ends here: %s", self._file.name, error)

    def _entry(self, entry: dict[str, Any]) -> None:
        self.line({"at": round(trio.current_time() - self._began_at, 6), **entry})


@attrs.frozen(eq=False)
class _RecordedWire:
    """A `Wire` that notes what passes."""

    _wire: Wire
    _record: _Record

    async def send(self, message: str) -> None:
        # Before it is sent: the answer may be there first.
        self._record.note("client", message)
        await self._wire.send(message)

    async def receive(self) -> str | bytes:
        try:
            message = await self._wire.receive()
        except WireClosed as end:
            self._record.note_end(end)
            raise
        self._record.note("server", message)
        return message

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        self._record.note_end(WireClosed(code, reason, closed_by="client"))
        await self._wire.aclose(code, reason)

    def statistics(self) -> WireStatistics:
        return self._wire.statistics()
