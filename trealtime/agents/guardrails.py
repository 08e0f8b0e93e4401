"""Guardrails: checks of the words of the agent and of the user. A check that trips stops them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, overload

import attrs
import trio

from trealtime._value import Shown, Value
from trealtime.errors import TrealtimeError
from trealtime.tools.callables import call_anywhere, name_of
from trealtime.tools.context import ContextT, RunContext

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent

__all__ = [
    "GuardrailFunction",
    "GuardrailFunctionOutput",
    "InputGuardrail",
    "InputGuardrailResult",
    "InputGuardrailTripwireTriggered",
    "OutputGuardrail",
    "OutputGuardrailResult",
    "input_guardrail",
    "output_guardrail",
]


@attrs.frozen(eq=False, repr=False)
class GuardrailFunctionOutput(Value):
    """A verdict. `tripwire_triggered` True stops the checked words; `output_info` is any object that explains why."""

    output_info: object
    tripwire_triggered: bool


GuardrailFunction = Callable[
    [RunContext[Any], "RealtimeAgent[Any]", str], GuardrailFunctionOutput | Awaitable[GuardrailFunctionOutput]
]
"""``function(context, agent, text)``, sync or async."""


@attrs.frozen(eq=False, repr=False)
class OutputGuardrail(Shown, Generic[ContextT]):
    """A check of the agent's words, spoken or written; made by `output_guardrail`.

    `guardrail_function` gets the run context, the agent that began the response, and the text of one item so far. An
    async one runs in the session, a sync one in a worker thread, so it may block. `name` appears in messages to the
    model and in logs; by default it is the function's own.
    """

    guardrail_function: Callable[[RunContext[ContextT], RealtimeAgent[Any], str], Any]
    name: str | None = None

    def get_name(self) -> str:
        """Return the name; for a callable that has none, the name of its type."""
        return self.name if self.name is not None else name_of(self.guardrail_function)

    async def run(
        self,
        context: RunContext[ContextT],
        agent: RealtimeAgent[Any],
        agent_output: str,
        *,
        thread_limiter: trio.CapacityLimiter | None = None,
    ) -> OutputGuardrailResult:
        """Return the verdict on `agent_output`.

        Passes the function's exceptions on, and raises TypeError when it returns anything but a
        `GuardrailFunctionOutput`. A sync function takes a thread of `thread_limiter` (None: Trio's own). If cancelled
        while that runs, it waits until the function returns.
        """
        output = await _verdict(self.guardrail_function, self.get_name(), context, agent, agent_output, thread_limiter)
        return OutputGuardrailResult(guardrail=self, agent_output=agent_output, agent=agent, output=output)


@attrs.frozen(eq=False, repr=False)
class InputGuardrail(Shown, Generic[ContextT]):
    """A check of the user's words, spoken or written; made by `input_guardrail`.

    `guardrail_function` gets the run context, the agent that would answer, and the text. All else is as with
    `OutputGuardrail`.
    """

    guardrail_function: Callable[[RunContext[ContextT], RealtimeAgent[Any], str], Any]
    name: str | None = None

    def get_name(self) -> str:
        """Return the name; for a callable that has none, the name of its type."""
        return self.name if self.name is not None else name_of(self.guardrail_function)

    async def run(
        self,
        context: RunContext[ContextT],
        agent: RealtimeAgent[Any],
        user_input: str,
        *,
        thread_limiter: trio.CapacityLimiter | None = None,
    ) -> InputGuardrailResult:
        """Return the verdict on `user_input`; as `OutputGuardrail.run`."""
        output = await _verdict(self.guardrail_function, self.get_name(), context, agent, user_input, thread_limiter)
        return InputGuardrailResult(guardrail=self, user_input=user_input, agent=agent, output=output)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OutputGuardrailResult(Shown):
    """The verdict of one output guardrail on `agent_output`, a text of `agent`."""

    guardrail: OutputGuardrail[Any]
    agent_output: str
    agent: RealtimeAgent[Any]
    output: GuardrailFunctionOutput


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputGuardrailResult(Shown):
    """The verdict of one input guardrail on `user_input`, which `agent` would have answered."""

    guardrail: InputGuardrail[Any]
    user_input: str
    agent: RealtimeAgent[Any]
    output: GuardrailFunctionOutput


class InputGuardrailTripwireTriggered(TrealtimeError):
    """Input guardrails stopped the user's words, so they get no answer.

    `guardrail_results` are the results that tripped, in the order of declaration; `guardrail_result` is the first.
    """

    def __init__(self, guardrail_results: Sequence[InputGuardrailResult]) -> None:
        self.guardrail_results: tuple[InputGuardrailResult, ...] = tuple(guardrail_results)
        self.guardrail_result: InputGuardrailResult = self.guardrail_results[0]
        names = ", ".join(result.guardrail.get_name() for result in self.guardrail_results)
        super().__init__(f"what the user said was stopped by a guardrail: {names}")


@overload
def output_guardrail(func: GuardrailFunction, *, name: str | None = None) -> OutputGuardrail[Any]: ...
@overload
def output_guardrail(*, name: str | None = None) -> Callable[[GuardrailFunction], OutputGuardrail[Any]]: ...
def output_guardrail(
    func: GuardrailFunction | None = None, *, name: str | None = None
) -> OutputGuardrail[Any] | Callable[[GuardrailFunction], OutputGuardrail[Any]]:
    """Make an `OutputGuardrail` of a function ``(context, agent, text) -> GuardrailFunctionOutput``, sync or async.

    Use it as ``@output_guardrail`` or ``@output_guardrail(name=...)``.
    """

    def decorate(function: GuardrailFunction) -> OutputGuardrail[Any]:
        return OutputGuardrail(function, name or getattr(function, "__name__", None))

    return decorate if func is None else decorate(func)


@overload
def input_guardrail(func: GuardrailFunction, *, name: str | None = None) -> InputGuardrail[Any]: ...
@overload
def input_guardrail(*, name: str | None = None) -> Callable[[GuardrailFunction], InputGuardrail[Any]]: ...
def input_guardrail(
    func: GuardrailFunction | None = None, *, name: str | None = None
) -> InputGuardrail[Any] | Callable[[GuardrailFunction], InputGuardrail[Any]]:
    """Make an `InputGuardrail` of a function ``(context, agent, text) -> GuardrailFunctionOutput``, sync or async.

    Use it as ``@input_guardrail`` or ``@input_guardrail(name=...)``.
    """

    def decorate(function: GuardrailFunction) -> InputGuardrail[Any]:
        return InputGuardrail(function, name or getattr(function, "__name__", None))

    return decorate if func is None else decorate(func)


async def _verdict(
    function: Callable[..., object],
    name: str,
    context: RunContext[Any],
    agent: RealtimeAgent[Any],
    text: str,
    thread_limiter: trio.CapacityLimiter | None,
) -> GuardrailFunctionOutput:
    output = await call_anywhere(function, context, agent, text, thread_limiter=thread_limiter)
    if not isinstance(output, GuardrailFunctionOutput):
        raise TypeError(f"guardrail {name!r} returned {output!r}, allowed: a GuardrailFunctionOutput")
    if output.tripwire_triggered is None:  # a condition that forgot to return must not count as passed
        raise TypeError(f"guardrail {name!r} returned tripwire_triggered=None, allowed: True or False")
    if not isinstance(output.tripwire_triggered, bool):
        # Here, where an object that is neither true nor false, such as an array, is the guardrail's failure.
        output = attrs.evolve(output, tripwire_triggered=bool(output.tripwire_triggered))
    return output
