"""What the server says of the session: its settings as they are, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trealtime._core.handoffs import complete_switch
from trealtime._core.input_guardrails import turn_refused
from trealtime._core.pending_interruption import speech_thrown_away
from trealtime._core.responses import (
    fail_request,
    retry_request,
)
from trealtime._core.server_errors import is_collision, is_harmless, is_refused_create, read_error
from trealtime._core.state import Opening, State
from trealtime._core.tool_calls import offer_tools
from trealtime._core.turn_settings import send_update
from trealtime._core.turns import floor_free
from trealtime.audio.formats import PCM16_24K, AudioFormat, parse_audio_format
from trealtime.errors import AudioFormatError, ProtocolError, ServerRefused, SettingsRefused
from trealtime.events import (
    RealtimeError,
    RealtimeHistoryUpdated,
    RealtimeSettingsMismatch,
    ServerErrorInfo,
    SettingsDifference,
)
from trealtime.protocol import server_events as wire
from trealtime.protocol.acknowledgement import session_differences

__all__ = ["open_session", "session_created", "session_updated", "acknowledge", "error", "unknown_event"]


def open_session(state: State, session: Mapping[str, Any] | None, *, reply_id: str) -> None:
    """See `Conversation.open_session`."""
    state.emit(RealtimeHistoryUpdated(history=state.history.snapshot(), info=state.info))
    state.opening = Opening(reply_id, acknowledged=session is None)
    if session is not None:
        send_update(state, session, opening=True)


def session_created(state: State, event: wire.SessionCreated, now: float) -> None:
    state.defaults = event.session
    acknowledge(state, event.session, now)
    _advance_opening(state, now)


def session_updated(state: State, event: wire.SessionUpdated, now: float) -> None:
    acknowledge(state, event.session, now)
    _settle_update(state)
    _advance_opening(state, now)


def _settle_update(state: State) -> None:
    """The oldest open update has been acknowledged, if there is one."""
    update = state.requests.acknowledged()
    session = state.acknowledged
    if update is not None and session is not None:
        differences = session_differences(update.session, session)
        if differences:
            state.emit(
                RealtimeSettingsMismatch(
                    differences=tuple(SettingsDifference(*difference) for difference in differences), info=state.info
                ),
            )
        if update.opening and state.opening is not None:
            state.opening.acknowledged = True
        if update.requested is not None:
            state.turns.requested = update.requested
        if update.offer is not None:
            offer_tools(state, update.offer)
        if update.switch is not None:
            complete_switch(state, update.switch)
        state.settle(update.reply_id, session)


def acknowledge(state: State, session: Mapping[str, Any], now: float) -> None:
    """The session as the server has it."""
    state.acknowledged = session
    audio = session.get("audio")
    sides = audio if isinstance(audio, Mapping) else {}
    if not state.turn_detection:
        floor_free(state)
        speech_thrown_away(state, now)
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


def _advance_opening(state: State, now: float) -> None:
    opening = state.opening
    if opening is None:
        return
    opening.created = True  # an acknowledged update says as much as session.created does
    if opening.acknowledged:
        state.opening = None
        state.limits.began_at = now
        state.settle(opening.reply_id, state.acknowledged)


def error(state: State, event: wire.ErrorEvent, now: float) -> None:
    """Find out what was refused; whoever waits for it gets the error, else everybody."""
    info = read_error(event.error)
    if (update := state.requests.refused_update(info.event_id, param=info.param)) is not None:
        refusal = SettingsRefused(**_refusal(info, "session.update"))
        state.requests.refused(update.event_id)
        if update.opening and state.opening is not None:
            opening, state.opening = state.opening, None
            state.settle(opening.reply_id, error=refusal)
        elif update.reply_id is not None:
            state.settle(update.reply_id, error=refusal)
        else:
            _emit_error(state, event, "session.update")
        return
    if info.event_id is not None or is_refused_create(info):
        refused = state.response_queue.refused(info.event_id, collision=is_collision(info), now=now)
        if refused is not None:
            request, again = refused
            state.requests.refused(info.event_id)
            if again:
                retry_request(state, request)
            else:
                fail_request(state, request, ServerRefused(**_refusal(info, "response.create")))
            return
    sent = state.requests.refused(info.event_id)
    if (late := state.requests.refused_late(info.event_id)) is not None:
        item_id, reply_id = late
        state.settle(reply_id, state.history.item(item_id) if item_id in state.history else None)
    turn_refused(state, info.event_id)
    if sent is not None and sent.type == "conversation.item.create":
        state.sent_content.pop(sent.item_id or "", None)
    if sent is not None and sent.type == "session.update":
        # This refusal comes late: the acknowledgement that was taken for this update's was the next one's.
        _settle_update(state)
    if sent is not None and sent.own and is_harmless(info, sent.type):
        state.counters.harmless_errors += 1
        return
    if sent is not None and sent.reply_id is not None:
        state.settle(sent.reply_id, error=ServerRefused(**_refusal(info, sent.type)))
        return
    if info.fatal and state.opening is not None:
        opening, state.opening = state.opening, None
        state.settle(opening.reply_id, error=ServerRefused(**_refusal(info, "connecting")))
        return
    _emit_error(state, event, sent.type if sent is not None else None)


def unknown_event(state: State, event: wire.RawServerEvent, now: float) -> None:
    """An event newer than us is shown raw and otherwise left alone; a frame that is no event at all is an error."""
    state.counters.unknown_events += 1
    if not event.type:
        state.emit(RealtimeError(error=ProtocolError(event.problem or "unreadable frame"), info=state.info))


def _emit_error(state: State, event: wire.ErrorEvent, request: str | None) -> None:
    state.emit(RealtimeError(error=read_error(event.error, request=request), info=state.info))


def _refusal(info: ServerErrorInfo, request: str) -> dict[str, Any]:
    return {
        "message": info.message,
        "code": info.code,
        "type": info.type,
        "param": info.param,
        "event_id": info.event_id,
        "request": request,
    }
