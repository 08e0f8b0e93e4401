"""Input guardrails: nothing answers what the user said before it has passed. The rules are in `guardrails`, point 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trealtime._core.effects import ResponseResult
from trealtime._core.guardrail_state import Input, Recovery, recover, recovery_item, start_check
from trealtime._core.pending_interruption import pending_turn
from trealtime._core.requests import Sent
from trealtime._core.response_queue import Request
from trealtime._core.state import State
from trealtime._core.turn_settings import turns_are_ours
from trealtime.agents.guardrails import InputGuardrailTripwireTriggered
from trealtime.errors import ProtocolError
from trealtime.events import RealtimeError, RealtimeGuardrailTripped

if TYPE_CHECKING:
    from trealtime.agents.guardrails import InputGuardrail, InputGuardrailResult

__all__ = [
    "admit",
    "expire_inputs",
    "message_said",
    "newest_input",
    "refuse",
    "turn_committed",
    "turn_ending",
    "turn_refused",
    "turn_transcribed",
]


def message_said(state: State, item: Mapping[str, Any], now: float) -> None:
    """The user says this message now: its text is checked before anything answers it."""
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    text = "\n".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))
    if text.strip() and _input_guardrails(state):
        entry = Input(item["id"], item["id"], now, text)
        state.guardrails.inputs[entry.key] = entry
        _start_input(state, entry, text)


def turn_ending(state: State, event_id: str, now: float) -> None:
    """The app has committed a turn: its transcript will be checked."""
    if _input_guardrails(state):
        state.guardrails.inputs[event_id] = Input(event_id, None, now)


def turn_refused(state: State, event_id: str | None) -> None:
    """The server did not take the commit: there is no turn."""
    if event_id is not None:
        state.guardrails.inputs.pop(event_id, None)


def turn_committed(state: State, item_id: str, now: float, *, spoken: bool) -> None:
    """A turn of the user is an item now; `spoken`: the server's voice detection ended it, else the app did."""
    mine = state.guardrails
    ours_to_answer = turns_are_ours(state) and state.turns.requested.answers and not state.server_answers
    if spoken:
        ours_to_answer = not pending_turn(state, item_id, wanted=ours_to_answer) and ours_to_answer
    if not spoken:
        unnamed = next((each for each in mine.inputs.values() if each.item_id is None), None)
        if unnamed is not None:
            unnamed.item_id, unnamed.since = item_id, now
    elif _input_guardrails(state):
        mine.inputs[item_id] = Input(item_id, item_id, now, wants_answer=ours_to_answer)
    elif ours_to_answer:
        state.response_queue.submit(Request(state.ids.new("req"), automatic=True))


def turn_transcribed(state: State, item_id: str, transcript: str | None) -> None:
    """The words of a turn have come; None: they never will, so there is nothing to check."""
    entry = next((each for each in state.guardrails.inputs.values() if each.item_id == item_id), None)
    if entry is None or entry.text is not None:
        return
    if transcript is not None and transcript.strip() and _input_guardrails(state):
        entry.text = transcript
        _start_input(state, entry, transcript)
    else:
        admit(state, entry)


def expire_inputs(state: State, now: float) -> None:
    """Transcripts that do not come are given up: the turn is answered unchecked, and the app is told."""
    for entry in list(state.guardrails.inputs.values()):
        if entry.text is None and entry.since + state.response_timeout_s <= now:
            problem = f"no transcript of a turn within {state.response_timeout_s:g} s, it was not checked"
            state.emit(RealtimeError(error=ProtocolError(problem), info=state.info))
            admit(state, entry)


def newest_input(state: State) -> str | None:
    """The input that a request made now would answer."""
    return next(reversed(state.guardrails.inputs), None)


def _input_guardrails(state: State) -> tuple[InputGuardrail[Any], ...]:
    return tuple(dict.fromkeys((*state.agent.input_guardrails, *state.guardrails.policy.input)))


def _start_input(state: State, entry: Input, text: str) -> None:
    start_check(state, entry, entry.key, "input", text, state.agent, _input_guardrails(state))


def admit(state: State, entry: Input) -> None:
    state.guardrails.inputs.pop(entry.key, None)
    if entry.wants_answer:
        state.response_queue.submit(Request(state.ids.new("req"), automatic=True))


def refuse(state: State, entry: Input, results: tuple[InputGuardrailResult, ...]) -> None:
    mine = state.guardrails
    mine.inputs.pop(entry.key, None)
    mine.trips += 1
    state.emit(
        RealtimeGuardrailTripped(
            guardrail_results=results,
            message=entry.text or "",
            info=state.info,
            which="input",
            item_id=entry.item_id,
            agent=state.agent,
        ),
    )
    if entry.item_id is not None:
        deletion = {"type": "conversation.item.delete", "item_id": entry.item_id}
        state.send(deletion, Sent("conversation.item.delete"))
    recovery = mine.policy.input_recovery
    requests = state.response_queue.withdraw(lambda request: request.answers == entry.key)
    if recovery is None:
        error = InputGuardrailTripwireTriggered(results)
        for reply_id in (reply_id for request in requests for reply_id in request.reply_ids):
            result = ResponseResult(response_id=None, status="failed", reason="guardrail", error=error)
            state.settle(reply_id, result)
        return
    text = _withheld(recovery, results)
    if not requests:
        recover(state, recovery, text, 1)
        return
    requests[0].item = recovery_item(state, recovery, text)
    for request in requests:  # whoever waits for an answer gets one to the message
        state.response_queue.submit(request)


def _withheld(recovery: Recovery, results: tuple[InputGuardrailResult, ...]) -> str:
    names = ", ".join(result.guardrail.get_name() for result in results)
    if recovery == "user":
        return f"guardrail triggered: {names}"
    return (
        f"What the user just said was withheld from you by a guardrail ({names}). "
        "Tell the user in one sentence that you cannot help with that."
    )
