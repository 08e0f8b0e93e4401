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
from trealtime._core.effects import ChangePlayback, ResponseResult
from trealtime._core.interruption import cancel_calls, interrupt, interruptible
from trealtime._core.playback import PlaybackChange
from trealtime._core.requests import Sent
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
    "cancel_response",
    "confirm",
    "expire_pending_interruption",
    "interrupt_for_app",
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


def speech_began(state: State, speech: Speech, now: float) -> None:
    """The user has begun to speak."""
    policy = state.policy
    speech.put_off = state.turns.uninterruptible > 0
    if speech.put_off or policy == "off":
        return
    if policy == "immediate":
        interrupt(state, "speech", now, server_cancels=state.server_interrupts)
        return
    if state.pending_interruption is None:
        if not interruptible(state, now):
            interrupt(state, "speech", now)  # tools may have asked for it
            return
        _begin(state, policy, speech, now)
    assert state.pending_interruption is not None
    silence_ms, _ = _margins(state)
    until = speech.since + (policy.min_speech_ms + silence_ms) / 1000 if policy.min_speech_ms else speech.since
    state.pending_interruption.utterances[speech.item_id] = Utterance(until, speech.start_ms)
    expire_pending_interruption(state, now)


def _begin(state: State, policy: BargeIn, speech: Speech, now: float) -> None:
    state.pending_interruption = PendingInterruption(policy)
    if policy.while_unsure == "hold":
        state.ledger.hold(now)
    change_playback(state, pending_playback(policy))
    state.emit(
        RealtimeInterruptionPending(item_id=speech.item_id, while_unsure=policy.while_unsure, info=state.info),
    )


def pending_playback(policy: BargeIn) -> PlaybackChange:
    """What whoever plays does until it is known."""
    return PlaybackChange(policy.while_unsure, 10 ** (policy.duck_db / 20) if policy.while_unsure == "duck" else 1.0)


def change_playback(state: State, change: PlaybackChange) -> None:
    """Have the endpoint that plays go on like this. A change of the same step that came before it is void."""
    state.effects = [effect for effect in state.effects if not isinstance(effect, ChangePlayback)]
    state.do(ChangePlayback(change))


def speech_ended(state: State, item_id: str, end_ms: int, now: float) -> None:
    """The user has fallen silent."""
    doubt = state.pending_interruption
    utterance = doubt.utterances.get(item_id) if doubt is not None else None
    if doubt is None or utterance is None:
        return
    # Audio may have come faster than in real time: what it says of itself counts as well.
    lasted_ms = end_ms - utterance.start_ms - sum(_margins(state))
    if lasted_ms >= doubt.policy.min_speech_ms:
        confirm(state, item_id, now)
    elif doubt.policy.dismiss == "short":
        _dismiss(state, item_id, "short", now)
    else:
        utterance.ended, utterance.until = True, now + doubt.policy.transcript_timeout_s


def words_known(state: State, item_id: str, words: str | None, now: float) -> None:
    """The transcript of an utterance has come; None: there will be none."""
    doubt = state.pending_interruption
    utterance = doubt.utterances.get(item_id) if doubt is not None else None
    if doubt is None or utterance is None or not utterance.ended:
        return
    if words is None or not only_fillers(words, doubt.policy.fillers):
        confirm(state, item_id, now)
    else:
        _dismiss(state, item_id, "filler" if words_of(words) else "silence", now, transcript=words)


def speech_thrown_away(state: State, now: float) -> None:
    """What was said and is not committed is not there any more."""
    doubt = state.pending_interruption
    for item_id, utterance in list(doubt.utterances.items()) if doubt is not None else ():
        if not utterance.committed:
            _dismiss(state, item_id, "cleared", now)


def pending_turn(state: State, item_id: str, *, wanted: bool) -> bool:
    """A turn is committed; `wanted`: we would answer it. Whether it gets no answer: none for now, being in doubt, or
    none at all."""
    utterance = state.pending_interruption.utterances.get(item_id) if state.pending_interruption is not None else None
    if utterance is not None:
        utterance.committed, utterance.owed = True, wanted
        state.response_queue.quiet_until = utterance.until
    return utterance is not None or item_id in state.dismissed


def expire_pending_interruption(state: State, now: float) -> None:
    """What is in doubt for too long is an interruption."""
    doubt = state.pending_interruption
    overdue = [item_id for item_id, each in doubt.utterances.items() if each.until <= now] if doubt is not None else []
    if overdue:
        confirm(state, overdue[0], now)


# ---- the outcome ----------------------------------------------------------------------------------------------------


def confirm(state: State, item_id: str, now: float, *, cause: Cause = "speech") -> None:
    """It is an interruption: all that is in doubt is the user's turn."""
    doubt = state.pending_interruption
    if doubt is None:
        return
    _end(state, now, committed=all(each.committed for each in doubt.utterances.values()))
    state.emit(RealtimeInterruptionConfirmed(item_id=item_id, info=state.info))
    interrupt(state, cause, now)
    change_playback(state, PlaybackChange("play"))  # after the purge: none of what it purges may be played again
    owed = [key for key, each in doubt.utterances.items() if each.owed]
    checked = [entry for key in owed if (entry := state.guardrails.inputs.get(key)) is not None]
    for entry in checked:
        entry.wants_answer = True
    if owed and not checked:
        state.response_queue.submit(Request(state.ids.new("req"), automatic=True))


def _dismiss(state: State, item_id: str, reason: DismissReason, now: float, *, transcript: str | None = None) -> None:
    doubt = state.pending_interruption
    assert doubt is not None
    if reason in ("short", "filler") and not interruptible(state, now):
        confirm(state, item_id, now)
        return
    utterance = doubt.utterances.pop(item_id)
    state.dismissed.add(item_id)
    if doubt.utterances:
        return
    _end(state, now, committed=utterance.committed or reason == "cleared")
    change_playback(state, PlaybackChange("play"))
    state.counters.interruptions_dismissed += 1
    state.emit(
        RealtimeInterruptionDismissed(item_id=item_id, reason=reason, transcript=transcript, info=state.info),
    )


def _end(state: State, now: float, *, committed: bool) -> None:
    state.pending_interruption = None
    state.ledger.resume(now)
    if committed and state.speech is None:
        state.response_queue.quiet_until = None


def _margins(state: State) -> tuple[int, int]:
    """(silence after speech before the server tells its end, audio before it that it counts in) in milliseconds."""
    given = (state.turn_detection.get("silence_duration_ms"), state.turn_detection.get("prefix_padding_ms"))
    silence_ms, padding_ms = (value if isinstance(value, int) else None for value in given)
    return _SILENCE_MS if silence_ms is None else silence_ms, _PADDING_MS if padding_ms is None else padding_ms


# ---- the app interrupts ---------------------------------------------------------------------------------------------


def interrupt_for_app(state: State, now: float, *, cause: Cause, response_id: str | None, reply_id: str | None) -> None:
    """See `Conversation.interrupt`."""
    if reply_id is not None:
        _leave(state, now, cause=cause, response_id=response_id, reply_id=reply_id)
    elif response_id is None and state.pending_interruption is not None:  # it is decided: the agent is silent
        confirm(state, next(iter(state.pending_interruption.utterances)), now, cause=cause)
    else:
        interrupt(state, cause, now, response_id=response_id)


def _leave(state: State, now: float, *, cause: Cause, response_id: str | None, reply_id: str) -> None:
    """The caller has left: drop what it asked for and has not got, and interrupt its response unless others wait for
    that too."""
    left = ResponseResult(response_id=None, status="cancelled", reason="client_cancelled")
    living = next((each.id for each in state.live() if reply_id in each.reply_ids), None)
    free = state.response_queue.kill_reply(reply_id)
    shared = None
    for response in state.unfinished():
        if response.reply_ids == [reply_id]:
            response.abandoned = True
            cancel_calls(state, response_id=response.id)
        elif reply_id in response.reply_ids:
            response.reply_ids.remove(reply_id)
            shared = response
            break
    only = response_id or living
    if only is not None and shared is None:
        interrupt(state, cause, now, response_id=only)
    if free or shared is not None:
        state.settle(reply_id, left)


def cancel_response(state: State, now: float, *, response_id: str | None) -> None:
    """See `Conversation.cancel_response`."""
    if response_id is not None:
        if response_id in state.responses or response_id in state.finished:
            interrupt(state, "app", now, response_id=response_id)
        else:  # another client's, in a session that several share: the server knows
            event = {"type": "response.cancel", "response_id": response_id}
            state.send(event, Sent("response.cancel"), urgent=True)
        return
    living = [each for each in state.live(in_conversation=True) if each.interrupted is None]
    for response in living:
        interrupt(state, "app", now, response=response)
    if not living:
        state.response_queue.kill_sent()
