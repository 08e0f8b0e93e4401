"""Effects: what the core wants done. Tasks carry them out and decide nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from trealtime._core.arguments import parsed_arguments
from trealtime._core.playback import PlaybackChange
from trealtime.events import LimitUse, RealtimeSessionEvent, ResponseStatus
from trealtime.usage import Usage

if TYPE_CHECKING:
    from trealtime._core.handoffs import AgentSwitch
    from trealtime.agents.agent import RealtimeAgent
    from trealtime.agents.guardrails import InputGuardrail, OutputGuardrail
    from trealtime.mcp.hosted import HostedTool
    from trealtime.tools.context import RunContext
    from trealtime.tools.function_tool import FunctionTool

__all__ = [
    "ApprovalRequest",
    "Effects",
    "FunctionCall",
    "GuardrailCheck",
    "Outgoing",
    "Refusal",
    "ResponseResult",
    "Settled",
]


@attrs.frozen
class Outgoing:
    """One client event to send, JSON-ready, with its lane: `urgent` ones overtake whatever waits in the send_queue."""

    event: Mapping[str, Any]
    urgent: bool = False


@attrs.frozen(kw_only=True)
class Refusal:
    """Why a call is not made, for the model; a `final` message is said as it is."""

    kind: Literal["approval_rejected", "cancelled"]
    message: str
    final: bool = False


@attrs.frozen
class FunctionCall:
    """The model called a function: run it and answer with `SendToolOutput`.

    `agent` and `tool` are those at the moment of the call; `tool` None: there is none of that name among the `known`.
    Where it is neither `cleared` nor has a `refusal`, find out first whether it needs approval: the answer to
    `ReportNeed` is the same call once more, now or when it has been decided.
    """

    call_id: str
    name: str
    arguments: str
    item_id: str
    response_id: str
    agent: RealtimeAgent[Any]
    tool: FunctionTool | None = None
    known: tuple[str, ...] = ()
    cleared: bool = False
    """It may run: nobody is to be asked any more."""

    refusal: Refusal | None = None
    """It does not run: tell the model why."""


@attrs.frozen(kw_only=True, eq=False)
class ApprovalRequest:
    """A call that waits for a yes or a no: what `session.pending_approvals` lists and an ``approval_handler`` gets.

    `agent` and `tool` are those at the moment of the call. `arguments` is the JSON text as the model wrote it,
    `parsed_arguments` what it says. `expires_at`, in the time of `trio.current_time`, is when it is given up; None:
    never.
    """

    agent: RealtimeAgent[Any]
    tool: FunctionTool | HostedTool
    call_id: str
    arguments: str
    context: RunContext[Any]
    expires_at: float | None = None

    @property
    def parsed_arguments(self) -> Mapping[str, Any] | None:
        """The arguments; None where the text is not a JSON object."""
        return parsed_arguments(self.arguments)


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
    """The answer to a reply_id: a value or an error."""

    reply_id: str
    value: Any = None
    error: Exception | None = None


@attrs.define
class Effects:
    """Everything that follows from one event or command; apply it in one synchronous step.

    Order: first throw away queued audio of the responses in `purge`, then change how is played (`playback`), note who
    is in charge (`switched`), queue `emit` for the subscriptions, queue `send` for the writer, settle reply_ids, start `calls`,
    cancel `cancel_calls`, cancel `cancel_checks`, start `checks`, cancel what asks about the `withdrawn`, begin to ask
    about the `asks`, end the session at its `limit`.
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
    """(reply_id, response_id): the request of that reply_id has got its response (for subscriptions that follow one response).
    A reply_id may get a second response when the first called functions: then its subscription goes on with it."""

    calls: list[FunctionCall] = attrs.Factory(list)
    cancel_calls: list[str] = attrs.Factory(list)
    checks: list[GuardrailCheck] = attrs.Factory(list)
    cancel_checks: list[str] = attrs.Factory(list)
    """Subjects whose checks are not wanted any more; they need not report."""

    asks: list[ApprovalRequest] = attrs.Factory(list)
    """Calls that wait for a decision now."""

    withdrawn: list[str] = attrs.Factory(list)
    """Call ids of those that do not any more."""

    playback_reset: bool = False
    """An interrupt has stopped what was playing: whatever tracks playback starts afresh."""

    limit: LimitUse | None = None
    """A limit is reached: end the session when the answer that is being made has been heard (`limits`, rule 3)."""

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
            or self.asks
            or self.withdrawn
            or self.playback_reset
            or self.limit
        )
