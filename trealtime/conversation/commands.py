"""Commands: what the app asks of the conversation, in the imperative.

A command is a value; `Conversation.command(command, now)` turns it into `Effects`. A `ticket` names a caller who waits
for the server's answer: the core settles each ticket exactly once, at the latest when the connection ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

__all__ = [
    "CancelResponse",
    "ClearAudio",
    "Command",
    "CommitAudio",
    "CreateItem",
    "CreateResponse",
    "DeleteItem",
    "Disconnect",
    "Interrupt",
    "OpenSession",
    "ReportHeard",
    "RetrieveItem",
    "SendRaw",
    "SendToolOutput",
    "Shed",
    "TruncateItem",
    "UpdateSession",
]


@attrs.frozen
class OpenSession:
    """Send the first ``session.update``. `ticket` is settled once ``session.created`` has come *and* the update has
    been acknowledged (value: the acknowledged session mapping) or refused. `session` None (only attach): no update is
    sent."""

    session: Mapping[str, Any] | None
    ticket: str


@attrs.frozen
class UpdateSession:
    """Send a ``session.update``; settled with the acknowledged session mapping."""

    session: Mapping[str, Any]
    ticket: str | None = None


@attrs.frozen
class CreateItem:
    """Add `item` (wire shape, with its own ``id``) after `previous_item_id` (None: at the end; ``"root"``: first)."""

    item: Mapping[str, Any]
    previous_item_id: str | None = None
    ticket: str | None = None


@attrs.frozen
class DeleteItem:
    item_id: str
    ticket: str | None = None


@attrs.frozen
class RetrieveItem:
    """Fetch an item with its audio; settled with the `RealtimeItem`."""

    item_id: str
    ticket: str | None = None


@attrs.frozen
class TruncateItem:
    """Cut an assistant audio item; `audio_end_ms` is clamped to what was received of it when that is still known."""

    item_id: str
    content_index: int
    audio_end_ms: int
    ticket: str | None = None


@attrs.frozen
class CommitAudio:
    """Make an item of the input audio buffer; creates no response."""


@attrs.frozen
class ClearAudio:
    """Throw the input audio buffer away."""


@attrs.frozen
class CreateResponse:
    """Ask for an answer.

    `params` is the ``response`` object of the wire (None: session defaults). `automatic` requests (an answer to a
    message or to tool outputs) that wait together become one ``response.create``; others keep to themselves and in
    order. With ``params["conversation"] == "none"`` the request does not wait for anything. `ticket` is settled with
    a `ResponseResult` when the response is done.
    """

    params: Mapping[str, Any] | None = None
    automatic: bool = False
    ticket: str | None = None
    event_id: str | None = None


@attrs.frozen
class CancelResponse:
    """Cancel a response and stop its audio: the one named, else the one in the default conversation, if any."""

    response_id: str | None = None


@attrs.frozen
class Interrupt:
    """Stop what is being said (design: the interrupt). `ticket` narrows it to the response of that `CreateResponse`."""

    cause: Literal["speech", "app", "guardrail"] = "app"
    response_id: str | None = None
    ticket: str | None = None


@attrs.frozen
class SendRaw:
    """Send a client event as it is (an ``event_id`` is added when absent); a ``response.create`` goes through the
    gate."""

    event: Mapping[str, Any]


@attrs.frozen
class SendToolOutput:
    """Give the server the output of a function call; `respond` asks for an answer once all calls of that response have
    their outputs."""

    call_id: str
    output: str
    respond: bool = True


@attrs.frozen
class Shed:
    """A feed dropped audio up to `end_ms` of a content part before anybody took it: it will not be heard."""

    item_id: str
    content_index: int
    end_ms: float


@attrs.frozen
class ReportHeard:
    """An endpoint knows that a content part has been heard up to `heard_ms`."""

    item_id: str
    content_index: int
    heard_ms: float


@attrs.frozen
class Disconnect:
    """The connection has ended: every open request and ticket is settled with `error`."""

    error: Exception


Command = (
    OpenSession
    | UpdateSession
    | CreateItem
    | DeleteItem
    | RetrieveItem
    | TruncateItem
    | CommitAudio
    | ClearAudio
    | CreateResponse
    | CancelResponse
    | Interrupt
    | SendRaw
    | SendToolOutput
    | Shed
    | ReportHeard
    | Disconnect
)
