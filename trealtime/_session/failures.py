"""Failures of a session: each is logged, counted, and told in an ``error`` event.

Theory of operation
1. `Failures.report` takes the failure of a callable of the app's: it logs it with its traceback, counts it, and emits
   the event. `Failures.note` sees the ``error`` events that the core emits by itself, and logs and counts those.
2. Loggers are named by room, have no handler, and log failures alone above INFO. So Python's handler of last resort
   prints them where the app has configured nothing.
3. A log has no words of people and no keys: a line is made of our own words, the names that the app gave, the types of
   exceptions and the server's codes. The texts of exceptions and of the server's errors may hold such words, so they
   are withheld, in tracebacks too, unless the run config's `log_content` is set.
4. A playback tracker may fail at every question. Each of its failures counts; those of one kind are told once.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Final, Literal, TypedDict

import attrs

from trealtime._core.ids import Recent
from trealtime._log import Log
from trealtime._secrets import said, stand_in, withheld, without_keys
from trealtime._value import Shown
from trealtime.errors import (
    GuardrailFailed,
    MCPServerFailed,
    ProtocolError,
    RequestTimedOut,
    ServerRefused,
    StuckDeadline,
    ToolFailed,
    ToolRoundsExceeded,
)
from trealtime.events import EventInfo, RealtimeError, ServerErrorInfo
from trealtime.metrics import FailureCounters
from trealtime.terminal import printable

if TYPE_CHECKING:
    from trealtime._core.effects import FunctionCall
    from trealtime._session.driver import Driver

__all__ = ["FailureSource", "Failures", "place_of"]

FailureSource = Literal[
    "tool",
    "handoff",
    "approval_handler",
    "guardrail",
    "hook",
    "endpoint",
    "playback_tracker",
    "mcp_server",
    "recording",
    "response",
    "server",
    "connection",
    "deadline",
]
"""The parts of a session that can fail."""

_LOGGERS: Final[dict[FailureSource, Log]] = {
    "tool": Log("trealtime.tools"),
    "approval_handler": Log("trealtime.tools"),
    "handoff": Log("trealtime.agents"),
    "guardrail": Log("trealtime.agents"),
    "hook": Log("trealtime.agents"),
    "endpoint": Log("trealtime.endpoints"),
    "playback_tracker": Log("trealtime.endpoints"),
    "mcp_server": Log("trealtime.mcp"),
    "recording": Log("trealtime.recording"),
    "response": Log("trealtime.session"),
    "server": Log("trealtime.session"),
    "connection": Log("trealtime.session"),
    "deadline": Log("trealtime.session"),
}

_UNPLACED: Final = 64
"""The number of failures that are kept for turns to come, of those that belong to no response."""

_FIELDS: Final[dict[FailureSource, str]] = {"server": "server"}
"""Fields of the counters that are not the plural of their source."""


class Place(TypedDict):
    """Where a call belongs, as arguments of `Failures.report`."""

    agent: str
    call_id: str
    response_id: str


def place_of(call: FunctionCall) -> Place:
    """Return where `call` belongs."""
    return {"agent": call.agent.name, "call_id": call.call_id, "response_id": call.response_id}


@attrs.define(eq=False, repr=False)
class Failures(Shown):
    """The failures of one session."""

    _info: EventInfo
    log_content: bool = attrs.field(kw_only=True)
    """Whether the log has the texts of exceptions."""

    _driver: Driver = attrs.field(init=False)
    session_id: str | None = attrs.field(default=None, init=False)
    _counts: dict[FailureSource, int] = attrs.field(factory=dict, init=False)
    _about: Recent[str, list[Exception]] = attrs.field(factory=Recent, init=False)
    """By the id of an item, the failures that concern it and no response."""

    _unplaced: list[tuple[int, Exception]] = attrs.field(factory=list, init=False)
    """The newest failures of an endpoint, a tracker or a hook, which belong to no response, with their numbers."""

    _last: int = attrs.field(default=0, init=False)
    _told: frozenset[tuple[FailureSource, str, str]] = attrs.field(default=frozenset(), init=False)
    _reported: RealtimeError | None = attrs.field(default=None, init=False)
    """The event that is being emitted for a failure which is logged and counted."""

    def attend(self, driver: Driver) -> None:
        """Emit events through this driver: it comes into being after the core, and the core after the tracker."""
        self._driver = driver

    def report(
        self,
        source: FailureSource,
        failure: Exception,
        *,
        summary: str,
        agent: str | None = None,
        call_id: str | None = None,
        response_id: str | None = None,
        item_id: str | None = None,
        raised: bool = True,
    ) -> None:
        """Log `failure`, count it, and emit its event.

        `summary` is the line for the log, without words of people. `raised` False: no code has failed, so there is no
        traceback and the level is WARNING.
        """
        self._counts[source] = self._counts.get(source, 0) + 1
        cause = failure.__cause__ or failure
        self._log(
            source,
            summary,
            failure,
            level=logging.ERROR if raised else logging.WARNING,
            cause=cause if raised else None,
            agent=agent,
            call_id=call_id,
            response_id=response_id,
        )
        self._last += 1
        if source in ("endpoint", "playback_tracker", "hook"):
            self._unplaced.append((self._last, failure))
            del self._unplaced[:-_UNPLACED]
        if item_id is not None and response_id is None:
            self._about[item_id] = [*self._about.get(item_id, ()), failure]
        self._reported = RealtimeError(error=failure, info=self._info, response_id=response_id)
        self._driver.emit(self._reported)

    def warn(self, source: FailureSource, failure: Exception, *, summary: str) -> None:
        """Log `failure`, which the session makes good by itself: it is not counted, and has no event."""
        self._log(source, summary, failure, level=logging.WARNING, cause=None)

    def report_once(self, source: FailureSource, failure: Exception, *, summary: str, subject: str) -> None:
        """Count `failure`; report it as `report` does unless one of its type has been reported of `subject`."""
        kind = (source, subject, type(failure.__cause__ or failure).__qualname__)
        if kind in self._told:
            self._counts[source] = self._counts.get(source, 0) + 1
        else:
            self._told |= {kind}
            self.report(source, failure, summary=summary)

    def note(self, event: RealtimeError) -> None:
        """Log and count an ``error`` event of the core's."""
        if event is self._reported:
            return
        source, level = _source_of(event)
        self._counts[source] = self._counts.get(source, 0) + 1
        if source == "recording":  # it has logged that by itself, with its traceback
            return
        error = event.error
        trouble = error if isinstance(error, Exception) and (error.__cause__ or error.__traceback__) else None
        self._log(
            source,
            _summary_of(event),
            error,
            level=level,
            cause=trouble,
            call_id=getattr(error, "call_id", None),
            response_id=event.response_id,
        )

    def about(self, item_ids: Collection[str]) -> tuple[Exception, ...]:
        """Return the failures that concern these items and no response."""
        return tuple(failure for item_id in item_ids for failure in self._about.get(item_id, ()))

    def mark(self) -> int:
        """Return a mark, for `since`."""
        return self._last

    def since(self, mark: int) -> tuple[Exception, ...]:
        """Return the failures of endpoints, the tracker and hooks after `mark`."""
        return tuple(failure for number, failure in self._unplaced if number > mark)

    def counters(self) -> FailureCounters:
        """Return the counts so far."""
        return FailureCounters(**{_FIELDS.get(source, f"{source}s"): n for source, n in self._counts.items()})

    def _log(
        self,
        source: FailureSource,
        summary: str,
        error: ServerErrorInfo | Exception,
        *,
        level: int,
        cause: Exception | BaseException | None,
        agent: str | None = None,
        call_id: str | None = None,
        response_id: str | None = None,
    ) -> None:
        logger = _LOGGERS[source]
        if not logger.isEnabledFor(level):
            return
        text = summary
        if self.log_content:
            words = error.message if isinstance(error, ServerErrorInfo) else str(error)
            text = f"{summary} ({without_keys(words)})" if words and words != summary else summary
        if cause is not None:
            cause = stand_in(cause, text_of=said if self.log_content else withheld)
        fields = {
            "session_id": self.session_id,
            "response_id": response_id,
            "call_id": call_id or None,
            "agent": agent if agent is not None else self._driver.core.agent.name,
            "failure": source,
            "error_type": type(error.__cause__ or error).__qualname__
            if isinstance(error, Exception)
            else error.code or error.type,
        }
        logger.log(level, "%s", printable(text), exc_info=cause, extra=fields, stacklevel=3)


def _source_of(event: RealtimeError) -> tuple[FailureSource, int]:
    """Return where an error of the core's belongs, and its level."""
    match event.error:
        case ServerErrorInfo(type="recording_error"):
            return "recording", logging.ERROR
        case ServerErrorInfo() as error:
            if event.response_id is not None:
                return "response", logging.ERROR
            return "server", logging.ERROR if error.fatal else logging.WARNING
        case RequestTimedOut() | ServerRefused() as error:
            if error.request == "response.create":
                return "response", logging.ERROR
            return "server", logging.WARNING
        case ToolRoundsExceeded():
            return "response", logging.ERROR
        case ToolFailed():
            return "tool", logging.WARNING
        case GuardrailFailed():
            return "guardrail", logging.ERROR
        case MCPServerFailed():
            return "mcp_server", logging.ERROR
        case ProtocolError():
            return "server", logging.WARNING
        case StuckDeadline():
            return "deadline", logging.ERROR
        case _:
            return "response", logging.ERROR


def _summary_of(event: RealtimeError) -> str:
    """Return a line about an error of the core's that quotes nobody."""
    match event.error:
        case ServerErrorInfo() as error:
            about = f" about {error.request}" if error.request else ""
            code = error.code or error.type or "no code"
            where = f" at {error.param}" if error.param else ""
            what = "a response failed" if event.response_id is not None else f"the server sent an error{about}"
            return f"{what}: {code}{where}{', the session cannot go on' if error.fatal else ''}"
        case RequestTimedOut() as error:
            return str(error)
        case ServerRefused() as error:
            where = f" at {error.param}" if error.param else ""
            return f"the server refused {error.request or 'a request'}: {error.code or error.type or 'no code'}{where}"
        case ToolRoundsExceeded() | GuardrailFailed() | StuckDeadline() as error:  # the core's own words, and names
            return str(error)
        case MCPServerFailed() as error:
            return f"the MCP server {error.server_name} failed"
        case ToolFailed():
            return "a call of a tool was not made"
        case ProtocolError():
            return "a message of the server cannot be used"
        case error:
            return f"a response did not come to be: {type(error).__name__}"
