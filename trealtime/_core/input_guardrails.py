"""Input guardrails: the user gets an answer when the input has passed, and not before. The rules are in `guardrails`,
point 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from trealtime._core.effects import ResponseResult
from trealtime._core.guardrails import Recovery, recover, recovery_item, start_check
from trealtime._core.interruption import pending_turn
from trealtime._core.listening import turn_blocked
from trealtime._core.response_queue import Request
from trealtime._core.settings import turns_are_ours
from trealtime.agents.guardrails import (
    GuardrailFunctionOutput,
    InputGuardrailResult,
    InputGuardrailTripwireTriggered,
)
from trealtime.errors import GuardrailFailed, ProtocolError
from trealtime.events import RealtimeError, RealtimeGuardrailTripped

if TYPE_CHECKING:
    from trealtime._core.state import State
    from trealtime.agents.guardrails import InputGuardrail

__all__ = [
    "Input",
    "expire_inputs",
    "message_said",
    "newest_input",
    "turn_committed",
    "turn_ending",
    "turn_refused",
    "turn_transcribed",
]


@attrs.define(eq=False)
class Input:
    """A message or turn of the user without a verdict. `item_id` is None until the server has named the item."""

    key: str
    item_id: str | None
    since: float
    text: str | None = None
    """None until there is a transcript; then it is being checked."""

    wants_answer: bool = False
    """A turn that the server would have answered by itself."""

    def want_answer(self) -> None:
        """It is the user's turn after all: answer it once it has passed."""
        self.wants_answer = True

    def admit(self, state: State) -> None:
        """It has passed, or cannot be checked: let it be answered."""
        state.guardrails.let_go(self.key)
        if self.wants_answer:
            state.response_queue.submit(Request(state.ids.new("req"), automatic=True))

    def refuse(self, state: State, results: tuple[InputGuardrailResult, ...]) -> None:
        """A guardrail has tripped: take the input out of the conversation, and the requests to answer it out of the
        queue."""
        mine = state.guardrails
        mine.let_go(self.key)
        mine.count_trip()
        state.emit(
            RealtimeGuardrailTripped(
                guardrail_results=results,
                message=self.text or "",
                info=state.info,
                which="input",
                item_id=self.item_id,
                agent=state.agent,
            ),
        )
        if self.item_id is not None:
            deletion = {"type": "conversation.item.delete", "item_id": self.item_id}
            state.send(deletion)
        recovery = mine.policy.input_recovery
        requests = state.response_queue.withdraw(lambda request: request.answers == self.key)
        if recovery is None:
            error = InputGuardrailTripwireTriggered(results)
            if self.item_id is not None:
                turn_blocked(state, self.item_id, error)
            for reply_id in (reply_id for request in requests for reply_id in request.reply_ids):
                result = ResponseResult(response_id=None, status="failed", reason="guardrail", error=error)
                state.settle(reply_id, result)
            return
        text = _withheld(recovery, results)
        if not requests:
            recover(state, recovery, text, 1, of_input=True)
            return
        requests[0].go_with(recovery_item(state, recovery, text))
        for request in requests:  # the callers who wait for an answer get one to the message
            state.response_queue.submit(request)


def message_said(state: State, item: Mapping[str, Any], now: float) -> None:
    """The user says this message now: its text is checked before anything answers it."""
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    text = "\n".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))
    if text.strip() and _input_guardrails(state):
        entry = Input(item["id"], item["id"], now, text)
        state.guardrails.wait_for(entry)
        _start_input(state, entry, text)


def turn_ending(state: State, event_id: str, now: float) -> None:
    """The app has committed a turn: its transcript will be checked."""
    if _input_guardrails(state):
        state.guardrails.wait_for(Input(event_id, None, now))


def turn_refused(state: State, event_id: str | None) -> None:
    """The server did not take the commit: there is no turn."""
    if event_id is not None:
        state.guardrails.let_go(event_id)


def turn_committed(state: State, item_id: str, now: float, *, spoken: bool) -> None:
    """A turn of the user is an item now; `spoken`: the server's voice detection ended it, else the app did."""
    mine = state.guardrails
    ours_to_answer = turns_are_ours(state) and state.turn_settings.requested.answers and not state.server_answers
    if spoken:
        ours_to_answer = not pending_turn(state, item_id, wanted=ours_to_answer) and ours_to_answer
    if not spoken:
        unnamed = next((each for each in mine.inputs.values() if each.item_id is None), None)
        if unnamed is not None:
            unnamed.item_id, unnamed.since = item_id, now
    elif _input_guardrails(state):
        mine.wait_for(Input(item_id, item_id, now, wants_answer=ours_to_answer))
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
    elif transcript is None:
        _unchecked(state, entry)
    else:
        entry.admit(state)


def expire_inputs(state: State, now: float) -> None:
    """Give up transcripts that do not come: answer the turn unchecked, and tell the app."""
    for entry in list(state.guardrails.inputs.values()):
        if entry.text is None and entry.since + state.response_timeout_s <= now:
            problem = f"no transcript of a turn within {state.response_timeout_s:g} s, it was not checked"
            state.emit(RealtimeError(error=ProtocolError(problem), info=state.info))
            _unchecked(state, entry)


def _unchecked(state: State, entry: Input) -> None:
    """Answer a turn without a transcript all the same, or block it where the app wants that."""
    guardrails = _input_guardrails(state) if state.guardrails.policy.on_failure == "block" else ()
    if not guardrails:
        entry.admit(state)
        return
    results = []
    for guardrail in guardrails:
        name = guardrail.get_name()
        failure = GuardrailFailed(f"guardrail {name} cannot check a turn without a transcript", guardrail_name=name)
        verdict = GuardrailFunctionOutput(failure, tripwire_triggered=True)
        results.append(InputGuardrailResult(guardrail=guardrail, user_input="", agent=state.agent, output=verdict))
    entry.refuse(state, tuple(results))


def newest_input(state: State) -> str | None:
    """The input that a request made now would answer."""
    return next(reversed(state.guardrails.inputs), None)


def _input_guardrails(state: State) -> tuple[InputGuardrail[Any], ...]:
    return tuple(dict.fromkeys((*state.agent.input_guardrails, *state.guardrails.policy.input)))


def _start_input(state: State, entry: Input, text: str) -> None:
    start_check(state, entry, entry.key, "input", text, state.agent, _input_guardrails(state))


def _withheld(recovery: Recovery, results: tuple[InputGuardrailResult, ...]) -> str:
    names = ", ".join(result.guardrail.get_name() for result in results)
    if recovery == "user":
        return f"guardrail triggered: {names}"
    return (
        f"What the user just said was withheld from you by a guardrail ({names}). "
        "Tell the user in one sentence that you cannot help with that."
    )
