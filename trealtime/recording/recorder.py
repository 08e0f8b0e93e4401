"""Recording: a model around a model, and a wire around its wire."""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Literal

import attrs
import trio

from trealtime.recording.file import VERSION, Side, writable
from trealtime.transport.models import ConnectionTarget, RealtimeModel
from trealtime.transport.wire import Wire, WireClosed, WireStatistics, receiver, sender

__all__ = ["RecordingModel"]

logger = logging.getLogger(__name__)


class RecordingModel:
    """A `RealtimeModel` that connects through `model` and records what passes: ``RealtimeRunner(agent,
    model=RecordingModel(OpenAIRealtimeModel(), "call.jsonl"))``.

    The first session is written to `path`, further ones beside it (``call-2.jsonl``), over files of that name, which
    only their owner may read. Each event is written as it passes, so a crash loses nothing. `audio` ``"strip"`` leaves
    audio out and notes its length. Keys, tokens, headers and the user, password and query of addresses are never
    written; people's words are.

    Entering a session raises `OSError` when the file cannot be opened. A recording that fails later (a full disk) ends
    itself and never the session: the log says so, and the session gets an ``error`` event whose code is
    ``"recording_failed"``.
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
        """Open a wire of the model and record it; see `RealtimeModel.connect`."""
        async with self._model.connect(target) as wire:
            self._sessions += 1
            path = self._path
            if self._sessions > 1:
                path = path.with_name(f"{path.stem}-{self._sessions}{path.suffix}")
            record = _Record(_open_private(path), keeps_audio=self._audio == "keep")
            try:
                record.line({"trealtime_recording": VERSION, "audio": self._audio})
                yield _RecordedWire(wire, record)
            finally:
                record.close()


def _open_private(path: Path) -> IO[str]:
    # A line at a time into the page cache: quicker than a thread would be, and there after a crash. Half an emoji has
    # no UTF-8 form; as \udXXX it is JSON all the same.
    private = functools.partial(os.open, mode=0o600)
    file = open(path, "w", encoding="utf-8", errors="backslashreplace", buffering=1, opener=private)  # noqa: SIM115
    if hasattr(os, "fchmod"):
        os.fchmod(file.fileno(), 0o600)  # it may have been there before
    return file


@attrs.define(eq=False)
class _Record:
    """The file of one session. It ends itself when writing fails."""

    _file: IO[str]
    keeps_audio: bool = attrs.field(kw_only=True)
    _began_at: float = attrs.field(init=False, factory=trio.current_time)
    _open: bool = attrs.field(init=False, default=True)
    _closed: bool = attrs.field(init=False, default=False)
    failure: str | None = attrs.field(init=False, default=None)
    """The reason why the recording has ended before its time, until the session has it."""

    receiving: trio.CancelScope | None = attrs.field(init=False, default=None)
    """The scope of a wait for the server, which a failure cancels: so the session learns of it without waiting for a
    message."""

    def note(self, sent_by: Side, message: str | bytes) -> None:
        if not self._open:
            return
        try:
            event = json.loads(message)
            shown = writable(event, audio=self.keeps_audio) if isinstance(event, dict) else None
        except ValueError:
            shown = None
        except RecursionError:
            self._entry({"from": sent_by, "text": f"<{len(message)} characters, nested too deeply>"})
            return
        if shown is not None:
            self._entry({"from": sent_by, "event": shown})
        else:
            text = message if isinstance(message, str) else bytes(message).decode("utf-8", "replace")
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
        except Exception as error:  # noqa: BLE001  # a recording must not end what it records, for any reason
            self._fail(error)

    def close(self) -> None:
        self._open = False
        try:
            self._file.close()
        except OSError as error:
            logger.error("the end of the recording %s is lost: %s", self._file.name, error)

    def _fail(self, error: Exception) -> None:
        self._open = False
        self.failure = f"the recording {self._file.name} ends here: {error}"
        logger.error("%s", self.failure, exc_info=error)
        if self.receiving is not None:
            self.receiving.cancel()

    def _entry(self, entry: dict[str, Any]) -> None:
        self.line({"at": round(trio.current_time() - self._began_at, 6), **entry})


@attrs.frozen(eq=False)
class _RecordedWire:
    """A `BatchWire` that notes the messages that pass."""

    _wire: Wire
    _record: _Record

    async def send(self, message: str) -> None:
        # Before it is sent: the answer may come back before `send` returns.
        self._record.note("client", message)
        await self._wire.send(message)

    async def receive(self) -> str | bytes:
        return (await self._received(self._receive_one))[0]

    async def receive_many(self) -> Sequence[str | bytes]:
        return await self._received(receiver(self._wire))

    async def send_many(self, messages: Sequence[str | bytes]) -> None:
        for message in messages:
            self._record.note("client", message)
        await sender(self._wire)(messages)

    async def _receive_one(self) -> Sequence[str | bytes]:
        return (await self._wire.receive(),)

    async def _received(self, receive: Callable[[], Awaitable[Sequence[str | bytes]]]) -> Sequence[str | bytes]:
        messages: Sequence[str | bytes] = ()
        if self._record.failure is None:
            try:
                with trio.CancelScope() as self._record.receiving:
                    messages = await receive()
            except WireClosed as end:
                self._record.note_end(end)
                raise
            finally:
                self._record.receiving = None
        else:
            await trio.lowlevel.checkpoint()
        if not messages:
            # The one way from here to the app: an error event about a client event that was never sent.
            error = {"type": "recording_error", "code": "recording_failed", "message": self._record.failure}
            self._record.failure = None
            return (json.dumps({"type": "error", "error": {**error, "event_id": "trealtime_recording"}}),)
        for message in messages:
            self._record.note("server", message)
        return messages

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        self._record.note_end(WireClosed(code, reason, closed_by="client"))
        await self._wire.aclose(code, reason)

    def statistics(self) -> WireStatistics:
        return self._wire.statistics()
