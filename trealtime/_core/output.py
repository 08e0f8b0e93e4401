"""The output of the agent: the items of responses, their text and audio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trealtime._core.approvals import ask_hosted
from trealtime._core.audio_event import audio_event
from trealtime._core.guardrails import (
    hear,
    hear_all,
    hold,
    item_over,
    stop_overfull,
)
from trealtime._core.interruption import silence
from trealtime._core.responses import drop_item, end_response, find_response, metadata_of, response_id_of
from trealtime._core.tool_calls import begin_call
from trealtime.errors import MCPServerFailed
from trealtime.events import (
    RealtimeAudio,
    RealtimeAudioEnd,
    RealtimeError,
    RealtimeTextDelta,
    RealtimeTranscriptDelta,
)
from trealtime.items import ItemStatus, OtherItem
from trealtime.protocol.lenient import as_text, within

if TYPE_CHECKING:
    from trealtime._core.response import Response
    from trealtime._core.state import State
    from trealtime.protocol import server_events as wire

__all__ = [
    "audio_done",
    "audio_to_emit",
    "content_part_done",
    "listing_failed",
    "output_item_added",
    "output_item_done",
    "receive_audio",
    "response_done",
    "text_delta",
    "text_done",
    "transcript_delta",
    "transcript_done",
]


def response_done(state: State, event: wire.ResponseDone, now: float) -> None:
    done = event.response
    _take_untold_items(state, done, now)
    end_response(state, done, now)


def _take_untold_items(state: State, done: Mapping[str, Any], now: float) -> None:
    """Take what a response that is over shows of items whose ``response.output_item.done`` has not come, or comes late:
    the history has them, the answer to its calls is part of the same turn, and calls that the server wants approved are
    asked about."""
    output = done.get("output")
    items = [each for each in output if isinstance(each, Mapping)] if isinstance(output, list) else []
    response = find_response(state, response_id_of(done), now, metadata_of(done)) if items else None
    if response is None:
        return
    for item in items:
        if response.too_early:
            drop_item(state, response, as_text(item.get("id")) or "")
            continue
        unknown = (as_text(item.get("id")) or "") not in state.history
        if unknown and response.in_conversation and response.interrupted is None:
            _show_item(state, response, item, status="completed")
        if item.get("type") == "function_call" and as_text(item.get("call_id")):
            begin_call(state, response, item, now)
        elif item.get("type") == "mcp_approval_request" and response.in_conversation:
            ask_hosted(state, response.agent, item, now)


def _show_item(state: State, response: Response, item: Mapping[str, Any], *, status: ItemStatus) -> None:
    item_id = as_text(item.get("id")) or ""
    if item_id in state.deleted_items:
        return
    change = state.history.put(item, status=status)
    if item_id not in response.items:
        response.items.append(item_id)
    state.emit_history(change, item_id)


def output_item_added(state: State, event: wire.ResponseOutputItemAdded, now: float) -> None:
    _output_item(state, event, now, final=False)


def output_item_done(state: State, event: wire.ResponseOutputItemDone, now: float) -> None:
    _output_item(state, event, now, final=True)
    item_over(state, event.response_id, event.item, now)


def _output_item(
    state: State,
    event: wire.ResponseOutputItemAdded | wire.ResponseOutputItemDone,
    now: float,
    *,
    final: bool,
) -> None:
    response = find_response(state, event.response_id, now)
    if response is None:
        return
    item_id = as_text(event.item.get("id")) or ""
    response.note_item(item_id, done=final)
    if event.item.get("type") == "mcp_call":
        response.hosted_call(item_id, over=final)
    if response.too_early:
        if final:
            drop_item(state, response, item_id)
        return
    if response.in_conversation and item_id not in state.deleted_items:
        ended: ItemStatus = "incomplete" if response.interrupted is not None else "completed"
        _show_item(state, response, event.item, status=ended if final else "in_progress")
        if final:
            state.history.complete(event.item)
        if final and response.interrupted is not None:
            for content_index in state.history.audio_parts(item_id):
                silence(state, response, item_id, content_index)
    if final and event.item.get("type") == "function_call":
        begin_call(state, response, event.item, now)
    elif final and event.item.get("type") == "mcp_approval_request" and response.in_conversation:
        ask_hosted(state, response.agent, event.item, now)


def content_part_done(state: State, event: wire.ResponseContentPartDone, now: float) -> None:
    state.history.put_part(event.item_id, event.content_index, event.part)


def _takes_words(state: State, response_id: str, now: float) -> bool:
    """Note that words of a response have come. False: it is over or interrupted, and they come too late."""
    response = find_response(state, response_id, now)
    if response is None or response.interrupted is not None:
        state.counters.late_deltas_dropped += 1
        return False
    if response.text_at is None:
        response.speak(now)
    return True


def text_delta(state: State, event: wire.ResponseOutputTextDelta, now: float) -> None:
    if not _takes_words(state, event.response_id, now):
        return
    state.history.add_text(event.item_id, event.content_index, event.delta)
    state.emit(
        RealtimeTextDelta(
            item_id=event.item_id,
            content_index=event.content_index,
            delta=event.delta,
            response_id=event.response_id,
            info=state.info,
        ),
    )
    hear(state, event.response_id, event.item_id, event.content_index, event.delta)


def text_done(state: State, event: wire.ResponseOutputTextDone, now: float) -> None:
    state.history.put_part(event.item_id, event.content_index, {"type": "text", "text": event.text})
    if (response := state.responses.get(event.response_id)) is not None:
        response.note_item(event.item_id, done=True)
    hear_all(state, event.response_id, event.item_id, event.content_index, event.text)


def transcript_delta(state: State, event: wire.ResponseOutputAudioTranscriptDelta, now: float) -> None:
    if not _takes_words(state, event.response_id, now):
        return
    state.history.add_transcript(event.item_id, event.content_index, event.delta)
    state.emit(
        RealtimeTranscriptDelta(
            item_id=event.item_id,
            content_index=event.content_index,
            delta=event.delta,
            role="assistant",
            response_id=event.response_id,
            info=state.info,
        ),
    )
    hear(state, event.response_id, event.item_id, event.content_index, event.delta)


def transcript_done(state: State, event: wire.ResponseOutputAudioTranscriptDone, now: float) -> None:
    state.history.put_part(event.item_id, event.content_index, {"type": "audio", "transcript": event.transcript})
    hear_all(state, event.response_id, event.item_id, event.content_index, event.transcript)


def receive_audio(state: State, event: wire.ResponseOutputAudioDelta, now: float) -> None:
    """A chunk of the agent's audio."""
    response = find_response(state, event.response_id, now)
    if response is None or response.interrupted is not None:
        state.counters.late_deltas_dropped += 1
        if response is not None and not response.too_early:
            silence(state, response, event.item_id, event.content_index)
        return
    if not response.in_conversation:
        state.outside_items[event.item_id] = response.id
    chunk = _count_audio(state, response, event, now)
    if state.guardrails.policy.hold_back:
        hold(state, response.id, chunk, now)
        stop_overfull(state, response.id, now)
    else:
        state.emit(chunk)


def audio_to_emit(state: State, event: wire.ResponseOutputAudioDelta, now: float) -> RealtimeAudio | None:
    """The hot path of `receive_audio`: return the event to emit, where that is all there is to do. None: nothing has
    been done."""
    response = state.responses.get(event.response_id)
    if (
        response is None
        or response.interrupted is not None
        or not response.in_conversation
        or state.guardrails.policy.hold_back
    ):
        return None
    return _count_audio(state, response, event, now)


def _count_audio(state: State, response: Response, event: wire.ResponseOutputAudioDelta, now: float) -> RealtimeAudio:
    state.spoken = True
    response.progress(now, audio=True)
    item_id, content_index, data = event.item_id, event.content_index, event.delta
    duration_ms = state.output_format.duration_ms(len(data))
    start_ms = state.ledger.receive(response.id, item_id, content_index, duration_ms)
    return audio_event(data, response.id, item_id, content_index, start_ms, state.info)


def audio_done(state: State, event: wire.ResponseOutputAudioDone, now: float) -> None:
    state.ledger.complete_part(event.item_id, event.content_index)
    response = state.responses.get(event.response_id)
    if response is None or response.interrupted is not None:
        return
    response.note_item(event.item_id, done=True)
    end = RealtimeAudioEnd(
        item_id=event.item_id,
        content_index=event.content_index,
        response_id=event.response_id,
        info=state.info,
    )
    hold(state, response.id, end, now)


def listing_failed(state: State, event: wire.McpListToolsFailed, now: float) -> None:
    """The service got no tools from an MCP server. Its item, if any, names the server; else we know the server when
    only one of the session's servers has no list."""
    lists = [item for item in state.history.snapshot() if isinstance(item, OtherItem) and item.type == "mcp_list_tools"]
    labels = {item.item_id: as_text(item.data.get("server_label")) or "" for item in lists}
    tools = within(state.acknowledged, "tools")
    declared = {as_text(within(each, "server_label")) or "" for each in (tools if isinstance(tools, list) else ())}
    unlisted = declared - {""} - set(labels.values())
    label = labels.get(event.item_id) or (unlisted.pop() if len(unlisted) == 1 else "")
    which = f"the MCP server {label!r}" if label else "an MCP server"
    failure = MCPServerFailed(f"the service could not list the tools of {which}", server_name=label)
    state.emit(RealtimeError(error=failure, info=state.info))
