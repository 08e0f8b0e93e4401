"""The agent's audio, from a subscription to an endpoint: convert, cut into pieces, play, and count what was heard.

Theory of operation
1. Pieces wait here until the endpoint takes them. From then on until they are heard they are in the `PlaybackMap`.
2. An interrupt calls `purge` before anything else: it drops the audio of its responses here and flushes the endpoint. A
   `play` that waits is cancelled; audio of one that was already past its wait is flushed as soon as it returns.
3. A flush throws away more than was asked for, where audio of another response was queued as well, or where playback is
   only held. That audio goes back to the pieces that wait, from the position that was heard.
4. The endpoint reports how far it has played; `PlaybackMap` makes positions in items of it, for the core's ledger.
5. The app and a barge-in policy may both hold or duck playback, and neither undoes what the other has asked for:
   playback is held while one of them holds it, and as soft as the softer one asks.
6. One response plays at a time. While the server makes it, the events of another one (out of band, or one that it has
   begun as well) wait in `_PlayOrder`. A response that leaves the user in silence for `PATIENCE_S` gives way.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Final, Literal

import attrs
import trio

from trealtime._core.playback_ledger import PlaybackChange
from trealtime._log import Log
from trealtime._session.driver import Driver
from trealtime._session.subscription import Subscription
from trealtime._value import Shown
from trealtime.audio.formats import AudioFormat
from trealtime.endpoints.conversion import Gain, PartStream
from trealtime.endpoints.endpoint import Endpoint
from trealtime.endpoints.playback_map import Piece, Place, PlaybackMap
from trealtime.errors import SlowConsumer
from trealtime.events import RealtimeAgentEndEvent, RealtimeAudio, RealtimeAudioEnd, RealtimeSessionEvent

__all__ = ["EVENTS", "EndpointOutput"]

EVENTS: Final = frozenset({"audio", "audio_end", "agent_end"})
"""The types of events that an endpoint subscribes to."""

_EndpointEvent = RealtimeAudio | RealtimeAudioEnd | RealtimeAgentEndEvent

logger = Log("trealtime.endpoints")

SILENT_MS: Final = 10_000
"""An endpoint that takes so much audio without a report of it gets a warning in the log."""

PROMPT_MS: Final = 100
"""A new gain is heard within this time: audio that an endpoint holds beyond it is taken back and given again."""

PATIENCE_S: Final = 2.0
"""How long a response may leave the user in silence while another one waits to be played."""


@attrs.define(eq=False, repr=False)
class _PlayOrder(Shown):
    """The events of several responses, put in order: one response after another, as they began to speak."""

    held_bytes: int = attrs.field(default=0, init=False)
    """The audio that waits."""

    _lines: dict[str | None, list[RealtimeSessionEvent]] = attrs.field(factory=dict, init=False)
    """By response; the first one plays, and nothing of it waits."""

    @property
    def crowded(self) -> bool:
        """Whether a response waits for another one to end."""
        return len(self._lines) > 1

    @property
    def waiting_ids(self) -> set[str]:
        """The responses that wait."""
        return {response_id for response_id in list(self._lines)[1:] if response_id is not None}

    def add(self, event: _EndpointEvent) -> list[RealtimeSessionEvent]:
        """Take an event and return those that are due."""
        response_id = event.response_id
        if response_id not in self._lines:
            if event.type != "audio":
                return [event]
            self._lines[response_id] = []
        if response_id != next(iter(self._lines)):
            self._lines[response_id].append(event)
            if event.type == "audio":
                self.held_bytes += len(event.audio.data)
            return []
        return [event, *self.give_way()] if event.type == "agent_end" else [event]

    def give_way(self) -> list[RealtimeSessionEvent]:
        """Let the next response play, and return its events that have waited."""
        due: list[RealtimeSessionEvent] = []
        while self._lines:
            del self._lines[next(iter(self._lines))]
            if not self._lines:
                break
            response_id, events = next(iter(self._lines.items()))
            self._lines[response_id] = []
            self.held_bytes -= _audio_bytes(events)
            due += events
            if events[-1].type != "agent_end":
                break
        return due

    def drop(self, response_ids: Collection[str]) -> list[RealtimeSessionEvent]:
        """Forget these responses, and return the events that are due when they are gone."""
        first = next(iter(self._lines), None)
        for response_id in [each for each in list(self._lines)[1:] if each in response_ids]:
            self.held_bytes -= _audio_bytes(self._lines.pop(response_id))
        return self.give_way() if first is not None and first in response_ids else []


def _audio_bytes(events: Iterable[RealtimeSessionEvent]) -> int:
    return sum(len(event.audio.data) for event in events if event.type == "audio")


class EndpointOutput:
    """The pump of an endpoint that plays `audio_format`. `on_failure` is called with an exception of its `flush`."""

    def __init__(
        self,
        driver: Driver,
        endpoint: Endpoint,
        audio_format: AudioFormat,
        subscription: Subscription,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.audio_format = audio_format
        self.bytes_played = 0
        self.underruns = 0
        self._driver = driver
        self._endpoint = endpoint
        self._subscription = subscription
        self._on_failure = on_failure
        self._open = True
        self._formats: dict[str, AudioFormat] = {}
        self._part: PartStream | None = None
        self._order = _PlayOrder()
        self._waiting: deque[Piece] = deque()
        self._map = PlaybackMap(audio_format)
        self._flushes = 0
        self._gain = Gain()
        self._asked: dict[Literal["app", "policy"], PlaybackChange] = {}
        self._held = False
        self._silent_ms = 0.0
        self._plays_until = -math.inf
        """When the user has heard all that the endpoint was given."""
        self._resumed = trio.Event()
        self._listening = trio.CancelScope()
        self._playing = trio.CancelScope()
        subscription.on_put, subscription.on_overflow = self._note_format, self._give_up
        driver.output = self
        driver.do(driver.core.use_reports, reporting=True)

    @property
    def queue_s(self) -> float:
        """How much of the audio that the endpoint was given is still to be heard."""
        return self._map.waiting_ms(trio.current_time()) / 1000

    # ---- the pump ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Pump until the session ends or the far side has left."""
        try:
            while True:
                await self._play(await self._next_piece())
        except (trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _next_piece(self) -> Piece:
        while True:
            if self._held:
                await self._resumed.wait()
            elif self._waiting:
                return self._waiting.popleft()
            else:
                with trio.CancelScope(deadline=self._give_way_at) as self._listening:
                    self._take(await self._subscription.receive())
                if trio.current_time() >= self._give_way_at:
                    self._make_pieces(self._order.give_way())

    @property
    def _give_way_at(self) -> float:
        """When the response that plays has been silent for too long; never if no other one waits."""
        if not self._order.crowded:
            return math.inf
        return self._plays_until + PATIENCE_S

    async def _play(self, piece: Piece) -> None:
        self._driver.core.begin_part(piece.item_id, piece.content_index)
        position_ms = self._map.give(piece)
        audio = self._gain.apply(piece.audio, self.audio_format)
        self.bytes_played += len(audio)
        flushes = self._flushes
        with trio.CancelScope() as self._playing:
            try:
                await self._endpoint.play(audio, position_ms)
            finally:
                if flushes != self._flushes:
                    self._endpoint.flush()
        now = trio.current_time()
        self._plays_until = now + self._map.waiting_ms(now) / 1000
        self._note_silence(self.audio_format.duration_ms(len(audio)))

    def _note_silence(self, ms: float) -> None:
        """Count audio that was taken since the last report, and warn once when it is more than any path holds."""
        before, self._silent_ms = self._silent_ms, self._silent_ms + ms
        if before < SILENT_MS <= self._silent_ms:
            logger.warning(
                "%s has taken %g s of audio and not reported that any of it was heard (link.heard): interrupts cut "
                "where the last report was, and wait_for_playback does not return",
                type(self._endpoint).__name__,
                SILENT_MS / 1000,
            )

    def _take(self, event: RealtimeSessionEvent) -> None:
        """Make pieces of an event of the subscription, unless it has to wait for another response."""
        assert event.type == "audio" or event.type == "audio_end" or event.type == "agent_end"
        self._make_pieces(self._order.add(event))
        if self._order.held_bytes > self._subscription.audio_bound:
            raise SlowConsumer(
                "another response waits to be played, and more of its audio has come than a subscription holds",
                statistics=self._subscription.statistics(),
            )

    def _make_pieces(self, events: Iterable[RealtimeSessionEvent]) -> None:
        for event in events:
            self._make_pieces_of(event)

    def _make_pieces_of(self, event: RealtimeSessionEvent) -> None:
        part = self._part
        if event.type == "audio":
            chunk, source = event.audio, self._formats[event.response_id]
            if part is None or not part.goes_on_with(chunk, source):
                self._finish_part()
                part = self._part = PartStream(chunk, source, self.audio_format)
            self._waiting += part.convert(chunk.data)
        elif event.type == "audio_end":
            if part is not None and (part.first.item_id, part.first.content_index) == (
                event.item_id,
                event.content_index,
            ):
                self._finish_part()
        elif event.type == "agent_end" and event.response_id is not None:
            if part is not None and part.first.response_id == event.response_id:
                self._finish_part()
            self._formats.pop(event.response_id, None)

    def _note_format(self, event: RealtimeSessionEvent) -> None:
        """Note the format of a response: the one that was acknowledged when it began to speak."""
        if event.type == "audio":
            self._formats.setdefault(event.response_id, self._driver.core.output_format)

    def _finish_part(self) -> None:
        if self._part is not None:
            self._waiting += self._part.finish()
            self._part = None

    def _give_up(self) -> None:
        """Drop everything, because the subscription has failed: `receive` raises its error next."""
        self._waiting.clear()
        self._playing.cancel()

    # ---- what stops and changes it -------------------------------------------------------------------------------

    def purge(self, response_ids: Collection[str]) -> None:
        """Let nothing of these responses be heard from now on."""
        dropped = set(response_ids)
        if self._part is not None and self._part.first.response_id in dropped:
            self._part = None
        self._waiting = deque(piece for piece in self._waiting if piece.response_id not in dropped)
        due = self._order.drop(dropped)
        if due:
            self._make_pieces(due)
            self._listening.cancel()
        if not dropped.isdisjoint(self._map.response_ids):
            self._flush(drop=dropped)

    def change_playback(self, change: PlaybackChange, *, by: Literal["app", "policy"]) -> None:
        """Change how the audio is played: as usual, softer, or held. The app and a policy may each ask for it: what
        one of them holds is held, and the softer gain counts."""
        self._asked[by] = change
        held, self._held = self._held, any(each.how == "hold" for each in self._asked.values())
        gain = min(each.gain for each in self._asked.values())
        as_loud, self._gain.factor = gain == self._gain.factor, gain
        if self._held:
            if not held:
                self._resumed = trio.Event()
                self._flush()
            return
        self._resumed.set()
        if not as_loud and self._map.waiting_ms(trio.current_time()) > PROMPT_MS:
            self._flush()

    def stop(self, *, interrupt: bool) -> None:
        """Play nothing more. `interrupt`: interrupt the responses that were not heard to their end. Idempotent."""
        if not self._open:
            return
        unheard = {piece.response_id for piece in self._waiting} | self._order.waiting_ids
        unheard |= self._subscription.speaking | self._map.response_ids
        if interrupt:
            for response_id in unheard:
                self._driver.do(self._driver.core.interrupt, response_id=response_id)
        self._flush(drop=unheard)
        self._open = False
        self._subscription.close()
        self._driver.output = None
        self._driver.do(self._driver.core.use_reports, reporting=False)

    def _flush(self, *, drop: Collection[str] = ()) -> None:
        """Flush the endpoint; audio that is not of `drop` will be given again."""
        place, unheard = self._map.flush(trio.current_time())
        if not unheard:  # it has all been heard, or will be
            if place is not None:
                self._report(attrs.evolve(place, given_ms=place.heard_ms))
            return
        self._flushes += 1
        self._plays_until = trio.current_time()
        kept = [piece for each in unheard if each.response_id not in drop for piece in each.cut(self.audio_format)]
        self._waiting.extendleft(reversed(kept))
        self._playing.cancel()
        self._listening.cancel()
        try:
            self._endpoint.flush()
        except Exception as error:  # noqa: BLE001  (an endpoint's failure must not end the session's reader)
            self._on_failure(error)
        if place is not None:
            self._report(attrs.evolve(place, given_ms=place.heard_ms))

    # ---- what the endpoint says ----------------------------------------------------------------------------------

    def heard(self, position_ms: float, *, tail_ms: float = 0.0) -> None:
        """`EndpointLink.heard`."""
        if not self._open:
            return
        now, self._silent_ms = trio.current_time(), 0.0
        place = self._map.report(position_ms, now, tail_ms=tail_ms)
        if place is None:
            return
        if self._part is not None and not self._waiting and self._map.waiting_ms(now) == 0:
            self.underruns += 1
        self._report(place)

    def _report(self, place: Place) -> None:
        if self._driver.recorder is not None:
            self._driver.recorder.note_heard(place.item_id, place.content_index, place.heard_ms, place.given_ms)
        self._driver.do(
            self._driver.core.report_heard,
            place.item_id,
            place.content_index,
            place.heard_ms,
            playing_to_ms=place.given_ms,
            sure_ms=place.sure_ms,
        )
