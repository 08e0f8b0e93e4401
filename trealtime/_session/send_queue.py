"""The send queue: messages that wait to be written to the connection.

Theory of operation
1. Two lanes. Urgent events (cancel, truncate, clear) leave first; the others leave in the order in which they came, so
   that ``append ... commit ... create`` stays a sequence.
2. Only the writer task takes from it. All others put, which is synchronous: a cancelled call has queued its event whole
   or not at all, and never leaves half a frame on the wire.
3. A piece of microphone audio that comes while the writer sleeps goes to the connection in the step of the caller
   (`SendQueue.put_audio`), which spares a turn of the scheduler. A writer that sleeps has nothing in hand, and nothing
   is queued, so no message is overtaken; a message that is queued wakes it, and others queue behind that until it
   sleeps again. A turn brings its own way to its own connection, or none. A piece within `STRAIGHT_S` of the last one
   that went so is queued, so that pieces of a caller who is faster than any microphone leave together, in one write.
4. Callers wait *before* they put, for room of their kind: microphone audio is bounded in seconds, other events in
   number. The core's own events (`SendQueue.put`) never wait, because the reader carries them out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import trio

from trealtime._session.wakeup import Sleeper
from trealtime._value import Value
from trealtime.audio.formats import PCM16_24K, AudioFormat
from trealtime.protocol.codec import encode, encode_append

__all__ = ["MicrophoneAudio", "SendQueue", "SendQueueStatistics", "OutgoingMessage", "encode_outgoing"]

AHEAD: Final = 8
"""The number of messages that wait when a caller with audio begins to give way at each of its own."""

STRAIGHT: Final = 16
"""The number of pieces of audio that leave in the step of their caller until it gives way once, unless other tasks of
the session have run meanwhile. A microphone gives way by itself; a loop that computes for milliseconds at each piece
may not."""

STRAIGHT_S: Final = 0.001
"""The time after which another piece of audio may leave in the step of its caller."""

SendNowait = Callable[[Sequence[str | bytes]], bool]
"""`trealtime.transport.wire.ImmediateWire.send_nowait`."""


@attrs.frozen(eq=False, repr=False)
class MicrophoneAudio(Value):
    """A piece of audio in the input format; it leaves as an ``input_audio_buffer.append``."""

    data: bytes


OutgoingMessage = MicrophoneAudio | Mapping[str, Any]
"""Input audio, or a client event in wire shape."""


def encode_outgoing(message: OutgoingMessage) -> str | bytes:
    """Return the JSON text of the message."""
    return encode_append(message.data) if isinstance(message, MicrophoneAudio) else encode(message)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SendQueueStatistics(Value):
    """Counts of the send queue, now and so far. Times are seconds of audio."""

    audio_queued_s: float
    audio_peak_s: float
    """The most audio that waited at once."""
    events_queued: int
    """Events other than audio that wait now."""
    events_peak: int
    """Events other than audio: the most that waited at once."""
    audio_refused: int
    """Chunks that `RealtimeSession.send_audio_nowait` or a live endpoint dropped because the bound was reached."""
    taken: int
    """Messages that have left the queue for the connection, or never had to wait in it."""


def _none() -> int:
    return 0


class SendQueue(trio.abc.SendChannel[OutgoingMessage]):
    """A queue of two lanes with the interface of a memory channel's send side, and `receive` for the one writer.

    `send` waits while more than `audio_bound_s` of input audio, or more than `event_bound` other events, are queued.
    """

    def __init__(self, *, audio_bound_s: float = 2.0, event_bound: int = 256) -> None:
        self.audio_format: AudioFormat = PCM16_24K
        self._audio_bound_s = audio_bound_s
        self._event_bound = event_bound
        self._urgent: list[OutgoingMessage] = []
        self._fifo: list[OutgoingMessage] = []
        self._audio_bytes = 0
        self._audio_peak_s = 0.0
        self._events = 0
        self._events_peak = 0
        self._refused = 0
        self._taken = 0
        self._closed = False
        self._broken = False
        self._writer = Sleeper()
        self._turn = 0
        self._send_nowait: SendNowait | None = None
        self._straight_from = -math.inf
        self._straight = 0
        self._held_bound_s: float | None = None
        self._held_elsewhere: Callable[[], int] = _none
        self._waiting: trio.lowlevel.ParkingLot | None = None

    # ---- in ------------------------------------------------------------------------------------------------------

    def put(self, message: OutgoingMessage, *, urgent: bool = False) -> None:
        """Queue a message now, even past the bounds. A closed or broken queue drops it."""
        if self._closed or self._broken:
            return
        if isinstance(message, MicrophoneAudio):
            self._audio_bytes += len(message.data)
            self._audio_peak_s = max(self._audio_peak_s, self._audio_queued_s)
        else:
            self._events += 1
            self._events_peak = max(self._events_peak, self._events)
        (self._urgent if urgent else self._fifo).append(message)
        self._writer.wake()

    def put_audio(self, audio: bytes, now: float) -> None:
        """Send a piece of microphone audio now where the writer sleeps, else queue it, even past the bounds."""
        if (
            self._send_nowait is not None
            and self._writer.task is not None
            and now >= self._straight_from
            and self._send_nowait((encode_append(audio),))
        ):
            self._straight_from = now + STRAIGHT_S
            self._straight += 1
            self._taken += 1
        else:
            self.put(MicrophoneAudio(audio))

    def others_ran(self) -> None:
        """Note that a task runs that sends no audio: the scheduler has had its turn since the last piece."""
        self._straight = 0

    async def send(self, value: OutgoingMessage) -> None:
        """Queue a message once there is room for its kind.

        If cancelled, nothing was queued. Raises `trio.ClosedResourceError` after `close` and `trio.BrokenResourceError`
        when the writer is gone.
        """
        await self.wait_for_room(audio=isinstance(value, MicrophoneAudio))
        self.put(value)

    async def wait_for_room(self, *, audio: bool = False) -> None:
        """Wait until one more message of this kind may be queued; always a checkpoint.

        Nothing else runs between the finding of room and the return, so the caller keeps within the bound if it queues
        its message before its next checkpoint. Raises as `send` does.
        """
        self.check_open()
        await trio.lowlevel.checkpoint()
        self._straight = 0
        self.check_open()
        while not self.has_room(audio=audio):
            if self._waiting is None:
                self._waiting = trio.lowlevel.ParkingLot()
            await self._waiting.park()
            self.check_open()

    @property
    def keeps_up(self) -> bool:
        """Whether the writer is so close behind that a caller with audio may send more without giving way to others."""
        return (
            len(self._fifo) < AHEAD
            and self._straight < STRAIGHT
            and (not self._audio_bytes or self._audio_queued_s <= self._audio_bound_s)
            and not (self._closed or self._broken)
        )

    def has_room(self, *, audio: bool = False) -> bool:
        """Whether `send` would take a message of this kind without waiting."""
        if audio:
            bound_s = self._audio_bound_s if self._held_bound_s is None else self._held_bound_s
            return self._audio_queued_s <= bound_s
        return self._events + self._held_elsewhere() <= self._event_bound

    def refuse_audio(self) -> None:
        """Count a chunk that was dropped because there was no room."""
        self._refused += 1

    def check_open(self) -> None:
        """Raise if nothing can be queued any more."""
        if self._closed:
            raise trio.ClosedResourceError("this send queue is closed")
        if self._broken:
            raise trio.BrokenResourceError("the connection of this send queue has ended")

    # ---- out -----------------------------------------------------------------------------------------------------

    async def receive(self, turn: int | None = None) -> OutgoingMessage:
        """Wait for the next message to write, urgent ones first. For the writer only, with its `begin_turn`.

        Raises `trio.EndOfChannel` once the queue is closed and empty, or another writer's turn has begun. It is a
        checkpoint only when it has to wait, because the write that follows is one.
        """
        while not (self._urgent or self._fifo) or turn not in (None, self._turn):
            if self._closed or self._broken or turn not in (None, self._turn):
                raise trio.EndOfChannel
            await self._writer.sleep()
        return self.receive_nowait()

    def receive_nowait(self) -> OutgoingMessage:
        """Return the next message without waiting. Raises `trio.WouldBlock` where none is queued."""
        if not (self._urgent or self._fifo):
            raise trio.WouldBlock
        message = self._urgent.pop(0) if self._urgent else self._fifo.pop(0)
        if isinstance(message, MicrophoneAudio):
            self._audio_bytes -= len(message.data)
        else:
            self._events -= 1
        self._taken += 1
        self._straight = 0  # the writer has run since, and so has everybody else
        self._wake_callers()
        return message

    def __len__(self) -> int:
        return len(self._urgent) + len(self._fifo)

    # ---- from one connection to another --------------------------------------------------------------------------

    def begin_turn(self, send_nowait: SendNowait | None = None) -> int:
        """Another writer takes over: return the number of its turn. The one before gets no more messages.

        `send_nowait` sends on its connection without waiting, for pieces of audio that come while it sleeps in
        `receive`.
        """
        before, self._writer = self._writer, Sleeper()
        self._turn += 1
        self._send_nowait = send_nowait
        before.wake()
        return self._turn

    def hold(self, audio_bound_s: float, events_elsewhere: Callable[[], int]) -> None:
        """Drop the queue when the connection is lost, and give no writer anything. The core sends all of it again.

        Until `release` nothing is queued here. Callers wait past `audio_bound_s` of audio (`hold_audio`), and past the
        bound of other events, of which `events_elsewhere` wait.
        """
        self.begin_turn()
        self._empty()
        self._held_bound_s, self._held_elsewhere = audio_bound_s, events_elsewhere
        self._wake_callers()

    def hold_audio(self, size: int) -> None:
        """Count audio that is kept elsewhere until there is a connection."""
        self._audio_bytes += size

    def release(self) -> None:
        """There is a connection again. Idempotent."""
        self._empty()
        self._held_bound_s, self._held_elsewhere = None, _none
        self._wake_callers()

    def _empty(self) -> None:
        self._urgent.clear()
        self._fifo.clear()
        self._audio_bytes = self._events = 0

    # ---- end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take nothing more; the writer still gets what is queued. Idempotent."""
        self._closed = True
        self._wake_all()

    def break_off(self) -> None:
        """Drop what is queued and take nothing more, because the writer has gone. Idempotent."""
        self._broken = True
        self._empty()
        self._wake_all()

    async def aclose(self) -> None:
        """Close, with a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _wake_callers(self) -> None:
        if self._waiting:
            self._waiting.unpark_all()

    def _wake_all(self) -> None:
        self._wake_callers()
        self._writer.wake()

    # ---- figures -------------------------------------------------------------------------------------------------

    @property
    def audio_bytes(self) -> int:
        """The microphone audio that waits."""
        return self._audio_bytes

    @property
    def _audio_queued_s(self) -> float:
        return self.audio_format.duration_ms(self._audio_bytes) / 1000

    def statistics(self) -> SendQueueStatistics:
        """Return numbers about this queue; at any time."""
        return SendQueueStatistics(
            audio_queued_s=self._audio_queued_s,
            audio_peak_s=self._audio_peak_s,
            events_queued=self._events,
            events_peak=self._events_peak,
            audio_refused=self._refused,
            taken=self._taken,
        )
