"""The guardrail runner: each check runs in the session's nursery, in a scope of its own, and always reports.

The guardrails of one check run side by side, sync ones in threads. The check reports those that tripped together, in
the order of declaration. A guardrail that raises or takes too long has failed: the app gets an ``error`` event, and the
core decides what follows. One in a thread cannot be stopped: the check reports without it, and once more when it has
returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, Final

import trio

from trealtime._core.effects import GuardrailCheck
from trealtime._core.guardrails import GuardrailPolicy
from trealtime._core.interruption import BargeIn, BargeInPolicy
from trealtime._session.config import GuardrailsSettings, RealtimeRunConfig
from trealtime._session.driver import Driver
from trealtime._session.failures import Failures
from trealtime._session.lifetime import Lifetime
from trealtime.agents.agent import RealtimeAgent
from trealtime.agents.guardrails import (
    GuardrailFunctionOutput,
    InputGuardrail,
    InputGuardrailResult,
    OutputGuardrail,
    OutputGuardrailResult,
)
from trealtime.errors import GuardrailFailed, SettingsError, SettingsProblem
from trealtime.events import EventInfo
from trealtime.protocol.settings import SessionSettings, merge_settings, session_settings
from trealtime.protocol.validation import NOT_SET
from trealtime.terminal import text_of
from trealtime.tools.context import RunContext

__all__ = ["GuardrailRunner", "check_transcribed", "check_transcription", "guardrail_policy"]

_GRACE_S: Final = 0.5
"""How long past its timeout a guardrail may take to stop before its check reports without it."""

Result = OutputGuardrailResult | InputGuardrailResult


class GuardrailRunner:
    """Runs the checks of one session."""

    def __init__(
        self,
        driver: Driver,
        lifetime: Lifetime,
        failures: Failures,
        info: EventInfo,
        settings: GuardrailsSettings,
    ) -> None:
        self._driver = driver
        self._lifetime = lifetime
        self._failures = failures
        self._info = info
        self._timeout_s = settings.timeout_s
        self._concurrency = settings.concurrency
        self._scopes: dict[str, list[trio.CancelScope]] = {}

    @cached_property
    def _threads(self) -> trio.CapacityLimiter:
        return trio.CapacityLimiter(self._concurrency)

    def start(self, check: GuardrailCheck) -> None:
        """Run a check. While the session ends, do nothing."""
        if self._lifetime.state in ("closing", "closed"):
            return
        scope = trio.CancelScope()
        self._scopes.setdefault(check.subject, []).append(scope)
        self._lifetime.start_tool(partial(self._work, check, scope))

    def cancel(self, subject: str) -> None:
        """Cancel the other checks of a response or input, once there is a verdict."""
        for scope in self._scopes.get(subject, ()):
            scope.cancel()

    async def _work(self, check: GuardrailCheck, scope: trio.CancelScope) -> None:
        began_at = trio.current_time()
        results: list[Result | None] = [None] * len(check.guardrails)
        failures: list[Result | None] = [None] * len(check.guardrails)
        ending: list[BaseException] = []

        async def judge(index: int, guardrail: OutputGuardrail[Any] | InputGuardrail[Any]) -> None:
            context = RunContext(self._info.context.context, self._driver.core.usage)
            try:
                # Not `fail_after`: a guardrail may raise a TooSlowError of its own, and then it has failed.
                with trio.move_on_after(self._timeout_s):
                    results[index] = await guardrail.run(context, check.agent, check.text, thread_limiter=self._threads)
                if results[index] is None:
                    fail(index, f"took longer than {self._timeout_s:g} s", trio.TooSlowError())
            except Exception as error:  # noqa: BLE001  (a guardrail's failure is an event to the app)
                fail(index, f"failed: {type(error).__name__}: {text_of(error)}", error)
            except trio.Cancelled:
                raise
            except BaseException as error:  # noqa: BLE001  (a Ctrl-C: raised below, without the nurseries' groups)
                ending.append(error)
                watching.cancel_scope.cancel()

        def fail(index: int, what: str, cause: Exception | None) -> None:
            if failures[index] is None:
                failures[index] = self._failure(check, check.guardrails[index], what, cause)

        def report(*, overdue: bool) -> None:
            tripped = tuple(each for each in results if each is not None and each.output.tripwire_triggered)
            failed = tuple(each for each in failures if each is not None)
            self._driver.do(
                self._driver.core.report_check,
                check.serial,
                tripped=tripped,
                failed=failed,
                overdue=overdue,
                began_at=began_at,
            )

        async def watch() -> None:
            await trio.sleep(self._timeout_s + _GRACE_S)
            for index, result in enumerate(results):
                if result is None:
                    fail(index, f"took longer than {self._timeout_s:g} s, and its thread cannot be stopped", None)
            report(overdue=True)

        try:
            with scope:
                async with trio.open_nursery() as watching:
                    watching.start_soon(watch)
                    async with trio.open_nursery() as nursery:
                        for index, guardrail in enumerate(check.guardrails):
                            nursery.start_soon(judge, index, guardrail)
                    watching.cancel_scope.cancel()
        finally:
            scopes = self._scopes[check.subject]
            scopes.remove(scope)
            if not scopes:
                del self._scopes[check.subject]
        if ending:
            raise ending[0]
        if not scope.cancel_called:
            report(overdue=False)

    def _failure(
        self,
        check: GuardrailCheck,
        guardrail: OutputGuardrail[Any] | InputGuardrail[Any],
        what: str,
        cause: Exception | None,
    ) -> Result:
        """Emit the failure, and return it as a result that has tripped, for where it counts as one."""
        name = guardrail.get_name()
        failure = GuardrailFailed(f"guardrail {name} {what}", guardrail_name=name)
        failure.__cause__ = cause
        said = check.which == "output"
        self._failures.report(
            "guardrail",
            failure,
            summary=f"guardrail {name} {'took too long' if cause is None else f'failed: {type(cause).__name__}'}",
            agent=check.agent.name,
            response_id=check.subject if said else None,
            item_id=None if said else check.subject,
        )
        verdict = GuardrailFunctionOutput(failure, tripwire_triggered=True)
        if isinstance(guardrail, InputGuardrail):
            return InputGuardrailResult(guardrail=guardrail, user_input=check.text, agent=check.agent, output=verdict)
        return OutputGuardrailResult(guardrail=guardrail, agent_output=check.text, agent=check.agent, output=verdict)


def guardrail_policy(run: RealtimeRunConfig, agent: RealtimeAgent[Any]) -> GuardrailPolicy:
    """Return the settings of guardrails for the core."""
    settings = run.guardrails_settings
    return GuardrailPolicy(
        output=tuple(run.output_guardrails),
        input=tuple(run.input_guardrails),
        gates_turns=bool(run.input_guardrails or agent.input_guardrails),
        debounce_text_length=settings.debounce_text_length,
        hold_back=settings.hold_back,
        hold_back_s=settings.hold_back_s,
        on_failure=settings.on_failure,
        recovery=settings.recovery,
        input_recovery=settings.input_recovery,
    )


def check_transcription(
    policy: GuardrailPolicy, barge_in: BargeInPolicy, settings: SessionSettings | Mapping[str, object]
) -> None:
    """Raise `SettingsError` for settings without transcription, if a guardrail or barge-in needs the user's words."""
    audio = merge_settings(session_settings(settings)).audio
    if audio is not NOT_SET and audio.input is not NOT_SET and audio.input.transcription is None:
        _refuse_if_words_are_needed(policy, barge_in)


def check_transcribed(barge_in: BargeInPolicy, session: Mapping[str, object] | None) -> None:
    """Check a barge-in policy as `check_transcription` does, against the acknowledged settings `session`."""
    node: object = session
    for key in ("audio", "input", "transcription"):
        if not isinstance(node, Mapping) or key not in node:
            return  # some servers do not say
        node = node[key]
    if node is None:
        _refuse_if_words_are_needed(GuardrailPolicy(), barge_in)


def _refuse_if_words_are_needed(policy: GuardrailPolicy, barge_in: BargeInPolicy) -> None:
    if policy.gates_turns:
        who = "input guardrails check the words of the user"
    elif isinstance(barge_in, BargeIn) and barge_in.dismiss == "fillers":
        who = "barge_in knows fillers by the words of the user"
    else:
        return
    raise SettingsError([SettingsProblem("audio.input.transcription", None, f"a transcription, because {who}")])
