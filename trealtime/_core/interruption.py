"""The interrupt: one path for the user who speaks, the app that calls, and the guardrail that trips.

Theory of operation: the effect of an interrupt
1. It stops every response that lives in the default conversation, the request for one that is on its way, every part of
   audio that has not been heard to its end, out-of-band responses that can be heard, and running tools that asked for
   it (``on_interrupt="cancel"``). Requests in the queue stay: they are answers to come. If none of these is there,
   nothing happens at all.
2. Nothing of an interrupted response reaches the app until its ``response.done``, for which the next request waits. It
   is cancelled on the server, unless the server does that by itself.
3. Each unheard part is cut where its playback stands: the app gets an event, history is trimmed, and the server
   truncates. Parts that have not begun to play are cut at 0, and so is a part of an interrupted response whose first
   audio comes only now. Out-of-band audio is not in the conversation: there is nothing to truncate.
4. A request on its way is interrupted too: its response is cancelled as soon as it is created.
5. On a phone call that the server carries (SIP), the server has the audio and knows how much was heard: we tell it to
   clear its buffer, and it truncates by itself.

Cancel and truncate go on the urgent lane, cancel first: it stops the generation, and no delta races the truncation.

Theory of operation: when speech interrupts
1. ``"immediate"``: as soon as the server hears it. ``"off"``: never, only the app interrupts. A `BargeIn`: when it has
   shown that it is an interruption.
2. Speech that begins while there is something to interrupt is a *pending interruption*. Meanwhile playback goes on,
   ducks or holds, and the app gets an event. Speech at any other time is an ordinary turn.
3. Speech that lasts is an interruption, by the same path as every other: cut at what was heard. So is speech whose
   words are not known in time, and speech over which the agent has come to its end, which is a turn like any.
4. Speech that ends early is dismissed, at once or when its words are known to be none or fillers: playback goes on
   where it stands, and the speech gets no answer. Its item stays in the conversation.
5. Several utterances make one pending interruption: one that is confirmed confirms it, and it is over when all are
   dismissed.
6. Server and core must not decide twice: under a `BargeIn` the server neither cancels nor answers by itself
   (`settings`), and we ask for the answers that it would have made. A server that has not read that yet may answer the
   speech while we are in doubt: its answer is the answer, and is not what the speech interrupts.
7. Word of the speech may be lost until the server shows that it is over: it tells of its end, makes an item of it,
   shows that item or its words, or ends a response because of it. It interrupts then, cut at what was heard by then.
   Under a `BargeIn` nothing tells how long such speech was, so its words decide; where none are made, it is an
   interruption. A response of the server's alone shows no speech: other clients and tools that the server runs bring
   those too.
8. In an uninterruptible scope speech changes nothing. Speech that still goes on at its end is taken up then.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Sequence
from typing import TYPE_CHECKING, Final, Literal

import attrs

from trealtime._core.approvals import interrupt_approval
from trealtime._core.effects import CancelTool, ChangePlayback, ResetPlayback, ResponseResult
from trealtime._core.listening import answer_cut, turn_dismissed
from trealtime._core.playback_ledger import PlaybackChange
from trealtime._core.reconnection import retell_item
from trealtime._core.response_queue import Request
from trealtime._core.unnamed import cancel_event
from trealtime._value import Value
from trealtime.events import (
    ConfirmReason,
    DismissReason,
    RealtimeAudioInterrupted,
    RealtimeInterruptionConfirmed,
    RealtimeInterruptionDismissed,
    RealtimeInterruptionPending,
)
from trealtime.metrics import TurnInterruption
from trealtime.protocol.validation import setting

if TYPE_CHECKING:
    from trealtime._core.response import Response
    from trealtime._core.state import State
    from trealtime._core.turn_records import TurnRecord
    from trealtime.metrics import InterruptionCause

__all__ = [
    "FILLERS",
    "BargeIn",
    "BargeInPolicy",
    "Cause",
    "PendingInterruption",
    "cancel_calls",
    "cancel_response",
    "change_playback",
    "end_missed",
    "expire_pending_interruption",
    "interrupt",
    "interrupt_for_app",
    "kill",
    "margins",
    "only_fillers",
    "pending_playback",
    "pending_turn",
    "pending_until",
    "server_interrupted",
    "silence",
    "speech_began",
    "speech_ended",
    "speech_missed",
    "speech_thrown_away",
    "words_known",
    "words_of",
]

Cause = Literal["speech", "app", "guardrail"]


FILLERS: Final = ("ah", "aha", "er", "hm", "hmm", "huh", "mhm", "mm", "mm-hmm", "mmm", "oh", "uh", "uh-huh", "um")
"""Words that people say to show that they listen."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class BargeIn(Value):
    """Speech has to show that it is an interruption: `barge_in` of the run config.

    Without an endpoint attached, an app that plays by itself does what `while_unsure` says at ``interruption_pending``,
    until ``interruption_confirmed`` or ``interruption_dismissed``.
    """

    min_speech_ms: int = setting(default=500, at_least=0)
    """Speech that lasts this long interrupts."""

    while_unsure: Literal["play", "duck", "hold"] = setting(default="duck")
    """Playback until the interruption is confirmed or dismissed: go on, go on more quietly, or stop and keep the
    rest."""

    duck_db: float = setting(default=-12.0, at_most=0)
    """The gain of ``"duck"``, in decibels."""

    dismiss: Literal["short", "fillers"] = setting(default="short")
    """Speech to dismiss: ``"short"``, all speech under `min_speech_ms`; ``"fillers"``, only coughs and `fillers`, by
    the transcript."""

    fillers: Sequence[str] = setting(default=FILLERS)
    """Words and phrases that are no interruption."""

    transcript_timeout_s: float = setting(default=2.0, at_least=0)
    """Time that the transcript of short speech may take. Speech without one by then interrupts."""


BargeInPolicy = Literal["immediate", "off"] | BargeIn
"""``"immediate"``: as soon as the server hears it. ``"off"``: only the app interrupts. A `BargeIn`: when it has shown
that it is an interruption."""


@attrs.frozen(eq=False, repr=False)
class PendingInterruption(Value):
    """Some turns may yet turn out to be interruptions (`TurnRecord.doubt_until`): the policy that decides."""

    policy: BargeIn


def only_fillers(text: str, fillers: Sequence[str]) -> bool:
    """Whether `text` consists of these phrases alone, in any order, case and punctuation; an empty text counts."""
    phrases = sorted({tuple(words_of(filler)) for filler in fillers}, key=len, reverse=True)
    words = words_of(text)
    at = 0
    while at < len(words):
        step = next((len(phrase) for phrase in phrases if phrase and tuple(words[at : at + len(phrase)]) == phrase), 0)
        if not step:
            return False
        at += step
    return True


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case and without punctuation."""
    return re.findall(r"\w+", text.casefold())


def interrupt(
    state: State,
    cause: Cause,
    now: float,
    *,
    response: Response | None = None,
    response_id: str | None = None,
    spared: Collection[str] = (),
    server_cancels: bool = False,
    speech: TurnRecord | None = None,
    reason: str | None = None,
    leaves: bool = False,
) -> bool:
    """Interrupt everything but the responses that are `spared`, or only one response (`response` while it lives,
    `response_id` also when it is done and still plays). Return whether there was anything to interrupt.

    For the record of what is interrupted: `speech` is the turn of the user that does it, and `reason` why it was no
    longer in doubt. `leaves`: the caller who waited has left.
    """
    state.ledger.sweep(now)
    only = response.id if response is not None else response_id
    victims = [
        each
        for each in state.live()
        if each.interrupted is None
        and each.id not in spared
        and (each.id == only if only is not None else each.in_conversation or each.has_audio)
    ]
    unheard = [each for each in state.ledger.unheard(now, response_id=only) if each.response_id not in spared]
    ended_at = state.turns.ended_at if cause == "speech" else None
    request = state.response_queue.kill_sent(sent_before=ended_at) if only is None else None
    rest = state.response_queue.withdraw(lambda each: each.continues is not None and only in (None, each.continues))
    # A server that cancels by itself falls silent by itself too.
    plays = None if state.server_plays in spared else state.server_plays
    clears = plays is not None and only in (None, plays) and not server_cancels
    if (
        not cancel_calls(state, response_id=only, spared=spared)
        and not (victims or unheard or request or rest)
        and not clears
    ):
        return False
    state.counters.interrupts += 1
    told_as: InterruptionCause = "leave" if leaves else cause
    if cause == "speech":
        answer_cut(state, victims, unheard, request)
    for withdrawn in rest:
        withdrawn.stop(state)
    for victim in victims:
        kill(state, victim, cause, now, server_cancels=server_cancels and victim.in_conversation)
    if clears:
        state.send({"type": "output_audio_buffer.clear"}, own=True, urgent=True)
    for part in unheard:
        if part.response_id is not None:
            state.purge(part.response_id)
        state.emit(
            RealtimeAudioInterrupted(
                item_id=part.item_id,
                content_index=part.content_index,
                heard_ms=part.heard_ms,
                response_id=part.response_id,
                cause=told_as,
                info=state.info,
            ),
        )
        if part.item_id not in state.outside_items and part.item_id not in state.link.told:
            _truncate(state, part.item_id, part.content_index, part.heard_ms)
    trimmed = [state.history.cut(part.item_id, part.content_index, part.heard_ms, part.received_ms) for part in unheard]
    if any(trimmed):
        state.emit_history("updated", unheard[0].item_id)
    for item_id in dict.fromkeys(part.item_id for part in unheard if part.item_id in state.link.told):
        retell_item(state, item_id)
    if unheard:
        state.last_heard_ms = unheard[0].heard_ms
        if state.ledger.cut(unheard, now):
            state.do(ResetPlayback())
    onset_at = speech.spoke_from if speech is not None else now if cause == "app" else None
    told = TurnInterruption(cause=told_as, reason=reason, onset_at=onset_at, told_at=now)
    _note_interruption(state, told, {*(each.id for each in victims), *(part.response_id for part in unheard)}, now)
    return True


def _note_interruption(state: State, told: TurnInterruption, response_ids: Container[str | None], now: float) -> None:
    """Write it into the records of the turns that these responses answer."""
    for turn in state.turns.records:
        parts = [each.id for each in turn.responses if each.id in response_ids]
        if not parts:
            continue
        heard = [times.last_at for each in turn.responses if (times := state.ledger.heard_times(each.id, now))]
        silent_at = max(heard, default=None)
        if silent_at is None or told.onset_at is None or silent_at < told.onset_at:
            silent_at = None  # it was silent already
        turn.interrupt(attrs.evolve(told, silent_at=silent_at))


def interruptible(state: State, now: float) -> bool:
    """Whether the agent is speaking, or about to: an interrupt would cut something."""
    state.ledger.sweep(now)
    living = any(each.interrupted is None and (each.in_conversation or each.has_audio) for each in state.live())
    return living or state.response_queue.sent_alive or bool(state.ledger.unheard(now))


def cancel_calls(state: State, *, response_id: str | None = None, spared: Container[str] = ()) -> bool:
    """Cancel the function calls whose tools asked for it, all of them or those of one response; return whether there
    are any. Each still gets its output, which says so."""
    cancelled = [
        call
        for call in state.calls.values()
        if call.cancels and response_id in (None, call.response.id) and call.response.id not in spared
    ]
    for call in cancelled:
        call.cancel()
        if not interrupt_approval(state, call.call_id):
            state.do(CancelTool(call.call_id))
    return bool(cancelled)


def kill(state: State, victim: Response, cause: Cause, now: float, *, server_cancels: bool) -> None:
    """Let nothing of a live response reach the app any more, and have the server stop making it."""
    victim.interrupt(cause, forget_at=now + state.cancel_grace_s)
    state.purge(victim.id)
    if not server_cancels:
        event = cancel_event(state, victim.id)
        state.send(event, own=True, urgent=True)


def silence(state: State, response: Response, item_id: str, content_index: int) -> None:
    """Cut a part of an interrupted response whose audio the app never got: none of it will be heard."""
    if response.in_conversation and state.ledger.ignore(item_id, content_index):
        _truncate(state, item_id, content_index, 0)
        if state.history.cut(item_id, content_index, 0, None):
            state.emit_history("updated", item_id)


def _truncate(state: State, item_id: str, content_index: int, heard_ms: int) -> None:
    event = {
        "type": "conversation.item.truncate",
        "item_id": item_id,
        "content_index": content_index,
        "audio_end_ms": heard_ms,
    }
    state.send(event, own=True, urgent=True)


_SILENCE_MS: Final = 500
_PADDING_MS: Final = 300
"""The server's defaults for the silence after speech and the padding before it, for settings that do not say."""


# ---- speech ---------------------------------------------------------------------------------------------------------


def speech_began(state: State, speech: TurnRecord, now: float) -> None:
    """The user has begun to speak."""
    policy = state.policy
    speech.put(off=state.turn_settings.uninterruptible > 0)
    if speech.put_off or policy == "off":
        return
    if policy == "immediate" or state.turns.ended_at is not None:  # a turn that the app has ended is one
        interrupt(state, "speech", now, server_cancels=state.server_interrupts, speech=speech)
        return
    if state.pending_interruption is None:
        if not interruptible(state, now):
            interrupt(state, "speech", now, speech=speech)  # tools may have asked for it
            return
        _begin(state, policy, speech, now)
    silence_ms, _ = margins(state)
    speech.doubt(speech.began_at + ((policy.min_speech_ms + silence_ms) / 1000 if policy.min_speech_ms else 0.0))
    expire_pending_interruption(state, now)


def speech_missed(state: State, speech: TurnRecord, now: float) -> None:
    """The user has spoken, and it is over: word of the beginning is lost (rule 7)."""
    policy = state.policy
    speech_began(state, speech, now)
    if not isinstance(policy, BargeIn) or speech.doubt_until is None:
        return
    if state.transcription_model is None:
        confirm(state, speech, now, reason="no transcript")
    else:
        speech.doubt(now + policy.transcript_timeout_s)
        expire_pending_interruption(state, now)


def server_interrupted(state: State, response: Response, now: float) -> None:
    """The server has ended this response because the user speaks: where we know nothing of that, word of it is lost or
    late (rule 7)."""
    lets = state.server_interrupts and state.policy == "immediate" and not state.turn_settings.uninterruptible
    if lets and response.interrupted is None:
        interrupt(state, "speech", now, server_cancels=True)


def _begin(state: State, policy: BargeIn, speech: TurnRecord, now: float) -> None:
    state.pending_interruption = PendingInterruption(policy)
    if policy.while_unsure == "hold":
        state.ledger.hold(now)
    change_playback(state, pending_playback(policy))
    state.emit(
        RealtimeInterruptionPending(item_id=speech.key, while_unsure=policy.while_unsure, info=state.info),
    )


def pending_playback(policy: BargeIn) -> PlaybackChange:
    """The playback mode while an interruption is pending."""
    return PlaybackChange(policy.while_unsure, 10 ** (policy.duck_db / 20) if policy.while_unsure == "duck" else 1.0)


def change_playback(state: State, change: PlaybackChange) -> None:
    """Have the endpoint that plays go on like this, in place of any earlier change of the same input."""
    state.effects = [effect for effect in state.effects if not isinstance(effect, ChangePlayback)]
    state.do(ChangePlayback(change))


def speech_ended(state: State, speech: TurnRecord, end_ms: int, now: float) -> None:
    """The user has fallen silent."""
    pending = state.pending_interruption
    if pending is None or speech.doubt_until is None:
        return
    # Audio may have come faster than in real time: the event's own positions count as well.
    lasted_ms = end_ms - speech.start_ms - sum(margins(state))
    if lasted_ms >= pending.policy.min_speech_ms:
        confirm(state, speech, now, reason="long")
    elif pending.policy.dismiss == "short":
        _dismiss(state, speech, "short", now)
    else:
        speech.doubt(now + pending.policy.transcript_timeout_s)


def end_missed(state: State, speech: TurnRecord, now: float) -> None:
    """The server has made an item of speech whose end it has not told: it is over, before it was long enough."""
    pending = state.pending_interruption
    if pending is None or speech.doubt_until is None:
        return
    if pending.policy.dismiss == "short":
        _dismiss(state, speech, "short", now)
    else:
        speech.doubt(now + pending.policy.transcript_timeout_s)


def words_known(state: State, speech: TurnRecord, words: str | None, now: float) -> None:
    """The transcript of an utterance has come; None: it never will."""
    pending = state.pending_interruption
    if pending is None or speech.doubt_until is None or speech.ended_at is None:
        return
    if words is None or not only_fillers(words, pending.policy.fillers):
        confirm(state, speech, now, reason="no transcript" if words is None else "words")
    else:
        _dismiss(state, speech, "filler" if words_of(words) else "silence", now, transcript=words)


def speech_thrown_away(state: State, now: float) -> None:
    """Dismiss speech that is not committed: the server has thrown it away."""
    for speech in state.turns.records.in_doubt:
        if speech.committed_at is None:
            _dismiss(state, speech, "cleared", now)


def pending_turn(state: State, turn: TurnRecord) -> bool:
    """A turn is committed. Return whether it gets no answer: none while its interruption is pending, or none at
    all."""
    if turn.doubt_until is not None:
        state.response_queue.keep_quiet(turn.doubt_until)
    return turn.doubt_until is not None or turn.why_not is not None


def pending_until(state: State) -> float | None:
    """The time at which the next of the turns in doubt is an interruption, unless it is dismissed before."""
    if state.pending_interruption is None:
        return None
    return min(each.doubt_until for each in state.turns.records.in_doubt if each.doubt_until is not None)


def expire_pending_interruption(state: State, now: float) -> None:
    """Speech that is pending for too long is an interruption."""
    if state.pending_interruption is None:
        return
    for speech in state.turns.records.in_doubt:
        if speech.doubt_until is not None and speech.doubt_until <= now:
            confirm(state, speech, now, reason="long" if speech.ended_at is None else "no transcript")
            return


# ---- the outcome ----------------------------------------------------------------------------------------------------


def confirm(
    state: State, speech: TurnRecord, now: float, *, cause: Cause = "speech", reason: ConfirmReason | None = None
) -> None:
    """It is an interruption: all pending speech is the user's turn."""
    turns = state.turns.records.in_doubt
    if state.pending_interruption is None:
        return
    for each in turns:
        each.believe()
    _end(state, now, committed=all(each.committed_at is not None for each in turns))
    why: ConfirmReason = reason if reason is not None else "guardrail" if cause == "guardrail" else "app"
    state.emit(RealtimeInterruptionConfirmed(item_id=speech.key, reason=why, info=state.info))
    answers = [each for each in speech.responses if all(each in turn.responses for turn in turns)]
    spared = [each.id for each in answers] if cause == "speech" else []
    interrupt(state, cause, now, spared=spared, speech=turns[0] if cause == "speech" else None, reason=reason)
    change_playback(state, PlaybackChange("play"))  # after the purge: none of what it purges may be played again
    owed = [each for each in turns if each.owed_by == "us"]
    if owed and all(each.unchecked_since is None for each in owed):  # else we answer when the check has passed
        state.response_queue.submit(Request(state.ids.new("req"), automatic=True, record=owed[0]))


def _dismiss(
    state: State, speech: TurnRecord, reason: DismissReason, now: float, *, transcript: str | None = None
) -> None:
    if reason in ("short", "filler") and not interruptible(state, now):
        confirm(state, speech, now, reason="answer over")
        return
    speech.believe()
    if not speech.responses:
        speech.end("dismissed")
    turn_dismissed(state, speech.key)
    if state.turns.records.in_doubt:
        return
    _end(state, now, committed=speech.committed_at is not None)
    change_playback(state, PlaybackChange("play"))
    state.counters.interruptions_dismissed += 1
    state.emit(
        RealtimeInterruptionDismissed(item_id=speech.key, reason=reason, transcript=transcript, info=state.info),
    )


def _end(state: State, now: float, *, committed: bool) -> None:
    state.pending_interruption = None
    state.ledger.resume(now)
    if committed:
        state.turns.speak(state.response_queue)


def margins(state: State) -> tuple[int, int]:
    """(silence after speech before the server tells its end, audio before it that it counts in) in milliseconds."""
    detection = state.turn_detection
    silence_ms, padding_ms = detection.get("silence_duration_ms"), detection.get("prefix_padding_ms")
    return (
        silence_ms if isinstance(silence_ms, int) else _SILENCE_MS,
        padding_ms if isinstance(padding_ms, int) else _PADDING_MS,
    )


# ---- the app interrupts ---------------------------------------------------------------------------------------------


def interrupt_for_app(state: State, now: float, *, cause: Cause, response_id: str | None, reply_id: str | None) -> None:
    """See `Conversation.interrupt`."""
    if reply_id is not None:
        _leave(state, now, cause=cause, response_id=response_id, reply_id=reply_id)
    elif response_id is None and state.pending_interruption is not None:  # it is decided: the agent is silent
        confirm(state, state.turns.records.in_doubt[0], now, cause=cause)
    else:
        interrupt(state, cause, now, response_id=response_id)


def _leave(state: State, now: float, *, cause: Cause, response_id: str | None, reply_id: str) -> None:
    """The caller has left: drop its request, and interrupt its responses, except those that something else wants too:
    another caller, a message, or the turn of the user that the server answers."""
    left = ResponseResult(response_id=None, status="cancelled", reason="client_cancelled")
    given = state.given.get(reply_id, {})
    parts = [each for each, own in given.items() if own]
    if response_id is not None and response_id not in given:
        parts.append(response_id)
    free = state.listening.leave(reply_id)
    free = state.response_queue.kill_reply(reply_id) or free
    for response in state.unfinished():
        if reply_id not in response.reply_ids:
            continue
        if response.leave(reply_id):
            free = True
        else:
            response.abandon()
            cancel_calls(state, response_id=response.id)
            parts.append(response.id)
    for part in dict.fromkeys(parts):
        interrupt(state, cause, now, response_id=part, leaves=True)
    if free:
        state.settle(reply_id, left)


def cancel_response(state: State, now: float, *, response_id: str | None) -> None:
    """See `Conversation.cancel_response`."""
    if response_id is not None:
        if response_id in state.responses or response_id in state.finished:
            interrupt(state, "app", now, response_id=response_id)
        else:  # another client's, in a session that several share: the server knows
            event = {"type": "response.cancel", "response_id": response_id}
            state.send(event, urgent=True)
        return
    living = [each for each in state.live(in_conversation=True) if each.interrupted is None]
    for response in living:
        interrupt(state, "app", now, response=response)
    if not living:
        state.response_queue.kill_sent()
