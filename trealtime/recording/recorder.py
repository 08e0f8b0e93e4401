"""Recording at the wire: a model around a model. ``RealtimeRunConfig.record`` records a whole session instead."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import attrs
import trio

from trealtime._recordings.recorder import Recorder, header_of
from trealtime._recordings.redact import Redact
from trealtime._recordings.writing import LineEncoder, open_file
from trealtime.transport.models import ConnectionTarget, RealtimeModel
from trealtime.transport.wire import Wire, WireStatistics, immediate_sender, receiver, sender

__all__ = ["RecordingModel"]

_GRACE_S = 3.0


class RecordingModel:
    """A `RealtimeModel` that connects through `model` and records what passes: ``RealtimeRunner(agent,
    model=RecordingModel(OpenAIRealtimeModel(), "call.jsonl"))``.

    It sees the wire and nothing else; `RealtimeRunConfig.record` also records the events of the session and what was
    heard. The first connection is written to `path`, each further one, of another session or after a loss, beside it
    (``call-2.jsonl``), over files of that name, which only their owner may read; a name that ends in ``.gz`` is
    compressed. `audio` and `redact` are as in `RecordingSettings`. Keys, tokens, headers and the user, password and
    query of addresses are never written; people's words are.

    Entering a session raises `OSError` when the file cannot be opened. A recording that fails later (a full disk) ends
    itself and never the session: the log says so, and the session gets an ``error`` event whose code is
    ``"recording_failed"``.
    """

    def __init__(
        self,
        model: RealtimeModel,
        path: str | Path,
        *,
        audio: Literal["keep", "strip"] = "keep",
        redact: Redact | None = None,
    ) -> None:
        if audio not in ("keep", "strip"):
            raise ValueError(f'audio is "keep" or "strip", got {audio!r}')
        self._model = model
        self.reconnects: bool | None = getattr(model, "reconnects", None)
        """As that of the model."""

        self._path = Path(path)
        self._encoder = LineEncoder(audio == "keep", redact)
        self._connections = 0

    def __repr__(self) -> str:
        return f"RecordingModel({type(self._model).__name__}, {str(self._path)!r})"

    @asynccontextmanager
    async def connect(self, target: ConnectionTarget) -> AsyncIterator[Wire]:
        """Open a wire of the model and record it; see `RealtimeModel.connect`."""
        self._connections += 1
        path = self._path
        if self._connections > 1:
            name, dot, suffixes = path.name.partition(".")
            path = path.with_name(f"{name}-{self._connections}{dot}{suffixes}")
        news = _News()
        header = header_of(audio=self._encoder.keeps_audio)
        recorder = Recorder(open_file(path, replace=True), self._encoder, header, news.tell)
        async with recorder.hold(_GRACE_S), recorder.connecting(self._model.connect)(target) as wire:
            yield _TellingWire(wire, news)


@attrs.define(eq=False)
class _News:
    """The failure of the recording, until the session has it."""

    failure: str | None = attrs.field(default=None, init=False)
    receiving: trio.CancelScope | None = attrs.field(default=None, init=False)
    """The scope of a wait for the server, which a failure cancels: so the session learns of it without waiting for a
    message."""

    def tell(self, message: str) -> None:
        self.failure = message
        if self.receiving is not None:
            self.receiving.cancel()


@attrs.frozen(eq=False)
class _TellingWire:
    """A `BatchWire` on which the session also receives the failure of the recording."""

    _wire: Wire
    _news: _News

    async def send(self, message: str) -> None:
        await self._wire.send(message)

    async def send_many(self, messages: Sequence[str | bytes]) -> None:
        await sender(self._wire)(messages)

    def send_nowait(self, messages: Sequence[str | bytes]) -> bool:
        return immediate_sender(self._wire)(messages)

    async def receive(self) -> str | bytes:
        return (await self._received(self._receive_one))[0]

    async def receive_many(self) -> Sequence[str | bytes]:
        return await self._received(receiver(self._wire))

    async def _receive_one(self) -> Sequence[str | bytes]:
        return (await self._wire.receive(),)

    async def _received(self, receive: Callable[[], Awaitable[Sequence[str | bytes]]]) -> Sequence[str | bytes]:
        messages: Sequence[str | bytes] = ()
        if self._news.failure is None:
            try:
                with trio.CancelScope() as self._news.receiving:
                    messages = await receive()
            finally:
                self._news.receiving = None
        else:
            await trio.lowlevel.checkpoint()
        if messages:
            return messages
        # The one way from here to the app: an error event about a client event that was never sent.
        error = {"type": "recording_error", "code": "recording_failed", "message": self._news.failure}
        self._news.failure = None
        return (json.dumps({"type": "error", "error": {**error, "event_id": "trealtime_recording"}}),)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await self._wire.aclose(code, reason)

    def statistics(self) -> WireStatistics:
        return self._wire.statistics()
