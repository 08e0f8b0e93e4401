"""What was in flight when a connection was lost, and what the next one gets.

Theory of operation
1. At a loss everything that belonged to the connection comes to an end in the core, in one step: live responses are
   over, speech that the server was hearing never happened, requests without an answer are set aside (`reconnection`).
   Everything else goes on: history, calls and approvals, the audio that plays, the callers who wait.
2. An answer of which nothing but its end was missing is complete. One that was cut plays on as far as it has come. Its
   callers, and the turn of the user that it answered, wait for a continuation: a request for the rest, which tells the
   model where it was. One that has called functions is continued by the answer to their outputs, and needs none. An
   interrupt withdraws the continuation.
3. A request that no response had answered is made again. So is the answer that the server owed to a turn of the user.
4. A new connection is told, in this order and without waiting for anything: the settings; the history (`replay`); the
   requests that were set aside, each commit with the audio before it; the rest of the user's audio; the requests for
   responses.
5. The server may refuse an item. Those that name it as the one before them are refused with it, so they go once more,
   after the nearest one that was taken. An answer that it has begun without them is not wanted (`responses`).
6. An item that was told may still play. If it is cut, it is told anew: a server cannot truncate what it has as text.
7. A connection to a phone call of the server's is only a view of it: the call has its history, hears its user and
   goes on, so nothing is told or asked again there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trealtime._core.asking import submit
from trealtime._core.effects import DropConnection, DropSuccessor, GiveUp, SendAudio, SwitchConnection
from trealtime._core.guardrails import hold
from trealtime._core.interruption import speech_thrown_away
from trealtime._core.reconnection import dial_again, set_aside
from trealtime._core.replay import Replay, folded, make_replay, spoken
from trealtime._core.responses import end_response
from trealtime._core.saved_history import stored_items
from trealtime._core.server_errors import is_passing
from trealtime._core.settings import SettingsUpdate, acknowledge, send_update, setting_in
from trealtime._core.turns import take_shown_turns
from trealtime.events import RealtimeAudioEnd, RealtimeConnectionLost, RealtimeHistoryUpdated, RealtimeRolledOver
from trealtime.items import AssistantMessageItem, RealtimeItem
from trealtime.protocol.settings import deep_merge

if TYPE_CHECKING:
    from trealtime._core.requests import Sent
    from trealtime._core.response import Response
    from trealtime._core.state import State
    from trealtime.events import ServerErrorInfo

__all__ = [
    "catch_up",
    "connected",
    "connection_lost",
    "folding",
    "item_refused",
    "opening_refused",
    "opening_settings",
    "replace_history",
    "replay_of",
    "retell",
    "set_everything_aside",
    "take_over",
]

LOST = "connection_lost"
"""The reason of a response that ended with its connection."""


# ---- the loss -------------------------------------------------------------------------------------------------------


def connection_lost(state: State, now: float, *, code: int, reason: str) -> None:
    """See `Conversation.connection_lost`."""
    link = state.link
    if link.lose(now):
        state.emit(RealtimeConnectionLost(code=code, reason=reason, info=state.info))
    else:
        link.note_failure(f"the connection ended with code {code}{f' ({reason})' if reason else ''}")
    set_everything_aside(state, now)
    if not take_ready_successor(state, now):
        dial_again(state, now)


def not_connected(state: State, now: float, *, retry_after_s: float | None) -> None:
    """See `Conversation.not_connected`."""
    state.link.begin_away(now)
    set_everything_aside(state, now)
    dial_again(state, now, at_least_s=retry_after_s)


def take_ready_successor(state: State, now: float) -> bool:
    """The connection is lost while another one stands beside it: let that take over, if it is ready."""
    successor = state.link.successor
    if successor is None:
        return False
    if successor.status == "ready":
        take_over(state, now, gap_ms=0.0)
        return True
    state.link.succeed_with(None)
    state.do(DropSuccessor())
    return False


def take_over(state: State, now: float, *, gap_ms: float) -> None:
    """Let the successor be the connection from now on."""
    link = state.link
    successor = link.successor
    assert successor is not None
    link.leave_for_successor()
    set_everything_aside(state, now)
    state.do(SwitchConnection())
    link.take_successor(successor)
    for event_id, event in successor.creates.items():  # they may still be refused
        state.requests.sent(event_id, event, reply_id=None, own=True)
    catch_up(state, now, successor.session, successor.settings, successor.replay)
    state.emit(RealtimeRolledOver(gap_ms=gap_ms, info=state.info))


def set_everything_aside(state: State, now: float) -> None:
    """End what belonged to the connection, and keep what the next one has to get."""
    cut = False
    take_shown_turns(state, now)
    for response in state.unfinished():
        response.outlive()
    for response in state.live():
        if response.interrupted is not None:
            _end(state, response, "cancelled", "client_cancelled", now)
        else:
            cut = cut or response.in_conversation
            _cut(state, response, now)
    for request in state.response_queue.lose():
        request.stop(state)
    state.updates.lose()
    for event_id, sent in state.requests.lose(state.updates.open_ids()):
        if not (sent.overdue and sent.subject in state.history):  # it has been shown after all
            set_aside(state, event_id, sent)
    speech_thrown_away(state, now)
    promised = state.turns.lose(state.response_queue)
    state.audio.lose()
    if not state.link.attached:
        _show_turns(state)
    state.turns.input_clock.begin_anew()
    state.server_plays = state.server_plays_until = None
    state.unnamed.clear()
    state.finished.clear()  # nothing late comes from it, and the next may number its responses in the same way
    if promised and not cut and not state.link.attached:
        submit(state, automatic=True, turn=True, record=promised[-1])


def _show_turns(state: State) -> None:
    """Put turns of the user into the history that the server has committed and not shown yet: the next connection is
    told what is there."""
    for item_id in state.audio.waiting:
        if item_id not in state.history and item_id not in state.deleted_items:
            content = [{"type": "input_audio", "transcript": None}]
            item = {"id": item_id, "type": "message", "role": "user", "content": content}
            state.emit_history(state.history.put(item, status="completed"), item_id)


def _cut(state: State, response: Response, now: float) -> None:
    """A response was being made."""
    for item_id, content_index, audio_ms in state.ledger.unfinished(response.id):
        item = state.history.item(item_id) if item_id in state.history else None
        if isinstance(item, AssistantMessageItem) and content_index < len(item.content):
            words = getattr(item.content[content_index], "transcript", None)
            if words:
                state.history.shorten(item_id, content_index, spoken(words, audio_ms))
        end = RealtimeAudioEnd(item_id=item_id, content_index=content_index, response_id=response.id, info=state.info)
        hold(state, response.id, end, now)
    policy = state.link.policy
    if response.has_come and not state.link.attached:
        _end(state, response, "completed", None, now)
        return
    goes_on = response.has_called or state.link.attached
    restarts = not response.in_conversation and not response.has_output
    if goes_on or policy is None or (not response.in_conversation and not restarts):
        _end(state, response, "incomplete", LOST, now)
    elif policy.on_cut == "drop":
        state.link.cut("dropped")
        _end(state, response, "incomplete", LOST, now)
    else:
        state.link.cut("continued")
        _continue(state, response, now)


def _continue(state: State, response: Response, now: float) -> None:
    request = response.request
    params = dict(request.params or {}) if request is not None else {}
    note = _note(_text_of(state, response))
    if note is not None:
        own = params.get("instructions") or setting_in(state.link.settings, "instructions")
        params["instructions"] = "\n\n".join(text for text in (own, note) if isinstance(text, str) and text)
    for_app, rounds, abandoned = response.for_app, response.rounds, response.abandoned
    tools = request.tools if request is not None else ()
    reply_ids = response.release_callers()
    _end(state, response, "incomplete", LOST, now)
    if abandoned:
        return
    submit(
        state,
        params=params or None,
        automatic=response.in_conversation,
        reply_ids=reply_ids,
        tools=tools,
        rounds=rounds,
        for_app=for_app,
        record=response.record,
        continues=response.id,
    )


def _end(state: State, response: Response, status: str, reason: str | None, now: float) -> None:
    details = None if reason is None else {"reason": reason}
    end_response(state, {"id": response.id, "status": status, "status_details": details}, now, given_up=True)


def _text_of(state: State, response: Response) -> str:
    items = [state.history.item(item_id) for item_id in response.items if item_id in state.history]
    return " ".join(item.text for item in items if isinstance(item, AssistantMessageItem) and item.text)


def _note(said: str) -> str | None:
    """Tell the model how far its answer came; None: there is nothing to go on from."""
    if not said:
        return None
    return (
        "Your last answer was cut off by a lost connection. The user has got this much of it: "
        f'"{said}". Go on from exactly there. Do not repeat any of it, and do not mention the connection.'
    )


# ---- the next connection --------------------------------------------------------------------------------------------


def folding(state: State) -> list[RealtimeItem]:
    """The oldest items of the history, if another connection would be told a summary in their place."""
    policy = state.link.policy
    if policy is None or policy.summarise is None or state.link.attached:
        return []
    entries = state.history.entries()
    return [entry.item for entry in entries[: folded(entries, policy.bounds)]]


def connected(state: State, now: float, *, summary: str | None) -> None:
    """See `Conversation.connected`."""
    link = state.link
    link.begin(now)
    open_with_settings(state)
    if not link.attached:
        retell(state, summary)
    _go_on(state)


def catch_up(
    state: State,
    now: float,
    session: Mapping[str, Any] | None,
    settings: Mapping[str, Any] | None,
    told: Replay,
) -> None:
    """Tell a connection that was told the conversation before what has changed since, and go on with it."""
    if session is not None:
        acknowledge(state, session, now)
    wanted = opening_settings(state)
    if wanted is not None and wanted != settings:
        event_id = state.send({"type": "session.update", "session": wanted})
        state.updates.open_again(SettingsUpdate(event_id=event_id, session=wanted))
    refused = state.link.told.refused
    known = {item["id"]: item for item in told.items if not refused(item["id"])}
    replay = replay_of(state, None)
    summary_id = told.summary_id
    previous_item_id = None if summary_id is None or refused(summary_id) else summary_id
    for item in replay.items:
        item_id = item["id"]
        before = known.get(item_id)
        spoken_before = before is not None and _has_audio(before)
        if before is not None and before != item and not spoken_before:
            state.link.replace(item_id)
            state.send({"type": "conversation.item.delete", "item_id": item_id}, own=True)
        if refused(item_id):
            continue
        if before is None or (before != item and not spoken_before):
            _tell(state, item, previous_item_id)
        previous_item_id = item_id
    # Folded items may stay there; an answer that was cut before the user heard any of it may not.
    kept = {item["id"] for item in replay_of(state, None, bounded=False).items} | {told.summary_id}
    for item_id in [each for each in known if each not in kept]:
        if item_id in state.history:
            if _has_audio(known[item_id]):
                continue
            state.link.replace(item_id)
        state.send({"type": "conversation.item.delete", "item_id": item_id}, own=True)
    state.link.retold(replay)
    _go_on(state)


def _has_audio(item: Mapping[str, Any]) -> bool:
    return any(part.get("type") == "input_audio" for part in item.get("content", ()))


def _go_on(state: State) -> None:
    """Send what was set aside, and the user's audio."""
    link = state.link
    audio = state.audio.resume()
    last: dict[str | None, str] = {}
    for event_id, sent in link.take_pending():
        if sent.type == "input_audio_buffer.commit":
            _send_audio(state, audio, until=event_id)
        event = sent.event
        if sent.type == "conversation.item.create":
            event = _after_known(state, _before_its_answer(state, sent, last))
        state.send({**event, "event_id": event_id}, reply_id=sent.reply_id, own=sent.own)
    _send_audio(state, audio)
    link.count_dropped(state.audio.dropped_bytes, state.audio.audio_format.duration_ms)
    state.response_queue.follow_items(state.items.sent)


def open_with_settings(state: State) -> None:
    """Send the settings that the server before had acknowledged, all in one update; if none had, those of the app."""
    settings = opening_settings(state)
    event_id = None
    if state.opening is not None and state.opening.session is not None:
        event_id = send_update(state, state.opening.session, opening=True)
    elif settings is not None:
        event_id = state.send({"type": "session.update", "session": settings})
        state.updates.open_again(SettingsUpdate(event_id=event_id, session=settings, opening=True))
    state.link.open_with(event_id)


def opening_settings(state: State) -> Mapping[str, Any] | None:
    """The settings for another connection; None: it is told none."""
    settings = state.link.settings
    if settings is None or state.link.attached:
        return None
    voice = setting_in(state.acknowledged, "audio", "output", "voice")
    if state.spoken and voice is not None:  # it keeps the voice that the user knows
        settings = deep_merge(settings, {"audio": {"output": {"voice": voice}}})
    return settings


def replay_of(state: State, summary: str | None, *, bounded: bool = True) -> Replay:
    """What to tell of the history as it is now."""
    policy = state.link.policy if bounded else None
    item = None
    if summary:
        content = [{"type": "input_text", "text": f"Summary of the conversation so far: {summary}"}]
        item = {"id": state.ids.new("item"), "type": "message", "role": "system", "content": content}
    outputs = {str(sent.event["item"].get("call_id")) for sent in state.link.creates()}
    return make_replay(
        state.history.entries(),
        open_calls={*state.calls, *outputs},
        pending_approvals=state.approvals.pending,
        audio_of=state.audio.audio_of,
        bounds=None if policy is None else policy.bounds,
        summary=item,
        audio_format=state.audio.audio_format,
    )


def retell(state: State, summary: str | None) -> None:
    """Tell the history, item by item, without waiting for anything."""
    replay = replay_of(state, summary)
    state.link.tell(replay)
    previous_item_id = None
    for item in replay.items:
        _tell(state, item, previous_item_id)
        previous_item_id = item["id"]


def replace_history(state: State, items: Sequence[RealtimeItem], *, reply_id: str) -> None:
    """See `Conversation.replace_history`. Items that are there already, in the same order, stay as they are."""
    history = state.history
    order = [entry.item for entry in history.entries()]
    places = {item.item_id: place for place, item in enumerate(order)}
    last, kept = -1, set[str]()
    for item in items:
        place = places.get(item.item_id, -1)
        if place > last and order[place] == item:
            kept.add(item.item_id)
            last = place
    events: list[dict[str, Any]] = []
    for entry in history.entries():
        if entry.item.item_id in kept:
            continue
        for item_id in (entry.item.item_id, entry.output_id):
            if item_id is not None:
                history.remove(item_id)
                events.append({"type": "conversation.item.delete", "item_id": item_id})
    removed = {event["item_id"] for event in events}
    before = "root"
    for item in items:
        if item.item_id not in kept:
            for stored in stored_items(item, lambda: state.ids.new("item")):
                history.put(stored, previous_item_id=before)
                before = stored["id"]
        else:
            before = next(each.output_id or item.item_id for each in history.entries() if each.item == item)
    replay = make_replay(history.entries(), open_calls=state.calls, audio_of=state.audio.audio_of)
    told = {item["id"]: item for item in replay.items}
    kept |= {str(entry.output_id) for entry in history.entries() if entry.item.item_id in kept}
    previous_item_id: str | None = None
    for item_id in history.order():
        if item_id not in kept:
            if item_id not in told:
                continue
            if item_id in removed:
                state.link.replace(item_id)
            state.link.told.tell(item_id, previous_item_id)
            name = "root" if previous_item_id is None else previous_item_id
            events.append({"type": "conversation.item.create", "item": told[item_id], "previous_item_id": name})
        previous_item_id = item_id
    for event in events[:-1]:
        state.send(event, own=True)
    if events:
        state.send(events[-1], reply_id=reply_id, own=True)
    else:
        state.settle(reply_id)
    state.emit(RealtimeHistoryUpdated(history=history.snapshot(), info=state.info))


def _tell(state: State, item: Mapping[str, Any], previous_item_id: str | None, *, reply_id: str | None = None) -> None:
    event: dict[str, Any] = {"type": "conversation.item.create", "item": item}
    event["previous_item_id"] = "root" if previous_item_id is None else previous_item_id
    state.link.told.tell(item["id"], previous_item_id)
    state.send(event, own=True, reply_id=reply_id)


def _before_its_answer(state: State, sent: Sent, last: dict[str | None, str]) -> Mapping[str, Any]:
    """An item of which the server had told nothing goes before what it has told of since: an answer that was cut knew
    the item. `last` has, by item, the last one of ours that goes after it."""
    if "previous_item_id" in sent.event or sent.subject in state.link.places:
        return sent.event
    order = state.history.order()
    if sent.follows not in (None, *order):
        return sent.event
    place, last[sent.follows] = last.get(sent.follows, sent.follows), sent.subject
    later = order if sent.follows is None else order[order.index(sent.follows) + 1 :]
    if not any(item_id in state.link.told for item_id in later):
        return sent.event
    if place is None:
        state.first_items[sent.subject] = None
    return {**sent.event, "previous_item_id": "root" if place is None else place}


def _after_known(state: State, event: Mapping[str, Any]) -> Mapping[str, Any]:
    """An item that was to follow one which the new connection does not know follows the nearest before that."""
    item_id = str(event["item"].get("id"))
    previous_item_id = state.link.places.get(item_id, event.get("previous_item_id"))
    order = state.history.order()
    if previous_item_id in state.link.told:
        return {**event, "previous_item_id": previous_item_id}
    if previous_item_id not in order:
        return event
    before = [each for each in order[: order.index(previous_item_id)] if each in state.link.told]
    state.link.keep_place(item_id, previous_item_id)
    return {**event, "previous_item_id": before[-1] if before else "root"}


def _send_audio(state: State, audio: Iterator[tuple[str | None, bytes]], *, until: str | None = None) -> None:
    for event_id, piece in audio:
        if event_id is None:
            duration_ms = state.audio.audio_format.duration_ms(len(piece))
            state.link.resend(duration_ms)
            state.turns.input_clock.add_again(duration_ms)
            state.do(SendAudio(piece))
        elif event_id == until:
            return


# ---- what it refuses ------------------------------------------------------------------------------------------------


def item_refused(state: State, sent: Sent, info: ServerErrorInfo) -> bool:
    """The server has refused an item. Return whether it goes again, because the item is not the reason."""
    link, item_id = state.link, sent.subject
    if sent.type != "conversation.item.create" or item_id not in link.told:
        return False
    if not link.refuse(item_id, passing=is_passing(info), place=state.response_queue.take_place()):
        return False
    _tell(state, sent.event["item"], link.told.place_of(item_id), reply_id=sent.reply_id)
    return True


def opening_refused(state: State, info: ServerErrorInfo) -> None:
    """A new connection does not take the settings that the one before had acknowledged. The one that it names is left
    out, and the rest goes again; where it names none that we have sent, no other connection will take them, unless the
    server is in trouble itself: then the attempt has failed, and another follows."""
    link = state.link
    if is_passing(info):
        link.wait_no_longer()
        state.do(DropConnection(f"the settings were refused: {info.message}"))
        return
    rest = _without(link.settings or {}, (info.param or "").removeprefix("session.").split("."))
    if rest is not None:
        link.use(rest)
        open_with_settings(state)
        return
    link.note_failure(f"the settings were refused: {info.message}")
    state.do(GiveUp(tuple(link.attempts)))


def _without(settings: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any] | None:
    """The settings without the one at this path; None where there is none."""
    key, *below = path
    if key not in settings:
        return None
    if not below:
        return {name: value for name, value in settings.items() if name != key}
    inner = settings[key]
    rest = _without(inner, below) if isinstance(inner, Mapping) else None
    return None if rest is None else {**settings, key: rest}
