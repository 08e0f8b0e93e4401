"""What each server event does to a conversation: one function an event, found by a table.

Receipt is lenient: an event about something we do not know is taken for what it says or left alone, never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from trealtime.audio.formats import PCM16_24K, AudioFormat, parse_audio_format
from trealtime.conversation.approvals import ask_hosted
from trealtime.conversation.doubt import speech_began, speech_ended, speech_thrown_away, words_known
from trealtime.conversation.effects import Effects
from trealtime.conversation.events import (
    RealtimeAudioEnd,
    RealtimeDtmf,
    RealtimeError,
    RealtimeInputAudioTimeoutTriggered,
    RealtimeSettingsMismatch,
    RealtimeSpeechStarted,
    RealtimeSpeechStopped,
    RealtimeTextDelta,
    RealtimeTranscriptDelta,
    ServerErrorInfo,
    SettingsDifference,
    audio_event,
)
from trealtime.conversation.floor import floor_free, turn_over, user_began, user_stopped
from trealtime.conversation.guardrails import hear, hear_all, item_over, stop_overfull
from trealtime.conversation.handoffs import complete_switch
from trealtime.conversation.hold_back import hold
from trealtime.conversation.input_guardrails import turn_committed, turn_refused, turn_transcribed
from trealtime.conversation.interrupts import silence
from trealtime.conversation.items import ItemStatus, OtherItem
from trealtime.conversation.responses import (
    begin_response,
    end_response,
    fail_request,
    find_response,
    retry_request,
)
from trealtime.conversation.server_errors import is_collision, is_harmless, is_refused_create, read_error
from trealtime.conversation.state import Speech, State
from trealtime.conversation.tool_calls import begin_call, offer_tools
from trealtime.conversation.usage import parse_transcription_usage
from trealtime.errors import AudioFormatError, MCPServerFailed, ProtocolError, ServerRefused, SettingsRefused
from trealtime.protocol import server_events as wire
from trealtime.protocol.acknowledgement import session_differences

__all__ = ["RECEPTION", "receive_audio", "receive_raw"]


# ---- session --------------------------------------------------------------------------------------------------------


def session_created(state: State, event: wire.SessionCreated, now: float, fx: Effects) -> None:
    state.defaults = event.session
    acknowledge(state, event.session, now, fx)
    _advance_opening(state, now, fx)


def session_updated(state: State, event: wire.SessionUpdated, now: float, fx: Effects) -> None:
    acknowledge(state, event.session, now, fx)
    _settle_update(state, fx)
    _advance_opening(state, now, fx)


def _settle_update(state: State, fx: Effects) -> None:
    """The oldest open update has been acknowledged, if there is one."""
    update = state.requests.acknowledged()
    session = state.acknowledged
    if update is not None and session is not None:
        differences = session_differences(update.session, session)
        if differences:
            state.emit(
                fx,
                RealtimeSettingsMismatch(
                    differences=tuple(SettingsDifference(*difference) for difference in differences), info=state.info
                ),
            )
        if update.opening and state.opening is not None:
            state.opening.acknowledged = True
        if update.wishes is not None:
            state.turns.wishes = update.wishes
        if update.offer is not None:
            offer_tools(state, update.offer)
        if update.switch is not None:
            complete_switch(state, update.switch, fx)
        state.settle(fx, update.ticket, session)


def acknowledge(state: State, session: Mapping[str, Any], now: float, fx: Effects) -> None:
    """The session as the server has it."""
    state.acknowledged = session
    audio = session.get("audio")
    sides = audio if isinstance(audio, Mapping) else {}
    if not state.turn_detection:
        floor_free(state)
        speech_thrown_away(state, now, fx)
    state.input_format = _format(sides.get("input"), state.input_format)
    state.output_format = _format(sides.get("output"), state.output_format)


def _format(side: object, current: AudioFormat) -> AudioFormat:
    value = side.get("format") if isinstance(side, Mapping) else None
    if value is None:
        return current
    try:
        return parse_audio_format(value)
    except AudioFormatError:
        return PCM16_24K  # what peers assume of a format that nobody knows (B080)


def _advance_opening(state: State, now: float, fx: Effects) -> None:
    opening = state.opening
    if opening is None:
        return
    opening.created = True  # an acknowledged update says as much as session.created does
    if opening.acknowledged:
        state.opening = None
        state.limits.began_at = now
        state.settle(fx, opening.ticket, state.acknowledged)


def error(state: State, event: wire.ErrorEvent, now: float, fx: Effects) -> None:
    """Find out what was refused; whoever waits for it gets the error, else everybody."""
    info = read_error(event.error)
    if (update := state.requests.refused_update(info.event_id, param=info.param)) is not None:
        refusal = SettingsRefused(**_refusal(info, "session.update"))
        state.requests.refused(update.event_id)
        if update.opening and state.opening is not None:
            opening, state.opening = state.opening, None
            state.settle(fx, opening.ticket, error=refusal)
        elif update.ticket is not None:
            state.settle(fx, update.ticket, error=refusal)
        else:
            _emit_error(state, event, "session.update", fx)
        return
    if info.event_id is not None or is_refused_create(info):
        refused = state.gate.refused(info.event_id, collision=is_collision(info), now=now)
        if refused is not None:
            request, again = refused
            state.requests.refused(info.event_id)
            if again:
                retry_request(state, request, fx)
            else:
                fail_request(state, request, ServerRefused(**_refusal(info, "response.create")), fx)
            return
    sent = state.requests.refused(info.event_id)
    if (late := state.requests.refused_late(info.event_id)) is not None:
        item_id, ticket = late
        state.settle(fx, ticket, state.history.item(item_id) if item_id in state.history else None)
    turn_refused(state, info.event_id)
    if sent is not None and sent.type == "conversation.item.create":
        state.sent_content.pop(sent.item_id or "", None)
    if sent is not None and sent.type == "session.update":
        # This refusal comes late: the acknowledgement that was taken for this update's was the next one's.
        _settle_update(state, fx)
    if sent is not None and sent.own and is_harmless(info, sent.type):
        state.counters.harmless_errors += 1
        return
    if sent is not None and sent.ticket is not None:
        state.settle(fx, sent.ticket, error=ServerRefused(**_refusal(info, sent.type)))
        return
    if info.fatal and state.opening is not None:
        opening, state.opening = state.opening, None
        state.settle(fx, opening.ticket, error=ServerRefused(**_refusal(info, "connecting")))
        return
    _emit_error(state, event, sent.type if sent is not None else None, fx)


def _emit_error(state: State, event: wire.ErrorEvent, request: str | None, fx: Effects) -> None:
    state.emit(fx, RealtimeError(error=read_error(event.error, request=request), info=state.info))


def _refusal(info: ServerErrorInfo, request: str) -> dict[str, Any]:
    return {
        "message": info.message,
        "code": info.code,
        "type": info.type,
        "param": info.param,
        "event_id": info.event_id,
        "request": request,
    }


# ---- items ----------------------------------------------------------------------------------------------------------


def item_added(state: State, event: wire.ConversationItemAdded, now: float, fx: Effects) -> None:
    _put_item(state, event.item, event.previous_item_id, fx, final=False)


def item_done(state: State, event: wire.ConversationItemDone, now: float, fx: Effects) -> None:
    _put_item(state, event.item, event.previous_item_id, fx, final=True)


def item_created(state: State, event: wire.ConversationItemCreated, now: float, fx: Effects) -> None:
    """The beta's one event for added and done: an item of the agent is only beginning."""
    _put_item(state, event.item, event.previous_item_id, fx, final=event.item.get("role") != "assistant")


def item_retrieved(state: State, event: wire.ConversationItemRetrieved, now: float, fx: Effects) -> None:
    _put_item(state, event.item, None, fx, final=False)
    item_id = _text(event.item.get("id"))
    ticket = state.requests.answered("conversation.item.retrieve", item_id)
    if ticket is not None:
        known = state.history.item(item_id) if item_id in state.history else None
        state.settle(fx, ticket, known)


def item_deleted(state: State, event: wire.ConversationItemDeleted, now: float, fx: Effects) -> None:
    state.deleted_items.add(event.item_id)
    if state.history.remove(event.item_id):
        state.emit_history(fx, "updated", event.item_id)
    state.settle(fx, state.requests.answered("conversation.item.delete", event.item_id))


def item_truncated(state: State, event: wire.ConversationItemTruncated, now: float, fx: Effects) -> None:
    """Ours have been cut when we sent them; this is news where somebody else truncates (a telephone call's server)."""
    received_ms = state.ledger.received_ms(event.item_id, event.content_index)
    if state.history.cut(event.item_id, event.content_index, event.audio_end_ms, received_ms):
        state.emit_history(fx, "updated", event.item_id)
    state.settle(fx, state.requests.answered("conversation.item.truncate", event.item_id))


def _put_item(state: State, item: Mapping[str, Any], previous_item_id: str | None, fx: Effects, *, final: bool) -> None:
    item_id = _text(item.get("id"))
    state.items.confirm(item_id)
    first = state.first_items.take(item_id) and previous_item_id is None
    state.deleted_items.take(item_id)
    sent = state.sent_content.pop(item_id, None)
    if sent is not None:
        item = {**item, "content": _with_images(item.get("content"), sent)}
    change = state.history.put(
        item, previous_item_id=previous_item_id, first=first, status="completed" if final else "in_progress"
    )
    state.emit_history(fx, change, item_id)
    if item_id in state.history:
        ticket = state.requests.answered("conversation.item.create", item_id)
        state.settle(fx, ticket, state.history.item(item_id))


def _with_images(echoed: object, sent: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The content that the server echoes, with the images that it leaves out put back in their places (B161)."""
    rest = [part for part in echoed if isinstance(part, Mapping)] if isinstance(echoed, list) else []
    if any(part.get("type") == "input_image" and part.get("image_url") for part in rest):
        return rest
    texts = iter([part for part in rest if part.get("type") != "input_image"])
    return [part if part.get("type") == "input_image" else next(texts, part) for part in sent]


# ---- what the user says ---------------------------------------------------------------------------------------------


def speech_started(state: State, event: wire.InputAudioBufferSpeechStarted, now: float, fx: Effects) -> None:
    """The user speaks: barge-in. The times in this event are of the input audio and say nothing about playback."""
    speech = Speech(event.item_id, now, event.audio_start_ms)
    state.emit(fx, RealtimeSpeechStarted(item_id=event.item_id, audio_start_ms=event.audio_start_ms, info=state.info))
    user_began(state, speech, now)
    speech_began(state, speech, now, fx)


def speech_stopped(state: State, event: wire.InputAudioBufferSpeechStopped, now: float, fx: Effects) -> None:
    state.spoken_items.add(event.item_id)
    user_stopped(state, now)
    state.emit(fx, RealtimeSpeechStopped(item_id=event.item_id, audio_end_ms=event.audio_end_ms, info=state.info))
    speech_ended(state, event.item_id, event.audio_end_ms, now, fx)


def audio_committed(state: State, event: wire.InputAudioBufferCommitted, now: float, fx: Effects) -> None:
    spoken = state.spoken_items.take(event.item_id)
    answered = spoken and state.server_answers
    turn_over(state, now, answered=answered)
    if answered:
        state.gate.turn_due()
    turn_committed(state, event.item_id, now, spoken=spoken)


def audio_cleared(state: State, event: wire.InputAudioBufferCleared, now: float, fx: Effects) -> None:
    floor_free(state)
    speech_thrown_away(state, now, fx)


def silence_timed_out(state: State, event: wire.InputAudioBufferTimeoutTriggered, now: float, fx: Effects) -> None:
    if event.item_id is not None:
        state.spoken_items.add(event.item_id)
    state.emit(
        fx,
        RealtimeInputAudioTimeoutTriggered(
            item_id=event.item_id,
            audio_start_ms=event.audio_start_ms,
            audio_end_ms=event.audio_end_ms,
            info=state.info,
        ),
    )


def key_pressed(state: State, event: wire.InputAudioBufferDtmfEventReceived, now: float, fx: Effects) -> None:
    state.emit(fx, RealtimeDtmf(digit=event.event, received_at_unix_s=event.received_at, info=state.info))


def transcription_delta(
    state: State, event: wire.ConversationItemInputAudioTranscriptionDelta, now: float, fx: Effects
) -> None:
    state.history.add_user_transcript(event.item_id, event.content_index, event.delta)
    state.emit(
        fx,
        RealtimeTranscriptDelta(
            item_id=event.item_id,
            content_index=event.content_index,
            delta=event.delta,
            role="user",
            info=state.info,
        ),
    )


def transcription_completed(
    state: State, event: wire.ConversationItemInputAudioTranscriptionCompleted, now: float, fx: Effects
) -> None:
    if event.item_id not in state.deleted_items:
        change = state.history.set_user_transcript(event.item_id, event.content_index, event.transcript)
        state.emit_history(fx, change, event.item_id)
    usage = parse_transcription_usage(event.usage)
    if usage is not None:
        state.meter.count_transcription(usage, state.transcription_model)
    words_known(state, event.item_id, event.transcript, now, fx)
    turn_transcribed(state, event.item_id, event.transcript, fx)


def transcription_failed(
    state: State, event: wire.ConversationItemInputAudioTranscriptionFailed, now: float, fx: Effects
) -> None:
    info = read_error(event.error, request=f"transcription of {event.item_id}")
    state.emit(fx, RealtimeError(error=info, info=state.info))
    words_known(state, event.item_id, None, now, fx)
    turn_transcribed(state, event.item_id, None, fx)


# ---- what the agent says --------------------------------------------------------------------------------------------


def response_created(state: State, event: wire.ResponseCreated, now: float, fx: Effects) -> None:
    begin_response(state, event.response, now, fx)


def response_done(state: State, event: wire.ResponseDone, now: float, fx: Effects) -> None:
    _begin_untold_calls(state, event.response, fx)
    end_response(state, event.response, now, fx)


def _begin_untold_calls(state: State, done: Mapping[str, Any], fx: Effects) -> None:
    """A response that is over says all that it consists of: a call whose ``response.output_item.done`` has not come, or
    comes late, is begun here, so that the answer to it is part of the same turn."""
    response = state.responses.get(_text(done.get("id")))
    output = done.get("output")
    if response is None or not isinstance(output, list):
        return
    for item in output:
        if isinstance(item, Mapping) and item.get("type") == "function_call" and _text(item.get("call_id")):
            begin_call(state, response, item, fx)


def output_item_added(state: State, event: wire.ResponseOutputItemAdded, now: float, fx: Effects) -> None:
    _output_item(state, event, now, fx, final=False)


def output_item_done(state: State, event: wire.ResponseOutputItemDone, now: float, fx: Effects) -> None:
    _output_item(state, event, now, fx, final=True)
    item_over(state, event.response_id, event.item, now, fx)


def _output_item(
    state: State,
    event: wire.ResponseOutputItemAdded | wire.ResponseOutputItemDone,
    now: float,
    fx: Effects,
    *,
    final: bool,
) -> None:
    response = find_response(state, event.response_id, fx)
    if response is None:
        return
    item_id = _text(event.item.get("id"))
    if response.in_conversation and item_id not in state.deleted_items:
        ended: ItemStatus = "incomplete" if response.dead is not None else "completed"
        change = state.history.put(event.item, status=ended if final else "in_progress")
        if item_id not in response.items:
            response.items.append(item_id)
        state.emit_history(fx, change, item_id)
        if final and response.dead is not None:
            for content_index in state.history.audio_parts(item_id):
                silence(state, response, item_id, content_index, fx)
    if final and event.item.get("type") == "function_call":
        begin_call(state, response, event.item, fx)
    elif final and event.item.get("type") == "mcp_approval_request" and response.in_conversation:
        ask_hosted(state, event.item, now, fx)


def content_part_done(state: State, event: wire.ResponseContentPartDone, now: float, fx: Effects) -> None:
    state.history.put_part(event.item_id, event.content_index, event.part)


def text_delta(state: State, event: wire.ResponseOutputTextDelta, now: float, fx: Effects) -> None:
    response = find_response(state, event.response_id, fx)
    if response is None or response.dead is not None:
        state.counters.late_deltas_dropped += 1
        return
    state.history.add_text(event.item_id, event.content_index, event.delta)
    state.emit(
        fx,
        RealtimeTextDelta(
            item_id=event.item_id,
            content_index=event.content_index,
            delta=event.delta,
            response_id=event.response_id,
            info=state.info,
        ),
    )
    hear(state, event.response_id, event.item_id, event.content_index, event.delta, fx)


def text_done(state: State, event: wire.ResponseOutputTextDone, now: float, fx: Effects) -> None:
    state.history.put_part(event.item_id, event.content_index, {"type": "text", "text": event.text})
    hear_all(state, event.response_id, event.item_id, event.content_index, event.text, fx)


def transcript_delta(state: State, event: wire.ResponseOutputAudioTranscriptDelta, now: float, fx: Effects) -> None:
    response = find_response(state, event.response_id, fx)
    if response is None or response.dead is not None:
        state.counters.late_deltas_dropped += 1
        return
    state.history.add_transcript(event.item_id, event.content_index, event.delta)
    state.emit(
        fx,
        RealtimeTranscriptDelta(
            item_id=event.item_id,
            content_index=event.content_index,
            delta=event.delta,
            role="assistant",
            response_id=event.response_id,
            info=state.info,
        ),
    )
    hear(state, event.response_id, event.item_id, event.content_index, event.delta, fx)


def transcript_done(state: State, event: wire.ResponseOutputAudioTranscriptDone, now: float, fx: Effects) -> None:
    state.history.put_part(event.item_id, event.content_index, {"type": "audio", "transcript": event.transcript})
    hear_all(state, event.response_id, event.item_id, event.content_index, event.transcript, fx)


def receive_audio(state: State, event: wire.ResponseOutputAudioDelta, now: float, fx: Effects) -> None:
    """The hot path: a chunk of the agent's audio."""
    response = state.responses.get(event.response_id) or find_response(state, event.response_id, fx)
    if response is None or response.dead is not None:
        state.counters.late_deltas_dropped += 1
        if response is not None:
            silence(state, response, event.item_id, event.content_index, fx)
        return
    response.heard_of = state.spoken = True
    if not response.in_conversation:
        state.outside_items.add(event.item_id)
    item_id, content_index, data = event.item_id, event.content_index, event.delta
    duration_ms = state.output_format.duration_ms(len(data))
    start_ms = state.ledger.receive(response.id, item_id, content_index, duration_ms)
    chunk = audio_event(data, response.id, item_id, content_index, start_ms, state.info)
    if state.guardrails.policy.hold_back:
        hold(state, response.id, chunk, now, fx)
        stop_overfull(state, response.id, now, fx)
    else:
        fx.emit.append(chunk)


def audio_done(state: State, event: wire.ResponseOutputAudioDone, now: float, fx: Effects) -> None:
    state.ledger.complete_part(event.item_id, event.content_index)
    response = state.responses.get(event.response_id)
    if response is None or response.dead is not None:
        return
    end = RealtimeAudioEnd(
        item_id=event.item_id,
        content_index=event.content_index,
        response_id=event.response_id,
        info=state.info,
    )
    hold(state, response.id, end, now, fx)


# ---- what the server plays itself, on a phone call -----------------------------------------------------------------


def playing_started(state: State, event: wire.OutputAudioBufferStarted, now: float, fx: Effects) -> None:
    state.server_plays = event.response_id


def playing_ended(
    state: State, event: wire.OutputAudioBufferStopped | wire.OutputAudioBufferCleared, now: float, fx: Effects
) -> None:
    if state.server_plays == event.response_id:
        state.server_plays = None


# ---- MCP servers of the service --------------------------------------------------------------------------------------


def listing_failed(state: State, event: wire.McpListToolsFailed, now: float, fx: Effects) -> None:
    """The service got no tools from an MCP server. Its item names the server, where there is one; else it is known
    when only one of the session's has no list."""
    lists = [item for item in state.history.snapshot() if isinstance(item, OtherItem) and item.type == "mcp_list_tools"]
    labels = {item.item_id: _text(item.data.get("server_label")) for item in lists}
    declared = {_text(tool.get("server_label")) for tool in (state.acknowledged or {}).get("tools") or ()}
    unlisted = declared - {""} - set(labels.values())
    label = labels.get(event.item_id) or (unlisted.pop() if len(unlisted) == 1 else "")
    which = f"the MCP server {label!r}" if label else "an MCP server"
    failure = MCPServerFailed(f"the service could not list the tools of {which}", server_name=label)
    state.emit(fx, RealtimeError(error=failure, info=state.info))


# ---- what is not an event we know -----------------------------------------------------------------------------------


def receive_raw(state: State, event: wire.RawServerEvent, now: float, fx: Effects) -> None:
    """An event newer than us is shown raw and otherwise left alone; a frame that is no event at all is an error."""
    state.counters.unknown_events += 1
    if not event.type:
        state.emit(fx, RealtimeError(error=ProtocolError(event.problem or "unreadable frame"), info=state.info))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


Handler = Callable[[State, Any, float, Effects], None]

RECEPTION: Final[Mapping[type, Handler]] = {
    wire.SessionCreated: session_created,
    wire.SessionUpdated: session_updated,
    wire.ErrorEvent: error,
    wire.ConversationItemAdded: item_added,
    wire.ConversationItemDone: item_done,
    wire.ConversationItemCreated: item_created,
    wire.ConversationItemRetrieved: item_retrieved,
    wire.ConversationItemDeleted: item_deleted,
    wire.ConversationItemTruncated: item_truncated,
    wire.InputAudioBufferSpeechStarted: speech_started,
    wire.InputAudioBufferSpeechStopped: speech_stopped,
    wire.InputAudioBufferCommitted: audio_committed,
    wire.InputAudioBufferCleared: audio_cleared,
    wire.InputAudioBufferTimeoutTriggered: silence_timed_out,
    wire.InputAudioBufferDtmfEventReceived: key_pressed,
    wire.ConversationItemInputAudioTranscriptionDelta: transcription_delta,
    wire.ConversationItemInputAudioTranscriptionCompleted: transcription_completed,
    wire.ConversationItemInputAudioTranscriptionFailed: transcription_failed,
    wire.ResponseCreated: response_created,
    wire.ResponseDone: response_done,
    wire.ResponseOutputItemAdded: output_item_added,
    wire.ResponseOutputItemDone: output_item_done,
    wire.ResponseContentPartDone: content_part_done,
    wire.McpListToolsFailed: listing_failed,
    wire.ResponseOutputTextDelta: text_delta,
    wire.ResponseOutputTextDone: text_done,
    wire.ResponseOutputAudioTranscriptDelta: transcript_delta,
    wire.ResponseOutputAudioTranscriptDone: transcript_done,
    wire.ResponseOutputAudioDelta: receive_audio,
    wire.ResponseOutputAudioDone: audio_done,
    wire.OutputAudioBufferStarted: playing_started,
    wire.OutputAudioBufferStopped: playing_ended,
    wire.OutputAudioBufferCleared: playing_ended,
    wire.RawServerEvent: receive_raw,
}
"""Events that are not here are shown raw and change nothing: rate limits, MCP calls (their items come as items)."""
