"""The log of what happens in a session: the few things that change its course at INFO, turns and interrupts at DEBUG.

Failures are not here but in `failures`. No record has words of people. Records that no handler takes cost nothing: a
session whose loggers are not enabled for INFO when it begins has no such log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from logging import DEBUG, INFO
from typing import Any, Final

import attrs

from trealtime._log import Log
from trealtime._session.driver import Driver
from trealtime._session.lifetime import CloseOutcome
from trealtime._value import Shown
from trealtime.events import RealtimeSessionEvent
from trealtime.terminal import printable

__all__ = ["SessionLog"]

_session = Log("trealtime.session")
_tools = Log("trealtime.tools")
_agents = Log("trealtime.agents")

_Text = Callable[[Any], str]


def _names(event: Any) -> str:
    return ", ".join(result.guardrail.get_name() for result in event.guardrail_results)


def _paths(event: Any) -> str:
    return ", ".join(difference.path for difference in event.differences)


def _why(reason: str | None) -> str:
    return f": {reason}" if reason else ""


_LINES: Final[Mapping[str, tuple[Log, int, _Text]]] = {
    # ---- what changes the course of a session
    "handoff": (_agents, INFO, lambda it: f"{it.from_agent.name} has handed over to {it.to_agent.name}"),
    "guardrail_tripped": (_agents, INFO, lambda it: f"guardrails tripped on {it.which}: {_names(it)}"),
    "connection_lost": (_session, INFO, lambda it: f"the connection is lost: {it.code}"),
    "reconnecting": (_session, INFO, lambda it: f"attempt {it.attempt} to connect again, in {it.delay_s:.2f} s"),
    "reconnected": (_session, INFO, lambda it: f"connected again after {it.outage_ms:.0f} ms"),
    "rollover_started": (_session, INFO, lambda it: "a second connection is opened before this one expires"),
    "rolled_over": (_session, INFO, lambda it: f"the second connection took over, gap {it.gap_ms:.0f} ms"),
    "limit_approached": (_session, INFO, lambda it: f"a limit is near: {it.limit}"),
    "limit_reached": (_session, INFO, lambda it: f"a limit is reached: {it.limit}"),
    "settings_mismatch": (_session, INFO, lambda it: f"the server uses other settings: {_paths(it)}"),
    "audio_dropped": (
        _session,
        INFO,
        lambda it: f"a consumer is too slow: {it.dropped_ms:.0f} ms of audio are dropped",
    ),
    "tool_approval_dropped": (_tools, INFO, lambda it: f"a call of {it.tool.name} is not asked about: {it.reason}"),
    # ---- details
    "tool_approval_required": (_tools, DEBUG, lambda it: f"a call of {it.tool.name} waits for approval"),
    "tool_start": (_tools, DEBUG, lambda it: f"tool {it.tool.name} begins"),
    "tool_end": (_tools, DEBUG, lambda it: f"tool {it.tool.name} has ended{_why(it.failure)}"),
    "agent_start": (_session, DEBUG, lambda it: f"{it.agent.name} begins a response"),
    "agent_end": (_session, DEBUG, lambda it: f"a response is {it.status}{_why(it.reason)}"),
    "speech_started": (_session, DEBUG, lambda it: f"the user begins to speak at {it.audio_start_ms} ms"),
    "speech_stopped": (_session, DEBUG, lambda it: f"the user has spoken until {it.audio_end_ms} ms"),
    "interruption_pending": (_session, DEBUG, lambda it: "it may be an interruption"),
    "interruption_confirmed": (_session, DEBUG, lambda it: "it is an interruption"),
    "interruption_dismissed": (_session, DEBUG, lambda it: f"it is no interruption: {it.reason}"),
    "audio_interrupted": (
        _session,
        DEBUG,
        lambda it: f"interrupted by {it.cause}, {it.heard_ms} ms were heard",
    ),
    "turn_ended": (_session, DEBUG, lambda it: repr(it.metrics)),
}
"""By the type of an event: its logger, its level, and its line. Others are in no log."""


@attrs.define(eq=False, repr=False)
class SessionLog(Shown):
    """The log of one session."""

    _driver: Driver
    _session_id: str

    @classmethod
    def begin(cls, driver: Driver, session_id: str) -> SessionLog | None:
        """Follow what the driver emits, if any of the loggers takes records at INFO."""
        if not any(logger.isEnabledFor(INFO) for logger in (_session, _tools, _agents)):
            return None
        log = cls(driver, session_id)
        driver.watchers = (*driver.watchers, log.note)
        return log

    def note(self, event: RealtimeSessionEvent) -> None:
        """Log an event."""
        found = _LINES.get(event.type)
        if found is None:
            return
        logger, level, text = found
        if logger.isEnabledFor(level):
            response_id, call_id = getattr(event, "response_id", None), getattr(event, "call_id", None)
            logger.log(level, "%s", printable(text(event)), extra=self._fields(response_id, call_id or None))

    def opened(self) -> None:
        """Note that the session is ready."""
        core = self._driver.core
        line = f"a session with {core.agent.name} is open, model {core.model or 'unknown'}"
        _session.info("%s", line, extra=self._fields())

    def ended(self, outcome: CloseOutcome | None) -> None:
        """Note how the session has ended."""
        if outcome is not None:
            line = f"the session is over: closed by the {outcome.closed_by} with code {outcome.code}"
            _session.info("%s", line, extra=self._fields())

    def _fields(self, response_id: str | None = None, call_id: str | None = None) -> dict[str, str | None]:
        agent = self._driver.core.agent.name
        return {"session_id": self._session_id, "response_id": response_id, "call_id": call_id, "agent": agent}
