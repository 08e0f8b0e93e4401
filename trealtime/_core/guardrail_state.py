"""What a conversation knows about guardrails: who is checked, what waits, and the two moves that every rule makes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from trealtime._core.effects import GuardrailCheck, StartCheck
from trealtime._core.response_queue import Request
from trealtime.events import RealtimeAgentEndEvent, RealtimeAudio, RealtimeAudioEnd

if TYPE_CHECKING:
    from trealtime._core.state import Response, State
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.agents.guardrails import InputGuardrail, OutputGuardrail

__all__ = [
    "Delay",
    "GuardrailCounters",
    "GuardrailPolicy",
    "Guardrails",
    "Held",
    "HoldDelay",
    "Input",
    "Recovery",
    "Said",
    "Watch",
    "recover",
    "recovery_item",
    "start_check",
    "text_of",
]

Recovery = Literal["system", "user"] | None

MAX_RECOVERIES: Final = 3
"""Answers to recovery messages that trip again are recovered from this often, then the agent stays silent."""


@attrs.frozen(kw_only=True)
class GuardrailPolicy:
    """What the run says about guardrails; an agent brings its own."""

    output: tuple[OutputGuardrail[Any], ...] = ()
    input: tuple[InputGuardrail[Any], ...] = ()
    gates_turns: bool = False
    """Whether what the user says is checked from the start: the server then answers no turn by itself."""

    debounce_text_length: int = 100
    hold_back: bool = False
    hold_back_s: float = 120.0
    recovery: Recovery = "system"
    input_recovery: Recovery = None
    on_failure: Literal["skip", "stop"] | None = None

    def stops(self, which: Literal["output", "input"]) -> bool:
        """Whether a guardrail that fails stops what it should have checked."""
        return self.on_failure == "stop" or (self.on_failure is None and which == "output" and self.hold_back)


@attrs.frozen(kw_only=True)
class HoldDelay:
    """How long the audio of one response was held back."""

    response_id: str
    max_ms: float
    """The longest that a piece of it waited."""

    total_ms: float
    """How long, in all, some of it waited."""


@attrs.frozen(kw_only=True)
class GuardrailCounters:
    """What the guardrails of a session have done so far, and what is under way."""

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


@attrs.define(eq=False)
class Said:
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


@attrs.define(eq=False)
class Watch:
    """One response that is being checked; forgotten when it is over and every check has reported."""

    response: Response
    guardrails: tuple[OutputGuardrail[Any], ...]
    items: dict[str, Said] = attrs.Factory(dict)
    open: dict[int, tuple[Said, str, str]] = attrs.Factory(dict)
    """Checks under way: serial to the item, its id and the text."""

    tripped: bool = False
    over: bool = False


@attrs.define(eq=False)
class Input:
    """Something of the user's without a verdict. `item_id` is None until the server has named the item."""

    key: str
    item_id: str | None
    since: float
    text: str | None = None
    """None until there is a transcript; then it is being checked."""

    wants_answer: bool = False
    """A turn that the server would have answered by itself."""


@attrs.define(eq=False)
class Held:
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


@attrs.define
class Delay:
    """How long the audio of a response has been held so far: `pieces` are held now, the first of them since `began`."""

    began: float
    longest_s: float = 0.0
    total_s: float = 0.0
    pieces: int = 0
    held_ms: float = 0.0


@attrs.define
class Guardrails:
    """Everything that a conversation knows about checks. The rules are the functions below."""

    policy: GuardrailPolicy = attrs.Factory(GuardrailPolicy)
    watches: dict[str, Watch] = attrs.field(factory=dict, init=False)
    inputs: dict[str, Input] = attrs.field(factory=dict, init=False)
    held: deque[Held] = attrs.field(factory=deque, init=False)
    delays: dict[str, Delay] = attrs.field(factory=dict, init=False)
    """Of responses whose audio is held now or whose making goes on."""

    newest: str | None = attrs.field(default=None, init=False)
    """The response of the conversation that began last."""

    serials: Iterator[int] = attrs.field(factory=lambda: count(1), init=False)
    checking: dict[int, Watch | Input] = attrs.field(factory=dict, init=False)
    checks: int = attrs.field(default=0, init=False)
    trips: int = attrs.field(default=0, init=False)
    recoveries: int = attrs.field(default=0, init=False)
    last_hold: HoldDelay | None = attrs.field(default=None, init=False)

    def ending(self) -> list[Response]:
        """Responses that are done and whose end is told when their audio has been released."""
        return [entry.response for entry in self.held if entry.response is not None]

    def input_deadline(self, timeout_s: float) -> float | None:
        """When to give up the transcript that is longest awaited."""
        times = [each.since + timeout_s for each in self.inputs.values() if each.text is None]
        return min(times, default=None)

    def counters(self) -> GuardrailCounters:
        """Numbers for `session.statistics()`."""
        return GuardrailCounters(
            checks=self.checks,
            trips=self.trips,
            recoveries=self.recoveries,
            checks_open=len(self.checking),
            inputs_waiting=len(self.inputs),
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
    owner: Watch | Input,
    subject: str,
    which: Literal["output", "input"],
    text: str,
    agent: RealtimeAgent[Any],
    guardrails: Sequence[OutputGuardrail[Any] | InputGuardrail[Any]],
) -> int:
    """Have `text` checked; the serial under which the verdict will come."""
    mine = state.guardrails
    serial = next(mine.serials)
    mine.checks += 1
    mine.checking[serial] = owner
    check = GuardrailCheck(
        serial=serial, subject=subject, which=which, text=text, agent=agent, guardrails=tuple(guardrails)
    )
    state.do(StartCheck(check))
    return serial


def recover(state: State, recovery: Recovery, text: str, depth: int) -> None:
    """Tell the model and ask it again; message and request leave together, when the gate lets them."""
    if recovery is None or depth > MAX_RECOVERIES:
        return
    item = recovery_item(state, recovery, text)
    state.response_queue.submit(Request(state.ids.new("req"), automatic=True, item=item, recovery=depth))


def recovery_item(state: State, role: str, text: str) -> Mapping[str, Any]:
    """The message that tells the model what a guardrail has stopped."""
    state.guardrails.recoveries += 1
    content = [{"type": "input_text", "text": text}]
    return {"id": state.ids.new("item"), "type": "message", "role": role, "content": content}
