"""What the agent says, from a subscription to an endpoint: convert, cut into pieces, play, keep the books of what was heard.

Theory of operation
1. Pieces wait here until the endpoint takes them; what it has taken is in the `PlaybackMap` until it is heard.
2. `purge` is called by the session in the step that interrupts, before anything else: it drops the responses' audio
   here and has the endpoint flush. A `play` that waits is cancelled; one that was already past its wait is flushed away
   as soon as it returns.
3. A flush throws away more than was asked for, where another response's audio was queued as well, or where playback is
   only held. That goes back to the pieces that wait, from where it was heard.
4. What was heard is the endpoint's to say; `PlaybackMap` makes item positions of it, and the core's ledger believes them.
5. Two may hold or duck, the app and a barge-in policy, and neither undoes what the other has asked for: playback is
   held while one of them holds it, and as soft as the softer one wants it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from typing import Final, Literal

import attrs
import trio

from trealtime._core.playback import PlaybackChange
from trealtime._session.driver import Driver
from trealtime._session.subscription import Subscription
from trealtime.audio.formats import AudioFormat
from trealtime.endpoints.conversion import Gain, PartStream
from trealtime.endpoints.endpoint import Endpoint
from trealtime.endpoints.playback_map import Piece, Place, PlaybackMap
from trealtime.events import RealtimeSessionEvent

__all__ = ["EVENTS", "EndpointOutput"]

EVENTS: Final = frozenset({"audio", "audio_end", "agent_end"})
"""What the subscription of an endpoint is made of."""

logger = logging.getLogger(__name__)

SILENT_MS: Final = 10_000
"""An endpoint that has taken so much and reports nothing of it is told of in the log."""

PROMPT_MS: Final = 100
"""A new gain may be heard as late as this: what an endpoint holds beyond is taken back and given again."""


class EndpointOutput:
    """The pump of an endpoint that plays `audio_format`. `on_failure` is told what its `flush` raises."""

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
        self._waiting: deque[Piece] = deque()
        self._playout = PlaybackMap(audio_format)
        self._flushes = 0
        self._gain = Gain()
        self._asked: dict[Literal["app", "policy"], PlaybackChange] = {}
        self._held = False
        self._silent_ms = 0.0
        self._resumed = trio.Event()
        self._listening = trio.CancelScope()
        self._playing = trio.CancelScope()
        subscription.on_put, subscription.on_overflow = self._note_format, self._give_up
        driver.output = self
        driver.do(driver.core.use_reports, reporting=True)

    @property
    def queue_s(self) -> float:
        """How much of what the endpoint was given is still to be heard."""
        return self._playout.waiting_ms(trio.current_time()) / 1000

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
                with trio.CancelScope() as self._listening:
                    self._take(await self._subscription.receive())

    async def _play(self, piece: Piece) -> None:
        position_ms = self._playout.give(piece)
        audio = self._gain.apply(piece.audio, self.audio_format)
        self.bytes_played += len(audio)
        flushes = self._flushes
        with trio.CancelScope() as self._playing:
            try:
                await self._endpoint.play(audio, position_ms)
            finally:
                if flushes != self._flushes:
                    self._endpoint.flush()
        self._note_silence(self.audio_format.duration_ms(len(audio)))

    def _note_silence(self, ms: float) -> None:
        """So much was taken since the last report: warn once when that is far more than any path holds."""
        before, self._silent_ms = self._silent_ms, self._silent_ms + ms
        if before < SILENT_MS <= self._silent_ms:
            logger.warning(
                "%s has taken %g s of audio and not reported that any of it was heard (link.heard): interrupts cut "
                "where the last report was, and wait_for_playback does not return",
                type(self._endpoint).__name__,
                SILENT_MS / 1000,
            )

    def _take(self, event: RealtimeSessionEvent) -> None:
        """Make pieces of an event of the subscription."""
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
        """A response keeps the format that was acknowledged when it began to speak."""
        if event.type == "audio":
            self._formats.setdefault(event.response_id, self._driver.core.output_format)

    def _finish_part(self) -> None:
        if self._part is not None:
            self._waiting += self._part.finish()
            self._part = None

    def _give_up(self) -> None:
        """The endpoint has taken nothing for too long: leave it, and learn from the subscription what there is to raise."""
        self._waiting.clear()
        self._playing.cancel()

    # ---- what stops and changes it -------------------------------------------------------------------------------

    def purge(self, response_ids: Collection[str]) -> None:
        """Nothing of these responses is heard from now on."""
        dropped = set(response_ids)
        if self._part is not None and self._part.first.response_id in dropped:
            self._part = None
        self._waiting = deque(piece for piece in self._waiting if piece.response_id not in dropped)
        if not dropped.isdisjoint(self._playout.response_ids):
            self._flush(drop=dropped)

    def change_playback(self, change: PlaybackChange, *, by: Literal["app", "policy"]) -> None:
        """Play as usual, softer, or not for now, as far as one of the two is concerned."""
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
        if not as_loud and self._playout.waiting_ms(trio.current_time()) > PROMPT_MS:
            self._flush()

    def stop(self, *, interrupt: bool) -> None:
        """Play nothing more. `interrupt`: what was not heard is interrupted, as the server is told. Idempotent."""
        if not self._open:
            return
        unheard = (
            {piece.response_id for piece in self._waiting} | self._subscription.speaking | self._playout.response_ids
        )
        if interrupt:
            for response_id in unheard:
                self._driver.do(self._driver.core.interrupt, response_id=response_id)
        self._flush(drop=unheard)
        self._open = False
        self._subscription.close()
        self._driver.output = None
        self._driver.do(self._driver.core.use_reports, reporting=False)

    def _flush(self, *, drop: Collection[str] = ()) -> None:
        """Have the endpoint throw away what it has; what is not of `drop` will be given again."""
        place, unheard = self._playout.flush(trio.current_time())
        if not unheard:
            return
        self._flushes += 1
        kept = [piece for each in unheard if each.response_id not in drop for piece in each.cut(self.audio_format)]
        self._waiting.extendleft(reversed(kept))
        self._playing.cancel()
        self._listening.cancel()
        try:
            self._endpoint.flush()
        except Exception as error:  # noqa: BLE001  (this runs in the session's reader, which it does not concern)
            self._on_failure(error)
        if place is not None:
            self._report(attrs.evolve(place, given_ms=place.heard_ms))

    # ---- what the endpoint says ----------------------------------------------------------------------------------

    def heard(self, position_ms: float) -> None:
        """`EndpointLink.heard`."""
        if not self._open:
            return
        now, self._silent_ms = trio.current_time(), 0.0
        place = self._playout.report(position_ms, now)
        if place is None:
            return
        if self._part is not None and not self._waiting and self._playout.waiting_ms(now) == 0:
            self.underruns += 1
        self._report(place)

    def _report(self, place: Place) -> None:
        self._driver.do(
            self._driver.core.report_heard,
            place.item_id,
            place.content_index,
            place.heard_ms,
            playing_to_ms=place.given_ms,
        )
