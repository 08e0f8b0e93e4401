"""Input guardrails: the user gets an answer when the input has passed, and not before. The rules are in `guardrails`,
point 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from trealtime._core.effects import ResponseResult
from trealtime._core.guardrails import Recovery, recover, recovery_item, start_check
from trealtime._core.interruption import pending_turn
from trealtime._core.listening import turn_blocked
from trealtime._core.response_queue import Request
from trealtime._core.settings import turns_are_ours
from trealtime._core.turn_records import TurnRecord
from trealtime.agents.guardrails import (
    GuardrailFunctionOutput,
    InputGuardrailResult,
    InputGuardrailTripwireTriggered,
)
from trealtime.errors import GuardrailFailed, ProtocolError
from trealtime.events import RealtimeError, RealtimeGuardrailTripped

if TYPE_CHECKING:
    from trealtime._core.state import State
    from trealtime.agents.guardrails import InputGuardrail, OutputGuardrailResult

__all__ = [
    "admit",
    "expire_inputs",
    "input_deadline",
    "input_verdict",
    "message_said",
    "newest_input",
    "refuse",
    "turn_committed",
    "turn_ending",
    "turn_refused",
    "turn_transcribed",
]


def input_verdict(
    state: State,
    serial: int,
    *,
    tripped: tuple[OutputGuardrailResult | InputGuardrailResult, ...],
    failed: tuple[OutputGuardrailResult | InputGuardrailResult, ...],
    began_at: float | None,
) -> bool:
    """A check has reported; return whether it was one of the user's input. A second report of it comes too late."""
    mine = state.guardrails
    turn = mine.checking.get(serial)
    if not isinstance(turn, TurnRecord):
        return False
    mine.close_check(serial)
    stopping = (*tripped, *(failed if mine.policy.stops("input") else ()))
    if stopping:
        refuse(state, turn.current, cast("tuple[InputGuardrailResult, ...]", stopping), began_at=began_at)
    else:
        admit(state, turn.current)
    return True


def admit(state: State, turn: TurnRecord) -> None:
    """It has passed, or cannot be checked: let it be answered."""
    turn.checked()
    if turn.owed_by == "us" and turn.waits_for_answer:
        state.response_queue.submit(Request(state.ids.new("req"), automatic=True, record=turn))


def refuse(
    state: State, turn: TurnRecord, results: tuple[InputGuardrailResult, ...], *, began_at: float | None = None
) -> None:
    """A guardrail has tripped: take the input out of the conversation, and the requests to answer it out of the
    queue. `began_at`: when the check was started, if there was one."""
    mine = state.guardrails
    turn.checked()
    mine.count_trip()
    state.emit(
        RealtimeGuardrailTripped(
            guardrail_results=results,
            message=turn.words or "",
            info=state.info,
            which="input",
            item_id=turn.item_id,
            agent=state.agent,
            began_at=began_at,
        ),
    )
    if turn.item_id is not None:
        deletion = {"type": "conversation.item.delete", "item_id": turn.item_id}
        state.send(deletion)
    recovery = mine.policy.input_recovery
    requests = state.response_queue.withdraw(lambda request: request.answers is turn)
    if recovery is None:
        turn.end("withheld")
        error = InputGuardrailTripwireTriggered(results)
        if turn.item_id is not None:
            turn_blocked(state, turn.item_id, error)
        for reply_id in (reply_id for request in requests for reply_id in request.reply_ids):
            result = ResponseResult(response_id=None, status="failed", reason="guardrail", error=error)
            state.settle(reply_id, result)
        return
    text = _withheld(recovery, results)
    if not requests:
        recover(state, recovery, text, 1, of_input=True, record=turn)
        return
    requests[0].go_with(recovery_item(state, recovery, text))
    for request in requests:  # the callers who wait for an answer get one to the message
        state.response_queue.submit(request)


def message_said(state: State, item: Mapping[str, Any], now: float) -> None:
    """The user says this message now: its text is checked before anything answers it."""
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    text = "\n".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))
    turn = state.turns.records.open("text", state.agent.name, now, item["id"])
    turn.commit(now)
    if text.strip() and _input_guardrails(state):
        turn.wait_for_check(now)
        _start_input(state, turn, text)


def turn_ending(state: State, turn: TurnRecord, now: float) -> None:
    """The app has committed a turn: its transcript will be checked."""
    if _input_guardrails(state):
        turn.wait_for_check(now)


def turn_refused(state: State, event_id: str | None) -> None:
    """The server did not take the commit: there is no turn to check."""
    for turn in state.turns.records.ended_by_app:
        if turn.commit_id == event_id:
            turn.checked()


def turn_committed(state: State, turn: TurnRecord, now: float, *, spoken: bool) -> None:
    """A turn of the user is an item now; `spoken`: the server's voice detection ended it, else the app did."""
    if not spoken:
        turn.owe("app")
        if turn.unchecked_since is not None:
            turn.wait_for_check(now)
        return
    ours_to_answer = turns_are_ours(state) and state.turn_settings.requested.answers and not state.server_answers
    if ours_to_answer:
        turn.owe("us")
    elif turn.owed_by is None:
        turn.owe("app")
    waits = pending_turn(state, turn)
    if _input_guardrails(state):
        turn.wait_for_check(now)
    elif ours_to_answer and not waits:
        state.response_queue.submit(Request(state.ids.new("req"), automatic=True, record=turn))


def turn_transcribed(state: State, turn: TurnRecord, transcript: str | None) -> None:
    """The words of a turn have come; None: they never will, so there is nothing to check."""
    if turn.unchecked_since is None or turn.words is not None:
        return
    if transcript is not None and transcript.strip() and _input_guardrails(state):
        _start_input(state, turn, transcript)
    elif transcript is None:
        _unchecked(state, turn)
    else:
        admit(state, turn)


def expire_inputs(state: State, now: float) -> None:
    """Give up transcripts that do not come: answer the turn unchecked, and tell the app."""
    for turn in state.turns.records.unchecked:
        if turn.words is None and (turn.unchecked_since or 0.0) + state.response_timeout_s <= now:
            problem = f"no transcript of a turn within {state.response_timeout_s:g} s, it was not checked"
            state.emit(RealtimeError(error=ProtocolError(problem), info=state.info))
            _unchecked(state, turn)


def input_deadline(state: State) -> float | None:
    """The time to give up the transcript that has been awaited longest."""
    unchecked = state.turns.records.unchecked
    if not unchecked:
        return None
    times = [each.unchecked_since for each in unchecked if each.words is None]
    return min([at + state.response_timeout_s for at in times if at is not None], default=None)


def _unchecked(state: State, turn: TurnRecord) -> None:
    """Answer a turn without a transcript all the same, or block it where the app wants that."""
    guardrails = _input_guardrails(state) if state.guardrails.policy.on_failure == "block" else ()
    if not guardrails:
        admit(state, turn)
        return
    results = []
    for guardrail in guardrails:
        name = guardrail.get_name()
        failure = GuardrailFailed(f"guardrail {name} cannot check a turn without a transcript", guardrail_name=name)
        verdict = GuardrailFunctionOutput(failure, tripwire_triggered=True)
        results.append(InputGuardrailResult(guardrail=guardrail, user_input="", agent=state.agent, output=verdict))
    refuse(state, turn, tuple(results))


def newest_input(state: State) -> TurnRecord | None:
    """The input without a verdict that a request made now would answer."""
    unchecked = state.turns.records.unchecked
    return unchecked[-1] if unchecked else None


def _input_guardrails(state: State) -> tuple[InputGuardrail[Any], ...]:
    return tuple(dict.fromkeys((*state.agent.input_guardrails, *state.guardrails.policy.input)))


def _start_input(state: State, turn: TurnRecord, text: str) -> None:
    turn.check(text)
    start_check(state, turn, turn.key, "input", text, state.agent, _input_guardrails(state))


def _withheld(recovery: Recovery, results: tuple[InputGuardrailResult, ...]) -> str:
    names = ", ".join(result.guardrail.get_name() for result in results)
    if recovery == "user":
        return f"guardrail triggered: {names}"
    return (
        f"What the user just said was withheld from you by a guardrail ({names}). "
        "Tell the user in one sentence that you cannot help with that."
    )
