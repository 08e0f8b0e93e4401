"""Effects: the core's orders, as values in the imperative, and the values that they carry.

Every input of the `Conversation` returns a list of effects in the order in which they have to be carried out, whole and
in one synchronous step, before the core takes its next input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs
import msgspec

from trealtime._core.playback_ledger import PlaybackChange
from trealtime._value import Shown, Struct, Value
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
    "AskApproval",
    "BeginAnew",
    "CancelChecks",
    "CancelTool",
    "ChangePlayback",
    "Dial",
    "DropConnection",
    "DropSuccessor",
    "Effect",
    "Emit",
    "EndAtLimit",
    "FollowResponse",
    "FunctionCall",
    "GiveUp",
    "GuardrailCheck",
    "MakeLate",
    "OpenSuccessor",
    "PurgeAudio",
    "Refusal",
    "ResetPlayback",
    "ResponseResult",
    "Send",
    "SendAhead",
    "SendAudio",
    "Settle",
    "StartCheck",
    "StartTool",
    "SwitchAgent",
    "SwitchConnection",
    "WithdrawApproval",
    "parsed_arguments",
]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Refusal(Value):
    """The reason not to make a call, for the model; a `final` message is sent as it is."""

    kind: Literal["approval_rejected", "cancelled"]
    message: str
    final: bool = False


@attrs.frozen(eq=False, repr=False)
class FunctionCall(Value):
    """A call of a function by the model; it is answered with `Conversation.send_tool_output`.

    `agent` and `tool` are those at the moment of the call; `tool` is None where the `known` ones have no such name.
    A call that is neither `cleared` nor has a `refusal` may need approval. If it does, `Conversation.request_approval`
    parks it, and it comes back cleared or refused when it has been decided.
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
    """It has been approved."""

    refusal: Refusal | None = None
    """It must not run: tell the model why."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ApprovalRequest(Shown):
    """A call that waits for a yes or a no: what `session.pending_approvals` lists and an ``approval_handler`` gets.

    `agent` and `tool` are those at the moment of the call. `arguments` is the JSON text as the model wrote it,
    `parsed_arguments` what it says. `expires_at`, in the time of `trio.current_time`, is when it is given up; None:
    never. `response_id` is the response that made the call, None for a call that the server runs.
    """

    agent: RealtimeAgent[Any]
    tool: FunctionTool | HostedTool
    call_id: str
    arguments: str
    context: RunContext[Any]
    expires_at: float | None = None
    response_id: str | None = None

    @property
    def parsed_arguments(self) -> Mapping[str, Any] | None:
        """The arguments; None where the text is not a JSON object."""
        return parsed_arguments(self.arguments)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GuardrailCheck(Value):
    """A text to run guardrails on; `agent` is passed to them.

    `subject` is the id of the response, or of the user's input, that is checked; `CancelChecks` names it.
    """

    serial: int
    subject: str
    which: Literal["output", "input"]
    text: str
    agent: RealtimeAgent[Any]
    guardrails: tuple[OutputGuardrail[Any] | InputGuardrail[Any], ...]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseResult(Value):
    """How a response ended. `error` says why a request got no response at all (then `response_id` is None)."""

    response_id: str | None
    status: ResponseStatus
    reason: str | None = None
    usage: Usage | None = None
    metadata: Mapping[str, str] | None = None
    output: tuple[Mapping[str, Any], ...] = ()
    error: Exception | None = None
    said_items: tuple[str, ...] = ()
    """The items of the user that it answers, for a caller who listens."""
    reconnected: bool = False
    """Whether the connection was lost while it was asked for or made, and another one has brought the end of it."""


# ---- the effects ----------------------------------------------------------------------------------------------------


class _Effect(Struct, frozen=True):
    """Structs, because several are made for each event of a server: msgspec makes one in a fifth of the time that attrs
    takes, and imports their classes in a tenth."""


class Emit(_Effect, frozen=True):
    """Queue this event for every subscription."""

    event: RealtimeSessionEvent


class Send(_Effect, frozen=True):
    """Send this client event (JSON-ready). An `urgent` one overtakes all that waits in the send queue."""

    event: Mapping[str, Any]
    urgent: bool = False


class SendAudio(_Effect, frozen=True):
    """Send this audio of the user, in the input format."""

    data: bytes


class PurgeAudio(_Effect, frozen=True):
    """Throw away all audio of this response that is still queued: the app must not get it any more."""

    response_id: str


class ChangePlayback(_Effect, frozen=True):
    """Have the endpoint that plays go on like this."""

    change: PlaybackChange


class ResetPlayback(_Effect, frozen=True):
    """Tell the playback tracker that an interrupt has stopped what was playing."""


class FollowResponse(_Effect, frozen=True):
    """Let the subscription that belongs to `reply_id` have the events of this response too.

    It comes before the first event of the response. A reply gets a second response when the first called functions.
    """

    reply_id: str
    response_id: str


class BeginAnew(_Effect, frozen=True):
    """Forget all responses that belong to `reply_id`: they count for nothing, and others will come."""

    reply_id: str


class SwitchAgent(_Effect, frozen=True):
    """Offer the model what the new agent offers: it is in charge now."""

    switch: AgentSwitch


class Settle(_Effect, frozen=True):
    """Answer the caller who waits under `reply_id`, with a value or an error. Each reply is settled once."""

    reply_id: str
    value: Any = None
    error: Exception | None = None


class MakeLate(_Effect, frozen=True):
    """The update of `reply_id` was settled as not acknowledged in time, and the server has made it all the same: note
    what it changes."""

    reply_id: str


class StartTool(_Effect, frozen=True):
    """Run this function call."""

    call: FunctionCall


class CancelTool(_Effect, frozen=True):
    """Stop this function call, if it runs."""

    call_id: str


class StartCheck(_Effect, frozen=True):
    """Run these guardrails, and report with `Conversation.report_check`."""

    check: GuardrailCheck


class CancelChecks(_Effect, frozen=True):
    """Stop the checks of this response or input; they need not report."""

    subject: str


class AskApproval(_Effect, frozen=True):
    """Ask whether this call may be made, and answer with `Conversation.decide_approval`."""

    request: ApprovalRequest


class WithdrawApproval(_Effect, frozen=True):
    """Stop asking about this call."""

    call_id: str


class EndAtLimit(_Effect, frozen=True):
    """End the session once the current answer has been heard: this limit is reached."""

    limit: LimitUse


class Dial(_Effect, frozen=True):
    """Wait for `delay_s`, then open another connection in place of the one that is lost; give up at the time `until`.
    Report with `Conversation.connected` or `Conversation.dial_failed`."""

    attempt: int
    delay_s: float
    until: float


class DropConnection(_Effect, frozen=True):
    """Drop the connection, for this reason, and report its end."""

    reason: str


class OpenSuccessor(_Effect, frozen=True):
    """Wait for `delay_s`, then open a second connection beside the first; give up at the time `until`. Report with
    `Conversation.successor_connected` or `Conversation.successor_failed`, and what it sends with
    `Conversation.receive_ahead`."""

    delay_s: float
    until: float


class SendAhead(_Effect, frozen=True):
    """Send this client event on the second connection."""

    event: Mapping[str, Any]


class SwitchConnection(_Effect, frozen=True):
    """The second connection takes over: drop what waits to be sent on the first, and close that."""


class DropSuccessor(_Effect, frozen=True):
    """Drop the second connection."""


class GiveUp(_Effect, frozen=True):
    """End the session: its connection is lost, and these attempts to replace it have failed."""

    attempts: tuple[str, ...]


Effect = (
    Emit
    | Send
    | SendAudio
    | PurgeAudio
    | ChangePlayback
    | ResetPlayback
    | FollowResponse
    | BeginAnew
    | SwitchAgent
    | Settle
    | MakeLate
    | StartTool
    | CancelTool
    | StartCheck
    | CancelChecks
    | AskApproval
    | WithdrawApproval
    | EndAtLimit
    | Dial
    | DropConnection
    | OpenSuccessor
    | SendAhead
    | SwitchConnection
    | DropSuccessor
    | GiveUp
)
"""All effects there are. `trealtime._session.driver` carries them out."""


def parsed_arguments(text: str) -> dict[str, Any] | None:
    """Parse the JSON text; None where it is not a JSON object. NaN and Infinity are not JSON."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
