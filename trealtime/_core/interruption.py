"""The interrupt: one path for the user who speaks, the app that calls, and the guardrail that trips.

Theory of operation
1. What is interrupted: every response that lives in the default conversation, the request for one that is on its way,
   every part of audio that has not been heard to its end, out-of-band responses that can be heard, and running tools
   that asked for it (``on_interrupt="cancel"``). Requests that still queue are not: they are answers to come. If none
   of these is there, nothing happens at all.
2. A live response becomes *dead*: what still comes of it is dropped until its ``response.done``, which the next request
   waits for. It is cancelled on the server, unless the server does that by itself.
3. Each unheard part is cut where its playback stands: the app is told, history is trimmed, and the server is told to
   truncate. Parts that have not begun to play are cut at 0, and so is a part of a dead response whose first audio comes
   only now. Out-of-band audio is not in the conversation, so there is nothing to truncate.
4. A request on its way dies too: its response is cancelled as soon as it is created.
5. On a phone call that the server carries, the audio is at the server, and it knows what was heard: it is told to clear
   its buffer, and truncates by itself (protocol reference 7.7).

Cancel and truncate go on the urgent lane, cancel first: it stops the generation, and no delta races the truncation.
"""

from __future__ import annotations

from trealtime._core.approvals import interrupt_approval
from trealtime._core.effects import CancelTool, ResetPlayback
from trealtime._core.requests import Sent
from trealtime._core.state import Cause, Response, State
from trealtime.events import RealtimeAudioInterrupted

__all__ = ["cancel_calls", "interrupt", "interruptible", "kill", "silence"]


def interrupt(
    state: State,
    cause: Cause,
    now: float,
    *,
    response: Response | None = None,
    response_id: str | None = None,
    server_cancels: bool = False,
) -> bool:
    """Interrupt everything, or only one response (`response` while it lives, `response_id` also when it is done and
    still plays). Whether there was anything to interrupt."""
    state.ledger.sweep(now)
    only = response.id if response is not None else response_id
    victims = [
        each
        for each in state.live()
        if each.interrupted is None
        and (each.id == only if only is not None else each.in_conversation or each.has_audio)
    ]
    unheard = state.ledger.unheard(now, response_id=only)
    request = state.response_queue.kill_sent() if only is None else None
    # A server that cancels by itself falls silent by itself too.
    clears = state.server_plays is not None and only in (None, state.server_plays) and not server_cancels
    if not cancel_calls(state, response_id=only) and not victims and not unheard and request is None and not clears:
        return False
    state.counters.interrupts += 1
    for victim in victims:
        kill(state, victim, cause, now, server_cancels=server_cancels and victim.in_conversation)
    if clears:
        state.send({"type": "output_audio_buffer.clear"}, Sent("output_audio_buffer.clear", own=True), urgent=True)
    for part in unheard:
        if part.response_id is not None:
            state.purge(part.response_id)
        state.emit(
            RealtimeAudioInterrupted(
                item_id=part.item_id,
                content_index=part.content_index,
                heard_ms=part.heard_ms,
                response_id=part.response_id,
                cause=cause,
                info=state.info,
            ),
        )
        if part.item_id not in state.outside_items:
            _truncate(state, part.item_id, part.content_index, part.heard_ms)
    trimmed = [state.history.cut(part.item_id, part.content_index, part.heard_ms, part.received_ms) for part in unheard]
    if any(trimmed):
        state.emit_history("updated", unheard[0].item_id)
    if unheard:
        state.last_heard_ms = unheard[0].heard_ms
        if state.ledger.cut(unheard, now):
            state.do(ResetPlayback())
    return True


def interruptible(state: State, now: float) -> bool:
    """Whether the agent is speaking, or about to: an interrupt would cut something."""
    state.ledger.sweep(now)
    living = any(each.interrupted is None and (each.in_conversation or each.has_audio) for each in state.live())
    return living or state.response_queue.sent_alive or bool(state.ledger.unheard(now))


def cancel_calls(state: State, *, response_id: str | None = None) -> bool:
    """Cancel the function calls whose tools asked for it, all of them or those of one response. Whether there are any.
    Each still gets its output, which says so."""
    cancelled = [call for call in state.calls.values() if call.cancels and response_id in (None, call.response.id)]
    for call in cancelled:
        call.cancelled = True
        if not interrupt_approval(state, call.call_id):
            state.do(CancelTool(call.call_id))
    return bool(cancelled)


def kill(state: State, victim: Response, cause: Cause, now: float, *, server_cancels: bool) -> None:
    """Let nothing of a live response reach the app any more, and have the server stop making it."""
    victim.interrupted = cause
    victim.forget_at = now + state.cancel_grace_s
    state.purge(victim.id)
    if not server_cancels:
        event = {"type": "response.cancel", "response_id": victim.id}
        state.send(event, Sent("response.cancel", own=True), urgent=True)


def silence(state: State, response: Response, item_id: str, content_index: int) -> None:
    """A part of a dead response shows up whose audio the app never got: nobody hears any of it."""
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
    state.send(event, Sent("conversation.item.truncate", own=True), urgent=True)
