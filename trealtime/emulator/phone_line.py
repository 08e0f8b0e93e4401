"""The line between a caller, a session of the emulator, and the connections that watch it.

Theory of operation
1. To the session the line is its wire. The caller's audio comes out of `receive` as ``input_audio_buffer.append``,
   frame by frame, silence included: a telephone line is never mute. The events of sideband connections come out too.
2. The line passes the session's events to all sideband connections, except the agent's audio: that it plays to the
   caller, in real time. So the line knows how much has been played, and says so (``output_audio_buffer.*``).
3. When the user interrupts, or a client clears the buffer, the line falls silent at once and has the item truncated at
   the heard position: a client of a call need not.
4. The line closes a sideband connection that does not read; the call goes on. The line ends with the call, and closes
   all sideband connections.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
import msgspec
import numpy as np
import pybase64
import trio
from numpy.typing import NDArray

from trealtime.audio.formats import PCM16_24K, AudioFormat, parse_audio_format
from trealtime.audio.pcm import from_int16, to_int16
from trealtime.audio.resample import Resampler
from trealtime.emulator.event_buffer import Ids
from trealtime.protocol.codec import encode
from trealtime.transport.wire import Wire, WireClosed, WireEnd, WireStatistics

__all__ = ["LINE_RATE", "Earpiece", "PhoneLine"]

LINE_RATE: Final = 24_000
"""Samples per second at the caller's end."""

_FRAME_S: Final = 0.02
_FRAME: Final = int(LINE_RATE * _FRAME_S)
_KEPT_FRAMES: Final = 30_000  # ten minutes
_OURS: Final = "line_"


class Earpiece:
    """The agent's audio that the caller has heard, in the order of playing; the last ten minutes of it."""

    def __init__(self) -> None:
        self.frames_heard = 0
        self._frames: deque[NDArray[np.int16]] = deque(maxlen=_KEPT_FRAMES)
        self._news = trio.lowlevel.ParkingLot()

    def play(self, frame: NDArray[np.int16]) -> None:
        """One more frame has been played."""
        self._frames.append(frame)
        self.frames_heard += 1
        self._news.unpark_all()

    def wake(self) -> None:
        """No more audio will come: wake all who wait for it."""
        self._news.unpark_all()

    async def wait(self) -> None:
        """Wait for the next frame, or `wake`."""
        await self._news.park()

    def since(self, frame: int) -> NDArray[np.int16]:
        """Return the audio heard from the `frame`-th frame on, as far as it is kept."""
        kept = list(self._frames)[max(0, len(self._frames) - (self.frames_heard - frame)) :]
        return np.concatenate([np.zeros(0, np.int16), *kept])


@attrs.define(eq=False)
class _Part:
    """The agent's audio of one content part, as far as it has come and has not been played."""

    response_id: str
    item_id: str
    content_index: int
    format: AudioFormat
    heard: int = 0
    """Samples played, at `LINE_RATE`."""

    waiting: NDArray[np.int16] = attrs.field(factory=lambda: np.zeros(0, np.int16))
    _resampler: Resampler = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._resampler = Resampler(self.format.rate, LINE_RATE)

    def add(self, data: bytes) -> None:
        self.waiting = np.concatenate([self.waiting, self._resampler.process(to_int16(data, self.format))])

    def finish(self) -> None:
        self.waiting = np.concatenate([self.waiting, self._resampler.flush()])


@attrs.define(eq=False)
class _Sideband:
    """A sideband connection."""

    queue: trio.MemorySendChannel[str]
    n_bytes: int = 0
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)


class PhoneLine:
    """The wire of a call's session. Run `run` beside the session; `end` ends both.

    `queued_events`, and `queued_bytes`, may wait for a sideband connection before it is closed.
    """

    def __init__(self, ids: Ids, *, queued_events: int, queued_bytes: int = 16 * 2**20, close_timeout_s: float) -> None:
        self.earpiece: Earpiece = Earpiece()
        self.on_event: Callable[[Mapping[str, Any]], None] = lambda event: None
        """Called with each event that the line itself sends."""

        self._ids = ids
        self._queued_events = queued_events
        self._queued_bytes = queued_bytes
        self._close_timeout_s = close_timeout_s
        self._to_session, self._inbox = trio.open_memory_channel[str | bytes](64)
        self._said, self._microphone = trio.open_memory_channel[NDArray[np.int16]](0)
        self._sidebands: list[_Sideband] = []
        self._session: Mapping[str, Any] | None = None
        self._opened = trio.Event()
        self._ended = trio.Event()
        self._end = WireEnd(1000, "", "server")
        self._input_format = self._output_format = PCM16_24K
        self._upwards = Resampler(LINE_RATE, LINE_RATE)
        self._parts: deque[_Part] = deque()
        self._playing: str | None = None
        self._done: deque[str] = deque(maxlen=64)
        self._more = trio.lowlevel.ParkingLot()

    # ---- the session's side: a Wire ----------------------------------------------------------------------------

    async def send(self, message: str) -> None:
        """Send an event of the session to the caller's earpiece or to all sideband connections."""
        await trio.lowlevel.checkpoint()
        if self._ended.is_set():
            raise self._end.error()
        self._pass(msgspec.json.decode(message), message)

    async def receive(self) -> str | bytes:
        """Wait for the next message of the line or a sideband connection. Raises `WireClosed` when the call is over."""
        try:
            return await self._inbox.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise self._end.error() from None

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """The session ends, and the call with it."""
        self.end(code, reason)
        await trio.lowlevel.checkpoint()

    def statistics(self) -> WireStatistics:
        """Return zeros: a line counts nothing."""
        return WireStatistics()

    # ---- the caller's side -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry the audio both ways until the call ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._carry_in)
            nursery.start_soon(self._carry_out)
            await self._ended.wait()
            nursery.cancel_scope.cancel()

    async def say(self, samples: NDArray[np.int16]) -> None:
        """Speak into the line, in real time; returns when it has been said, or at once when the line is dead."""
        for start in range(0, len(samples), _FRAME):
            frame = samples[start : start + _FRAME]
            try:
                await self._said.send(np.pad(frame, (0, _FRAME - len(frame))))
            except trio.BrokenResourceError:
                return

    def press(self, digit: str, *, received_at: int) -> None:
        """Report a key press to the sideband connections: the one server event that has no id."""
        event = {"type": "input_audio_buffer.dtmf_event_received", "event": digit, "received_at": received_at}
        self._tell_and_note(event)

    def end(self, code: int = 1000, reason: str = "") -> None:
        """End the call. Idempotent."""
        if self._ended.is_set():
            return
        self._end = WireEnd(code, reason, "server")
        self._ended.set()
        self._opened.set()
        self._to_session.close()
        self._microphone.close()
        for sideband in self._sidebands:
            sideband.queue.close()
            sideband.scope.deadline = trio.current_time() + self._close_timeout_s
        self.earpiece.wake()

    # ---- sideband connections ----------------------------------------------------------------------------------

    async def attach(self, wire: Wire) -> None:
        """Serve one sideband connection until it leaves or the call ends."""
        await self._opened.wait()
        if self._ended.is_set():
            await wire.aclose(self._end.code, self._end.reason)
            return
        queue, outgoing = trio.open_memory_channel[str](self._queued_events)
        sideband = _Sideband(queue)
        self._sidebands.append(sideband)
        event = {"type": "session.created", "event_id": self._ids.new("event"), "session": self._session}
        opening = encode(event)
        queue.send_nowait(opening)
        sideband.n_bytes = len(opening)
        try:
            with sideband.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, wire)
                    await self._write(wire, outgoing, sideband)
                    nursery.cancel_scope.cancel()
        finally:
            self._sidebands.remove(sideband)
        # A client that has left is closed already, and then this does nothing.
        await wire.aclose(
            *((self._end.code, self._end.reason) if self._ended.is_set() else (1008, "It does not read."))
        )

    async def _read(self, wire: Wire) -> None:
        try:
            while True:
                await self._to_session.send(await wire.receive())
        except (WireClosed, trio.ClosedResourceError):
            pass

    async def _write(self, wire: Wire, outgoing: trio.MemoryReceiveChannel[str], sideband: _Sideband) -> None:
        try:
            async for message in outgoing:
                await wire.send(message)
                sideband.n_bytes -= len(message)
        except WireClosed:
            pass

    def _tell(self, message: str) -> None:
        for sideband in self._sidebands:
            try:
                sideband.queue.send_nowait(message)
                sideband.n_bytes += len(message)
            except trio.WouldBlock:
                sideband.n_bytes = self._queued_bytes
            if sideband.n_bytes >= self._queued_bytes:
                sideband.scope.cancel()

    def _tell_and_note(self, event: Mapping[str, Any]) -> None:
        self.on_event(event)
        self._tell(encode(event))

    def _emit(self, kind: str, fields: Mapping[str, Any]) -> None:
        self._tell_and_note({"type": kind, "event_id": self._ids.new("event"), **fields})

    # ---- events on their way -----------------------------------------------------------------------------------

    def _pass(self, event: Mapping[str, Any], message: str) -> None:
        match event["type"]:
            case "session.created" | "session.updated":
                self._configure(event["session"])
            case "response.output_audio.delta":
                self._play(event)
                return
            case "response.output_audio.done":
                self._finish(event)
            case "response.done":
                self._done.append(event["response"]["id"])
                self._more.unpark_all()
            case "input_audio_buffer.speech_started" if self._interrupts():
                self._tell(message)
                self._clear(tell=True)
                return
            case "output_audio_buffer.cleared":
                self._clear(tell=False)
            case "error" if str(event["error"].get("event_id")).startswith(_OURS):
                return
        self._tell(message)

    def _configure(self, session: Mapping[str, Any]) -> None:
        audio = session["audio"]
        self._session = session
        self._opened.set()
        if "output" in audio:
            self._output_format = parse_audio_format(audio["output"]["format"])
        given = parse_audio_format(audio["input"]["format"])
        if given != self._input_format:
            self._input_format, self._upwards = given, Resampler(LINE_RATE, given.rate)

    def _interrupts(self) -> bool:
        detection = (self._session or {}).get("audio", {}).get("input", {}).get("turn_detection")
        return bool(detection) and detection["interrupt_response"]

    # ---- the caller's earpiece --------------------------------------------------------------------------------------

    def _part(self, event: Mapping[str, Any]) -> _Part | None:
        place = (event["item_id"], event["content_index"])
        return next((part for part in self._parts if (part.item_id, part.content_index) == place), None)

    def _play(self, event: Mapping[str, Any]) -> None:
        part = self._part(event)
        if part is None:
            part = _Part(event["response_id"], event["item_id"], event["content_index"], self._output_format)
            self._parts.append(part)
        part.add(pybase64.b64decode(event["delta"]))
        self._more.unpark_all()

    def _finish(self, event: Mapping[str, Any]) -> None:
        part = self._part(event)
        if part is not None:
            part.finish()
            self._more.unpark_all()

    async def _carry_out(self) -> None:
        next_at = -math.inf
        while True:
            while not self._parts or not len(self._parts[0].waiting):
                if not self._step_over():
                    await self._more.park()
            part = self._parts[0]
            if self._playing != part.response_id:
                self._playing = part.response_id
                self._emit("output_audio_buffer.started", {"response_id": part.response_id})
            frame, part.waiting = part.waiting[:_FRAME], part.waiting[_FRAME:]
            next_at = max(next_at, trio.current_time()) + len(frame) / LINE_RATE
            await trio.sleep_until(next_at)
            if self._parts and self._parts[0] is part:  # else it was cleared meanwhile
                part.heard += len(frame)
                self.earpiece.play(frame)

    def _step_over(self) -> bool:
        """Leave a part, and a response, that has been played to its end; return whether there was one to leave."""
        if self._parts and (len(self._parts) > 1 or self._parts[0].response_id in self._done):
            self._parts.popleft()
            return True
        if not self._parts and self._playing is not None and self._playing in self._done:
            self._emit("output_audio_buffer.stopped", {"response_id": self._playing})
            self._playing = None
            return True
        return False

    def _clear(self, *, tell: bool) -> None:
        """Fall silent: drop the audio that waits, and cut the conversation at the heard position."""
        if self._playing is not None and tell:
            self._emit("output_audio_buffer.cleared", {"response_id": self._playing})
        for part in self._parts:
            self._inject(
                {
                    "type": "conversation.item.truncate",
                    "item_id": part.item_id,
                    "content_index": part.content_index,
                    "audio_end_ms": math.floor(part.heard * 1000 / LINE_RATE),
                }
            )
        self._parts.clear()
        self._playing = None
        self._more.unpark_all()

    def _inject(self, event: Mapping[str, Any]) -> None:
        try:
            self._to_session.send_nowait(encode({**event, "event_id": self._ids.new("line")}))
        except (trio.WouldBlock, trio.ClosedResourceError):
            pass  # the call is over, or its session takes no event: then its items keep more than was heard

    # ---- the caller's microphone ------------------------------------------------------------------------------------

    async def _carry_in(self) -> None:
        await self._opened.wait()
        silence = np.zeros(_FRAME, np.int16)
        next_at = trio.current_time()
        while True:
            next_at = max(next_at, trio.current_time() - 1.0) + _FRAME_S
            await trio.sleep_until(next_at)
            try:
                frame = self._microphone.receive_nowait()
            except trio.WouldBlock:
                frame = silence
            except trio.ClosedResourceError:
                return
            audio = from_int16(self._upwards.process(frame), self._input_format)
            event = {"type": "input_audio_buffer.append", "audio": pybase64.b64encode_as_string(audio)}
            try:
                await self._to_session.send(encode({**event, "event_id": self._ids.new("line")}))
            except trio.ClosedResourceError:
                return
