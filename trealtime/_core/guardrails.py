"""The guardrail schedule: what is checked and when, what waits for a verdict, and what a verdict brings.

Theory of operation
1. Output. The text of each item is checked whole whenever it has grown past another multiple of the debounce length,
   and once more when the item is over: short answers and tails are checked too. The guardrails are those of the agent
   that began the response, then those of the run. A response trips once; its other checks are then called off.
2. A trip stops the response that was checked and nothing else, by the same interrupt as everything: cancelled while it
   is made, cut where it still plays once it is over. Unless a newer turn has begun, the model is then told why and
   asked again; that request, with the message in it, is withdrawn if a newer turn begins before it could be sent.
3. Hold-back. Audio carries as its mark how much text of its item had come before it: transcripts run ahead of their
   audio. It is released when that much text has passed, or with its item's last check. What is held was received and
   not handed out, so an interrupt counts it as unheard. Release keeps the order of arrival, across responses too, and
   the end of a response is told after the last of its audio.
4. Input. While something that the user said or wrote is unchecked, no response is asked for in the conversation: the
   model would see it. Turns of the user wait for their transcript first. What trips is deleted from the conversation,
   and requests that were made to answer it are dropped, or answer the recovery message instead.
5. Nothing waits for ever: a check always reports (the workers see to that), also where one of its guardrails hangs in a
   thread; then it reports once more when that has returned, and a trip still counts. A transcript that does not come is
   given up like a response that does not come. What is held back is bounded: an answer beyond that is stopped.
6. A guardrail that fails is skipped, or stops what it should have checked: with hold-back it does, since nobody has
   said that it may be heard.

What is known is in `checks`, points 3 and 4 are in `hold_back` and `input_guardrails`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from trealtime._core.effects import CancelChecks
from trealtime._core.guardrail_state import Recovery, Said, Watch, recover, start_check, text_of
from trealtime._core.hold_back import release
from trealtime._core.input_guardrails import admit, refuse
from trealtime._core.interruption import interrupt
from trealtime._core.state import Response, State
from trealtime.errors import GuardrailFailed
from trealtime.events import RealtimeError, RealtimeGuardrailTripped

if TYPE_CHECKING:
    from trealtime.agents.guardrails import InputGuardrailResult, OutputGuardrailResult

__all__ = [
    "forget_everything",
    "hear",
    "hear_all",
    "item_over",
    "newer_response",
    "response_over",
    "stop_overfull",
    "verdict",
    "watch_response",
]

# ---- output: what is said -------------------------------------------------------------------------------------------


def watch_response(state: State, response: Response) -> None:
    """A response has begun: its checks are those of the agent that speaks now (B232), each once (B235)."""
    guardrails = state.guardrails
    own = dict.fromkeys((*response.agent.output_guardrails, *guardrails.policy.output))
    if own:
        guardrails.watches[response.id] = Watch(response, tuple(own))


def newer_response(state: State, response_id: str) -> None:
    """A turn has begun in the conversation: recovery messages that still wait come too late (B245)."""
    state.guardrails.newest = response_id
    state.response_queue.withdraw(lambda request: request.recovery > 0)


def hear(state: State, response_id: str, item_id: str, content_index: int, delta: str) -> None:
    """The agent has said or written more of an item."""
    watch = state.guardrails.watches.get(response_id)
    if watch is None or watch.tripped:
        return
    said = text_of(state, watch, item_id)
    said.parts[content_index] = said.parts.get(content_index, "") + delta
    said.length += len(delta)
    if said.length >= said.due_at:
        step = state.guardrails.policy.debounce_text_length
        said.due_at = (said.length // step + 1) * step
        _check(state, watch, item_id, said)


def hear_all(state: State, response_id: str, item_id: str, content_index: int, text: str) -> None:
    """The whole text of a part: some of it may never have come as deltas."""
    watch = state.guardrails.watches.get(response_id)
    known = watch.items[item_id].parts.get(content_index, "") if watch is not None and item_id in watch.items else ""
    if text.startswith(known) and len(text) > len(known):
        hear(state, response_id, item_id, content_index, text[len(known) :])


def item_over(state: State, response_id: str, item: Mapping[str, Any], now: float) -> None:
    """An item is complete: check what has not been checked of it."""
    watch = state.guardrails.watches.get(response_id)
    item_id = item.get("id")
    if watch is None or watch.tripped or not isinstance(item_id, str):
        return
    content = item.get("content")
    for index, part in enumerate(content if isinstance(content, list) else ()):
        text = part.get("transcript") or part.get("text") if isinstance(part, Mapping) else None
        if isinstance(text, str):
            hear_all(state, response_id, item_id, index, text)
    _finish(state, watch, item_id, text_of(state, watch, item_id), now)


def response_over(state: State, response: Response, now: float) -> None:
    """A response is done: so are its items."""
    watch = state.guardrails.watches.get(response.id)
    if watch is None:
        return
    watch.over = True
    if not watch.tripped and response.interrupted is None:
        for item_id, said in list(watch.items.items()):
            _finish(state, watch, item_id, said, now)
    _forget(state, watch)


def _finish(state: State, watch: Watch, item_id: str, said: Said, now: float) -> None:
    said.over = True
    if said.length > said.checked:
        _check(state, watch, item_id, said)
    release(state, now)


def _check(state: State, watch: Watch, item_id: str, said: Said) -> None:
    said.checked = said.length
    text = said.text
    serial = start_check(state, watch, watch.response.id, "output", text, watch.response.agent, watch.guardrails)
    watch.open[serial] = (said, item_id, text)


def _forget(state: State, watch: Watch) -> None:
    if watch.over and not watch.open:
        state.guardrails.watches.pop(watch.response.id, None)


# ---- verdicts -------------------------------------------------------------------------------------------------------


def verdict(
    state: State,
    serial: int,
    now: float,
    *,
    tripped: tuple[OutputGuardrailResult | InputGuardrailResult, ...],
    failed: tuple[OutputGuardrailResult | InputGuardrailResult, ...],
    overdue: bool,
) -> None:
    """A check has reported; see `Conversation.report_check`."""
    mine = state.guardrails
    owner = mine.checking.get(serial)
    if owner is None:
        return
    which: Literal["output", "input"] = "output" if isinstance(owner, Watch) else "input"
    stopping = (*tripped, *(failed if mine.policy.stops(which) else ()))
    if not isinstance(owner, Watch):  # whatever still comes of this check comes too late
        del mine.checking[serial]
        if stopping:
            refuse(state, owner, cast("tuple[InputGuardrailResult, ...]", stopping))
        else:
            admit(state, owner)
        return
    said, item_id, text = owner.open[serial]
    if not overdue:
        del mine.checking[serial], owner.open[serial]
    if stopping:
        _trip(state, owner, item_id, text, stopping, now)
    else:
        said.passed = max(said.passed, len(text))
        release(state, now)
    _forget(state, owner)


def _trip(
    state: State,
    watch: Watch,
    item_id: str,
    text: str,
    results: tuple[OutputGuardrailResult | InputGuardrailResult, ...],
    now: float,
) -> None:
    mine, response = state.guardrails, watch.response
    mine.trips += 1
    _call_off(state, watch)
    state.emit(
        RealtimeGuardrailTripped(
            guardrail_results=results,
            message=text,
            info=state.info,
            response_id=response.id,
            item_id=item_id,
            agent=response.agent,
        ),
    )
    interrupted_before = response.interrupted is not None
    if response.held_back:
        response.interrupted = "guardrail"  # its end has not been told yet: this is how it ended for the app
    # One path for both: what is being made is cancelled, what only plays is cut where it plays.
    interrupt(state, "guardrail", now, response_id=response.id)
    newer = mine.newest != response.id or (watch.over and state.response_queue.asked)
    if response.in_conversation and not newer and not interrupted_before:
        depth = response.request.recovery if response.request is not None else 0
        recover(state, mine.policy.recovery, _feedback(mine.policy.recovery, results), depth + 1)


def stop_overfull(state: State, response_id: str, now: float) -> None:
    """Stop an answer of which more is held back than may be: nobody has said that it may be heard."""
    mine = state.guardrails
    watch, delay = mine.watches.get(response_id), mine.delays.get(response_id)
    if watch is None or watch.tripped or delay is None or delay.held_ms <= mine.policy.hold_back_s * 1000:
        return
    names = ", ".join(guardrail.get_name() for guardrail in watch.guardrails)
    problem = f"no verdict on {mine.policy.hold_back_s:g} s of audio that is held back: the answer was stopped"
    state.emit(RealtimeError(error=GuardrailFailed(problem, guardrail_name=names), info=state.info))
    _call_off(state, watch)
    interrupt(state, "guardrail", now, response_id=response_id)


def _call_off(state: State, watch: Watch) -> None:
    """It is decided: no other verdict on this response matters."""
    watch.tripped = True
    for serial in watch.open:
        del state.guardrails.checking[serial]
    watch.open.clear()
    state.do(CancelChecks(watch.response.id))


def _feedback(recovery: Recovery, results: Sequence[OutputGuardrailResult | InputGuardrailResult]) -> str:
    names = ", ".join(result.guardrail.get_name() for result in results)
    if recovery == "user":
        return f"guardrail triggered: {names}"
    return (
        f"Your last answer was stopped by a guardrail ({names}), and the user has not heard all of it. "
        "Do not repeat it; answer again in a way that the guardrail allows."
    )


def forget_everything(state: State) -> None:
    """The connection has ended: no verdict matters any more (B249)."""
    mine = state.guardrails
    mine.watches.clear()
    mine.inputs.clear()
    mine.checking.clear()
    mine.held.clear()
    mine.delays.clear()
