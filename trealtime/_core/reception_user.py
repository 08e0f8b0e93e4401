"""What the server hears of the user: speech, turns, keys, transcripts."""

from __future__ import annotations

from trealtime._core.input_guardrails import turn_committed, turn_transcribed
from trealtime._core.pending_interruption import speech_began, speech_ended, speech_thrown_away, words_known
from trealtime._core.server_errors import read_error
from trealtime._core.state import Speech, State
from trealtime._core.turns import floor_free, turn_over, user_began, user_stopped
from trealtime._core.usage import parse_transcription_usage
from trealtime.events import (
    RealtimeDtmf,
    RealtimeError,
    RealtimeInputAudioTimeoutTriggered,
    RealtimeSpeechStarted,
    RealtimeSpeechStopped,
    RealtimeTranscriptDelta,
)
from trealtime.protocol import server_events as wire

__all__ = [
    "speech_started",
    "speech_stopped",
    "audio_committed",
    "audio_cleared",
    "silence_timed_out",
    "key_pressed",
    "transcription_delta",
    "transcription_completed",
    "transcription_failed",
]


def speech_started(state: State, event: wire.InputAudioBufferSpeechStarted, now: float) -> None:
    """The user speaks: barge-in. The times in this event are of the input audio and say nothing about playback."""
    speech = Speech(event.item_id, now, event.audio_start_ms)
    state.emit(RealtimeSpeechStarted(item_id=event.item_id, audio_start_ms=event.audio_start_ms, info=state.info))
    user_began(state, speech, now)
    speech_began(state, speech, now)


def speech_stopped(state: State, event: wire.InputAudioBufferSpeechStopped, now: float) -> None:
    state.spoken_items.add(event.item_id)
    user_stopped(state, now)
    state.emit(RealtimeSpeechStopped(item_id=event.item_id, audio_end_ms=event.audio_end_ms, info=state.info))
    speech_ended(state, event.item_id, event.audio_end_ms, now)


def audio_committed(state: State, event: wire.InputAudioBufferCommitted, now: float) -> None:
    spoken = state.spoken_items.take(event.item_id)
    answered = spoken and state.server_answers
    turn_over(state, now, answered=answered)
    if answered:
        state.response_queue.turn_due()
    turn_committed(state, event.item_id, now, spoken=spoken)


def audio_cleared(state: State, event: wire.InputAudioBufferCleared, now: float) -> None:
    floor_free(state)
    speech_thrown_away(state, now)


def silence_timed_out(state: State, event: wire.InputAudioBufferTimeoutTriggered, now: float) -> None:
    if event.item_id is not None:
        state.spoken_items.add(event.item_id)
    state.emit(
        RealtimeInputAudioTimeoutTriggered(
            item_id=event.item_id,
            audio_start_ms=event.audio_start_ms,
            audio_end_ms=event.audio_end_ms,
            info=state.info,
        ),
    )


def key_pressed(state: State, event: wire.InputAudioBufferDtmfEventReceived, now: float) -> None:
    state.emit(RealtimeDtmf(digit=event.event, received_at_unix_s=event.received_at, info=state.info))


def transcription_delta(state: State, event: wire.ConversationItemInputAudioTranscriptionDelta, now: float) -> None:
    state.history.add_user_transcript(event.item_id, event.content_index, event.delta)
    state.emit(
        RealtimeTranscriptDelta(
            item_id=event.item_id,
            content_index=event.content_index,
            delta=event.delta,
            role="user",
            info=state.info,
        ),
    )


def transcription_completed(
    state: State, event: wire.ConversationItemInputAudioTranscriptionCompleted, now: float
) -> None:
    if event.item_id not in state.deleted_items:
        change = state.history.set_user_transcript(event.item_id, event.content_index, event.transcript)
        state.emit_history(change, event.item_id)
    usage = parse_transcription_usage(event.usage)
    if usage is not None:
        state.meter.count_transcription(usage, state.transcription_model)
    words_known(state, event.item_id, event.transcript, now)
    turn_transcribed(state, event.item_id, event.transcript)


def transcription_failed(state: State, event: wire.ConversationItemInputAudioTranscriptionFailed, now: float) -> None:
    info = read_error(event.error, request=f"transcription of {event.item_id}")
    state.emit(RealtimeError(error=info, info=state.info))
    words_known(state, event.item_id, None, now)
    turn_transcribed(state, event.item_id, None)
