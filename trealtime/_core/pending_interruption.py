"""PendingInterruption: when the user's speech interrupts the agent.

Theory of operation
1. ``"immediate"``: as soon as the server hears it. ``"off"``: never, only the app interrupts. A `BargeIn`: when it has
   shown that it is one.
2. Speech that begins while there is something to interrupt is *in doubt*. Meanwhile whoever plays goes on, ducks or
   holds, and the app is told. Speech at any other time is an ordinary turn.
3. Speech that lasts is an interruption, by the same path as every other: cut at what was heard. So is speech of which
   nobody finds out in time what it was, and speech over which the agent has come to its end: it is a turn like any.
4. Speech that ends early is dismissed, at once or when its words are known to be none or fillers: playback goes on
   where it stands, and nobody answers it. Its item stays in the conversation.
5. Several utterances in doubt are one doubt: one that is confirmed confirms it, and it is over when all are dismissed.
6. Server and core must not decide twice: under a `BargeIn` the server neither cancels nor answers by itself
   (`turn_settings`), and we ask for the answers that it would have made.
7. In an uninterruptible scope speech changes nothing. What still goes on at its end is taken up then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trealtime._core.barge_in import BargeIn, PendingInterruption, Utterance, only_fillers, words_of
from trealtime._core.effects import Effects
from trealtime._core.interruption import interrupt, interruptible
from trealtime._core.playback import PlaybackChange
from trealtime._core.response_queue import Request
from trealtime.events import (
    DismissReason,
    RealtimeInterruptionConfirmed,
    RealtimeInterruptionDismissed,
    RealtimeInterruptionPending,
)

if TYPE_CHECKING:
    from trealtime._core.state import Cause, Speech, State

__all__ = [
    "confirm",
    "expire_pending_interruption",
    "pending_playback",
    "speech_began",
    "speech_ended",
    "speech_thrown_away",
    "pending_turn",
    "words_known",
]

_SILENCE_MS: Final = 500
_PADDING_MS: Final = 300
"""What a server adds to the end and the beginning of speech, where its settings do not say (protocol reference 5)."""


# ---- speech ---------------------------------------------------------------------------------------------------------


def speech_began(state: State, speech: Speech, now: float, fx: Effects) -> None:
    """The user has begun to speak."""
    policy = state.policy
    speech.put_off = state.turns.uninterruptible > 0
    if speech.put_off or policy == "off":
        return
    if policy == "immediate":
        interrupt(state, "speech", now, fx, server_cancels=state.server_interrupts)
        return
    if state.pending_interruption is None:
        if not interruptible(state, now):
            interrupt(state, "speech", now, fx)  # tools may have asked for it
            return
        _begin(state, policy, speech, now, fx)
    assert state.pending_interruption is not None
    silence_ms, _ = _margins(state)
    until = speech.since + (policy.min_speech_ms + silence_ms) / 1000 if policy.min_speech_ms else speech.since
    state.pending_interruption.utterances[speech.item_id] = Utterance(until, speech.start_ms)
    expire_pending_interruption(state, now, fx)


def _begin(state: State, policy: BargeIn, speech: Speech, now: float, fx: Effects) -> None:
    state.pending_interruption = PendingInterruption(policy)
    if policy.while_unsure == "hold":
        state.ledger.hold(now)
    fx.playback = pending_playback(policy)
    state.emit(
        fx,
        RealtimeInterruptionPending(item_id=speech.item_id, while_unsure=policy.while_unsure, info=state.info),
    )


def pending_playback(policy: BargeIn) -> PlaybackChange:
    """What whoever plays does until it is known."""
    return PlaybackChange(policy.while_unsure, 10 ** (policy.duck_db / 20) if policy.while_unsure == "duck" else 1.0)


def speech_ended(state: State, item_id: str, end_ms: int, now: float, fx: Effects) -> None:
    """The user has fallen silent."""
    doubt = state.pending_interruption
    utterance = doubt.utterances.get(item_id) if doubt is not None else None
    if doubt is None or utterance is None:
        return
    # Audio may have come faster than in real time: what it says of itself counts as well.
    lasted_ms = end_ms - utterance.start_ms - sum(_margins(state))
    if lasted_ms >= doubt.policy.min_speech_ms:
        confirm(state, item_id, now, fx)
    elif doubt.policy.dismiss == "short":
        _dismiss(state, item_id, "short", now, fx)
    else:
        utterance.ended, utterance.until = True, now + doubt.policy.transcript_timeout_s


def words_known(state: State, item_id: str, words: str | None, now: float, fx: Effects) -> None:
    """The transcript of an utterance has come; None: there will be none."""
    doubt = state.pending_interruption
    utterance = doubt.utterances.get(item_id) if doubt is not None else None
    if doubt is None or utterance is None or not utterance.ended:
        return
    if words is None or not only_fillers(words, doubt.policy.fillers):
        confirm(state, item_id, now, fx)
    else:
        _dismiss(state, item_id, "filler" if words_of(words) else "silence", now, fx, transcript=words)


def speech_thrown_away(state: State, now: float, fx: Effects) -> None:
    """What was said and is not committed is not there any more."""
    doubt = state.pending_interruption
    for item_id, utterance in list(doubt.utterances.items()) if doubt is not None else ():
        if not utterance.committed:
            _dismiss(state, item_id, "cleared", now, fx)


def pending_turn(state: State, item_id: str, *, wanted: bool) -> bool:
    """A turn is committed; `wanted`: we would answer it. Whether it gets no answer: none for now, being in doubt, or
    none at all."""
    utterance = state.pending_interruption.utterances.get(item_id) if state.pending_interruption is not None else None
    if utterance is not None:
        utterance.committed, utterance.owed = True, wanted
        state.response_queue.quiet_until = utterance.until
    return utterance is not None or item_id in state.dismissed


def expire_pending_interruption(state: State, now: float, fx: Effects) -> None:
    """What is in doubt for too long is an interruption."""
    doubt = state.pending_interruption
    overdue = [item_id for item_id, each in doubt.utterances.items() if each.until <= now] if doubt is not None else []
    if overdue:
        confirm(state, overdue[0], now, fx)


# ---- the outcome ----------------------------------------------------------------------------------------------------


def confirm(state: State, item_id: str, now: float, fx: Effects, *, cause: Cause = "speech") -> None:
    """It is an interruption: all that is in doubt is the user's turn."""
    doubt = state.pending_interruption
    if doubt is None:
        return
    _end(state, now, fx, committed=all(each.committed for each in doubt.utterances.values()))
    state.emit(fx, RealtimeInterruptionConfirmed(item_id=item_id, info=state.info))
    interrupt(state, cause, now, fx)
    owed = [key for key, each in doubt.utterances.items() if each.owed]
    checked = [entry for key in owed if (entry := state.guardrails.inputs.get(key)) is not None]
    for entry in checked:
        entry.wants_answer = True
    if owed and not checked:
        state.response_queue.submit(Request(state.ids.new("req"), automatic=True))


def _dismiss(
    state: State, item_id: str, reason: DismissReason, now: float, fx: Effects, *, transcript: str | None = None
) -> None:
    doubt = state.pending_interruption
    assert doubt is not None
    if reason in ("short", "filler") and not interruptible(state, now):
        confirm(state, item_id, now, fx)
        return
    utterance = doubt.utterances.pop(item_id)
    state.dismissed.add(item_id)
    if doubt.utterances:
        return
    _end(state, now, fx, committed=utterance.committed or reason == "cleared")
    state.counters.interruptions_dismissed += 1
    state.emit(
        fx,
        RealtimeInterruptionDismissed(item_id=item_id, reason=reason, transcript=transcript, info=state.info),
    )


def _end(state: State, now: float, fx: Effects, *, committed: bool) -> None:
    state.pending_interruption = None
    state.ledger.resume(now)
    fx.playback = PlaybackChange("play")
    if committed and state.speech is None:
        state.response_queue.quiet_until = None


def _margins(state: State) -> tuple[int, int]:
    """(silence after speech before the server tells its end, audio before it that it counts in) in milliseconds."""
    given = (state.turn_detection.get("silence_duration_ms"), state.turn_detection.get("prefix_padding_ms"))
    silence_ms, padding_ms = (value if isinstance(value, int) else None for value in given)
    return _SILENCE_MS if silence_ms is None else silence_ms, _PADDING_MS if padding_ms is None else padding_ms
