"""Commands: what the app asks of the conversation, in the imperative.

A command is a value; `Conversation.command(command, now)` turns it into `Effects`. A `reply_id` names a caller who waits
for the server's answer: the core settles each reply_id exactly once, at the latest when the connection ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from trealtime._core.barge_in import BargeInPolicy
    from trealtime._core.handoffs import AgentSwitch
    from trealtime.agents.guardrails import InputGuardrailResult, OutputGuardrailResult
    from trealtime.tools.function_tool import FunctionTool

__all__ = [
    "BeginUninterruptible",
    "CancelResponse",
    "ClearAudio",
    "CollectAudio",
    "Command",
    "CommitAudio",
    "CreateItem",
    "CreateResponse",
    "DecideApproval",
    "DeleteItem",
    "Disconnect",
    "EndUninterruptible",
    "Interrupt",
    "OpenSession",
    "ReportCheck",
    "ReportHeard",
    "ReportNeed",
    "RetrieveItem",
    "SendRaw",
    "SendToolOutput",
    "Shed",
    "SwitchAgent",
    "TruncateItem",
    "UpdateSession",
    "UseBargeIn",
    "UseTools",
]


@attrs.frozen
class OpenSession:
    """Send the first ``session.update``. `reply_id` is settled once ``session.created`` has come *and* the update has
    been acknowledged (value: the acknowledged session mapping) or refused. `session` None (only attach): no update is
    sent."""

    session: Mapping[str, Any] | None
    reply_id: str


@attrs.frozen
class UpdateSession:
    """Send a ``session.update``; settled with the acknowledged session mapping. `offer`: what the model may call from
    then on, where that changes."""

    session: Mapping[str, Any]
    reply_id: str | None = None
    offer: UseTools | None = None


@attrs.frozen
class SwitchAgent:
    """Put another agent in charge once the server has acknowledged `session`, at once where there is nothing to send
    (None). Settled with the acknowledged session mapping; refused, the agent stays. So it does when the handoff comes
    too late, which the model then reads."""

    switch: AgentSwitch
    session: Mapping[str, Any] | None
    reply_id: str | None = None


@attrs.frozen
class CreateItem:
    """Add `item` (wire shape, with its own ``id``) after `previous_item_id` (None: at the end; ``"root"``: first).

    `said`: the user says it now, so input guardrails check its text before anything answers it.
    """

    item: Mapping[str, Any]
    previous_item_id: str | None = None
    reply_id: str | None = None
    said: bool = False


@attrs.frozen
class DeleteItem:
    item_id: str
    reply_id: str | None = None


@attrs.frozen
class RetrieveItem:
    """Fetch an item with its audio; settled with the `RealtimeItem`."""

    item_id: str
    reply_id: str | None = None


@attrs.frozen
class TruncateItem:
    """Cut an assistant audio item; `audio_end_ms` is clamped to what was received of it when that is still known."""

    item_id: str
    content_index: int
    audio_end_ms: int
    reply_id: str | None = None


@attrs.frozen
class CommitAudio:
    """Make an item of the input audio buffer; creates no response."""


@attrs.frozen
class ClearAudio:
    """Throw the input audio buffer away."""


@attrs.frozen
class CollectAudio:
    """Whoever holds this reply_id gives the audio to nobody before the whole turn is there."""

    reply_id: str


@attrs.frozen
class CreateResponse:
    """Ask for an answer.

    `params` is the ``response`` object of the wire (None: session defaults). `automatic` requests (an answer to a
    message or to tool outputs) that wait together become one ``response.create``; others keep to themselves and in
    order. With ``params["conversation"] == "none"`` the request does not wait for anything. `reply_id` is settled with
    a `ResponseResult` when the response is done. `tools` are those of `params`, as they can be run.
    """

    params: Mapping[str, Any] | None = None
    automatic: bool = False
    reply_id: str | None = None
    event_id: str | None = None
    tools: Sequence[FunctionTool | Mapping[str, Any]] = ()


@attrs.frozen
class CancelResponse:
    """Cancel a response and stop its audio: the one named, else the one in the default conversation, if any."""

    response_id: str | None = None


@attrs.frozen
class Interrupt:
    """Stop what is being said (design: the interrupt). `reply_id` narrows it to the response of that `CreateResponse`."""

    cause: Literal["speech", "app", "guardrail"] = "app"
    response_id: str | None = None
    reply_id: str | None = None


@attrs.frozen
class BeginUninterruptible:
    """From now on speech interrupts nothing; as often as it began it has to end."""


@attrs.frozen
class EndUninterruptible:
    """What the user is saying since `BeginUninterruptible` is taken up now, if it still goes on."""


@attrs.frozen
class UseBargeIn:
    """Speech interrupts by this policy from now on; None: by the one that the conversation began with."""

    policy: BargeInPolicy | None


@attrs.frozen
class SendRaw:
    """Send a client event as it is (an ``event_id`` is added when absent); a ``response.create`` goes through the
    gate."""

    event: Mapping[str, Any]


@attrs.frozen
class SendToolOutput:
    """Give the server the output of a function call; for one that has its output already, or that nobody knows, nothing
    happens.

    `respond` says whether an answer is asked for once all calls of that response have their outputs; None leaves it to
    the rules (`tool_calls`), which want to know whether the output has `nothing_to_tell`.
    """

    call_id: str
    output: str
    respond: bool | None = None
    nothing_to_tell: bool = False


@attrs.frozen
class ReportNeed:
    """It is known whether a `FunctionCall` needs approval."""

    call_id: str
    needed: bool = attrs.field(kw_only=True)


@attrs.frozen(kw_only=True)
class DecideApproval:
    """Approve or reject a call that waits for it, with `always` later calls of the tool too; for one that does not
    wait nothing happens. `message` is what the model reads of a rejection."""

    call_id: str
    approve: bool
    always: bool = False
    message: str | None = None


@attrs.frozen
class UseTools:
    """The model has been told of these tools and of no others; a mapping declares one that the app runs by itself.
    `handoffs` are the names of functions that hand over."""

    tools: Sequence[FunctionTool | Mapping[str, Any]]
    handoffs: Collection[str] = ()


@attrs.frozen
class ReportCheck:
    """A `GuardrailCheck` is done: the results that tripped, none when it passed, and those of guardrails that `failed`.

    `overdue`: some have not answered in time; when they do, the check reports once more.
    """

    serial: int
    tripped: tuple[OutputGuardrailResult | InputGuardrailResult, ...] = ()
    failed: tuple[OutputGuardrailResult | InputGuardrailResult, ...] = ()
    overdue: bool = False


@attrs.frozen
class Shed:
    """A subscription dropped audio up to `end_ms` of a content part before anybody took it: it will not be heard."""

    item_id: str
    content_index: int
    end_ms: float


@attrs.frozen
class ReportHeard:
    """An endpoint knows that a content part has been heard up to `heard_ms`, and that it plays on from there in real
    time to `playing_to_ms` (None: that it stands there)."""

    item_id: str
    content_index: int
    heard_ms: float
    playing_to_ms: float | None = None


@attrs.frozen
class UseReports:
    """An endpoint that plays has been attached (True): what is heard is what it reports. Or it has left (False)."""

    reporting: bool


@attrs.frozen
class ReportDtmf:
    """The user of an endpoint has pressed a key."""

    digit: str


@attrs.frozen
class Disconnect:
    """The connection has ended: every open request and reply_id is settled with `error`."""

    error: Exception


Command = (
    OpenSession
    | UpdateSession
    | SwitchAgent
    | CreateItem
    | DeleteItem
    | RetrieveItem
    | TruncateItem
    | CommitAudio
    | ClearAudio
    | CollectAudio
    | CreateResponse
    | CancelResponse
    | Interrupt
    | BeginUninterruptible
    | EndUninterruptible
    | UseBargeIn
    | SendRaw
    | SendToolOutput
    | ReportNeed
    | DecideApproval
    | UseTools
    | ReportCheck
    | Shed
    | ReportHeard
    | UseReports
    | ReportDtmf
    | Disconnect
)
