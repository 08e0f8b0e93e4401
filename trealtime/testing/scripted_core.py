"""The script's engine: events of the client and time in, the script's events out. No Trio in here.

How a script is played. Steps are taken in order, as far as they go without the client: `Emit` at once, `Wait` when its
time has come, `Close` ends. `Expect` takes the next event that the client has sent. One that does not fit fails a
strict script; a lenient one answers it as every server does, notes it, and goes on waiting. Audio is let through
wherever no step is about it, since a microphone does not stop for a script.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from trealtime.emulator.core import read_event
from trealtime.emulator.event_buffer import Ids
from trealtime.emulator.validation import Refusal
from trealtime.testing.assertions import shown
from trealtime.testing.prompted_core import PromptedCore
from trealtime.testing.script import (
    Act,
    Close,
    Emit,
    Event,
    Expect,
    Raise,
    RealtimeScriptError,
    Step,
    UnconsumedRealtimeSteps,
    UnexpectedRealtimeSend,
    Wait,
)

__all__ = ["Play", "ScriptedCore"]

_MOST_WAITING = 1_000
_APPEND = "input_audio_buffer.append"


class ScriptedCore(PromptedCore):
    """One connection of a scripted server, which plays `play`; the rest are the arguments of `SessionCore`."""

    def __init__(self, ids: Ids, *, play: Play, **options: Any) -> None:
        super().__init__(ids, **options)
        self._play = play
        self._waiting: deque[dict[str, Any]] = deque()
        self._wait_ends_at: float | None = None

    # ---- as the driver drives it ------------------------------------------------------------------------------

    def open(self) -> None:
        """Play the steps before the client's first event."""
        self._advance()

    def receive(self, message: str | bytes) -> dict[str, Any] | None:
        """One message of the client."""
        try:
            event = read_event(message)
        except Refusal:
            return self.receive_live(message)
        step = self._play.next_step
        if event.get("type") != _APPEND:
            self._play.received.append(event)
        elif not isinstance(step, Expect) or step.type != _APPEND:
            return self.receive_live(message)
        self._waiting.append(event)
        self._advance()
        return event

    @property
    def deadline(self) -> float:
        """The time at which to call `tick`."""
        return min(self._ends_at, math.inf if self._wait_ends_at is None else self._wait_ends_at)

    def tick(self) -> None:
        """Do what is due."""
        if self._clock() >= self._ends_at:
            super().tick()
        else:
            self._advance()

    # ---- the script --------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        try:
            while not self._play.failed and self.ending is None and self._play_step():
                pass
        except Exception as error:  # noqa: BLE001  # also from a function of the script: for its author
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the connection: the script cannot go on. The test gets `error`."""
        self.ending = (1011, "the script failed")
        self._play.fail(error)

    def _play_step(self) -> bool:
        """Play the next step; False where it has to wait."""
        step = self._play.next_step
        if step is None or isinstance(step, Expect):
            return self._take_event(step)
        if isinstance(step, Wait) and not self._wait_is_over(step):
            return False
        if isinstance(step, Emit):
            self._emit_step(step)
        elif isinstance(step, Close):
            self.ending = (step.code, step.reason)
        elif isinstance(step, Raise):
            self.fail(step.error)
        self._play.position += 1
        return True

    def _wait_is_over(self, step: Wait) -> bool:
        if self._wait_ends_at is None:
            self._wait_ends_at = self._clock() + step.seconds
        if self._clock() < self._wait_ends_at:
            if len(self._waiting) > _MOST_WAITING:
                raise RealtimeScriptError(f"the client sent more than {_MOST_WAITING} events during `{step}`")
            return False
        self._wait_ends_at = None
        return True

    def _take_event(self, step: Expect | None) -> bool:
        if not self._waiting:
            return False
        event = self._waiting[0]
        problems = ["nothing more is expected"] if step is None else step.differences(event)
        if problems and self._play.strict:
            raise UnexpectedRealtimeSend(self._play.mismatch(event, problems), actual=event, expected=step)
        self._waiting.popleft()
        if step is None or problems:
            self._play.ignored.append(event)
            self.answer(event)
            if event.get("type") == "response.create":
                self.finish()
            return True
        if step.save_as is not None:
            self._play.saved[step.save_as] = event
        self._play.position += 1
        if step.answered:
            self.answer(event)
        elif event["type"] == "response.create":
            self.unanswered.append(event)
        return True

    def _emit_step(self, step: Emit) -> None:
        saved = self._play.saved
        fields = {name: value(saved) if callable(value) else value for name, value in step.fields.items()}
        sent = self.perform(step.what, fields)
        if step.save_as is not None and sent is not None:
            saved[step.save_as] = sent

    def perform(self, what: object, fields: Mapping[str, object] = MappingProxyType({})) -> Event | None:
        """Carry out an `emit` step with `what` and `fields`; return the event, if it is a single one."""
        match what:
            case str():
                return self.emit(what, fields)
            case Act():
                what.do(self)
                return None
            case Mapping():
                event = {**what, **fields}
                self.event_buffer.put(event)
                return event
            case list() | tuple():
                for each in what:
                    self.perform(each)
                return None
        if not callable(what):
            raise TypeError(f"emit takes a type, an event, an act, or a function that makes one, got {what!r}")
        return self.perform(what(self._play.saved), fields)


_STEPS_SHOWN = 5


@attrs.define(eq=False)
class Play:
    """A script and its state. `on_failure` is called once, with the first error."""

    steps: Sequence[Step]
    strict: bool
    on_failure: Callable[[Exception], None]
    position: int = attrs.field(default=0, init=False)
    received: list[Event] = attrs.field(factory=list, init=False)
    """The events of the client, audio left out."""

    ignored: list[Event] = attrs.field(factory=list, init=False)
    """Events that no step of a lenient script expected."""

    saved: dict[str, Event] = attrs.field(factory=dict, init=False)
    failed: bool = attrs.field(default=False, init=False)

    @property
    def next_step(self) -> Step | None:
        """The next step; None at the end."""
        return self.steps[self.position] if self.position < len(self.steps) else None

    @property
    def remaining_steps(self) -> tuple[Step, ...]:
        """The steps that have not been played."""
        return tuple(self.steps[self.position :])

    def steps_after(self, count: int) -> tuple[Step, ...]:
        """The steps that have not been played, the first `count` of the script left out."""
        return tuple(self.steps[max(self.position, count) :])

    def fail(self, error: Exception) -> None:
        """The script cannot go on."""
        self.failed = True
        self.on_failure(error)

    def unconsumed(self) -> UnconsumedRealtimeSteps | None:
        """The error for steps that are left, if there are any."""
        left = self.remaining_steps
        if not left:
            return None
        count = f"{len(left)} of {len(self.steps)} steps of the script {'was' if len(left) == 1 else 'were'}"
        return UnconsumedRealtimeSteps(
            f"{count} not played; the next is: {left[0]}\n\n{self.progress()}", remaining_steps=left
        )

    def mismatch(self, event: Event, problems: Sequence[str]) -> str:
        """Describe an `event` that the next step does not take."""
        step = self.next_step
        lines = ["the client sent something else than the script expects", ""]
        lines += [f"expected: {'the end of the script' if step is None else step}", f"received: {event.get('type')}"]
        lines += [f"  {problem}" for problem in problems]
        later = self._later_step(event)
        if later is not None:
            lines.append(f"  (step {later + 1} would take it: {self.steps[later]})")
        return "\n".join([*lines, "", f"the event: {shown(event)}", "", self.progress()])

    def progress(self) -> str:
        """The steps around the next one, and what was ignored."""
        first = max(0, self.position - _STEPS_SHOWN)
        last = min(len(self.steps), self.position + _STEPS_SHOWN)
        lines = [f"     ({first} before)"] if first else []
        lines += [
            f"{'->' if index == self.position else '  '}{index + 1:3} {self.steps[index]}"
            for index in range(first, last)
        ]
        if last < len(self.steps):
            lines.append(f"     ({len(self.steps) - last} more)")
        if self.next_step is None:
            lines.append("->    the end")
        lines += [f"  ignored: {shown(event)}" for event in self.ignored]
        return "the script:\n" + "\n".join(lines)

    def _later_step(self, event: Event) -> int | None:
        for index in range(self.position + 1, len(self.steps)):
            step = self.steps[index]
            if isinstance(step, Expect) and step.type == event.get("type") and not step.differences(event):
                return index
        return None
