"""The recorder of one session: it notes what happens, and a task of its own writes it.

Theory of operation
1. Noting is synchronous and cheap: a value and the time go to the end of a queue. Nothing is encoded there, and nothing
   waits.
2. The task writes what has come whenever a turn or a connection ends, a quarter of a megabyte waits, or the oldest line
   has waited for a second. So a running file can be read, a turn behind at most.
3. Encoding, compressing and writing happen in a thread: a disk that stalls holds up nothing. Under a mock clock they
   happen in the task itself, because virtual time would jump ahead of a thread.
4. The queue is bounded in bytes. What finds it full is lost: counted, told in the log once, and in the file where the
   lines are missing.
5. A recording that fails (a full disk, a `redact` that raises) ends itself and never the session. It says so once, with
   `on_failure`.
"""

from __future__ import annotations

import io
import platform
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import trio

from trealtime._log import Log
from trealtime._recordings.lines import VERSION, Header, Line, read_line
from trealtime._recordings.session_events import event_data
from trealtime._recordings.writing import LineEncoder, Sink
from trealtime._secrets import redacted_url, stand_in, withheld
from trealtime._version import __version__
from trealtime.metrics import RecordingStatistics
from trealtime.terminal import text_of
from trealtime.transport.background import background_nursery
from trealtime.transport.wire import (
    Side,
    Wire,
    WireClosed,
    WireStatistics,
    immediate_sender,
    other_side,
    receiver,
    sender,
)

if TYPE_CHECKING:
    from trealtime.events import RealtimeSessionEvent
    from trealtime.transport.models import ConnectionTarget

__all__ = ["Connect", "Recorder", "header_of"]

logger = Log("trealtime.recording")

QUEUE_BYTES: Final = 32 * 2**20
"""What may wait for the disk: some ten minutes of a call."""

WRITE_BYTES: Final = 256 * 2**10
WRITE_AFTER_S: Final = 1.0
_SLICE: Final = 256
"""Lines that one step encodes where there is no thread."""

_LINE_BYTES: Final = 200
"""What a line takes beside its message."""

_TURN_ENDS: Final = frozenset({"agent_end", "turn_ended", "audio_interrupted"})

Connect: TypeAlias = "Callable[[ConnectionTarget], AbstractAsyncContextManager[Wire]]"
"""`RealtimeModel.connect`."""

_Message = tuple[float, Side, str | bytes, int]
_Noted = _Message | dict[str, Any]


def header_of(*, audio: bool, **values: Any) -> dict[str, Any]:
    """Return the header of a recording that begins now; `values` go into it as they are."""
    return {
        "trealtime_recording": VERSION,
        "audio": "keep" if audio else "strip",
        "versions": {"trealtime": __version__, "python": platform.python_version(), "trio": trio.__version__},
        "clock": {"unix_s": round(time.time(), 3), "trio_s": trio.current_time()},
        **values,
    }


@attrs.frozen(eq=False)
class _Written:
    """The result of writing some lines; `failure` is the reason why the rest of them is not written."""

    lines: int
    size: int
    failure: Exception | None


@attrs.define(eq=False)
class Recorder:
    """Notes and writes; use `hold` around the session. `header` is the first line (`header_of`)."""

    _sink: Sink
    _encoder: LineEncoder
    _header: Mapping[str, Any]
    _on_failure: Callable[[str], None] = attrs.field(default=lambda _message: None)
    _bound: int = QUEUE_BYTES
    _began_at: float = attrs.field(init=False)
    _queue: deque[_Noted] = attrs.field(factory=deque, init=False)
    _waiting: int = attrs.field(default=0, init=False)
    _writing: tuple[_Noted, ...] = attrs.field(default=(), init=False)
    """What the thread works on."""

    _written: int = attrs.field(default=0, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _lost: int = attrs.field(default=0, init=False)
    _missing: int = attrs.field(default=0, init=False)
    """Lines lost since the last one that was noted."""

    _failure: str | None = attrs.field(default=None, init=False)
    _ending: bool = attrs.field(default=False, init=False)
    _connections: int = attrs.field(default=0, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _due: trio.Event = attrs.field(factory=trio.Event, init=False)
    _done: trio.Event = attrs.field(factory=trio.Event, init=False)
    _scope: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True), init=False)

    def __attrs_post_init__(self) -> None:
        clock = self._header.get("clock")
        self._began_at = clock["trio_s"] if isinstance(clock, Mapping) else trio.current_time()
        self._queue.append(dict(self._header))

    # ---- what happens --------------------------------------------------------------------------------------------

    def note_event(self, event: RealtimeSessionEvent) -> None:
        """Note an event of the session."""
        data = event_data(event)
        if data is None:
            return
        size = 0
        if event.type == "transcript_delta" or event.type == "text_delta":
            size = len(event.delta)
        self._note({"at": self._now(), "session": data}, size, ends_turn=event.type in _TURN_ENDS)

    def note_heard(self, item_id: str, content_index: int, heard_ms: float, until_ms: float) -> None:
        """Note the report of an endpoint or tracker: it has played up to `heard_ms`, and plays on to `until_ms`."""
        self._note_playback(item_id, content_index, heard_ms=heard_ms, until_ms=until_ms)

    def note_taken(self, item_id: str, content_index: int, start_ms: float, end_ms: float) -> None:
        """Note that the app has taken audio from a subscription, to play it."""
        self._note_playback(item_id, content_index, from_ms=start_ms, until_ms=end_ms)

    def _note_playback(self, item_id: str, content_index: int, **positions: float) -> None:
        rounded = {name: round(value, 3) for name, value in positions.items()}
        self._note({"at": self._now(), "playback": {"item_id": item_id, "content_index": content_index, **rounded}}, 0)

    def _now(self) -> float:
        return round(trio.current_time() - self._began_at, 6)

    def _note_messages(self, sent_by: Side, messages: Sequence[str | bytes], wire: int = 1) -> None:
        now = self._now()
        for message in messages:
            self._note((now, sent_by, message, wire), len(message))

    def _note(self, noted: _Noted, size: int, *, ends_turn: bool = False) -> None:
        if self._failure is not None or self._ending:
            return
        if self._waiting + size > self._bound:
            self._lost += 1
            self._missing += 1
            if self._lost == 1:
                logger.warning("the recording %s loses lines: %d bytes wait for the disk", self.name, self._waiting)
            return
        if self._missing:
            self._queue.append({"at": self._now(), "lost": self._missing})
            self._missing = 0
        self._queue.append(noted)
        self._waiting += size + _LINE_BYTES
        self._news.set()
        if ends_turn or self._waiting > WRITE_BYTES:
            self._due.set()

    # ---- the wire ------------------------------------------------------------------------------------------------

    def connecting(self, connect: Connect) -> Connect:
        """Return `connect` with connections that are recorded."""

        @asynccontextmanager
        async def recorded(target: ConnectionTarget) -> AsyncIterator[Wire]:
            self._connections += 1
            about: dict[str, Any] = {"number": self._connections}
            if target.url is not None:
                about["url"] = redacted_url(target.url)
            opened = False
            try:
                async with connect(target) as wire:
                    opened = True
                    self._note_connection(about)
                    yield _RecordedWire(wire, self, number=about["number"])
            except Exception as error:
                if not opened:
                    self._note_connection({**about, "failed": f"{type(error).__name__}: {text_of(error)}"})
                raise

        return recorded

    def serving(self, wire: Wire) -> Wire:
        """Return the server's end of a connection, recorded."""
        self._connections += 1
        self._note_connection({"number": self._connections})
        return _RecordedWire(wire, self, "server", number=self._connections)

    def _note_connection(self, about: Mapping[str, Any]) -> None:
        self._note({"at": self._now(), "connection": about}, 0, ends_turn=True)

    def _note_end(self, end: WireClosed, wire: int) -> None:
        closed = {"code": end.code, "reason": end.reason, "by": end.closed_by}
        which = {"wire": wire} if wire > 1 else {}
        self._note({"at": self._now(), **which, "closed": closed}, 0, ends_turn=True)

    # ---- the task ------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def hold(self, grace_s: float) -> AsyncIterator[None]:
        """Write what is noted in a block, and at its end the rest, for at most `grace_s`."""
        async with background_nursery() as nursery:
            nursery.start_soon(self._run)
            try:
                yield
            finally:
                self._ending = True
                self._news.set()
                self._due.set()
                # Bounded, also for a disk that takes nothing.
                self._scope.deadline = trio.current_time() + grace_s
                with trio.CancelScope(shield=True):
                    await self._done.wait()

    async def _run(self) -> None:
        try:
            with self._scope:  # its deadline comes with the end of `hold`
                await self._work()
        finally:
            if self._scope.cancelled_caught:
                self._fail(TimeoutError("the disk took too long at the end of the session"))
            self._done.set()

    async def _work(self) -> None:
        # Only a mock clock can jump.
        in_thread = not hasattr(trio.lowlevel.current_clock(), "autojump_threshold")
        while self._failure is None:
            if not self._ending:
                await self._news.wait()
                with trio.move_on_after(WRITE_AFTER_S):
                    await self._due.wait()
            self._news, self._due = trio.Event(), trio.Event()
            last = self._ending
            while self._queue and self._failure is None:
                await self._write_waiting(in_thread=in_thread)
            if last:
                break
        await self._close(in_thread=in_thread)

    async def _write_waiting(self, *, in_thread: bool) -> None:
        count = len(self._queue) if in_thread else min(len(self._queue), _SLICE)
        self._writing = tuple(self._queue.popleft() for _ in range(count))
        if not self._queue:
            self._waiting = 0
        try:
            if in_thread:
                written = await trio.to_thread.run_sync(self._write, self._writing, abandon_on_cancel=True)
            else:
                written = self._write(self._writing)
                await trio.lowlevel.checkpoint()
        except Exception as error:  # noqa: BLE001  # a recording must not end what it records, for any reason
            self._fail(error)
            return
        self._writing = ()
        self._written += written.lines
        self._bytes += written.size
        if written.failure is not None:
            self._fail(written.failure)

    def _write(self, noted: tuple[_Noted, ...]) -> _Written:
        """Encode and write, up to the first line that cannot be encoded. The part that runs in a thread."""
        data = io.BytesIO()
        lines = 0
        failure: Exception | None = None
        try:
            for line in self._encoded(noted):
                lines += data.write(line) > 0
        except Exception as error:  # noqa: BLE001  # mostly of the app's `redact`
            failure = error
        self._sink.write(data.getvalue())
        return _Written(lines, data.tell(), failure)

    def _encoded(self, noted: Sequence[_Noted]) -> Iterator[bytes]:
        for each in noted:
            yield self._encoder.encode(each) if isinstance(each, dict) else self._encoder.encode_message(*each)

    async def _close(self, *, in_thread: bool) -> None:
        try:
            if in_thread:
                await trio.to_thread.run_sync(self._sink.close, abandon_on_cancel=True)
            else:
                self._sink.close()
        except OSError as error:
            logger.error("the end of the recording %s is lost: %s", self.name, error)

    def _fail(self, error: Exception) -> None:
        if self._failure is not None:
            return
        self._failure = f"the recording {self.name} ends here: {text_of(error)}"
        self._queue.clear()
        if isinstance(error, OSError):
            logger.error("%s", self._failure, exc_info=error)
        else:  # a `redact` of the app's, which may quote the line
            logger.error("the recording %s ends here", self.name, exc_info=stand_in(error, text_of=withheld))
        self._on_failure(self._failure)

    # ---- questions -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The file, or ``"in memory"``."""
        return self._sink.name

    def statistics(self) -> RecordingStatistics:
        """Return numbers about the recording; at any time."""
        return RecordingStatistics(
            name=self.name,
            lines=self._written,
            bytes=self._bytes,
            waiting_bytes=self._waiting,
            lost=self._lost,
            failure=self._failure,
        )

    def so_far(self) -> tuple[Header, Iterator[Line]]:
        """Return what has been noted until now: what has been written is read again, what waits is added."""
        header = Header(version=VERSION, audio=self._encoder.keeps_audio, values=dict(self._header))
        return header, self._lines_so_far(self._written, (*self._writing, *self._queue))

    def _lines_so_far(self, written: int, waiting: Sequence[_Noted]) -> Iterator[Line]:
        rest = b""
        number = 0
        for block in self._sink.blocks():
            *lines, rest = (rest + block).split(b"\n")
            for raw in lines:
                number += 1
                # The first is the header. The thread may have written more by now, which is in `waiting` too.
                if 1 < number <= written and (line := read_line(raw)) is not None:
                    yield line
        for position, raw in enumerate(self._encoded(waiting)):
            if (written or position) and raw and (line := read_line(raw)) is not None:
                yield line


@attrs.frozen(eq=False)
class _RecordedWire:
    """A `BatchWire` that notes the messages that pass; it is the end of `_side`."""

    _wire: Wire
    _recorder: Recorder
    _side: Side = "client"
    number: int = attrs.field(default=1, kw_only=True)
    _ended: list[bool] = attrs.field(factory=list, init=False)

    @property
    def response_headers(self) -> Mapping[str, str]:
        """The headers of the server's answer to the handshake, where the wire has them."""
        headers: Mapping[str, str] = getattr(self._wire, "response_headers", {})
        return headers

    async def send(self, message: str) -> None:
        # Before it is sent: the answer may come back before `send` returns.
        self._recorder._note_messages(self._side, (message,), self.number)
        await self._wire.send(message)

    async def send_many(self, messages: Sequence[str | bytes]) -> None:
        self._recorder._note_messages(self._side, messages, self.number)
        await sender(self._wire)(messages)

    def send_nowait(self, messages: Sequence[str | bytes]) -> bool:
        sent = immediate_sender(self._wire)(messages)
        if sent:
            self._recorder._note_messages(self._side, messages, self.number)
        return sent

    async def receive(self) -> str | bytes:
        return (await self._received(self._receive_one))[0]

    async def receive_many(self) -> Sequence[str | bytes]:
        return await self._received(receiver(self._wire))

    async def _receive_one(self) -> Sequence[str | bytes]:
        return (await self._wire.receive(),)

    async def _received(self, receive: Callable[[], Awaitable[Sequence[str | bytes]]]) -> Sequence[str | bytes]:
        try:
            messages = await receive()
        except WireClosed as end:
            self._end(end)
            raise
        self._recorder._note_messages(other_side(self._side), messages, self.number)
        return messages

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        self._end(WireClosed(code, reason, closed_by=self._side))
        await self._wire.aclose(code, reason)

    def statistics(self) -> WireStatistics:
        return self._wire.statistics()

    def _end(self, end: WireClosed) -> None:
        if not self._ended:
            self._ended.append(True)
            self._recorder._note_end(end, self.number)
