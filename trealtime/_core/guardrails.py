"""Guardrails: which texts are checked and when, which audio waits for a verdict, and what follows from a verdict.

Theory of operation
1. Output. The text of each item is checked whole whenever it has grown past another multiple of the debounce length,
   and once more when the item is over: short answers and tails are checked too. The guardrails are those of the agent
   that began the response, then those of the run. A response trips once; its other checks are then called off.
2. A trip stops the response that was checked and nothing else, by the same interrupt as everything: cancelled while it
   is made, cut where it still plays once it is over. Unless a newer turn has begun, a message then tells the model why,
   and it is asked again; that request, with the message in it, is withdrawn if a newer turn begins before it could be
   sent.
3. Hold-back. Audio carries as its mark how much text of its item had come before it: transcripts run ahead of their
   audio. It is released when that much text has passed, or with its item's last check. Held audio was received and not
   handed out, so an interrupt counts it as unheard. Release keeps the order of arrival, across responses too, and the
   app learns of the end of a response after the last of its audio.
4. Input (`input_guardrails`). While something that the user said or wrote is unchecked, no response is asked for in the
   conversation: the model would see it. Turns of the user wait for their transcript first. An input that trips is
   deleted from the conversation, and requests that were made to answer it are dropped, or answer the recovery message
   instead.
5. Nothing waits for ever: a check always reports (`guardrail_runner`), also where one of its guardrails hangs in a
   thread; then it reports once more when that has returned, and a trip still counts. A transcript that does not come is
   given up like a response that does not come. Held audio is bounded: an answer beyond that is stopped.
6. A guardrail that fails is skipped, or stops what it should have checked. With hold-back it stops it: audio that no
   guardrail has passed must not be heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from trealtime._core.effects import CancelChecks, GuardrailCheck, StartCheck
from trealtime._core.interruption import interrupt
from trealtime._core.response_queue import Request
from trealtime._value import Shown, Value
from trealtime.errors import GuardrailFailed
from trealtime.events import (
    RealtimeAgentEndEvent,
    RealtimeAudio,
    RealtimeAudioEnd,
    RealtimeError,
    RealtimeGuardrailTripped,
)

if TYPE_CHECKING:
    from trealtime._core.response import Response
    from trealtime._core.state import State
    from trealtime._core.turn_records import TurnRecord
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.agents.guardrails import (
        InputGuardrail,
        InputGuardrailResult,
        OutputGuardrail,
        OutputGuardrailResult,
    )

__all__ = [
    "GuardrailCounters",
    "GuardrailPolicy",
    "Guardrails",
    "HoldDelay",
    "Recovery",
    "drop_purged",
    "forget_everything",
    "hear",
    "hear_all",
    "hold",
    "hold_end",
    "item_over",
    "newer_response",
    "recover",
    "recovery_item",
    "response_over",
    "start_check",
    "stop_overfull",
    "verdict",
    "watch_response",
]


Recovery = Literal["system", "user"] | None

MAX_RECOVERIES: Final = 3
"""Answers to recovery messages that trip again are recovered from this often, then the agent stays silent."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GuardrailPolicy(Value):
    """The guardrails of the run and how they work; an agent brings its own."""

    output: tuple[OutputGuardrail[Any], ...] = ()
    input: tuple[InputGuardrail[Any], ...] = ()
    gates_turns: bool = False
    """Whether the user's input is checked from the start: the server then answers no turn by itself."""

    debounce_text_length: int = 100
    hold_back: bool = False
    hold_back_s: float = 120.0
    recovery: Recovery = "system"
    input_recovery: Recovery = None
    on_failure: Literal["skip", "block", "stop"] | None = None

    def stops(self, which: Literal["output", "input"]) -> bool:
        """Whether a guardrail that fails stops what it should have checked."""
        if which == "input":
            return self.on_failure in ("block", "stop")
        return self.on_failure == "stop" or (self.on_failure != "skip" and self.hold_back)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HoldDelay(Value):
    """How long the audio of one response was held back."""

    response_id: str
    max_ms: float
    """The longest that a piece of it waited."""

    total_ms: float
    """The total time in which some of it waited."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GuardrailCounters(Value):
    """Counts of the guardrails of a session, so far and now."""

    checks: int
    trips: int
    recoveries: int
    checks_open: int
    inputs_waiting: int
    """Messages and turns of the user without a verdict."""

    audio_held: int
    """Pieces of audio that are held back now."""

    last_hold: HoldDelay | None
    """Of the last response whose audio was released in full."""


@attrs.define(eq=False, repr=False)
class Said(Shown):
    """The text of one item, and how far it has been checked."""

    parts: dict[int, str] = attrs.Factory(dict)
    length: int = 0
    due_at: int = 0
    """The length at which the next check is due."""

    checked: int = 0
    passed: int = 0
    over: bool = False

    @property
    def text(self) -> str:
        return "".join(self.parts[index] for index in sorted(self.parts))

    @property
    def cleared(self) -> bool:
        """Whether all that it ever says has passed."""
        return self.over and self.passed >= self.length


@attrs.define(eq=False, repr=False)
class Watch(Shown):
    """One response that is being checked; forgotten when it is over and every check has reported."""

    response: Response
    guardrails: tuple[OutputGuardrail[Any], ...]
    items: dict[str, Said] = attrs.Factory(dict)
    open: dict[int, tuple[Said, str, str]] = attrs.Factory(dict)
    """Checks under way: serial to the item, its id and the text."""

    tripped: bool = False
    over: bool = False


@attrs.define(eq=False, repr=False)
class Held(Shown):
    """An event that waits: audio with its item and mark; others only for what comes before them."""

    response_id: str
    event: RealtimeAudio | RealtimeAudioEnd | RealtimeAgentEndEvent
    since: float
    said: Said | None = None
    mark: int = 0
    response: Response | None = None
    then: Callable[[], None] | None = None

    @property
    def free(self) -> bool:
        return self.said is None or 0 < self.mark <= self.said.passed or self.said.cleared


@attrs.define(eq=False, repr=False)
class Delay(Shown):
    """How long the audio of a response has been held so far: `pieces` are held now, the first of them since `began`."""

    began: float
    longest_s: float = 0.0
    total_s: float = 0.0
    pieces: int = 0
    held_ms: float = 0.0


@attrs.define(eq=False, repr=False)
class Guardrails(Shown):
    """Everything that a conversation knows about checks."""

    policy: GuardrailPolicy = attrs.Factory(GuardrailPolicy)
    watches: dict[str, Watch] = attrs.field(factory=dict, init=False)
    held: list[Held] = attrs.field(factory=list, init=False)
    delays: dict[str, Delay] = attrs.field(factory=dict, init=False)
    """By response: those whose audio is held now, or that are still being made."""

    newest: str | None = attrs.field(default=None, init=False)
    """The response of the conversation that began last."""

    serials: Iterator[int] = attrs.field(factory=lambda: count(1), init=False)
    checking: dict[int, Watch | TurnRecord] = attrs.field(factory=dict, init=False)
    checks: int = attrs.field(default=0, init=False)
    trips: int = attrs.field(default=0, init=False)
    recoveries: int = attrs.field(default=0, init=False)
    last_hold: HoldDelay | None = attrs.field(default=None, init=False)

    def close_check(self, serial: int) -> None:
        """A check has reported, and nothing more of it counts."""
        del self.checking[serial]

    def count_trip(self) -> None:
        """Count a trip of a guardrail."""
        self.trips += 1

    def count_recovery(self) -> None:
        """Count a message to the model about words that a guardrail has stopped."""
        self.recoveries += 1

    def ending(self) -> list[Response]:
        """Responses that are done, but not yet for the app: their audio is still held."""
        return [entry.response for entry in self.held if entry.response is not None]

    def counters(self, inputs_waiting: int) -> GuardrailCounters:
        """Numbers for `session.statistics()`."""
        return GuardrailCounters(
            checks=self.checks,
            trips=self.trips,
            recoveries=self.recoveries,
            checks_open=len(self.checking),
            inputs_waiting=inputs_waiting,
            audio_held=sum(isinstance(entry.event, RealtimeAudio) for entry in self.held),
            last_hold=self.last_hold,
        )


# ---- the moves ------------------------------------------------------------------------------------------------------


def text_of(state: State, watch: Watch, item_id: str) -> Said:
    """The text of an item, which begins with this where it is new."""
    said = watch.items.get(item_id)
    if said is None:
        said = watch.items[item_id] = Said(due_at=state.guardrails.policy.debounce_text_length)
    return said


def start_check(
    state: State,
    owner: Watch | TurnRecord,
    subject: str,
    which: Literal["output", "input"],
    text: str,
    agent: RealtimeAgent[Any],
    guardrails: Sequence[OutputGuardrail[Any] | InputGuardrail[Any]],
) -> int:
    """Have `text` checked; return the serial under which the verdict will come."""
    mine = state.guardrails
    serial = next(mine.serials)
    mine.checks += 1
    mine.checking[serial] = owner
    check = GuardrailCheck(
        serial=serial, subject=subject, which=which, text=text, agent=agent, guardrails=tuple(guardrails)
    )
    state.do(StartCheck(check))
    return serial


def recover(
    state: State,
    recovery: Recovery,
    text: str,
    depth: int,
    *,
    instead_of: Response | None = None,
    of_input: bool = False,
    record: TurnRecord | None = None,
) -> None:
    """Tell the model and ask it again; message and request leave together, when the queue lets them go. The new answer
    has the options of the one that it is `instead_of`."""
    if recovery is None or depth > MAX_RECOVERIES:
        return
    item = recovery_item(state, recovery, text)
    asked = instead_of.request if instead_of is not None and state.agent is instead_of.agent else None
    state.response_queue.submit(
        Request(
            state.ids.new("req"),
            params=instead_of.params_of_turn(state) if instead_of is not None else None,
            automatic=True,
            tools=asked.tools if asked is not None else (),
            item=item,
            recovery=depth,
            of_input=of_input,
            record=record,
        )
    )


def recovery_item(state: State, role: str, text: str) -> Mapping[str, Any]:
    """The message that tells the model what a guardrail has stopped."""
    state.guardrails.count_recovery()
    content = [{"type": "input_text", "text": text}]
    return {"id": state.ids.new("item"), "type": "message", "role": role, "content": content}


# ---- output ---------------------------------------------------------------------------------------------------------


def watch_response(state: State, response: Response) -> None:
    """A response has begun: its checks are those of the agent that speaks now, each once."""
    guardrails = state.guardrails
    own = dict.fromkeys((*response.agent.output_guardrails, *guardrails.policy.output))
    if own:
        guardrails.watches[response.id] = Watch(response, tuple(own))


def newer_response(state: State, response_id: str) -> None:
    """A turn has begun in the conversation: recovery messages that still wait come too late. Requests that were to be
    answered together with one stay."""
    state.guardrails.newest = response_id
    for request in state.response_queue.withdraw(lambda request: request.recovery > 0 and not request.of_input):
        if request.shared:
            request.forget_recovery()
            state.response_queue.submit(request)


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
    began_at: float | None,
) -> None:
    """A check of the agent's words has reported; see `Conversation.report_check`."""
    mine = state.guardrails
    owner = mine.checking.get(serial)
    if not isinstance(owner, Watch):
        return
    stopping = (*tripped, *(failed if mine.policy.stops("output") else ()))
    said, item_id, text = owner.open[serial]
    if not overdue:
        del mine.checking[serial], owner.open[serial]
    if stopping:
        _trip(state, owner, item_id, text, stopping, now, began_at=began_at)
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
    *,
    began_at: float | None,
) -> None:
    mine, response = state.guardrails, watch.response
    mine.count_trip()
    _call_off(state, watch)
    state.emit(
        RealtimeGuardrailTripped(
            guardrail_results=results,
            message=text,
            info=state.info,
            response_id=response.id,
            item_id=item_id,
            agent=response.agent,
            began_at=began_at,
        ),
    )
    interrupted_before = response.interrupted is not None
    if response.held_back:
        response.stop_by_guardrail()
    # One path for both: a response under way is cancelled, one that only plays is cut where it plays.
    interrupt(state, "guardrail", now, response_id=response.id)
    if any(entry.response_id == response.id for entry in mine.held):
        state.purge(response.id)  # also where an endpoint or a tracker takes it for heard
    newer = mine.newest != response.id or (watch.over and state.response_queue.asked)
    if response.in_conversation and not newer and not interrupted_before:
        depth = response.request.recovery if response.request is not None else 0
        feedback = _feedback(mine.policy.recovery, results)
        recover(state, mine.policy.recovery, feedback, depth + 1, instead_of=response)


def stop_overfull(state: State, response_id: str, now: float) -> None:
    """Stop an answer of which more is held back than may be: no guardrail has passed it."""
    mine = state.guardrails
    watch, delay = mine.watches.get(response_id), mine.delays.get(response_id)
    if watch is None or watch.tripped or delay is None or delay.held_ms <= mine.policy.hold_back_s * 1000:
        return
    names = ", ".join(guardrail.get_name() for guardrail in watch.guardrails)
    problem = f"no verdict on {mine.policy.hold_back_s:g} s of audio that is held back: the answer was stopped"
    failure = GuardrailFailed(problem, guardrail_name=names)
    state.emit(RealtimeError(error=failure, info=state.info, response_id=response_id))
    _call_off(state, watch)
    interrupt(state, "guardrail", now, response_id=response_id)


def _call_off(state: State, watch: Watch) -> None:
    """Ignore all further verdicts on this response: it is decided."""
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
    """The connection has ended: no verdict matters any more."""
    mine = state.guardrails
    mine.watches.clear()
    mine.checking.clear()
    mine.held.clear()
    mine.delays.clear()


def hold(state: State, response_id: str, event: RealtimeAudio | RealtimeAudioEnd, now: float) -> None:
    """Audio, or the end of it, that may have to wait for a verdict."""
    mine = state.guardrails
    watch = mine.watches.get(response_id)
    if not mine.policy.hold_back or (watch is None and not mine.held):
        state.emit(event)
        return
    entry = Held(response_id, event, now)
    if watch is not None and event.type == "audio":
        entry.said = text_of(state, watch, event.item_id)
        entry.mark = entry.said.length
    mine.held.append(entry)
    if event.type == "audio":
        delay = mine.delays.setdefault(response_id, Delay(now))
        delay.began = delay.began if delay.pieces else now
        delay.pieces += 1
        delay.held_ms += _length_ms(state, event)
    release(state, now)


def _length_ms(state: State, event: RealtimeAudio) -> float:
    return state.output_format.duration_ms(len(event.audio.data))


def hold_end(
    state: State, response: Response, event: RealtimeAgentEndEvent, now: float, then: Callable[[], None]
) -> bool:
    """Return whether the end of a response has to wait for its audio; `then` follows from it."""
    if not any(entry.response_id == response.id for entry in state.guardrails.held):
        state.guardrails.delays.pop(response.id, None)
        return False
    response.hold_back()
    state.guardrails.held.append(Held(response.id, event, now, response=response, then=then))
    return True


def release(state: State, now: float) -> None:
    held = state.guardrails.held
    while held and held[0].free:
        _tell(state, held.pop(0), now)


def drop_purged(state: State, now: float) -> None:
    """Drop the held audio of responses that have been purged, and tell the app of those that have ended."""
    mine = state.guardrails
    purged, state.purged = state.purged, []
    if not mine.held or not purged:
        return
    kept: list[Held] = []
    ended: list[Held] = []
    for entry in mine.held:
        if entry.response_id not in purged:
            kept.append(entry)
        elif entry.response is not None:
            ended.append(entry)
    mine.held = kept
    for response_id in purged:
        mine.delays.pop(response_id, None)
    for entry in ended:
        if entry.response is not None and entry.response.interrupted == "guardrail":
            assert isinstance(entry.event, RealtimeAgentEndEvent)
            entry.event = attrs.evolve(entry.event, status="cancelled", reason="guardrail")
            entry.response.stop_by_guardrail()
        _tell(state, entry, now)
    release(state, now)


def _tell(state: State, entry: Held, now: float) -> None:
    state.emit(entry.event)
    mine = state.guardrails
    delay = mine.delays.get(entry.response_id)
    if delay is not None and entry.event.type == "audio":
        delay.longest_s = max(delay.longest_s, now - entry.since)
        delay.pieces -= 1
        delay.held_ms -= _length_ms(state, entry.event)
        if not delay.pieces:
            delay.total_s += now - delay.began
            mine.last_hold = HoldDelay(
                response_id=entry.response_id, max_ms=delay.longest_s * 1000, total_ms=delay.total_s * 1000
            )
    if entry.response is not None and entry.then is not None:
        mine.delays.pop(entry.response_id, None)
        entry.response.release()
        entry.then()
