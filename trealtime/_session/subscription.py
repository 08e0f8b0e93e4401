"""Subscriptions: bounded queues of session events, each with one reader; and the one that each loop reads.

Theory of operation
1. The session puts and never waits; one consumer takes. A subscription is a memory channel with a policy around it.
2. Audio is bounded in seconds, other events in number and in bytes: an event counts for as many as the message of the
   server that it came with. Past a bound the overflow policy holds: ``"fail"`` empties the
   subscription and raises `SlowConsumer` at its consumer; ``"drop_oldest_audio"`` drops from the old end, counts it,
   and leaves one `RealtimeAudioDropped` in its place.
3. A subscription that has not been read yet (`unread`) drops its oldest audio under every policy: a session that is
   never iterated neither fails nor grows. The policy holds from the first read on.
4. Each event sits in a slot, a list of the event and its bytes. An interrupt takes an event out of the middle of the
   queue by emptying its slot, at the same cost for any length; empty slots are swept out once they are the majority.
5. Each ``history_updated`` event holds the whole history, so only the newest few are kept.
6. A loop over the session that ends leaves its subscription to the garbage collector, which may run in another thread
   or in the middle of a delivery. So it only sets a mark (`abandon`); the next `put` closes the subscription.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import AsyncIterator, Callable, Collection
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

import attrs
import trio

from trealtime._session.wakeup import Sleeper, Turns
from trealtime._value import Shown, Value
from trealtime.audio.formats import PCM16_24K, AudioFormat
from trealtime.errors import SlowConsumer
from trealtime.events import RealtimeAudio, RealtimeAudioDropped, RealtimeSessionEvent

if TYPE_CHECKING:
    from trealtime._session.config import RealtimeRunConfig
    from trealtime._session.driver import Driver
    from trealtime._session.lifetime import Lifetime

__all__ = [
    "EVENT_TYPES",
    "Overflow",
    "SessionIterator",
    "SessionLoops",
    "Subscription",
    "SubscriptionStatistics",
    "Subscriptions",
    "check_bounds",
    "check_event_types",
]

Overflow = Literal["fail", "drop_oldest_audio"]

EVENT_TYPES: Final[tuple[str, ...]] = tuple(
    str(attrs.fields_dict(event_class)["type"].default) for event_class in get_args(RealtimeSessionEvent)
)
"""The type strings of all session events."""

HISTORY_SNAPSHOTS: Final = 64
"""The number of unread ``history_updated`` events that a subscription keeps."""

_Slot = list[Any]
"""``[event, bytes]``; the event is None once it has gone."""


def check_event_types(types: Collection[str]) -> frozenset[str] | None:
    """Return the filter for a subscription, None for all events when `types` is empty. Raises ValueError for an unknown
    type."""
    for name in types:
        if name not in EVENT_TYPES:
            import difflib

            close = difflib.get_close_matches(str(name), EVENT_TYPES, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise ValueError(f"unknown event type {name!r}{hint} Allowed: {', '.join(EVENT_TYPES)}")
    return frozenset(types) or None


_LONGEST_S: Final = 1e9
"""A bound in seconds above which there is no other: some 30 years of audio."""


def check_bounds(buffer_s: float | None, overflow: Overflow | None) -> None:
    """Raise ValueError for a bound or a policy that a subscription cannot have; None is the run config's."""
    if buffer_s is not None and not 0 <= buffer_s < math.inf:
        raise ValueError(f"buffer_s must be a finite number of 0 or more, got {buffer_s!r}")
    if overflow is not None and overflow not in get_args(Overflow):
        raise ValueError(f"overflow must be {' or '.join(map(repr, get_args(Overflow)))}, got {overflow!r}")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SubscriptionStatistics(Value):
    """Counts of one subscription, now and so far. Times are seconds of audio."""

    name: str
    events_queued: int
    """Events other than audio that wait now."""
    events_peak: int
    """Events other than audio: the most that waited at once."""
    event_bytes_queued: int
    """The size of the messages that the waiting events came with."""
    audio_queued_s: float
    audio_peak_s: float
    """The most audio that waited at once."""
    taken: int
    """Events that the consumer has taken, audio included."""
    audio_dropped_s: float
    """Audio dropped by the overflow policy, or before the first read."""
    audio_purged_s: float
    """Audio taken out by interrupts."""
    events_dropped: int
    """Events other than audio, dropped by the overflow policy."""
    history_superseded: int
    """Unread ``history_updated`` events that newer ones replaced."""


class Subscription(trio.abc.ReceiveChannel[RealtimeSessionEvent]):
    """A bounded channel of session events with one reader; made by `RealtimeSession.subscribe`.

    Iterate it (``async for event in subscription``), or call `receive` and `receive_nowait`. When the session ends it
    gives what is queued, then raises `trio.EndOfChannel`; a lost connection is raised as `ConnectionLost` first, once
    for the whole session. Leaving ``with subscription`` or ``async with subscription`` closes it. Leaving is no
    checkpoint, so it never replaces an exception that passes through.
    """

    # In a dict of its own they would take five times the space, and a session has several of these.
    __slots__ = (
        "_audio",
        "_audio_bound",
        "_audio_bytes",
        "_audio_bytes_peak",
        "_buffer_bytes",
        "_buffer_events",
        "_buffer_s",
        "_closed",
        "_dropped_bytes",
        "_ended",
        "_event_bytes",
        "_events",
        "_events_dropped",
        "_events_peak",
        "_failure",
        "_marker",
        "_on_close",
        "_on_end",
        "_on_shed",
        "_on_taken",
        "_overflow",
        "_purged_bytes",
        "_queue",
        "_sleeper",
        "_snapshots",
        "_superseded",
        "_taken",
        "_turns",
        "_types",
        "_unread_s",
        "abandoned",
        "audio_format",
        "name",
        "on_overflow",
        "on_put",
        "responses",
        "unread",
    )

    def __init__(
        self,
        *,
        name: str = "subscription",
        types: frozenset[str] | None = None,
        buffer_s: float = 600.0,
        buffer_events: int = 10_000,
        buffer_bytes: int = 64 * 2**20,
        overflow: Overflow = "fail",
        unread_s: float | None = None,
        responses: list[str] | None = None,
        audio_format: AudioFormat = PCM16_24K,
        on_taken: Callable[[RealtimeAudio], None] | None = None,
        on_shed: Callable[[RealtimeAudio], None] | None = None,
        on_end: Callable[[], Exception | None] | None = None,
        on_close: Callable[[Subscription], None] | None = None,
    ) -> None:
        self.name = name
        self.responses = responses
        """When not None: only events of these responses come in. There are several when tools were called."""

        self.on_put: Callable[[RealtimeSessionEvent], None] | None = None
        """Sees every event that passes the filters, before it is queued."""

        self.on_overflow: Callable[[], None] | None = None
        """Called when the subscription has failed; its consumer gets the error when it next takes something."""

        self.abandoned = False
        """The loop that read this subscription has gone, see `abandon`."""

        self.unread: bool = unread_s is not None
        """Not read yet: drop audio beyond `unread_s`, raise nothing, and do not report the dropped audio."""
        self._types = types
        self._buffer_s = buffer_s
        self._unread_s = buffer_s if unread_s is None else unread_s
        self._buffer_events = buffer_events
        self._buffer_bytes = buffer_bytes
        self._overflow: Overflow = overflow
        self._on_taken = on_taken
        self._on_shed = on_shed
        self._on_end = on_end
        self._on_close = on_close
        self._queue: list[_Slot] = []
        self._audio: list[_Slot] = []
        self._snapshots: list[_Slot] = []
        self._marker: _Slot | None = None
        self._events = 0
        self._event_bytes = 0
        self._closed = False
        self._ended = False
        self._failure: SlowConsumer | None = None
        self._sleeper = Sleeper()
        self._turns = Turns()
        self._audio_bytes = 0
        self._audio_bytes_peak = 0
        self._events_peak = 0
        self._taken = 0
        self._dropped_bytes = 0
        self._purged_bytes = 0
        self._events_dropped = 0
        self._superseded = 0
        self.use_format(audio_format)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "ended" if self._ended else "open"
        waiting = self.statistics()
        queued = f"{waiting.events_queued} events and {waiting.audio_queued_s:.1f} s of audio waiting"
        return f"<Subscription of {self.name}, {state}, {queued}>"

    # ---- in: the session's side, all of it synchronous -----------------------------------------------------------

    def put(self, event: RealtimeSessionEvent, n_bytes: int = 0) -> None:
        """Queue an event if it passes the filters; past a bound, do what the policy says. `n_bytes` is the size of the
        message that it came with."""
        if self.abandoned:
            self.close()
            return
        kind = event.type
        if self._types is not None and kind not in self._types:
            return
        if self.responses is not None and getattr(event, "response_id", None) not in self.responses:
            return
        if self._closed or self._ended or self._failure is not None:
            return
        if self.on_put is not None:
            self.on_put(event)
        slot: _Slot = [event, n_bytes]
        self._queue.append(slot)
        if event.type == "audio":
            self._audio.append(slot)
            self._audio_bytes += len(event.audio.data)
            if self._audio_bytes > self._audio_bytes_peak:
                self._audio_bytes_peak = self._audio_bytes
            if self._audio_bytes > self._audio_bound:
                self._overflowed()
        else:
            self._events += 1
            self._event_bytes += n_bytes
            self._events_peak = max(self._events_peak, self._events)
            if kind == "history_updated":
                self._supersede(slot)
            if self._events > self._buffer_events or self._event_bytes > self._buffer_bytes:
                self._overflowed()
        self._sleeper.wake()

    def wants(self, kind: str) -> bool:
        """Whether events of this type pass the filter."""
        return self._types is None or kind in self._types

    def takes(self, response_id: str) -> bool:
        """Whether this subscription has a reader whose taking of audio of this response counts as playing it."""
        if self.unread or self.abandoned or self._failure is not None or self._on_taken is None:
            return False
        return self.wants("audio") and (self.responses is None or response_id in self.responses)

    def purge(self, response_id: str) -> None:
        """Throw away the queued audio of one response."""
        kept: list[_Slot] = []
        for slot in self._audio:
            event = slot[0]
            assert isinstance(event, RealtimeAudio)
            if event.audio.response_id == response_id:
                slot[0] = None
                self._audio_bytes -= len(event.audio.data)
                self._purged_bytes += len(event.audio.data)
            else:
                kept.append(slot)
        self._audio = kept
        self._sweep()

    def end(self) -> None:
        """Let the consumer take what is queued, then end."""
        self._ended = True
        self._sleeper.wake()

    def begin(self) -> None:
        """Note the first read: from here on the overflow policy holds."""
        self.unread = False
        self.use_format(self.audio_format)

    def use_format(self, audio_format: AudioFormat) -> None:
        """Set the format of the audio to come, in which the bound is counted."""
        self.audio_format = audio_format
        bound_s = self._unread_s if self.unread else self._buffer_s
        self._audio_bound = audio_format.bytes_for_ms(min(bound_s, _LONGEST_S) * 1000)

    # ---- out: the consumer's side --------------------------------------------------------------------------------

    def receive_nowait(self) -> RealtimeSessionEvent:
        """Return the next event without waiting.

        Raises `trio.WouldBlock` when there is none now, `trio.EndOfChannel` when there will be none, `ConnectionLost`
        in place of that where the connection was lost and this is the first to say so, `SlowConsumer` after an
        overflow, and `trio.ClosedResourceError` once this subscription is closed.
        """
        if self._closed:
            raise trio.ClosedResourceError("this subscription is closed")
        if self.unread:
            self.begin()
        if self._failure is not None:
            raise self._failure
        queue = self._queue
        while queue:
            slot = queue.pop(0)
            event: RealtimeSessionEvent | None = slot[0]
            if event is None:
                continue
            # The marker and the snapshots may still hold this slot: empty it, so that they see that its event is gone.
            slot[0] = None
            self._taken += 1
            if event.type == "audio":
                self._audio.pop(0)
                self._audio_bytes -= len(event.audio.data)
                if self._on_taken is not None:
                    self._on_taken(event)
            else:
                self._events -= 1
                self._event_bytes -= slot[1]
            return event
        if not self._ended:
            raise trio.WouldBlock
        error = self._on_end() if self._on_end is not None else None
        if error is not None:
            raise error
        raise trio.EndOfChannel

    async def receive(self) -> RealtimeSessionEvent:
        """Wait for the next event and return it. If cancelled, no event is lost. Raises as `receive_nowait`.

        A pending cancellation is raised at every event. While events wait to be taken, other tasks do not run before
        each of them, but at least once a millisecond.
        A second task that waits here at the same time gets `trio.BusyResourceError`: give it a subscription of its own.
        """
        if self.unread:
            self.begin()
        # Hot: the checkpoint comes before the event is taken, so that what happens meanwhile (an interrupt) counts.
        if self._events or self._audio or self._over:
            await self._turns.checkpoint()
        while not (self._events or self._audio or self._over):
            await self._sleeper.sleep()
            self._turns.begin()
        return self.receive_nowait()

    @property
    def _over(self) -> bool:
        return self._ended or self._closed or self._failure is not None

    def close(self) -> None:
        """Drop what is queued and accept nothing more; a `receive` that waits raises `trio.ClosedResourceError`.

        Closing it again does nothing.
        """
        if self._closed:
            return
        self._closed = True
        self._clear()
        self._sleeper.wake()
        if self._on_close is not None:
            self._on_close(self)

    def abandon(self) -> None:
        """Close at the next event. This may be called from any thread, and in the middle of a delivery."""
        self.abandoned = True

    async def aclose(self) -> None:
        """Close, with a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def audio_bound(self) -> int:
        """How many bytes of audio may be queued."""
        return self._audio_bound

    @property
    def has_audio(self) -> bool:
        """Whether audio waits to be taken."""
        return bool(self._audio)

    @property
    def speaking(self) -> set[str]:
        """The responses whose audio waits to be taken."""
        return {event.response_id for slot in self._audio if isinstance(event := slot[0], RealtimeAudio)}

    def statistics(self) -> SubscriptionStatistics:
        """Return numbers about this subscription; at any time."""
        return SubscriptionStatistics(
            name=self.name,
            events_queued=self._events,
            events_peak=self._events_peak,
            event_bytes_queued=self._event_bytes,
            audio_queued_s=self._seconds(self._audio_bytes),
            audio_peak_s=self._seconds(self._audio_bytes_peak),
            taken=self._taken,
            audio_dropped_s=self._seconds(self._dropped_bytes),
            audio_purged_s=self._seconds(self._purged_bytes),
            events_dropped=self._events_dropped,
            history_superseded=self._superseded,
        )

    # ---- bounds --------------------------------------------------------------------------------------------------

    def _overflowed(self) -> None:
        if self._overflow == "fail" and not self.unread:
            statistics = self.statistics()
            self._failure = SlowConsumer(
                f"{self.name} was not read: it held {statistics.audio_queued_s:.1f} s of audio and "
                f"{statistics.events_queued} other events of {statistics.event_bytes_queued} bytes, the bounds are "
                f"{self._buffer_s:g} s, {self._buffer_events} and {self._buffer_bytes} bytes",
                statistics=statistics,
            )
            while self._audio:
                self._report_shed(self._audio.pop(0)[0])
            self._clear()
            if self.on_overflow is not None:
                self.on_overflow()
            return
        while self._audio_bytes > self._audio_bound:
            self._shed_audio()
        while self._events > self._buffer_events or self._event_bytes > self._buffer_bytes:
            self._drop_event()
        self._sweep()

    def _shed_audio(self) -> None:
        slot = self._audio.pop(0)
        event = slot[0]
        assert isinstance(event, RealtimeAudio)
        n_bytes = len(event.audio.data)
        dropped_ms = self.audio_format.duration_ms(n_bytes)
        self._audio_bytes -= n_bytes
        self._dropped_bytes += n_bytes
        slot[0] = None
        self._report_shed(event)
        if self._types is not None and "audio_dropped" not in self._types:
            return
        marker = self._marker[0] if self._marker is not None else None
        if (
            self._marker is not None
            and isinstance(marker, RealtimeAudioDropped)
            and (marker.item_id, marker.content_index) == (event.item_id, event.content_index)
        ):
            self._marker[0] = attrs.evolve(marker, dropped_ms=marker.dropped_ms + dropped_ms)
        else:
            slot[1] = 0
            slot[0] = RealtimeAudioDropped(
                item_id=event.item_id, content_index=event.content_index, dropped_ms=dropped_ms, info=event.info
            )
            self._marker = slot
            self._events += 1

    def _report_shed(self, event: RealtimeSessionEvent | None) -> None:
        assert isinstance(event, RealtimeAudio)
        if self._on_shed is not None and not self.unread:
            self._on_shed(event)

    def _drop_event(self) -> None:
        while self._queue[0][0] is None:
            self._queue.pop(0)
        for slot in self._queue:
            event = slot[0]
            if event is not None and event.type != "audio":
                slot[0] = None
                self._events -= 1
                self._event_bytes -= slot[1]
                self._events_dropped += 1
                return

    def _supersede(self, newest: _Slot) -> None:
        snapshots = self._snapshots
        snapshots.append(newest)
        while snapshots[0][0] is None:
            snapshots.pop(0)
        if len(snapshots) > HISTORY_SNAPSHOTS:
            superseded = snapshots.pop(0)
            superseded[0] = None
            self._events -= 1
            self._event_bytes -= superseded[1]
            self._superseded += 1
            self._sweep()

    def _sweep(self) -> None:
        if len(self._queue) > 2 * (self._events + len(self._audio)) + 64:
            self._queue = [slot for slot in self._queue if slot[0] is not None]

    def _clear(self) -> None:
        self._queue.clear()
        self._audio.clear()
        self._snapshots.clear()
        self._marker = None
        self._audio_bytes = self._events = self._event_bytes = 0

    def _seconds(self, n_bytes: int) -> float:
        return self.audio_format.duration_ms(n_bytes) / 1000


@attrs.frozen(eq=False, repr=False)
class Subscriptions(Shown):
    """Makes the subscriptions of one session."""

    _driver: Driver
    _lifetime: Lifetime
    _run: RealtimeRunConfig

    def new(
        self,
        name: str,
        *,
        types: frozenset[str] | None = None,
        buffer_s: float | None = None,
        overflow: Overflow | None = None,
        unread_s: float | None = None,
        responses: list[str] | None = None,
        playback: bool = True,
        tells_loss: bool = True,
    ) -> Subscription:
        """Subscribe to what comes from now on; see `Subscription` for the arguments that are not named here.

        `playback`: audio counts as being played when it is taken. `tells_loss`: the end may raise `ConnectionLost`. On
        a session that has ended, the subscription ends at once.
        """
        subscription = Subscription(
            name=name,
            types=types,
            buffer_s=self._run.subscription_buffer_s if buffer_s is None else buffer_s,
            buffer_events=self._run.subscription_buffer_events,
            buffer_bytes=self._run.subscription_buffer_bytes,
            overflow=self._run.subscription_overflow if overflow is None else overflow,
            unread_s=unread_s,
            responses=responses,
            audio_format=self._driver.core.output_format,
            on_taken=self._driver.handed_out if playback else None,
            on_shed=self._driver.shed if playback else None,
            on_end=self._lifetime.end_of_subscription if tells_loss else None,
            on_close=self._driver.drop_subscription,
        )
        self._driver.add_subscription(subscription)
        if self._lifetime.disconnected:
            subscription.end()
        return subscription


class SessionIterator(AsyncIterator[RealtimeSessionEvent]):
    """One ``async for event in session``."""

    def __init__(self, subscription: Subscription, *, owns_subscription: bool) -> None:
        self._subscription = subscription
        if owns_subscription:
            # When this iterator goes, nothing can read its subscription any more.
            weakref.finalize(self, subscription.abandon)

    async def __anext__(self) -> RealtimeSessionEvent:
        """Wait for the next event. If cancelled, no event is lost and iteration may go on."""
        try:
            return await self._subscription.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StopAsyncIteration from None


class SessionLoops:
    """Gives each loop over a session its subscription.

    The first loop reads `own`, which holds everything since entry. Loops of the same task, one after another or nested,
    share it. A loop that another task begins meanwhile gets a subscription of its own, from then on, so that the two do
    not take each other's events; once the first has ended, the next loop goes on where it left off.
    """

    def __init__(self, own: Subscription, new_subscription: Callable[[], Subscription]) -> None:
        self._own = own
        self._new_subscription = new_subscription
        self._holder: weakref.ref[SessionIterator] | None = None
        self._task: trio.lowlevel.Task | None = None

    def begin(self) -> SessionIterator:
        """Begin a loop in the current task."""
        task = trio.lowlevel.current_task()
        held = self._holder() if self._holder is not None else None
        if held is not None and self._task is not task:
            return SessionIterator(self._new_subscription(), owns_subscription=True)
        self._own.begin()
        iterator = SessionIterator(self._own, owns_subscription=False)
        if held is None:
            self._holder, self._task = weakref.ref(iterator), task
        return iterator
