"""Playback on a phone call that the server carries (SIP): it has the audio, plays it, and says from when to when.

Theory of operation
1. Playback of a response lasts from ``output_audio_buffer.started`` to ``stopped``, which comes after
   ``response.done``, or to ``cleared`` where an interrupt ends it.
2. Either may be lost. So playback counts as over `MARGIN_S` after the time at which the response must have been heard:
   its tokens of audio tell how long it is, 50 ms each. Where the server does not tell them, its words do, at a slow
   `CHARACTERS_PER_S`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trealtime.items import AssistantMessageItem

if TYPE_CHECKING:
    from trealtime._core.response import Response
    from trealtime._core.state import State
    from trealtime.protocol import server_events as wire

__all__ = ["MARGIN_S", "expire_server_playback", "playing_ended", "playing_started", "response_made"]

MARGIN_S: Final = 5.0
TOKEN_S: Final = 0.05
"""The length of a token of the agent's audio (https://platform.openai.com/docs/guides/realtime-costs)."""

CHARACTERS_PER_S: Final = 8.0
"""Half the speed at which people talk."""


def playing_started(state: State, event: wire.OutputAudioBufferStarted, now: float) -> None:
    state.server_plays, state.server_plays_since = event.response_id, now
    state.server_plays_until = None
    turn = state.turns.records.of_response(event.response_id)
    if turn is not None:
        turn.plays(now)
    made = [each for each in turn.responses if each.id == event.response_id] if turn is not None else []
    if made and made[0].result is not None:
        response_made(state, made[0], now)
    elif event.response_id not in state.responses:  # nothing is known of it
        state.server_plays_until = now + state.response_timeout_s


def playing_ended(
    state: State, event: wire.OutputAudioBufferStopped | wire.OutputAudioBufferCleared, now: float
) -> None:
    state.requests.answered("output_audio_buffer.clear", "")
    if state.server_plays == event.response_id:
        _end(state, now)


def response_made(state: State, response: Response, now: float) -> None:
    """A response is done: if it plays, it is known when that must be over."""
    if state.server_plays == response.id:
        state.server_plays_until = max(now, state.server_plays_since + _length_s(state, response)) + MARGIN_S


def expire_server_playback(state: State, now: float) -> None:
    """The server has not said that playback is over, and it must be."""
    if state.server_plays_until is not None and state.server_plays_until <= now:
        _end(state, state.server_plays_until - MARGIN_S)


def _end(state: State, heard_at: float) -> None:
    response_id, state.server_plays, state.server_plays_until = state.server_plays, None, None
    turn = state.turns.records.of_response(response_id or "")
    if turn is not None:
        turn.played(heard_at)


def _length_s(state: State, response: Response) -> float:
    usage = response.result.usage if response.result is not None else None
    details = usage.output_token_details if usage is not None else None
    tokens = (details or {}).get("audio_tokens")
    if isinstance(tokens, int) and tokens > 0:
        return tokens * TOKEN_S
    items = (state.history.item(item_id) for item_id in response.items if item_id in state.history)
    words = (item.text or "" for item in items if isinstance(item, AssistantMessageItem))
    return sum(map(len, words)) / CHARACTERS_PER_S
