"""What each server event does to a conversation: one function an event, found by a table.

Receipt is lenient: an event about something we do not know is taken for what it says or left alone, never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from trealtime._core import reception_agent as agent
from trealtime._core import reception_items as items
from trealtime._core import reception_session as session
from trealtime._core import reception_user as user
from trealtime._core.effects import Effects
from trealtime._core.state import State
from trealtime.errors import ProtocolError
from trealtime.events import RealtimeError
from trealtime.protocol import server_events as wire

__all__ = ["RECEPTION"]


def receive_raw(state: State, event: wire.RawServerEvent, now: float, fx: Effects) -> None:
    """An event newer than us is shown raw and otherwise left alone; a frame that is no event at all is an error."""
    state.counters.unknown_events += 1
    if not event.type:
        state.emit(fx, RealtimeError(error=ProtocolError(event.problem or "unreadable frame"), info=state.info))


Handler = Callable[[State, Any, float, Effects], None]

RECEPTION: Final[Mapping[type, Handler]] = {
    wire.SessionCreated: session.session_created,
    wire.SessionUpdated: session.session_updated,
    wire.ErrorEvent: session.error,
    wire.ConversationItemAdded: items.item_added,
    wire.ConversationItemDone: items.item_done,
    wire.ConversationItemCreated: items.item_created,
    wire.ConversationItemRetrieved: items.item_retrieved,
    wire.ConversationItemDeleted: items.item_deleted,
    wire.ConversationItemTruncated: items.item_truncated,
    wire.InputAudioBufferSpeechStarted: user.speech_started,
    wire.InputAudioBufferSpeechStopped: user.speech_stopped,
    wire.InputAudioBufferCommitted: user.audio_committed,
    wire.InputAudioBufferCleared: user.audio_cleared,
    wire.InputAudioBufferTimeoutTriggered: user.silence_timed_out,
    wire.InputAudioBufferDtmfEventReceived: user.key_pressed,
    wire.ConversationItemInputAudioTranscriptionDelta: user.transcription_delta,
    wire.ConversationItemInputAudioTranscriptionCompleted: user.transcription_completed,
    wire.ConversationItemInputAudioTranscriptionFailed: user.transcription_failed,
    wire.ResponseCreated: agent.response_created,
    wire.ResponseDone: agent.response_done,
    wire.ResponseOutputItemAdded: agent.output_item_added,
    wire.ResponseOutputItemDone: agent.output_item_done,
    wire.ResponseContentPartDone: agent.content_part_done,
    wire.McpListToolsFailed: agent.listing_failed,
    wire.ResponseOutputTextDelta: agent.text_delta,
    wire.ResponseOutputTextDone: agent.text_done,
    wire.ResponseOutputAudioTranscriptDelta: agent.transcript_delta,
    wire.ResponseOutputAudioTranscriptDone: agent.transcript_done,
    wire.ResponseOutputAudioDelta: agent.receive_audio,
    wire.ResponseOutputAudioDone: agent.audio_done,
    wire.OutputAudioBufferStarted: agent.playing_started,
    wire.OutputAudioBufferStopped: agent.playing_ended,
    wire.OutputAudioBufferCleared: agent.playing_ended,
    wire.RawServerEvent: receive_raw,
}
"""Events that are not here are shown raw and change nothing: rate limits, MCP calls (their items come as items)."""
