"""Effects: what the core wants done. Tasks carry them out and decide nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from trealtime.conversation.events import RealtimeSessionEvent, ResponseStatus
from trealtime.conversation.playback import PlaybackChange

if TYPE_CHECKING:
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.agents.guardrails import InputGuardrail, OutputGuardrail
    from trealtime.agents.tools import FunctionTool
    from trealtime.conversation.handoffs import AgentSwitch

__all__ = ["Effects", "FunctionCall", "GuardrailCheck", "Outgoing", "ResponseResult", "Settled", "Usage"]


@attrs.frozen
class Outgoing:
    """One client event to send, JSON-ready, with its lane: `urgent` ones overtake whatever waits in the outbox."""

    event: Mapping[str, Any]
    urgent: bool = False


@attrs.frozen
class FunctionCall:
    """The model called a function: run it and answer with `SendToolOutput`.

    `agent` and `tool` are those at the moment of the call; `tool` None: there is none of that name among the `known`.
    """

    call_id: str
    name: str
    arguments: str
    item_id: str
    response_id: str
    agent: RealtimeAgent[Any]
    tool: FunctionTool | None = None
    known: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class GuardrailCheck:
    """Run these guardrails on `text` and answer with `ReportCheck`; `agent` is whom they are told of.

    `subject` is the response, or the input of the user's, that is checked: what `Effects.cancel_checks` names.
    """

    serial: int
    subject: str
    which: Literal["output", "input"]
    text: str
    agent: RealtimeAgent[Any]
    guardrails: tuple[OutputGuardrail[Any] | InputGuardrail[Any], ...]


@attrs.frozen
class Usage:
    """Token counts, of one response or summed over a session. Details may be absent: None is not 0."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_token_details: Mapping[str, Any] | None = None
    output_token_details: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class ResponseResult:
    """How a response ended. `error` says why a request got no response at all (then `response_id` is None)."""

    response_id: str | None
    status: ResponseStatus
    reason: str | None = None
    usage: Usage | None = None
    metadata: Mapping[str, str] | None = None
    output: tuple[Mapping[str, Any], ...] = ()
    error: Exception | None = None


@attrs.frozen
class Settled:
    """The answer to a ticket: a value or an error."""

    ticket: str
    value: Any = None
    error: Exception | None = None


@attrs.define
class Effects:
    """Everything that follows from one event or command; apply it in one synchronous step.

    Order: first throw away queued audio of the responses in `purge`, then change how is played (`playback`), note who is in charge (`switched`), queue
    `emit` for the feeds, queue `send` for the writer, settle tickets, start `calls`, cancel `cancel_calls`,
    cancel `cancel_checks`, start `checks`.
    """

    purge: list[str] = attrs.Factory(list)
    """Response ids whose queued audio must not reach the app."""

    playback: PlaybackChange | None = None
    """Whoever plays goes on like this."""

    switched: list[AgentSwitch] = attrs.Factory(list)
    """Another agent is in charge: what is offered to the model is what this one offers."""

    emit: list[RealtimeSessionEvent] = attrs.Factory(list)
    send: list[Outgoing] = attrs.Factory(list)
    settled: list[Settled] = attrs.Factory(list)
    started: list[tuple[str, str]] = attrs.Factory(list)
    """(ticket, response_id): the request of that ticket has got its response (for feeds that follow one response).
    A ticket may get a second response when the first called functions: then its feed goes on with it."""

    calls: list[FunctionCall] = attrs.Factory(list)
    cancel_calls: list[str] = attrs.Factory(list)
    checks: list[GuardrailCheck] = attrs.Factory(list)
    cancel_checks: list[str] = attrs.Factory(list)
    """Subjects whose checks are not wanted any more; they need not report."""

    playback_reset: bool = False
    """An interrupt has stopped what was playing: whatever tracks playback starts afresh."""

    def __bool__(self) -> bool:
        return bool(
            self.purge
            or self.playback
            or self.switched
            or self.emit
            or self.send
            or self.settled
            or self.started
            or self.calls
            or self.cancel_calls
            or self.checks
            or self.cancel_checks
            or self.playback_reset
        )
