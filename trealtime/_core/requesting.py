"""What each command does: one function a command, found by a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from trealtime._core import commands as cmd
from trealtime._core.approvals import decide, drop_approval, need_known
from trealtime._core.effects import Effects, ResponseResult
from trealtime._core.guardrails import forget_everything, verdict
from trealtime._core.handoffs import complete_switch, too_late
from trealtime._core.input_guardrails import message_said, newest_input, turn_ending
from trealtime._core.interruption import cancel_calls, interrupt
from trealtime._core.pending_interruption import confirm, pending_playback, speech_began
from trealtime._core.playback_ledger import whole_ms
from trealtime._core.requests import Sent
from trealtime._core.responses import submit
from trealtime._core.state import Opening, State
from trealtime._core.tool_calls import answer_call, end_call, offer_tools
from trealtime._core.turn_settings import gate_switch, keep_server_told, send_update
from trealtime.events import RealtimeDtmf, RealtimeHistoryUpdated

__all__ = ["REQUESTING"]


def open_session(state: State, command: cmd.OpenSession, now: float, fx: Effects) -> None:
    state.emit(fx, RealtimeHistoryUpdated(history=state.history.snapshot(), info=state.info))
    state.opening = Opening(command.reply_id, acknowledged=command.session is None)
    if command.session is not None:
        send_update(state, command.session, fx, opening=True)


def update_session(state: State, command: cmd.UpdateSession, now: float, fx: Effects) -> None:
    send_update(state, command.session, fx, reply_id=command.reply_id, offer=command.offer)


def switch_agent(state: State, command: cmd.SwitchAgent, now: float, fx: Effects) -> None:
    if too_late(state, command.switch, fx):
        state.settle(fx, command.reply_id, state.acknowledged)
        return
    session = gate_switch(state, command.switch.agent, command.session)
    if session is not None:
        send_update(state, session, fx, reply_id=command.reply_id, switch=command.switch)
        return
    complete_switch(state, command.switch, fx)
    state.settle(fx, command.reply_id, state.acknowledged)


# ---- items ----------------------------------------------------------------------------------------------------------


def create_item(state: State, command: cmd.CreateItem, now: float, fx: Effects) -> None:
    item = dict(command.item)
    item_id = item["id"] = item.get("id") or state.ids.new("item")
    event: dict[str, Any] = {"type": "conversation.item.create", "item": item}
    if command.previous_item_id is not None:
        event["previous_item_id"] = command.previous_item_id
        if command.previous_item_id == "root":
            state.first_items.add(item_id)
    content = item.get("content")
    if isinstance(content, list) and any(part.get("type") == "input_image" for part in content):
        state.sent_content[item_id] = content
        if len(state.sent_content) > 256:  # items that a server never answers must not add up
            del state.sent_content[next(iter(state.sent_content))]
    state.send(fx, event, Sent("conversation.item.create", command.reply_id, item_id))
    if command.said:
        message_said(state, item, now, fx)
    if item.get("type") == "function_call_output" and item.get("call_id") in state.calls:
        # The app answers a call by itself; whether it wants a response it says by itself too.
        fx.cancel_calls.append(item["call_id"])
        end_call(state, item["call_id"], respond=False, fx=fx)
    elif item.get("type") == "mcp_approval_response":
        drop_approval(state, str(item.get("approval_request_id")), "answered", fx)


def delete_item(state: State, command: cmd.DeleteItem, now: float, fx: Effects) -> None:
    event = {"type": "conversation.item.delete", "item_id": command.item_id}
    state.send(fx, event, Sent("conversation.item.delete", command.reply_id, command.item_id))


def retrieve_item(state: State, command: cmd.RetrieveItem, now: float, fx: Effects) -> None:
    event = {"type": "conversation.item.retrieve", "item_id": command.item_id}
    state.send(fx, event, Sent("conversation.item.retrieve", command.reply_id, command.item_id))


def truncate_item(state: State, command: cmd.TruncateItem, now: float, fx: Effects) -> None:
    received_ms = state.ledger.received_ms(command.item_id, command.content_index)
    end_ms = max(0, command.audio_end_ms)
    event = {
        "type": "conversation.item.truncate",
        "item_id": command.item_id,
        "content_index": command.content_index,
        "audio_end_ms": end_ms if received_ms is None else min(end_ms, whole_ms(received_ms)),
    }
    state.send(fx, event, Sent("conversation.item.truncate", command.reply_id, command.item_id))


def use_tools(state: State, command: cmd.UseTools, now: float, fx: Effects) -> None:
    offer_tools(state, command)


def send_tool_output(state: State, command: cmd.SendToolOutput, now: float, fx: Effects) -> None:
    if command.call_id not in state.calls:
        return
    answer_call(
        state,
        command.call_id,
        command.output,
        respond=command.respond,
        nothing_to_tell=command.nothing_to_tell,
        fx=fx,
    )


def report_need(state: State, command: cmd.ReportNeed, now: float, fx: Effects) -> None:
    need_known(state, command.call_id, now, fx, needed=command.needed)


def decide_approval(state: State, command: cmd.DecideApproval, now: float, fx: Effects) -> None:
    decide(state, command.call_id, approve=command.approve, always=command.always, message=command.message, fx=fx)


# ---- input audio ----------------------------------------------------------------------------------------------------


def commit_audio(state: State, command: cmd.CommitAudio, now: float, fx: Effects) -> None:
    event_id = state.send(fx, {"type": "input_audio_buffer.commit"}, Sent("input_audio_buffer.commit"))
    turn_ending(state, event_id, now)


def clear_audio(state: State, command: cmd.ClearAudio, now: float, fx: Effects) -> None:
    state.send(fx, {"type": "input_audio_buffer.clear"}, Sent("input_audio_buffer.clear"))


# ---- responses ------------------------------------------------------------------------------------------------------


def collect_audio(state: State, command: cmd.CollectAudio, now: float, fx: Effects) -> None:
    state.collecting.add(command.reply_id)


def create_response(state: State, command: cmd.CreateResponse, now: float, fx: Effects) -> None:
    reply_ids = [command.reply_id] if command.reply_id is not None else []
    submit(
        state,
        params=command.params,
        automatic=command.automatic,
        reply_ids=reply_ids,
        event_id=command.event_id,
        tools=command.tools,
        answers=newest_input(state),
    )


def cancel_response(state: State, command: cmd.CancelResponse, now: float, fx: Effects) -> None:
    if command.response_id is not None:
        known = command.response_id in state.responses or command.response_id in state.finished
        if known:
            interrupt(state, "app", now, fx, response_id=command.response_id)
        else:  # somebody else's, in a session that several clients share: the server knows
            event = {"type": "response.cancel", "response_id": command.response_id}
            state.send(fx, event, Sent("response.cancel"), urgent=True)
        return
    living = [each for each in state.live(in_conversation=True) if each.interrupted is None]
    for response in living:
        interrupt(state, "app", now, fx, response=response)
    if not living:
        state.response_queue.kill_sent()


def interrupt_all(state: State, command: cmd.Interrupt, now: float, fx: Effects) -> None:
    if command.reply_id is None:
        if command.response_id is None and state.pending_interruption is not None:  # it is decided: the agent is silent
            confirm(state, next(iter(state.pending_interruption.utterances)), now, fx, cause=command.cause)
        else:
            interrupt(state, command.cause, now, fx, response_id=command.response_id)
        return
    living = next((each.id for each in state.live() if command.reply_id in each.reply_ids), None)
    shared = _leave(state, command.reply_id, fx)
    response_id = command.response_id or living
    if response_id is not None and not shared:
        interrupt(state, command.cause, now, fx, response_id=response_id)


def _leave(state: State, reply_id: str, fx: Effects) -> bool:
    """Whoever holds this reply_id has left: what it asked for and has not got is not wanted any more. Whether others wait
    for the same response: then it goes on."""
    left = ResponseResult(response_id=None, status="cancelled", reason="client_cancelled")
    if state.response_queue.kill_reply(reply_id):
        state.settle(fx, reply_id, left)
    for response in state.unfinished():
        if response.reply_ids == [reply_id]:
            response.abandoned = True
            cancel_calls(state, fx, response_id=response.id)
        elif reply_id in response.reply_ids:
            response.reply_ids.remove(reply_id)
            state.settle(fx, reply_id, left)
            return True
    return False


# ---- raw ------------------------------------------------------------------------------------------------------------


def send_raw(state: State, command: cmd.SendRaw, now: float, fx: Effects) -> None:
    """As it is, except for the two kinds that the conversation must know of to keep its promises."""
    event = command.event
    given = event.get("event_id")
    event_id = given if isinstance(given, str) and given else None
    kind = event.get("type")
    if kind == "response.create":
        params = event.get("response")
        submit(state, params=params if isinstance(params, Mapping) else None, event_id=event_id)
    elif kind == "session.update" and isinstance(event.get("session"), Mapping):
        send_update(state, event["session"], fx, event_id=event_id)
    else:
        state.send(fx, event, Sent(str(kind)))


# ---- barge-in -------------------------------------------------------------------------------------------------------


def begin_uninterruptible(state: State, command: cmd.BeginUninterruptible, now: float, fx: Effects) -> None:
    state.turns.uninterruptible += 1
    keep_server_told(state, fx)


def end_uninterruptible(state: State, command: cmd.EndUninterruptible, now: float, fx: Effects) -> None:
    state.turns.uninterruptible -= 1
    keep_server_told(state, fx)
    if state.speech is not None and state.speech.put_off:
        speech_began(state, state.speech, now, fx)


def use_barge_in(state: State, command: cmd.UseBargeIn, now: float, fx: Effects) -> None:
    state.turns.override = command.policy
    keep_server_told(state, fx)


# ---- playback -------------------------------------------------------------------------------------------------------


def shed(state: State, command: cmd.Shed, now: float, fx: Effects) -> None:
    state.ledger.shed(command.item_id, command.content_index, command.end_ms)


def report_heard(state: State, command: cmd.ReportHeard, now: float, fx: Effects) -> None:
    state.ledger.report(
        command.item_id, command.content_index, command.heard_ms, now, playing_to_ms=command.playing_to_ms
    )
    state.ledger.sweep(now)


def use_reports(state: State, command: cmd.UseReports, now: float, fx: Effects) -> None:
    state.ledger.use_reports(command.reporting, now)
    if command.reporting and state.pending_interruption is not None:
        fx.playback = pending_playback(state.pending_interruption.policy)


def report_dtmf(state: State, command: cmd.ReportDtmf, now: float, fx: Effects) -> None:
    state.emit(fx, RealtimeDtmf(digit=command.digit, source="endpoint", info=state.info))


# ---- checks ---------------------------------------------------------------------------------------------------------


def report_check(state: State, command: cmd.ReportCheck, now: float, fx: Effects) -> None:
    verdict(state, command, now, fx)


# ---- the end --------------------------------------------------------------------------------------------------------


def disconnect(state: State, command: cmd.Disconnect, now: float, fx: Effects) -> None:
    """Everybody who waits learns that nothing will come."""
    reply_ids = state.requests.drain()
    if state.opening is not None:
        reply_ids.append(state.opening.reply_id)
        state.opening = None
    for request in state.response_queue.drain():
        reply_ids += request.reply_ids
    for response in state.unfinished():
        reply_ids += response.reply_ids
    for call_id in list(state.approvals.pending):
        drop_approval(state, call_id, "closed", fx)
    state.responses.clear()
    state.calls.clear()
    state.handing_over = state.pending_interruption = None
    forget_everything(state)
    for reply_id in dict.fromkeys(reply_ids):
        state.settle(fx, reply_id, error=command.error)


Handler = Callable[[State, Any, float, Effects], None]

REQUESTING: Final[Mapping[type, Handler]] = {
    cmd.OpenSession: open_session,
    cmd.UpdateSession: update_session,
    cmd.SwitchAgent: switch_agent,
    cmd.CreateItem: create_item,
    cmd.DeleteItem: delete_item,
    cmd.RetrieveItem: retrieve_item,
    cmd.TruncateItem: truncate_item,
    cmd.SendToolOutput: send_tool_output,
    cmd.ReportNeed: report_need,
    cmd.DecideApproval: decide_approval,
    cmd.UseTools: use_tools,
    cmd.CommitAudio: commit_audio,
    cmd.ClearAudio: clear_audio,
    cmd.CollectAudio: collect_audio,
    cmd.CreateResponse: create_response,
    cmd.CancelResponse: cancel_response,
    cmd.Interrupt: interrupt_all,
    cmd.BeginUninterruptible: begin_uninterruptible,
    cmd.EndUninterruptible: end_uninterruptible,
    cmd.UseBargeIn: use_barge_in,
    cmd.SendRaw: send_raw,
    cmd.ReportCheck: report_check,
    cmd.Shed: shed,
    cmd.ReportHeard: report_heard,
    cmd.UseReports: use_reports,
    cmd.ReportDtmf: report_dtmf,
    cmd.Disconnect: disconnect,
}
