"""How far one connection is in its script, and how to say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from trealtime.testing.matching import shown
from trealtime.testing.script import Event, Expect, Step, UnconsumedRealtimeSteps

__all__ = ["Play"]

_STEPS_SHOWN = 5


@attrs.define(eq=False)
class Play:
    """A script and what has come of it. `on_failure` is told once, of the first thing that goes wrong."""

    steps: Sequence[Step]
    strict: bool
    on_failure: Callable[[Exception], None]
    position: int = attrs.field(default=0, init=False)
    received: list[Event] = attrs.field(factory=list, init=False)
    """What the client has sent, audio left out."""

    ignored: list[Event] = attrs.field(factory=list, init=False)
    """What no step of a lenient script was about."""

    saved: dict[str, Event] = attrs.field(factory=dict, init=False)
    failed: bool = attrs.field(default=False, init=False)

    @property
    def next_step(self) -> Step | None:
        """The step whose turn it is; None at the end."""
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
        """What to say of an `event` that the next step does not take."""
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
