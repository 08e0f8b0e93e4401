"""The inputs of the conversation about what an endpoint or the app plays, and the questions about that."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from trealtime._core.effects import Effect
from trealtime._core.interruption import change_playback, pending_playback
from trealtime._core.turn_answers import playback_deadline
from trealtime.events import RealtimeDtmf

if TYPE_CHECKING:
    from trealtime._core.deadlines import Deadlines
    from trealtime._core.state import State

__all__ = ["PlaybackInputs"]


class PlaybackInputs:
    """A part of `Conversation`."""

    _state: State
    _deadlines: Deadlines

    def _effects(self, now: float) -> list[Effect]:
        raise NotImplementedError

    # ---- playback --------------------------------------------------------------------------------------------------

    def begin_part(self, item_id: str, content_index: int) -> None:
        """An endpoint is given the first audio of this content part: it plays after those begun before. It has no
        effects."""
        self._state.ledger.begin(item_id, content_index)

    def hand_out(self, now: float, item_id: str, content_index: int, start_ms: float, end_ms: float) -> bool:
        """The app has taken this stretch of a content part: playback is assumed to begin now, or when what was handed
        out before is over. Taken twice (by two subscriptions) it counts once. It has no effects; return whether
        `next_deadline` has come nearer."""
        self._state.ledger.hand_out(item_id, content_index, start_ms, end_ms, now)
        return self._look_ahead(now)

    def _look_ahead(self, now: float) -> bool:
        """More of what plays is known: return whether `next_deadline` has come nearer."""
        if not self._state.turns.records.playing:
            return False
        heard_at = playback_deadline(self._state, now)
        return heard_at is not None and self._deadlines.bring_nearer(heard_at)

    def shed(self, now: float, item_id: str, content_index: int, end_ms: float) -> list[Effect]:
        """A subscription has dropped audio up to `end_ms` of a content part that no consumer had taken: it will not be
        heard."""
        self._state.ledger.shed(item_id, content_index, end_ms)
        return self._effects(now)

    def report_heard(
        self,
        now: float,
        item_id: str,
        content_index: int,
        heard_ms: float,
        *,
        playing_to_ms: float | None = None,
        sure_ms: float | None = None,
    ) -> list[Effect]:
        """An endpoint knows that a content part has been heard up to `heard_ms`, and that it plays on from there in
        real time to `playing_to_ms` (None: that it stands there). Up to `sure_ms` it will be heard also where it is
        stopped now (None: no further)."""
        ledger = self._state.ledger
        parts = len(ledger)
        ledger.report(item_id, content_index, heard_ms, now, playing_to_ms=playing_to_ms, sure_ms=sure_ms)
        ledger.sweep(now)
        if len(ledger) < parts:
            return self._effects(now)
        self._look_ahead(now)  # fifty times a second: nothing waits for a part that goes on
        return []

    def use_reports(self, now: float, *, reporting: bool) -> list[Effect]:
        """An endpoint that plays has been attached (True), and reports what is heard; or it has left (False)."""
        state = self._state
        held_back = {entry.response_id for entry in state.guardrails.held}
        state.ledger.use_reports(reporting, now, held_back=held_back)
        if reporting and state.pending_interruption is not None:
            change_playback(state, pending_playback(state.pending_interruption.policy))
        return self._effects(now)

    def report_dtmf(self, now: float, digit: str) -> list[Effect]:
        """The user of an endpoint has pressed a key."""
        self._state.emit(RealtimeDtmf(digit=digit, source="endpoint", info=self._state.info))
        return self._effects(now)

    def playback_remaining(self, now: float, *, taken: Callable[[str], bool] | None = None) -> float:
        """Seconds until everything that the agent has said is heard: 0 when nothing is pending, infinite where only a
        report, a consumer or more audio can tell.

        `taken` says of a response whether a consumer takes its audio (None: of all): what nobody takes is not heard,
        unless an endpoint plays it.
        """
        return self._remaining(now, taken)

    def farewell_remaining(self, now: float, *, taken: Callable[[str], bool] | None = None) -> float:
        """As `playback_remaining`, for a handoff: audio that is collected until the turn is over, which this handoff
        belongs to, cannot be heard before it."""
        return self._remaining(now, taken, kept=self._state.collected)

    def _remaining(self, now: float, taken: Callable[[str], bool] | None, *, kept: Container[str] = ()) -> float:
        state = self._state
        making = any(each.interrupted is None for each in state.responses.values())
        if making or state.response_queue.busy or state.turns.records.unchecked or state.server_plays is not None:
            return float("inf")
        return state.ledger.remaining_s(now, kept=kept, taken=taken)
