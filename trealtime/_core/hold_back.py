"""Hold-back: audio that waits until the words up to it have passed. The rules are in `guardrails`, point 3."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from trealtime._core.guardrail_state import Delay, Held, HoldDelay, text_of
from trealtime._core.state import Response, State
from trealtime.events import RealtimeAgentEndEvent, RealtimeAudio, RealtimeAudioEnd

__all__ = ["drop_purged", "hold", "hold_end", "release"]


def hold(state: State, response_id: str, event: RealtimeAudio | RealtimeAudioEnd, now: float) -> None:
    """Audio, or the end of it, that may have to wait for a verdict."""
    mine = state.guardrails
    watch = mine.watches.get(response_id)
    if not mine.policy.hold_back or (watch is None and not mine.held):
        state.emit(event)
        return
    entry = Held(response_id, event, now)
    if watch is not None and event.type == "audio":
        entry.said = text_of(state, watch, event.item_id)
        entry.mark = entry.said.length
    mine.held.append(entry)
    if event.type == "audio":
        delay = mine.delays.setdefault(response_id, Delay(now))
        delay.began = delay.began if delay.pieces else now
        delay.pieces += 1
        delay.held_ms += _length_ms(state, event)
    release(state, now)


def _length_ms(state: State, event: RealtimeAudio) -> float:
    return state.output_format.duration_ms(len(event.audio.data))


def hold_end(
    state: State, response: Response, event: RealtimeAgentEndEvent, now: float, then: Callable[[], None]
) -> bool:
    """Whether the end of a response has to wait for its audio; `then` is what follows from it."""
    if not any(entry.response_id == response.id for entry in state.guardrails.held):
        state.guardrails.delays.pop(response.id, None)
        return False
    response.held_back = True
    state.guardrails.held.append(Held(response.id, event, now, response=response, then=then))
    return True


def release(state: State, now: float) -> None:
    held = state.guardrails.held
    while held and held[0].free:
        _tell(state, held.popleft(), now)


def drop_purged(state: State, now: float) -> None:
    """What is held of interrupted responses is never heard; that they have ended is told all the same."""
    mine = state.guardrails
    purged, state.purged = state.purged, []
    if not mine.held or not purged:
        return
    kept: deque[Held] = deque()
    ended: list[Held] = []
    for entry in mine.held:
        if entry.response_id not in purged:
            kept.append(entry)
        elif entry.response is not None:
            ended.append(entry)
    mine.held = kept
    for response_id in purged:
        mine.delays.pop(response_id, None)
    for entry in ended:
        if entry.response is not None and entry.response.interrupted == "guardrail":
            _cut(entry, entry.response)
        _tell(state, entry, now)
    release(state, now)


def _cut(entry: Held, response: Response) -> None:
    """The server had completed it; whoever waits for it gets an answer that a guardrail has stopped."""
    assert isinstance(entry.event, RealtimeAgentEndEvent)
    assert response.result is not None
    entry.event = attrs.evolve(entry.event, status="cancelled", reason="guardrail")
    response.result = attrs.evolve(response.result, status="cancelled", reason="guardrail")


def _tell(state: State, entry: Held, now: float) -> None:
    state.emit(entry.event)
    mine = state.guardrails
    delay = mine.delays.get(entry.response_id)
    if delay is not None and entry.event.type == "audio":
        delay.longest_s = max(delay.longest_s, now - entry.since)
        delay.pieces -= 1
        delay.held_ms -= _length_ms(state, entry.event)
        if not delay.pieces:
            delay.total_s += now - delay.began
            mine.last_hold = HoldDelay(
                response_id=entry.response_id, max_ms=delay.longest_s * 1000, total_ms=delay.total_s * 1000
            )
    if entry.response is not None and entry.then is not None:
        mine.delays.pop(entry.response_id, None)
        entry.response.held_back = False
        entry.then()
