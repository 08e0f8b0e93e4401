"""Tool guardrails at work: those of one tool run one after another, and the first that objects is the last.

A guardrail that fails or takes too long stops what it was to check, because nobody knows whether that may pass; the app
gets an ``error`` event.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import attrs
import trio

from trealtime._core.effects import FunctionCall
from trealtime._session.config import GuardrailsSettings
from trealtime._session.driver import Driver
from trealtime.errors import GuardrailFailed
from trealtime.events import EventInfo, RealtimeError
from trealtime.tools.context import ToolContext
from trealtime.tools.guardrails import (
    ToolGuardrailFunctionOutput,
    ToolInputGuardrailData,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailData,
    ToolOutputGuardrailTripwireTriggered,
)
from trealtime.tools.invocation import ToolOutcome

__all__ = ["ToolChecks"]


class ToolChecks:
    """Runs the tool guardrails of one session."""

    def __init__(self, driver: Driver, info: EventInfo, settings: GuardrailsSettings) -> None:
        self._driver = driver
        self._info = info
        self._timeout_s = settings.timeout_s
        self._threads = trio.CapacityLimiter(settings.concurrency)

    async def before(self, call: FunctionCall, context: ToolContext[Any]) -> ToolOutcome | None:
        """What comes of a call that a guardrail stops; None: it may be made.

        Raises `ToolInputGuardrailTripwireTriggered` where a guardrail says so.
        """
        assert call.tool is not None
        data = ToolInputGuardrailData(context=context, agent=call.agent)
        for guardrail in call.tool.tool_input_guardrails:
            unknown = f"The tool {call.name} was not run, because the call could not be checked."
            verdict = await self._verdict(
                guardrail.get_name(), guardrail.run(data, thread_limiter=self._threads), unknown
            )
            if verdict.behavior == "raise_exception":
                raise ToolInputGuardrailTripwireTriggered(guardrail, verdict, tool_name=call.name, call_id=call.call_id)
            if verdict.behavior == "reject_content":
                return ToolOutcome(output=verdict.message, value=verdict.message, failure="guardrail_rejected")
        return None

    async def after(self, call: FunctionCall, context: ToolContext[Any], outcome: ToolOutcome) -> ToolOutcome:
        """What the model may know of `outcome`.

        Raises `ToolOutputGuardrailTripwireTriggered` where a guardrail says so.
        """
        assert call.tool is not None
        data = ToolOutputGuardrailData(context=context, agent=call.agent, output=outcome.value)
        for guardrail in call.tool.tool_output_guardrails:
            unknown = f"The tool {call.name} was run, and its output is withheld, because it could not be checked."
            verdict = await self._verdict(
                guardrail.get_name(), guardrail.run(data, thread_limiter=self._threads), unknown
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
        self, name: str, verdict: Awaitable[ToolGuardrailFunctionOutput], unknown: str
    ) -> ToolGuardrailFunctionOutput:
        try:
            with trio.fail_after(self._timeout_s):
                return await verdict
        except trio.TooSlowError as error:
            self._report(name, f"took longer than {self._timeout_s:g} s", error)
        except Exception as error:  # noqa: BLE001  (a guardrail's failure is an event to the app)
            self._report(name, f"failed: {type(error).__name__}: {error}", error)
        return ToolGuardrailFunctionOutput.reject_content(unknown)

    def _report(self, name: str, what: str, cause: Exception) -> None:
        failure = GuardrailFailed(f"guardrail {name} {what}; what it was to check did not pass", guardrail_name=name)
        failure.__cause__ = cause
        self._driver.emit(RealtimeError(error=failure, info=self._info))
