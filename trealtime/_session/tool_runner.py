"""The tool runner: each function call of the model runs in a scope of its own, and always gets an output.

Theory of operation
1. A tool that raises, takes too long, is unknown or got wrong arguments neither ends the session nor leaves the model
   waiting: the output says what went wrong, and unless it is the model's own mistake, the app gets an ``error`` event.
   The core decides which calls come here and what follows from their outputs (`trealtime._core.tool_calls`).
2. First the runner finds out whether the tool is there and whether the call needs approval. If it does, the runner asks
   the core for it and leaves; the call comes back when it has been decided. So a call that waits for approval holds up
   no other, also where calls keep their order.
3. The guardrails of a tool run one after another, up to the first that objects. One that fails or takes too long
   rejects what it was to check, and the app gets an ``error`` event.
4. When the session ends, every call is cancelled and its output dropped. A call of a tool with
   ``on_interrupt="shield"`` may finish first, until the deadline that `wind_down` sets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from functools import cached_property, partial
from typing import Any, Final

import attrs
import trio

from trealtime._core.effects import FunctionCall, Refusal, parsed_arguments
from trealtime._session.config import GuardrailsSettings, RealtimeRunConfig
from trealtime._session.driver import Driver
from trealtime._session.failures import Failures, place_of
from trealtime._session.lifetime import Lifetime
from trealtime._value import Shown
from trealtime.errors import GuardrailFailed, ToolFailed
from trealtime.events import (
    EventInfo,
    RealtimeToolEnd,
    RealtimeToolProgress,
    RealtimeToolStart,
)
from trealtime.metrics import ToolSpanStatus
from trealtime.terminal import text_of
from trealtime.tools.callables import answer_of
from trealtime.tools.context import RunContext, ToolContext
from trealtime.tools.enabling import enabled
from trealtime.tools.function_tool import FunctionTool
from trealtime.tools.guardrails import (
    ToolGuardrailFunctionOutput,
    ToolInputGuardrailData,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailData,
    ToolOutputGuardrailTripwireTriggered,
)
from trealtime.tools.invocation import ToolErrorKind, ToolOutcome, format_error, invoke_tool
from trealtime.tools.output import serialise_output

__all__ = ["ToolRunner"]

_REFUSALS: Final = ("approval_rejected", "guardrail_rejected")
"""Failures with a ``tool_end`` event although the tool has not started."""

_OUTCOMES: Final[Mapping[ToolErrorKind | None, ToolSpanStatus]] = {
    None: "completed",
    "unknown_tool": "failed",
    "invalid_arguments": "failed",
    "failed": "failed",
    "timed_out": "timed_out",
    "cancelled": "cancelled",
    "approval_rejected": "rejected",
    "guardrail_rejected": "rejected",
}


@attrs.define(eq=False, repr=False)
class _Work(Shown):
    """One call on its way to an output."""

    call: FunctionCall
    after: trio.Event | None
    """The end of the call before it, where calls keep their order."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    done: trio.Event = attrs.field(factory=trio.Event)
    started: bool = False
    """``tool_start`` has been emitted."""

    @property
    def shielded(self) -> bool:
        """Whether it may finish when the session ends."""
        return self.started and self.call.tool is not None and self.call.tool.on_interrupt == "shield"


class ToolRunner:
    """Runs the function calls of one session, at most ``tool_concurrency`` of `run` at a time. Where calls keep their
    order, each waits for the one before it."""

    def __init__(
        self, driver: Driver, lifetime: Lifetime, failures: Failures, info: EventInfo, run: RealtimeRunConfig
    ) -> None:
        concurrency = run.tool_concurrency if run.async_tool_calls else 1
        self._driver = driver
        self._lifetime = lifetime
        self._failures = failures
        self._info = info
        self._formatter = run.tool_error_formatter
        self._in_order = not run.async_tool_calls
        self._checks = _ToolChecks(failures, run.guardrails_settings)
        self._checks_before_approval = run.tool_execution.pre_approval_tool_input_guardrails
        self._last: trio.Event | None = None
        self._concurrency = concurrency
        self._limits: dict[FunctionTool, trio.CapacityLimiter] = {}
        self._works: dict[str, _Work] = {}
        self._closing = False

    @cached_property
    def _running(self) -> trio.CapacityLimiter:
        return trio.CapacityLimiter(self._concurrency)

    @cached_property
    def _threads(self) -> trio.CapacityLimiter:
        """A second one of the same size: a worker that holds a token of the first may not ask it for another."""
        return trio.CapacityLimiter(self._concurrency)

    @property
    def active(self) -> int:
        """How many calls run or wait to run, without those that wait for approval."""
        return len(self._works)

    def start(self, call: FunctionCall) -> None:
        """Run a call with the tool and the agent that it came with, also after a handoff. While the session ends, do
        nothing."""
        work = _Work(call, self._last if self._in_order else None)
        if self._lifetime.start_tool(partial(self._work, work)):
            self._works[call.call_id] = work
            self._last = work.done

    def cancel(self, call_id: str) -> None:
        """Stop a call."""
        work = self._works.get(call_id)
        if work is not None:
            work.scope.cancel()

    def wind_down(self, deadline: float) -> None:
        """Let shielded calls run until `deadline`, and drop the outputs of all calls."""
        self._closing = True
        for work in self._works.values():
            if work.shielded:
                work.scope.deadline = deadline
                work.scope.shield = True

    # ---- a call --------------------------------------------------------------------------------------------------

    async def _work(self, work: _Work) -> None:
        outcome: ToolOutcome | None = None
        try:
            with work.scope:
                if work.after is not None:
                    await work.after.wait()
                outcome = await self._outcome(work)
            if work.scope.cancelled_caught:
                effects = "It may have had some of its effects." if work.started else "It was not made."
                what = f"The call of {work.call.name} was cancelled by an interrupt. {effects}"
                outcome = await self._failure("cancelled", what, work.call)
        finally:
            work.done.set()
            if self._works.get(work.call.call_id) is work:
                del self._works[work.call.call_id]
        if outcome is not None and not self._closing:
            self._answer(work, outcome)

    async def _outcome(self, work: _Work) -> ToolOutcome | None:
        """Make a call and return its outcome; None if it waits for approval now."""
        call, tool = work.call, work.call.tool
        if call.refusal is not None:
            return await self._refused(call, call.refusal)
        if call.cleared:
            return await self._run(work)
        try:
            there = tool is not None and await enabled([tool], self._info.context, call.agent)
        except Exception as error:  # noqa: BLE001  (a user's callable: its failure is an event and an output)
            failure = await self._failure("failed", f"The tool {call.name} failed.", call)
            return attrs.evolve(failure, errors=(error, *failure.errors))
        if tool is None or not there:
            known = ", ".join(name for name in call.known if name != call.name) or "none"
            return await self._failure("unknown_tool", f"There is no tool {call.name!r}. Tools: {known}.", call)
        core = self._driver.core
        needed = core.standing_decision(tool) is None and await self._needs_approval(call, tool)
        if needed and self._checks_before_approval:
            stopped = await self._checks.before(call, self._context(call))
            if stopped is not None:
                return stopped
        standing = core.standing_decision(tool)  # a decision for always may have been made meanwhile
        if standing is not None and standing.refusal is not None:
            return await self._refused(call, standing.refusal)
        if standing is None and needed:
            self._driver.do(core.request_approval, call.call_id)
            return None
        return await self._run(work)

    async def _needs_approval(self, call: FunctionCall, tool: FunctionTool) -> bool:
        if isinstance(tool.needs_approval, bool):
            return tool.needs_approval
        arguments = parsed_arguments(call.arguments)
        if arguments is None:  # no JSON object: a person should look at it
            return True
        try:
            # Only False lets a call run: a callable that forgets to return has not said so.
            return await answer_of(tool.needs_approval(self._context(call), arguments, call.call_id)) is not False
        except Exception as error:  # noqa: BLE001  (a user's callable; ask when in doubt)
            what = f"needs_approval of {call.name} failed: {type(error).__name__}"
            self._report(call, f"{what}: {text_of(error)}", error, summary=what)
            return True

    async def _refused(self, call: FunctionCall, refusal: Refusal) -> ToolOutcome:
        if refusal.final:
            return ToolOutcome(output=refusal.message, value=refusal.message, failure=refusal.kind)
        return await self._failure(refusal.kind, refusal.message, call)

    async def _run(self, work: _Work) -> ToolOutcome:
        call, tool = work.call, work.call.tool
        assert tool is not None
        async with AsyncExitStack() as turn:
            if tool.max_concurrency is not None:
                # Before the session's own limit: a call that waits here must not take a place there.
                await turn.enter_async_context(self._limit(tool, tool.max_concurrency))
            await turn.enter_async_context(self._running)
            context = self._context(call, on_progress=partial(self._progress, work))
            stopped = await self._checks.before(call, context)
            if stopped is not None:
                return stopped
            work.started = True
            self._driver.emit(
                RealtimeToolStart(
                    agent=call.agent, tool=tool, arguments=call.arguments, info=self._info, call_id=call.call_id
                )
            )
            outcome = await invoke_tool(tool, context, call.arguments, formatter=self._formatter)
            return await self._checks.after(call, context, outcome)

    async def _failure(self, kind: ToolErrorKind, message: str, call: FunctionCall) -> ToolOutcome:
        text, errors = await format_error(kind, message, self._context(call), self._formatter)
        return ToolOutcome(output=text, value=text, failure=kind, errors=errors)

    def _answer(self, work: _Work, outcome: ToolOutcome) -> None:
        call = work.call
        if outcome.failure == "unknown_tool":
            self._report(call, f"there is no tool {call.name!r}", summary="the model called a tool that is not there")
        for error in outcome.errors:
            what = f"tool {call.name} failed: {type(error).__name__}"
            self._report(call, f"{what}: {text_of(error)}", error, summary=what)
        nothing_to_tell = outcome.failure is None and outcome.value is None
        output = serialise_output(outcome.output)  # a refusal is the user's own text
        self._driver.do(
            self._driver.core.send_tool_output,
            call.call_id,
            output,
            nothing_to_tell=nothing_to_tell,
            outcome=_OUTCOMES[outcome.failure],
        )
        if call.tool is not None and (work.started or outcome.failure in _REFUSALS):
            self._driver.emit(
                RealtimeToolEnd(
                    agent=call.agent,
                    tool=call.tool,
                    arguments=call.arguments,
                    output=outcome.value,
                    info=self._info,
                    call_id=call.call_id,
                    failure=outcome.failure,
                )
            )

    def _progress(self, work: _Work, note: object) -> None:
        if self._closing or work.call.tool is None:
            return
        self._driver.emit(
            RealtimeToolProgress(
                agent=work.call.agent,
                tool=work.call.tool,
                note=note,
                info=self._info,
                call_id=work.call.call_id,
            )
        )

    def _limit(self, tool: FunctionTool, calls: int) -> trio.CapacityLimiter:
        return self._limits.setdefault(tool, trio.CapacityLimiter(calls))

    def _context(self, call: FunctionCall, **more: Any) -> ToolContext[Any]:
        run: RunContext[Any] = self._info.context
        return ToolContext(
            context=run.context,
            usage=self._driver.core.usage,
            tool_name=call.name,
            tool_call_id=call.call_id,
            tool_arguments=call.arguments,
            agent=call.agent,
            thread_limiter=self._threads,
            **more,
        )

    def _report(self, call: FunctionCall, what: str, cause: Exception | None = None, *, summary: str) -> None:
        failure = ToolFailed(what, tool_name=call.name, call_id=call.call_id)
        failure.__cause__ = cause
        self._failures.report("tool", failure, summary=summary, raised=cause is not None, **place_of(call))


class _ToolChecks:
    """Runs the tool guardrails of one session."""

    def __init__(self, failures: Failures, settings: GuardrailsSettings) -> None:
        self._failures = failures
        self._timeout_s = settings.timeout_s
        self._concurrency = settings.concurrency

    @cached_property
    def _threads(self) -> trio.CapacityLimiter:
        return trio.CapacityLimiter(self._concurrency)

    async def before(self, call: FunctionCall, context: ToolContext[Any]) -> ToolOutcome | None:
        """Return the outcome of a call that a guardrail stops; None: it may be made.

        Raises `ToolInputGuardrailTripwireTriggered` where a guardrail says so.
        """
        assert call.tool is not None
        data = ToolInputGuardrailData(context=context, agent=call.agent)
        for guardrail in call.tool.tool_input_guardrails:
            unknown = f"The tool {call.name} was not run, because the call could not be checked."
            verdict = await self._verdict(
                call, guardrail.get_name(), guardrail.run(data, thread_limiter=self._threads), unknown
            )
            if verdict.behavior == "raise_exception":
                raise ToolInputGuardrailTripwireTriggered(guardrail, verdict, tool_name=call.name, call_id=call.call_id)
            if verdict.behavior == "reject_content":
                return ToolOutcome(output=verdict.message, value=verdict.message, failure="guardrail_rejected")
        return None

    async def after(self, call: FunctionCall, context: ToolContext[Any], outcome: ToolOutcome) -> ToolOutcome:
        """Return `outcome`, or the rejection of a guardrail in its place.

        Raises `ToolOutputGuardrailTripwireTriggered` where a guardrail says so.
        """
        assert call.tool is not None
        data = ToolOutputGuardrailData(context=context, agent=call.agent, output=outcome.value)
        for guardrail in call.tool.tool_output_guardrails:
            unknown = f"The tool {call.name} was run, and its output is withheld, because it could not be checked."
            verdict = await self._verdict(
                call, guardrail.get_name(), guardrail.run(data, thread_limiter=self._threads), unknown
            )
            if verdict.behavior == "raise_exception":
                raise ToolOutputGuardrailTripwireTriggered(
                    guardrail, verdict, tool_name=call.name, call_id=call.call_id
                )
            if verdict.behavior == "reject_content":
                message = verdict.message
                return attrs.evolve(outcome, output=message, value=message, failure="guardrail_rejected")
        return outcome

    async def _verdict(
        self, call: FunctionCall, name: str, verdict: Awaitable[ToolGuardrailFunctionOutput], unknown: str
    ) -> ToolGuardrailFunctionOutput:
        try:
            # Not `fail_after`: a guardrail may raise a TooSlowError of its own, and then it has failed.
            with trio.move_on_after(self._timeout_s):
                return await verdict
            self._report(call, name, f"took longer than {self._timeout_s:g} s", trio.TooSlowError())
        except Exception as error:  # noqa: BLE001  (a user's callable: its failure is an event)
            self._report(call, name, f"failed: {type(error).__name__}: {text_of(error)}", error)
        return ToolGuardrailFunctionOutput.reject_content(unknown)

    def _report(self, call: FunctionCall, name: str, what: str, cause: Exception) -> None:
        failure = GuardrailFailed(f"guardrail {name} {what}; what it was to check did not pass", guardrail_name=name)
        failure.__cause__ = cause
        summary = f"guardrail {name} of tool {call.name} failed: {type(cause).__name__}"
        self._failures.report("guardrail", failure, summary=summary, **place_of(call))
